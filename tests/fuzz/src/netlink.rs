//! Answers of the kernel: whatever the lengths say, reading ends, and within the datagram.

use agent::hostile::read_netlink;

/// The least that a header takes: more headers than that cannot be in a datagram.
const ATTRIBUTE_BYTES: usize = 4;
/// Attributes are looked into so deep (`read_netlink`), each level reading all of them again.
const DEPTH: usize = 3;

pub(crate) fn check(bytes: &[u8]) {
    let headers = read_netlink(bytes);
    assert!(
        headers <= 1 + DEPTH * bytes.len().div_ceil(ATTRIBUTE_BYTES),
        "{headers} headers in {} bytes",
        bytes.len()
    );
}
