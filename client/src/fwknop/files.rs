//! The files that `fwknop` works with.

use std::path::{Path, PathBuf};

use super::line::Line;
use super::stanza;
use crate::error::{CommandError, Result};
use crate::profile::home;
use crate::rc::RcFile;
use crate::ui::Ui;

/// The files that a run works with; `None` for those that it must not touch.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) rc: Option<PathBuf>,
    pub(super) arguments: Option<PathBuf>,
}

// === impl Files ===

impl Files {
    /// The files that the options name.
    ///
    /// # Errors
    ///
    /// Exit code 2 when none is to be looked for and none is named.
    pub(super) fn of(line: &Line) -> Result<Self> {
        let no_home = line.has("no-home-dir");
        let file = |option: &str, name: &str| {
            let named = line.value(option).map(PathBuf::from);
            named.or_else(|| (!no_home).then(|| home().join(name)))
        };
        let no_rc = line.has("no-rc-file");
        let rc = file("rc-file", ".fwknoprc").filter(|_| !no_rc);
        if no_home && rc.is_none() && !no_rc {
            return Err(CommandError::usage(
                "--no-home-dir needs --rc-file or --no-rc-file",
            ));
        }
        let needs_arguments = !line.has("no-save-args");
        let arguments = file("save-args-file", ".fwknop.run");
        if no_home && arguments.is_none() && needs_arguments {
            return Err(CommandError::usage(
                "--no-home-dir needs -E FILE or --no-save-args",
            ));
        }
        Ok(Self { rc, arguments })
    }

    /// The rc file, for something that cannot do without it.
    pub(super) fn rc_or(&self, what: &str) -> Result<&Path> {
        self.rc.as_deref().ok_or_else(|| {
            CommandError::usage(format!("{what} an rc file, and --no-rc-file forbids it"))
        })
    }

    /// The file of the last arguments, for those that want them.
    pub(super) fn arguments(&self) -> Result<&Path> {
        self.arguments
            .as_deref()
            .ok_or_else(|| CommandError::usage("where are the arguments? -E names the file"))
    }

    /// Reads the rc file, which is made when it is not there.
    ///
    /// # Errors
    ///
    /// Exit code 1 when a file that was named cannot be made or read, 64 with its mistakes.
    pub(super) fn read_rc(&self, ui: &Ui, line: &Line) -> Result<RcFile> {
        let Some(path) = &self.rc else {
            return Ok(RcFile::default());
        };
        if !path.exists() {
            let made = program::files::create(path, 0o600, stanza::NEW_FILE.as_bytes());
            let name = path.display();
            match made {
                Ok(()) => ui.note(format_args!("note: {name} was made, without a stanza")),
                Err(cause) if line.has("rc-file") => {
                    return Err(CommandError::failed(format!("cannot write {name}"), cause));
                }
                // A home that cannot be written to is no reason not to knock.
                Err(cause) => {
                    ui.warn(format_args!("cannot write {name}: {cause}"));
                    return Ok(RcFile::default());
                }
            }
        }
        let rc = RcFile::read(path)?;
        if rc.is_exposed() {
            let name = path.display();
            ui.warn(format_args!(
                "others can read the keys in {name}; run `chmod 600 {name}`"
            ));
        }
        Ok(rc)
    }
}
