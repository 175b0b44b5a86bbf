//! Which index drives a question: the one with the fewest rows where the answer is looked for.
//!
//! That is counted, not guessed: a count stops after [`COUNTED_MAX`] rows, and of indexes that have
//! more, the one whose rows reach back furthest is the rarest. So far back the choice holds for all pages of
//! an answer; then it is counted again.

use super::arm::{Arm, each_address};
use super::conditions::Window;
use super::driver::Driver;
use super::known::Known;
use super::newest::newest_of_each;
use crate::store::error::StoreError;
use crate::store::model::{Chosen, Cursor, EventFilter};
use crate::store::sql::{Connection, Dialect, params_from_iter};

/// Rows of one index that are counted at most.
const COUNTED_MAX: usize = 16_384;
/// And of one that is not in the order of time, of all its columns: the newest of so many are found in the
/// index alone in less time than a few thousand events are read in.
const COUNTED_BY_ADDRESS_MAX: usize = 131_072;
/// And of few addresses, of which each is looked up: of them less, so that others have what is as rare.
const COUNTED_BY_FEW_MAX: usize = 4_096;
/// With so few of another they are not looked up at all.
const FEW_BESIDE: usize = 2_048;
/// And of any where many events have what is asked for: no more is looked at before it is seen whether they still do.
const COUNTED_OF_MANY: usize = 1_024;
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

/// Which rows of an index are counted, and how many at most.
#[derive(Clone, Copy, Debug)]
enum Most {
    /// Of all arms together.
    Newest(usize),
    /// Of all arms together, as they stand.
    OfAnyTime(usize),
}

/// Chooses which of these drives the search for what follows `after`. Of what many events have a page is found by
/// time before a prefix is counted, so that is not even tried.
pub(super) fn choose(
    connection: &Connection,
    filter: &EventFilter,
    known: &Known,
    (candidates, after): (&[Driver], Cursor),
    is_of_many: bool,
) -> Result<Chosen, StoreError> {
    if candidates.len() == 1 {
        return Ok(Chosen::default());
    }
    let mut best: Option<(Depth, usize)> = None;
    let by_time_alone = is_of_many && candidates.iter().any(Driver::is_of_addresses);
    for (number, driver) in candidates.iter().enumerate() {
        if by_time_alone && driver.is_of_addresses() {
            continue;
        }
        let are_few = |(least, _): &(Depth, usize)| least.is_all() && least.rows <= FEW_BESIDE;
        if driver.is_of_few_addresses() && best.as_ref().is_some_and(are_few) {
            continue;
        }
        let most = if driver.is_of_few_addresses() {
            Most::Newest(COUNTED_BY_FEW_MAX)
        } else if driver.is_of_addresses() {
            Most::OfAnyTime(COUNTED_BY_ADDRESS_MAX)
        } else if by_time_alone {
            Most::Newest(COUNTED_OF_MANY)
        } else {
            Most::Newest(COUNTED_MAX)
        };
        let depth = depth(connection, filter, known, driver, (after, most))?;
        if best
            .as_ref()
            .is_none_or(|(least, _)| depth.rank() < least.rank())
        {
            best = Some((depth, number));
        }
        if depth.is_all() && depth.rows <= FEW {
            break;
        }
    }
    let (depth, driver) = best.unwrap_or_default();
    Ok(Chosen {
        driver,
        until_ms: depth.floor_ms,
    })
}

/// How far back about `rows` rows of a driver reach; of ids, all.
pub(super) fn window(
    connection: &Connection,
    filter: &EventFilter,
    known: &Known,
    driver: &Driver,
    (after, rows): (Cursor, usize),
) -> Result<Depth, StoreError> {
    if !driver.is_in_time_order() && !driver.is_of_addresses() {
        return Ok(Depth::default());
    }
    let most = Most::Newest(rows);
    depth(connection, filter, known, driver, (after, most))
}

fn depth(
    connection: &Connection,
    filter: &EventFilter,
    known: &Known,
    driver: &Driver,
    (after, most): (Cursor, Most),
) -> Result<Depth, StoreError> {
    let window = Window {
        after,
        floor_ms: None,
    };
    if let (Driver::Addresses(network), Some(addresses), Most::Newest(rows)) =
        (driver, &known.addresses, most)
    {
        let arms = each_address(*network, addresses);
        let of = ((filter, window), rows);
        let (rows, floor_ms) = newest_of_each(connection, &arms, driver.time(), of)?;
        return Ok(Depth {
            rows,
            floor_ms,
            is_beyond: false,
        });
    }
    let arms = driver.arms(filter, known);
    let counted = arms.iter().filter(|arm| arm.has_index).count();
    let mut depth = Depth::default();
    for arm in arms {
        let most = match most {
            Most::Newest(rows) => Most::Newest((rows / counted.max(1)).max(EACH_MIN)),
            Most::OfAnyTime(rows) => Most::OfAnyTime(rows.saturating_sub(depth.rows)),
        };
        let of_arm = count(connection, &arm, driver.time(), (filter, window), most)?;
        depth.rows += of_arm.rows;
        depth.floor_ms = depth.floor_ms.max(of_arm.floor_ms);
        depth.is_beyond |= of_arm.is_beyond;
        if depth.is_beyond {
            break;
        }
    }
    Ok(depth)
}

/// Counts in the index alone; what has none is of few events.
fn count(
    connection: &Connection,
    arm: &Arm,
    time: [&'static str; 2],
    of: (&EventFilter, Window),
    most: Most,
) -> Result<Depth, StoreError> {
    if !arm.has_index {
        return Ok(Depth::default());
    }
    let dialect = connection.dialect();
    let keyed = arm.keyed(dialect, time, of);
    let values = keyed.values.clone();
    let (rows_of, most_rows) = match (most, arm.range) {
        // Over PostgreSQL their order says which index is meant; SQLite would sort by it.
        (Most::OfAnyTime(rows), Some(column)) => {
            let order = match dialect {
                Dialect::Sqlite => String::new(),
                Dialect::Postgres => format!("ORDER BY {column} DESC"),
            };
            (format!("{} WHERE {} {order}", arm.from, keyed.sql), rows)
        }
        (Most::Newest(rows) | Most::OfAnyTime(rows), range) => {
            let (from, keyed) = match range {
                Some(_) => arm.rows(dialect, time, keyed),
                None => (arm.from.clone(), keyed),
            };
            let order = arm.order(dialect, time);
            (format!("{from} WHERE {} ORDER BY {order}", keyed.sql), rows)
        }
    };
    let [at_ms, _] = time;
    let sql = format!(
        "SELECT count(*), min(t) FROM (SELECT {at_ms} AS t FROM {rows_of} LIMIT {most_rows}) AS counted"
    );
    let (rows, oldest): (usize, Option<i64>) = connection
        .prepare_cached(&sql)?
        .query_row(params_from_iter(values), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    Ok(match most {
        Most::Newest(most) => Depth {
            rows,
            floor_ms: oldest.filter(|_| rows >= most).map(i64::cast_unsigned),
            is_beyond: false,
        },
        Most::OfAnyTime(most) => Depth {
            rows,
            floor_ms: None,
            is_beyond: rows >= most,
        },
    })
}

// === impl Depth ===

impl Depth {
    /// Whether there are no more.
    fn is_all(&self) -> bool {
        self.floor_ms.is_none() && !self.is_beyond
    }

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

#[cfg(test)]
mod tests {
    use fleet::EventKind;
    use fleet::event::{Event, EventRecord};

    use super::super::super::{events, meta, migrations};
    use super::super::addresses::Addresses;
    use super::*;
    use crate::store::model::Onward;

    /// Four hundred events of one network, and who asks for that.
    fn of_one_network() -> (rusqlite::Connection, EventFilter) {
        let mut connection = rusqlite::Connection::open_in_memory().unwrap();
        migrations::apply(&mut connection).unwrap();
        meta::create(&connection, "e", 0).unwrap();
        for number in 1..=400_u64 {
            let mut event = Event::new(EventKind::Refused, number);
            let [third, fourth] = [number * 7 % 5, number * 11 % 250];
            event.source = format!("10.3.{third}.{fourth}");
            let record = EventRecord::after(0, &[0; 32], event);
            let journal = format!("{number:032x}");
            events::append(&connection, ("web-1", &journal), None, &[record], 5).unwrap();
        }
        let filter = EventFilter {
            address: "10.3.0.0/16".parse().ok(),
            ..EventFilter::default()
        };
        (connection, filter)
    }

    #[test]
    fn a_prefix_is_counted_only_where_the_events_looked_at_have_hardly_any_of_it() {
        let (connection, filter) = of_one_network();
        let known = Known::default();
        let candidates = Driver::candidates(&filter, &known);
        let chosen = |(found, looked_at)| {
            let Onward { after, mut course } = Cursor::NEWEST.into();
            (course.found, course.looked_at) = (found, looked_at);
            let (of, is_of_many) = ((candidates.as_slice(), after), course.is_of_many());
            let chosen = choose(&connection, &filter, &known, of, is_of_many).unwrap();
            candidates[chosen.driver].is_of_addresses()
        };

        assert_eq!([(0, 0), (10, 600), (16, 1_024)].map(chosen), [false; 3]);
        assert_eq!([(0, 256), (9, 600), (15, 1_024)].map(chosen), [true; 3]);
    }

    #[test]
    fn few_addresses_drive_where_nothing_else_has_hardly_any_events_and_reach_back_further() {
        let (connection, mut filter) = of_one_network();
        filter.address = "10.3.2.0/24".parse().ok();
        let known = Known {
            addresses: Addresses::few(&connection, "10.3.2.0/24".parse().unwrap()).unwrap(),
            hosts: vec![1],
            ..Known::default()
        };
        let chosen = |filter: &EventFilter, known: &Known| {
            let candidates = Driver::candidates(filter, known);
            let of = (candidates.as_slice(), Cursor::NEWEST);
            let chosen = choose(&connection, filter, known, of, false).unwrap();
            candidates[chosen.driver].clone()
        };
        assert_eq!(chosen(&filter, &known), Driver::Host);
        let known = Known {
            hosts: Vec::new(),
            ..known
        };
        assert!(chosen(&filter, &known).is_of_few_addresses());
        filter.kinds = vec![EventKind::Refused.into()];
        assert_eq!(chosen(&filter, &known), Driver::Kind);
    }

    #[test]
    fn of_few_addresses_as_many_are_read_as_are_wanted_however_they_are_shared_out() {
        let (connection, filter) = of_one_network();
        // Each fifth of the four hundred is of one of fifty addresses there.
        let mut all: Vec<u64> = (1..=400).filter(|number| number % 5 == 1).collect();
        let mut store = |at_ms| {
            let mut event = Event::new(EventKind::Refused, at_ms);
            event.source = "10.3.2.11".to_owned();
            let record = EventRecord::after(0, &[0; 32], event);
            let journal = format!("{:032x}", 1_000 + at_ms);
            events::append(&connection, ("web-1", &journal), None, &[record], 5).unwrap();
            all.push(at_ms);
        };
        (302..400).step_by(2).for_each(&mut store);
        all.sort_unstable_by(|one, other| other.cmp(one));
        let network = "10.3.2.0/24".parse().unwrap();
        let known = Known {
            addresses: Addresses::few(&connection, network).unwrap(),
            ..Known::default()
        };
        let driver = Driver::Addresses(network);

        for rows in [1, 7, 8, 9, 50, 100, 128, 129, 130, 1_000] {
            let depth = depth_of(&connection, &filter, &known, &driver, rows);
            let wanted = all.get(rows - 1).copied();
            let are_in = all
                .iter()
                .filter(|at_ms| wanted.is_none_or(|last| **at_ms >= last));
            assert_eq!(
                (depth.rows, depth.floor_ms),
                (are_in.count(), wanted),
                "{rows}"
            );
        }
    }

    fn depth_of(
        connection: &Connection,
        filter: &EventFilter,
        known: &Known,
        driver: &Driver,
        rows: usize,
    ) -> Depth {
        window(connection, filter, known, driver, (Cursor::NEWEST, rows)).unwrap()
    }

    #[test]
    fn of_a_prefix_only_the_newest_are_read_however_its_addresses_stand() {
        let (connection, filter) = of_one_network();
        let known = Known::default();
        let driver = Driver::candidates(&filter, &known).swap_remove(0);
        assert!(driver.is_of_addresses());
        let depth = |after| window(&connection, &filter, &known, &driver, (after, 100)).unwrap();

        let first = depth(Cursor::NEWEST);
        let last = depth(Cursor::before(51));

        // A share of the hundred: networks around the prefix have theirs.
        assert_eq!((first.rows, first.floor_ms), (EACH_MIN, Some(337)));
        assert_eq!((last.rows, last.floor_ms), (50, None));
    }
}
