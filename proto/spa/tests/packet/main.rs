//! The packet crate against other programs' packets, and against itself turned around.
#![expect(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    reason = "a test that cannot go on fails"
)]

mod classic;
mod invalid;
mod keys;
mod opening;
mod openpgp;
mod openssl;
mod ours;
mod pairwise;
mod properties;
mod sequences;
mod tagged;
mod trial;
mod valid;
