//! The fourth check: an authentic message is recent, and has not been seen on this host.

use spa::ReplayDigest;

use crate::authenticate::Authenticated;
use crate::decision::Reason;
use crate::settings::Settings;

/// Where authentic, recent messages are remembered.
///
/// A seam because the memory must survive a restart in production and must not need a disk in
/// tests. Strangers cannot fill it: only who holds a key gets a message here.
pub trait ReplayLog {
    /// Returns the date up to which messages around `dated_secs` are refused, if one of that date is:
    /// nobody can say any more whether it was seen. Asked before `check_and_insert`, and for copies.
    fn floor_over(&self, dated_secs: u64) -> Option<u64>;

    /// Remembers a message under its digest and the date inside it, unless it is remembered already.
    /// One step, so that nothing comes between the check and the insertion.
    ///
    /// It must be remembered for ever, or forgotten by its own date, with a floor that refuses
    /// everything dated like it from then on. `now_secs` is the clock; it decides nothing here but
    /// which clock a floor was set by. The insertion may be staged here; it must be durable before
    /// anything opens because of it.
    ///
    /// # Errors
    ///
    /// [`Replayed`] if the digest is remembered, and also whenever the log cannot tell. Wrongly
    /// saying "replayed" costs a user one retry; wrongly saying "new" lets a captured packet open a
    /// port, so that is the answer that must never be given in doubt.
    fn check_and_insert(
        &mut self,
        digest: ReplayDigest,
        dated_secs: u64,
        now_secs: u64,
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
    /// Dated at or before a floor.
    #[error("dated at or before {floor_secs}, up to when replays cannot be told")]
    BeforeFloor {
        /// The floor, seconds since the Unix epoch.
        floor_secs: u64,
    },
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
    ahead_max_secs: u64,
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
            Replayed::BeforeFloor { floor_secs } => Self::BeforeFloor { floor_secs },
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
        let dated_secs = authenticated.message().timestamp_secs;
        window.check(dated_secs)?;
        let forget_after_secs = window.forget_after_secs(dated_secs);
        replays
            .check_and_insert(authenticated.replay_digest(), dated_secs, window.now_secs)
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
    /// Opens the window at `now_secs`. `not_before_secs` is the key's own floor; that of the host is
    /// the replay log's.
    pub(crate) fn new(settings: &Settings, not_before_secs: u64, now_secs: u64) -> Self {
        Self {
            now_secs,
            age_max_secs: settings.ageing.map(|age_max| age_max.as_secs()),
            ahead_max_secs: settings.max_future.as_secs(),
            not_before_secs,
        }
    }

    /// Whether a message of this time stamp is recent: at most as old, and dated at most as far ahead,
    /// as allowed, exactly that far included, as with fwknopd.
    pub(crate) fn check(&self, timestamp_secs: u64) -> Result<(), Reason> {
        if timestamp_secs < self.not_before_secs {
            return Err(Reason::BeforeFloor {
                floor_secs: self.not_before_secs - 1,
            });
        }
        let Some(age_max_secs) = self.age_max_secs else {
            return Ok(());
        };
        let ahead_secs = timestamp_secs.saturating_sub(self.now_secs);
        let age_secs = self.now_secs.saturating_sub(timestamp_secs);
        if age_secs > age_max_secs {
            Err(Reason::Stale {
                age_secs,
                age_max_secs,
            })
        } else if ahead_secs > self.ahead_max_secs {
            Err(Reason::Future {
                ahead_secs,
                ahead_max_secs: self.ahead_max_secs,
            })
        } else {
            Ok(())
        }
    }

    /// Until when the fleet's list must remember a message of this date: for as long as it could be
    /// recent, and for twice the window at least.
    fn forget_after_secs(&self, dated_secs: u64) -> Option<u64> {
        self.age_max_secs.map(|age_max_secs| {
            let recent = dated_secs.saturating_add(age_max_secs);
            recent.max(self.now_secs.saturating_add(age_max_secs.saturating_mul(2)))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        assert_eq!(window.forget_after_secs(0), None);
    }

    #[test]
    fn messages_from_before_the_keys_floor_are_refused_even_without_ageing() {
        let settings = Settings {
            ageing: None,
            ..Settings::default()
        };
        let window = Window::new(&settings, 1_000, NOW_SECS);

        let refused = window.check(999);

        assert_eq!(refused, Err(Reason::BeforeFloor { floor_secs: 999 }));
        assert_eq!(window.check(1_000), Ok(()));
    }

    #[test]
    fn how_far_ahead_and_how_old_are_two_settings() {
        let settings = Settings {
            max_future: Duration::from_secs(30),
            ..Settings::default()
        };
        let window = window(&settings);

        assert_eq!(window.check(NOW_SECS - 120), Ok(()));
        assert_eq!(window.check(NOW_SECS + 30), Ok(()));
        assert_eq!(
            window.check(NOW_SECS + 31),
            Err(Reason::Future {
                ahead_secs: 31,
                ahead_max_secs: 30,
            }),
        );
    }

    #[test]
    fn a_message_is_remembered_for_as_long_as_it_could_be_fresh() {
        let window = window(&Settings::default());
        let dated_ahead = NOW_SECS + 120;
        let last_moment = window.forget_after_secs(dated_ahead).unwrap();
        let at = |now_secs| Window::new(&Settings::default(), 0, now_secs);

        assert_eq!(at(last_moment).check(dated_ahead), Ok(()));
        assert!(at(last_moment + 1).check(dated_ahead).is_err());
    }
}
