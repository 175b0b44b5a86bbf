//! From message to plaintext, as fwknop's client writes it.

use crate::error::InvalidMessage;
use crate::message::Message;

/// Writes a whole plaintext.
pub(super) fn message(message: &Message) -> Result<String, InvalidMessage> {
    let _ = message;
    unimplemented!()
}
