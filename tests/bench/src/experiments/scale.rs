//! E14: one controller with many hosts: what a connected one costs, a large policy and an edit of it
//! on their way to all, and how long they take to come back when the controller is killed.
//!
//! The hosts are played by this program, each with its own certificate and connection, and do what an
//! agent does as far as the controller can see: they keep their pass, say what they have, unpack what
//! they are sent and check its digest, and come back with an agent's own waits. What they do not do
//! is to parse and enforce the policy, since that is the work of other machines; and a text that many
//! have is unpacked by the first that is sent it.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleet::Role;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::arena::Arena;
use crate::clock;
use crate::experiments::scale_host::{Heard, Host, Said, Texts};
use crate::fleet::{Company, Operator};
use crate::report::{Report, Row};
use crate::servers::Server;
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

/// How long the idle controller is watched.
const IDLE: Duration = Duration::from_secs(10);
/// When nothing more is waited for.
const LIMIT: Duration = Duration::from_secs(180);
/// How long policies are counted that a controller sends after it has come back.
const AFTERWARDS: Duration = Duration::from_secs(3);

/// The fleet as it is measured.
struct Fleet {
    operator: Operator,
    size: Size,
    heard: mpsc::Receiver<Heard>,
    generation: u64,
}

/// A policy on its way to all.
struct Spread {
    /// Until the operator had the answer,
    answered: Duration,
    /// and until the last acknowledgement was answered.
    acknowledged: Duration,
    /// What travelled to one host at most.
    bytes: usize,
}

/// Runs all of E14.
pub(crate) fn run(arena: &Arena, size: Size, report: &mut Report) -> anyhow::Result<()> {
    let mut company = Company::start(arena, "scale")?;
    let before = status(company.controller.pid(), "VmRSS:")?;
    let mut fleet = company.run(Fleet::gather(&company, size))?;
    fleet.connected(&company, before, report)?;
    fleet.spread(&company, report)?;
    fleet.restart(&mut company, report)?;

    let policy = "NAME all\nSOURCE ANY\nOPEN_PORTS tcp/22\n";
    let pairwise = company.run(fleet.apply(policy))?;
    let Size { hosts, users, .. } = size;
    report.add(row(
        format!("apply, {hosts} hosts x {users} pairwise users"),
        ("pairwise_ms", millis(pairwise.acknowledged)),
        pairwise.text(),
        "<= 5 s at 3,000 x 100",
    ))
}

fn row(
    case: String,
    (measure, value): (&'static str, f64),
    text: String,
    goal: &'static str,
) -> Row {
    Row {
        experiment: "E14",
        case,
        server: Server::Postern,
        measure,
        value: Some(value),
        text,
        goal,
    }
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
    /// Lets users and hosts join, and every host listen.
    async fn gather(company: &Company, size: Size) -> anyhow::Result<Self> {
        let operator = company.operator().await?;
        let users = (0..size.users).map(|number| format!("user-{number}"));
        operator.members(Role::User, users.collect()).await?;
        let names = (0..size.hosts).map(|number| format!("host-{number:05}"));
        let members = operator.members(Role::Host, names.collect()).await?;
        let (tell, heard) = mpsc::channel(size.hosts * 4);
        let texts = Texts::default();
        for (number, member) in members.into_iter().enumerate() {
            let host = Host::new(number, member, texts.clone(), tell.clone());
            tokio::spawn(host.keep());
        }
        let mut fleet = Self {
            operator,
            size,
            heard,
            generation: 0,
        };
        fleet.all(|said| matches!(said, Said::Opened)).await?;
        Ok(fleet)
    }

    /// What hosts cost that are connected and have nothing to say.
    fn connected(&self, company: &Company, before: f64, report: &mut Report) -> anyhow::Result<()> {
        let (pid, hosts) = (company.controller.pid(), self.size.hosts);
        let each = (status(pid, "VmRSS:")? - before) / f64::from(u32::try_from(hosts)?);
        report.add(row(
            format!("memory of a connected host, {hosts} hosts"),
            ("host_kib", each),
            format!("{each:.1} KiB"),
            "<= 46 KiB",
        ))?;
        let idle = idle(pid)?;
        report.add(row(
            format!("idle, {hosts} hosts"),
            ("idle_percent", idle),
            format!("{idle:.2} % of a core"),
            "<= 3 %",
        ))
    }

    /// A large policy, and an edit of it.
    fn spread(&mut self, company: &Company, report: &mut Report) -> anyhow::Result<()> {
        let (case, stanzas) = (self.case(), self.size.stanzas);
        let whole = company.run(self.apply(&static_policy(stanzas, None)))?;
        let answered = millis(whole.answered);
        report.add(row(
            format!("apply, {case}"),
            ("apply_ms", answered),
            whole.text(),
            "answer <= 1 s",
        ))?;
        let edit = company.run(self.apply(&static_policy(stanzas, Some(stanzas / 2))))?;
        report.add(row(
            format!("edit of one stanza, {case}"),
            ("edit_ms", millis(edit.acknowledged)),
            edit.text(),
            "",
        ))?;
        report.add(peak(company, format!("memory, {case}"))?)
    }

    /// The controller is killed, and all hosts come back.
    fn restart(&mut self, company: &mut Company, report: &mut Report) -> anyhow::Result<()> {
        let case = self.case();
        let (back, sent) = self.kill(company)?;
        report.add(row(
            format!("kill -9 until all are back, {case}"),
            ("back_s", back.as_secs_f64()),
            format!("{:.1} s, {sent} policies sent", back.as_secs_f64()),
            "<= 15 s, none",
        ))?;
        report.add(peak(company, format!("memory after that, {case}"))?)
    }

    fn case(&self) -> String {
        format!("{} hosts x {} static", self.size.hosts, self.size.stanzas)
    }

    /// Applies a policy that changes every host.
    async fn apply(&mut self, text: &str) -> anyhow::Result<Spread> {
        let began = clock::now();
        let (generation, changed) = self.operator.apply(text, self.generation).await?;
        let answered = began.elapsed();
        ensure!(
            changed.len() == self.size.hosts,
            "{} changed",
            changed.len()
        );
        self.generation = generation;
        let mut most = 0;
        let last = self
            .all(|said| match said {
                Said::Applied {
                    generation: of,
                    bytes,
                } if *of == generation => {
                    most = most.max(*bytes);
                    true
                }
                Said::Applied { .. } | Said::Opened => false,
            })
            .await?;
        Ok(Spread {
            answered,
            acknowledged: last - began,
            bytes: most,
        })
    }

    /// Kills the controller and starts it again; how long it takes until every host has a session,
    /// and how many policies it sends to them.
    fn kill(&mut self, company: &mut Company) -> anyhow::Result<(Duration, usize)> {
        company.controller.kill()?;
        // Nobody has heard of that yet: what was said is of before.
        while self.heard.try_recv().is_ok() {}
        let began = clock::now();
        company.controller.start_again()?;
        company.run(async {
            let mut sent = 0;
            let last = self
                .all(|said| {
                    sent += usize::from(matches!(said, Said::Applied { .. }));
                    matches!(said, Said::Opened)
                })
                .await?;
            while let Ok(Some(heard)) = timeout(AFTERWARDS, self.heard.recv()).await {
                sent += usize::from(matches!(heard.said, Said::Applied { .. }));
            }
            Ok((last - began, sent))
        })
    }

    /// Waits until every host has said what is `wanted`; when the last of them did.
    async fn all(&mut self, mut wanted: impl FnMut(&Said) -> bool) -> anyhow::Result<Instant> {
        let limit = clock::now() + LIMIT;
        let mut missing = self.size.hosts;
        let mut seen = vec![false; missing];
        loop {
            let left = limit.saturating_duration_since(clock::now());
            let heard = timeout(left, self.heard.recv()).await;
            let heard = heard.ok().flatten();
            let heard = heard.with_context(|| format!("{missing} hosts are missing"))?;
            let seen = seen.get_mut(heard.host).context("a foreign host")?;
            if wanted(&heard.said) && !std::mem::replace(seen, true) {
                missing -= 1;
                if missing == 0 {
                    return Ok(heard.at);
                }
            }
        }
    }
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

/// What the controller held at most.
fn peak(company: &Company, case: String) -> anyhow::Result<Row> {
    let most = status(company.controller.pid(), "VmHWM:")? / 1024.0;
    let text = format!("{most:.0} MiB at most");
    Ok(row(case, ("memory_mib", most), text, "<= 143 MiB"))
}

/// A line of a process's status, KiB.
fn status(pid: u32, name: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.split_whitespace().next());
    Ok(value.context("no such line")?.parse()?)
}

/// The share of a core that a process takes when nothing is asked of it, percent.
fn idle(pid: u32) -> anyhow::Result<f64> {
    let ticks = || -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, fields) = stat.rsplit_once(") ").context("stat")?;
        let mut fields = fields.split(' ').skip(11);
        let mut next = || -> anyhow::Result<f64> { Ok(fields.next().context("stat")?.parse()?) };
        Ok(next()? + next()?)
    };
    let before = ticks()?;
    std::thread::sleep(IDLE);
    // A hundred ticks a second, which is what a percent is.
    Ok((ticks()? - before) / IDLE.as_secs_f64())
}
