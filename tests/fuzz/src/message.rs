//! What stands behind the HMAC: whoever has a key may write anything there.
//!
//! A message that is read can be written, and then means the same. Where it cannot be written (a
//! client of another program may say more than ours would), reading it alone must not panic.

use spa::Message;

pub(crate) fn check(bytes: &[u8]) {
    let Ok((message, decoded)) = Message::decode(bytes) else {
        return;
    };
    assert!(!decoded.digest.is_empty(), "a message has a digest");
    let Ok(text) = message.encode() else {
        return;
    };
    let again = Message::decode(text.as_bytes());
    let (again, _) = again.expect("what we wrote can be read");
    assert_eq!(
        again, message,
        "a message means the same after it was written"
    );
}
