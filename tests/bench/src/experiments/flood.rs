//! E4 and E5: users among strangers.

use std::time::Duration;

use crate::arena::Arena;
use crate::experiments::grants::{self, warm};
use crate::flood::Flood;
use crate::keyring::{ECHO, Form, Keyring, crafted_junk, junk};
use crate::probe::{Pace, Prober, Vigil};
use crate::report::{Report, Row};
use crate::servers::Server;
use crate::stats::{Sample, ms};

/// A user counts as let in when the hole is open within this time.
const PACE: Pace = Pace {
    every: Duration::from_micros(50),
    limit: Duration::from_secs(1),
};
/// At full speed, where a prober that spins would take the server's turn.
const PACE_AT_FULL_SPEED: Pace = Pace {
    every: Duration::from_micros(100),
    ..PACE
};
/// Users in one flood.
const USERS: usize = 20;

/// What the strangers send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Junk {
    /// Random text of the right length.
    Random,
    /// Well-formed packets under unknown keys.
    Crafted,
    /// One valid packet, over and over.
    Replayed,
}

/// Which client the users have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Client {
    Tagged,
    /// fwknop's form, from an address that was let in before.
    Seen,
    /// fwknop's form, from an address never seen.
    Unseen,
}

/// One flood.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fire {
    pub(crate) experiment: &'static str,
    pub(crate) junk: Junk,
    /// Packets a second; `None` as fast as the machine sends.
    pub(crate) rate: Option<u64>,
    pub(crate) stanzas: u32,
    pub(crate) client: Client,
    pub(crate) goal: &'static str,
}

// === impl Fire ===

impl Fire {
    const fn pace(&self) -> Pace {
        match self.rate {
            Some(_) => PACE,
            None => PACE_AT_FULL_SPEED,
        }
    }
}

/// Lets users in while `fire` burns.
pub(crate) fn under(
    arena: &Arena,
    server: Server,
    fire: Fire,
    report: &mut Report,
) -> anyhow::Result<()> {
    // fwknop's client has only one form, its server knows no client from before, and with less than
    // crafted junk it stops answering.
    let is_ours_only = fire.client != Client::Unseen || fire.junk == Junk::Crafted;
    if !server.is_ours() && is_ours_only {
        return Ok(());
    }
    let keyring = Keyring::new(fire.stanzas, 3);
    let running = warm(arena, keyring, server)?;
    let mut users = arena.probers(USERS)?;
    if fire.client == Client::Seen {
        greet(&users, keyring)?;
        // Their flows are established; only new ones tell whether a hole opens again.
        users = arena
            .client
            .within(|| users.iter().map(Prober::anew).collect())?;
    }
    let form = match fire.client {
        Client::Tagged => server.best_form(),
        Client::Seen | Client::Unseen => Form::Stock,
    };
    let flood = ignite(arena, keyring, fire)?;
    std::thread::sleep(Duration::from_millis(500));
    // On a thread of its own: the server must not inherit how it gives way.
    let times = arena.client.within(|| {
        // Nothing halts at full speed, and a prober at the lowest priority would get no turn.
        let _awake = fire.rate.map(|_| Vigil::begin()).transpose()?;
        let mut times = Vec::new();
        for user in &users {
            let packet = keyring.packet(form)?;
            std::thread::sleep(grants::BETWEEN);
            times.extend(user.grant_latency(&packet, fire.pace())?);
        }
        Ok(times)
    })?;
    let (sent, rate) = flood.sent();
    drop(flood);
    running.stop()?;

    let sample = Sample::new(times);
    let p50 = sample.p50_ms();
    let what = match fire.junk {
        Junk::Random => "junk",
        Junk::Crafted => "crafted junk",
        Junk::Replayed => "replays",
    };
    let asked = fire
        .rate
        .map_or_else(|| "full speed".to_owned(), |rate| format!("{rate}/s"));
    let who = match fire.client {
        Client::Tagged => "tagged",
        Client::Seen => "stock, seen",
        Client::Unseen => "stock, unseen",
    };
    report.add(Row {
        experiment: fire.experiment,
        case: format!("{what} {asked}, {} stanza(s), {who}", fire.stanzas),
        server,
        measure: "latency_p50_ms",
        value: p50,
        text: format!(
            "{}% {} ({:.0}k/s)",
            sample.len() * 100 / USERS,
            ms(p50),
            rate / 1e3
        ),
        goal: fire.goal,
    })?;
    anyhow::ensure!(sent > 0, "the flood sent nothing");
    Ok(())
}

/// E4d: CPU seconds per million packets of junk.
pub(crate) fn cpu(
    arena: &Arena,
    server: Server,
    stanzas: u32,
    kind: Junk,
    report: &mut Report,
) -> anyhow::Result<()> {
    let keyring = Keyring::new(stanzas, 30);
    let running = warm(arena, keyring, server)?;
    let fire = Fire {
        experiment: "E4d",
        junk: kind,
        rate: Some(50_000),
        stanzas,
        client: Client::Tagged,
        goal: "<= 3 s, any number of stanzas",
    };
    let before = running.cpu_secs()?;
    let flood = ignite(arena, keyring, fire)?;
    std::thread::sleep(Duration::from_secs(8));
    let (sent, _) = flood.sent();
    let after = running.cpu_secs()?;
    drop(flood);
    running.stop()?;
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let per_million = (after - before) / (sent as f64 / 1e6);
    let what = if kind == Junk::Random {
        "junk"
    } else {
        "crafted junk"
    };
    report.add(Row {
        experiment: "E4d",
        case: format!("CPU s per million {what}, {stanzas} stanza(s)"),
        server,
        measure: "cpu_s_per_million",
        value: Some(per_million),
        text: format!("{per_million:.1} s"),
        goal: fire.goal,
    })
}

fn greet(users: &[Prober], keyring: Keyring) -> anyhow::Result<()> {
    for user in users {
        user.grant_latency(&keyring.packet(Form::Stock)?, PACE)?;
    }
    // Their holes close again before the flood begins.
    std::thread::sleep(Duration::from_secs(u64::from(keyring.timeout_secs)) + PACE.limit);
    Ok(())
}

fn ignite(arena: &Arena, keyring: Keyring, fire: Fire) -> anyhow::Result<Flood> {
    let payloads = match fire.junk {
        Junk::Random => junk(4_096)?,
        Junk::Crafted => crafted_junk(4_096)?,
        Junk::Replayed => {
            let packet = keyring.packets(1, Form::Stock, ECHO)?;
            let prober = arena.prober()?;
            for packet in &packet {
                prober.grant_latency(packet, PACE)?;
            }
            packet
        }
    };
    Flood::start(
        &arena.client,
        arena.target,
        &arena.strangers(),
        payloads,
        fire.rate,
    )
}
