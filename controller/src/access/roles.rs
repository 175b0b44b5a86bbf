//! Which role may do what: the one table. What is not in it is denied.

use fleet::Role;

use super::permission::Permission;

/// What a role may do.
const fn permissions(role: Role) -> &'static [Permission] {
    match role {
        Role::Auditor => &[
            Permission::Audit,
            Permission::VerifyAudit,
            Permission::ViewAccess,
            Permission::ViewHosts,
            Permission::ViewMembers,
            Permission::ViewPolicy,
            Permission::ViewSinks,
        ],
        Role::Helpdesk => &[
            Permission::Audit,
            Permission::CreateTokens,
            Permission::ViewHosts,
            Permission::ViewMembers,
        ],
        Role::Host => &[Permission::ClaimMessages, Permission::ServeAsHost],
        Role::Operator | Role::Owner => &[
            Permission::ApplyPolicy,
            Permission::Audit,
            Permission::CheckPolicy,
            Permission::CreateTokens,
            Permission::ManageHosts,
            Permission::ManageMembers,
            Permission::VerifyAudit,
            Permission::ViewAccess,
            Permission::ViewHosts,
            Permission::ViewMembers,
            Permission::ViewPolicy,
            Permission::ViewSinks,
        ],
        Role::User => &[Permission::SyncDirectory],
        Role::Validator => &[Permission::CheckPolicy],
    }
}

/// Whom a role may invite, lock, unlock and remove.
const fn manages(role: Role) -> &'static [Role] {
    match role {
        Role::Owner => &Role::ALL,
        Role::Operator => &[Role::Host, Role::User],
        Role::Auditor | Role::Helpdesk | Role::Host | Role::User | Role::Validator => &[],
    }
}

/// Whether members of this role may invite, lock, unlock and remove those of the other.
pub(crate) fn may_manage(role: Role, whom: Role) -> bool {
    manages(role).contains(&whom)
}

/// Whether members of this role may invite those of the other again who are there.
pub(crate) fn may_invite_again(role: Role, whom: Role) -> bool {
    may_manage(role, whom) || (role, whom) == (Role::Helpdesk, Role::User)
}

/// Whether the business of a member of this role may be some hosts only.
pub(crate) const fn may_have_scope(role: Role) -> bool {
    match role {
        Role::Auditor | Role::Helpdesk | Role::Operator | Role::Validator => true,
        Role::Host | Role::Owner | Role::User => false,
    }
}

/// Whether it is recorded what members of this role read: those who do nothing else.
pub(crate) const fn reads_are_recorded(role: Role) -> bool {
    match role {
        Role::Auditor | Role::Helpdesk | Role::Validator => true,
        Role::Host | Role::Operator | Role::Owner | Role::User => false,
    }
}

/// What a role may still do when it is locked: a host hears that it is, and its events are taken,
/// since what it did before must not be lost to the audit.
const fn permissions_when_locked(role: Role) -> &'static [Permission] {
    match role {
        Role::Host => &[Permission::ServeAsHost],
        Role::Auditor
        | Role::Helpdesk
        | Role::Operator
        | Role::Owner
        | Role::User
        | Role::Validator => &[],
    }
}

/// Whether a locked member of this role may do it.
pub(crate) fn may_when_locked(role: Role, permission: Permission) -> bool {
    permissions_when_locked(role).contains(&permission)
}

/// Whether members of this role may do it.
#[must_use]
pub fn may(role: Role, permission: Permission) -> bool {
    permissions(role).contains(&permission)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_permission_is_held_by_some_role() {
        for permission in Permission::ALL {
            assert!(
                Role::ALL.into_iter().any(|role| may(role, permission)),
                "{permission:?}"
            );
        }
    }

    #[test]
    fn what_changes_the_fleet_is_for_operators_and_owners_only() {
        for permission in [
            Permission::ApplyPolicy,
            Permission::ManageHosts,
            Permission::ManageMembers,
        ] {
            let allowed = Role::ALL.into_iter().filter(|role| may(*role, permission));
            assert_eq!(allowed.collect::<Vec<_>>(), [Role::Operator, Role::Owner]);
        }
    }

    #[test]
    fn an_owner_manages_all_an_operator_hosts_and_users_and_a_helpdesk_invites_users_again() {
        for whom in Role::ALL {
            let is_below = matches!(whom, Role::Host | Role::User);
            for role in Role::ALL {
                let manages = role == Role::Owner || role == Role::Operator && is_below;
                assert_eq!(may_manage(role, whom), manages, "{role} {whom}");
                let again = manages || role == Role::Helpdesk && whom == Role::User;
                assert_eq!(may_invite_again(role, whom), again, "{role} {whom}");
            }
        }
    }

    #[test]
    fn whoever_is_locked_may_do_nothing_but_a_host_hears_of_it_and_is_heard() {
        for role in Role::ALL {
            for permission in Permission::ALL {
                let left = role == Role::Host && permission == Permission::ServeAsHost;
                assert_eq!(
                    may_when_locked(role, permission),
                    left,
                    "{role} {permission:?}"
                );
            }
        }
    }
}
