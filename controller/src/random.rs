//! Random bytes from the system.

/// The system gave none.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no randomness from the system")]
pub struct NoRandomness;

/// Random bytes, fit for secrets.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}
