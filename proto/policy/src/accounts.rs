//! Users and groups of the system that the commands of a policy need. Which there are knows only the
//! host on which they run.

use crate::keyword::Keyword;
use crate::mistake::{InvalidPolicy, Mistake, Place};
use crate::policy::Policy;
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

// === impl Policy ===

impl Policy {
    /// Finds what no command can run as, since the host has no such user or group.
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`] with a mistake for each line that names one.
    pub fn require_accounts(
        &self,
        mut exists: impl FnMut(&Account) -> bool,
    ) -> Result<(), InvalidPolicy> {
        let unknown = self.accounts.iter().filter(|account| !exists(account));
        let mistakes: Vec<Mistake> = unknown.map(Account::mistake).collect();
        if mistakes.is_empty() {
            Ok(())
        } else {
            Err(InvalidPolicy { mistakes })
        }
    }
}

// === impl Account ===

impl Account {
    fn mistake(&self) -> Mistake {
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
