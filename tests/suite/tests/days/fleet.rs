//! Thirty hosts and twenty users, and what their machines do while nobody types.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Context as _;
use harness::{Lab, Process, Ran, Result, wait};
use suite::page::{Cast, says};

use crate::machine::Machine;
use crate::scenes;

/// Machines that are no hosts of the fleet, with the last part of their addresses.
const OTHERS: &[(&str, u8)] = &[
    ("controller", 2),
    ("standby", 3),
    ("operator", 5),
    ("auditor", 6),
    ("pipeline", 7),
    ("alice", 50),
    ("bob", 51),
    // Where everybody else sits.
    ("office", 52),
    ("attic", 60),
];

/// The hosts: twenty web servers, six databases, and four web servers of the stage.
pub(crate) fn hosts() -> Vec<(String, u8)> {
    [("web", 20), ("db", 6), ("stage", 4)]
        .iter()
        .flat_map(|&(kind, count)| (1..=count).map(move |number| format!("{kind}-{number}")))
        .zip(11..)
        .collect()
}

/// Everybody on the three pages.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) machines: BTreeMap<String, Machine>,
    /// Programs of ours and others' that run, by machine and name.
    pub(crate) running: BTreeMap<(String, String), Process>,
    /// What a page has started last.
    started: Vec<Process>,
    /// Services of others.
    pub(crate) fwknopd: Vec<harness::fwknop::Fwknopd>,
}

// === impl Fleet ===

impl Fleet {
    /// All machines, with nothing on them but our programs.
    pub(crate) fn gather(lab: &Lab) -> Result<Self> {
        harness::machine::require(&["ssh", "ssh-keygen", "faketime", "nc"])?;
        let mut all = hosts();
        all.extend(
            OTHERS
                .iter()
                .map(|&(name, number)| (name.to_owned(), number)),
        );
        let mut names = String::from("127.0.0.1 localhost\n");
        for (name, number) in &all {
            let dotted = if name == "controller" { ".example" } else { "" };
            let _ = writeln!(names, "192.0.2.{number} {name}{dotted}");
        }
        let mut machines = BTreeMap::new();
        for (name, number) in all {
            let machine = Machine::begin(lab.node(&name, number)?, &names)?;
            machines.insert(name, machine);
        }
        for machine in machines.values_mut() {
            machine.ready()?;
        }
        Ok(Self {
            machines,
            running: BTreeMap::new(),
            started: Vec::new(),
            fwknopd: Vec::new(),
        })
    }

    /// What pages have started ends.
    pub(crate) fn evening(&mut self) {
        self.started.clear();
    }

    pub(crate) fn machine(&self, name: &str) -> Result<&Machine> {
        self.machines
            .get(name)
            .with_context(|| format!("no machine is called {name}"))
    }

    /// Runs lines of a shell, which must be good ones.
    pub(crate) fn must(&self, name: &str, text: &str) -> Result<Ran> {
        self.machine(name)?.shell(text)?.ok()
    }

    /// Starts a program on a machine, in the place of the one of that name.
    pub(crate) fn run(&mut self, machine: &str, name: &str, line: &str) -> Result<()> {
        let key = (machine.to_owned(), name.to_owned());
        self.running.remove(&key);
        let process = self.machine(machine)?.start(name, line)?;
        self.running.insert(key, process);
        Ok(())
    }

    /// Ends it.
    pub(crate) fn stop(&mut self, machine: &str, name: &str) -> Result<()> {
        let key = (machine.to_owned(), name.to_owned());
        let mut process = self.running.remove(&key).context("it does not run")?;
        process.signal(nix::sys::signal::Signal::SIGTERM)?;
        process.wait(wait::SOON)?;
        Ok(())
    }
}

impl Cast for Fleet {
    fn shell(&mut self, who: &str, text: &str) -> Result<Ran> {
        self.machine(who)?.shell(text)
    }

    fn file(&mut self, who: &str, name: &str, text: &str) -> Result<()> {
        // Through the shell: it may stand where only that machine sees it.
        let text = format!(
            "mkdir -p -m 700 $(dirname {name}); umask 077; cat > {name} <<'END'\n{text}END"
        );
        self.must(who, &text)?;
        Ok(())
    }

    fn start(&mut self, who: &str, text: &str) -> Result<()> {
        let process = self.machine(who)?.start("page", text)?;
        self.started.push(process);
        Ok(())
    }

    fn started_says(&mut self, text: &str) -> Result<()> {
        let process = self.started.last().context("nothing was started")?;
        let mut last = Ok(());
        let waited = wait::until("its words", wait::SOON, || {
            last = says(&process.log(), text);
            Ok(last.is_ok())
        });
        last.and_then(|()| waited.map(|_| ()))
    }

    fn scene(&mut self, what: &str) -> Result<()> {
        scenes::play(self, what)
    }
}
