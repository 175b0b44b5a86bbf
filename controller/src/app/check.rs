//! Limits on what comes from outside.

use fleet::Role;

use crate::error::Error;
use crate::settings::is_name;
use crate::store::model::CONTROLLER;

/// Why something was done, in an operator's words, bytes at most.
pub(crate) const MESSAGE_BYTES_MAX: usize = 4_096;

/// What an operator calls a file, bytes at most.
pub(crate) const FILE_BYTES_MAX: usize = 4_096;

/// Bytes of a fixed length.
pub(crate) fn fixed<const N: usize>(field: &'static str, bytes: &[u8]) -> Result<[u8; N], Error> {
    bytes
        .try_into()
        .map_err(|_| Error::invalid(field, format!("{} bytes instead of {N}", bytes.len())))
}

/// Refuses a text that is longer than anybody needs.
pub(crate) fn at_most(field: &'static str, text: &str, bytes_max: usize) -> Result<(), Error> {
    if text.len() > bytes_max {
        return Err(Error::invalid(
            field,
            format!("longer than {bytes_max} bytes"),
        ));
    }
    Ok(())
}

/// Refuses words of an operator that are too long, or that are not one line: what somebody typed is
/// shown to others, so nothing in it may move a cursor.
pub(crate) fn words(field: &'static str, text: &str) -> Result<(), Error> {
    at_most(field, text, MESSAGE_BYTES_MAX)?;
    if fleet::export::printable(text) != text {
        return Err(Error::invalid(field, "one line, please"));
    }
    Ok(())
}

/// Refuses a name that no member may have.
pub(crate) fn member_name(role: Role, name: &str) -> Result<(), Error> {
    if !is_name(name) {
        let problem = format!(
            "`{name}` is not a name: letters, digits and . _ - only, beginning with a letter or \
             digit, at most 48"
        );
        return Err(Error::invalid("name", problem));
    }
    if role == Role::Host && name == CONTROLLER {
        return Err(Error::invalid(
            "name",
            "a host cannot be called `controller`",
        ));
    }
    Ok(())
}

/// Refuses a name that no key may have.
pub(crate) fn key_name(role: Role, name: &str) -> Result<(), Error> {
    if role != Role::User {
        return Err(Error::invalid("key_name", "only users have several keys"));
    }
    if !is_name(name) {
        let problem = format!(
            "`{name}` is not a name of a key: letters, digits and . _ - only, beginning with a \
             letter or digit, at most 48"
        );
        return Err(Error::invalid("key_name", problem));
    }
    Ok(())
}
