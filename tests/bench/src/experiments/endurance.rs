//! E16: ten million packets each that grant nothing, as fast as they can be sent: junk, one packet over
//! and over, and messages of somebody with a key for a port that she may not open.
//!
//! What must not grow: memory, the state directory, the log, and what is recorded for each packet.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::arena::Arena;
use crate::clock;
use crate::experiments::grants::warm;
use crate::flood::{self, Flood};
use crate::keyring::{ECHO, Form, Keyring, junk};
use crate::probe::Pace;
use crate::report::{Report, Row};
use crate::servers::{Running, Server, rss_mib};

/// Packets of each kind.
const PACKETS: u64 = 10_000_000;
/// And with `--quick`.
const PACKETS_QUICK: u64 = 200_000;
/// What is made at once. Whoever has a key makes a new message for each packet.
const BLOCK: usize = 20_000;
/// How the one that is repeated is looked for.
const PACE: Pace = Pace {
    every: Duration::from_micros(100),
    limit: Duration::from_secs(1),
};
/// A port that the stanza does not open.
const DENIED: &str = "udp/9";

/// What is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Junk,
    Replays,
    Denied,
}

/// What must stay as it is.
#[derive(Clone, Copy, Debug)]
struct Look {
    rss_mib: f64,
    state_mib: f64,
    log_lines: usize,
    events: u64,
    received: u64,
    cpu_secs: f64,
}

/// Sends all of each kind and looks at the server after a tenth and at the end.
pub(crate) fn run(arena: &Arena, quick: bool, report: &mut Report) -> anyhow::Result<()> {
    let packets = if quick { PACKETS_QUICK } else { PACKETS };
    for kind in [Kind::Junk, Kind::Replays, Kind::Denied] {
        endure(arena, kind, packets, report)?;
    }
    Ok(())
}

fn endure(arena: &Arena, kind: Kind, packets: u64, report: &mut Report) -> anyhow::Result<()> {
    let keyring = Keyring {
        more: "OPEN_PORTS udp/7777\n",
        ..Keyring::new(1, 3)
    };
    let running = warm(arena, keyring, Server::Postern)?;
    let replayed = keyring.packets(1, Form::Tagged, ECHO)?;
    if let (Kind::Replays, [packet]) = (kind, replayed.as_slice()) {
        let _ = arena.prober()?.grant_latency(packet, PACE)?;
    }
    let sockets = Flood::sockets(&arena.client, arena.target, &arena.strangers())?;
    let begun = clock::now();
    let first = send(kind, keyring, &replayed, &sockets, packets / 10)?;
    let early = Look::at(arena, &running)?;
    let rest = send(kind, keyring, &replayed, &sockets, packets - packets / 10)?;
    let secs = clock::now().duration_since(begun).as_secs_f64();
    let late = Look::at(arena, &running)?;
    running.stop()?;
    add(kind, first + rest, secs, (early, late), report)
}

fn send(
    kind: Kind,
    keyring: Keyring,
    replayed: &[Vec<u8>],
    sockets: &[UdpSocket],
    count: u64,
) -> anyhow::Result<u64> {
    let mut sent = 0;
    let mut block = match kind {
        Kind::Junk => junk(BLOCK)?,
        Kind::Replays => replayed.iter().cycle().take(BLOCK).cloned().collect(),
        Kind::Denied => Vec::new(),
    };
    while sent < count {
        if kind == Kind::Denied {
            block = keyring.packets(BLOCK, Form::Tagged, DENIED)?;
        }
        sent += flood::send_all(sockets, &block);
    }
    Ok(sent)
}

#[expect(clippy::cast_precision_loss, reason = "numbers for people")]
fn add(
    kind: Kind,
    sent: u64,
    secs: f64,
    (early, late): (Look, Look),
    report: &mut Report,
) -> anyhow::Result<()> {
    let what = match kind {
        Kind::Junk => "junk",
        Kind::Replays => "one packet again and again",
        Kind::Denied => "denied messages",
    };
    let received = (late.received - early.received).max(1) as f64;
    let micros = (late.cpu_secs - early.cpu_secs) * 1e6 / received;
    let rows: [(&'static str, f64, String, &'static str); 5] = [
        (
            "rss_mib",
            late.rss_mib,
            format!(
                "{:.1} MiB after a tenth, {:.1} at the end",
                early.rss_mib, late.rss_mib
            ),
            "flat",
        ),
        (
            "state_mib",
            late.state_mib,
            format!(
                "{:.1} MiB after a tenth, {:.1} at the end",
                early.state_mib, late.state_mib
            ),
            "flat",
        ),
        (
            "log_lines",
            late.log_lines as f64,
            format!(
                "{} lines after a tenth, {} at the end",
                early.log_lines, late.log_lines
            ),
            "none for a packet",
        ),
        (
            "events",
            late.events as f64,
            format!(
                "{} events after a tenth, {} at the end",
                early.events, late.events
            ),
            "bounded",
        ),
        (
            "cpu_micros",
            micros,
            format!(
                "{micros:.2} us of CPU a packet; {sent} sent at {:.0}k/s, {} received",
                sent as f64 / secs / 1e3,
                late.received
            ),
            "",
        ),
    ];
    for (measure, value, text, goal) in rows {
        report.add(Row {
            experiment: "E16",
            case: format!("{what}: {measure}"),
            server: Server::Postern,
            measure,
            value: Some(value),
            text,
            goal,
        })?;
    }
    Ok(())
}

// === impl Look ===

impl Look {
    fn at(arena: &Arena, running: &Running) -> anyhow::Result<Self> {
        let state = arena.server.dir.join("state");
        let agent = harness::postern::binary("postern-agent")?;
        let words = [
            &*agent.to_string_lossy(),
            "status",
            "--json",
            "--state",
            &state.to_string_lossy(),
        ];
        let told = arena.server.run(&words)?.ok()?;
        let told: serde_json::Value = serde_json::from_str(&told.stdout).context("status")?;
        let of = |pointer: &str| told.pointer(pointer).and_then(serde_json::Value::as_u64);
        Ok(Self {
            rss_mib: rss_mib(running.process.pid())?,
            state_mib: mib(&state)?,
            log_lines: running.process.log().lines().count(),
            events: of("/journal_seq").context("events")?,
            received: of("/captures/0/frames").context("frames")?,
            cpu_secs: running.cpu_secs()?,
        })
    }
}

/// What the files of a directory take on the disk.
fn mib(dir: &Path) -> anyhow::Result<f64> {
    let mut bytes = 0;
    for file in fs::read_dir(dir)? {
        bytes += file?.metadata()?.len();
    }
    #[expect(clippy::cast_precision_loss, reason = "a size for people")]
    Ok(bytes as f64 / f64::from(1 << 20))
}
