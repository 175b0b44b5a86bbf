//! The socket on which a daemon tells its service manager that it is up.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::{Process, Result, wait};

/// A service manager's ear, in a file of the node's directory.
#[derive(Debug)]
pub(super) struct Notify {
    socket: UnixDatagram,
    path: PathBuf,
    heard: String,
}

// === impl Notify ===

impl Notify {
    pub(super) fn new(dir: &Path, name: &str) -> Result<Self> {
        let path = dir.join(format!("{name}.notify"));
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path)
            .with_context(|| format!("cannot make the socket {}", path.display()))?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            path,
            heard: String::new(),
        })
    }

    pub(super) fn tell(&self, command: &mut Command) {
        command.env("NOTIFY_SOCKET", &self.path);
    }

    /// Waits until the daemon has said `READY=1` since the last time this returned.
    pub(super) fn ready(&mut self, process: &mut Process) -> Result<()> {
        let waited = wait::until("READY=1", wait::SOON, || {
            self.listen()?;
            if let Some(at) = self.heard.find("READY=1") {
                self.heard.drain(..at + "READY=1".len());
                return Ok(true);
            }
            if let Some(code) = process.poll()? {
                bail!("it left with {code}");
            }
            Ok(false)
        });
        waited.with_context(|| format!("not up; its log:\n{}", process.log()))?;
        Ok(())
    }

    fn listen(&mut self) -> Result<()> {
        let mut buffer = [0; 1024];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(count) => {
                    let said = buffer.get(..count).unwrap_or_default();
                    self.heard.push_str(&String::from_utf8_lossy(said));
                    self.heard.push('\n');
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
