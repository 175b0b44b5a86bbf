//! What the three programs do alike, so that whoever knows one knows the others.
//!
//! | module | what |
//! |---|---|
//! | `exit` | the exit codes, and what each means |
//! | `failure` | an error with its causes and a hint, on standard error |
//! | `chain` | the causes of an error, in lines or in one line |
//! | `confidential`, `wiping` | what is in memory is read by nobody else, and goes when it is freed |
//! | `log` | POSTERN_LOG, `-v`, `--log`; priorities for the systemd journal |
//! | `output` | standard output, also when nobody reads it any more |
//! | `owner` | root works in somebody's directory as that one |
//! | `pages` | `completions SHELL` and `man [DIR]` |
//! | `disk` | the disk that a file is on, in words |
//! | `few` | long lists for people: the first of each kind, and how many more there are |
//! | `files` | files that are there whole or not at all |
//! | `metrics` | the listener that Prometheus asks (feature `metrics`) |
//! | `syslog` | the log of a daemon without a service manager |
//! | `trusted` | files that nobody else can have written, or put into their place |
//! | `time` | points in time as people write and read them |
//! | `watched` | files that must stay the ones that were opened |
//! | `doc_table` | tables of the documentation that are made of data in the code |
//! | `reference` | the whole command line in one text |
//!
//! Nothing here knows what a packet, a policy or a fleet is.

mod arenas;
mod chain;
mod confidential;
pub mod disk;
pub mod doc_table;
mod exit;
mod failure;
pub mod few;
pub mod files;
mod journald;
mod log;
#[cfg(feature = "metrics")]
pub mod metrics;
mod output;
pub mod owner;
mod pages;
mod reference;
mod syslog;
pub mod time;
pub mod trusted;
mod watched;
mod wiping;

pub use arenas::give_large_blocks_back;
pub use chain::{OneLine, causes, is_denied, one_line, said_twice, stays_so};
pub use confidential::keep_memory_private;
pub use exit::{EXIT_CODES, Exit};
pub use failure::{Failure, fail};
pub use log::{LogArgs, LogFormat, Manner, log_to_stderr, log_to_syslog};
pub use output::{PrintError, note, print};
pub use pages::{CompletionsArgs, ManArgs};
pub use reference::reference;
pub use watched::{Taken, WatchedFile};
pub use wiping::Wiping;
