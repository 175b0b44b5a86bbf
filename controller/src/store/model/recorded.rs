//! What the log says last of each member, key and token, and whether what is stored agrees with it.
//!
//! A row that was put back to what it once was is as good as it was then; only the log, which is chained and
//! signed, says that it has been locked, removed or redeemed since.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use fleet::{EventKind, Role};

use super::{Lock, Member, MemberKey};

/// What was said last.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    members: BTreeMap<(Role, String), Said>,
    tokens: BTreeMap<String, TokenSaid>,
}

/// Of a member, or of one of its keys; `None` where nothing was said.
#[derive(Debug, Default)]
struct Said {
    is_there: Option<bool>,
    is_locked: Option<bool>,
    /// Of a key: the one that it is since it was rotated.
    fingerprint: Option<String>,
    keys: BTreeMap<String, Self>,
}

/// Of a token.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct TokenSaid {
    pub(crate) is_redeemed: bool,
    pub(crate) is_revoked: bool,
}

/// Whom an event is about, and what it says after that.
struct About<'a> {
    role: Role,
    name: &'a str,
    key: Option<&'a str>,
    rest: &'a str,
}

// === impl Recorded ===

impl Recorded {
    /// The kinds whose events say something of this.
    pub(crate) const KINDS: [EventKind; 6] = [
        EventKind::Enrolled,
        EventKind::Locked,
        EventKind::Banned,
        EventKind::Unlocked,
        EventKind::Removed,
        EventKind::Operator,
    ];

    /// Takes the next event of the controller's own.
    pub(crate) fn hear(&mut self, kind: EventKind, reason: &str) {
        if kind == EventKind::Operator {
            self.hear_of_token(reason);
        }
        let Some(about) = About::of(reason) else {
            return;
        };
        let whose = (about.role, about.name.to_owned());
        if kind == EventKind::Operator {
            if let Some(name) = about.new_name()
                && let Some(said) = self.members.remove(&whose)
            {
                self.members.insert((about.role, name.to_owned()), said);
            }
            return;
        }
        if kind == EventKind::Enrolled
            && let Some((_, token)) = about.rest.rsplit_once(" (token ")
        {
            let token = token.trim_end_matches(')').to_owned();
            self.tokens.entry(token).or_default().is_redeemed = true;
        }
        self.members.entry(whose).or_default().hear(kind, &about);
    }

    /// `token for user alice (0123456789ab) revoked`, `token 0123456789ab revoked with user eve`.
    fn hear_of_token(&mut self, reason: &str) {
        let Some(said) = reason.strip_prefix("token ") else {
            return;
        };
        let id = if said.starts_with("for ") {
            let id = said
                .strip_suffix(") revoked")
                .and_then(|it| it.rsplit_once('('));
            id.map(|(_, id)| id)
        } else {
            said.split_once(" revoked with ").map(|(id, _)| id)
        };
        if let Some(id) = id {
            self.tokens.entry(id.to_owned()).or_default().is_revoked = true;
        }
    }

    /// How members and tokens (by their ids) are other than the log says, in words.
    pub(crate) fn disagreements(
        &self,
        members: &[Member],
        tokens: &BTreeMap<String, TokenSaid>,
    ) -> Vec<String> {
        let mut words = Vec::new();
        for ((role, name), said) in &self.members {
            let mut of_role = members.iter().filter(|it| it.name == *name);
            // Operators of before are owners since there are owners.
            let is_it = |it: &Role| it == role || (*role, *it) == (Role::Operator, Role::Owner);
            let member = of_role.find(|it| is_it(&it.role));
            if *role == Role::Operator && member.is_some_and(|it| it.role == Role::Owner) {
                continue;
            }
            // Whose row somebody else has written is named for that, whatever role it has now.
            let of_name = || members.iter().filter(|it| it.name == *name);
            let is_altered = |it: &Member| it.lock.as_ref().is_some_and(Lock::is_of_altered);
            if member.is_none() && of_name().any(is_altered) {
                continue;
            }
            said.compare(&format!("{role} {name}"), member, &mut words);
        }
        for (id, said) in &self.tokens {
            let Some(is) = tokens.get(id) else { continue };
            if said.is_redeemed && !is.is_redeemed {
                words.push(format!(
                    "token {id} was redeemed, as the log says, and is open"
                ));
            } else if said.is_revoked && !is.is_revoked && !is.is_redeemed {
                words.push(format!(
                    "token {id} was revoked, as the log says, and is open"
                ));
            }
        }
        words
    }
}

// === impl Said ===

impl Said {
    fn hear(&mut self, kind: EventKind, about: &About<'_>) {
        let said = match about.key {
            Some(key) => self.keys.entry(key.to_owned()).or_default(),
            None => &mut *self,
        };
        if matches!(kind, EventKind::Locked | EventKind::Banned) {
            said.is_locked = Some(true);
        } else if kind == EventKind::Unlocked {
            said.is_locked = Some(false);
        } else if kind == EventKind::Removed {
            // A key that was rotated goes by the name of the one before.
            let rotated = about.rest.strip_prefix("replaced: rotated to ");
            *said = Self {
                is_there: Some(rotated.is_some()),
                fingerprint: rotated.map(str::to_owned),
                ..Self::default()
            };
        } else if kind == EventKind::Enrolled {
            said.joined(about.rest);
        }
    }

    /// `joined with key laptop (token 0123456789ab)`.
    fn joined(&mut self, rest: &str) {
        let Some(with) = rest.strip_prefix("joined") else {
            return;
        };
        if self.is_there != Some(true) {
            *self = Self::default();
        }
        self.is_there = Some(true);
        let key = with.strip_prefix(" with key ");
        if let Some(key) = key.and_then(|it| it.split(' ').next()) {
            let key = self.keys.entry(key.to_owned()).or_default();
            *key = Self {
                is_there: Some(true),
                ..Self::default()
            };
        }
    }

    fn compare(&self, whom: &str, member: Option<&Member>, words: &mut Vec<String>) {
        let Some(member) = member else {
            if self.is_there == Some(true) {
                words.push(format!("{whom} joined, as the log says, and is not there"));
            }
            return;
        };
        if self.is_there == Some(false) {
            words.push(format!("{whom} was removed, as the log says, and is there"));
            return;
        }
        words.extend(self.lock_differs(whom, member.lock.as_ref()));
        for (name, said) in &self.keys {
            let whom = format!("key {name} of {whom}");
            match member.key_named(name) {
                Some(key) => words.extend(said.key_differs(&whom, key)),
                None if said.is_there == Some(true) => {
                    words.push(format!(
                        "{whom} is not there, and was given, as the log says"
                    ));
                }
                None => {}
            }
        }
    }

    fn lock_differs(&self, whom: &str, lock: Option<&Lock>) -> Option<String> {
        if lock.is_some_and(Lock::is_of_altered) {
            return None;
        }
        match (self.is_locked?, lock.is_some()) {
            (true, false) => Some(format!("{whom} was locked, as the log says, and is not")),
            (false, true) => Some(format!(
                "{whom} was unlocked, as the log says, and is locked"
            )),
            (true, true) | (false, false) => None,
        }
    }

    fn key_differs(&self, whom: &str, key: &MemberKey) -> Option<String> {
        if self.is_there == Some(false) {
            return Some(format!("{whom} was removed, as the log says, and is there"));
        }
        if let Some(rotated) = &self.fingerprint
            && *rotated != key.fingerprint()
        {
            return Some(format!(
                "{whom} was rotated to {rotated}, as the log says, and is {}",
                key.fingerprint()
            ));
        }
        self.lock_differs(whom, key.lock.as_ref())
    }
}

// === impl About ===

impl<'a> About<'a> {
    /// Reads `user alice locked: lost`, `key laptop of user alice removed`, `host web-1: called web-2 from now
    /// on`.
    fn of(reason: &'a str) -> Option<Self> {
        let (key, said) = match reason.strip_prefix("key ") {
            Some(said) => {
                let (key, said) = said.split_once(" of ")?;
                (Some(key), said)
            }
            None => (None, reason),
        };
        let (role, said) = said.split_once(' ')?;
        let role = Role::from_str(role).ok()?;
        let (name, rest) = said.split_once([' ', ':'])?;
        Some(Self {
            role,
            name,
            key,
            rest: rest.trim_start(),
        })
    }

    /// What a host is called from now on.
    fn new_name(&self) -> Option<&'a str> {
        let said = self.rest.strip_prefix("called ")?;
        let is_host = self.role == Role::Host && self.key.is_none();
        said.split_once(" from now on")
            .map(|(name, _)| name)
            .filter(|_| is_host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture;

    fn heard(said: &[(EventKind, &str)]) -> Recorded {
        let mut recorded = Recorded::default();
        for (kind, reason) in said {
            recorded.hear(*kind, reason);
        }
        recorded
    }

    fn words(said: &[(EventKind, &str)], members: &[Member]) -> Vec<String> {
        heard(said).disagreements(members, &BTreeMap::new())
    }

    #[test]
    fn the_last_that_was_said_of_a_member_or_a_key_is_what_must_be_so() {
        let alice = fixture::member(Role::User, "alice");
        let mut locked = alice.clone();
        locked.lock = Some(Lock {
            at_ms: 1,
            reason: String::new(),
            by: "owner/root".to_owned(),
        });
        let lock = (EventKind::Locked, "user alice locked: lost: unlocked");
        let unlock = (EventKind::Unlocked, "user alice unlocked");
        let removed = (EventKind::Removed, "user alice removed");
        let joined = (EventKind::Enrolled, "user alice joined (token 00ff)");
        let key = (EventKind::Removed, "key default of user alice removed");
        let (is, is_not) = (vec![alice], Vec::new());

        assert_eq!(
            words(&[joined, lock], &is),
            ["user alice was locked, as the log says, and is not"]
        );
        assert!(words(&[joined, lock], &[locked.clone()]).is_empty());
        assert!(words(&[joined, lock, unlock], &is).is_empty());
        assert_eq!(
            words(&[lock, unlock], &[locked]),
            ["user alice was unlocked, as the log says, and is locked"]
        );
        assert_eq!(
            words(&[joined, removed], &is),
            ["user alice was removed, as the log says, and is there"]
        );
        assert!(words(&[lock, removed, joined], &is).is_empty());
        assert_eq!(
            words(&[removed, joined], &is_not),
            ["user alice joined, as the log says, and is not there"]
        );
        assert_eq!(
            words(&[key], &is),
            ["key default of user alice was removed, as the log says, and is there"]
        );
    }

    #[test]
    fn a_key_of_before_a_rotation_is_not_the_one_that_the_log_names() {
        let alice = fixture::member(Role::User, "alice");
        let now = alice.keys.first().unwrap().fingerprint();
        let rotated = |to: &str| {
            let reason = format!("key default of user alice replaced: rotated to {to}");
            words(
                &[(EventKind::Removed, &reason)],
                std::slice::from_ref(&alice),
            )
        };

        assert!(rotated(&now).is_empty());
        assert!(rotated("00ff").first().unwrap().contains("rotated to 00ff"));
    }

    #[test]
    fn a_host_that_was_renamed_is_looked_for_by_its_new_name() {
        let web = fixture::member(Role::Host, "web-2");
        let said = [
            (EventKind::Enrolled, "host web-1 joined (token 00ff)"),
            (
                EventKind::Operator,
                "host web-1: called web-2 from now on, no labels instead of a=b",
            ),
        ];

        assert!(words(&said, &[web]).is_empty());
    }

    #[test]
    fn a_token_that_was_redeemed_or_revoked_is_not_open_again() {
        let said = heard(&[
            (
                EventKind::Enrolled,
                "owner mallory joined with key a (token aa)",
            ),
            (
                EventKind::Operator,
                "token for owner, for hosts with a=(b) (bb) revoked",
            ),
            (EventKind::Operator, "token cc revoked with user eve"),
            (EventKind::Operator, "token for user alice (dd)"),
        ]);
        let open = ["aa", "bb", "cc", "dd"].map(|id| (id.to_owned(), TokenSaid::default()));

        let words = said.disagreements(&[], &BTreeMap::from(open));

        let of_tokens = words.iter().filter(|it| it.starts_with("token"));
        let ids: Vec<_> = of_tokens.map(|it| it.get(6..8).unwrap()).collect();
        assert_eq!(ids, ["aa", "bb", "cc"]);
    }
}
