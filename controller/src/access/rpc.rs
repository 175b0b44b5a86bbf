//! What each RPC needs of its caller. An RPC that is not listed here is denied to everyone.

use super::permission::Permission;

/// What an RPC needs of its caller.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Requirement {
    /// Nothing: whoever reaches the port may call it.
    Nothing,
    /// Membership in a role with this permission.
    Permission(Permission),
}

/// What the RPC at `path` needs of its caller. `None`: nobody may call it.
#[must_use]
pub fn requirement(path: &str) -> Option<Requirement> {
    let permission = match path {
        "/grpc.health.v1.Health/Check" | "/grpc.health.v1.Health/Watch" => {
            return Some(Requirement::Nothing);
        }
        "/postern.v1.Enrollment/Redeem"
        | "/postern.v1.Enrollment/Renew"
        | "/postern.v1.Enrollment/Rotate" => {
            return Some(Requirement::Nothing);
        }

        "/postern.v1.Agent/Session"
        | "/postern.v1.Agent/Acknowledge"
        | "/postern.v1.Agent/PushEvents" => Permission::ServeAsHost,
        "/postern.v1.Agent/Claim" => Permission::ClaimMessages,

        "/postern.v1.Operator/CreateToken" | "/postern.v1.Operator/RevokeToken" => {
            Permission::CreateTokens
        }
        "/postern.v1.Operator/ListTokens"
        | "/postern.v1.Operator/ListMembers"
        | "/postern.v1.Operator/ShowMember" => Permission::ViewMembers,
        "/postern.v1.Operator/LockMember"
        | "/postern.v1.Operator/UnlockMember"
        | "/postern.v1.Operator/RemoveMember"
        | "/postern.v1.Operator/RotateMember"
        | "/postern.v1.Operator/BanHost" => Permission::ManageMembers,
        "/postern.v1.Operator/ListHosts"
        | "/postern.v1.Operator/ShowHost"
        | "/postern.v1.Operator/ListControllers" => Permission::ViewHosts,
        "/postern.v1.Operator/ApplyPolicy" | "/postern.v1.Operator/RollbackPolicy" => {
            Permission::ApplyPolicy
        }
        "/postern.v1.Operator/SetHost" | "/postern.v1.Operator/RenameHost" => {
            Permission::ManageHosts
        }
        "/postern.v1.Operator/DiffPolicy" | "/postern.v1.Operator/WhatIf" => {
            Permission::CheckPolicy
        }
        "/postern.v1.Operator/WhoCan" | "/postern.v1.Operator/Can" => Permission::ViewAccess,
        "/postern.v1.Operator/ShowPolicy"
        | "/postern.v1.Operator/PolicyHistory"
        | "/postern.v1.Operator/RenderPolicy" => Permission::ViewPolicy,

        "/postern.v1.Audit/ListEvents" => Permission::Audit,
        "/postern.v1.Audit/ReadLog" => Permission::VerifyAudit,
        "/postern.v1.Audit/AccessReview" => Permission::ViewAccess,
        "/postern.v1.Audit/ListSinks" => Permission::ViewSinks,

        "/postern.v1.Directory/Sync"
        | "/postern.v1.Directory/WhoAmI"
        | "/postern.v1.Directory/RecentEvents" => Permission::SyncDirectory,

        _ => return None,
    };
    Some(Requirement::Permission(permission))
}
