//! From a message to the text on the wire. Pure: the salt is an argument.

use crate::cipher;
use crate::error::SealError;
use crate::keys::{Keys, OpeningKey};
use crate::message::Message;
use crate::sealed::{PREFIX, SEALED_LEN_MAX, SEALED_LEN_MIN};
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
    let mut plain = message.encode()?.into_bytes();
    cipher::pad(&mut plain);
    let key = OpeningKey::new(keys);
    cipher::encrypt(keys.mode(), &key.passphrase().derive(&salt), &mut plain);

    let raw = [cipher::MAGIC, &salt[..], &plain].concat();
    let mut prefixed = text::encode(&raw);
    let mut mac = String::new();
    key.hmac().append_mac(prefixed.as_bytes(), &mut mac);
    prefixed.push_str(&mac);
    sendable(prefixed.split_off(PREFIX.len()))
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
