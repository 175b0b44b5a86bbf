//! How one authority follows another, as changes of what is kept. Nothing here reads a clock or a disk.
//!
//! ```text
//! begin      a next one is made, and the current one vouches for it; members are told of both
//! issue      the next one issues, the controller shows its certificate; the one before is still taken
//! finish     the key of the one before is destroyed; its word for its successor is shown on
//! ```
//!
//! Whoever knows only an authority of before believes the controller by that word, and learns the new one
//! when it renews. So nobody is left behind who has a program that can learn; `compromised` is for the day
//! on which the word of the one before is worth nothing, and leaves behind who has not been told.

use super::Credentials;
use super::kept::{DirectoryKey, Kept, KeptAuthority};

/// Members go on believing an authority whose key is destroyed for this long, in seconds: as long as a
/// backup that has the key may have to be restored.
pub(crate) const BELIEVED_AFTER_SECS: u64 = 90 * 24 * 3600;

/// Over so many authorities the way may lead from the one that a member knows to the one that issues: webpki
/// follows no longer chain. What lies farther back is shown and believed no more.
pub(crate) const STEPS_MAX: usize = 6;

/// Where a rotation is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    /// There is none.
    None,
    /// Members are told of the next authority.
    Announced,
    /// The new one issues, and certificates of the one before are still taken.
    Issuing,
}

/// Why a step is not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotNow {
    /// One at a time.
    #[error("a rotation is under way already")]
    UnderWay,
    /// There is nothing to go on with.
    #[error("no rotation waits for this step")]
    NoRotation,
    /// The next one does not issue yet.
    #[error(
        "the rotation is only announced: the former authority issues still, and its key is needed"
    )]
    OnlyAnnounced,
    /// Nobody whose clock is right would take what it issues.
    #[error(
        "the next authority begins only at {0}: the clock was ahead when it was made, or is behind now"
    )]
    BeginsLater(String),
    /// A key cannot be made or used.
    #[error("the certificate authority cannot be used")]
    Authority(#[from] rcgen::Error),
}

// === impl Stage ===

impl Stage {
    /// As in what is printed.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Announced => "announced",
            Self::Issuing => "issuing",
        }
    }
}

// === impl Kept ===

impl Kept {
    pub(crate) fn stage(&self) -> Stage {
        if self.next.is_some() {
            Stage::Announced
        } else if self.former.is_some() {
            Stage::Issuing
        } else {
            Stage::None
        }
    }

    /// Makes `next` the one that is to follow, and has the current one vouch for it. It takes the place of one that
    /// was made by a clock ahead and cannot issue yet.
    pub(crate) fn begin(
        &mut self,
        next: &Credentials,
        fleet: &str,
        now_secs: u64,
    ) -> Result<(), NotNow> {
        let next_in_time = |next: &KeptAuthority| next.begins_after(now_secs).is_none();
        self.next = self.next.take().filter(next_in_time);
        if self.stage() != Stage::None {
            return Err(NotNow::UnderWay);
        }
        let mut next = KeptAuthority::new(next, now_secs);
        let current = self.current.open()?;
        next.voucher = Some(current.vouch_for(&next.open()?, fleet, now_secs)?);
        self.next = Some(next);
        Ok(())
    }

    /// Lets the next one issue.
    pub(crate) fn issue(&mut self, now_secs: u64) -> Result<(), NotNow> {
        let next = self.next.as_ref().ok_or(NotNow::NoRotation)?;
        if let Some(begins) = next.begins_after(now_secs) {
            return Err(NotNow::BeginsLater(begins.to_string()));
        }
        let mut next = self.next.take().ok_or(NotNow::NoRotation)?;
        if let Some(voucher) = next.voucher.take() {
            self.vouchers.insert(0, voucher);
            self.vouchers.truncate(STEPS_MAX);
        }
        let current = std::mem::replace(&mut self.current, next.since(now_secs));
        self.former = Some(current.since(now_secs));
        Ok(())
    }

    /// Destroys the key of the one before.
    pub(crate) fn finish(&mut self, now_secs: u64) -> Result<(), NotNow> {
        if self.stage() == Stage::Announced {
            return Err(NotNow::OnlyAnnounced);
        }
        let former = self.former.take().ok_or(NotNow::NoRotation)?;
        self.gone.push(former.gone(now_secs));
        let surplus = self.gone.len().saturating_sub(STEPS_MAX);
        self.gone.drain(..surplus);
        Ok(())
    }

    /// Believes the current one, and all before it, no more: their keys, and what they vouch for, are
    /// gone at once. The one that members have been told of issues; `new` where there is none.
    pub(crate) fn compromised(&mut self, new: &Credentials, now_secs: u64) {
        let next = self.next.take();
        let next = next.filter(|next| next.begins_after(now_secs).is_none());
        let next = next.map(|next| next.since(now_secs));
        self.current = next.unwrap_or_else(|| KeptAuthority::new(new, now_secs));
        self.former = None;
        self.gone.clear();
        self.vouchers.clear();
    }

    /// Every authority that there was since one was disowned, PEM, the oldest first; one after the other has
    /// vouched for the next.
    pub(crate) fn in_order(&self) -> Vec<&str> {
        let gone = self.gone.iter().map(|gone| gone.certificate.as_str());
        let with_key = [
            self.former.as_ref(),
            Some(&self.current),
            self.next.as_ref(),
        ];
        let with_key = with_key.into_iter().flatten();
        gone.chain(with_key.map(|it| it.certificate.as_str()))
            .collect()
    }

    /// Directories are signed by another key from now on.
    pub(crate) fn rotate_directory_key(&mut self, seed: &[u8; 32], now_secs: u64) {
        self.directory = DirectoryKey::new(seed, now_secs);
    }

    /// The authorities that members are to believe, PEM: the one that issues first.
    pub(crate) fn believed(&self, now_secs: u64) -> Vec<&str> {
        let kept = [
            Some(&self.current),
            self.next.as_ref(),
            self.former.as_ref(),
        ];
        let kept = kept.into_iter().flatten().map(|it| it.certificate.as_str());
        let gone = self
            .gone
            .iter()
            .filter(|gone| now_secs < gone.since_secs.saturating_add(BELIEVED_AFTER_SECS));
        kept.chain(gone.map(|gone| gone.certificate.as_str()))
            .collect()
    }
}

#[cfg(test)]
mod tests;
