//! Exchange keys of a host that others have followed: whoever has a directory of before seals her packets for them, so
//! they open until their time is over.

use sha2::{Digest as _, Sha256};
use spa::ExchangeSecret;

use crate::error::{FilesError, JoinError};
use crate::files::{self, FormerFile, FormerKey};
use crate::membership::Membership;

/// For how long a directory with a former key is still good, seconds: 30 days.
pub(crate) const KEPT_SECS: u64 = 30 * 24 * 3600;
/// So many former keys are kept. Each of them is one more key of every user that a packet is tried with.
const KEPT_MAX: usize = 3;

impl Membership {
    /// The X25519 secrets for which packets are good at this moment (seconds since the Unix epoch): the one of
    /// [`exchange`](Self::exchange), and of a host the former ones whose time is not over.
    ///
    /// # Errors
    ///
    /// What the disk or the keyring says. Former keys that cannot be understood are as good as over, and said.
    pub fn exchanges(&self, now_secs: u64) -> Result<Vec<ExchangeSecret>, FilesError> {
        let Some(own) = self.exchange()? else {
            return Ok(Vec::new());
        };
        let former = self.former(now_secs)?;
        let former = former.iter().filter_map(|former| former.exchange_key.key());
        let former = former.map(ExchangeSecret::from_bytes);
        // One that is still used: a rotation was cut off before it was switched.
        let former = former.filter(|former| former.public() != own.public());
        Ok(std::iter::once(own.clone()).chain(former).collect())
    }

    /// When the first of the former exchange keys ends, seconds since the Unix epoch; `None` for none.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub fn former_until_secs(&self, now_secs: u64) -> Result<Option<u64>, FilesError> {
        let former = self.former(now_secs)?;
        Ok(former.iter().map(|former| former.until_secs).min())
    }

    /// Takes former exchange keys from the disk whose time is over. Whether there were some.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub fn forget_ended(&self, now_secs: u64) -> Result<bool, FilesError> {
        let Some(file) = files::load::<FormerFile>(&self.dir)? else {
            return Ok(false);
        };
        let left = self.former(now_secs)?;
        if left.len() == file.keys.len() {
            return Ok(false);
        }
        if left.is_empty() {
            files::remove::<FormerFile>(&self.dir)?;
        } else {
            files::save(&self.dir, &FormerFile::new(&self.belongs(), left))?;
        }
        Ok(true)
    }

    /// Keeps the exchange key that is used, which another is about to follow. Twice is once.
    pub(crate) fn keep_former(&self, now_secs: u64) -> Result<(), FilesError> {
        let Some(own) = self.exchange()? else {
            return Ok(());
        };
        let mut former = self.former(now_secs)?;
        let own_bytes = own.to_bytes();
        former.retain(|known| known.exchange_key.key().as_ref() != Some(&*own_bytes));
        let until_secs = now_secs.saturating_add(KEPT_SECS);
        former.push(FormerKey::new(&own_bytes[..], until_secs));
        files::save(&self.dir, &FormerFile::new(&self.belongs(), former))
    }

    /// Refuses a rotation that would have too many keys good at once.
    pub(crate) fn require_few_former(&self, now_secs: u64) -> Result<(), JoinError> {
        let former = self.former(now_secs)?;
        if former.len() < KEPT_MAX {
            return Ok(());
        }
        let until = former.iter().map(|former| former.until_secs).min();
        let left_secs = until.unwrap_or(0).saturating_sub(now_secs);
        Err(JoinError::RotatedOften {
            days: left_secs.div_ceil(24 * 3600),
        })
    }

    fn former(&self, now_secs: u64) -> Result<Vec<FormerKey>, FilesError> {
        let file = match files::load::<FormerFile>(&self.dir) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(Vec::new()),
            Err(error) if error.is_damage() => {
                let error = program::one_line(&error);
                tracing::error!(%error, "former keys do not open any more");
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        if *file.membership.0 != self.belongs() {
            // Of a membership before this one.
            return Ok(Vec::new());
        }
        let mut keys = file.keys;
        keys.retain(|key| key.until_secs > now_secs);
        Ok(keys)
    }

    /// Whose former keys they are: this fleet's host of this name.
    fn belongs(&self) -> [u8; 32] {
        Sha256::digest([&*self.ca, self.name.as_bytes()].concat()).into()
    }
}
