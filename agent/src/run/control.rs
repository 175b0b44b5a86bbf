//! Takes an operator's word while the agent runs: a local socket that only this user can open.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::sync_channel;

use super::local_socket::{LocalSocket, PATIENCE};
use crate::orders::{Order, OrderSender};
use crate::report::{CONTROL_NAME, RESET_FLOOR};

/// Listens in the state directory.
pub(super) fn open(state_dir: &Path, orders: &OrderSender) -> io::Result<LocalSocket> {
    let orders = orders.clone();
    LocalSocket::open(state_dir, CONTROL_NAME, "control", move |stream| {
        if let Err(cause) = answer(stream, &orders) {
            tracing::debug!(error = %program::one_line(&cause), "an operator's word was not understood");
        }
    })
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
