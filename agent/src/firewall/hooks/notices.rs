//! Hearing that somebody has changed chains in which a line of ours may stand.

use std::os::fd::{AsFd as _, BorrowedFd};

use super::super::changes::Change;
use super::super::numbers::nf_tables as nf;
use crate::netlink::{Heard, Listener};

/// Hears of changes.
#[derive(Debug)]
pub(super) struct ChangeWatch(Listener);

// === impl ChangeWatch ===

impl ChangeWatch {
    /// Starts to listen; `None` where nothing can be heard.
    pub(super) fn open() -> Option<Self> {
        Listener::netfilter(&[nf::GROUP]).ok().map(Self)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Gives every change that waits to `each`, and nothing (`None`) when some could not be heard.
    pub(super) fn drain(&mut self, each: &mut dyn FnMut(Option<Change<'_>>)) {
        let heard = self.0.drain(&mut |notice| {
            if let Some(change) = Change::of(notice) {
                each(Some(change));
            }
        });
        if !matches!(heard, Ok(Heard::All)) {
            each(None);
        }
    }
}
