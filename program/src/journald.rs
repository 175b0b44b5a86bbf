//! The systemd journal: whether standard error leads there, and the priorities it reads
//! (`sd-daemon(3)`: a line may begin with `<N>`, N as in `syslog(3)`).

use std::env;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;

/// How much a line matters, as the journal counts it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Priority {
    Error = 3,
    Warning = 4,
    Info = 6,
    Debug = 7,
}

/// Reports whether standard error is connected to the journal, and not led elsewhere since systemd
/// set the variable (`systemd.exec(5)`).
pub(crate) fn is_stderr() -> bool {
    let Ok(stream) = env::var("JOURNAL_STREAM") else {
        return false;
    };
    let stderr = io::stderr().as_fd().try_clone_to_owned().map(File::from);
    stderr
        .and_then(|stderr| stderr.metadata())
        .is_ok_and(|stderr| names(&stream, stderr.dev(), stderr.ino()))
}

/// Puts the priority before every line.
pub(crate) fn prefixed(priority: Priority, text: &str) -> String {
    let number = priority as u8;
    text.lines()
        .map(|line| format!("<{number}>{line}\n"))
        .collect()
}

/// Whether `stream` (`device:inode`) is this file.
fn names(stream: &str, device: u64, inode: u64) -> bool {
    stream.split_once(':').is_some_and(|(dev, ino)| {
        (dev.parse(), ino.parse()) == (Ok::<u64, _>(device), Ok::<u64, _>(inode))
    })
}

// === impl Priority ===

impl From<&tracing::Level> for Priority {
    fn from(level: &tracing::Level) -> Self {
        match *level {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warning,
            tracing::Level::INFO => Self::Info,
            tracing::Level::DEBUG | tracing::Level::TRACE => Self::Debug,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_the_journal_by_device_and_inode() {
        assert!(names("8:1234", 8, 1234));
        for other in ["8:1235", "9:1234", "8", "", "8:", "8:1234:5"] {
            assert!(!names(other, 8, 1234), "{other}");
        }
    }

    #[test]
    fn every_line_has_its_priority() {
        assert_eq!(
            prefixed(Priority::Error, "error: a\n  because: b\n"),
            "<3>error: a\n<3>  because: b\n"
        );
    }
}
