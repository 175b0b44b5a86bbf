//! Which errors are the disk's.

use std::io;

/// Whether the disk is the reason of an error: no room, no writing, or no answer.
pub(super) fn is_to_blame(cause: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, DiskFull, ReadOnly, SystemIoFailure};

    matches!(
        cause.sqlite_error_code(),
        Some(DiskFull | ReadOnly | SystemIoFailure | CannotOpen)
    )
}

/// As [`is_to_blame`], for what the system says.
pub(super) fn is_to_blame_for(cause: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StaleNetworkFileHandle, StorageFull};

    let kind = cause.kind();
    [
        QuotaExceeded,
        ReadOnlyFilesystem,
        StaleNetworkFileHandle,
        StorageFull,
    ]
    .contains(&kind)
        || cause.raw_os_error() == Some(nix::libc::EIO)
}
