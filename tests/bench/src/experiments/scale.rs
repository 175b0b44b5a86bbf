//! E13 and E14: a fleet of many hosts, at one controller or several: what a connected host costs, a large policy and an edit
//! of it on their way to all, and how long hosts take to come back when a controller is killed.
//!
//! The hosts are played by programs of this one's own ([`crate::players`]), each with its own certificate and connection.
//! Whatever is done is done at the first controller, and counts when the last host of the last controller has it.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleet::Role;
use fleet::keep_alive::ASKED_AFTER;
use harness::postern::Controller;
use sha2::{Digest as _, Sha256};

use crate::arena::Arena;
use crate::clock;
use crate::fleet::{Company, Operator, Shape};
use crate::players::{Players, State, since};
use crate::report::{Report, Row};
use crate::servers::{Server, cpu_secs};
use crate::stats::ms;

/// How large the fleet is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) hosts: usize,
    /// With a static key each, on every host.
    pub(crate) stanzas: usize,
    /// Of a pairwise stanza on every host.
    pub(crate) users: usize,
}

/// How long idle controllers are watched: three times what a host waits until it asks whether its controller is there,
/// so that each has asked as often as the others.
const IDLE: Duration = ASKED_AFTER.saturating_mul(3);
/// After the last session was opened, until they are idle.
const CALM: Duration = Duration::from_secs(5);
/// When nothing more is waited for, and for every thousand hosts more of that.
const LIMIT: Duration = Duration::from_secs(120);
const LIMIT_PER_THOUSAND: Duration = Duration::from_secs(5);
/// How long policies are counted that a controller sends after it has come back.
const AFTERWARDS: Duration = Duration::from_secs(3);

/// The fleet as it is measured.
struct Fleet {
    experiment: &'static str,
    shape: Shape,
    size: Size,
    operator: Operator,
    players: Players,
    generation: u64,
}

/// A policy on its way to all.
struct Spread {
    /// Until the operator had the answer,
    answered: Duration,
    /// and until the last acknowledgement was answered.
    acknowledged: Duration,
    /// What travelled to one host at most.
    bytes: u64,
}

/// Runs E13: the same fleet at one controller with a file, and at one, two and three over PostgreSQL.
pub(crate) fn several(arena: &Arena, size: Size, report: &mut Report) -> anyhow::Result<()> {
    for shape in Shape::all() {
        of(arena, "E13", shape, size, report)?;
    }
    Ok(())
}

/// Runs E14: one fleet.
pub(crate) fn run(
    arena: &Arena,
    shape: Shape,
    size: Size,
    report: &mut Report,
) -> anyhow::Result<()> {
    of(arena, "E14", shape, size, report)
}

fn of(
    arena: &Arena,
    experiment: &'static str,
    shape: Shape,
    size: Size,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut company = Company::start_as(arena, experiment, shape)?;
    let mut fleet = Fleet::gather(arena, experiment, (&company, shape), size, report)?;
    fleet.connected(arena, &company, report)?;
    fleet.spread(&company, report)?;
    fleet.users(&company, report)?;
    fleet.kill(&mut company, report)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

// === impl Spread ===

impl Spread {
    fn text(&self) -> String {
        let time = |time| ms(Some(millis(time)));
        format!(
            "{} to the last ack, {} to the operator's answer, {} bytes to a host",
            time(self.acknowledged),
            time(self.answered),
            self.bytes
        )
    }
}

// === impl Fleet ===

impl Fleet {
    /// Lets users and hosts join.
    fn gather(
        arena: &Arena,
        experiment: &'static str,
        (company, shape): (&Company, Shape),
        size: Size,
        report: &mut Report,
    ) -> anyhow::Result<Self> {
        let operator = company.run(async {
            let operator = company.operator().await?;
            let users = (0..size.users).map(|number| format!("user-{number}"));
            operator.members(Role::User, users.collect()).await?;
            company.heard_by_all().await;
            Ok(operator)
        })?;
        let limit = limit(size.hosts);
        let (players, joined) = Players::join(arena, company, size.hosts, limit)?;
        let fleet = Self {
            experiment,
            shape,
            size,
            operator,
            players,
            generation: 0,
        };
        let secs = joined.as_secs_f64();
        fleet.add(
            report,
            "all join",
            ("join_s", secs),
            format!(
                "{secs:.1} s, from {} addresses under the default limit on strangers",
                fleet.players.addresses()
            ),
            "",
        )?;
        Ok(fleet)
    }

    /// What hosts cost that are connected and have nothing to say.
    fn connected(
        &mut self,
        arena: &Arena,
        company: &Company,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let before = kib(company, "VmRSS:")?.0;
        let secs = self.players.connect(limit(self.size.hosts))?.as_secs_f64();
        let hosts = f64::from(u32::try_from(self.size.hosts)?);
        let text = format!("{secs:.1} s, {:.0}/s", hosts / secs);
        self.add(report, "all connect", ("connect_s", secs), text, "")?;
        std::thread::sleep(CALM);
        let each = (kib(company, "VmRSS:")?.0 - before) / hosts;
        let text = format!("{each:.1} KiB");
        self.add(
            report,
            "memory of a connected host",
            ("host_kib", each),
            text,
            "<= 46 KiB",
        )?;

        let pids: Vec<u32> = company.controllers().map(Controller::pid).collect();
        let server = self.shape.postgres.then(|| arena.postgres()).transpose()?;
        let server = server.and_then(|server| server.pid());
        let idle = || -> anyhow::Result<(Vec<f64>, f64)> {
            let all: anyhow::Result<_> = pids.iter().map(|pid| cpu_secs(*pid)).collect();
            Ok((all?, server.map(cpu_secs).transpose()?.unwrap_or(0.0)))
        };
        let before = idle()?;
        std::thread::sleep(IDLE);
        let after = idle()?;
        let percent = |before: f64, after: f64| (after - before) / IDLE.as_secs_f64() * 100.0;
        let each: Vec<f64> = before
            .0
            .iter()
            .zip(&after.0)
            .map(|(b, a)| percent(*b, *a))
            .collect();
        let all: f64 = each.iter().sum();
        let mut text = format!("{all:.2} % of a core");
        if each.len() > 1 {
            let each: Vec<String> = each.iter().map(|it| format!("{it:.2}")).collect();
            let _ = write!(text, " ({})", each.join(", "));
        }
        if server.is_some() {
            let _ = write!(text, ", PostgreSQL {:.2} %", percent(before.1, after.1));
        }
        self.add(
            report,
            "idle",
            ("idle_percent", all),
            text,
            "<= 3 % at 10,000",
        )
    }

    /// A large policy, and an edit of it.
    fn spread(&mut self, company: &Company, report: &mut Report) -> anyhow::Result<()> {
        let stanzas = self.size.stanzas;
        let whole = self.apply(company, &static_policy(stanzas, None))?;
        let case = format!("apply of {stanzas} static");
        let answered = ("apply_ms", millis(whole.answered));
        self.add(report, &case, answered, whole.text(), "answer <= 1 s")?;
        let edit = self.apply(company, &static_policy(stanzas, Some(stanzas / 2)))?;
        let acknowledged = ("edit_ms", millis(edit.acknowledged));
        self.add(report, "edit of one of them", acknowledged, edit.text(), "")?;
        self.peak(company, "memory", report)
    }

    /// A policy to pairwise users, of whom one is locked.
    fn users(&mut self, company: &Company, report: &mut Report) -> anyhow::Result<()> {
        let users = self.size.users;
        if users == 0 {
            return Ok(());
        }
        let pairwise = self.apply(company, "NAME all\nSOURCE ANY\nOPEN_PORTS tcp/22\n")?;
        self.add(
            report,
            &format!("apply, {users} pairwise users"),
            ("pairwise_ms", millis(pairwise.acknowledged)),
            pairwise.text(),
            "<= 5 s at 3,000 x 100",
        )?;
        self.players.mark()?;
        let began = clock::shared_us();
        company.run(self.operator.lock("user-0"))?;
        let state = self.players.changed(limit(self.size.hosts))?;
        let lock = millis(since(began, state.changed_us));
        let text = format!("{} to the last ack", ms(Some(lock)));
        self.add(
            report,
            "lock of a user",
            ("lock_ms", lock),
            text,
            "<= 2 s at 1,000",
        )
    }

    /// One controller is killed, and all hosts come back: to it, started again, where it is the only one, and to the others
    /// where there are some.
    fn kill(&mut self, company: &mut Company, report: &mut Report) -> anyhow::Result<()> {
        // That one ends the session of its hosts in order for its own reasons is not what is measured.
        let before = self.players.state();
        let began = clock::shared_us();
        let others = company.others.len();
        if let Some(last) = company.others.last_mut() {
            last.kill()?;
        } else {
            company.controller.kill()?;
            company.controller.start_again()?;
        }
        let back = self.players.back(before, limit(self.size.hosts))?;
        std::thread::sleep(AFTERWARDS);
        let sent = self.players.state().sent - before.sent;
        let State {
            ended, opened_us, ..
        } = back;
        let secs = since(began, opened_us).as_secs_f64();
        let hosts = ended - before.ended;
        let to = if others > 0 { "at the others" } else { "at it" };
        self.add(
            report,
            "kill -9 of one until all are back",
            ("back_s", secs),
            format!("{secs:.1} s for {hosts} hosts {to}, {sent} policies sent"),
            "<= 30 s at 10,000",
        )?;
        if others > 0 {
            company.others.pop();
        }
        self.peak(company, "memory after that", report)
    }

    /// Applies a policy that changes every host.
    fn apply(&mut self, company: &Company, text: &str) -> anyhow::Result<Spread> {
        self.players.mark()?;
        let (began, since_us) = (clock::now(), clock::shared_us());
        let applying = self.operator.apply(text, self.generation);
        let (generation, changed) = company.run(applying)?;
        let answered = began.elapsed();
        ensure!(
            changed.len() == self.size.hosts,
            "{} changed",
            changed.len()
        );
        self.generation = generation;
        let state = self.players.changed(limit(self.size.hosts))?;
        Ok(Spread {
            answered,
            acknowledged: since(since_us, state.changed_us),
            bytes: state.bytes,
        })
    }

    /// What the controllers held at most, and which held most.
    fn peak(&self, company: &Company, case: &str, report: &mut Report) -> anyhow::Result<()> {
        let (all, most) = kib(company, "VmHWM:")?;
        let (all, most) = (all / 1024.0, most / 1024.0);
        let text = if company.others.is_empty() {
            format!("{most:.0} MiB at most")
        } else {
            format!("{most:.0} MiB at most in one, {all:.0} in all")
        };
        self.add(
            report,
            case,
            ("memory_mib", most),
            text,
            "<= 143 MiB at 300 x 10,000",
        )
    }

    fn add(
        &self,
        report: &mut Report,
        case: &str,
        (measure, value): (&'static str, f64),
        text: String,
        goal: &'static str,
    ) -> anyhow::Result<()> {
        report.add(Row {
            experiment: self.experiment,
            case: format!("{}, {} hosts: {case}", self.shape, self.size.hosts),
            server: Server::Postern,
            measure,
            value: Some(value),
            text,
            goal,
        })
    }
}

/// When nothing more is waited for.
fn limit(hosts: usize) -> Duration {
    let thousands = u32::try_from(hosts / 1_000).unwrap_or(u32::MAX);
    LIMIT + LIMIT_PER_THOUSAND * thousands
}

/// Stanzas with a key of their own each, for all hosts; one of them opens another port.
fn static_policy(stanzas: usize, edited: Option<usize>) -> String {
    let mut text = String::new();
    for number in 0..stanzas {
        let part = |name: &str| Sha256::digest(format!("{name} {number}"));
        let key = STANDARD.encode(part("key"));
        let hmac = STANDARD.encode([part("one"), part("other")].concat());
        let port = if edited == Some(number) { 2_222 } else { 22 };
        let _ = write!(
            text,
            "NAME service-{number}\nHOSTS ANY\nSOURCE ANY\nKEY_BASE64 {key}\nHMAC_KEY_BASE64 {hmac}\n\
             OPEN_PORTS tcp/{port}\nFW_ACCESS_TIMEOUT 30\n\n",
        );
    }
    text
}

/// A line of the status of each controller's process, KiB: all together, and the largest.
fn kib(company: &Company, name: &str) -> anyhow::Result<(f64, f64)> {
    let mut sum = 0.0;
    let mut most: f64 = 0.0;
    for controller in company.controllers() {
        let value = status(controller.pid(), name)?;
        sum += value;
        most = most.max(value);
    }
    Ok((sum, most))
}

/// A line of a process's status, KiB.
pub(crate) fn status(pid: u32, name: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.split_whitespace().next());
    Ok(value.context("no such line")?.parse()?)
}
