//! Which role may do what: the one table. What is not in it is denied.

use fleet::Role;

use super::permission::Permission;

/// What a role may do.
const fn permissions(role: Role) -> &'static [Permission] {
    match role {
        Role::Auditor => &[
            Permission::Audit,
            Permission::ViewAccess,
            Permission::ViewHosts,
            Permission::ViewMembers,
            Permission::ViewPolicy,
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
            Permission::ViewAccess,
            Permission::ViewHosts,
            Permission::ViewMembers,
            Permission::ViewPolicy,
        ],
        Role::User => &[Permission::SyncDirectory],
        Role::Validator => &[Permission::CheckPolicy],
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
