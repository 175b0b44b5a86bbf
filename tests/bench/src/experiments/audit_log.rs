//! A long log for E11, written into the database of a controller that is stopped.
//!
//! In the controller's own schema, with every index as the controller made it, but not through the
//! controller: ten million events would take it several minutes. Indexes are dropped, rows written in
//! the order of time, and the indexes made again from their own definitions. Chain values are not
//! computed: they have their right size, no question looks at them, and `verify` would find all of them
//! changed. What the controller indexes beside the log (stanzas, keys, reasons, ids …) it indexes itself.

pub(super) mod postgres;
pub(super) mod retained;
pub(super) mod sqlite;
pub(super) mod verified;

use std::net::Ipv4Addr;

use prost::Message as _;

/// The host that is asked about.
pub(crate) const HOST: &str = "web-1";
/// A week.
pub(crate) const WEEK_MS: u64 = 7 * 24 * 3_600 * 1_000;
/// The time that the log reaches back, in weeks.
const WEEKS: u64 = 13;
/// Hosts whose events are in the log.
const HOSTS: u64 = 1_000;
/// Users who ask for grants.
const USERS: u64 = 200;
/// Stanzas, each with its port.
const STANZAS: [(&str, &str); 2] = [("sre-ssh", "tcp/22"), ("sre-web", "tcp/443")];
/// One of so many events is of an office of [`OFFICE`] addresses, but none of the last tenth of them.
const OF_OFFICE: u64 = 16;
const OFFICE: u64 = 200;
/// In the order of its key, so that the tree is built from left to right.
const PORTS: &str = "INSERT INTO event_ports (host, port, at_ms, event, kind) \
     SELECT host, CASE stanza WHEN 'sre-ssh' THEN 393238 ELSE 393659 END, at_ms, id, kind \
     FROM events WHERE id > ?1 AND stanza IS NOT NULL ORDER BY 1, 2, 3, 4";

/// What the controller has stored itself stands before the log, and is stored before it, too: retention ends at the
/// first record that is not old enough.
const OLDER: &str = "UPDATE events SET stored_at_ms = 1";

/// One event of the log: what an engine needs of it.
struct Event {
    /// Among those of this log, from 0.
    number: i64,
    /// Which of the hosts, from 0.
    place: i64,
    at_ms: i64,
    kind: i32,
    /// `None` of noise.
    named: Option<Named>,
    /// As addresses are kept.
    source: [u8; 5],
    digest: [u8; 32],
    body: Vec<u8>,
}

/// Whose it is, and under which stanza.
struct Named {
    user: String,
    key: String,
    stanza: &'static str,
}

// === impl Event ===

impl Event {
    /// Of a hundred events 46 are grants opened, 46 closed, four refused and four noise; two of three
    /// ports are tcp/22.
    fn new((number, at_ms): (u64, u64), noise: u64, is_of_office: bool) -> anyhow::Result<Self> {
        let user = (noise >> 10) % USERS;
        let [.., a, b, c, d] = (noise >> 20).to_be_bytes();
        let source = match is_of_office {
            true => [4, 198, 51, 100, u8::try_from(noise % OFFICE)?],
            false => [4, 10, a % 16, b, c],
        };
        let [_, address @ ..] = source;
        let kind = match (noise >> 44) % 100 {
            0..46 => 1,
            46..92 => 2,
            92..96 => 4,
            _ => 16,
        };
        let [ssh, web] = STANZAS;
        let (stanza, port) = if d % 3 == 0 { web } else { ssh };
        let named = (kind != 16).then(|| Named {
            user: format!("user-{user}"),
            key: format!("{user:016x}"),
            stanza,
        });
        let mut digest = [0; 32];
        for (bytes, part) in digest.chunks_mut(8).zip(0..) {
            bytes.copy_from_slice(&next(noise ^ part).to_be_bytes());
        }
        let (grant, _) = digest.split_at(16);
        let mut event = fleet::Event {
            seq: number,
            at_ms,
            kind,
            source: Ipv4Addr::from(address).to_string(),
            count: 1,
            ..fleet::Event::default()
        };
        if let Some(named) = &named {
            event.user.clone_from(&named.user);
            event.key.clone_from(&named.key);
            stanza.clone_into(&mut event.stanza);
            event.generation = 1;
            event.opened.clone_from(&event.source);
            event.ports = vec![port.to_owned()];
            event.until_ms = at_ms + 30_000;
            event.replay_digest = hex(&digest);
            event.grant_id = hex(grant);
            event.request_id.clone_from(&event.grant_id);
        }
        if kind == 4 {
            "denied by the policy".clone_into(&mut event.reason);
        }
        Ok(Self {
            number: number.try_into()?,
            place: (noise % HOSTS).try_into()?,
            at_ms: at_ms.try_into()?,
            kind,
            named,
            source,
            digest,
            body: event.encode_to_vec(),
        })
    }

    /// The id of the grant, as it is kept.
    fn grant(&self) -> &[u8] {
        self.digest.split_at(16).0
    }
}

/// `events` of them in the order of time, in the weeks before `now_ms`.
fn events(events: u64, now_ms: u64) -> impl Iterator<Item = anyhow::Result<Event>> {
    let mut noise: u64 = 0x9e37_79b9_7f4a_7c15;
    (0..events).map(move |number| {
        noise = next(noise);
        let age_ms = (events - number) * (WEEKS * WEEK_MS / events.max(1));
        let is_of_office = number % OF_OFFICE == 0 && number < events / 10 * 9;
        Event::new((number, now_ms - age_ms), noise, is_of_office)
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A step of xorshift64, good enough to scatter.
fn next(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^ (state << 17)
}
