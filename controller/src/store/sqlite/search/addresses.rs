//! The addresses of a prefix that the log names, where they are few: each of them has its events in order.

use ipnet::IpNet;

use super::super::columns::address_range;
use crate::store::error::StoreError;
use crate::store::sql::{Connection, params};

/// All addresses of an IPv4 network of 24 bits. Of more the newest are not found one by one.
const FEW: usize = 256;

/// The columns of addresses, and what the index of each has of the log: no event twice that opened for its source.
pub(super) const COLUMNS: [(&str, &str); 2] = [
    ("e.source", "e.source IS NOT NULL"),
    (
        "e.opened",
        "e.opened IS NOT NULL AND e.opened IS DISTINCT FROM e.source",
    ),
];

/// What the columns of addresses name of one prefix, in order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Addresses {
    pub(super) sources: Vec<Vec<u8>>,
    /// Opened by whoever else asked for it.
    pub(super) opened: Vec<Vec<u8>>,
}

// === impl Addresses ===

impl Addresses {
    /// `None` where they are many, and for a single address, which needs no list.
    pub(super) fn few(connection: &Connection, network: IpNet) -> Result<Option<Self>, StoreError> {
        let (low, high) = address_range(network);
        if low == high {
            return Ok(None);
        }
        let [of_source, of_opened] = COLUMNS;
        let sources = named(connection, of_source, (&low, &high))?;
        let opened = match &sources {
            Some(_) => named(connection, of_opened, (&low, &high))?,
            None => None,
        };
        Ok(sources
            .zip(opened)
            .map(|(sources, opened)| Self { sources, opened }))
    }
}

/// The index of one of [`COLUMNS`].
pub(super) fn index_of(column: &str) -> String {
    column.replace("e.", "events_by_")
}

/// The values of a column between two, of its index, which is asked once for each: `own` is what that has of the log.
/// `None` where there are many.
fn named(
    connection: &Connection,
    (column, own): (&str, &str),
    (low, high): (&[u8], &[u8]),
) -> Result<Option<Vec<Vec<u8>>>, StoreError> {
    let next = |after: &str| {
        format!(
            "SELECT {column} FROM events e INDEXED BY {} WHERE {own} AND {column} {after} \
             ORDER BY {column}, e.at_ms, e.id LIMIT 1",
            index_of(column)
        )
    };
    let sql = format!(
        "WITH RECURSIVE named(address) AS (SELECT ({}) UNION ALL SELECT ({}) FROM named WHERE address < ?2) \
         SELECT address FROM named WHERE address <= ?2 LIMIT {}",
        next(">= ?1"),
        next("> named.address"),
        FEW + 1
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_map(params![low, high], |row| row.get::<_, Vec<u8>>(0))?;
    let found: Vec<_> = found.collect::<Result<_, _>>()?;
    Ok((found.len() <= FEW).then_some(found))
}

#[cfg(test)]
mod tests {
    use fleet::EventKind;
    use fleet::event::{Event, EventRecord};

    use super::super::super::{events, meta, migrations};
    use super::super::page;
    use super::*;
    use crate::store::model::{Cursor, EventFilter, Onward};

    fn database() -> rusqlite::Connection {
        let mut connection = rusqlite::Connection::open_in_memory().unwrap();
        migrations::apply(&mut connection).unwrap();
        meta::create(&connection, "e", 0).unwrap();
        connection
    }

    /// Stores an event of each source, and of what it has opened, one second after the other.
    fn store(connection: &Connection, of: impl Iterator<Item = (String, String)>) {
        for (number, (source, opened)) in (1_u64..).zip(of) {
            let mut event = Event::new(EventKind::GrantOpened, number * 1_000);
            (event.source, event.opened) = (source, opened);
            let record = EventRecord::after(0, &[0; 32], event);
            let journal = format!("{number:032x}");
            events::append(connection, ("web-1", &journal), None, &[record], 5).unwrap();
        }
    }

    #[test]
    fn what_is_named_of_a_prefix_is_found_to_its_ends_and_no_further_and_not_where_it_is_much() {
        let connection = database();
        let network = |text: &str| text.parse::<IpNet>().unwrap();
        let named = |text| Addresses::few(&connection, network(text)).unwrap();
        assert_eq!(named("10.0.0.0/8"), Some(Addresses::default()));
        let ends = [
            "9.255.255.255",
            "10.0.0.0",
            "10.7.7.7",
            "10.255.255.255",
            "11.0.0.0",
            "2001:db8::1",
        ];
        store(
            &connection,
            ends.map(|one| (one.to_owned(), "10.9.9.9".to_owned()))
                .into_iter(),
        );
        store(
            &connection,
            (0..300).map(|n| (format!("172.16.{}.{}", n / 256, n % 256), String::new())),
        );

        let bytes = |a, b, c, d| vec![4, a, b, c, d];
        let sources = vec![
            bytes(10, 0, 0, 0),
            bytes(10, 7, 7, 7),
            bytes(10, 255, 255, 255),
        ];
        let opened = vec![bytes(10, 9, 9, 9)];
        assert_eq!(named("10.0.0.0/8"), Some(Addresses { sources, opened }));
        assert_eq!(named("172.16.0.0/24").map(|of| of.sources.len()), Some(256));
        assert_eq!(named("172.16.0.0/23"), None);
        assert_eq!(named("10.7.7.7/32"), None);
    }

    #[test]
    fn a_network_of_few_addresses_is_answered_whole_newest_first_and_in_pages() {
        let connection = database();
        let office =
            (0..3_000).map(|n| (format!("192.0.2.{}", n % 50), format!("192.0.2.{}", n % 3)));
        let others = (0..9_000).map(|n| (format!("10.0.{}.{}", n % 250, n % 240), String::new()));
        store(&connection, office.chain(others));
        let filter = EventFilter {
            address: "192.0.2.0/24".parse().ok(),
            ..EventFilter::default()
        };

        let mut from = Onward::from(Cursor::NEWEST);
        let mut found: Vec<u64> = Vec::new();
        loop {
            let page = page(&connection, &filter, from, 700).unwrap();
            found.extend(page.rows.iter().map(|row| row.at_ms / 1_000));
            let Some(after) = page.next else {
                break;
            };
            (from.after, from.course) = (after, page.course);
        }
        assert_eq!(found, (1..=3_000).rev().collect::<Vec<_>>());
    }
}
