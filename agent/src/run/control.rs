//! Takes an operator's word while the agent runs: a local socket that only this user can open.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use crate::orders::{Order, OrderSender};
use crate::report::{CONTROL_NAME, RESET_FLOOR};

/// For how long the gate thread is waited for, and whoever asked.
const PATIENCE: Duration = Duration::from_secs(2);

/// The socket, which is taken away with this value.
#[derive(Debug)]
pub(super) struct ControlSocket(PathBuf);

// === impl ControlSocket ===

impl ControlSocket {
    /// Listens in the state directory, which this agent has for itself.
    pub(super) fn open(state_dir: &Path, orders: &OrderSender) -> io::Result<Self> {
        let path = state_dir.join(CONTROL_NAME);
        match fs::remove_file(&path) {
            Err(cause) if cause.kind() != ErrorKind::NotFound => return Err(cause),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        let orders = orders.clone();
        thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || serve(&listener, &orders))?;
        Ok(Self(path))
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Whoever finds it then is told that nobody listens.
        let _ = fs::remove_file(&self.0);
    }
}

fn serve(listener: &UnixListener, orders: &OrderSender) {
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => {
                if let Err(cause) = answer(stream, orders) {
                    tracing::debug!(error = %program::one_line(&cause), "an operator's word was not understood");
                }
            }
            // Without a pause, no descriptor left would be a busy loop.
            Err(_) => thread::sleep(Duration::from_secs(1)),
        }
    }
}

fn answer(mut stream: UnixStream, orders: &OrderSender) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut word = [0; RESET_FLOOR.len()];
    stream.read_exact(&mut word)?;
    if word != *RESET_FLOOR {
        return Err(ErrorKind::InvalidInput.into());
    }
    let (sender, answer) = sync_channel(1);
    orders
        .send(Order::ResetFloor(sender))
        .map_err(io::Error::other)?;
    let report = answer.recv_timeout(PATIENCE).map_err(io::Error::other)?;
    let mut text = serde_json::to_vec(&report)?;
    text.push(b'\n');
    stream.write_all(&text)
}
