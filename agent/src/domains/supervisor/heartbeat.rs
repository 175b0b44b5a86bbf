//! Asks the other processes whether they still do their work, says who does not, and tells systemd that
//! all is well only while all of them do: it starts the agent anew then.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::clock;
use crate::domains::firewall::Health;
use crate::domains::pulse::{Asking, EVERY};
use crate::domains::spawn::Domain;
use crate::work::Watch;

/// The gate says that it goes on more than once in so many looks.
const GATE_LOOKS_MAX: u32 = 6;
/// A request is not worked at for longer.
const REQUEST_LOOKS_MAX: u32 = 10;
/// The same of a look at the base rules, and of their repair: programs of iptables wait for each other.
const MONITOR_LOOKS_MAX: u32 = 60;

/// A state directory that is not the one of the start is believed at the second look.
const STATE_LOOKS_MAX: u32 = 2;

/// Does what is to be done when the state directory was taken away.
pub(super) type WhenLost = Box<dyn FnMut() + Send>;

/// The state directory as it was at the start. The gate may write in that one only: one that is made in its
/// place is another to the kernel (landlock), and stays closed to it.
pub(super) struct StateDir {
    path: PathBuf,
    is: (u64, u64),
    looks: u32,
    when_lost: Option<WhenLost>,
}

/// The thread, until this value goes.
#[derive(Debug)]
pub(super) struct Heartbeat(Arc<AtomicBool>);

/// What is seen of all of them.
struct Seen {
    asked: Vec<(Domain, Asking)>,
    state: Option<StateDir>,
    health: Health,
    gate: Watch,
    requests: Watch,
    monitor: Watch,
    silent: Vec<&'static str>,
    is_told: bool,
}

// === impl Heartbeat ===

impl Heartbeat {
    /// Begins to ask these, and to look at the gate and at the threads of this process.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(super) fn start(
        asked: Vec<(Domain, Asking)>,
        health: Health,
        state: Option<StateDir>,
    ) -> io::Result<Self> {
        let mut seen = Seen::new(asked, health);
        seen.state = state;
        let is_wanted = Arc::new(AtomicBool::new(true));
        let goes_on = Arc::clone(&is_wanted);
        // Several times in the time that systemd waits, however short its owner made that.
        let watchdog = sd_notify::watchdog_enabled();
        let pause = watchdog.map_or(EVERY, |within| EVERY.min(within / 3));
        thread::Builder::new()
            .name("heartbeat".to_owned())
            .spawn(move || {
                let (mut look_at, mut is_well) = (Duration::ZERO, true);
                while goes_on.load(Ordering::Relaxed) {
                    if look_at <= clock::steady() {
                        look_at = clock::steady() + EVERY;
                        is_well = seen.look();
                    }
                    if is_well && watchdog.is_some() {
                        let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
                    }
                    thread::sleep(pause);
                }
            })?;
        Ok(Self(is_wanted))
    }
}

impl Drop for Heartbeat {
    /// Who ends answers nobody.
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

// === impl StateDir ===

impl StateDir {
    /// As it is now; `None` where there is none that could be lost.
    pub(super) fn of(path: &Path, when_lost: WhenLost) -> Option<Self> {
        Some(Self {
            is: identity(path)?,
            path: path.to_owned(),
            looks: 0,
            when_lost: Some(when_lost),
        })
    }

    fn look(&mut self) {
        if identity(&self.path) == Some(self.is) {
            self.looks = 0;
            return;
        }
        self.looks = self.looks.saturating_add(1);
        if self.looks >= STATE_LOOKS_MAX
            && let Some(mut when_lost) = self.when_lost.take()
        {
            let path = self.path.display();
            tracing::error!(
                %path,
                "the state directory was taken away, or another one was put in its place: nothing opens \
                 before the next start of the agent"
            );
            when_lost();
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

// === impl Seen ===

impl Seen {
    fn new(asked: Vec<(Domain, Asking)>, health: Health) -> Self {
        Self {
            asked,
            state: None,
            health,
            gate: Watch::default(),
            requests: Watch::default(),
            monitor: Watch::default(),
            silent: Vec::new(),
            is_told: true,
        }
    }

    /// Looks at each; whether all are well.
    fn look(&mut self) -> bool {
        let mut silent: Vec<&'static str> = Vec::new();
        for (domain, asking) in &mut self.asked {
            if asking.is_silent() {
                silent.push(domain.name());
            }
        }
        let gate = self.gate.look_for_more(&self.health.gate);
        if self.health.is_served() && gate >= GATE_LOOKS_MAX {
            silent.push(Domain::Gate.name());
        }
        let requests = self.requests.look(&self.health.requests);
        let monitor = self.monitor.look(&self.health.monitor);
        if requests >= REQUEST_LOOKS_MAX || monitor >= MONITOR_LOOKS_MAX {
            silent.push("firewall");
        }
        self.note(silent);
        if let Some(state) = &mut self.state {
            state.look();
        }
        self.silent.is_empty()
    }

    fn note(&mut self, silent: Vec<&'static str>) {
        for domain in silent.iter().filter(|name| !self.silent.contains(name)) {
            tracing::error!(
                domain,
                "a process of the agent does not answer: it is stopped or stuck; systemd is not told any \
                 more that all is well, and starts the agent anew"
            );
        }
        for domain in self.silent.iter().filter(|name| !silent.contains(name)) {
            tracing::warn!(domain, "the process answers again");
        }
        self.is_told &= self.silent == silent;
        self.silent = silent;
        if !self.is_told {
            self.is_told = self.health.tell_silent(&self.silent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domains::channel::Channel;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn a_state_directory_that_another_one_takes_the_place_of_is_noticed_once() {
        let above = tempfile::TempDir::new().unwrap();
        let path = above.path().join("state");
        let lost = Arc::new(AtomicU32::new(0));
        let times = Arc::clone(&lost);
        let note = move || {
            times.fetch_add(1, Ordering::Relaxed);
        };
        assert!(StateDir::of(&path, Box::new(|| ())).is_none());
        fs::create_dir(&path).unwrap();
        let mut state = StateDir::of(&path, Box::new(note)).unwrap();
        fs::write(path.join("file"), "").unwrap();
        (0..5).for_each(|_| state.look());
        assert_eq!(lost.load(Ordering::Relaxed), 0);

        fs::rename(&path, above.path().join("elsewhere")).unwrap();
        fs::create_dir(&path).unwrap();
        (0..5).for_each(|_| state.look());

        assert_eq!(lost.load(Ordering::Relaxed), 1);
    }
    use crate::domains::pulse::Pulse;

    #[test]
    fn whoever_does_not_answer_is_named_and_systemd_hears_nothing_until_he_does() {
        let (to_capture, capture) = Channel::pair().unwrap();
        let health = Health::default();
        let asked = vec![(Domain::Capture, Asking::new(to_capture))];
        let (mut seen, mut capture) = (Seen::new(asked, health.clone()), Pulse::new(capture));
        for _ in 0..50 {
            assert!(seen.look());
            capture.answer().unwrap();
        }

        let looks = (0..50).take_while(|_| seen.look()).count();
        assert!(looks < 10, "{looks}");
        assert_eq!(seen.silent, ["capture"]);
        capture.answer().unwrap();
        assert!(seen.look());

        // A thread of the firewall's is at one thing for ever.
        health.requests.begin();
        let looks = (0..50)
            .take_while(|_| seen.look() && capture.answer().is_ok())
            .count();
        assert!(looks < 20, "{looks}");
        assert_eq!(seen.silent, ["firewall"]);
    }
}
