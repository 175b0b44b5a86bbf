//! What this process keeps in its memory stays there.

use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Keeps the memory of this process from being written into core files, and from being read by other
/// processes of the same user (ptrace, `/proc/PID/mem`). Root can read it all the same.
///
/// To be called first in `main`, and again after the process became another user, which undoes it. What
/// it starts is not concerned: a program that is executed decides for itself.
pub fn keep_memory_private() {
    // Neither fails on any kernel that we know; where one does, there is nothing to do about it.
    if let Err(error) = set_dumpable(false) {
        tracing::debug!(%error, "the memory of this process may be read by others of this user");
    }
    // The hard bound stays: what we start may want core files.
    let limited = getrlimit(Resource::RLIMIT_CORE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_CORE, 0, hard));
    if let Err(error) = limited {
        tracing::debug!(%error, "core files are not limited");
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::prctl::get_dumpable;

    use super::*;

    #[test]
    fn a_process_with_keys_leaves_no_core_file_and_is_traced_by_nobody_but_root() {
        keep_memory_private();

        assert!(!get_dumpable().unwrap());
        assert_eq!(getrlimit(Resource::RLIMIT_CORE).unwrap().0, 0);
    }
}
