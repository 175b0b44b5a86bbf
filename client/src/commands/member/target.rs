//! Which member is meant.

use fleet::Role;
use fleet::wire::{ListMembersRequest, MemberEntry};

use crate::commands::token::create::roles;
use crate::connection::{Connection, ask};
use crate::error::{CommandError, Result};

/// A member by its name, and by its role where several have the name.
#[derive(clap::Args, Debug)]
pub(super) struct Target {
    /// Member, as `postern member list` names it, or ROLE/NAME
    #[arg(value_name = "NAME")]
    name: String,

    /// Role, where members of several roles have the name
    #[arg(long, value_name = "ROLE", value_parser = roles())]
    role: Option<Role>,
}

// === impl Target ===

impl Target {
    /// Finds the one member that is meant.
    ///
    /// # Errors
    ///
    /// Exit code 1 when there is none, 2 when there are several.
    pub(super) async fn find(&self, connection: &Connection) -> Result<(Role, MemberEntry)> {
        let (role, name) = self.parts()?;
        let members = connection
            .operator()
            .list_members(ask(ListMembersRequest { role: 0 }))
            .await
            .map_err(|status| connection.refused(status))?
            .into_inner()
            .members;
        let mut found = members.into_iter().filter_map(|member| {
            let own = Role::try_from(member.role).ok()?;
            let is_meant = member.name == name && role.is_none_or(|role| role == own);
            is_meant.then_some((own, member))
        });
        let Some(member) = found.next() else {
            let who = role.map_or("member", |role| role.as_str());
            return Err(
                CommandError::refused(format!("no {who} is called `{name}`"))
                    .with_hint("`postern member list` names them"),
            );
        };
        let others: Vec<&str> = found.map(|(role, _)| role.as_str()).collect();
        if others.is_empty() {
            return Ok(member);
        }
        let roles = [&[member.0.as_str()], others.as_slice()]
            .concat()
            .join(" and ");
        Err(
            CommandError::usage(format!("`{name}` is the name of {roles}"))
                .with_hint(format!("say which, as {}/{name}", member.0)),
        )
    }

    /// The role, if one is said, and the name.
    fn parts(&self) -> Result<(Option<Role>, &str)> {
        let Some((role, name)) = self.name.split_once('/') else {
            return Ok((self.role, &self.name));
        };
        let role: Role = role
            .parse()
            .map_err(|cause| CommandError::usage(format!("`{role}`")).because(cause))?;
        if self.role.is_some_and(|said| said != role) {
            return Err(CommandError::usage("two different roles are given"));
        }
        Ok((Some(role), name))
    }
}
