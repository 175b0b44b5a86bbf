//! How fast the controller is: claims, policy apply and the audit log, with members that speak the
//! real contract over real TLS in this process.
//!
//! ```text
//! cargo run --release -p controller --example measure -- claims [CLAIMS] [HOSTS]
//! cargo run --release -p controller --example measure -- apply  [AGENTS] [STANZAS]
//! cargo run --release -p controller --example measure -- audit  [EVENTS] [HOSTS]
//! ```
//! Members and controller share the machine, so the numbers are below what the controller can do.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement may panic, must print and must read the clock"
)]

#[path = "../tests/fleet/support.rs"]
#[expect(dead_code, reason = "shared with the tests, which use all of it")]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use fleet::wire::{ClaimRequest, ListEventsRequest, PushEventsRequest};
use fleet::{Event, EventKind, Role};
use support::{Fleet, Member};
use tokio::task::JoinSet;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |position: usize, default: u64| {
        let given = arguments.get(position).and_then(|text| text.parse().ok());
        given.unwrap_or(default)
    };
    match arguments.get(1).map(String::as_str) {
        Some("claims") => claims(number(2, 20_000), number(3, 4)).await,
        Some("apply") => apply(number(2, 1_000), number(3, 100)).await,
        Some("audit") => audit(number(2, 1_000_000), number(3, 100)).await,
        _ => println!("claims | apply | audit"),
    }
}

/// Claims from several hosts, many at once; then one at a time.
async fn claims(claims: u64, hosts: u64) {
    let fleet = Fleet::start().await;
    let mut members = Vec::new();
    for host in 0..hosts {
        let member = fleet.join(Role::Host, &format!("host-{host}")).await;
        members.push(Arc::new(member));
    }
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for worker in 0..hosts * 64 {
        let member = Arc::clone(&members[usize::try_from(worker % hosts).unwrap()]);
        tasks.spawn(async move {
            for number in 0..claims / (hosts * 64) {
                assert!(claim(&member, worker << 32 | number).await);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let took = began.elapsed();
    println!("{claims} claims in {took:?}: {:.0}/s", rate(claims, took));

    let mut times = Vec::new();
    for number in 0..500 {
        let began = Instant::now();
        claim(&members[0], u64::MAX - number).await;
        times.push(began.elapsed());
    }
    println!("one claim at a time: {}", percentiles(times));
}

async fn claim(member: &Member, number: u64) -> bool {
    let mut digest = vec![0; 32];
    digest[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    digest[8..16].copy_from_slice(&number.to_be_bytes());
    let request = ClaimRequest {
        domain: vec![7; 32],
        digest,
        seq: number,
        forget_after_secs: 4_000_000_000,
    };
    let answer = member.agent().claim(request).await.unwrap();
    answer.into_inner().won
}

/// From apply to the last acknowledgement, and an edit that touches one host.
async fn apply(agents: u64, stanzas: u64) {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    fleet.join(Role::User, "mbr").await;
    let began = Instant::now();
    let mut members = Vec::new();
    for agent in 0..agents {
        members.push(Arc::new(
            fleet.join(Role::Host, &format!("host-{agent}")).await,
        ));
    }
    println!("{agents} hosts joined in {:?}", began.elapsed());

    let (acknowledged, mut acknowledgements) = tokio::sync::mpsc::unbounded_channel();
    for member in &members {
        let (member, acknowledged) = (Arc::clone(member), acknowledged.clone());
        let mut session = member.session().await;
        tokio::spawn(async move {
            loop {
                let snapshot = support::policy(&mut session).await;
                member.acknowledge(&snapshot, &[]).await;
                acknowledged.send(snapshot.generation).unwrap();
            }
        });
    }
    let mut base = 0;
    for round in 0..4 {
        let text = policy(stanzas, round);
        let began = Instant::now();
        let applied = operator.apply(base, &text).await.unwrap();
        let answered = began.elapsed();
        for _ in 0..agents {
            acknowledgements.recv().await.unwrap();
        }
        println!(
            "apply of {stanzas} stanzas to {} hosts: answered after {answered:?}, last ack after {:?}",
            applied.changed_hosts.len(),
            began.elapsed()
        );
        base = applied.generation;
    }
    for round in 0..3 {
        let one = format!(
            "\nNAME one\nHOSTS name=host-7\nSOURCE ANY\nOPEN_PORTS tcp/{}\n",
            8000 + round
        );
        let text = policy(stanzas, 3) + &one;
        let began = Instant::now();
        let applied = operator.apply(base, &text).await.unwrap();
        acknowledgements.recv().await.unwrap();
        let took = began.elapsed();
        assert_eq!(applied.changed_hosts, ["host-7"]);
        assert!(acknowledgements.try_recv().is_err());
        println!("edit that touches one host: acknowledged after {took:?}");
        base = applied.generation;
    }
}

fn policy(stanzas: u64, round: u64) -> String {
    (0..stanzas)
        .map(|stanza| {
            format!(
                "NAME s{stanza}\nSOURCE 10.0.0.0/8\nOPEN_PORTS tcp/{}\nFW_ACCESS_TIMEOUT {}\n\n",
                1_000 + stanza,
                30 + round
            )
        })
        .collect()
}

/// Events pushed by several hosts at once, and the auditor's question among them.
async fn audit(events: u64, hosts: u64) {
    const BATCH: u64 = 500;
    let fleet = Fleet::start().await;
    let auditor = fleet.join(Role::Auditor, "eve").await;
    let each = events / hosts;
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    let turns = Arc::new(tokio::sync::Semaphore::new(8));
    for host in 0..hosts {
        let member = fleet.join(Role::Host, &format!("web-{host}")).await;
        let turns = Arc::clone(&turns);
        tasks.spawn(async move {
            let mut chain = [0; 32];
            for batch in 0..each.div_ceil(BATCH) {
                let last = ((batch + 1) * BATCH).min(each);
                let events = (batch * BATCH + 1..=last)
                    .map(|seq| {
                        let event = event(host, seq, each);
                        chain = event.chain(&chain);
                        event.into_wire(chain)
                    })
                    .collect();
                let _turn = turns.acquire().await.unwrap();
                let request = PushEventsRequest {
                    epoch: format!("{host:032x}"),
                    events,
                };
                member.agent().push_events(request).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let took = began.elapsed();
    println!("{events} events in {took:?}: {:.0}/s", rate(events, took));
    ask(&auditor).await;
}

async fn ask(auditor: &Member) {
    let week = ListEventsRequest {
        host: "web-1".to_owned(),
        kind: fleet::wire::EventKind::GrantOpened.into(),
        port: "tcp/22".to_owned(),
        since_ms: YEAR_MS - WEEK_MS,
        until_ms: YEAR_MS,
        limit: u32::MAX,
        ..ListEventsRequest::default()
    };
    let none = ListEventsRequest::default();
    let questions = [
        ("who opened tcp/22 on web-1 in a week", week.clone()),
        (
            "the last 100 of tcp/22 anywhere",
            ListEventsRequest {
                host: String::new(),
                limit: 0,
                ..week
            },
        ),
        (
            "the last 100 of one user",
            ListEventsRequest {
                user: "user-3".to_owned(),
                ..none.clone()
            },
        ),
        (
            "the last 100 from one address",
            ListEventsRequest {
                source: "10.0.3.1".to_owned(),
                ..none.clone()
            },
        ),
        ("the last 100 of all", none),
    ];
    for (text, question) in questions {
        let mut times = Vec::new();
        let mut rows = 0;
        for _ in 0..20 {
            let began = Instant::now();
            rows = auditor.events(question.clone()).await.len();
            times.push(began.elapsed());
        }
        println!("{text}: {rows} rows, {}", percentiles(times));
    }
}

const WEEK_MS: u64 = 7 * 24 * 3_600_000;
const YEAR_MS: u64 = 52 * WEEK_MS;

/// Spread evenly over a year: nine of ten are grants, for one of four ports.
fn event(host: u64, seq: u64, each: u64) -> Event {
    let kind = if seq.is_multiple_of(10) {
        EventKind::Refused
    } else {
        EventKind::GrantOpened
    };
    let mut event = Event::new(kind, seq * (YEAR_MS / each));
    event.seq = seq;
    event.user = format!("user-{}", seq % 97);
    event.key = "0123456789abcdef".to_owned();
    event.stanza = "sre-ssh".to_owned();
    event.generation = 3;
    event.source = format!("10.{}.{}.{}", seq % 7, host % 250, seq % 200);
    event.opened.clone_from(&event.source);
    event.ports = vec![
        ["tcp/22", "tcp/443", "tcp/5432", "udp/51820"][usize::try_from(seq % 4).unwrap()]
            .to_owned(),
    ];
    event.replay_digest = format!("{:064x}", seq.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    event
}

fn rate(count: u64, took: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "for a person to read")]
    let count = count as f64;
    count / took.as_secs_f64()
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    format!("p50 {:?}, p95 {:?}, max {:?}", at(50), at(95), at(100))
}
