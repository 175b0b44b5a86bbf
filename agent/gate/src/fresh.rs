//! The fourth check: an authentic message is recent, and has not been seen on this host.

use std::collections::HashSet;

use spa::ReplayDigest;

use crate::authenticate::Authenticated;
use crate::decision::Reason;
use crate::settings::Settings;

/// Where authentic, recent messages are remembered.
///
/// A seam because the memory must survive a restart in production and must not need a disk in
/// tests. Strangers cannot fill it: only who holds a key gets a message here, and each is remembered
/// for a bounded time (unless ageing is off).
pub trait ReplayLog {
    /// Remembers `digest`, unless it is remembered already. One step, so that nothing comes between
    /// the check and the insertion.
    ///
    /// It must be remembered at least until the wall clock is *past* `forget_after_secs` (seconds
    /// since the epoch), and for ever if that is `None`. The insertion may be staged here; it must
    /// be durable before anything opens because of it.
    ///
    /// # Errors
    ///
    /// [`Replayed`] if the digest is remembered, and also whenever the log cannot tell. Wrongly
    /// saying "replayed" costs a user one retry; wrongly saying "new" lets a captured packet open a
    /// port, so that is the answer that must never be given in doubt. In particular a log that has
    /// forgotten by a clock which then went back is in doubt about all it forgot.
    fn check_and_insert(
        &mut self,
        digest: ReplayDigest,
        forget_after_secs: Option<u64>,
    ) -> Result<(), Replayed>;
}

/// The message was seen before, or nobody can say that it was not.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Replayed {
    /// Another host of the replay domain has claimed it, and this one was told.
    #[error("replayed, claimed by another host")]
    Elsewhere,
    /// On this host; also the answer when it cannot be told.
    #[error("replayed")]
    Here,
}

/// A replay log that forgets nothing and survives nothing: for tests and for `explain`.
#[derive(Debug, Default)]
pub struct MemoryReplayLog {
    digests: HashSet<ReplayDigest>,
}

/// Evidence: the message is authentic, recent, and was not seen before.
#[derive(Debug)]
pub(crate) struct Fresh {
    authenticated: Authenticated,
    forget_after_secs: Option<u64>,
}

/// Which messages are recent, for one key at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    now_secs: u64,
    age_max_secs: Option<u64>,
    not_before_secs: u64,
}

// === impl Replayed ===

impl From<Replayed> for Reason {
    fn from(replayed: Replayed) -> Self {
        match replayed {
            Replayed::Elsewhere => Self::ReplayedElsewhere {
                held_by: "another host".into(),
            },
            Replayed::Here => Self::Replayed,
        }
    }
}

// === impl MemoryReplayLog ===

impl MemoryReplayLog {
    /// Returns how many digests are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.digests.len()
    }

    /// Whether nothing has been remembered yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }
}

impl ReplayLog for MemoryReplayLog {
    fn check_and_insert(
        &mut self,
        digest: ReplayDigest,
        _forget_after_secs: Option<u64>,
    ) -> Result<(), Replayed> {
        if self.digests.insert(digest) {
            Ok(())
        } else {
            Err(Replayed::Here)
        }
    }
}

// === impl Fresh ===

impl Fresh {
    /// Checks the window and then, in one step, the log.
    ///
    /// The message is remembered from here on, whatever is decided about it later: a packet that was
    /// denied must not be worth keeping for the next policy. A message that is not recent is not
    /// remembered: it cannot be played, and senders with a wrong clock must not fill the log.
    ///
    /// # Errors
    ///
    /// The reason: not recent, or seen before.
    pub(crate) fn establish(
        authenticated: Authenticated,
        window: Window,
        replays: &mut dyn ReplayLog,
    ) -> Result<Self, Reason> {
        window.check(authenticated.message().timestamp_secs)?;
        let forget_after_secs = window.forget_after_secs();
        replays
            .check_and_insert(authenticated.replay_digest(), forget_after_secs)
            .map_err(Reason::from)?;
        Ok(Self {
            authenticated,
            forget_after_secs,
        })
    }

    pub(crate) fn authenticated(&self) -> &Authenticated {
        &self.authenticated
    }

    /// Returns until when the message must be remembered anywhere.
    pub(crate) fn forget_after_secs(&self) -> Option<u64> {
        self.forget_after_secs
    }
}

// === impl Window ===

impl Window {
    /// Opens the window at `now_secs`. `floor_secs` is the key's own floor, beside that of the host.
    pub(crate) fn new(settings: &Settings, floor_secs: u64, now_secs: u64) -> Self {
        Self {
            now_secs,
            age_max_secs: settings.ageing.map(|age_max| age_max.as_secs()),
            not_before_secs: settings.not_before_secs.max(floor_secs),
        }
    }

    /// Whether a message of this time stamp is recent: at most as far from now as allowed, exactly
    /// that far included, as with fwknopd.
    pub(crate) fn check(&self, timestamp_secs: u64) -> Result<(), Reason> {
        if timestamp_secs < self.not_before_secs {
            return Err(Reason::BeforeFloor {
                floor_secs: self.not_before_secs,
            });
        }
        let Some(age_max_secs) = self.age_max_secs else {
            return Ok(());
        };
        if self.now_secs.abs_diff(timestamp_secs) <= age_max_secs {
            Ok(())
        } else if timestamp_secs < self.now_secs {
            Err(Reason::Stale {
                age_secs: self.now_secs - timestamp_secs,
                age_max_secs,
            })
        } else {
            Err(Reason::Future {
                ahead_secs: timestamp_secs - self.now_secs,
                ahead_max_secs: age_max_secs,
            })
        }
    }

    /// A message dated as far ahead as allowed is recent for twice that long.
    fn forget_after_secs(&self) -> Option<u64> {
        self.age_max_secs
            .map(|age_max_secs| self.now_secs.saturating_add(age_max_secs.saturating_mul(2)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_SECS: u64 = 1_795_423_534;

    fn window(settings: &Settings) -> Window {
        Window::new(settings, 0, NOW_SECS)
    }

    #[test]
    fn the_edge_of_the_window_belongs_to_it_on_both_sides() {
        let window = window(&Settings::default());

        assert_eq!(window.check(NOW_SECS - 120), Ok(()));
        assert_eq!(window.check(NOW_SECS + 120), Ok(()));
        assert_eq!(
            window.check(NOW_SECS - 121),
            Err(Reason::Stale {
                age_secs: 121,
                age_max_secs: 120,
            }),
        );
        assert_eq!(
            window.check(NOW_SECS + 121),
            Err(Reason::Future {
                ahead_secs: 121,
                ahead_max_secs: 120,
            }),
        );
    }

    #[test]
    fn without_ageing_any_time_passes_and_is_remembered_for_ever() {
        let window = window(&Settings {
            ageing: None,
            ..Settings::default()
        });

        assert_eq!(window.check(0), Ok(()));
        assert_eq!(window.check(u64::from(u32::MAX)), Ok(()));
        assert_eq!(window.forget_after_secs(), None);
    }

    #[test]
    fn messages_from_before_the_floor_are_refused_even_without_ageing() {
        let settings = Settings {
            ageing: None,
            not_before_secs: 1_000,
            ..Settings::default()
        };

        let refused = window(&settings).check(999);

        assert_eq!(refused, Err(Reason::BeforeFloor { floor_secs: 1_000 }));
        assert_eq!(window(&settings).check(1_000), Ok(()));
    }

    #[test]
    fn the_later_of_both_floors_holds() {
        let settings = Settings {
            ageing: None,
            not_before_secs: 1_000,
            ..Settings::default()
        };

        let refused = Window::new(&settings, 2_000, NOW_SECS).check(1_500);

        assert_eq!(refused, Err(Reason::BeforeFloor { floor_secs: 2_000 }));
    }

    #[test]
    fn a_message_is_remembered_for_as_long_as_it_could_be_fresh() {
        let window = window(&Settings::default());
        let dated_ahead = NOW_SECS + 120;
        let last_moment = window.forget_after_secs().unwrap();
        let at = |now_secs| Window::new(&Settings::default(), 0, now_secs);

        assert_eq!(at(last_moment).check(dated_ahead), Ok(()));
        assert!(at(last_moment + 1).check(dated_ahead).is_err());
    }
}
