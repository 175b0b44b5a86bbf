//! `~/.fwknoprc`, and the request that each of its stanzas makes: nothing that is said of it holds a
//! key.

use postern::hostile;

/// A key that some inputs hold behind KEY or HMAC_KEY; it must stand in nothing that is said.
const KEY: &str = "kEy0fSomebody";

pub(crate) fn check(bytes: &[u8]) {
    let said = hostile::read_rc(bytes);
    // In the place of a name, of a stanza or of another value it is no key.
    let text = String::from_utf8_lossy(bytes);
    let is_key_only = text.lines().filter(|line| line.contains(KEY)).all(|line| {
        ["KEY ", "HMAC_KEY "]
            .iter()
            .any(|name| line.strip_prefix(name) == Some(KEY))
    });
    if is_key_only {
        for said in said {
            assert!(!said.contains(KEY), "{said}");
        }
    }
}
