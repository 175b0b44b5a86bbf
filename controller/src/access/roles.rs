//! Which role may do what: the one table. What is not in it is denied.

use fleet::Role;

use super::permission::Permission;

/// What a role may do.
const fn permissions(role: Role) -> &'static [Permission] {
    match role {
        Role::Auditor => &[Permission::Audit],
        Role::Host => &[Permission::ServeAsHost],
        Role::Operator => &[
            Permission::ApplyPolicy,
            Permission::Audit,
            Permission::BanHosts,
            Permission::CreateTokens,
            Permission::ViewHosts,
            Permission::ViewPolicy,
        ],
        Role::User => &[Permission::SyncDirectory],
    }
}

/// Whether members of this role may do it.
#[must_use]
pub fn may(role: Role, permission: Permission) -> bool {
    permissions(role).contains(&permission)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [Role; 4] = [Role::Auditor, Role::Host, Role::Operator, Role::User];

    #[test]
    fn every_permission_is_held_by_some_role() {
        for permission in Permission::ALL {
            assert!(
                ROLES.into_iter().any(|role| may(role, permission)),
                "{permission:?}"
            );
        }
    }

    #[test]
    fn what_changes_the_fleet_is_for_operators_only() {
        for permission in [
            Permission::ApplyPolicy,
            Permission::BanHosts,
            Permission::CreateTokens,
        ] {
            let allowed = ROLES.into_iter().filter(|role| may(*role, permission));
            assert_eq!(allowed.collect::<Vec<_>>(), [Role::Operator]);
        }
    }
}
