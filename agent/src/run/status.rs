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

/// Between two reports: whoever asks without end costs the gate thread a few turns in a second. Who has come meanwhile is
/// told the next one: nobody is told what was so before the question.
const PAUSE: Duration = Duration::from_millis(20);

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
    LocalSocket::open_for_all(state_dir, SOCKET_NAME, "status", move |streams| {
        match reporter.text() {
            Ok(text) => {
                let answers = streams.into_iter().map(|stream| answer(stream, &text));
                answers.filter_map(Result::err).for_each(note);
            }
            Err(cause) => note(cause),
        }
        thread::sleep(PAUSE);
    })
}

fn note(cause: io::Error) {
    tracing::debug!(error = %program::one_line(&cause), "somebody was not told how the agent is");
}

fn answer(mut stream: UnixStream, text: &[u8]) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(text)
}

// === impl Reporter ===

impl Reporter {
    /// One document in a line.
    fn text(&mut self) -> io::Result<Vec<u8>> {
        let report = self.report().ok_or(ErrorKind::TimedOut)?;
        let mut text = serde_json::to_vec(&report)?;
        text.push(b'\n');
        Ok(text)
    }

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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

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
        thread::scope(|scope| {
            for _ in 0..300 {
                scope.spawn(|| fetch(dir.path()).unwrap());
            }
        });
        let took = clock::now().steady - begun;
        orders.stop();

        let asked: u128 = gate.join().unwrap();
        let most = took.as_millis() / PAUSE.as_millis() + 2;
        assert!(asked <= most, "{asked} in {took:?}");
    }

    #[test]
    fn nobody_is_told_what_was_so_before_the_question() {
        let dir = TempDir::new().unwrap();
        let (orders, inbox) = mailbox().unwrap();
        let _socket = open(dir.path(), reporter(&dir, &orders)).unwrap();
        let now = Arc::new(AtomicU64::new(0));
        let it_is = Arc::clone(&now);
        let gate = thread::spawn(move || {
            let mut waiting = VecDeque::new();
            while inbox.take(&mut waiting) == Next::GoOn {
                for order in waiting.drain(..) {
                    if let Order::Report(answer) = order {
                        let generation = it_is.load(Ordering::SeqCst);
                        let report = Report {
                            generation,
                            ..Report::default()
                        };
                        answer.send(report).unwrap();
                    }
                }
                thread::yield_now();
            }
        });

        for generation in 1..20 {
            now.store(generation, Ordering::SeqCst);
            assert_eq!(fetch(dir.path()).unwrap().generation, generation);
        }

        orders.stop();
        gate.join().unwrap();
    }

    #[test]
    fn a_socket_that_a_killed_agent_left_is_no_obstacle() {
        let dir = TempDir::new().unwrap();
        let (orders, _inbox) = mailbox().unwrap();
        std::mem::forget(open(dir.path(), reporter(&dir, &orders)).unwrap());

        open(dir.path(), reporter(&dir, &orders)).unwrap();
    }
}
