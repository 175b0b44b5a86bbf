//! The SYN of a stranger and the file of signatures: whatever options a SYN has, reading ends, and
//! what is said of it is one line of printable characters.

use std::sync::LazyLock;

use policy::OsSignatures;

use crate::frame::LINKS;

/// The signatures that are shipped.
static SHIPPED: LazyLock<OsSignatures> = LazyLock::new(|| {
    OsSignatures::parse("os.fp", include_str!("../../../deploy/os.fp")).expect("ours")
});

pub(crate) fn check(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Err(invalid) = OsSignatures::parse("os.fp", text)
    {
        assert!(!invalid.mistakes.is_empty(), "refused for nothing");
    }
    let Some((&link, frame)) = bytes.split_first() else {
        return;
    };
    let link = LINKS[usize::from(link) % LINKS.len()];
    let Some((source, syn)) = gate::syn_of(frame, link) else {
        return;
    };
    assert!(!source.is_unspecified(), "a SYN from nowhere");
    let said = syn.to_string();
    assert!(!said.chars().any(char::is_control), "{said:?}");
    let _ = SHIPPED.identify(&syn);
}
