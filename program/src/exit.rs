//! Exit codes. Scripts depend on them; they are part of the interface.

use std::process::ExitCode;

/// How a program ends: one meaning each, the same in all three programs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Exit {
    /// Done; also when nobody reads the output any more.
    Done = 0,
    /// Understood and refused, not found, or failed on this machine.
    Refused = 1,
    /// The command line makes no sense; clap's own code. Also of a question that is answered with 0
    /// or 1 (`postern can`): it could not be answered.
    Usage = 2,
    /// The controller, the host or the network cannot be reached; trying later is sensible.
    Unreachable = 3,
    /// Done, but not everywhere yet: where it was not is named, and gets it by itself.
    Partly = 4,
    /// A file that configures something was read and has mistakes (`EX_USAGE` of sysexits.h). Of what runs
    /// for long also: what it needs at its start is not there or not usable, and stays so until somebody
    /// changes it. Whoever watches over it does not start it again.
    Invalid = 64,
}

/// The exit codes as every program's help has them.
pub const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   refused, or not found
  2   usage
  3   unreachable
  4   done, but some hosts have not heard yet; they are named
  64  invalid configuration; every mistake is on standard error with file and line";

// === impl Exit ===

impl Exit {
    /// Returns the number.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_every_code() {
        for exit in [
            Exit::Done,
            Exit::Refused,
            Exit::Usage,
            Exit::Unreachable,
            Exit::Partly,
            Exit::Invalid,
        ] {
            let line = format!("\n  {:<4}", exit.code());
            assert!(EXIT_CODES.contains(&line), "{exit:?}");
        }
    }
}
