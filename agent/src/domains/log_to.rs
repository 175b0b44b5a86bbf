//! Where the processes of an agent log, and in which form: all to the same place.

use program::{LogArgs, LogFormat, Manner};
use serde::{Deserialize, Serialize};

/// As it was asked for on the command line.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LogTo {
    verbose: u8,
    is_json: bool,
    /// Name and facility in syslog, where it goes there.
    syslog: Option<(String, u8)>,
}

// === impl LogTo ===

impl LogTo {
    /// Standard error.
    #[must_use]
    pub fn stderr(args: LogArgs) -> Self {
        Self {
            verbose: args.verbose,
            is_json: args.log == LogFormat::Json,
            syslog: None,
        }
    }

    /// Syslog, under this name and as this facility by its number.
    #[must_use]
    pub fn syslog(args: LogArgs, identity: &str, facility: u8) -> Self {
        Self {
            syslog: Some((identity.to_owned(), facility)),
            ..Self::stderr(args)
        }
    }

    /// Begins to log, as what runs for long.
    pub fn begin(&self) {
        let args = LogArgs {
            verbose: self.verbose,
            log: if self.is_json {
                LogFormat::Json
            } else {
                LogFormat::Text
            },
        };
        match &self.syslog {
            Some((identity, facility)) => {
                program::log_to_syslog(args, Manner::Daemon, identity, *facility);
            }
            None => program::log_to_stderr(args, Manner::Daemon),
        }
    }
}
