//! The same at a PostgreSQL server, some hundred thousand events in a statement (`COPY`), and its statistics
//! made afterwards, as a server makes them by itself while a log grows.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use harness::Postgres;

use super::{Event, HOSTS, OLDER, PORTS};

/// Events in one statement: some hundred megabytes.
const LOT: usize = 250_000;
/// What a file of this form begins with: its name, no flags, nothing more.
const HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with.
const END: i16 = -1;
/// What is bytes, in a column that holds anything.
const BYTES: u8 = 3;
const COLUMNS: &str = "id, journal, host, seq, body, chain, chain_version, stored_at_ms, log_chain, at_ms, \
     kind, \"user\", key, stanza, generation, source, opened, replay_digest, grant_id";

/// The ids of what was there before: those of the log follow.
#[derive(Clone, Copy)]
struct Last {
    event: i64,
    host: i64,
    journal: i64,
}

/// Adds `events` events of the weeks before `now_ms` to the database that was made last.
pub(crate) fn fill(server: &Postgres, events: u64, now_ms: u64) -> anyhow::Result<()> {
    let newest =
        "SELECT datname FROM pg_database WHERE datname LIKE 'd%' ORDER BY oid DESC LIMIT 1";
    let name = server.sql("postgres", newest)?.trim().to_owned();
    let sql = |sql: &str| server.sql(&name, sql);
    let number = |what: &str| -> anyhow::Result<i64> { Ok(sql(what)?.trim().parse()?) };
    let last = Last {
        event: number("SELECT coalesce(max(id), 0) FROM events")?,
        host: number("SELECT coalesce(max(id), 0) FROM event_hosts")?,
        journal: number("SELECT coalesce(max(id), 0) FROM journals")?,
    };
    sql(OLDER)?;
    let hosts = format!("generate_series(1, {HOSTS}) AS n");
    sql(&format!(
        "INSERT INTO event_hosts (id, name) SELECT {} + n, 'web-' || n FROM {hosts};
         INSERT INTO journals (id, host, epoch, last_seq, chain)
         SELECT {} + n, {} + n, lpad(to_hex(n), 32, '0'), {}, decode(repeat('00', 32), 'hex') FROM {hosts};
         UPDATE last_ids SET id = id + {HOSTS} WHERE name IN ('event_hosts', 'journals')",
        last.host,
        last.journal,
        last.host,
        i64::MAX
    ))?;
    let indexes = sql(
        "SELECT indexdef FROM pg_indexes WHERE tablename = 'events' AND indexname <> 'events_pkey'",
    )?;
    let drop = "SELECT string_agg(format('DROP INDEX %I', indexname), '; ') FROM pg_indexes \
                WHERE tablename = 'events' AND indexname <> 'events_pkey'";
    sql(sql(drop)?.trim())?;
    copy(server, &name, (super::events(events, now_ms), last))?;
    for index in indexes.lines() {
        sql(&format!("SET maintenance_work_mem = '1GB'; {index}"))?;
    }
    let ports = PORTS.replace("?1", &last.event.to_string());
    sql(&format!("SET work_mem = '512MB'; {ports}"))?;
    sql("VACUUM ANALYZE")?;
    sql("CHECKPOINT")?;
    Ok(())
}

fn copy(
    server: &Postgres,
    name: &str,
    (events, last): (impl Iterator<Item = anyhow::Result<Event>>, Last),
) -> anyhow::Result<()> {
    // The server reads it itself.
    let path = PathBuf::from(format!(
        "/dev/shm/postern-bench-{}.copy",
        std::process::id()
    ));
    let text = path.display();
    let mut events = events.peekable();
    while events.peek().is_some() {
        let mut file = BufWriter::new(File::create(&path)?);
        file.write_all(HEAD)?;
        for event in events.by_ref().take(LOT) {
            write(&mut file, &event?, last)?;
        }
        file.write_all(&END.to_be_bytes())?;
        file.into_inner()?;
        let copied = server.sql(
            name,
            &format!("COPY events ({COLUMNS}) FROM '{text}' (FORMAT binary)"),
        );
        std::fs::remove_file(&path)?;
        copied.context("copying events")?;
    }
    Ok(())
}

fn write(out: &mut impl std::io::Write, event: &Event, last: Last) -> anyhow::Result<()> {
    let named = event.named.as_ref();
    let number = |number: i64| Some(number.to_be_bytes().to_vec());
    let text = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec());
    let any = |bytes: &[u8]| -> anyhow::Result<Option<Vec<u8>>> {
        let bits = i32::try_from((bytes.len() + 1) * 8)?;
        Ok(Some([&bits.to_be_bytes()[..], &[BYTES], bytes].concat()))
    };
    let source = any(&event.source)?;
    let columns = [
        number(last.event + 1 + event.number),
        number(last.journal + 1 + event.place),
        number(last.host + 1 + event.place),
        number(event.number),
        Some(event.body.clone()),
        Some(event.digest.to_vec()),
        number(2),
        number(event.at_ms),
        Some(event.digest.to_vec()),
        number(event.at_ms),
        number(event.kind.into()),
        text(named.map(|named| named.user.as_str())),
        text(named.map(|named| named.key.as_str())),
        text(named.map(|named| named.stanza)),
        number(1),
        source.clone(),
        source,
        any(&event.digest)?,
        named.map_or(Ok(None), |_| any(event.grant()))?,
    ];
    out.write_all(&i16::try_from(columns.len())?.to_be_bytes())?;
    for column in columns {
        match column {
            Some(bytes) => {
                out.write_all(&i32::try_from(bytes.len())?.to_be_bytes())?;
                out.write_all(&bytes)?;
            }
            None => out.write_all(&(-1_i32).to_be_bytes())?,
        }
    }
    Ok(())
}
