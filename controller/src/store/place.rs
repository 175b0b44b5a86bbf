//! Where the database is.

use std::path::{Path, PathBuf};

/// Where the database is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// SQLite, in this file.
    File(PathBuf),
    /// A PostgreSQL server.
    Postgres(PostgresSettings),
}

/// How a PostgreSQL server is reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PostgresSettings {
    /// What libpq calls a connection string: `postgresql://user@host/name`, or words
    /// (`host=/run/postgresql user=postern`). Without a password.
    pub url: String,
    /// Whose first line is the password; `None` for none.
    pub password_file: Option<PathBuf>,
    /// The authorities (PEM) of which one has to have issued the server's certificate; `None` for those
    /// that the system knows.
    pub ca_file: Option<PathBuf>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            // Without a password: none is taken with one.
            Self::Postgres(settings) => write!(f, "{}", settings.url),
        }
    }
}

// === impl PostgresSettings ===

impl PostgresSettings {
    /// The same, with files named from this directory where their path is not absolute.
    #[must_use]
    pub fn under(mut self, dir: &Path) -> Self {
        let join = |path: PathBuf| dir.join(path);
        self.password_file = self.password_file.map(join);
        self.ca_file = self.ca_file.map(join);
        self
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl From<PathBuf> for Place {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}
