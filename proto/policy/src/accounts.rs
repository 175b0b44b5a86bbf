//! Users and groups of the system that the commands of a policy need. Which there are knows only the
//! host on which they run.

use crate::keyword::Keyword;
use crate::mistake::{Mistake, Place};
use crate::problem::Problem;

/// A user or group of the system that a line names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name, or its number.
    pub name: Box<str>,
    /// What it is.
    pub kind: AccountKind,
    /// The line.
    pub(crate) at: Place,
    pub(crate) keyword: Keyword,
}

/// What an account is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountKind {
    /// A user, as in passwd(5).
    User,
    /// A group, as in group(5).
    Group,
}

// === impl Account ===

impl Account {
    /// There is none such.
    pub(crate) fn mistake(&self) -> Mistake {
        let (what, database) = match self.kind {
            AccountKind::User => ("user", "passwd"),
            AccountKind::Group => ("group", "group"),
        };
        let message = format!("there is no {what} {} on this host", self.name);
        let hint = format!("`getent {database}` lists those that there are");
        let problem = Problem::new(message).hint(hint);
        Mistake::at(&self.at, Some(self.keyword.name()), problem)
    }
}
