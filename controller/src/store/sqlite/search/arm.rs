//! The SELECTs of a question over one index each, and what they ask of it.

use std::iter;

use ipnet::IpNet;

use super::super::columns::{blocks_of_port, port_key};
use super::super::words::{Id, Word};
use super::addresses::{Addresses, COLUMNS, index_of};
use super::conditions::{Conditions, Window, compact, within};
use crate::store::model::{EventFilter, Port};
use crate::store::sql::{Dialect, Value};

/// One SELECT: a table with its index, and what must hold besides what must hold in all.
#[derive(Clone, Default)]
pub(super) struct Arm {
    /// What drives, and which of its columns is the event's id; `None` where it is the event itself.
    pub(super) from: String,
    event: Option<&'static str>,
    /// What its index begins with, and what that is to be; the columns of time and place follow there.
    pub(super) keys: Vec<(&'static str, Value)>,
    pub(super) own: Conditions,
    /// What the event itself is asked besides, which no index can say.
    pub(super) sifted: Conditions,
    /// What its index begins with, where a range of that is asked for: not in the order of time.
    pub(super) range: Option<&'static str>,
    /// `own` and the time can be asked of its index alone; what has none is of few events.
    pub(super) has_index: bool,
}

// === impl Arm ===

impl Arm {
    pub(super) fn of_events(
        index: &str,
        keys: Vec<(&'static str, Value)>,
        own: Conditions,
    ) -> Self {
        Self {
            from: format!("events e INDEXED BY {index}"),
            has_index: true,
            keys,
            own,
            ..Self::default()
        }
    }

    /// What it reads, with what must hold there, and each event with it.
    pub(super) fn from(
        &self,
        dialect: Dialect,
        time: [&str; 2],
        keyed: Conditions,
    ) -> (String, Conditions) {
        let (from, keyed) = self.rows(dialect, time, keyed);
        let joined = match (self.event, dialect) {
            (None, _) => from,
            (Some(event), Dialect::Sqlite) => {
                format!("{from} CROSS JOIN events e ON e.id = {event}")
            }
            // By itself, or it would be looked for among all that have what else is asked for.
            (Some(event), Dialect::Postgres) => format!(
                "{from} CROSS JOIN LATERAL (SELECT * FROM events o WHERE o.id = {event} OFFSET 0) e \
                 ON TRUE"
            ),
        };
        (joined, keyed)
    }

    /// The same without the events. PostgreSQL takes no index by its name: what one is to give is read by itself,
    /// with nothing that another could, and a range in the order of its index.
    pub(super) fn rows(
        &self,
        dialect: Dialect,
        [at_ms, id]: [&str; 2],
        mut keyed: Conditions,
    ) -> (String, Conditions) {
        if !self.is_by_itself(dialect) {
            return (self.from.clone(), keyed);
        }
        let range = self.range.map(|column| format!("{column} DESC, "));
        let range = range.unwrap_or_default();
        let alias = at_ms.split('.').next().unwrap_or_default();
        let from = format!(
            "(SELECT * FROM {} WHERE {} ORDER BY {range}{at_ms} DESC, {id} DESC OFFSET 0) {alias}",
            self.from, keyed.sql
        );
        "TRUE".clone_into(&mut keyed.sql);
        (from, keyed)
    }

    /// What its index is asked for in a part of the log, before all else.
    pub(super) fn keyed(
        &self,
        dialect: Dialect,
        time: [&str; 2],
        (filter, window): (&EventFilter, Window),
    ) -> Conditions {
        let mut all = self.own.clone();
        if self.is_by_itself(dialect) && self.range.is_none() {
            all.add_keyed(&self.keys, time, (filter, window));
            return all;
        }
        for (column, value) in &self.keys {
            all.add(&format!("{column} = ?"), [value.clone()]);
        }
        all.add_time(time, filter, window);
        all
    }

    /// The order of its index, newest first.
    pub(super) fn order(&self, dialect: Dialect, [at_ms, id]: [&str; 2]) -> String {
        let is_in_order = self.range.is_none() && self.has_index;
        if dialect == Dialect::Postgres && !is_in_order {
            // No index has this order, or the one of time would be read from end to end.
            return format!("{at_ms} + 0 DESC, {id} + 0 DESC");
        }
        format!("{at_ms} DESC, {id} DESC")
    }

    fn is_by_itself(&self, dialect: Dialect) -> bool {
        let has_keys = !self.keys.is_empty() || self.range.is_some();
        dialect == Dialect::Postgres && self.has_index && has_keys
    }
}

pub(super) fn by_column(index: &str, column: &'static str, value: impl Into<Value>) -> Arm {
    // The index of users leaves out who is none.
    let own = Conditions {
        sql: format!("{column} IS NOT NULL"),
        values: Vec::new(),
    };
    Arm::of_events(index, vec![(column, value.into())], own)
}

/// Where ids are looked up: in each part of the log.
const IDS: &str = "part CROSS JOIN event_ids i ON i.part = part.n";

pub(super) fn by_id(column: &str, what: Id, id: &str) -> Vec<Arm> {
    let mut own = Conditions::of_id(what, compact(id));
    own.add(&format!("e.{column} = ?"), [compact(id)]);
    vec![Arm {
        from: IDS.to_owned(),
        event: Some("i.event"),
        own,
        ..Arm::default()
    }]
}

/// What says so itself, and what came of the message whose digest begins so.
pub(super) fn by_request(request: &str) -> Vec<Arm> {
    let of_message = Conditions::of_id(Id::Digest, compact(request));
    vec![
        Arm {
            has_index: false,
            ..by_word(Word::Request, compact(request))
        },
        Arm {
            from: IDS.to_owned(),
            event: Some("i.event"),
            own: of_message.and(&Conditions::of_digest(request)),
            ..Arm::default()
        },
    ]
}

pub(super) fn by_word(what: Word, value: Value) -> Arm {
    Arm {
        from: "event_words w".to_owned(),
        event: Some("w.event"),
        keys: vec![("w.what", Value::Integer(what as i64)), ("w.value", value)],
        has_index: true,
        ..Arm::default()
    }
}

/// Of one host, in the table's own order, or of all.
pub(super) fn at_port(host: Option<i64>, filter: &EventFilter, has_blocks: bool) -> Vec<Arm> {
    let port = filter.port.map(port_key);
    let index = match host {
        Some(_) => "",
        None => "INDEXED BY event_ports_by_port",
    };
    let host = host.map(|host| ("p.host", Value::Integer(host)));
    let one = Arm {
        from: format!("event_ports p {index}"),
        event: Some("p.event"),
        keys: host
            .iter()
            .cloned()
            .chain(port.map(|port| ("p.port", Value::Integer(port))))
            .collect(),
        has_index: true,
        ..Arm::default()
    };
    let long = filter.port.filter(|_| has_blocks).and_then(in_range);
    let long = long.map(|mut long| {
        long.keys.extend(host);
        long
    });
    iter::once(one).chain(long).collect()
}

/// Two arms, one for each column of addresses; the second leaves out what the first has.
pub(super) fn at_address(network: IpNet) -> Vec<Arm> {
    let (compare, bounds) = within(network);
    let arms = by_address(network).into_iter().map(|mut arm| {
        let column = arm.range.take().unwrap_or_default();
        match bounds.as_slice() {
            [one] => arm.keys.push((column, one.clone())),
            _ => {
                arm.own.add(&format!("{column} {compare}"), bounds.clone());
                arm.range = Some(column);
            }
        }
        arm
    });
    arms.collect()
}

/// The same of the few addresses of a prefix that the log names.
pub(super) fn at_addresses(network: IpNet, addresses: Option<&Addresses>) -> Vec<Arm> {
    let arms = by_address(network).into_iter().zip(named(addresses));
    let arms = arms.filter(|(_, named)| !named.is_empty());
    let arms = arms.map(|(mut arm, named)| {
        let column = arm.range.unwrap_or_default();
        arm.own.add_one_of(column, named.to_vec());
        arm
    });
    arms.collect()
}

/// An arm for each of them, in the order of time.
pub(super) fn each_address(network: IpNet, addresses: &Addresses) -> Vec<Arm> {
    let arms = by_address(network).into_iter().zip(named(Some(addresses)));
    let arms = arms.flat_map(|(mut arm, named)| {
        let column = arm.range.take().unwrap_or_default();
        named.iter().map(move |address| {
            let mut arm = arm.clone();
            arm.keys.push((column, address.clone().into()));
            arm
        })
    });
    arms.collect()
}

/// What is named of each column that [`by_address`] has.
fn named(addresses: Option<&Addresses>) -> [&[Vec<u8>]; 2] {
    addresses.map_or([&[], &[]], |Addresses { sources, opened }| {
        [sources, opened]
    })
}

/// The arms of the two columns of addresses, whose `range` is still to be narrowed.
fn by_address(network: IpNet) -> [Arm; 2] {
    let (compare, bounds) = within(network);
    let none = Vec::<Value>::new;
    // Two different addresses may lie in one prefix.
    let of_none = format!("(e.source IS NULL OR NOT e.source {compare})");
    let arm = |(column, own), sifted| Arm {
        range: Some(column),
        sifted,
        ..Arm::of_events(&index_of(column), Vec::new(), Conditions::new(own, none()))
    };
    let [of_source, of_opened] = COLUMNS;
    [
        arm(of_source, Conditions::default()),
        arm(of_opened, Conditions::new(&of_none, bounds)),
    ]
}

/// The arm of events that opened a network around the address, or in the prefix, that is asked for;
/// without what the columns of addresses have.
pub(super) fn in_network(network: IpNet) -> Arm {
    let (compare, bounds) = within(network);
    let blocks = Conditions::at_network(network);
    let mut own = Conditions {
        sql: format!(
            "(e.source IS NULL OR NOT e.source {compare}) AND (e.opened IS NULL OR NOT e.opened \
             {compare})"
        ),
        values: blocks.values,
    };
    own.values.extend([bounds.clone(), bounds].concat());
    Arm {
        from: format!(
            "(SELECT DISTINCT b.event FROM event_blocks b WHERE {}) w",
            blocks.sql
        ),
        event: Some("w.event"),
        own,
        ..Arm::default()
    }
}

/// The arm of events that name a long range with this port.
fn in_range(port: Port) -> Option<Arm> {
    let blocks = Conditions::in_blocks(blocks_of_port(port));
    let from = format!(
        "(SELECT DISTINCT b.event AS event, b.at_ms AS at_ms, x.host AS host, x.kind AS kind FROM \
         event_blocks b CROSS JOIN events x ON x.id = b.event WHERE {}) p",
        blocks.sql
    );
    let own = Conditions {
        sql: "TRUE".to_owned(),
        values: blocks.values,
    };
    (!own.values.is_empty()).then_some(Arm {
        from,
        event: Some("p.event"),
        own,
        ..Arm::default()
    })
}
