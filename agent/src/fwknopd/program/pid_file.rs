//! Who runs, by the lock on the PID file. The number in it is for people and for other programs;
//! who has the lock is known to the kernel, also when the number is that of a process which has
//! long ended.
//!
//! The lock is of POSIX, as fwknopd's own: either of the two sees the other one run.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Failed;

/// The file, held by this process.
#[derive(Debug)]
pub(super) struct PidFile {
    file: File,
    path: PathBuf,
}

/// Who holds a PID file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Holder {
    Nobody,
    Process(i32),
    /// One of another PID namespace.
    Unseen,
}

/// Between two looks at whether somebody has gone.
const PAUSE: Duration = Duration::from_millis(20);
/// Somebody takes the file away at the moment in which it is opened, so often.
const ATTEMPTS: u32 = 100;
// Numbers of fcntl.h, in the width that its structure has.
const WRITE_LOCK: libc::c_short = 1;
const NO_LOCK: libc::c_short = 2;

// === impl Holder ===

impl Holder {
    /// The process, if there is one that can be named.
    pub(super) fn pid(self) -> Option<i32> {
        match self {
            Self::Process(pid) => Some(pid),
            Self::Nobody | Self::Unseen => None,
        }
    }
}

// === impl PidFile ===

impl PidFile {
    /// Takes it for this process, which must never open it again: that would give up the lock.
    pub(super) fn hold(path: &Path) -> Result<Self, Failed> {
        if let Some(dir) = path.parent() {
            make_dir(dir)
                .map_err(|cause| Failed::Host(format!("cannot make {}", dir.display()), cause))?;
        }
        let cannot = |cause| Failed::Host(format!("cannot write {}", path.display()), cause);
        for _ in 0..ATTEMPTS {
            let mut options = File::options();
            options
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                // A link is not followed: what it leads to is nobody's PID file, and is not made for it.
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY);
            let mut file = options
                .open(path)
                .map_err(|cause| cannot(described(cause, path)))?;
            if !file.metadata().map_err(cannot)?.is_file() {
                return Err(cannot(described(ErrorKind::InvalidInput.into(), path)));
            }
            match fcntl(file.as_fd(), FcntlArg::F_SETLK(&whole(WRITE_LOCK))) {
                Ok(_) => {}
                Err(Errno::EACCES | Errno::EAGAIN) => {
                    let pid = Self::of_file(&file).pid().unwrap_or(0);
                    let path = path.to_owned();
                    return Err(Failed::Running { path, pid });
                }
                Err(errno) => return Err(cannot(errno.into())),
            }
            if is_still_there(&file, path).map_err(cannot)? {
                let text = format!("{}\n", std::process::id());
                file.set_len(0)
                    .and_then(|()| file.write_all(text.as_bytes()))
                    .map_err(cannot)?;
                let path = path.to_owned();
                return Ok(Self { file, path });
            }
        }
        Err(cannot(io::Error::other(
            "somebody else removes it again and again",
        )))
    }

    /// Who holds the file at a path. One that cannot be read is held by nobody who can be named.
    pub(super) fn holder(path: &Path) -> Holder {
        // Opened for writing: that is what a lock for writing is asked about with.
        let mut options = File::options();
        options
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        let file = options.open(path);
        file.map_or(Holder::Nobody, |file| Self::of_file(&file))
    }

    /// Takes the file away. The lock goes with the process and not before: who waits for one waits
    /// for the other.
    pub(super) fn leave(self) {
        let _ = fs::remove_file(&self.path);
        std::mem::forget(self.file);
    }

    fn of_file(file: &File) -> Holder {
        let mut asked = whole(WRITE_LOCK);
        match fcntl(file.as_fd(), FcntlArg::F_GETLK(&mut asked)) {
            Ok(_) if asked.l_type == NO_LOCK => Holder::Nobody,
            Ok(_) if asked.l_pid > 0 => Holder::Process(asked.l_pid),
            Ok(_) => Holder::Unseen,
            Err(_) => Holder::Nobody,
        }
    }
}

/// Has the holder end, and waits until the lock is free. Only who holds it at that moment is told.
pub(super) fn end(path: &Path, pid: i32, patience: Duration) -> Result<(), Failed> {
    let is_held = || PidFile::holder(path) == Holder::Process(pid);
    if !is_held() {
        return Err(Failed::NotRunning(path.to_owned()));
    }
    match kill(Pid::from_raw(pid), Signal::SIGTERM) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => {
            return Err(Failed::Host(format!("cannot end PID {pid}"), errno.into()));
        }
    }
    for _ in 0..patience.as_millis() / PAUSE.as_millis() {
        if !is_held() {
            return Ok(());
        }
        thread::sleep(PAUSE);
    }
    Err(Failed::StillThere { pid })
}

/// A lock on the whole file, of this process.
fn whole(kind: libc::c_short) -> libc::flock {
    libc::flock {
        l_type: kind,
        l_whence: 0,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Whether the path still leads to what was opened.
fn is_still_there(file: &File, path: &Path) -> io::Result<bool> {
    let opened = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (opened.dev(), opened.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Says of what is no file what it is.
fn described(cause: io::Error, path: &Path) -> io::Error {
    let found = fs::symlink_metadata(path).map(|found| found.file_type());
    let what = match found {
        Ok(kind) if kind.is_symlink() => "it is a link, and is not followed: take it away",
        Ok(kind) if !kind.is_file() => "it is no file: take it away",
        Ok(_) | Err(_) => return cause,
    };
    io::Error::new(ErrorKind::InvalidInput, what)
}

/// For its owner alone, as fwknopd makes it.
fn make_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    #[test]
    fn a_link_in_place_of_the_pid_file_is_not_followed_and_nothing_is_made_where_it_leads() {
        let dir = TempDir::new().unwrap();
        let (link, target) = (dir.path().join("pid"), dir.path().join("elsewhere"));
        std::os::unix::fs::symlink(&target, &link).unwrap();

        let refused = PidFile::hold(&link).unwrap_err();

        let why = program::one_line(&refused).to_string();
        assert!(why.contains("it is a link, and is not followed"), "{why}");
        assert!(!target.exists());
        fs::remove_file(&link).unwrap();
        PidFile::hold(&link).unwrap().leave();
    }

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_number_of_a_process_that_holds_no_lock_is_nobody() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("fwknopd.pid");
        let mut other = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();

        assert_eq!(PidFile::holder(&path), Holder::Nobody);
        fs::write(&path, format!("{}\n", other.id())).unwrap();
        assert_eq!(PidFile::holder(&path), Holder::Nobody);
        let pid = i32::try_from(other.id()).unwrap();
        let told = end(&path, pid, Duration::ZERO).unwrap_err();

        assert!(matches!(told, Failed::NotRunning(_)), "{told}");
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn the_file_holds_the_number_of_its_holder_and_is_gone_after_it() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("below/fwknopd.pid");

        let held = PidFile::hold(&path).unwrap();
        let text = fs::read_to_string("/proc/self/stat").unwrap();
        assert!(text.starts_with(&std::process::id().to_string()));
        held.leave();

        assert!(!path.exists());
    }
}
