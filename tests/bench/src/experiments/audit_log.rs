//! A long log for E11, written into the database of a controller that is stopped.
//!
//! In the controller's own schema, with every index as the controller made it, but not through the
//! controller: ten million events would take it several minutes. Indexes are dropped, rows written in
//! the order of time in one transaction without syncing, and the indexes made again from their own
//! definitions. Chain values are not computed; they have their right size and the question does not
//! look at them.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Context as _;
use fleet::Event;
use prost::Message as _;
use rusqlite::{Connection, Statement, params};

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

const EVENT: &str = "INSERT INTO events (journal, host, seq, body, chain, chain_version, \
     stored_at_ms, log_chain, at_ms, kind, user, key, stanza, generation, source, opened, \
     replay_digest, grant_id) VALUES (?1, ?2, ?3, ?4, ?5, 2, ?6, ?5, ?6, ?7, ?8, ?9, ?10, 1, ?11, \
     ?11, ?5, ?12)";
/// Stanzas, each with its port.
const STANZAS: [(&str, &str); 2] = [("sre-ssh", "tcp/22"), ("sre-web", "tcp/443")];
/// In the order of its key, so that the tree is built from left to right.
const PORTS: &str = "INSERT INTO event_ports (host, port, at_ms, event, kind) \
     SELECT host, CASE stanza WHEN 'sre-ssh' THEN 393238 ELSE 393659 END, at_ms, id, kind \
     FROM events WHERE id > ?1 AND stanza IS NOT NULL ORDER BY 1, 2, 3, 4";

/// What decides an event's fields.
#[derive(Clone, Copy)]
struct Facts {
    number: u64,
    at_ms: u64,
    noise: u64,
}

struct User {
    name: String,
    key: String,
}

// === impl User ===

impl User {
    fn new(number: u64) -> Self {
        Self {
            name: format!("user-{number}"),
            key: format!("{number:016x}"),
        }
    }
}

/// Adds `events` events of the weeks before `now_ms`.
pub(crate) fn fill(database: &Path, events: u64, now_ms: u64) -> anyhow::Result<()> {
    let connection = Connection::open(database)?;
    for (pragma, value) in [
        ("synchronous", "off"),
        ("journal_mode", "off"),
        ("locking_mode", "exclusive"),
        ("cache_size", "-1000000"),
        ("threads", "2"),
    ] {
        // Some of them answer with the new value.
        connection
            .pragma_update_and_check(None, pragma, value, |_| Ok(()))
            .ok();
    }
    let indexes = drop_indexes(&connection)?;
    let last: i64 = connection.query_row("SELECT ifnull(max(id), 0) FROM events", [], |row| {
        row.get(0)
    })?;
    connection.execute_batch("BEGIN")?;
    let first = add_hosts(&connection)?;
    let mut insert = connection.prepare(EVENT)?;
    let users: Vec<User> = (0..USERS).map(User::new).collect();
    let mut noise: u64 = 0x9e37_79b9_7f4a_7c15;
    for number in 0..events {
        noise = next(noise);
        let age_ms = (events - number) * (WEEKS * WEEK_MS / events.max(1));
        let facts = Facts {
            number,
            at_ms: now_ms - age_ms,
            noise,
        };
        add(&mut insert, first, &users, facts)?;
    }
    drop(insert);
    connection.execute(PORTS, [last])?;
    connection.execute_batch("COMMIT")?;
    for index in indexes {
        connection.execute_batch(&index)?;
    }
    // As the controller left it.
    connection.pragma_update(None, "journal_mode", "wal")?;
    Ok(())
}

/// Gives the definitions of the event indexes.
fn drop_indexes(connection: &Connection) -> anyhow::Result<Vec<String>> {
    let mut statement = connection.prepare(
        "SELECT name, sql FROM sqlite_schema \
         WHERE type = 'index' AND tbl_name = 'events' AND sql IS NOT NULL",
    )?;
    let indexes: Vec<(String, String)> = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (name, _) in &indexes {
        connection.execute_batch(&format!("DROP INDEX {name}"))?;
    }
    Ok(indexes.into_iter().map(|(_, sql)| sql).collect())
}

/// The ids of the first host and of its journal; the others follow.
#[derive(Clone, Copy)]
struct First {
    host: i64,
    journal: i64,
}

/// The hosts `web-1`, `web-2` and so on, with a journal each.
fn add_hosts(connection: &Connection) -> anyhow::Result<First> {
    let mut host = connection.prepare("INSERT INTO event_hosts (name) VALUES (?1)")?;
    let mut journal = connection.prepare(
        "INSERT INTO journals (host, epoch, last_seq, chain) VALUES (?1, ?2, ?3, zeroblob(32))",
    )?;
    let mut first = None;
    for number in 1..=HOSTS {
        let host = host.insert([format!("web-{number}")])?;
        let journal = journal.insert(params![host, format!("{number:032x}"), i64::MAX])?;
        first = first.or(Some(First { host, journal }));
    }
    first.context("no hosts")
}

/// Of a hundred events 46 are grants opened, 46 closed, four refused and four noise; two of three
/// ports are tcp/22.
fn add(
    insert: &mut Statement<'_>,
    first: First,
    users: &[User],
    facts: Facts,
) -> anyhow::Result<()> {
    let Facts {
        number,
        at_ms,
        noise,
    } = facts;
    let place = i64::try_from(noise % HOSTS)?;
    let user = usize::try_from((noise >> 10) % USERS)?;
    let user = users.get(user).context("user")?;
    let [.., a, b, c, d] = (noise >> 20).to_be_bytes();
    let source = [4, 10, a % 16, b, c];
    let kind = match (noise >> 44) % 100 {
        0..46 => 1,
        46..92 => 2,
        92..96 => 4,
        _ => 16,
    };
    let named = kind != 16;
    let [ssh, web] = STANZAS;
    let (stanza, port) = if d % 3 == 0 { web } else { ssh };
    let mut digest = [0; 32];
    for (bytes, part) in digest.chunks_mut(8).zip(0..) {
        bytes.copy_from_slice(&next(noise ^ part).to_be_bytes());
    }
    let (grant, _) = digest.split_at(16);
    let mut event = Event {
        seq: number,
        at_ms,
        kind,
        source: Ipv4Addr::new(10, a % 16, b, c).to_string(),
        count: 1,
        ..Event::default()
    };
    if named {
        event.user.clone_from(&user.name);
        event.key.clone_from(&user.key);
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
    insert
        .execute(params![
            first.journal + place,
            first.host + place,
            i64::try_from(number)?,
            event.encode_to_vec(),
            digest,
            i64::try_from(at_ms)?,
            kind,
            named.then_some(&user.name),
            named.then_some(&user.key),
            named.then_some(stanza),
            source,
            named.then_some(grant),
        ])
        .context("inserting an event")?;
    Ok(())
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
