//! Whether events of the log are found by all that they name, asked for many at once.
//!
//! However many events there are, that is one question for each table, and all of them are on their way
//! before the first answer is waited for: over a network a journey for each would be most of the time
//! that a verification takes.

use std::collections::{BTreeMap, BTreeSet};

use fleet::Event;

use super::{event_rows, reasons, words};
use crate::store::sql::{Asked, Connection, Error, Set};

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

/// Rows of one table that should be there.
#[derive(Debug, Default)]
pub(super) struct Expected {
    rows: Set,
    /// For each of them its event, and what that is not found by without it.
    lost: Vec<(i64, &'static str)>,
}

const PORTS: &str = "SELECT 1 FROM event_ports
    WHERE host = ?1 AND port = ?2 AND at_ms = ?3 AND event = ?4 AND kind = ?5";
const BLOCKS: &str = "SELECT 1 FROM event_blocks WHERE block = ?1 AND at_ms = ?2 AND event = ?3";
const WORDS: &str =
    "SELECT 1 FROM event_words WHERE what = ?1 AND value = ?2 AND at_ms = ?3 AND event = ?4";
const IDS: &str =
    "SELECT 1 FROM event_ids WHERE part = ?1 AND what = ?2 AND value = ?3 AND event = ?4";

// === impl Expected ===

impl Expected {
    /// Adds what `push` adds of the event `id`; without it that is not found by `what`.
    pub(super) fn add(
        &mut self,
        (id, what): (i64, &'static str),
        push: impl FnOnce(&mut Set) -> Result<(), Error>,
    ) -> Result<(), Error> {
        push(&mut self.rows)?;
        self.lost.resize(self.rows.len(), (id, what));
        Ok(())
    }

    /// Asks for them; with the answer comes what is lost with those that are not there.
    fn ask<'c>(self, connection: &'c Connection, sql: &str) -> Result<Awaited<'c>, Error> {
        Ok((connection.ask_each(sql, self.rows)?, self.lost))
    }
}

type Awaited<'c> = (Asked<'c>, Vec<(i64, &'static str)>);

/// What the first thing is by which each event is not found, in words, by its number. Of the younger indexes only
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
    let asked = [
        ports.ask(connection, PORTS)?,
        blocks.ask(connection, BLOCKS)?,
    ];
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
        words::push_expected((&mut by_word, &mut by_id), *id, event, reason)?;
    }
    let asked = asked
        .into_iter()
        .chain([by_word.ask(connection, WORDS)?, by_id.ask(connection, IDS)?]);
    let mut faults = BTreeMap::new();
    let mut add = |lost: &[(i64, &str)]| {
        for (id, what) in lost {
            let fault = || format!("it is not found by the {what} that it names");
            faults.entry(*id).or_insert_with(fault);
        }
    };
    let mut lost: Vec<_> = asked
        .map(|(answer, lost)| unanswered(answer, lost))
        .collect::<Result<_, _>>()?;
    lost.insert(2, without_reason);
    lost.iter().for_each(|lost| add(lost));
    Ok(faults)
}

/// What is lost with rows that are not there.
fn unanswered(
    answer: Asked<'_>,
    lost: Vec<(i64, &'static str)>,
) -> Result<Vec<(i64, &'static str)>, Error> {
    let mut lost: Vec<_> = lost.into_iter().map(Some).collect();
    answer.each(|number, _| {
        if let Some(row) = lost.get_mut(number) {
            *row = None;
        }
        Ok(())
    })?;
    Ok(lost.into_iter().flatten().collect())
}
