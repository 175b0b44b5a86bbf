//! `fwknop`: this program called by that name, beside the real one.
//!
//! Both get the same words, the same home and the same input; what the real one made, kept or ended with
//! is what is expected.

mod files;
mod packets;
mod ways;

use std::os::unix::fs::symlink;
use std::process::Command;

use crate::sandbox::{Ran, Sandbox, finish};

/// The real one.
const REAL: &str = "/usr/bin/fwknop";

/// The same home for both.
struct Pair {
    ours: Sandbox,
    theirs: Sandbox,
}

/// What both said; they ended alike.
struct Both {
    ours: Ran,
    theirs: Ran,
}

// === impl Pair ===

impl Pair {
    fn new() -> Self {
        let ours = Sandbox::new();
        let program = ours.command().get_program().to_owned();
        symlink(program, ours.dir.path().join("fwknop")).unwrap();
        Self {
            ours,
            theirs: Sandbox::new(),
        }
    }

    /// Writes a file into both.
    fn write(&self, name: &str, text: &str) {
        self.ours.write(name, text);
        self.theirs.write(name, text);
    }

    fn ours(&self, words: &[&str], stdin: &str) -> Ran {
        finish(self.command(&self.ours, true, words), stdin)
    }

    fn theirs(&self, words: &[&str], stdin: &str) -> Ran {
        finish(self.command(&self.theirs, false, words), stdin)
    }

    /// Both, which must end alike.
    fn both(&self, words: &[&str], stdin: &str) -> Both {
        let ours = self.ours(words, stdin);
        let theirs = self.theirs(words, stdin);
        assert_eq!(
            ours.code, theirs.code,
            "{words:?}\nours: {}\ntheirs: {}",
            ours.stderr, theirs.stderr
        );
        Both { ours, theirs }
    }

    fn command(&self, sandbox: &Sandbox, is_ours: bool, words: &[&str]) -> Command {
        let link = self.ours.dir.path().join("fwknop");
        let mut command = Command::new(if is_ours {
            link.as_path()
        } else {
            REAL.as_ref()
        });
        command
            .env_clear()
            .env("HOME", sandbox.dir.path())
            .env("LOGNAME", "mbr")
            .env("PATH", "/usr/bin:/bin")
            .current_dir(sandbox.dir.path())
            .args(words);
        command
    }
}

fn read(sandbox: &Sandbox, name: &str) -> String {
    std::fs::read_to_string(sandbox.dir.path().join(name)).unwrap()
}

fn mode(sandbox: &Sandbox, name: &str) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    let path = sandbox.dir.path().join(name);
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
