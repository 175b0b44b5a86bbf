//! Users and groups of this host, as its databases know them.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use policy::{Account, AccountKind, CommandRule};

/// The account that packages make for what reads packets.
pub(crate) const OF_CAPTURE: &str = "postern-capture";

/// What a process is, for the kernel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Identity {
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    /// All of its supplementary groups: those of its user, and none of root's.
    pub(crate) groups: Vec<Gid>,
}

/// There is no such user or group.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum UnknownAccount {
    #[error("there is no user {0} on this host")]
    User(String),
    #[error("there is no group {0} on this host")]
    Group(String),
    /// Who is the same user could stop what reads packets.
    #[error("{0} is the user of a process of the agent; no command runs as it")]
    Ours(String),
}

// === impl Identity ===

impl Identity {
    /// Looks up as whom a command runs; `None` when as the agent itself.
    ///
    /// # Errors
    ///
    /// [`UnknownAccount`] names what this host does not have.
    pub(crate) fn of(rule: &CommandRule) -> Result<Option<Self>, UnknownAccount> {
        let user = rule.user.as_deref().map(user).transpose()?;
        let group = rule.group.as_deref().map(group).transpose()?;
        Ok(match (user, group) {
            (None, None) => None,
            (None, Some(gid)) => Some(Self {
                uid: Uid::effective(),
                gid,
                groups: vec![gid],
            }),
            (Some(user), gid) => Some(Self::as_user(&user, gid)?),
        })
    }

    fn as_user(user: &User, gid: Option<Gid>) -> Result<Self, UnknownAccount> {
        if user.name == OF_CAPTURE {
            return Err(UnknownAccount::Ours(user.name.clone()));
        }
        let gid = gid.unwrap_or(user.gid);
        Ok(Self {
            uid: user.uid,
            gid,
            groups: groups_of(user, gid),
        })
    }
}

/// Whether this host has it.
pub(crate) fn exists(account: &Account) -> bool {
    match account.kind {
        AccountKind::User => user(&account.name).is_ok(),
        AccountKind::Group => group(&account.name).is_ok(),
    }
}

/// By name, or else by number.
fn user(name: &str) -> Result<User, UnknownAccount> {
    let named = User::from_name(name).ok().flatten();
    let numbered = || {
        let uid = Uid::from_raw(name.parse().ok()?);
        User::from_uid(uid).ok().flatten()
    };
    named
        .or_else(numbered)
        .ok_or_else(|| UnknownAccount::User(name.to_owned()))
}

fn group(name: &str) -> Result<Gid, UnknownAccount> {
    let named = Group::from_name(name).ok().flatten();
    let numbered = || {
        let gid = Gid::from_raw(name.parse().ok()?);
        Group::from_gid(gid).ok().flatten()
    };
    named
        .or_else(numbered)
        .map(|group| group.gid)
        .ok_or_else(|| UnknownAccount::Group(name.to_owned()))
}

/// The groups of a user, with this one as her first. What cannot be looked up is left out.
fn groups_of(user: &User, gid: Gid) -> Vec<Gid> {
    let name = CString::new(user.name.as_str()).ok();
    name.and_then(|name| getgrouplist(&name, gid).ok())
        .unwrap_or_else(|| vec![gid])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_command_runs_as_the_user_that_reads_packets() {
        let nobody = user("nobody").unwrap();
        assert!(Identity::as_user(&nobody, None).is_ok());

        let ours = User {
            name: OF_CAPTURE.to_owned(),
            ..nobody
        };
        let refused = Identity::as_user(&ours, None).unwrap_err();

        assert_eq!(refused, UnknownAccount::Ours(OF_CAPTURE.to_owned()));
    }

    #[test]
    fn a_user_has_her_own_groups_and_a_group_is_looked_up_among_groups() {
        let rule = |user: Option<&str>, group: Option<&str>| CommandRule {
            user: user.map(Box::from),
            group: group.map(Box::from),
            sudo: None,
        };
        let nobody = Identity::of(&rule(Some("nobody"), None)).unwrap().unwrap();
        let number = nobody.uid.to_string();

        assert!(!nobody.groups.contains(&Gid::from_raw(0)));
        assert_eq!(
            Identity::of(&rule(Some(&number), None)),
            Ok(Some(nobody.clone()))
        );
        // `shadow` is a group of Debian and no user.
        let shadow = Identity::of(&rule(Some("nobody"), Some("shadow"))).unwrap();
        let shadow = shadow.unwrap();
        assert_eq!((shadow.uid, shadow.groups), (nobody.uid, vec![shadow.gid]));
        assert_eq!(
            Identity::of(&rule(None, Some("no-such-group"))),
            Err(UnknownAccount::Group("no-such-group".to_owned()))
        );
        assert_eq!(Identity::of(&rule(None, None)), Ok(None));
    }
}
