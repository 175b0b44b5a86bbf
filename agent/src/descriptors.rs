//! What a program that is started does not inherit.

use nix::libc;

/// Has every descriptor but the three standard ones closed at the next exec; closes none now. Makes one
/// system call and allocates nothing, so it may be called between fork and exec.
#[expect(
    unsafe_code,
    reason = "std closes by flag only, and what libraries opened may lack it"
)]
pub(crate) fn close_at_exec() {
    // SAFETY: sets a flag of descriptors. A kernel before 5.11 does not know it, and everything that we
    // open has the flag.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3_u32,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        );
    }
}
