//! Asking a running agent over its control socket.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::report::CONTROL_NAME;

/// For how long an answer is waited for: the agent gives up sooner.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connects to the agent that keeps its state in this directory.
pub(super) fn connect(state_dir: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(state_dir.join(CONTROL_NAME))
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
