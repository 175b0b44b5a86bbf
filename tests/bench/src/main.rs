//! The gate under fire: Postern and fwknopd side by side, the same work for each, seen from outside.
//!
//! `make bench` runs everything; `bench E1 E4 --servers postern` runs a part. Floods stay inside
//! namespaces of the benchmark's own and end by themselves.

mod arena;
mod clock;
mod experiments;
mod fleet;
mod flood;
mod floor;
mod keyring;
mod players;
mod probe;
mod relay;
mod report;
mod servers;
mod stats;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::arena::Arena;
use crate::experiments::flood::{Client, Fire, Junk};
use crate::experiments::{
    audit, beside, claims, closing, endurance, fleet_apply, flood as fire, grants, scale, several,
    start,
};
use crate::fleet::Shape;
use crate::keyring::Keyring;
use crate::report::Report;
use crate::servers::Server;

/// Measure Postern and fwknopd side by side
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Args {
    /// Experiments to run, by number: E1 to E8 for the gate, E9 to E11 for the fleet, E12 one to three
    /// controllers under claims and events, E13 the same with many hosts, E14 one fleet of any size,
    /// E15 beside other rules, E16 in floods of ten million packets (all when none is given)
    #[arg(value_name = "EXPERIMENT")]
    experiments: Vec<String>,

    /// Servers to measure
    #[arg(long, value_delimiter = ',', value_enum)]
    servers: Vec<Server>,

    /// Also write every number as a line of JSON to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// E11: how many events the auditor's question is asked among
    #[arg(long, value_name = "N")]
    events: Option<u64>,

    /// E13 and E14: hosts
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    hosts: usize,

    /// E14: controllers, which need --postgres when they are several
    #[arg(long, value_name = "N", default_value_t = 1)]
    controllers: usize,

    /// E13 and E14: stanzas with a static key, for every host
    #[arg(long, value_name = "N", default_value_t = 10)]
    stanzas: usize,

    /// E13 and E14: users of a pairwise stanza for every host
    #[arg(long, value_name = "N", default_value_t = 10)]
    users: usize,

    /// Postern's agent as one process (`--no-separation`): what its separation costs
    #[arg(long)]
    one_process: bool,

    /// E9, E10, E11 and E14 with the database at a PostgreSQL server, which is made for that
    #[arg(long)]
    postgres: bool,

    /// E9, E10 and E12 to E14: how long a journey to the PostgreSQL server and back takes beside what it takes
    /// on one machine
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = milliseconds)]
    database_rtt: Duration,

    /// Play hosts of E13 and E14, as this program tells itself
    #[arg(long, value_name = "PART", hide = true)]
    play: Option<String>,

    /// Be the smallest program that opens a hole, for packets to this port, as this program tells itself
    #[arg(long, value_name = "PORT", hide = true)]
    floor: Option<u16>,

    /// With --floor: sync one block of this file first
    #[arg(long, value_name = "FILE", hide = true, requires = "floor")]
    floor_syncs: Option<PathBuf>,

    /// E9 to E12 and E16 shorter and smaller: for trying, not for numbers
    #[arg(long)]
    quick: bool,
}

/// E11: events in the log.
const EVENTS: u64 = 10_000_000;
/// And with `--quick`.
const EVENTS_QUICK: u64 = 200_000;

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(part) = &args.play {
        return players::play(part);
    }
    if let Some(port) = args.floor {
        return floor::serve(port, args.floor_syncs.as_deref());
    }
    let servers = if args.servers.is_empty() {
        Server::ALL.to_vec()
    } else {
        args.servers.clone()
    };
    let wanted = |name: &str| {
        args.experiments.is_empty() || args.experiments.iter().any(|wanted| covers(wanted, name))
    };
    let mut report = Report::new(args.json.as_deref())?;
    let arena = Arena::new((args.postgres, args.database_rtt), args.one_process)?;
    for server in &servers {
        gate(&arena, *server, &wanted, &mut report)?;
    }
    if servers.contains(&Server::Postern) {
        company(&arena, &args, &wanted, &mut report)?;
    }
    println!("{}", report.table());
    Ok(())
}

/// A time in milliseconds, as `0.5ms`.
fn milliseconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix("ms").and_then(|it| it.parse().ok());
    let time = number.and_then(|it: f64| Duration::try_from_secs_f64(it / 1e3).ok());
    time.ok_or_else(|| "a time in milliseconds, as 0.5ms".to_owned())
}

/// Whether `wanted` means experiment `name`: `E4` means E4a and E4d, but `E1` does not mean E10.
fn covers(wanted: &str, name: &str) -> bool {
    name.strip_prefix(wanted)
        .is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
}

/// The experiments of a fleet.
fn company(
    arena: &Arena,
    args: &Args,
    wanted: &dyn Fn(&str) -> bool,
    report: &mut Report,
) -> anyhow::Result<()> {
    if wanted("E9") {
        claims::run(arena, args.quick, report)?;
    }
    if wanted("E10") {
        fleet_apply::run(arena, args.quick, report)?;
    }
    if wanted("E11") {
        let events = if args.quick { EVENTS_QUICK } else { EVENTS };
        let events = args.events.unwrap_or(events);
        audit::run(arena, events, args.quick, report)?;
    }
    if wanted("E12") {
        several::run(arena, args.quick, report)?;
    }
    let size = scale::Size {
        hosts: args.hosts,
        stanzas: args.stanzas,
        users: args.users,
    };
    if wanted("E13") {
        scale::several(arena, size, report)?;
    }
    if wanted("E14") {
        let shape = Shape {
            controllers: args.controllers,
            ..Shape::one(args.postgres)
        };
        scale::run(arena, shape, size, report)?;
    }
    if wanted("E16") {
        endurance::run(arena, args.quick, report)?;
    }
    Ok(())
}

/// The experiments of one server; with another back end, those in which it makes a difference.
fn gate(
    arena: &Arena,
    server: Server,
    wanted: &dyn Fn(&str) -> bool,
    report: &mut Report,
) -> anyhow::Result<()> {
    if wanted("E1") {
        grants::latency(arena, server, Keyring::new(1, 30), report)?;
    }
    if wanted("E2") && server != Server::PosternIptables {
        let many = Keyring::new(10_000, 30);
        grants::latency(arena, server, many, report)?;
        if server == Server::Postern {
            let grouped = Keyring {
                spa_ports: 100,
                ..many
            };
            grants::latency(arena, server, grouped, report)?;
        }
    }
    if wanted("E3") {
        grants::burst(arena, server, report)?;
    }
    if server != Server::PosternIptables {
        under_fire(arena, server, wanted, report)?;
    }
    if wanted("E6") {
        closing::one_by_one(arena, server, report)?;
        closing::together(arena, server, report)?;
    }
    if wanted("E7") {
        closing::killed(arena, server, report)?;
    }
    if wanted("E8") && server != Server::PosternIptables {
        start::run(arena, server, report)?;
    }
    if wanted("E15") && server.is_ours() {
        beside::run(arena, server, report)?;
    }
    Ok(())
}

/// The floods of one server. What a packet costs until it is judged is the same with every back end.
fn under_fire(
    arena: &Arena,
    server: Server,
    wanted: &dyn Fn(&str) -> bool,
    report: &mut Report,
) -> anyhow::Result<()> {
    for fire in fires().into_iter().filter(|fire| wanted(fire.experiment)) {
        fire::under(arena, server, fire, report)?;
    }
    if wanted("E4d") {
        for stanzas in [1, 100, 1_000] {
            fire::cpu(arena, server, stanzas, Junk::Random, report)?;
        }
        fire::cpu(arena, server, 1_000, Junk::Crafted, report)?;
    }
    Ok(())
}

/// The floods of E4 and E5.
fn fires() -> Vec<Fire> {
    let fire = |experiment, junk, rate, stanzas, client, goal| Fire {
        experiment,
        junk,
        rate,
        stanzas,
        client,
        goal,
    };
    use Client::{Seen, Tagged, Unseen};
    use Junk::{Crafted, Random, Replayed};
    vec![
        fire("E4a", Random, Some(100_000), 1, Unseen, "100%, <= 0.5 ms"),
        fire("E4a", Random, Some(100_000), 1, Tagged, "100%, <= 0.5 ms"),
        fire("E4b", Random, Some(10_000), 1_000, Tagged, "100%"),
        fire("E4b", Random, Some(10_000), 1_000, Seen, "100%"),
        fire("E4b", Random, Some(10_000), 1_000, Unseen, ">= 95%"),
        fire("E4b", Crafted, Some(10_000), 1_000, Tagged, "100%"),
        fire("E4b", Crafted, Some(10_000), 1_000, Seen, "100%"),
        fire(
            "E4b",
            Crafted,
            Some(10_000),
            1_000,
            Unseen,
            "(ours; no goal)",
        ),
        fire("E4c", Random, None, 1, Unseen, "(>= 99% tagged)"),
        fire("E4c", Random, None, 1, Tagged, ">= 99%"),
        fire("E5", Replayed, Some(100_000), 1, Unseen, "100%, <= 0.5 ms"),
    ]
}
