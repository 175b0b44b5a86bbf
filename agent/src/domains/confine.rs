//! Giving up powers for good: what a process of the agent does not need, it cannot do from here on,
//! whatever becomes of it.
//!
//! To be done before other threads start: capabilities, the user and landlock count for a thread and
//! what it starts later. What this kernel or the service does not allow is left out and named; no host
//! fails for it. What is refused is refused as EPERM and never ends the process, so that another libc's
//! ways cost nobody his access.

mod calls;
mod files;

use std::io;

use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl::{set_dumpable, set_no_new_privs};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

pub use files::Files;

/// What a process keeps.
#[derive(Clone, Debug, Default)]
pub struct Powers {
    /// Of the capabilities that it has.
    pub capabilities: Vec<Capability>,
    /// Who it becomes, where it may: a user and a group.
    pub user: Option<(u32, u32)>,
    /// The files that it may use; all that its user may, for `None`.
    pub files: Option<Files>,
    /// The families of sockets that it may open, as of socket(2).
    pub families: Vec<i32>,
    /// Whether it may run other programs. They are confined as it is.
    pub runs_programs: bool,
}

/// What could not be given up, for people.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Kept(pub Vec<String>);

// === impl Powers ===

impl Powers {
    /// Gives up everything else.
    pub fn confine(&self) -> Kept {
        let mut kept = Kept::default();
        kept.note("no core dumps", deny_core_dumps(self.runs_programs));
        let wanted: CapsHashSet = self.capabilities.iter().copied().collect();
        kept.note("the bounding set", shrink_bounding_set(&wanted));
        if let Some(user) = self.user {
            kept.note("root's files", become_user(user));
        }
        kept.note("capabilities", keep_capabilities(&wanted));
        kept.note("no new privileges", set_no_new_privs().map_err(Into::into));
        kept.note("not dumpable", set_dumpable(false).map_err(Into::into));
        if let Some(files) = &self.files {
            kept.note("files (landlock)", files.restrict());
        }
        let calls = calls::restrict(&self.families, self.runs_programs);
        kept.note("system calls (seccomp)", calls);
        kept
    }
}

// === impl Kept ===

impl Kept {
    /// What came of giving up one thing.
    #[must_use]
    pub fn of(what: &str, result: io::Result<()>) -> Self {
        let mut kept = Self::default();
        kept.note(what, result);
        kept
    }

    fn note(&mut self, what: &str, result: io::Result<()>) {
        if let Err(cause) = result {
            self.0.push(format!("{what}: {cause}"));
        }
    }

    /// Says it in one line of the log, if there is anything.
    pub fn log(&self, domain: &str) {
        if !self.0.is_empty() {
            let kept = self.0.join("; ");
            tracing::warn!(domain, kept, "not everything could be given up");
        }
    }
}

/// Of what runs other programs only the soft limit, which they may raise.
fn deny_core_dumps(may_be_raised: bool) -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE)?;
    let hard = if may_be_raised { hard } else { 0 };
    Ok(setrlimit(Resource::RLIMIT_CORE, 0, hard)?)
}

/// Without the right to, nothing is lost: with no new privileges the set gives nobody anything.
fn shrink_bounding_set(wanted: &CapsHashSet) -> io::Result<()> {
    let may = caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP);
    if !may.map_err(io::Error::other)? {
        return Ok(());
    }
    let there = caps::read(None, CapSet::Bounding).map_err(io::Error::other)?;
    for &one in there.difference(wanted) {
        caps::drop(None, CapSet::Bounding, one).map_err(io::Error::other)?;
    }
    Ok(())
}

/// Somebody who is nobody already stays who he is, and so does one who may not change it: a service
/// whose capabilities are few keeps root's number and none of root's powers.
fn become_user((user, group): (u32, u32)) -> io::Result<()> {
    let has = |one| caps::has_cap(None, CapSet::Effective, one).unwrap_or(false);
    let may = has(Capability::CAP_SETUID) && has(Capability::CAP_SETGID);
    if !may || !Uid::effective().is_root() {
        return Ok(());
    }
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    caps::securebits::set_keepcaps(true).map_err(io::Error::other)?;
    setgroups(&[group])?;
    setresgid(group, group, group)?;
    Ok(setresuid(user, user, user)?)
}

fn keep_capabilities(wanted: &CapsHashSet) -> io::Result<()> {
    // An older kernel has none.
    let _ = caps::clear(None, CapSet::Ambient);
    let has = caps::read(None, CapSet::Permitted).map_err(io::Error::other)?;
    let kept: CapsHashSet = has.intersection(wanted).copied().collect();
    let none = CapsHashSet::new();
    // Each may hold only what the one after it holds.
    let steps = [
        (CapSet::Effective, &none),
        (CapSet::Inheritable, &none),
        (CapSet::Permitted, &kept),
        (CapSet::Effective, &kept),
    ];
    for (set, value) in steps {
        caps::set(None, set, value).map_err(io::Error::other)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::fs::{self, File};
    use std::io::ErrorKind;
    use std::process::Command;

    use nix::errno::Errno;
    use nix::libc;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

    use super::*;

    /// Names the folder of the child of a test.
    const CHILD: &str = "POSTERN_CONFINED_TEST";

    /// Does it in a process of its own: what is given up does not come back.
    fn in_child(test: &str, confined: impl FnOnce(&std::path::Path)) {
        if let Some(dir) = env::var_os(CHILD) {
            confined(dir.as_ref());
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let module = module_path!().split_once("::").unwrap().1;
        let ran = Command::new(env::current_exe().unwrap())
            .args(["--exact", &format!("{module}::{test}"), "--nocapture"])
            .env(CHILD, dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        let failed = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{said}{failed}");
        assert!(said.contains("1 passed"), "{said}");
    }

    fn status(key: &str) -> String {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap().trim_matches([':', '\t', ' ']).to_owned()
    }

    #[test]
    fn who_gave_everything_up_opens_no_raw_socket_runs_nothing_and_sees_his_files_only() {
        let test =
            "who_gave_everything_up_opens_no_raw_socket_runs_nothing_and_sees_his_files_only";
        in_child(test, |dir| {
            let (ours, theirs) = (dir.join("ours"), dir.join("theirs"));
            fs::create_dir(&ours).unwrap();
            fs::write(&theirs, "x").unwrap();
            let files = Files {
                read: vec!["/proc/self".into(), "/proc/thread-self".into()],
                write: vec![ours.clone()],
                connects: true,
            };
            let powers = Powers {
                files: Some(files),
                families: vec![libc::AF_UNIX, libc::AF_INET],
                ..Powers::default()
            };

            let kept = powers.confine();

            assert_eq!(kept, Kept::default());
            for (key, value) in [
                ("CapEff", "0000000000000000"),
                ("CapPrm", "0000000000000000"),
                ("CapInh", "0000000000000000"),
                ("NoNewPrivs", "1"),
                ("Seccomp", "2"),
            ] {
                assert_eq!(status(key), value, "{key}");
            }
            let open = |family| socket(family, SockType::Raw, SockFlag::empty(), None);
            assert_eq!(open(AddressFamily::Packet).unwrap_err(), Errno::EPERM);
            assert_eq!(open(AddressFamily::Netlink).unwrap_err(), Errno::EPERM);
            let run = Command::new("/bin/true").status();
            assert_eq!(run.unwrap_err().kind(), ErrorKind::PermissionDenied);
            for refused in ["/etc/shadow", "/etc/passwd", theirs.to_str().unwrap()] {
                let error = File::open(refused).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{refused}");
            }
            fs::write(ours.join("a"), "x").unwrap();
            fs::rename(ours.join("a"), ours.join("b")).unwrap();
            assert_eq!(fs::read(ours.join("b")).unwrap(), b"x");
            std::thread::spawn(|| {
                assert_eq!(status("Seccomp"), "2");
                assert_eq!(status("CapEff"), "0000000000000000");
            })
            .join()
            .unwrap();
        });
    }

    #[test]
    fn who_runs_programs_runs_them_confined_as_he_is() {
        in_child("who_runs_programs_runs_them_confined_as_he_is", |_| {
            let powers = Powers {
                families: vec![libc::AF_UNIX],
                runs_programs: true,
                ..Powers::default()
            };

            assert_eq!(powers.confine(), Kept::default());

            let script = "grep -c 'NoNewPrivs:.1\\|Seccomp:.2\\|CapEff:.0*$' /proc/self/status; \
                          unshare -U true 2>/dev/null || echo refused";
            let ran = Command::new("sh").args(["-c", script]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&ran.stdout), "3\nrefused\n");
        });
    }

    #[test]
    fn a_capability_that_is_kept_stays_when_root_becomes_somebody_else() {
        if !Uid::effective().is_root() {
            return;
        }
        let test = "a_capability_that_is_kept_stays_when_root_becomes_somebody_else";
        in_child(test, |_| {
            let powers = Powers {
                capabilities: vec![Capability::CAP_NET_RAW],
                user: Some((61_101, 61_102)),
                families: vec![libc::AF_PACKET],
                ..Powers::default()
            };

            assert_eq!(powers.confine(), Kept::default());

            assert_eq!(status("CapEff"), "0000000000002000");
            assert_eq!(status("CapBnd"), "0000000000002000");
            assert_eq!(status("Uid"), "61101\t61101\t61101\t61101");
            assert_eq!(status("Groups"), "61102");
            let packet = AddressFamily::Packet;
            socket(packet, SockType::Raw, SockFlag::empty(), None).unwrap();
            let refused = File::open("/etc/shadow").unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
        });
    }
}
