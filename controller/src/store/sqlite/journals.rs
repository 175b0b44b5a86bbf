//! Hosts' journals as far as they are stored: where each ends, and which is the continuation of which.
//!
//! A host that was set back writes other events under numbers that it has used before. They are kept
//! too, in a journal of their own beside the first (`EPOCH.1`, `EPOCH.2`), whose beginning is that of
//! the first up to where the two part.

use std::collections::HashMap;
use std::ops::Range;

use fleet::event::{Continuity, EventRecord};

use super::number::signed;
use crate::store::error::StoreError;
use crate::store::sql::{Asked, Connection, Error, OptionalExtension as _, Row, Set, params};

const COLUMNS: &str = "j.id, j.host, j.epoch, j.last_seq, j.chain, j.retired, j.forked_from";

/// Its host's name and its epoch.
pub(super) type Name = (String, String);

/// The end of one journal as far as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    pub(super) id: i64,
    pub(super) host: i64,
    pub(super) epoch: String,
    pub(super) last_seq: u64,
    pub(super) chain: [u8; 32],
    /// Its host is to begin another.
    pub(super) retired: bool,
    /// The journal beside which this one is.
    forked_from: Option<i64>,
}

/// Where a record belongs.
#[derive(Debug)]
pub(super) enum Placed {
    /// It is stored.
    Known(Journal),
    /// It is to be stored here: after the last one, unless something is missing or broken.
    Next(Journal),
    /// It is one that was missing.
    Late(Journal),
    /// Another event has its number: it begins a journal beside that one.
    Forks(Journal),
}

// === impl Placed ===

impl Placed {
    /// Where it belongs, or beside which.
    pub(super) fn journal(&self) -> &Journal {
        match self {
            Self::Known(journal)
            | Self::Next(journal)
            | Self::Late(journal)
            | Self::Forks(journal) => journal,
        }
    }
}

// === impl Journal ===

impl Journal {
    pub(super) fn read(row: &Row<'_>) -> Result<Self, Error> {
        Ok(Self {
            id: row.get(0)?,
            host: row.get(1)?,
            epoch: row.get(2)?,
            last_seq: row.get(3)?,
            chain: row.get(4)?,
            retired: row.get(5)?,
            forked_from: row.get(6)?,
        })
    }

    /// Whether a record is the next of this one.
    pub(super) fn is_continued_by(&self, record: &EventRecord) -> bool {
        record.seq == self.last_seq + 1 && record.follows(&self.chain) == Continuity::Follows
    }

    /// The chain value of an event of this journal, also of the part that it shares with the one
    /// beside which it is.
    pub(super) fn chain_at(
        &self,
        connection: &Connection,
        seq: u64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        if seq == 0 {
            return Ok(Some(vec![0; 32]));
        }
        let find = |journal: i64| {
            connection
                .prepare_cached("SELECT chain FROM events WHERE journal = ?1 AND seq = ?2")?
                .query_row(params![journal, signed(seq)], |row| row.get(0))
                .optional()
        };
        let own = find(self.id)?;
        match (own, self.forked_from) {
            (None, Some(first)) => Ok(find(first)?),
            (own, _) => Ok(own),
        }
    }

    /// Where a record belongs as far as this journal alone is asked; `None` when it is of another
    /// history.
    fn place(
        &self,
        connection: &Connection,
        record: &EventRecord,
    ) -> Result<Option<Placed>, StoreError> {
        if record.seq > self.last_seq {
            let is_next = self.is_continued_by(record);
            return Ok(is_next.then(|| Placed::Next(self.clone())));
        }
        if let Some(stored) = self.chain_at(connection, record.seq)? {
            let same = stored == record.chain;
            return Ok(same.then(|| Placed::Known(self.clone())));
        }
        let before = self.chain_at(connection, record.seq - 1)?;
        let before = before.and_then(|chain| <[u8; 32]>::try_from(chain).ok());
        let fills = before.is_none_or(|chain| record.follows(&chain) != Continuity::Broken);
        Ok(fills.then(|| Placed::Late(self.clone())))
    }
}

/// Where a record belongs, asking first the journal in which the one before it was.
pub(super) fn place(
    connection: &Connection,
    current: &Journal,
    record: &EventRecord,
) -> Result<Placed, StoreError> {
    if let Some(placed) = current.place(connection, record)? {
        return Ok(placed);
    }
    for other in beside(connection, current)? {
        if let Some(placed) = other.place(connection, record)? {
            return Ok(placed);
        }
    }
    Ok(if record.seq > current.last_seq {
        Placed::Next(current.clone())
    } else {
        Placed::Forks(current.clone())
    })
}

/// The other journals that share a beginning with this one.
fn beside(connection: &Connection, journal: &Journal) -> Result<Vec<Journal>, StoreError> {
    let first = journal.forked_from.unwrap_or(journal.id);
    let sql = format!(
        "SELECT {COLUMNS} FROM journals j
         WHERE j.host = ?1 AND (j.id = ?2 OR j.forked_from = ?2) AND j.id <> ?3 ORDER BY j.id DESC"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_map([journal.host, first, journal.id], Journal::read)?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Begins the journal that `record` continues beside `journal`.
pub(super) fn fork(
    connection: &Connection,
    journal: &Journal,
    record: &EventRecord,
) -> Result<Journal, StoreError> {
    let first = journal.forked_from.unwrap_or(journal.id);
    let before = record.seq - 1;
    // What comes before is shared, if the record follows from it; if not, the chain is broken there.
    let shared = journal.chain_at(connection, before)?;
    let shared = shared.and_then(|chain| <[u8; 32]>::try_from(chain).ok());
    let chain = shared.unwrap_or([0; 32]);
    let number: u64 = connection
        .prepare_cached("SELECT count(*) + 1 FROM journals WHERE forked_from = ?1")?
        .query_row([first], |row| row.get(0))?;
    let root: String = connection
        .prepare_cached("SELECT epoch FROM journals WHERE id = ?1")?
        .query_row([first], |row| row.get(0))?;
    let epoch = format!("{root}.{number}");
    let id = connection
        .prepare_cached(
            "INSERT INTO journals (host, epoch, last_seq, chain, member, retired, forked_from)
             SELECT host, ?2, ?3, ?4, member, 1, ?1 FROM journals WHERE id = ?1",
        )?
        .insert(params![first, epoch, signed(before), chain])?;
    Ok(Journal {
        id,
        host: journal.host,
        epoch,
        last_seq: before,
        chain,
        retired: true,
        forked_from: Some(first),
    })
}

/// Notes that the host of a journal is to begin another. Whether that is news.
pub(super) fn retire(connection: &Connection, journal: &Journal) -> Result<bool, StoreError> {
    let first = journal.forked_from.unwrap_or(journal.id);
    let retired = connection
        .prepare_cached("UPDATE journals SET retired = 1 WHERE id = ?1 AND retired = 0")?
        .execute([first])?;
    Ok(retired == 1)
}

/// Notes where a journal ends now.
pub(super) fn note_end(connection: &Connection, journal: &Journal) -> Result<(), StoreError> {
    note_ends(connection, &[journal])
}

/// The same of several.
pub(super) fn note_ends(connection: &Connection, journals: &[&Journal]) -> Result<(), StoreError> {
    let mut ends = Set::default();
    for journal in journals {
        ends.push(params![journal.id, signed(journal.last_seq), journal.chain])?;
    }
    connection
        .prepare_cached("UPDATE journals SET last_seq = ?2, chain = ?3 WHERE id = ?1")?
        .execute_each(&ends)?;
    Ok(())
}

/// The journal of this epoch; made when there is none. `member` is who began it then.
pub(super) fn find_or_make(
    connection: &Connection,
    (host, epoch): (&str, &str),
    member: Option<u64>,
) -> Result<Journal, StoreError> {
    if let Some(journal) = find(connection, (host, epoch))? {
        return Ok(journal);
    }
    connection
        .prepare_cached("INSERT INTO event_hosts (name) VALUES (?1) ON CONFLICT (name) DO NOTHING")?
        .execute([host])?;
    connection
        .prepare_cached(
            "INSERT INTO journals (host, epoch, last_seq, chain, member)
             SELECT id, ?2, 0, ?4, ?3 FROM event_hosts WHERE name = ?1",
        )?
        .execute(params![host, epoch, member.map(signed), [0_u8; 32]])?;
    find(connection, (host, epoch))?.ok_or(StoreError::Damaged { what: "journals" })
}

pub(super) fn find(
    connection: &Connection,
    (host, epoch): (&str, &str),
) -> Result<Option<Journal>, StoreError> {
    let journal = connection
        .prepare_cached(&by_name())?
        .query_row([host, epoch], Journal::read)
        .optional()?;
    Ok(journal)
}

/// Asks for the newest journal of a host, whatever its epoch.
pub(super) fn ask_newest<'c>(
    connection: &'c Connection,
    host: &str,
) -> Result<Asked<'c>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM event_hosts h JOIN journals j ON j.host = h.id
         WHERE h.name = ?1 ORDER BY j.id DESC LIMIT 1"
    );
    let mut asked = Set::default();
    asked.push([host])?;
    Ok(connection.ask_each(&sql, asked)?)
}

/// What that has come to.
pub(super) fn taken(asked: Asked<'_>) -> Result<Option<Journal>, StoreError> {
    let mut found = None;
    asked.each(|_, row| {
        found = Some(Journal::read(row)?);
        Ok(())
    })?;
    Ok(found)
}

/// Asks for those of several hosts and epochs.
pub(super) fn ask_all<'c>(
    connection: &'c Connection,
    names: &[(&str, &str)],
) -> Result<Asked<'c>, StoreError> {
    let mut asked = Set::default();
    for (host, epoch) in names {
        asked.push([host, epoch])?;
    }
    Ok(connection.ask_each(&by_name(), asked)?)
}

/// Those of them that there are, by host and epoch.
pub(super) fn all_taken(
    asked: Asked<'_>,
    names: &[(&str, &str)],
) -> Result<HashMap<Name, Journal>, StoreError> {
    let mut found = HashMap::new();
    asked.each(|number, row| {
        if let Some((host, epoch)) = names.get(number) {
            let name = ((*host).to_owned(), (*epoch).to_owned());
            found.insert(name, Journal::read(row)?);
        }
        Ok(())
    })?;
    Ok(found)
}

fn by_name() -> String {
    format!(
        "SELECT {COLUMNS} FROM event_hosts h JOIN journals j ON j.host = h.id
         WHERE h.name = ?1 AND j.epoch = ?2"
    )
}

/// The chain values of events of a journal, by their numbers; not of what it shares with another.
pub(super) fn chains(
    connection: &Connection,
    journal: &Journal,
    numbers: Range<u64>,
) -> Result<HashMap<u64, Vec<u8>>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, chain FROM events WHERE journal = ?1 AND seq >= ?2 AND seq < ?3",
    )?;
    let (first, end) = (signed(numbers.start), signed(numbers.end));
    let chains = statement.query_map(params![journal.id, first, end], |row| {
        Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?))
    })?;
    Ok(chains.collect::<Result<_, _>>()?)
}

/// The newest journal that a member began and that it was not told to end.
pub(super) fn newest_of(
    connection: &Connection,
    member: u64,
) -> Result<Option<Journal>, StoreError> {
    let journal = connection
        .prepare_cached(&newest_begun())?
        .query_row([signed(member)], Journal::read)
        .optional()?;
    Ok(journal.filter(|journal| !journal.retired))
}

/// Asks for the newest of several members, also where they were told to end it.
pub(super) fn ask_newest_of<'c>(
    connection: &'c Connection,
    members: &[u64],
) -> Result<Asked<'c>, StoreError> {
    let asked = Set::of(members.iter().map(|member| [signed(*member)]))?;
    Ok(connection.ask_each(&newest_begun(), asked)?)
}

/// Journals go with the name of their host (`host_edits`), by which they are found without reading all.
fn newest_begun() -> String {
    format!(
        "SELECT {COLUMNS} FROM members m JOIN event_hosts h ON h.name = m.name
         JOIN journals j ON j.host = h.id
         WHERE m.id = ?1 AND j.member = m.id AND j.forked_from IS NULL ORDER BY j.id DESC LIMIT 1"
    )
}
