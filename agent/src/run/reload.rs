//! Reading again what people have changed: the access file, and the configuration.
//!
//! The access file takes effect at once, or not at all, and so do the signatures of operating systems.
//! No key of the configuration does: those that
//! have other values are named, and wait for a restart.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use engine::Rejected;

use crate::clock;
use crate::config::ConfigSource;
use crate::orders::{NotTaken, Order, OrderSender};
use crate::os_signatures::OsSignaturesFile;
use crate::policies::{AccessFile, Reread};
use crate::report::{ReloadReport, ReloadedPolicy};

/// For how long the gate is waited for, which may wait for the packet filter twice.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(12);

/// What is read again, whoever asks for it.
#[derive(Clone, Debug)]
pub(super) struct Reload {
    /// `None` on a host that has joined: the controller sends every change.
    access_file: Option<Arc<AccessFile>>,
    os_signatures: OsSignaturesFile,
    source: ConfigSource,
    orders: OrderSender,
}

// === impl Reload ===

impl Reload {
    pub(super) fn new(
        (access_file, os_signatures): (Option<Arc<AccessFile>>, OsSignaturesFile),
        source: ConfigSource,
        orders: OrderSender,
    ) -> Self {
        Self {
            access_file,
            os_signatures,
            source,
            orders,
        }
    }

    /// Reads everything again, says in the log what came of it, and answers it.
    pub(super) fn reload(&self) -> ReloadReport {
        let (mut mistakes, needs_restart) = self.configuration();
        mistakes.extend(self.os_signatures());
        let policy = match &self.access_file {
            Some(file) => self.reread(file),
            None => {
                tracing::info!("nothing to reread: the controller sends every change");
                ReloadedPolicy::FromController
            }
        };
        let (generation, not_in_force) = match self.confirm() {
            Some((generation, reached)) => (generation, reached.err()),
            None => (0, Some("the gate does not answer".to_owned())),
        };
        if let Some(why) = &not_in_force {
            tracing::error!(why, "what was read is not known to be in force");
        }
        ReloadReport {
            policy,
            generation,
            mistakes,
            needs_restart,
            not_in_force,
        }
    }

    fn configuration(&self) -> (Vec<String>, Vec<String>) {
        match self.source.differing() {
            Ok(keys) if keys.is_empty() => (Vec::new(), Vec::new()),
            Ok(keys) => {
                let keys: Vec<String> = keys.into_iter().map(str::to_owned).collect();
                tracing::warn!(
                    keys = keys.join(", "),
                    "the configuration has changed; these keys take effect at the next start"
                );
                (Vec::new(), keys)
            }
            Err(invalid) => {
                let text = program::one_line(&invalid).to_string();
                let mistakes: Vec<String> = text.lines().map(str::to_owned).collect();
                for mistake in &mistakes {
                    tracing::error!(mistake, "the next start would fail");
                }
                (mistakes, Vec::new())
            }
        }
    }

    /// What is wrong with the signatures; those before then stay in use.
    fn os_signatures(&self) -> Vec<String> {
        match self.os_signatures.read() {
            Ok(signatures) => {
                if self.orders.send(Order::UseOsSignatures(signatures)).is_ok() {
                    return Vec::new();
                }
                vec!["too much to do to use the signatures; ask again".to_owned()]
            }
            Err(invalid) => {
                let text = invalid.to_string();
                let mistakes: Vec<String> = text.lines().map(str::to_owned).collect();
                for mistake in &mistakes {
                    tracing::error!(mistake, "the signatures before stay in use");
                }
                mistakes
            }
        }
    }

    fn reread(&self, file: &AccessFile) -> ReloadedPolicy {
        let (order, answer) = match file.read(clock::now()) {
            Ok(Reread::Unchanged) => {
                tracing::info!("the access file is as it was when it was read last");
                return ReloadedPolicy::Unchanged;
            }
            Ok(Reread::Policy(policy)) => (Order::ReplacePolicy(policy), ReloadedPolicy::Applied),
            Err(invalid) => {
                let reasons = invalid.reasons();
                if !file.is_news(&reasons) {
                    tracing::error!(
                        reason = reasons.join("; "),
                        "the access file is still not used"
                    );
                    return ReloadedPolicy::Rejected(reasons);
                }
                let order = Order::PolicyRejected(Rejected {
                    generation: file.next_generation(),
                    digest: [0; 32],
                    reasons: reasons.clone(),
                });
                (order, ReloadedPolicy::Rejected(reasons))
            }
        };
        match self.orders.send(order) {
            Ok(()) => answer,
            Err(NotTaken::Full(_)) => {
                file.forget_read();
                tracing::error!("too much to do to reread the access file; ask again");
                ReloadedPolicy::Busy
            }
            Err(NotTaken::Stopped) => ReloadedPolicy::Busy,
        }
    }

    /// Orders are taken in their order, so the answer is of what was just read.
    fn confirm(&self) -> Option<(u64, Result<(), String>)> {
        let (sender, answer) = sync_channel(1);
        self.orders.send(Order::Confirm(sender)).ok()?;
        answer.recv_timeout(CONFIRMED_WITHIN).ok()
    }
}
