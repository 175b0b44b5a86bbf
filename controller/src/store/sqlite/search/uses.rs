//! Who used what: grants that were opened, counted, as much of the log in one turn as it has time for.

use fleet::EventKind;

use super::arm::Arm;
use super::choice;
use super::conditions::Window;
use super::driver::Driver;
use super::host_id;
use super::known::Known;
use super::pace::{EFFORT, Turn};
use crate::store::error::StoreError;
use crate::store::model::{
    Counted, Cursor, EventFilter, Onward, Use, UsedOn, UsesAsked, UsesCounted,
};
use crate::store::sql::{Connection, Dialect, Error, Row, Value, is_cut, params_from_iter};
use crate::store::sqlite::cost;

/// More are sifted.
const HOSTS_MAX: usize = 200;

/// What is counted, and the one index that gives it.
struct Question {
    filter: EventFilter,
    known: Known,
    driver: Driver,
}

/// See `Store::uses`.
pub(in crate::store) fn count(
    connection: &Connection,
    asked: &UsesAsked,
    from: Onward,
) -> Result<UsesCounted, StoreError> {
    let turn = Turn {
        effort: EFFORT,
        taken: &cost::watch(),
    };
    count_with(connection, asked, from, &turn)
}

fn count_with(
    connection: &Connection,
    asked: &UsesAsked,
    from: Onward,
    turn: &Turn<'_>,
) -> Result<UsesCounted, StoreError> {
    let mut counted = UsesCounted {
        onward: Some(from),
        ..UsesCounted::default()
    };
    match windows(connection, asked, turn, &mut counted) {
        Err(error) if is_cut(&error) => counted.cut = true,
        result => result?,
    }
    if let Some(onward) = &mut counted.onward {
        onward.course.served += (turn.taken)();
    }
    Ok(counted)
}

/// Counts window after window, until the turn is over or all is counted.
fn windows(
    connection: &Connection,
    asked: &UsesAsked,
    turn: &Turn<'_>,
    counted: &mut UsesCounted,
) -> Result<(), StoreError> {
    let Some(question) = Question::new(connection, asked)? else {
        counted.onward = None;
        return Ok(());
    };
    let Question {
        filter,
        known,
        driver,
    } = &question;
    let mut pace = turn.pace(counted.onward.and_then(|onward| onward.course.rows));
    while let Some(onward) = &mut counted.onward {
        pace.begin((turn.taken)());
        let from = (onward.after, pace.rows());
        let depth = choice::window(connection, filter, known, driver, from)?;
        let window = Window {
            after: onward.after,
            floor_ms: depth.floor_ms,
        };
        for arm in driver.arms(filter, known) {
            add(connection, &question, (&arm, window), &mut counted.uses)?;
        }
        let goes_on = pace.end(depth.rows, (turn.taken)());
        onward.course.rows = Some(pace.next_turn());
        match depth.floor_ms.map(Cursor::before) {
            Some(after) => onward.after = after,
            None => counted.onward = None,
        }
        if !goes_on {
            break;
        }
    }
    Ok(())
}

/// Adds what one index has in a part of the log.
fn add(
    connection: &Connection,
    question: &Question,
    of: (&Arm, Window),
    counted: &mut Counted,
) -> Result<(), StoreError> {
    let (sql, values) = question.statement(connection.dialect(), of);
    let mut statement = connection.prepare_cached(&sql)?;
    for used in statement.query_map(params_from_iter(values), read)? {
        counted.add(used?);
    }
    Ok(())
}

fn read(row: &Row<'_>) -> Result<Use, Error> {
    let text = |column| {
        row.get::<_, Option<String>>(column)
            .map(Option::unwrap_or_default)
    };
    Ok(Use {
        user: text(0)?,
        key: text(1)?,
        host: UsedOn {
            member: row.get::<_, Option<i64>>(6)?.map(i64::cast_unsigned),
            called_now: row.get(2)?,
        },
        stanza: text(3)?,
        count: row.get::<_, i64>(4)?.cast_unsigned(),
        last_ms: row.get::<_, i64>(5)?.cast_unsigned(),
    })
}

// === impl Question ===

impl Question {
    /// `None` where nothing can match.
    fn new(connection: &Connection, asked: &UsesAsked) -> Result<Option<Self>, StoreError> {
        let mut hosts = Vec::new();
        for name in &asked.hosts {
            hosts.extend(host_id(connection, name)?);
        }
        let is_of_nothing = hosts.is_empty() && !asked.hosts.is_empty();
        Ok((!is_of_nothing).then(|| Self::of(asked, hosts)))
    }

    fn of(asked: &UsesAsked, hosts: Vec<i64>) -> Self {
        let user = (!asked.user.is_empty()).then(|| asked.user.clone());
        let driver = match (&user, hosts.len()) {
            (Some(_), _) => Driver::User,
            (None, 1..=HOSTS_MAX) => Driver::Host,
            (None, _) => Driver::Kind,
        };
        let filter = EventFilter {
            users: user.into_iter().collect(),
            kinds: vec![EventKind::GrantOpened.into()],
            since_ms: Some(asked.since_ms),
            until_ms: Some(asked.until_ms.saturating_add(1)),
            ..EventFilter::default()
        };
        let known = Known {
            hosts,
            ..Known::default()
        };
        Self {
            filter,
            known,
            driver,
        }
    }

    /// What counts, with the values of its parameters.
    fn statement(&self, dialect: Dialect, (arm, window): (&Arm, Window)) -> (String, Vec<Value>) {
        let time = self.driver.time();
        let keyed = arm.keyed(dialect, time, (&self.filter, window));
        let (from, mut all) = arm.rows(dialect, time, keyed);
        let kind = i64::from(i32::from(EventKind::GrantOpened));
        all.add("e.kind = ?", [kind]);
        if self.driver != Driver::Host {
            all.add_one_of("e.host", self.known.hosts.clone());
        }
        let sql = format!(
            "SELECT e.user, e.key, h.name, e.stanza, count(*), max(e.at_ms), j.member
             FROM {from} CROSS JOIN journals j ON j.id = e.journal
             CROSS JOIN event_hosts h ON h.id = j.host WHERE {}
             GROUP BY e.user, e.key, j.member, j.host, h.name, e.stanza",
            all.sql
        );
        (sql, all.values)
    }
}

#[cfg(test)]
mod tests;
