//! What the system's allocator keeps of what was freed.

use nix::libc;

/// Blocks of this length and more are pages of their own, and go back to the system when they are freed.
const LARGE_BYTES: libc::c_int = 128 * 1024;
/// Heaps from which threads allocate.
const ARENAS_MAX: libc::c_int = 2;

/// Lets a process that has handled something large be small again: by default the allocator of glibc
/// raises the length of what it gives back with every large block that is freed, and keeps a heap for
/// each thread, eight for each processor. A controller that handed 10,000 stanzas to 300 hosts kept a
/// third of its memory so (`make bench ARGS=E14`).
///
/// To be called before threads are started.
pub fn give_large_blocks_back() {
    for (what, value) in [
        (libc::M_MMAP_THRESHOLD, LARGE_BYTES),
        (libc::M_ARENA_MAX, ARENAS_MAX),
    ] {
        #[expect(unsafe_code, reason = "only the C library can be asked")]
        // SAFETY: it takes two numbers and changes what later allocations do, nothing else.
        let taken = unsafe { libc::mallopt(what, value) };
        if taken == 0 {
            tracing::debug!(what, "the allocator does not take this");
        }
    }
}
