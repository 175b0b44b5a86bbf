//! Names of users: groups, and the lists that use them.
//!
//! A list is resolved when all files have been read, so that a group may stand behind its use.
//! Neither a list nor a group is ever empty: an empty list would mean "any user".

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::keyword::nearest_of;
use crate::mistake::Place;
use crate::network::shortened;
use crate::parse::values;
use crate::problem::Problem;
use crate::stanza::{Usernames, is_username};

/// The groups of a policy, and the lists resolved so far.
#[derive(Debug, Default)]
pub(crate) struct Users {
    groups: Groups,
    resolved: HashMap<Box<str>, Usernames>,
}

/// Groups by name, without `@`.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    pub(crate) users: BTreeMap<String, Usernames>,
    pub(crate) origins: BTreeMap<String, Place>,
    /// Those that some list names.
    pub(crate) used: BTreeSet<String>,
}

impl Users {
    /// Reads the value of `%group`: the group's name and its users.
    pub(crate) fn define(&mut self, value: &str, at: Place) -> Result<(), Problem> {
        let (group, list) = value
            .split_once(char::is_whitespace)
            .ok_or_else(|| Problem::new("the group has no users").hint("%group sre alice, bob"))?;
        let group = values::name(group)?;
        let names = list
            .split(',')
            .map(|name| user(name.trim()))
            .collect::<Result<Usernames, _>>()?;
        if let Some(Place { file, line }) = self.groups.origins.get(group) {
            let problem = format!("group `{group}` is defined twice, first at {file}:{line}");
            return Err(Problem::new(problem));
        }
        self.groups.origins.insert(group.to_owned(), at);
        self.groups.users.insert(group.to_owned(), names);
        Ok(())
    }

    /// Reads the value of REQUIRE_USERNAME: users and `@groups`.
    pub(crate) fn resolve(&mut self, value: &str) -> Result<Usernames, Problem> {
        if let Some(users) = self.resolved.get(value) {
            return Ok(users.clone());
        }
        let mut names: Vec<&str> = Vec::new();
        let mut used = Vec::new();
        for entry in value.split(',').map(str::trim) {
            match entry.strip_prefix('@') {
                None => names.push(user(entry)?),
                Some(group) => {
                    names.extend(self.group(group)?.iter());
                    used.push(group.to_owned());
                }
            }
        }
        let users: Usernames = names.into_iter().collect();
        self.groups.used.extend(used);
        self.resolved.insert(value.into(), users.clone());
        Ok(users)
    }

    pub(crate) fn into_groups(self) -> Groups {
        self.groups
    }

    fn group(&self, name: &str) -> Result<&Usernames, Problem> {
        self.groups.users.get(name).ok_or_else(|| {
            let problem = Problem::new(format!("group `@{}` is not defined", shortened(name)));
            match nearest_of(name, self.groups.users.keys().map(String::as_str)) {
                Some(near) => problem.hint(format!("did you mean @{near}?")),
                None => problem.hint("define it with %group NAME user, user"),
            }
        })
    }
}

/// What is doubtful about a list of users in which blanks separate words: they do not separate names.
pub(crate) fn blank_in(list: &str) -> Option<Problem> {
    let name = list
        .split(',')
        .map(str::trim)
        .find(|name| name.contains(char::is_whitespace))?;
    let problem = Problem::new(format!(
        "`{}` is one name, with a blank in it",
        shortened(name)
    ));
    Some(problem.hint("commas separate names"))
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
