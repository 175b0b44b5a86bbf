//! An allocator that leaves nothing of what was freed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;

/// That of the system, with zeros over each block before it is given back.
///
/// Types that hold keys wipe themselves; this is for what nobody can see to: copies that a growing
/// buffer leaves behind, and those of libraries that know nothing of keys. What a library of C has, it
/// allocates elsewhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wiping;

// === impl Wiping ===

#[expect(unsafe_code, reason = "the trait of allocators is")]
// SAFETY: the blocks are those of `System`, under the same layouts. A block is written to only when it
// was given back, over the length that it was asked for with; growing is left to the trait's default,
// which allocates, copies and frees by these.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block is the caller's, of this length, and nobody else's any more.
        unsafe { block.write_bytes(0, layout.size()) };
        // What is freed next is not read, so that a compiler could leave the writing out.
        let block = black_box(block);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "it asks the allocator itself")]
    fn a_block_that_grows_keeps_what_is_in_it() {
        let layout = Layout::from_size_align(64, 8).unwrap();
        // SAFETY: one block, with one layout at a time, given back once.
        unsafe {
            let block = Wiping.alloc(layout);
            block.write_bytes(7, 64);
            let grown = Wiping.realloc(block, layout, 4_096);
            assert!((0..64).all(|at| *grown.add(at) == 7));
            Wiping.dealloc(grown, Layout::from_size_align(4_096, 8).unwrap());
        }
    }
}
