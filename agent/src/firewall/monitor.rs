//! Keeps the base rules as they should be, beside the gate thread.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use spa::ProtoPort;

use super::BaseRules;

/// Between two looks. Four short processes each with iptables.
const EVERY: Duration = Duration::from_secs(5);
/// Tasks that may wait.
const TASKS_MAX: usize = 16;

/// A thread that looks at the base rules and repairs them.
#[derive(Debug)]
pub struct Monitor {
    tasks: SyncSender<Task>,
    thread: JoinHandle<Box<dyn BaseRules>>,
}

/// Asks the monitor for something.
#[derive(Clone, Debug)]
pub struct MonitorHandle(SyncSender<Task>);

#[derive(Debug)]
enum Task {
    Protect(Vec<ProtoPort>),
    Stop,
}

/// The base rules, and whether they differed when they were last looked at.
struct Watched {
    rules: Box<dyn BaseRules>,
    drifted: bool,
}

// === impl Monitor ===

impl Monitor {
    /// Starts the thread. `report` is called on it with what was found to differ (it has been
    /// repaired as far as that was possible, but holes may be gone), and once with `None` when all
    /// is well again.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(
        rules: Box<dyn BaseRules>,
        mut report: impl FnMut(Option<String>) + Send + 'static,
    ) -> io::Result<Self> {
        let (tasks, inbox) = sync_channel(TASKS_MAX);
        let watched = Watched {
            rules,
            drifted: false,
        };
        let thread = thread::Builder::new()
            .name("firewall".to_owned())
            .spawn(move || watched.keep(&inbox, &mut report))?;
        Ok(Self { tasks, thread })
    }

    /// For those who have something to ask of it.
    pub fn handle(&self) -> MonitorHandle {
        MonitorHandle(self.tasks.clone())
    }

    /// Ends the thread and gives the base rules back.
    ///
    /// # Errors
    ///
    /// The panic of the thread, if it had panicked.
    pub fn stop(self) -> thread::Result<Box<dyn BaseRules>> {
        let _ = self.tasks.send(Task::Stop);
        self.thread.join()
    }
}

// === impl MonitorHandle ===

impl MonitorHandle {
    /// Hides these ports from now on, and no others.
    pub fn protect(&self, ports: Vec<ProtoPort>) {
        if self.0.try_send(Task::Protect(ports)).is_err() {
            tracing::error!(
                "the thread that keeps the base rules is stuck: the protected ports are not changed"
            );
        }
    }
}

// === impl Watched ===

impl Watched {
    fn keep(
        mut self,
        inbox: &Receiver<Task>,
        report: &mut dyn FnMut(Option<String>),
    ) -> Box<dyn BaseRules> {
        loop {
            match inbox.recv_timeout(EVERY) {
                Ok(Task::Protect(ports)) => self.protect(&ports, report),
                Err(RecvTimeoutError::Timeout) => self.look(report),
                Ok(Task::Stop) | Err(RecvTimeoutError::Disconnected) => return self.rules,
            }
        }
    }

    fn protect(&mut self, ports: &[ProtoPort], report: &mut dyn FnMut(Option<String>)) {
        if let Err(cause) = self.rules.protect(ports) {
            tracing::error!(error = %program::one_line(&cause), "cannot change the protected ports");
            report(Some(cause.to_string()));
        }
    }

    /// Looks and repairs. Reports what was found, and once when all is well again.
    fn look(&mut self, report: &mut dyn FnMut(Option<String>)) {
        let found = match self.rules.check() {
            Ok(None) => {
                if std::mem::take(&mut self.drifted) {
                    report(None);
                }
                return;
            }
            Ok(Some(drift)) => drift.to_string(),
            Err(cause) => cause.to_string(),
        };
        match self.rules.repair() {
            Ok(()) => tracing::warn!(found, "the firewall was changed by someone else; repaired"),
            Err(cause) => {
                tracing::error!(found, error = %program::one_line(&cause), "the firewall cannot be repaired")
            }
        }
        self.drifted = true;
        report(Some(found));
    }
}

#[cfg(test)]
mod tests {
    use super::super::fault::Faulty;
    use super::super::memory::MemoryFirewall;
    use super::*;

    /// Base rules laid in `host`, whose `n`-th call from now fails if one is named.
    fn watched(host: &MemoryFirewall, fault: Option<u32>) -> Watched {
        let mut rules = host.backend().base_rules;
        rules.lay(&["tcp/22".parse().unwrap()]).unwrap();
        Watched {
            rules: match fault {
                Some(n) => Box::new(Faulty::new(rules, n)),
                None => rules,
            },
            drifted: false,
        }
    }

    fn looks(watched: &mut Watched, times: u32) -> Vec<Option<String>> {
        let mut reports = Vec::new();
        for _ in 0..times {
            watched.look(&mut |report| reports.push(report));
        }
        reports
    }

    #[test]
    fn drift_is_repaired_and_reported_and_its_end_is_reported_once() {
        let host = MemoryFirewall::default();
        let mut watched = watched(&host, None);
        assert_eq!(looks(&mut watched, 2), []);
        let outsider = [192, 0, 2, 7].into();

        host.forget();
        assert!(host.lets_in(outsider, "tcp/22".parse().unwrap()));
        let reports = looks(&mut watched, 3);

        assert_eq!(reports, [Some("the base rules are gone".to_owned()), None]);
        assert!(!host.lets_in(outsider, "tcp/22".parse().unwrap()));
    }

    #[test]
    fn what_cannot_be_repaired_or_looked_at_is_tried_again_at_the_next_look() {
        for failing_call in [0, 1] {
            let host = MemoryFirewall::default();
            let mut watched = watched(&host, Some(failing_call));
            host.forget();

            let reports = looks(&mut watched, 3);

            assert!(
                reports.len() > 1 && reports.last() == Some(&None),
                "{reports:?}"
            );
            assert_eq!(watched.rules.check(), Ok(None));
        }
    }

    #[test]
    fn ports_that_cannot_be_hidden_are_reported() {
        let host = MemoryFirewall::default();
        let mut watched = watched(&host, Some(0));
        let mut reports = Vec::new();

        watched.protect(&["tcp/443".parse().unwrap()], &mut |report| {
            reports.push(report)
        });

        assert_eq!(reports, [Some("made to fail".to_owned())]);
    }
}
