//! A socket in the state directory that only this user can open: how a running agent is spoken to.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// For how long the gate thread is waited for, and whoever asked.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// The socket, which is taken away with this value.
#[derive(Debug)]
pub(super) struct LocalSocket(PathBuf);

// === impl LocalSocket ===

impl LocalSocket {
    /// Listens as `name` in the state directory, which this agent has for itself. `answer` is called
    /// with whoever connects, one after the other, on a thread that is called `thread_name`.
    ///
    /// # Errors
    ///
    /// When the system gives no socket or no thread.
    pub(super) fn open(
        state_dir: &Path,
        name: &str,
        thread_name: &str,
        answer: impl FnMut(UnixStream) + Send + 'static,
    ) -> io::Result<Self> {
        let path = state_dir.join(name);
        match fs::remove_file(&path) {
            Err(cause) if cause.kind() != ErrorKind::NotFound => return Err(cause),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        thread::Builder::new()
            .name(thread_name.to_owned())
            .spawn(move || serve(&listener, answer))?;
        Ok(Self(path))
    }

    /// Where it is.
    #[cfg(test)]
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for LocalSocket {
    fn drop(&mut self) {
        // Whoever finds it then is told that nobody listens.
        let _ = fs::remove_file(&self.0);
    }
}

fn serve(listener: &UnixListener, mut answer: impl FnMut(UnixStream)) {
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => answer(stream),
            // Without a pause, no descriptor left would be a busy loop.
            Err(_) => thread::sleep(Duration::from_secs(1)),
        }
    }
}
