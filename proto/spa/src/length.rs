//! How long packets are, in characters.

/// The shortest packet a client can make, in characters.
pub const SEALED_LEN_MIN: usize = 140;
/// The longest packet that fwknop looks at, in characters.
pub const SEALED_LEN_MAX: usize = 1500;

/// The longest prefix that is known and so never sent.
pub(crate) const PREFIX_LEN_MAX: usize = 10;
/// The longest text with its prefix put back.
pub(crate) const PREFIXED_LEN_MAX: usize = PREFIX_LEN_MAX + SEALED_LEN_MAX;
