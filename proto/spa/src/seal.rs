//! From a message to the text on the wire. Pure: the salt is an argument.

use crate::error::SealError;
use crate::keys::Keys;
use crate::message::Message;

/// Seals a message as fwknop's client does.
///
/// `salt` must be fresh random bytes for each packet.
///
/// # Errors
///
/// [`SealError::Message`] and [`SealError::TooLong`].
pub fn seal(message: &Message, keys: &Keys, salt: [u8; 8]) -> Result<String, SealError> {
    let _ = (message, keys, salt);
    unimplemented!()
}

/// Seals a message in the tagged form: the tag of the message's minute, then fwknop's text.
///
/// # Errors
///
/// Those of [`seal()`], and [`SealError::NoTagKey`].
pub fn seal_tagged(message: &Message, keys: &Keys, salt: [u8; 8]) -> Result<String, SealError> {
    let _ = (message, keys, salt);
    unimplemented!()
}
