//! Asking a running agent over one of its sockets.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use program::files::ReadError;
use serde::de::DeserializeOwned;

use crate::domains::seen;
use crate::report::CONTROL_NAME;

/// Why nobody could be asked. Whether an agent runs is known only to who may look.
#[derive(Debug, thiserror::Error)]
pub enum Unreached {
    /// The state directory is another user's.
    #[error(transparent)]
    Denied(ReadError),
    /// Nobody listens there.
    #[error("no agent answers at {}", path.display())]
    NoAgent {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
}

/// Why a word had no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskFailed {
    /// Nobody could be asked.
    #[error(transparent)]
    Unreached(#[from] Unreached),
    /// The agent is there, and says nothing.
    #[error(
        "the agent at {} did not answer{}",
        path.display(),
        stopped.map(|pid| format!(": its process {pid} is stopped")).unwrap_or_default()
    )]
    Silent {
        /// Its socket.
        path: PathBuf,
        /// Its process, where that is stopped.
        stopped: Option<i32>,
        /// What went wrong.
        #[source]
        cause: io::Error,
    },
}

/// For how long an answer is waited for: the agent gives up sooner.
const PATIENCE: Duration = Duration::from_secs(15);

/// Connects to the agent that keeps its state in this directory.
pub(super) fn connect(state_dir: &Path) -> Result<UnixStream, Unreached> {
    connect_to(&state_dir.join(CONTROL_NAME))
}

/// Connects to this socket of an agent.
pub(super) fn connect_to(path: &Path) -> Result<UnixStream, Unreached> {
    UnixStream::connect(path).map_err(|cause| {
        if program::is_denied(&cause) {
            return Unreached::Denied(ReadError::of(path, cause));
        }
        let path = path.to_owned();
        Unreached::NoAgent { path, cause }
    })
}

/// The process that listens at the other end, as the kernel says it.
pub(super) fn peer(stream: &UnixStream) -> Option<i32> {
    let peer = getsockopt(stream, PeerCredentials).ok()?;
    Some(peer.pid()).filter(|pid| *pid > 0)
}

/// Says a word to the agent that keeps its state in this directory, and reads the answer.
pub(super) fn ask_of<T: DeserializeOwned>(state_dir: &Path, word: &[u8]) -> Result<T, AskFailed> {
    let stream = connect(state_dir)?;
    let listener = peer(&stream);
    ask(stream, word).map_err(|cause| AskFailed::Silent {
        path: state_dir.join(CONTROL_NAME),
        stopped: listener.filter(|pid| seen::is_stopped(*pid)),
        cause,
    })
}

/// Says a word and reads the answer.
pub(super) fn ask<T: DeserializeOwned>(mut stream: UnixStream, word: &[u8]) -> io::Result<T> {
    let mut text = String::new();
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(word)?;
    stream.read_to_string(&mut text)?;
    if text.is_empty() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(serde_json::from_str(&text)?)
}
