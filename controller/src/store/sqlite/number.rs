//! Unsigned numbers as SQLite keeps them.

/// Numbers of the wire (unsigned) as SQLite keeps them (signed). What does not fit is far beyond
/// any honest time or count, and is kept as the greatest there is.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
