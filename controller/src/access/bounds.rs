//! Which members and hosts are a caller's business: the one place that decides.
//!
//! A permission says what a role may do at all; here it is said to whom. Two things bound it: roles
//! above the caller's own are not hers, and a caller with a scope has no say over other hosts, nor
//! over what is of the whole fleet. Use cases are given the caller, and ask here.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use fleet::Role;

use super::caller::Caller;
use super::roles::{may_invite_again, may_manage};
use crate::becomes_public::Names;
use crate::error::Error;
use crate::store::model::Member;

// === impl Caller ===

impl Caller {
    /// Whether a member is to be shown to her: hosts of her scope, and everybody else.
    pub(crate) fn may_see(&self, member: &Member) -> bool {
        self.may_see_labelled(member.role, &member.labels)
    }

    /// The same of one that is still to come.
    pub(crate) fn may_see_labelled(&self, role: Role, labels: &BTreeMap<String, String>) -> bool {
        role != Role::Host || self.scope.covers(labels)
    }

    /// Refuses what concerns hosts that are not all her business; names those.
    pub(crate) fn check_hosts(
        &self,
        hosts: impl IntoIterator<Item = impl Borrow<Member>>,
    ) -> Result<(), Error> {
        let name = |host: &Member| host.name.clone();
        let hosts = hosts.into_iter();
        let others = hosts.filter(|host| !self.may_see(host.borrow()));
        let others: Vec<String> = others.map(|host| name(host.borrow())).collect();
        if others.is_empty() {
            return Ok(());
        }
        Err(self.out_of_scope(format!("{} would be concerned", Names(&others))))
    }

    /// Refuses what is of the whole fleet when she has a scope. `what` reads on before "of".
    pub(crate) fn check_whole(&self, what: &str) -> Result<(), Error> {
        if self.scope.is_whole() {
            return Ok(());
        }
        Err(self.out_of_scope(format!("{what} of the whole fleet")))
    }

    /// Refuses that she locks, unlocks, removes or changes this member.
    pub(crate) fn check_manages(&self, whom: &Member) -> Result<(), Error> {
        self.check_role(whom.role)?;
        match whom.role {
            Role::Host => self.check_hosts([whom]),
            Role::User => self.check_whole("users are"),
            Role::Auditor | Role::Helpdesk | Role::Operator | Role::Owner | Role::Validator => {
                self.check_whole("that one is")
            }
        }
    }

    /// Refuses that she invites anybody of a role, or takes back an invitation.
    pub(crate) fn check_role(&self, whom: Role) -> Result<(), Error> {
        if may_manage(self.role, whom) {
            return Ok(());
        }
        Err(Error::NotYours {
            role: self.role,
            whom,
        })
    }

    /// Whether she may invite anybody of this role, or only those who are there, again.
    pub(crate) fn may_invite_new(&self, whom: Role) -> Result<bool, Error> {
        if may_manage(self.role, whom) {
            return Ok(true);
        }
        if may_invite_again(self.role, whom) {
            return Ok(false);
        }
        Err(Error::NotYours {
            role: self.role,
            whom,
        })
    }

    /// Refuses labels that would make a host none of hers.
    pub(crate) fn check_labels(&self, labels: &BTreeMap<String, String>) -> Result<(), Error> {
        if self.scope.covers(labels) {
            return Ok(());
        }
        let missing = format!("a host that you invite or change must have {}", self.scope);
        Err(self.out_of_scope(missing))
    }

    pub(crate) fn out_of_scope(&self, problem: String) -> Error {
        Error::OutOfScope {
            scope: self.scope.to_string(),
            problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::caller::RequestId;
    use crate::store::fixture::member;
    use crate::store::model::Scope;

    fn caller(role: Role, scope: &[(&str, &str)]) -> Caller {
        let owned = scope
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Caller {
            id: 7,
            role,
            name: "mbr".to_owned(),
            scope: Scope(owned.collect()),
            request: RequestId([0; 16]),
        }
    }

    /// A host of the fixture has `role=web`.
    #[test]
    fn whoever_has_a_scope_manages_hosts_of_it_only_and_sees_users_without_managing_them() {
        let (web, db) = (
            caller(Role::Operator, &[("role", "web")]),
            caller(Role::Operator, &[("role", "db")]),
        );
        let (host, user) = (member(Role::Host, "web-1"), member(Role::User, "alice"));

        assert!(web.may_see(&host) && web.check_manages(&host).is_ok());
        assert!(!db.may_see(&host));
        let refused = db.check_manages(&host).unwrap_err().to_string();
        assert_eq!(
            refused,
            "only hosts with role=db are your business: web-1 would be concerned"
        );
        for caller in [web, db] {
            assert!(caller.may_see(&user));
            let refused = caller.check_manages(&user).unwrap_err();
            assert!(matches!(refused, Error::OutOfScope { .. }), "{refused}");
        }
        assert!(caller(Role::Operator, &[]).check_manages(&user).is_ok());
    }

    #[test]
    fn nobody_but_an_owner_manages_those_above_hosts_and_users() {
        let above = [
            Role::Auditor,
            Role::Helpdesk,
            Role::Operator,
            Role::Owner,
            Role::Validator,
        ];
        for whom in above {
            let whom = member(whom, "mbr");
            assert!(caller(Role::Owner, &[]).check_manages(&whom).is_ok());
            let refused = caller(Role::Operator, &[]).check_manages(&whom);
            assert!(
                matches!(refused, Err(Error::NotYours { .. })),
                "{refused:?}"
            );
        }
    }
}
