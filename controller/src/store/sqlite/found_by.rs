//! Whether events of the log are found by all that they name, asked for many at once.
//!
//! However many events there are, that is one question for each table, and all of them are on their way
//! before the first answer is waited for: over a network a journey for each would be most of the time
//! that a verification takes.

use std::collections::{BTreeMap, BTreeSet};

use fleet::Event;

use super::expected::Expected;
use super::{event_rows, reasons, words};
use crate::store::sql::{Connection, Error};

/// What an event names, and where it stands.
#[derive(Debug)]
pub(super) struct Named {
    /// Of the event's row.
    pub(super) id: i64,
    /// `event_hosts.id`.
    pub(super) host: i64,
    /// As its body says it.
    pub(super) event: Event,
}

const PORTS: &str = "SELECT 1 FROM event_ports
    WHERE host = ?1 AND port = ?2 AND at_ms = ?3 AND event = ?4 AND kind = ?5";
const BLOCKS: &str = "SELECT 1 FROM event_blocks WHERE block = ?1 AND at_ms = ?2 AND event = ?3";
const WORDS: &str =
    "SELECT 1 FROM event_words WHERE what = ?1 AND value = ?2 AND at_ms = ?3 AND event = ?4";
const IDS: &str =
    "SELECT 1 FROM event_ids WHERE part = ?1 AND what = ?2 AND value = ?3 AND event = ?4";

/// The first thing by which an event is not found, in words, by the event's number. Of the younger indexes only
/// what comes up to `indexed_to` is looked for: what is newer is indexed within seconds.
pub(super) fn faults(
    connection: &Connection,
    named: &[Named],
    indexed_to: i64,
) -> Result<BTreeMap<i64, String>, Error> {
    let (mut ports, mut blocks) = (Expected::default(), Expected::default());
    for Named { id, host, event } in named {
        ports.add((*id, "ports"), |rows| {
            event_rows::push_ports(rows, *host, event, *id)
        })?;
        blocks.add((*id, "networks or ranges of ports"), |rows| {
            event_rows::push_blocks(rows, event, *id)
        })?;
    }
    let ports = ports.ask(connection, PORTS)?;
    let blocks = blocks.ask(connection, BLOCKS)?;
    let indexed = || named.iter().filter(|one| one.id <= indexed_to);
    let texts = indexed().map(|one| &*one.event.reason);
    let texts: BTreeSet<&str> = texts.filter(|text| !text.is_empty()).collect();
    let reasons = reasons::known(connection, texts)?;
    let (mut by_word, mut by_id) = (Expected::default(), Expected::default());
    let mut without_reason = Vec::new();
    for Named { id, event, .. } in indexed() {
        let reason = reasons.get(&*event.reason).copied();
        if reason.is_none() && !event.reason.is_empty() {
            without_reason.push((*id, "reason"));
        }
        words::push_expected((&mut by_word, &mut by_id), *id, event, reason);
    }
    let by_word = by_word.ask(connection, WORDS)?;
    let by_id = by_id.ask(connection, IDS)?;
    let mut lost = ports.lost()?;
    lost.extend(blocks.lost()?);
    lost.extend(without_reason);
    lost.extend(by_word.lost()?);
    lost.extend(by_id.lost()?);
    let mut faults = BTreeMap::new();
    for (id, what) in lost {
        let fault = || format!("it is not found by the {what} that it names");
        faults.entry(id).or_insert_with(fault);
    }
    Ok(faults)
}
