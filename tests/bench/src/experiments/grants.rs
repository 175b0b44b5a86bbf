//! E1, E2, E3: how soon a hole opens when nobody disturbs, and how many at once.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::time::{Duration, Instant};

use crate::arena::Arena;
use crate::clock;
use crate::floor::{self, SYNCED};
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

/// How grants follow one another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rhythm {
    pub(crate) between: Duration,
    pub(crate) processors: Processors,
}

/// One after the other on a machine that is awake: what the server costs.
pub(crate) const STEADY: Rhythm = Rhythm {
    between: BETWEEN,
    processors: Processors::Awake,
};
/// As users come: nothing happens for a while, and processors and disk have gone to sleep.
const SELDOM: Rhythm = Rhythm {
    between: Duration::from_millis(250),
    processors: Processors::AsTheyAre,
};

/// The first grants fill caches and sets, for every server.
const WARM_UP: usize = 3;
/// Grants of each form; after silence fewer, since each takes its time.
const GRANTS: usize = 60;
const GRANTS_SELDOM: usize = 20;

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
    let mut stock = None;
    for form in forms {
        let sample = measure(arena, keyring, *form, GRANTS, STEADY)?;
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
            text: format!("{} (p95 {}, {}/{GRANTS})", ms(p50), ms(p95), sample.len()),
            goal: match (stanzas, form) {
                (1, _) => "<= 0.4 ms, p95 <= 1 ms",
                (_, Form::Tagged) => "<= 0.4 ms",
                (_, Form::Stock) => "<= 3 ms",
            },
        })?;
        if *form == Form::Stock {
            stock = Some(sample);
        }
    }
    if experiment != "E1" {
        return running.stop();
    }
    let seldom = after_silence(arena, (server, keyring), report)?;
    synced(arena, server, report)?;
    running.stop()?;
    if let Some(steady) = stock.filter(|_| server.is_ours()) {
        beside_the_floor(arena, (server, keyring), (&steady, &seldom), report)?;
    }
    Ok(())
}

/// E1 as users come.
fn after_silence(
    arena: &Arena,
    (server, keyring): (Server, Keyring),
    report: &mut Report,
) -> anyhow::Result<Sample> {
    let sample = measure(arena, keyring, Form::Stock, GRANTS_SELDOM, SELDOM)?;
    let (p50, p95) = (sample.p50_ms(), sample.p95_ms());
    report.add(Row {
        experiment: "E1",
        case: "latency p50 after 250 ms of silence, stock".to_owned(),
        server,
        measure: "latency_seldom_p50_ms",
        value: p50,
        text: format!(
            "{} (p95 {}, {}/{GRANTS_SELDOM})",
            ms(p50),
            ms(p95),
            sample.len()
        ),
        goal: "its sync is the disk's",
    })?;
    Ok(sample)
}

/// E1 beside the smallest program that opens a hole, and one that syncs a block first, in the same rhythms.
fn beside_the_floor(
    arena: &Arena,
    (server, keyring): (Server, Keyring),
    (steady, seldom): (&Sample, &Sample),
    report: &mut Report,
) -> anyhow::Result<()> {
    let rhythms = [
        (STEADY, steady, GRANTS, "each 7 ms"),
        (SELDOM, seldom, GRANTS_SELDOM, "after 250 ms"),
    ];
    for syncs in [false, true] {
        let floor = floor::start(arena, syncs)?;
        for (rhythm, ours, count, often) in rhythms {
            let least = measure(arena, keyring, Form::Stock, count, rhythm)?;
            let (what, goal) = if syncs {
                ("syncs and opens", "<= 1.2 times that")
            } else {
                ("opens", "(the machine)")
            };
            let times = ours.p50_ms().zip(least.p50_ms()).filter(|_| syncs);
            let times = times.map_or_else(String::new, |(ours, least)| {
                format!(", stock {:.2} times that", ours / least)
            });
            report.add(Row {
                experiment: "E1",
                case: format!("the smallest program that {what}, {often}"),
                server,
                measure: "floor_p50_ms",
                value: least.p50_ms(),
                text: format!("{} (p95 {}){times}", ms(least.p50_ms()), ms(least.p95_ms())),
                goal,
            })?;
        }
        floor.stop()?;
    }
    Ok(())
}

/// What the disk alone takes in the same rhythms and the same place: one block, written over and synced.
fn synced(arena: &Arena, server: Server, report: &mut Report) -> anyhow::Result<()> {
    let path = arena.server.dir.join("synced");
    let mut file = File::create(&path)?;
    let mut sync = |between| -> anyhow::Result<Duration> {
        std::thread::sleep(between);
        let start = clock::now();
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&[7; SYNCED])?;
        file.sync_data()?;
        Ok(start.elapsed())
    };
    for (between, case) in [
        (STEADY.between, "one block synced, each 7 ms"),
        (SELDOM.between, "one block synced after 250 ms"),
    ] {
        let times: anyhow::Result<Vec<_>> = (0..GRANTS_SELDOM).map(|_| sync(between)).collect();
        let sample = Sample::new(times?);
        report.add(Row {
            experiment: "E1",
            case: case.to_owned(),
            server,
            measure: "sync_p50_ms",
            value: sample.p50_ms(),
            text: format!("{} (p95 {})", ms(sample.p50_ms()), ms(sample.p95_ms())),
            goal: "(the disk)",
        })?;
    }
    Ok(std::fs::remove_file(path)?)
}

/// Latencies of `count` grants, one after the other, each from an address of its own.
pub(crate) fn measure(
    arena: &Arena,
    keyring: Keyring,
    form: Form,
    count: usize,
    rhythm: Rhythm,
) -> anyhow::Result<Sample> {
    let port = keyring.spa_port(keyring.last());
    let probers = arena.probers_to(count + WARM_UP, port)?;
    // On a thread of its own: the server must not inherit how it gives way.
    let times = arena.client.within(|| {
        let _awake = match rhythm.processors {
            Processors::Awake => Some(Vigil::begin()?),
            Processors::AsTheyAre => {
                probe::give_way()?;
                None
            }
        };
        let mut times = Vec::with_capacity(probers.len());
        for prober in &probers {
            let packet = keyring.packet(form)?;
            std::thread::sleep(rhythm.between);
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
    let last = open.into_iter().flatten().map(|open| open.answered).max();
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

/// When a hole was first seen open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FirstSeen {
    /// The probe that was let in had left: it was open then, and since the probe before at the earliest.
    pub(crate) asked: Instant,
    /// Its answer was read.
    pub(crate) answered: Instant,
}

/// Sends every packet from its prober at once, and tells when each hole was first seen open.
pub(crate) fn open_all(
    probers: &[Prober],
    packets: &[Vec<u8>],
    limit: Duration,
) -> anyhow::Result<Vec<Option<FirstSeen>>> {
    let start = clock::now();
    for (prober, packet) in probers.iter().zip(packets) {
        prober.knock(packet)?;
    }
    let mut open: Vec<Option<FirstSeen>> = vec![None; probers.len()];
    let mut departures: Vec<Vec<Instant>> = vec![Vec::new(); probers.len()];
    while open.iter().any(Option::is_none) && start.elapsed() < limit {
        let each = probers.iter().zip(&mut open).zip(&mut departures);
        for ((prober, open), departures) in each {
            if open.is_some() {
                continue;
            }
            if let Some(number) = prober.answer() {
                let answered = clock::now();
                let asked = departures.get(number as usize).copied();
                *open = asked.map(|asked| FirstSeen { asked, answered });
            } else {
                let number = u32::try_from(departures.len()).unwrap_or(u32::MAX);
                departures.push(clock::now());
                prober.probe(number);
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
