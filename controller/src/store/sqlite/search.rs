//! Who opened what: reading the fleet's log.
//!
//! Newest first by the hosts' own time, a page at a time: the next page begins where the one before
//! ended (keyset paging), so that no reading holds the database for long. Each question is driven by
//! the one index that has the fewest rows where the answer is looked for, counted before and not
//! guessed (`choice`). Where that has many and few of them are asked for, a page looks at as many
//! as one turn is enough for (`pace`), and says from where to go on. The rows of a prefix stand by address. Where
//! the log names few addresses of it, each has its own in order, and they drive together (`addresses`, `newest`); of more
//! the newest are found in the index alone, as long as that is short, and else another index drives.

mod addresses;
mod arm;
mod choice;
mod conditions;
mod driver;
mod known;
mod newest;
mod pace;
mod statement;
pub(in crate::store) mod uses;

use fleet::EventRecord;

use self::addresses::Addresses;
use self::conditions::Window;
use self::driver::Driver;
use self::known::Known;
use self::pace::{EFFORT, Turn};
use self::statement::Statement;
use super::{cost, reasons};
use crate::store::error::StoreError;
use crate::store::model::{Cursor, EventFilter, LogRow, Onward, Page};
#[cfg(test)]
use crate::store::sql::Dialect;
use crate::store::sql::{Connection, Error, OptionalExtension as _, Row, is_cut, params_from_iter};

/// Reasons that are looked for by their index; more are looked for among all events.
const REASONS_MAX: usize = 16;

/// Rows of each window of a prefix but the first: the whole prefix is looked through for each, however few they are.
const OF_ADDRESSES_LEAST: usize = 2_048;

/// See `Store::look`.
pub(in crate::store) fn page(
    connection: &Connection,
    filter: &EventFilter,
    from: Onward,
    limit: usize,
) -> Result<Page, StoreError> {
    let turn = Turn {
        effort: EFFORT,
        taken: &cost::watch(),
    };
    page_with(connection, filter, (from, limit), &turn)
}

fn page_with(
    connection: &Connection,
    filter: &EventFilter,
    (Onward { after, course }, limit): (Onward, usize),
    turn: &Turn<'_>,
) -> Result<Page, StoreError> {
    let mut page = Page {
        next: Some(after),
        course,
        ..Page::default()
    };
    match fill(connection, filter, (limit, turn), &mut page) {
        Err(error) if is_cut(&error) => page.cut = true,
        result => result?,
    }
    page.course.served += (turn.taken)();
    Ok(page)
}

/// Reads window after window until the page is full, the log is at its end, or the turn is over.
fn fill(
    connection: &Connection,
    filter: &EventFilter,
    (limit, turn): (usize, &Turn<'_>),
    page: &mut Page,
) -> Result<(), StoreError> {
    let Some(known) = known(connection, filter)? else {
        page.next = None;
        return Ok(());
    };
    let candidates = Driver::candidates(filter, &known);
    let mut pace = turn.pace(page.course.rows);
    while let Some(after) = page.next {
        let chosen = match page
            .course
            .chosen
            .filter(|chosen| chosen.holds_after(after))
        {
            Some(chosen) => chosen,
            None => {
                let is_of_many = page.course.is_of_many();
                choice::choose(connection, filter, &known, (&candidates, after), is_of_many)?
            }
        };
        page.course.chosen = Some(chosen);
        // By time all is found, should there be fewer candidates than there were.
        let driver = candidates.get(chosen.driver).unwrap_or(&Driver::Time);
        pace.begin((turn.taken)());
        let is_first = page.course.rows.is_none();
        let rows = match driver.is_of_addresses() && !is_first {
            true => pace.rows().max(OF_ADDRESSES_LEAST),
            false => pace.rows(),
        };
        let depth = choice::window(connection, filter, &known, driver, (after, rows))?;
        let window = Window {
            after,
            floor_ms: depth.floor_ms,
        };
        let found = page.rows.len();
        let left = limit - found;
        read_window(
            connection,
            &Statement::new(
                connection.dialect(),
                (filter, &known),
                driver,
                (window, left),
            ),
            page,
        )?;
        page.next = match page.rows.last() {
            Some(last) if page.rows.len() >= limit => Some(Cursor::after(last)),
            Some(_) | None => depth.floor_ms.map(Cursor::before),
        };
        if !driver.is_of_addresses() {
            page.course.found += page.rows.len() - found;
            page.course.looked_at += depth.rows;
        }
        let goes_on = pace.end(depth.rows, (turn.taken)());
        page.course.rows = Some(pace.next_turn());
        if page.rows.len() >= limit || !goes_on {
            break;
        }
    }
    Ok(())
}

fn read_window(
    connection: &Connection,
    Statement { sql, values }: &Statement,
    page: &mut Page,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    for row in statement.query_map(params_from_iter(values), read)? {
        let row = row?;
        page.next = Some(Cursor::after(&row));
        page.rows.push(row);
    }
    Ok(())
}

/// How the database goes about a question, for tests.
#[cfg(test)]
fn plan(connection: &Connection, filter: &EventFilter, known: &Known, driver: &Driver) -> String {
    let window = Window {
        after: Cursor::NEWEST,
        floor_ms: Some(1),
    };
    let dialect = connection.dialect();
    let of = (filter, known);
    let Statement { sql, values } = Statement::new(dialect, of, driver, (window, 100));
    let (explain, column) = match dialect {
        Dialect::Sqlite => ("EXPLAIN QUERY PLAN", 3),
        Dialect::Postgres => ("EXPLAIN (COSTS OFF)", 0),
    };
    let mut statement = connection.prepare(&format!("{explain} {sql}")).unwrap();
    let values = params_from_iter(values);
    let lines = statement.query_map(values, |row| row.get::<_, String>(column));
    let lines: Vec<String> = lines.unwrap().map(Result::unwrap).collect();
    lines.join("\n")
}

/// What of a question must be looked up first; `None` when nothing can match.
fn known(connection: &Connection, filter: &EventFilter) -> Result<Option<Known>, StoreError> {
    let mut known = Known::default();
    for name in &filter.hosts {
        known.hosts.extend(host_id(connection, name)?);
    }
    if known.hosts.is_empty() && !filter.hosts.is_empty() {
        return Ok(None);
    }
    let mut former = Vec::new();
    for name in &filter.hosts {
        former.extend(former_ids(connection, name)?);
    }
    if !former.is_empty() {
        known.asked.clone_from(&known.hosts);
        known.hosts.extend(former);
        known.hosts.sort_unstable();
        known.hosts.dedup();
    }
    if let Some(text) = &filter.reason {
        let found = reasons::beginning_with(connection, text, REASONS_MAX + 1)?;
        if found.is_empty() {
            return Ok(None);
        }
        known.reasons = (found.len() <= REASONS_MAX).then_some(found);
    }
    if filter.address.is_some() || filter.port.is_some() {
        known.has_blocks = connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM event_blocks)")?
            .query_row([], |row| row.get(0))?;
    }
    if let Some(network) = filter.address {
        known.addresses = Addresses::few(connection, network)?;
        let is_named = known.addresses != Some(Addresses::default());
        if !is_named && !known.has_blocks {
            return Ok(None);
        }
    }
    Ok(Some(known))
}

fn host_id(connection: &Connection, name: &str) -> Result<Option<i64>, StoreError> {
    let id = connection
        .prepare_cached("SELECT id FROM event_hosts WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    Ok(id)
}

/// Names under which events of the host of this name were stored before it was renamed.
fn former_ids(connection: &Connection, name: &str) -> Result<Vec<i64>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT DISTINCT h.id FROM members m JOIN member_keys k ON k.member = m.id
         JOIN former_names f ON f.key = k.id AND f.role = 'host'
         JOIN event_hosts h ON h.name = f.name
         WHERE m.role = 'host' AND m.name = ?1",
    )?;
    let ids = statement.query_map([name], |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

fn read(row: &Row<'_>) -> Result<LogRow, Error> {
    let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
    Ok(LogRow {
        id: number(0)?,
        host: row.get(1)?,
        epoch: row.get(2)?,
        at_ms: number(4)?,
        event: EventRecord {
            seq: number(3)?,
            body: row.get(5)?,
            chain: row.get(6)?,
            chain_version: row.get(7)?,
        },
        stored_at_ms: number(8)?,
        flaw: row.get::<_, Option<String>>(9)?.unwrap_or_default(),
        called_now: row.get(10)?,
    })
}

#[cfg(test)]
mod tests;
