//! Names of users: groups, and the lists that use them.
//!
//! A list is resolved when all files have been read, so that a group may stand behind its use.
//! Neither a list nor a group is ever empty: an empty list would mean "any user".

use std::collections::{BTreeMap, HashMap};

use crate::keyword::nearest_of;
use crate::network::shortened;
use crate::parse::values;
use crate::problem::Problem;
use crate::stanza::{Usernames, is_username};

/// The groups of a policy, and the lists resolved so far.
#[derive(Debug, Default)]
pub(crate) struct Users {
    groups: BTreeMap<String, Usernames>,
    resolved: HashMap<Box<str>, Usernames>,
}

impl Users {
    /// Reads the value of `%group`: the group's name and its users.
    pub(crate) fn define(&mut self, value: &str) -> Result<(), Problem> {
        let (group, list) = value
            .split_once(char::is_whitespace)
            .ok_or_else(|| Problem::new("the group has no users").hint("%group sre alice, bob"))?;
        let group = values::name(group)?;
        let names = list
            .split(',')
            .map(|name| user(name.trim()))
            .collect::<Result<Usernames, _>>()?;
        if self.groups.insert(group.to_owned(), names).is_some() {
            return Err(Problem::new(format!("group `{group}` is defined twice")));
        }
        Ok(())
    }

    /// Reads the value of REQUIRE_USERNAME: users and `@groups`.
    pub(crate) fn resolve(&mut self, value: &str) -> Result<Usernames, Problem> {
        if let Some(users) = self.resolved.get(value) {
            return Ok(users.clone());
        }
        let mut names: Vec<&str> = Vec::new();
        for entry in value.split(',').map(str::trim) {
            match entry.strip_prefix('@') {
                None => names.push(user(entry)?),
                Some(group) => names.extend(self.group(group)?.iter()),
            }
        }
        let users: Usernames = names.into_iter().collect();
        self.resolved.insert(value.into(), users.clone());
        Ok(users)
    }

    pub(crate) fn into_groups(self) -> BTreeMap<String, Usernames> {
        self.groups
    }

    fn group(&self, name: &str) -> Result<&Usernames, Problem> {
        self.groups.get(name).ok_or_else(|| {
            let problem = Problem::new(format!("group `@{}` is not defined", shortened(name)));
            match nearest_of(name, self.groups.keys().map(String::as_str)) {
                Some(near) => problem.hint(format!("did you mean @{near}?")),
                None => problem.hint("define it with %group NAME user, user"),
            }
        })
    }
}

fn user(name: &str) -> Result<&str, Problem> {
    if is_username(name) {
        return Ok(name);
    }
    if name.is_empty() {
        return Err(Problem::new("a name in the list of users is empty"));
    }
    Err(Problem::new(format!(
        "`{}` cannot be the name of a user",
        shortened(name)
    )))
}
