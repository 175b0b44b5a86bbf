//! From a message to the text on the wire. Pure: the salt is an argument.

use crate::envelope::Envelope;
use crate::envelope::rijndael::RijndaelKey;
use crate::error::SealError;
use crate::keys::{Keys, OpeningKey};
use crate::length::{SEALED_LEN_MAX, SEALED_LEN_MIN};
use crate::message::Message;
use crate::tag::{bucket, tag};
use crate::text;

/// Seals a message as fwknop's client does.
///
/// `salt` must be fresh random bytes for each packet.
///
/// # Errors
///
/// [`SealError::Message`] and [`SealError::Length`].
pub fn seal(message: &Message, keys: &Keys, salt: [u8; 8]) -> Result<String, SealError> {
    let plain = message.encode()?.into_bytes();
    let key = RijndaelKey::new(keys.encryption().as_bytes(), keys.mode());
    let mut prefixed = text::encode(&key.seal(plain, salt));
    let mut mac = String::new();
    OpeningKey::new(keys)
        .hmac()
        .append_mac(prefixed.as_bytes(), &mut mac);
    prefixed.push_str(&mac);
    sendable(prefixed.split_off(Envelope::Rijndael.prefix().len()))
}

/// Seals a message in the tagged form: the tag of the message's minute, then fwknop's text.
///
/// # Errors
///
/// Those of [`seal()`], and [`SealError::NoTagKey`].
pub fn seal_tagged(message: &Message, keys: &Keys, salt: [u8; 8]) -> Result<String, SealError> {
    let tag_key = keys.tag_key().ok_or(SealError::NoTagKey)?;
    let tag = tag(&tag_key, bucket(message.timestamp_secs));
    sendable(format!("{tag}{}", seal(message, keys, salt)?))
}

fn sendable(text: String) -> Result<String, SealError> {
    if !(SEALED_LEN_MIN..=SEALED_LEN_MAX).contains(&text.len()) {
        return Err(SealError::Length(text.len()));
    }
    Ok(text)
}
