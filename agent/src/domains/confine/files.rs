//! The files that a process may use from here on (landlock).

use std::io;
use std::path::PathBuf;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
    path_beneath_rules,
};

/// What is handled where the kernel knows it; an older one handles less.
const KNOWN: ABI = ABI::V6;

/// Files, and folders with all that is in them. What is not there is left out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Files {
    /// To read.
    pub read: Vec<PathBuf>,
    /// To read, make, change and remove.
    pub write: Vec<PathBuf>,
    /// Whether connections over TCP are made or taken.
    pub connects: bool,
}

// === impl Files ===

impl Files {
    /// What libraries read to look names, users and time zones up and to load what they need for it, and
    /// what a process reads of itself.
    pub const SYSTEM: [&str; 21] = [
        "/usr",
        "/lib",
        "/lib64",
        "/etc/gai.conf",
        "/etc/group",
        "/etc/host.conf",
        "/etc/hosts",
        "/etc/ld.so.cache",
        "/etc/localtime",
        "/etc/machine-id",
        "/etc/nsswitch.conf",
        "/etc/passwd",
        "/etc/protocols",
        "/etc/resolv.conf",
        "/etc/services",
        "/proc",
        "/run/systemd",
        "/run/nscd",
        "/var/lib/sss",
        "/dev/null",
        "/dev/urandom",
    ];

    /// Everything else is refused from here on. Nothing outside can be signalled either.
    ///
    /// # Errors
    ///
    /// When this kernel refuses nothing.
    pub(super) fn restrict(&self) -> io::Result<()> {
        match self.apply().map_err(io::Error::other)? {
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
            RulesetStatus::NotEnforced => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn apply(&self) -> Result<RulesetStatus, RulesetError> {
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(KNOWN))?
            .scope(Scope::from_all(KNOWN))?;
        if !self.connects {
            rules = rules.handle_access(AccessNet::from_all(KNOWN))?;
        }
        let restricted = rules
            .create()?
            .add_rules(path_beneath_rules(&self.read, reading()))?
            .add_rules(path_beneath_rules(&self.write, writing()))?
            .restrict_self()?;
        Ok(restricted.ruleset)
    }
}

fn reading() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

/// No devices, and nothing to execute.
fn writing() -> BitFlags<AccessFs> {
    let more = AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::MakeSock
        | AccessFs::MakeSym
        | AccessFs::Refer;
    reading() | more
}
