//! Hosts of a large fleet, played by programs of their own: one process holds as many connections as it may have
//! open files, and a controller lets only so many join a second from one address. So each crew of hosts is this
//! program once more, on a machine of its own in the lab.
//!
//! They are told what to do by lines on their standard input, and say how far they are by lines of JSON.

mod crew;
mod host;
mod tally;
mod words;

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::arena::Arena;
use crate::clock;
use crate::fleet::Company;

pub(crate) use self::crew::play;
pub(crate) use self::words::State;
use self::words::{Part, Told};

/// Hosts of one crew at most: each has a connection, and joins with another, and a controller's limit on how many join
/// from one address is what it is.
const CREW_MAX: usize = 6_000;
/// Crews at least, where there are that many hosts: a controller lets two thousand join at once from one address,
/// and a hundred a second after them.
const CREWS: usize = 8;
/// Below this one crew is enough.
const SMALL: usize = 2_000;
/// Between two looks at what the crews have said.
const LOOK: Duration = Duration::from_millis(5);
/// For so long everybody has to be there to count as settled.
const SETTLED_US: u64 = 1_000_000;

/// All crews.
#[derive(Debug)]
pub(crate) struct Players {
    crews: Vec<Crew>,
    hosts: u64,
    mark: u64,
}

#[derive(Debug)]
struct Crew {
    child: Child,
    tell: ChildStdin,
    said: Arc<Mutex<State>>,
    /// It says nothing more.
    is_over: Arc<AtomicBool>,
}

// === impl Players ===

impl Players {
    /// Lets so many hosts join, and gives how long that took.
    pub(crate) fn join(
        arena: &Arena,
        company: &Company,
        hosts: usize,
        limit: Duration,
    ) -> anyhow::Result<(Self, Duration)> {
        let began = clock::now();
        let count = if hosts <= SMALL {
            1
        } else {
            hosts.div_ceil(CREW_MAX).max(CREWS)
        };
        let addresses = company.addresses();
        let mut crews = Vec::with_capacity(count);
        for number in 0..count {
            let [first, end] = [number, number + 1].map(|number| hosts * number / count);
            let controller = addresses.get(number % addresses.len().max(1));
            let part = Part {
                operator: company.operator_dir(),
                members: company.members_dir(),
                controller: controller.context("no controller")?.clone(),
                first,
                count: end - first,
            };
            crews.push(Crew::start(arena, &part)?);
        }
        let players = Self {
            crews,
            hosts: u64::try_from(hosts)?,
            mark: 0,
        };
        players.wait("all have joined", limit, |state| {
            state.joined == players.hosts
        })?;
        Ok((players, began.elapsed()))
    }

    /// From how many addresses they join.
    pub(crate) const fn addresses(&self) -> usize {
        self.crews.len()
    }

    /// Lets all connect; how long it took until they had.
    pub(crate) fn connect(&mut self, limit: Duration) -> anyhow::Result<Duration> {
        let began = clock::shared_us();
        self.tell(Told::Connect)?;
        let state = self.wait("all are connected", limit, |state| state.open == self.hosts)?;
        Ok(since(began, state.opened_us))
    }

    /// From now on it is counted who gets another policy.
    pub(crate) fn mark(&mut self) -> anyhow::Result<()> {
        self.mark += 1;
        let mark = self.mark;
        self.tell(Told::Mark(mark))?;
        self.wait("all count anew", Duration::from_secs(10), |state| {
            state.mark == mark
        })?;
        Ok(())
    }

    /// Waits until all have got another policy since the mark.
    pub(crate) fn changed(&self, limit: Duration) -> anyhow::Result<State> {
        self.wait("all have the policy", limit, |state| {
            state.changed == self.hosts
        })
    }

    /// How far they are now, together.
    pub(crate) fn state(&self) -> State {
        let states = self.crews.iter().map(|crew| crew.state());
        states.reduce(State::and).unwrap_or_default()
    }

    /// Waits until sessions have ended since `before` and all hosts have one again, for longer than a moment.
    pub(crate) fn back(&self, before: State, limit: Duration) -> anyhow::Result<State> {
        let settled = |state: &State| {
            state.ended > before.ended
                && state.open == self.hosts
                && clock::shared_us().saturating_sub(state.opened_us) > SETTLED_US
        };
        self.wait("all are back", limit, settled)
    }

    fn tell(&mut self, told: Told) -> anyhow::Result<()> {
        for crew in &mut self.crews {
            serde_json::to_writer(&mut crew.tell, &told)?;
            crew.tell.write_all(b"\n")?;
            crew.tell.flush()?;
        }
        Ok(())
    }

    fn wait(
        &self,
        what: &str,
        limit: Duration,
        is_so: impl Fn(&State) -> bool,
    ) -> anyhow::Result<State> {
        let until = clock::now() + limit;
        loop {
            let state = self.state();
            if is_so(&state) {
                return Ok(state);
            }
            let is_over = |crew: &Crew| crew.is_over.load(Ordering::Relaxed);
            if self.crews.iter().any(is_over) {
                bail!("{what}: players have ended, {state:?}");
            }
            if clock::now() > until {
                bail!("{what}: not after {limit:?}, but {state:?}");
            }
            thread::sleep(LOOK);
        }
    }
}

// === impl Crew ===

impl Crew {
    fn start(arena: &Arena, part: &Part) -> anyhow::Result<Self> {
        let machine = arena.crew()?;
        let mut command = machine.command(std::env::current_exe()?);
        command.arg("--play").arg(serde_json::to_string(part)?);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start players")?;
        let tell = child.stdin.take().context("stdin")?;
        let lines = BufReader::new(child.stdout.take().context("stdout")?).lines();
        let said = Arc::new(Mutex::new(State::default()));
        let heard = Arc::clone(&said);
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Ok(state) = serde_json::from_str(&line) {
                    *heard.lock().unwrap_or_else(PoisonError::into_inner) = state;
                }
            }
            ends.store(true, Ordering::Relaxed);
        });
        Ok(Self {
            child,
            tell,
            said,
            is_over,
        })
    }

    fn state(&self) -> State {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// From one moment of [`clock::shared_us`] to another.
pub(crate) fn since(began_us: u64, ended_us: u64) -> Duration {
    Duration::from_micros(ended_us.saturating_sub(began_us))
}
