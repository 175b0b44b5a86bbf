//! The fleet's log: every host's journal, in the order in which it arrived, chained once more.
//!
//! Two chains. A host's own chain (`events.chain`) shows a change inside one journal; the fleet's
//! (`events.log_chain`, `fleet::audit`) covers all that is stored of every event, so that nothing can
//! be changed, taken out or put in without all that follows being recomputed. What is signed of it
//! (`checkpoints`) cannot be recomputed.

use std::collections::HashMap;

use fleet::audit::{Linked, LogVersion, body_digest};
use fleet::event::{Continuity, Event, EventRecord};

use super::columns::Columns;
use super::event_rows::{EventRows, Place};
use super::journals::{self, Journal, Placed};
use super::meta;
use crate::store::error::StoreError;
use crate::store::model::{CONTROLLER, Fork, LogHead, Pushed};
use crate::store::sql::{Asked, Connection, OptionalExtension as _, Set, params};

/// Events whose rows wait to be written at most: bounds their memory.
const ROWS_MAX: usize = 1024;

/// Stores the events of one host's journal, as [`Log::push`] does.
#[cfg(test)]
pub(super) fn append(
    connection: &Connection,
    journal: (&str, &str),
    member: Option<u64>,
    records: &[EventRecord],
    now_ms: u64,
) -> Result<Pushed, StoreError> {
    let mut log = Log::open(connection)?;
    let pushed = log.push(journal, member, records, now_ms)?;
    log.write()?;
    Ok(pushed)
}

/// Stores one of the controller's own events; its `seq` is given here.
pub(in crate::store) fn append_own(
    connection: &Connection,
    event: Event,
) -> Result<(), StoreError> {
    let mut log = Log::open(connection)?;
    log.own(event)?;
    log.write()
}

/// The same of several, in their order.
pub(super) fn append_all_own(
    connection: &Connection,
    events: impl Iterator<Item = Event>,
) -> Result<(), StoreError> {
    let mut log = Log::open(connection)?;
    for event in events {
        log.own(event)?;
    }
    log.write()
}

/// The end of the fleet's log while something is appended to it. Rows of events and ends of journals wait
/// to be written at once: it has to be told [`write`](Self::write) in the end, and before anybody else
/// writes into the log.
pub(super) struct Log<'c> {
    connection: &'c Connection,
    /// What was asked, and not waited for before something is.
    asked: Option<Asked<'c>>,
    /// Of the newest event, as its chain value is.
    last_id: i64,
    head: [u8; 32],
    rows: EventRows,
    /// Journals as they end with what waits, by host and epoch, and whether that is to be written.
    journals: HashMap<journals::Name, (Journal, bool)>,
    /// The name of the controller's own journal.
    own_epoch: Option<String>,
}

// === impl Log ===

impl<'c> Log<'c> {
    pub(super) fn open(connection: &'c Connection) -> Result<Self, StoreError> {
        Ok(Self {
            connection,
            asked: Some(ask_head(connection)?),
            last_id: 0,
            head: [0; 32],
            rows: EventRows::default(),
            journals: HashMap::new(),
            own_epoch: None,
        })
    }

    /// Looks up several journals at once, those that there are, so that they are known; what `meanwhile` asks goes
    /// with that.
    pub(super) fn look_up<T>(
        &mut self,
        journals: &[(&str, &str)],
        meanwhile: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let asked = journals::ask_all(self.connection, journals)?;
        let asked_meanwhile = meanwhile()?;
        for (name, journal) in journals::all_taken(asked, journals)? {
            self.journals.insert(name, (journal, false));
        }
        Ok(asked_meanwhile)
    }

    /// Stores the events of one host's journal that are not stored yet.
    ///
    /// Idempotent: what is there already, under the same number and with the same chain value, is left.
    /// Another event under a number that is taken begins a journal beside the first. `records` must be in
    /// rising order of `seq`. Whatever is wrong with one (a gap before it, a broken chain, a body that
    /// cannot be read) is stored with it and reported, because an event that is refused here would be lost
    /// to the auditor.
    pub(super) fn push(
        &mut self,
        (host, epoch): (&str, &str),
        member: Option<u64>,
        records: &[EventRecord],
        now_ms: u64,
    ) -> Result<Pushed, StoreError> {
        let mut journal = self.journal((host, epoch), member)?;
        let begun = journal.id;
        let mut pushed = Pushed {
            acknowledged_seq: journal.last_seq,
            acknowledged_chain: journal.chain.to_vec(),
            ..Pushed::default()
        };
        let stored = self.stored(&journal, records)?;
        for record in records {
            let arrival = Arrival {
                host,
                record,
                now_ms,
            };
            let is_here = journal.id == begun && stored.get(&record.seq) == Some(&record.chain);
            journal = if is_here {
                journal
            } else if journal.is_continued_by(record) {
                self.append(journal, arrival, &mut pushed)?
            } else {
                self.place(journal, arrival, &mut pushed)?
            };
            pushed.acknowledged_seq = record.seq;
            pushed.acknowledged_chain.clone_from(&record.chain);
        }
        let is_retired = journal.retired;
        let is_elsewhere = pushed.fork.is_some() || journal.id != begun;
        if is_elsewhere {
            journals::note_end(self.connection, &journal)?;
            if pushed.fork.is_some() {
                journals::retire(self.connection, &journal)?;
            }
            // Whatever is known of these may be another.
            self.write()?;
            self.journals.clear();
        } else {
            let name = (host.to_owned(), epoch.to_owned());
            self.journals.insert(name, (journal, true));
        }
        if pushed.fork.is_some() || is_retired {
            let words = "this journal is not the continuation of what the controller has of it";
            pushed.new_journal = Some(words.to_owned());
        }
        Ok(pushed)
    }

    /// Stores one of the controller's own events; its `seq` is given here.
    pub(super) fn own(&mut self, event: Event) -> Result<(), StoreError> {
        let epoch = match &self.own_epoch {
            Some(epoch) => epoch.clone(),
            None => self.look_up_own()?,
        };
        let journal = self.journal((CONTROLLER, &epoch), None)?;
        let now_ms = event.at_ms;
        let record = EventRecord::after(journal.last_seq, &journal.chain, event);
        self.push((CONTROLLER, &epoch), None, &[record], now_ms)?;
        self.own_epoch = Some(epoch);
        Ok(())
    }

    /// The name of the controller's own journal, which is its newest but where it was put back: so it is looked up
    /// with that, and not after it.
    fn look_up_own(&mut self) -> Result<String, StoreError> {
        let newest = journals::ask_newest(self.connection, CONTROLLER)?;
        let epoch = meta::journal_epoch(self.connection)?;
        if let Some(journal) = journals::taken(newest)?
            && journal.epoch == epoch
        {
            let name = (CONTROLLER.to_owned(), epoch.clone());
            // What is known of it already may wait to be written.
            self.journals.entry(name).or_insert((journal, false));
        }
        Ok(epoch)
    }

    /// Writes what waits.
    pub(super) fn write(&mut self) -> Result<(), StoreError> {
        self.rows.write(self.connection)?;
        let moved = self.journals.values_mut();
        let moved = moved.filter_map(|(journal, is_moved)| {
            let was_moved = std::mem::take(is_moved);
            was_moved.then_some(&*journal)
        });
        journals::note_ends(self.connection, &moved.collect::<Vec<_>>())
    }

    /// The journal of this epoch; made when there is none. `member` is who began it then.
    fn journal(
        &mut self,
        (host, epoch): (&str, &str),
        member: Option<u64>,
    ) -> Result<Journal, StoreError> {
        let name = (host.to_owned(), epoch.to_owned());
        if let Some((journal, _)) = self.journals.get(&name) {
            return Ok(journal.clone());
        }
        journals::find_or_make(self.connection, (host, epoch), member)
    }

    /// Chain values of what is stored of a journal, when it is pushed again: of as many records as come.
    fn stored(
        &mut self,
        journal: &Journal,
        records: &[EventRecord],
    ) -> Result<HashMap<u64, Vec<u8>>, StoreError> {
        let first = records.first().map_or(u64::MAX, |first| first.seq);
        if first > journal.last_seq {
            return Ok(HashMap::new());
        }
        self.write()?;
        let end = first.saturating_add(records.len() as u64);
        journals::chains(self.connection, journal, first..end)
    }

    /// Stores a record that is not the next of its journal, and gives the end of the one that it is in.
    fn place(
        &mut self,
        mut journal: Journal,
        arrival: Arrival<'_>,
        pushed: &mut Pushed,
    ) -> Result<Journal, StoreError> {
        let record = arrival.record;
        // What is looked up is to have it all.
        self.write()?;
        let placed = journals::place(self.connection, &journal, record)?;
        if placed.journal().id != journal.id {
            journals::note_end(self.connection, &journal)?;
        }
        journal = match placed {
            Placed::Known(journal) => journal,
            Placed::Next(journal) => self.append(journal, arrival, pushed)?,
            Placed::Late(journal) => {
                let flaw = "arrived after events that come after it".to_owned();
                self.store(&journal, arrival, vec![flaw])?;
                journal
            }
            Placed::Forks(journal) => {
                let fork = journals::fork(self.connection, &journal, record)?;
                pushed.fork.get_or_insert_with(|| Fork {
                    seq: record.seq,
                    epoch: fork.epoch.clone(),
                });
                self.append(fork, arrival, pushed)?
            }
        };
        Ok(journal)
    }

    /// Stores a record at the end of its journal, with what is wrong with it, and gives the new end.
    fn append(
        &mut self,
        mut journal: Journal,
        arrival: Arrival<'_>,
        pushed: &mut Pushed,
    ) -> Result<Journal, StoreError> {
        let record = arrival.record;
        let mut flaws = Vec::new();
        if record.seq != journal.last_seq + 1 {
            pushed.gap_before = pushed.gap_before.or(Some(record.seq));
            flaws.push("events before it are missing".to_owned());
        } else {
            match record.follows(&journal.chain) {
                Continuity::Follows => {}
                Continuity::Broken => {
                    pushed.broken_at = pushed.broken_at.or(Some(record.seq));
                    flaws.push("the chain is broken here".to_owned());
                }
                Continuity::Unknown => {
                    let version = record.chain_version;
                    flaws.push(format!("chained by version {version}, not checked"));
                }
            }
        }
        if record.seq == journal.last_seq + 1 && journal.retired {
            flaws.push("the host was set back before".to_owned());
        }
        self.store(&journal, arrival, flaws)?;
        journal.last_seq = record.seq;
        journal.chain = record.chain.as_slice().try_into().unwrap_or([0; 32]);
        Ok(journal)
    }

    /// The end of the log, which was asked for when it was opened.
    fn take_head(&mut self) -> Result<(), StoreError> {
        let Some(asked) = self.asked.take() else {
            return Ok(());
        };
        asked.each(|_, row| {
            self.last_id = row.get(0)?;
            self.head = row.get(1)?;
            Ok(())
        })?;
        Ok(())
    }

    fn store(
        &mut self,
        journal: &Journal,
        arrival: Arrival<'_>,
        flaws: Vec<String>,
    ) -> Result<(), StoreError> {
        let Arrival {
            host,
            record,
            now_ms,
        } = arrival;
        let mut columns = Columns::of(record, now_ms);
        columns.flaws.extend(flaws);
        let flaw = columns.flaws.join("; ");
        let linked = Linked {
            host,
            epoch: &journal.epoch,
            seq: record.seq,
            chain: &record.chain,
            chain_version: record.chain_version,
            body_digest: body_digest(&record.body),
            stored_at_ms: now_ms,
            flaw: &flaw,
        };
        self.take_head()?;
        self.head = LogVersion::V2.link(&self.head, &linked);
        self.last_id += 1;
        let place = Place {
            id: self.last_id,
            journal: journal.id,
            host: journal.host,
            stored_at_ms: now_ms,
            log_chain: self.head,
        };
        self.rows.push(&place, record, &columns)?;
        if self.rows.len() >= ROWS_MAX {
            self.rows.write(self.connection)?;
        }
        Ok(())
    }
}

/// A record that came.
#[derive(Clone, Copy)]
struct Arrival<'a> {
    /// Whose.
    host: &'a str,
    record: &'a EventRecord,
    now_ms: u64,
}

/// See `Store::log_head`.
pub(in crate::store) fn head(connection: &Connection) -> Result<LogHead, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT id, log_chain FROM events ORDER BY id DESC LIMIT 1")?;
    let mut rows = statement.query([])?;
    match rows.next()? {
        None => Ok(LogHead::default()),
        Some(row) => Ok(LogHead {
            id: row.get::<_, i64>(0)?.cast_unsigned(),
            chain: row.get(1)?,
        }),
    }
}

/// When the newest record was stored, milliseconds since the Unix epoch; `None` of an empty log.
pub(in crate::store) fn newest_ms(connection: &Connection) -> Result<Option<u64>, StoreError> {
    let newest = connection
        .prepare_cached("SELECT stored_at_ms FROM events ORDER BY id DESC LIMIT 1")?
        .query_row([], |row| row.get::<_, i64>(0))
        .optional()?;
    Ok(newest.map(i64::cast_unsigned))
}

/// The id and the chain value of the newest event; none before the first. Whoever asks is the only one who writes.
fn ask_head(connection: &Connection) -> Result<Asked<'_>, StoreError> {
    let mut first = Set::default();
    first.push(params![0])?;
    let sql = "SELECT id, log_chain FROM events WHERE id >= ?1 ORDER BY id DESC LIMIT 1";
    Ok(connection.ask_each(sql, first)?)
}
