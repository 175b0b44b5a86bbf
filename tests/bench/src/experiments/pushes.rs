//! Hosts that fill the fleet's log.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use fleet::wire::PushEventsRequest;
use fleet::wire::agent_client::AgentClient;
use fleet::{Event, EventKind, EventRecord, Outcome, Role};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::clock;
use crate::fleet::Company;

/// Hosts that push events, each one push after the other, as agents do.
pub(super) const HOSTS: usize = 4;
/// Events in a push, as an agent makes it.
const BATCH: u64 = 512;
/// How long a host's journal is: more than can be stored in the time.
pub(super) const BATCHES: u64 = 120;

/// What was stored.
pub(super) struct Stored {
    pub(super) events: u64,
    /// A second.
    pub(super) rate: f64,
    pub(super) text: String,
}

/// How many events the controllers store in a second, pushed by some hosts at each of them, and the same in words.
pub(crate) async fn stored(company: &Company, time: Duration) -> anyhow::Result<(f64, String)> {
    let Stored { rate, text, .. } = stored_of(company, ("pusher", BATCHES), time).await?;
    Ok((rate, text))
}

/// The same by hosts of this name, whose journals are so many pushes.
pub(super) async fn stored_of(
    company: &Company,
    (name, batches): (&str, u64),
    time: Duration,
) -> anyhow::Result<Stored> {
    let operator = company.operator().await?;
    let addresses = company.addresses();
    let count = HOSTS * addresses.len();
    let names = (0..count).map(|number| format!("{name}-{number:02}"));
    let members = operator.members(Role::Host, names.collect()).await?;
    company.heard_by_all().await;
    let mut clients = Vec::with_capacity(count);
    for (member, address) in members.iter().zip(addresses.iter().cycle()) {
        clients.push(AgentClient::new(member.channel_to(address).await?));
    }
    let journals: Vec<_> = (0..count).map(|host| journal(host, batches)).collect();
    let start = clock::now();
    let mut pushing = JoinSet::new();
    for (client, journal) in clients.into_iter().zip(journals) {
        pushing.spawn(push(client, journal, start, time));
    }
    let stored: anyhow::Result<Vec<u64>> = pushing.join_all().await.into_iter().collect();
    let events: u64 = stored?.into_iter().sum();
    let secs = start.elapsed().as_secs_f64();
    let rate = f64::from(u32::try_from(events)?) / secs;
    let text = format!("{rate:.0}/s ({events} in {secs:.1} s, {count} hosts, pushes of {BATCH})");
    Ok(Stored { events, rate, text })
}

/// Pushes until the time is over or the journal is at its end, and says how many were stored.
async fn push(
    mut client: AgentClient<Channel>,
    journal: Vec<PushEventsRequest>,
    start: Instant,
    time: Duration,
) -> anyhow::Result<u64> {
    let mut stored = 0;
    for request in journal {
        if start.elapsed() > time {
            break;
        }
        let pushed = client.push_events(request).await?.into_inner();
        ensure!(pushed.acknowledged_seq == stored + BATCH, "{pushed:?}");
        stored = pushed.acknowledged_seq;
    }
    Ok(stored)
}

/// One host's whole journal, chained as an agent does, made beforehand.
fn journal(host: usize, batches: u64) -> Vec<PushEventsRequest> {
    let epoch = format!("{host:032x}");
    let now_ms = clock::wall_secs() * 1_000;
    let mut chain = [0; 32];
    let mut seq = 0;
    let push = |_| {
        let mut records = Vec::new();
        for _ in 0..BATCH {
            let event = granted(seq + 1, now_ms + seq);
            let record = EventRecord::after(seq, &chain, event);
            chain = record.chain.as_slice().try_into().unwrap_or(chain);
            seq = record.seq;
            records.push(record);
        }
        PushEventsRequest {
            epoch: epoch.clone(),
            events: Vec::new(),
            records,
        }
    };
    (0..batches).map(push).collect()
}

fn granted(seq: u64, at_ms: u64) -> Event {
    let mut event = Event::new(EventKind::GrantOpened, at_ms);
    let low = u32::try_from(seq % 65_536).unwrap_or_default();
    let source = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 98, 0, 0)) + low);
    event.user = format!("user-{}", seq % 100);
    event.key = format!("{:016x}", seq % 100);
    event.stanza = "sre-ssh".to_owned();
    event.generation = 7;
    event.source = source.to_string();
    event.opened = source.to_string();
    event.ports = vec!["tcp/22".to_owned()];
    event.until_ms = at_ms + 30_000;
    event.replay_digest = format!("{seq:064x}");
    event.grant_id = format!("{seq:032x}");
    event.request_id = format!("{seq:032x}");
    event.set_outcome(Outcome::Success);
    event
}
