//! From a message to the text on the wire. Pure: the salt is an argument.

use crate::digest::DigestType;
use crate::envelope::Envelope;
use crate::envelope::openpgp;
use crate::envelope::rijndael::RijndaelKey;
use crate::error::SealError;
use crate::keys::{HmacKey, Keys, OpeningKey};
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
    sendable(prefixed.split_off(Envelope::Rijndael.prefix_len()))
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

/// Seals an OpenPGP message that somebody else has made, as fwknop's client does: base64, the HMAC over
/// it, and without its first two characters.
///
/// # Errors
///
/// [`SealError::Length`], and [`SealError::NotOpenPgp`] for a message of which a receiver cannot tell
/// what was cut off.
pub fn seal_open_pgp(
    message: &[u8],
    hmac: Option<(&HmacKey, DigestType)>,
) -> Result<String, SealError> {
    let mut prefixed = text::encode(message);
    let mut mac = String::new();
    OpeningKey::open_pgp(hmac)
        .hmac()
        .append_mac(prefixed.as_bytes(), &mut mac);
    let mut body = prefixed.split_off(Envelope::OpenPgp.prefix_len().min(prefixed.len()));
    if openpgp::head(body.as_bytes()).map(|head| head.prefix.to_vec())
        != Some(prefixed.into_bytes())
    {
        return Err(SealError::NotOpenPgp);
    }
    body.push_str(&mac);
    sendable(body)
}

fn sendable(text: String) -> Result<String, SealError> {
    if !(SEALED_LEN_MIN..=SEALED_LEN_MAX).contains(&text.len()) {
        return Err(SealError::Length(text.len()));
    }
    Ok(text)
}
