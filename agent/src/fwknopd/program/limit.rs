//! `-C`: the agent ends after so many packets. For tests and for reading a file: it is not exact,
//! as more may come in before the end.

use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::getpid;

use crate::commands::status;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// What the agent calls a packet that came in.
const RECEIVED: &str = "received";

/// Ends this process when the agent in it says that so many packets have come in.
pub(super) fn end_after(packets: u64, state_dir: PathBuf) -> io::Result<()> {
    let watch = move || loop {
        thread::sleep(PAUSE);
        let Ok(report) = status::fetch(&state_dir) else {
            continue;
        };
        let received = report.counters.iter().find(|(name, _)| name == RECEIVED);
        if received.is_some_and(|(_, count)| *count >= packets) {
            let _ = kill(getpid(), Signal::SIGTERM);
            return;
        }
    };
    thread::Builder::new()
        .name("limit".to_owned())
        .spawn(watch)?;
    Ok(())
}
