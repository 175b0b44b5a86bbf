//! A way to a server that can be cut, can hang, and whose connections can fall silent one by one.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tempfile::TempDir;

const SOCKET: &str = ".s.PGSQL.5432";
const PAUSE: Duration = Duration::from_millis(5);

/// Where a connection is cut that says COMMIT.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cut {
    /// The server hears nothing of it.
    Before,
    /// It hears it, and answers to nobody.
    Behind,
    /// It has answered, and the answer is lost.
    Answer,
}

/// One that listens on a socket, as the server does.
pub(super) struct Proxy {
    dir: TempDir,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    server: PathBuf,
    /// Nothing goes on.
    hangs: AtomicBool,
    /// It is to hang in the next write.
    will_hang: AtomicBool,
    /// The connection that commits next falls silent for good; whoever is at its ends is told nothing.
    silences: Mutex<Option<Cut>>,
    silent: AtomicUsize,
    /// Each commit of so many is cut; 0 for none.
    cut_every: AtomicUsize,
    commits: AtomicUsize,
    /// By where.
    cuts: [AtomicUsize; 3],
}

/// One connection through it.
#[derive(Default)]
struct Link {
    /// The next answer is to be lost.
    loses: AtomicBool,
    /// It is to be lost in silence.
    falls_silent: AtomicBool,
    is_silent: AtomicBool,
}

// === impl Proxy ===

impl Proxy {
    pub(super) fn start(server: &Path) -> Self {
        let dir = TempDir::with_prefix_in("pg", "/tmp").unwrap();
        let listener = UnixListener::bind(dir.path().join(SOCKET)).unwrap();
        let state = Arc::new(State {
            server: server.join(SOCKET),
            ..State::default()
        });
        let of_threads = Arc::clone(&state);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                of_threads.forward(client.unwrap());
            }
        });
        Self { dir, state }
    }

    /// The directory of its socket.
    pub(super) fn socket(&self) -> &Path {
        self.dir.path()
    }

    /// Hangs in the middle of a transaction: what ends it does not arrive.
    pub(super) fn hang(&self) {
        self.state.will_hang.store(true, Ordering::SeqCst);
        while !self.state.hangs.load(Ordering::SeqCst) {
            std::thread::sleep(PAUSE);
        }
    }

    pub(super) fn go_on(&self) {
        self.state.hangs.store(false, Ordering::SeqCst);
    }

    /// Waits until a connection that commits has fallen silent there.
    pub(super) fn silence(&self, cut: Cut) {
        let before = self.state.silent.load(Ordering::SeqCst);
        *self.state.silences.lock() = Some(cut);
        while self.state.silent.load(Ordering::SeqCst) == before {
            std::thread::sleep(PAUSE);
        }
    }

    pub(super) fn cut_every(&self, commits: usize) {
        self.state.cut_every.store(commits, Ordering::SeqCst);
    }

    /// How many connections were cut there.
    pub(super) fn cuts(&self, cut: Cut) -> usize {
        self.state.cuts[cut as usize].load(Ordering::SeqCst)
    }
}

// === impl State ===

impl State {
    fn forward(self: &Arc<Self>, client: UnixStream) {
        let Ok(server) = UnixStream::connect(&self.server) else {
            return;
        };
        let link = Arc::<Link>::default();
        let back = (
            Arc::clone(self),
            server.try_clone().unwrap(),
            client.try_clone().unwrap(),
            Arc::clone(&link),
        );
        std::thread::spawn(move || {
            let (state, server, client, link) = back;
            state.pass((&server, &client), &link, |_| {
                link.loses.load(Ordering::SeqCst).then_some(Cut::Answer)
            });
        });
        let state = Arc::clone(self);
        std::thread::spawn(move || {
            state.pass((&client, &server), &link, |bytes| {
                state.hang_before(bytes);
                let cut = state.cut(bytes, &link)?;
                if cut == Cut::Answer {
                    link.loses.store(true, Ordering::SeqCst);
                    return None;
                }
                Some(cut)
            });
        });
    }

    /// Hangs where it is to, when what the server is told ends a transaction.
    fn hang_before(&self, told: &[u8]) {
        if has(told, b"COMMIT") && self.will_hang.swap(false, Ordering::SeqCst) {
            self.hangs.store(true, Ordering::SeqCst);
        }
    }

    /// Where what these bytes say is to be cut.
    fn cut(&self, bytes: &[u8], link: &Link) -> Option<Cut> {
        if !has(bytes, b"COMMIT") {
            return None;
        }
        if let Some(cut) = self.silences.lock().take() {
            link.falls_silent.store(true, Ordering::SeqCst);
            return Some(cut);
        }
        let every = self.cut_every.load(Ordering::SeqCst);
        if every == 0 {
            return None;
        }
        let number = self.commits.fetch_add(1, Ordering::SeqCst);
        let cut = [Cut::Before, Cut::Behind, Cut::Answer][(number / every) % 3];
        number.is_multiple_of(every).then_some(cut)
    }

    /// Passes on what comes, until either end is gone or it is to be cut.
    fn pass(
        &self,
        (mut from, mut to): (&UnixStream, &UnixStream),
        link: &Link,
        cut: impl Fn(&[u8]) -> Option<Cut>,
    ) {
        let mut bytes = [0; 65_536];
        while let Ok(length @ 1..) = from.read(&mut bytes) {
            let bytes = &bytes[..length];
            let cut = cut(bytes);
            while self.hangs.load(Ordering::SeqCst) || link.is_silent.load(Ordering::SeqCst) {
                std::thread::sleep(PAUSE);
            }
            if matches!(cut, None | Some(Cut::Behind)) && to.write_all(bytes).is_err() {
                break;
            }
            if cut.is_some() && link.falls_silent.load(Ordering::SeqCst) {
                link.is_silent.store(true, Ordering::SeqCst);
                self.silent.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            if let Some(cut) = cut {
                self.cuts[cut as usize].fetch_add(1, Ordering::SeqCst);
                break;
            }
        }
        for end in [from, to] {
            // It may be gone.
            let _ = end.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn has(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|found| found == word)
}
