//! A moment that was read from the clock once and is then passed down as an argument.

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Timestamp(u64);

// === impl Timestamp ===

impl Timestamp {
    pub(crate) const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the Unix epoch.
    pub(crate) const fn ms(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch.
    pub(crate) const fn secs(self) -> u64 {
        self.0 / 1000
    }
}
