//! For how long a hole may be open: what holds where a stanza says nothing, and at most.

/// FW_ACCESS_TIMEOUT where the stanza has none, in seconds.
pub const FW_ACCESS_TIMEOUT_DEFAULT_SECS: u32 = 30;
/// MAX_FW_TIMEOUT where the stanza has none, in seconds.
pub const MAX_FW_TIMEOUT_DEFAULT_SECS: u32 = 300;
/// The longest timeout that a stanza may give: what a kernel set can count (about 24.8 days).
pub const TIMEOUT_MAX_SECS: u32 = 2_147_483;
