//! Answers `postern-agent status`: a local socket that only this user can open, and that gives one
//! JSON document to whoever connects.

use std::io::{self, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use super::local_socket::{LocalSocket, PATIENCE};
use crate::clock;
use crate::journal::JournalReader;
use crate::link_state::LinkState;
use crate::orders::{Order, OrderSender};
use crate::report::{Report, SOCKET_NAME};

/// For how long what the gate thread said is told to others who ask: whoever asks without end costs
/// it a few turns in a second, and nobody notices the difference.
const GOOD_FOR: Duration = Duration::from_millis(20);
/// After each answer: whoever asks without end gets no processor of the gate's.
const PAUSE: Duration = Duration::from_millis(2);

/// Who says how the agent is: the gate thread, and what stands beside it.
#[derive(Debug)]
pub(super) struct Reporter {
    pub(super) orders: OrderSender,
    /// On a connection of its own.
    pub(super) journal: JournalReader,
    /// `None` on a host that stands alone.
    pub(super) link: Option<LinkState>,
    /// Of a host that stands alone.
    pub(super) access_file: Option<PathBuf>,
}

/// Listens in the state directory.
pub(super) fn open(state_dir: &Path, mut reporter: Reporter) -> io::Result<LocalSocket> {
    let mut last = None;
    LocalSocket::open(state_dir, SOCKET_NAME, "status", move |stream| {
        if let Err(cause) = answer(stream, &mut reporter, &mut last) {
            tracing::debug!(error = %program::one_line(&cause), "nobody was told how the agent is");
        }
        thread::sleep(PAUSE);
    })
}

/// A report as text, and when the gate thread gave it.
#[derive(Debug)]
struct Told {
    at: Duration,
    text: Vec<u8>,
}

fn answer(
    mut stream: UnixStream,
    reporter: &mut Reporter,
    last: &mut Option<Told>,
) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let now = clock::now().steady;
    let told = match last.take() {
        Some(told) if now.saturating_sub(told.at) < GOOD_FOR => told,
        Some(_) | None => {
            let report = reporter.report().ok_or(ErrorKind::TimedOut)?;
            let mut text = serde_json::to_vec(&report)?;
            text.push(b'\n');
            let at = clock::now().steady;
            Told { at, text }
        }
    };
    stream.write_all(&last.insert(told).text)
}

// === impl Reporter ===

impl Reporter {
    /// How the agent is now; `None` when the gate thread does not answer.
    pub(super) fn report(&mut self) -> Option<Report> {
        let (sender, answer) = sync_channel(1);
        self.orders.send(Order::Report(sender)).ok()?;
        let report = answer.recv_timeout(PATIENCE).ok()?;
        let now = clock::now();
        let journal = self.journal.follow();
        let journal =
            journal.and_then(|()| self.journal.report(now.wall_ms(), self.link.is_some()));
        if let Err(cause) = &journal {
            tracing::debug!(error = %program::one_line(cause), "the journal does not say what it holds");
        }
        Some(Report {
            journal: journal.ok(),
            link: self.link.as_ref().map(|link| link.report(now)),
            access_file: self.access_file.clone(),
            ..report
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;
    use crate::commands::status::fetch;
    use crate::journal::{Journal, JournalOptions, Retention};
    use crate::orders::{Next, mailbox};

    fn reporter(dir: &TempDir, orders: &OrderSender) -> Reporter {
        let options = JournalOptions {
            state_dir: dir.path().to_owned(),
            retention: Retention::UntilAcknowledged,
            window: None,
            max_future: Duration::from_secs(30),
            witness_dir: None,
        };
        let journal = Journal::open(&options, 1_800_000_000).unwrap().journal;
        Reporter {
            orders: orders.clone(),
            journal: JournalReader::open(journal.path()).unwrap(),
            link: Some(LinkState::default()),
            access_file: None,
        }
    }

    #[test]
    fn who_connects_is_told_how_the_agent_is_and_nobody_else_can_connect() {
        let dir = TempDir::new().unwrap();
        let (orders, inbox) = mailbox().unwrap();
        let socket = open(dir.path(), reporter(&dir, &orders)).unwrap();
        let gate = thread::spawn(move || {
            let mut waiting = VecDeque::new();
            while waiting.is_empty() {
                let _ = inbox.take(&mut waiting);
                thread::yield_now();
            }
            let Some(Order::Report(answer)) = waiting.pop_front() else {
                panic!("something else was asked");
            };
            let generation = 7;
            answer
                .send(Report {
                    generation,
                    ..Report::default()
                })
                .unwrap();
        });

        let report = fetch(dir.path()).unwrap();

        gate.join().unwrap();
        assert_eq!(report.generation, 7);
        assert!(report.journal.unwrap().bytes > 0);
        assert!(!report.link.unwrap().is_connected);
        let mode = fs::metadata(socket.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(socket);
        assert!(fetch(dir.path()).is_err());
    }

    #[test]
    fn hundreds_of_questions_at_once_cost_the_gate_a_few_turns() {
        let dir = TempDir::new().unwrap();
        let (orders, inbox) = mailbox().unwrap();
        let _socket = open(dir.path(), reporter(&dir, &orders)).unwrap();
        let gate = thread::spawn(move || {
            let mut asked = 0;
            let mut waiting = VecDeque::new();
            while inbox.take(&mut waiting) == Next::GoOn {
                for order in waiting.drain(..) {
                    let Order::Report(answer) = order else {
                        panic!("something else was asked");
                    };
                    asked += 1;
                    answer.send(Report::default()).unwrap();
                }
                thread::yield_now();
            }
            asked
        });

        let begun = clock::now().steady;
        for _ in 0..300 {
            fetch(dir.path()).unwrap();
        }
        let took = clock::now().steady - begun;
        orders.stop();

        let asked: u128 = gate.join().unwrap();
        let most = took.as_millis() / GOOD_FOR.as_millis() + 2;
        assert!(asked <= most, "{asked} in {took:?}");
    }

    #[test]
    fn a_socket_that_a_killed_agent_left_is_no_obstacle() {
        let dir = TempDir::new().unwrap();
        let (orders, _inbox) = mailbox().unwrap();
        std::mem::forget(open(dir.path(), reporter(&dir, &orders)).unwrap());

        open(dir.path(), reporter(&dir, &orders)).unwrap();
    }
}
