//! Takes an operator's word while the agent runs: a local socket that only this user can open.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::sync_channel;

use super::local_socket::{LocalSocket, PATIENCE};
use super::reload::Reload;
use crate::link_state::LinkState;
use crate::orders::{Order, OrderSender};
use crate::report::{CONTROL_NAME, RELOAD, RESET_FLOOR, ROTATE_KEYS, ROTATION, RotationReport};

/// A word is shorter.
const WORD_BYTES_MAX: u64 = 64;

/// Listens in the state directory.
pub(super) fn open(
    state_dir: &Path,
    orders: &OrderSender,
    (reload, link): (Reload, Option<LinkState>),
) -> io::Result<LocalSocket> {
    let orders = orders.clone();
    LocalSocket::open(state_dir, CONTROL_NAME, "control", move |stream| {
        if let Err(cause) = answer(stream, &orders, (&reload, link.as_ref())) {
            tracing::debug!(error = %program::one_line(&cause), "an operator's word was not understood");
        }
    })
}

fn answer(
    mut stream: UnixStream,
    orders: &OrderSender,
    (reload, link): (&Reload, Option<&LinkState>),
) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut word = Vec::new();
    BufReader::new(&stream)
        .take(WORD_BYTES_MAX)
        .read_until(b'\n', &mut word)?;
    let mut text = if word == RESET_FLOOR {
        let (sender, answer) = sync_channel(1);
        orders
            .send(Order::ResetFloor(sender))
            .map_err(io::Error::other)?;
        let report = answer.recv_timeout(PATIENCE).map_err(io::Error::other)?;
        serde_json::to_vec(&report)?
    } else if word == RELOAD {
        serde_json::to_vec(&reload.reload())?
    } else if word == ROTATE_KEYS {
        serde_json::to_vec(&link.map_or_else(RotationReport::default, LinkState::rotate))?
    } else if word == ROTATION {
        serde_json::to_vec(&link.map_or_else(RotationReport::default, LinkState::rotation))?
    } else {
        return Err(ErrorKind::InvalidInput.into());
    };
    text.push(b'\n');
    stream.write_all(&text)
}
