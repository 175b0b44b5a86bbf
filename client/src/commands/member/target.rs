//! Which member is meant.

use fleet::Role;
use fleet::wire::{ListMembersRequest, MemberEntry, ShowMemberRequest};

use crate::commands::token::create::roles;
use crate::connection::{Connection, ask};
use crate::error::{CommandError, Result};

/// A member by its name, and by its role where several have the name.
#[derive(clap::Args, Debug)]
pub(super) struct Target {
    /// Member, as `postern member list` names it, or ROLE/NAME
    #[arg(value_name = "NAME")]
    name: String,

    /// So that `host web-1` means what it says, too.
    #[arg(hide = true)]
    name_after_role: Option<String>,

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
        let names: Vec<String> = members.iter().map(|member| member.name.clone()).collect();
        let mut found = members.into_iter().filter_map(|member| {
            let own = Role::try_from(member.role).ok()?;
            let is_meant = member.name == name && role.is_none_or(|role| role == own);
            is_meant.then_some((own, member))
        });
        let Some(member) = found.next() else {
            return Err(nobody(connection, (role, name), &names).await);
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
        let two_words = self.name_after_role.as_deref();
        let two_words = two_words.map(|name| (self.name.as_str(), name));
        let Some((role, name)) = two_words.or_else(|| self.name.split_once('/')) else {
            return Ok((self.role, &self.name));
        };
        let role: Role = role.parse().map_err(|cause| {
            CommandError::usage(format!("`{role}`"))
                .because(cause)
                .with_hint(format!(
                    "one member at a time: NAME, or ROLE/NAME as host/{name}"
                ))
        })?;
        if self.role.is_some_and(|said| said != role) {
            return Err(CommandError::usage("two different roles are given"));
        }
        Ok((Some(role), name))
    }
}

/// What the controller says of a name that is none of those that it lists: it may be a host outside of
/// the caller's scope, or one that has another name now.
async fn nobody(
    connection: &Connection,
    (role, name): (Option<Role>, &str),
    known: &[String],
) -> CommandError {
    let question = ShowMemberRequest {
        role: fleet::wire::Role::from(role.unwrap_or(Role::Host)).into(),
        name: name.to_owned(),
    };
    let said = match role {
        Some(_) => connection.operator().show_member(ask(question)).await.err(),
        None => None,
    };
    let error = match said {
        Some(status) => connection.refused(status),
        None => {
            let who = role.map_or("member", |role| role.as_str());
            let near = near(name, known);
            CommandError::refused(format!("no {who} is called `{name}`{near}"))
        }
    };
    error.with_hint("`postern member list` names them")
}

/// What goes after a sentence about a name that nobody has; empty when none is like it.
fn near(name: &str, known: &[String]) -> String {
    let likeness = |known: &String| strsim::jaro_winkler(known, name);
    let nearest = known.iter().map(|known| (likeness(known), known));
    let nearest = nearest
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(one, _), (other, _)| one.total_cmp(other));
    match nearest {
        Some((_, nearest)) => format!("; did you mean {nearest}?"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_name_that_nobody_has_the_one_like_it_is_named() {
        let known = ["alice", "bob", "web-1"].map(str::to_owned);

        assert_eq!(near("alcie", &known), "; did you mean alice?");
        assert_eq!(near("web1", &known), "; did you mean web-1?");
        assert_eq!(near("mallory", &known), "");
    }

    fn target(name: &str, after: Option<&str>, role: Option<Role>) -> Target {
        Target {
            name: name.to_owned(),
            name_after_role: after.map(str::to_owned),
            role,
        }
    }

    #[test]
    fn a_role_may_stand_before_the_name_with_a_slash_or_as_a_word_of_its_own() {
        for said in [
            target("host/web-1", None, None),
            target("host", Some("web-1"), None),
            target("web-1", None, Some(Role::Host)),
            target("host", Some("web-1"), Some(Role::Host)),
        ] {
            assert_eq!(said.parts().unwrap(), (Some(Role::Host), "web-1"));
        }
        assert_eq!(
            target("web-1", None, None).parts().unwrap(),
            (None, "web-1")
        );
    }

    #[test]
    fn two_names_are_a_mistake_with_a_hint() {
        let refused = target("web-1", Some("web-2"), None).parts().unwrap_err();

        let text = format!("{refused:?}");
        assert!(text.contains("one member at a time"), "{text}");
    }
}
