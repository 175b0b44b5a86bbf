//! What the agent's processes say to each other of the packet filter, whoever says it: read, or not read,
//! and never carried out without being looked at.

use agent::hostile::read_domain_message;

/// Kinds of message that there are.
const KINDS: usize = 5;

pub(crate) fn check(bytes: &[u8]) {
    let may_be = read_domain_message(bytes);
    assert!(may_be <= KINDS, "{may_be}");
    // The first byte says whether more comes; what is not its end is no message yet.
    if bytes.first() != Some(&0) {
        assert_eq!(may_be, 0);
    }
}
