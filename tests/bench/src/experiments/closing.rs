//! E6 and E7: when a hole closes.

use std::time::{Duration, Instant};

use crate::arena::Arena;
use crate::clock;
use crate::experiments::grants::open_all;
use crate::keyring::{ECHO, Form, Keyring};
use crate::probe::{Pace, Prober, Watch};
use crate::report::{Report, Row};
use crate::servers::Server;

const OPEN_SECS: u32 = 3;
const PACE: Pace = Pace {
    every: Duration::from_micros(50),
    limit: Duration::from_secs(3),
};

/// How far from the promised time the last answered probe left; positive is too long.
fn error_secs(last: Instant, opened: Instant) -> f64 {
    let promised = opened + Duration::from_secs(OPEN_SECS.into());
    if last >= promised {
        (last - promised).as_secs_f64()
    } else {
        -(promised - last).as_secs_f64()
    }
}

/// When the last answered probe left, looking until `more_secs` after the promised end.
fn last_open(
    arena: &Arena,
    prober: &Prober,
    opened: Instant,
    more_secs: u32,
) -> anyhow::Result<Option<Instant>> {
    let until = opened + Duration::from_secs(u64::from(OPEN_SECS + more_secs));
    let every = Duration::from_micros(500);
    let last = arena
        .client
        .within(|| Watch::default().last_open(std::slice::from_ref(prober), every, until))?;
    Ok(last.into_iter().flatten().next())
}

/// E6, one after the other: the smallest and the largest error of twelve grants.
pub(crate) fn one_by_one(arena: &Arena, server: Server, report: &mut Report) -> anyhow::Result<()> {
    let keyring = Keyring::new(1, OPEN_SECS);
    let running = server.start(arena, keyring)?;
    let mut errors = Vec::new();
    for prober in arena.probers(12)? {
        let knocked = clock::now();
        let Some(latency) = prober.grant_latency(&keyring.packet(Form::Stock)?, PACE)? else {
            continue;
        };
        let opened = knocked + latency;
        std::thread::sleep(Duration::from_millis(1_500));
        if let Some(last) = last_open(arena, &prober, opened, 2)? {
            errors.push(error_secs(last, opened));
        }
    }
    running.stop()?;
    add(report, server, "closing error, 12 grants of 3 s", &errors)
}

/// E6, all at once: two thousand grants that expire together.
pub(crate) fn together(arena: &Arena, server: Server, report: &mut Report) -> anyhow::Result<()> {
    const MANY: usize = 2_000;
    let keyring = Keyring::new(1, OPEN_SECS);
    let running = server.start(arena, keyring)?;
    let probers = arena.probers(MANY)?;
    let packets = keyring.packets(MANY, Form::Stock, ECHO)?;
    let opened = open_all(&probers, &packets, Duration::from_secs(1))?;
    // All of them expire; every tenth is looked at, so that a round is short.
    let watched: Vec<Prober> = probers.into_iter().step_by(10).collect();
    let opened = opened.into_iter().step_by(10);
    let until = clock::now() + Duration::from_secs(u64::from(OPEN_SECS) + 3);
    std::thread::sleep(Duration::from_millis(1_500));
    let last = arena
        .client
        .within(|| Watch::default().last_open(&watched, Duration::from_millis(1), until))?;
    running.stop()?;
    let errors: Vec<f64> = last
        .into_iter()
        .zip(opened)
        .filter_map(|(last, opened)| Some(error_secs(last?, opened?.asked)))
        .collect();
    add(report, server, "closing error, 2,000 at once", &errors)
}

fn add(report: &mut Report, server: Server, case: &str, errors: &[f64]) -> anyhow::Result<()> {
    let least = errors.iter().copied().reduce(f64::min);
    let most = errors.iter().copied().reduce(f64::max);
    let worst = least
        .map(f64::abs)
        .zip(most.map(f64::abs))
        .map(|(a, b)| a.max(b));
    report.add(Row {
        experiment: "E6",
        case: case.to_owned(),
        server,
        measure: "closing_error_s",
        value: worst,
        text: match (least, most) {
            (Some(least), Some(most)) => format!("{least:+.3}..{most:+.3} s ({})", errors.len()),
            (Some(_) | None, Some(_) | None) => "-".to_owned(),
        },
        goal: "+-0.02 s",
    })
}

/// E7: the server is killed with -9 while a hole is open.
pub(crate) fn killed(arena: &Arena, server: Server, report: &mut Report) -> anyhow::Result<()> {
    let keyring = Keyring::new(1, OPEN_SECS);
    let mut running = server.start(arena, keyring)?;
    let prober = arena.prober()?;
    let knocked = clock::now();
    let latency = prober.grant_latency(&keyring.packet(Form::Stock)?, PACE)?;
    running.process.kill()?;
    let opened = knocked + latency.unwrap_or_default();
    let last = last_open(arena, &prober, opened, 4)?;
    let error = last.map(|last| error_secs(last, opened));
    report.add(Row {
        experiment: "E7",
        case: "kill -9 after a grant of 3 s".to_owned(),
        server,
        measure: "closing_error_s",
        value: None,
        text: match error {
            Some(error) if error > 3.5 => "stays open".to_owned(),
            Some(error) => format!("closes {error:+.3} s"),
            None => "-".to_owned(),
        },
        goal: "closes at its time",
    })
}
