//! The services of the contract. A handler says who asks and what, does it, and answers.

pub(crate) mod agent;
pub(crate) mod audit;
pub(crate) mod directory;
pub(crate) mod enrollment;
pub(crate) mod operator;

use crate::error::Error;

/// Bytes of a fixed length from the wire.
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
