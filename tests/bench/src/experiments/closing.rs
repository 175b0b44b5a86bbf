//! E6 and E7: when a hole closes.

use std::time::{Duration, Instant};

use crate::arena::Arena;
use crate::clock;
use crate::estate::{ECHO, Estate, Form};
use crate::probe::Pace;
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

/// E6, one after the other: the smallest and the largest error of twelve grants.
pub(crate) fn one_by_one(arena: &Arena, server: Server, report: &mut Report) -> anyhow::Result<()> {
    let estate = Estate::new(1, OPEN_SECS);
    let running = server.start(arena, estate)?;
    let mut errors = Vec::new();
    for prober in arena.probers(12)? {
        let knocked = clock::now();
        let Some(latency) = prober.grant_latency(&estate.packet(Form::Stock)?, PACE)? else {
            continue;
        };
        let opened = knocked + latency;
        let until = opened + Duration::from_secs_f64(f64::from(OPEN_SECS) + 2.0);
        std::thread::sleep(Duration::from_millis(1_500));
        if let Some(last) = prober.last_open(Duration::from_micros(500), until) {
            errors.push(error_secs(last, opened));
        }
    }
    running.stop()?;
    add(report, server, "closing error, 12 grants of 3 s", &errors)
}

/// E6, all at once: two thousand grants that expire together.
pub(crate) fn together(arena: &Arena, server: Server, report: &mut Report) -> anyhow::Result<()> {
    const MANY: usize = 2_000;
    let estate = Estate::new(1, OPEN_SECS);
    let running = server.start(arena, estate)?;
    let probers = arena.probers(MANY)?;
    let packets = estate.packets(MANY, Form::Stock, ECHO)?;
    let mut opened = Vec::with_capacity(MANY);
    for (prober, packet) in probers.iter().zip(&packets) {
        opened.push(clock::now());
        prober.knock(packet)?;
    }
    // Round after round over all of them, until long after the last should have closed.
    let until = clock::now() + Duration::from_secs(u64::from(OPEN_SECS) + 3);
    let mut last: Vec<Option<Instant>> = vec![None; MANY];
    while clock::now() < until {
        let round = clock::now();
        for prober in &probers {
            prober.probe(0);
        }
        std::thread::sleep(Duration::from_millis(2));
        for (prober, last) in probers.iter().zip(&mut last) {
            if prober.answer().is_some() {
                *last = Some(round);
            }
            prober.drain();
        }
    }
    running.stop()?;
    let errors: Vec<f64> = last
        .into_iter()
        .zip(opened)
        .filter_map(|(last, opened)| Some(error_secs(last?, opened)))
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
    let estate = Estate::new(1, OPEN_SECS);
    let mut running = server.start(arena, estate)?;
    let prober = arena.prober()?;
    let knocked = clock::now();
    let latency = prober.grant_latency(&estate.packet(Form::Stock)?, PACE)?;
    running.process.kill()?;
    let opened = knocked + latency.unwrap_or_default();
    let until = opened + Duration::from_secs(u64::from(OPEN_SECS) + 4);
    let last = prober.last_open(Duration::from_micros(500), until);
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
