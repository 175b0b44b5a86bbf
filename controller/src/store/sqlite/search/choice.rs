//! Which index drives a question: the one with the fewest rows where the answer is looked for.
//!
//! That is counted, not guessed: a count stops after [`COUNTED_MAX`] rows, and of indexes that have
//! more, the one whose rows reach back furthest is the rarest. So far back the choice holds for all pages of
//! an answer; then it is counted again.

use super::conditions::{Conditions, Window};
use super::driver::Driver;
use super::known::Known;
use crate::store::error::StoreError;
use crate::store::model::{Chosen, Cursor, EventFilter};
use crate::store::sql::{Connection, Dialect, params_from_iter};

/// Rows of one index that are counted at most; as many are sorted where they are not in order.
const COUNTED_MAX: usize = 16_384;
/// With so few there is nothing to be won by counting others.
const FEW: usize = 256;
/// Of each value where several are asked for, however many there are.
const EACH_MIN: usize = 64;

/// How many rows of an index follow a place in the log.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Depth {
    pub(super) rows: usize,
    /// Up to here all were counted, and there are older ones, milliseconds since the Unix epoch; `None`
    /// when all were counted.
    pub(super) floor_ms: Option<u64>,
    /// There are more, and where is not known.
    is_beyond: bool,
}

/// Chooses which of these drives the search for what follows `after`.
pub(super) fn choose(
    connection: &Connection,
    filter: &EventFilter,
    known: &Known,
    (candidates, after): (&[Driver], Cursor),
) -> Result<Chosen, StoreError> {
    if candidates.len() == 1 {
        return Ok(Chosen::default());
    }
    let mut best: Option<(Depth, usize)> = None;
    for (number, driver) in candidates.iter().enumerate() {
        let depth = depth(connection, filter, known, driver, (after, COUNTED_MAX))?;
        if best
            .as_ref()
            .is_none_or(|(least, _)| depth.rank() < least.rank())
        {
            best = Some((depth, number));
        }
        if depth.floor_ms.is_none() && !depth.is_beyond && depth.rows <= FEW {
            break;
        }
    }
    let (depth, driver) = best.unwrap_or_default();
    Ok(Chosen {
        driver,
        until_ms: depth.floor_ms,
    })
}

/// How far back about `rows` rows of a driver reach; of one that is not in the order of time, all.
pub(super) fn window(
    connection: &Connection,
    filter: &EventFilter,
    known: &Known,
    driver: &Driver,
    from: (Cursor, usize),
) -> Result<Depth, StoreError> {
    if !driver.is_in_time_order() {
        return Ok(Depth::default());
    }
    depth(connection, filter, known, driver, from)
}

fn depth(
    connection: &Connection,
    filter: &EventFilter,
    known: &Known,
    driver: &Driver,
    (after, rows): (Cursor, usize),
) -> Result<Depth, StoreError> {
    let window = Window {
        after,
        floor_ms: None,
    };
    let arms = driver.arms(filter, known);
    let counted = arms.iter().filter(|arm| arm.index.is_some()).count();
    let each = (rows / counted.max(1)).max(EACH_MIN);
    let mut depth = Depth::default();
    let dialect = connection.dialect();
    for arm in arms {
        let Some(index) = &arm.index else { continue };
        let time = driver.time();
        let keyed = arm.keyed(dialect, time, (filter, window));
        let order = match arm.range {
            // None that is wanted; over PostgreSQL it says which index is.
            Some(_) if dialect == Dialect::Sqlite => String::new(),
            Some(column) => format!("ORDER BY {column} DESC"),
            None => format!("ORDER BY {}", arm.order(dialect, time)),
        };
        let in_time_order = driver.is_in_time_order();
        let of_arm = count(
            connection,
            (time, in_time_order),
            (index, &keyed, &order),
            each,
        )?;
        depth.rows += of_arm.rows;
        depth.floor_ms = depth.floor_ms.max(of_arm.floor_ms);
        depth.is_beyond |= of_arm.is_beyond;
    }
    Ok(depth)
}

/// `order` is that of the index.
fn count(
    connection: &Connection,
    ([at_ms, _], is_in_time_order): ([&str; 2], bool),
    (index, Conditions { sql, values }, order): (&str, &Conditions, &str),
    most: usize,
) -> Result<Depth, StoreError> {
    let sql = format!(
        "SELECT count(*), min(t) FROM (SELECT {at_ms} AS t FROM {index} WHERE {sql} {order} LIMIT \
         {most}) AS counted"
    );
    let (rows, oldest): (usize, Option<i64>) = connection
        .prepare_cached(&sql)?
        .query_row(params_from_iter(values), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let is_more = rows >= most;
    Ok(Depth {
        rows,
        floor_ms: oldest
            .filter(|_| is_more && is_in_time_order)
            .map(i64::cast_unsigned),
        is_beyond: is_more && !is_in_time_order,
    })
}

// === impl Depth ===

impl Depth {
    /// Less is better: all that were counted by their number, others by how far they reach, and last
    /// what is not even in order.
    fn rank(self) -> (u8, u64) {
        match self {
            Self {
                is_beyond: true, ..
            } => (2, 0),
            Self {
                floor_ms: Some(floor_ms),
                ..
            } => (1, floor_ms),
            Self { rows, .. } => (0, u64::try_from(rows).unwrap_or(u64::MAX)),
        }
    }
}
