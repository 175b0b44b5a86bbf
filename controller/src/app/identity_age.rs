//! Long-lived keys that are old, or come back after a long absence: said, so that none renews for ever
//! without being seen, and refused where the settings say so. Pure.

use fleet::{Event, EventKind, Role};

use crate::error::RenewalRefused;
use crate::settings::IdentitySettings;
use crate::store::model::{Member, MemberKey, Origin};
use crate::timestamp::Timestamp;

const DAY_MS: u64 = 24 * 3600 * 1000;

/// What there is to say of a key, in days.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Concern {
    /// Made so long ago.
    Old(u64),
    /// No certificate was asked for with it for so long.
    Away(u64),
}

/// What is to be looked at of a member's keys, in words.
pub(crate) fn warnings(
    settings: &IdentitySettings,
    member: &Member,
    now: Timestamp,
) -> Vec<String> {
    let keys = member.active_keys();
    keys.flat_map(|key| {
        let concerns = concerns(settings, key, now);
        concerns.map(|concern| concern.words(member.role, &member.name, &key.name))
    })
    .collect()
}

/// A key asks for a certificate: whether that is refused, and else what the log is to say of it. An old key
/// is said once, and not at each of its renewals.
///
/// # Errors
///
/// [`RenewalRefused`], where the settings say so.
pub(super) fn on_renewal(
    settings: &IdentitySettings,
    (member, key): (&Member, &MemberKey),
    now: Timestamp,
) -> Result<Option<String>, RenewalRefused> {
    let mut news = None;
    for concern in concerns(settings, key, now) {
        if settings.refuse {
            return Err(match concern {
                Concern::Old(days) => RenewalRefused::Old { days },
                Concern::Away(days) => RenewalRefused::Away { days },
            });
        }
        let is_news = match concern {
            Concern::Away(_) => true,
            Concern::Old(_) => !is_old(settings, key, key.renewed_at_ms),
        };
        if is_news && news.is_none() {
            news = Some(concern.words(member.role, &member.name, &key.name));
        }
    }
    Ok(news)
}

/// What the log says of a renewal by such a key.
pub(super) fn event(origin: Origin, what: String, (member, at): (&Member, Timestamp)) -> Event {
    let mut event = origin.done(EventKind::SignIn, at.ms());
    if member.role == Role::User {
        event.user.clone_from(&member.name);
    }
    event.reason = format!("certificate renewed: {what}");
    event
}

fn concerns(
    settings: &IdentitySettings,
    key: &MemberKey,
    now: Timestamp,
) -> impl Iterator<Item = Concern> {
    let days = |since_ms: u64| now.ms().saturating_sub(since_ms) / DAY_MS;
    let absence = settings.max_absence.map(|max| max.as_millis());
    let away_ms = now.ms().saturating_sub(key.renewed_at_ms);
    let away = absence.filter(|max| u128::from(away_ms) > *max);
    let away = away.map(|_| Concern::Away(days(key.renewed_at_ms)));
    let old = is_old(settings, key, now.ms()).then(|| Concern::Old(days(key.joined_at_ms)));
    away.into_iter().chain(old)
}

fn is_old(settings: &IdentitySettings, key: &MemberKey, at_ms: u64) -> bool {
    let age_ms = at_ms.saturating_sub(key.joined_at_ms);
    let max = settings.max_age.map(|max| max.as_millis());
    max.is_some_and(|max| u128::from(age_ms) > max)
}

// === impl Concern ===

impl Concern {
    fn words(self, role: Role, name: &str, key: &str) -> String {
        match self {
            Self::Old(days) => format!(
                "the identity key `{key}` of {role} {name} was made {days} days ago: `postern member rotate` asks \
                 for another, a token with --replace gives one"
            ),
            Self::Away(days) => {
                format!(
                    "with the identity key `{key}` of {role} {name} nobody came for {days} days"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::fixture;

    const SETTINGS: IdentitySettings = IdentitySettings {
        max_age: Some(Duration::from_millis(365 * DAY_MS)),
        max_absence: Some(Duration::from_millis(90 * DAY_MS)),
        refuse: false,
    };

    fn at(day: u64) -> Timestamp {
        Timestamp::from_ms(1_000_000_000_000 + day * DAY_MS)
    }

    /// A member that joined on day 0, and was last given a certificate on this day.
    fn renewed_on(day: u64) -> Member {
        let mut member = fixture::member(Role::Host, "web-1");
        for key in &mut member.keys {
            key.joined_at_ms = at(0).ms();
            key.renewed_at_ms = at(day).ms();
        }
        member
    }

    fn renewal(
        settings: &IdentitySettings,
        last: u64,
        now: u64,
    ) -> Result<Option<String>, RenewalRefused> {
        let member = renewed_on(last);
        on_renewal(settings, (&member, member.keys.first().unwrap()), at(now))
    }

    #[test]
    fn a_key_that_is_old_is_said_once_and_one_that_was_away_whenever_it_comes_back() {
        for (last, now, expected) in [
            (364, 364, None),
            (365, 366, Some("was made 366 days ago")),
            (366, 367, None),
            (10, 100, None),
            (10, 101, Some("nobody came for 91 days")),
            (400, 500, Some("nobody came for 100 days")),
        ] {
            let said = renewal(&SETTINGS, last, now).unwrap();
            let is_said = said
                .as_deref()
                .map(|said| said.contains(expected.unwrap_or("-")));
            assert_eq!(is_said, expected.map(|_| true), "{last} {now}: {said:?}");
        }
        assert_eq!(warnings(&SETTINGS, &renewed_on(500), at(500)).len(), 1);
        assert_eq!(warnings(&SETTINGS, &renewed_on(300), at(500)).len(), 2);
        assert!(warnings(&SETTINGS, &renewed_on(300), at(350)).is_empty());
    }

    #[test]
    fn where_the_settings_say_so_such_keys_are_refused_and_where_they_say_off_nothing_is() {
        let refuse = IdentitySettings {
            refuse: true,
            ..SETTINGS
        };
        assert_eq!(
            renewal(&refuse, 365, 366),
            Err(RenewalRefused::Old { days: 366 })
        );
        assert_eq!(
            renewal(&refuse, 10, 101),
            Err(RenewalRefused::Away { days: 91 })
        );
        assert_eq!(renewal(&refuse, 10, 100), Ok(None));
        let off = IdentitySettings {
            max_age: None,
            max_absence: None,
            refuse: true,
        };
        assert_eq!(renewal(&off, 0, 5_000), Ok(None));
    }
}
