//! No error says a cause in its message and in the chain; missing files end as everywhere.

use std::io;
use std::path::PathBuf;

use program::files::ReadError;
use program::{PrintError, said_twice};

use super::*;
use crate::commands::control::Unreached;

fn cause() -> io::Error {
    io::Error::other("stuck")
}

fn path() -> PathBuf {
    PathBuf::from("/somewhere/file")
}

/// One of each that has a cause.
fn failures() -> Vec<Box<dyn Failure>> {
    let journal = || JournalError::Io {
        doing: "open",
        path: path(),
        cause: cause(),
    };
    let sqlite = JournalError::Sqlite {
        doing: "open",
        path: path(),
        cause: rusqlite::Error::InvalidQuery,
    };
    let access_file = || InvalidAccessFile::Unreadable(ReadError::of(&path(), cause()));
    let unusable = InvalidAccessFile::CompiledPolicy {
        path: path(),
        cause: gate::CompileError::Key {
            stanza: "ssh".to_owned(),
            cause: spa::InvalidKey::LegacyWithHmac,
        },
    };
    vec![
        Box::new(ConfigError::Unreadable(ReadError::of(&path(), cause()))),
        Box::new(RunError::AccessFile(access_file())),
        Box::new(RunError::AccessFile(unusable)),
        Box::new(RunError::Journal(journal())),
        Box::new(RunError::Journal(sqlite)),
        Box::new(RunError::Thread(cause())),
        Box::new(ExplainError::AccessFile(access_file())),
        Box::new(ExplainError::Input(cause())),
        Box::new(Unreached::NoAgent {
            path: path(),
            cause: cause(),
        }),
        Box::new(StatusFailed::Silent {
            path: path(),
            stopped: None,
            cause: cause(),
        }),
        Box::new(ExplainError::Print(PrintError::Stdout(cause()))),
    ]
}

/// The same of what only an agent that can join has.
#[cfg(feature = "link")]
fn failures_of_members() -> Vec<Box<dyn Failure>> {
    let files = || FilesError::Io {
        operation: "read",
        path: path(),
        cause: cause(),
    };
    let journal = JournalError::Io {
        doing: "open",
        path: path(),
        cause: cause(),
    };
    vec![
        Box::new(RunError::Member(files())),
        Box::new(JoinFailed::Input(cause())),
        Box::new(JoinFailed::Token(fleet::InvalidToken::Damaged)),
        Box::new(JoinFailed::Join(JoinError::Files(files()))),
        Box::new(JoinFailed::Journal(journal)),
        Box::new(JoinFailed::Runtime(cause())),
    ]
}

#[cfg(not(feature = "link"))]
fn failures_of_members() -> Vec<Box<dyn Failure>> {
    Vec::new()
}

#[test]
fn no_cause_is_said_twice_and_none_is_lost() {
    for failure in failures().into_iter().chain(failures_of_members()) {
        assert_eq!(said_twice(&*failure), None, "{failure:?}");
        assert!(failure.source().is_some(), "{failure:?}");
    }
}

#[test]
fn a_file_that_is_not_there_is_refused_and_one_with_mistakes_is_invalid() {
    let missing =
        crate::policies::load(&path(), &Default::default(), gate::Now::default()).unwrap_err();
    let no_config = crate::config::RawConfig::read_file(&path()).unwrap_err();
    let mistakes = ConfigError::Invalid(Vec::new());

    assert_eq!(missing.exit(), Exit::Refused);
    assert_eq!(no_config.exit(), Exit::Refused);
    assert_eq!(mistakes.exit(), Exit::Invalid);
}

#[test]
fn to_explain_by_files_that_no_agent_starts_with_ends_as_that_start_does() {
    let missing = || ReadError::of(&path(), io::ErrorKind::NotFound.into());
    let access_file = || InvalidAccessFile::Unreadable(missing());
    let config = || ConfigError::Unreadable(missing());
    let explained = [
        ExplainError::AccessFile(access_file()).exit(),
        ExplainError::Config(config()).exit(),
    ];
    let started = [
        RunError::AccessFile(access_file()).exit(),
        RunError::Config(config()).exit(),
    ];

    assert_eq!(explained, started);
    assert_eq!(explained, [Exit::Invalid; 2]);
    // What may pass, as a disk that fails once.
    let stuck = InvalidAccessFile::Unreadable(ReadError::of(&path(), cause()));
    assert_eq!(ExplainError::AccessFile(stuck).exit(), Exit::Refused);
}

#[test]
fn output_that_nobody_reads_is_no_failure() {
    let closed = ExplainError::Print(PrintError::Stdout(io::ErrorKind::BrokenPipe.into()));

    assert_eq!(closed.exit(), Exit::Done);
}
