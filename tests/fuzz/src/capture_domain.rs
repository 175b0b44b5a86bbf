//! What the capture domain hands on, whoever has taken it over: frames and news of a source, and never more
//! of them than there are bytes.

use agent::hostile::read_capture_domain;

pub(crate) fn check(bytes: &[u8]) {
    let things = read_capture_domain(bytes);
    assert!(things <= bytes.len(), "{things}");
}
