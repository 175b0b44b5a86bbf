//! A daemon that is started by a script: a process of its own, which is ready when its starter
//! ends.
//!
//! The starter runs the same program once more and hears from it as a service manager would
//! (`sd_notify(3)`). What goes wrong until then stands on the starter's standard error; after that
//! the daemon logs to syslog only.

use std::env;
use std::fs::{self, DirBuilder};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, setsid};

use super::Failed;

/// For how long a start may take. An interface that is not there is waited for in the foreground
/// only: a boot must not hang.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);
/// How long one that is not ready may take to end.
const FAREWELL: Duration = Duration::from_secs(5);

/// Starts the daemon and returns when it is ready.
///
/// # Errors
///
/// [`Failed`] when it is not: then it does not run.
pub(super) fn start_and_wait() -> Result<(), Failed> {
    let cannot = |cause| Failed::Host("cannot start in the background".to_owned(), cause);
    let ear = Ear::new().map_err(cannot)?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("fwknopd")
        .args(env::args_os().skip(1))
        .arg("--in-background")
        .env("NOTIFY_SOCKET", ear.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(cannot)?;
    relay(&mut child).map_err(cannot)?;
    let told = wait(&ear.socket, &mut child);
    if told.is_err() {
        end(&mut child);
    }
    told
}

/// What the process does that goes on: no terminal and no session of its starter can end it.
pub(super) fn leave_the_terminal() {
    // It fails only in who leads a session already.
    let _ = setsid();
}

/// A socket that nobody else can reach, in a folder of its own that goes with it.
#[derive(Debug)]
struct Ear {
    socket: UnixDatagram,
    dir: PathBuf,
}

impl Ear {
    fn new() -> io::Result<Self> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let hex = hex::encode(bytes);
        let make = |parent: &Path| {
            let dir = parent.join(format!("fwknopd-{hex}"));
            DirBuilder::new().mode(0o700).create(&dir).map(|()| dir)
        };
        let dir = make(Path::new("/run")).or_else(|_| make(&env::temp_dir()))?;
        let socket = UnixDatagram::bind(dir.join("ready"));
        let socket = socket.inspect_err(|_| drop(fs::remove_dir(&dir)))?;
        let ear = Self { socket, dir };
        ear.socket.set_read_timeout(Some(PAUSE))?;
        Ok(ear)
    }

    fn path(&self) -> PathBuf {
        self.dir.join("ready")
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Hands on what the daemon says, for as long as this process is there.
fn relay(child: &mut Child) -> io::Result<()> {
    let Some(mut said) = child.stderr.take() else {
        return Ok(());
    };
    thread::Builder::new()
        .name("relay".to_owned())
        .spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = said.read(&mut buffer) {
                let _ = io::stderr().write_all(buffer.get(..len).unwrap_or_default());
            }
        })?;
    Ok(())
}

fn wait(socket: &UnixDatagram, child: &mut Child) -> Result<(), Failed> {
    let mut buffer = [0; 1024];
    // Each look lasts as long as the socket waits.
    for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
        if let Ok(len) = socket.recv(&mut buffer) {
            let heard = String::from_utf8_lossy(buffer.get(..len).unwrap_or_default());
            if heard.lines().any(|line| line == "READY=1") {
                return Ok(());
            }
        }
        if let Ok(Some(_)) = child.try_wait() {
            // What it has said last is on its way.
            thread::sleep(PAUSE);
            return Err(Failed::Ended);
        }
    }
    Err(Failed::NotReady(PATIENCE.as_secs()))
}

/// Nothing is left running by a start that has failed.
fn end(child: &mut Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    for _ in 0..FAREWELL.as_millis() / PAUSE.as_millis() {
        if let Ok(Some(_)) | Err(_) = child.try_wait() {
            return;
        }
        thread::sleep(PAUSE);
    }
    let _ = child.kill();
    let _ = child.wait();
}
