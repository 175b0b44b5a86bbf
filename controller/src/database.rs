//! The database of a directory moved to another place: from its file to a PostgreSQL server, and back.

use std::path::Path;

use crate::data_dir::{DataDir, DataDirError};
use crate::settings::Settings;
use crate::start::directory::{place, read_settings};
use crate::start::error::StartError;
use crate::store::Place;
use crate::store::copying::{self, CopyError, CopyStep, Copying};
use crate::store::place::PostgresSettings;

/// What was copied.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DatabaseCopied {
    /// Where the database was; it is left as it was.
    pub from: String,
    /// Where it is.
    pub to: String,
    /// How many tables it has.
    pub tables: usize,
    /// Rows in all of them.
    pub rows: u64,
    /// Records of the log.
    pub records: u64,
    /// It went on where another was killed.
    pub is_resumed: bool,
}

/// Why a database was not copied; the controller's settings are as they were.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseCopyError {
    /// The directory, or its settings.
    #[error(transparent)]
    Start(#[from] StartError),
    /// One of the two databases.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// Nothing is to be done.
    #[error("the database is at {0} already")]
    There(String),
    /// A person has written it in a way of their own.
    #[error("{0} has [database] in a form that is not changed by itself")]
    Settings(String),
}

/// Copies the database of `data` to a server, or, without one, into the file of the directory, and has the
/// settings name that from then on. No controller may be serving. Killed at any moment, it goes on there
/// when it is called again. Not in a task.
///
/// # Errors
///
/// [`DatabaseCopyError`]; then the settings name the place of before.
pub fn copy_database(
    data: &Path,
    to: Option<&PostgresSettings>,
    progress: &mut dyn FnMut(&CopyStep<'_>),
) -> Result<DatabaseCopied, DatabaseCopyError> {
    copy_by(data, to, copying::ROWS, progress)
}

pub(crate) fn copy_by(
    data: &Path,
    to: Option<&PostgresSettings>,
    rows: usize,
    progress: &mut dyn FnMut(&CopyStep<'_>),
) -> Result<DatabaseCopied, DatabaseCopyError> {
    let dir = DataDir::open(data)?;
    let settings = read_settings(&dir)?.under(dir.path());
    let text = switched(&dir, to)?;
    let target = match to {
        Some(settings) => Place::Postgres(settings.clone().under(dir.path())),
        None => Place::File(dir.database()),
    };
    let _lock = dir.lock()?;
    dir.end_rotation()?;
    let source = place(&dir, &settings)?;
    if source == target {
        return Err(DatabaseCopyError::There(target.to_string()));
    }
    let of = Copying {
        from: &source,
        to: &target,
        seal: &dir.seal_key()?,
        fleet: &settings.fleet,
        rows,
    };
    let copied = copying::copy(of, progress)?;
    dir.replace_settings(&text)?;
    Ok(DatabaseCopied {
        from: source.to_string(),
        to: target.to_string(),
        tables: copied.tables,
        rows: copied.rows,
        records: copied.records,
        is_resumed: copied.is_resumed,
    })
}

fn switched(dir: &DataDir, to: Option<&PostgresSettings>) -> Result<String, DatabaseCopyError> {
    switched_text(&dir.settings(), &dir.read_settings()?, to)
}

/// The text of settings with another place of the database.
pub(crate) fn switched_text(
    path: &Path,
    text: &str,
    to: Option<&PostgresSettings>,
) -> Result<String, DatabaseCopyError> {
    let text = with_database(text, to);
    let parsed = Settings::parse(&text).map_err(|mistakes| StartError::Settings {
        path: path.to_owned(),
        mistakes,
    })?;
    if parsed.database.as_ref() != to {
        return Err(DatabaseCopyError::Settings(path.display().to_string()));
    }
    Ok(text)
}

/// Everything but its table `[database]` as it stands, and another in its place at the end.
fn with_database(text: &str, to: Option<&PostgresSettings>) -> String {
    let mut is_inside = false;
    let mut kept = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with('[') {
            let header = line.split('#').next().unwrap_or_default();
            is_inside = header.trim() == "[database]";
        }
        if !is_inside {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    let mut kept = kept.trim_end().to_owned() + "\n";
    if let Some(to) = to {
        kept += &Settings::database_text(to);
    }
    kept
}

impl From<DataDirError> for DatabaseCopyError {
    fn from(error: DataDirError) -> Self {
        Self::Start(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_the_database_is_changes_in_the_settings() {
        let before = "# ours\nfleet = \"prod\"\naddress = \"c:7443\"\n\n[retention]\nkeep = \"400d\" # for the auditor\n";
        let to = PostgresSettings {
            url: "host=/run/postgresql user=postern".to_owned(),
            password_file: Some("db.password".into()),
            ca_file: None,
        };

        let there = with_database(before, Some(&to));
        let other = with_database(
            &there,
            Some(&PostgresSettings {
                password_file: None,
                ..to.clone()
            }),
        );

        assert_eq!(Settings::parse(&there).unwrap().database, Some(to));
        assert!(there.starts_with(before), "{there}");
        assert!(
            !other.contains("db.password") && other.starts_with(before),
            "{other}"
        );
        assert_eq!(with_database(&there, None), before);
        let between = there + "\n[metrics]\nlisten = \"127.0.0.1:9000\"\n";
        let back = with_database(&between, None);
        assert!(
            back.contains("[metrics]") && !back.contains("[database]"),
            "{back}"
        );
    }
}
