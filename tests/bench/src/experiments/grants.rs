//! E1, E2, E3: how soon a hole opens when nobody disturbs, and how many at once.

use std::time::{Duration, Instant};

use crate::arena::Arena;
use crate::clock;
use crate::keyring::{ECHO, Form, Keyring};
use crate::probe::{self, Pace, Prober, Vigil};
use crate::report::{Report, Row};
use crate::servers::{Running, Server};
use crate::stats::{Sample, ms};

const PACE: Pace = Pace {
    every: Duration::from_micros(50),
    limit: Duration::from_secs(3),
};

/// Between two users, in every experiment alike: how long the disk was idle decides how long it takes
/// to sync (docs/performance.md), and grants are to be compared.
pub(crate) const BETWEEN: Duration = Duration::from_millis(7);

/// Whether processors with nothing to do may halt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Processors {
    Awake,
    /// For work that waits for the kernel's own threads, which a processor that is kept awake takes
    /// up at its next tick only.
    AsTheyAre,
}

/// The first grants fill caches and sets, for every server.
const WARM_UP: usize = 3;

/// E1 and E2: grant latency when idle.
pub(crate) fn latency(
    arena: &Arena,
    server: Server,
    keyring: Keyring,
    report: &mut Report,
) -> anyhow::Result<()> {
    let Keyring {
        stanzas, spa_ports, ..
    } = keyring;
    let experiment = if stanzas == 1 { "E1" } else { "E2" };
    let (forms, at) = match spa_ports {
        0 => (server.forms(), String::new()),
        // What is divided is the trials, and tagged packets need none.
        ports => (&[Form::Stock][..], format!(" at {ports} SPA ports")),
    };
    let running = server.start(arena, keyring)?;
    for form in forms {
        let sample = measure(arena, keyring, *form, 60, Processors::Awake)?;
        let (p50, p95) = (sample.p50_ms(), sample.p95_ms());
        let word = match form {
            Form::Stock => "stock",
            Form::Tagged => "tagged",
        };
        let case = format!("latency p50, {stanzas} stanza(s){at}, {word}");
        report.add(Row {
            experiment,
            case,
            server,
            measure: "latency_p50_ms",
            value: p50,
            text: format!("{} (p95 {}, {}/60)", ms(p50), ms(p95), sample.len()),
            goal: match (stanzas, form) {
                (1, _) => "<= 0.4 ms, p95 <= 1 ms",
                (_, Form::Tagged) => "<= 0.4 ms",
                (_, Form::Stock) => "<= 3 ms",
            },
        })?;
    }
    running.stop()
}

/// Latencies of `count` grants, one after the other, each from an address of its own.
pub(crate) fn measure(
    arena: &Arena,
    keyring: Keyring,
    form: Form,
    count: usize,
    processors: Processors,
) -> anyhow::Result<Sample> {
    let port = keyring.spa_port(keyring.last());
    let probers = arena.probers_to(count + WARM_UP, port)?;
    // On a thread of its own: the server must not inherit how it gives way.
    let times = arena.client.within(|| {
        let _awake = match processors {
            Processors::Awake => Some(Vigil::begin()?),
            Processors::AsTheyAre => {
                probe::give_way()?;
                None
            }
        };
        let mut times = Vec::with_capacity(probers.len());
        for prober in &probers {
            let packet = keyring.packet(form)?;
            std::thread::sleep(BETWEEN);
            times.push(prober.grant_latency(&packet, PACE)?);
        }
        Ok(times)
    })?;
    let times = times.into_iter().skip(WARM_UP).flatten();
    Ok(Sample::new(times))
}

/// E3: a burst of valid packets, each from a source of its own.
pub(crate) fn burst(arena: &Arena, server: Server, report: &mut Report) -> anyhow::Result<()> {
    const BURST: usize = 2_000;
    let keyring = Keyring::new(1, 60);
    let running = server.start(arena, keyring)?;
    let form = server.best_form();
    let probers = arena.probers(BURST)?;
    let packets = keyring.packets(BURST, form, ECHO)?;
    let limit = Duration::from_secs(20);

    let start = clock::now();
    let open = open_all(&probers, &packets, limit)?;
    running.stop()?;

    let left = open.iter().filter(|open| open.is_none()).count();
    let granted = BURST - left;
    let last = open.into_iter().flatten().max();
    let last = last.map_or(limit, |last| last.duration_since(start));
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let rate = granted as f64 / last.as_secs_f64();
    report.add(Row {
        experiment: "E3",
        case: "burst of 2,000 from 2,000 sources".to_owned(),
        server,
        measure: "grants_per_s",
        value: Some(rate),
        text: format!(
            "{rate:.0}/s, {left} lost ({:.0} ms)",
            last.as_secs_f64() * 1e3,
        ),
        goal: ">= 10,000/s, none lost",
    })
}

/// Sends every packet from its prober at once, and tells when each hole was first seen open.
pub(crate) fn open_all(
    probers: &[Prober],
    packets: &[Vec<u8>],
    limit: Duration,
) -> anyhow::Result<Vec<Option<Instant>>> {
    let start = clock::now();
    for (prober, packet) in probers.iter().zip(packets) {
        prober.knock(packet)?;
    }
    let mut open = vec![None; probers.len()];
    while open.iter().any(Option::is_none) && start.elapsed() < limit {
        for (prober, open) in probers.iter().zip(&mut open) {
            if open.is_some() {
                continue;
            }
            if prober.answer().is_some() {
                *open = Some(clock::now());
            } else {
                prober.probe(0);
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(open)
}

/// Kept here because every experiment needs it: a server that has granted once, so that it is warm.
pub(crate) fn warm(arena: &Arena, keyring: Keyring, server: Server) -> anyhow::Result<Running> {
    let running = server.start(arena, keyring)?;
    let prober = arena.prober()?;
    prober.grant_latency(&keyring.packet(Form::Stock)?, PACE)?;
    Ok(running)
}
