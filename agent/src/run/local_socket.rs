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

/// Who is answered at once, of those who connected: each takes a descriptor.
const ANSWERED_MAX: usize = 64;

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
        mut answer: impl FnMut(UnixStream) + Send + 'static,
    ) -> io::Result<Self> {
        Self::listen(state_dir, name, thread_name, move |listener| {
            accept(listener).map(&mut answer)
        })
    }

    /// The same, where `answer` is called with all who have connected since the last time.
    pub(super) fn open_for_all(
        state_dir: &Path,
        name: &str,
        thread_name: &str,
        mut answer: impl FnMut(Vec<UnixStream>) + Send + 'static,
    ) -> io::Result<Self> {
        Self::listen(state_dir, name, thread_name, move |listener| {
            accept_all(listener).map(&mut answer)
        })
    }

    fn listen(
        state_dir: &Path,
        name: &str,
        thread_name: &str,
        mut serve: impl FnMut(&UnixListener) -> io::Result<()> + Send + 'static,
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
            .spawn(move || {
                loop {
                    if serve(&listener).is_err() {
                        // Without a pause, no descriptor left would be a busy loop.
                        thread::sleep(Duration::from_secs(1));
                    }
                }
            })?;
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

fn accept(listener: &UnixListener) -> io::Result<UnixStream> {
    Ok(listener.accept()?.0)
}

/// One who connects is waited for, and all others who have connected are taken with him.
fn accept_all(listener: &UnixListener) -> io::Result<Vec<UnixStream>> {
    let mut streams = vec![accept(listener)?];
    listener.set_nonblocking(true)?;
    while streams.len() < ANSWERED_MAX
        && let Ok(stream) = accept(listener)
    {
        streams.push(stream);
    }
    listener.set_nonblocking(false)?;
    Ok(streams)
}
