//! The statement that answers a question: which index drives it, and what else must hold.

use std::iter;

use ipnet::IpNet;
use rusqlite::ToSql as _;
use rusqlite::types::{ToSqlOutput, Value};

use super::super::columns::{
    Compact, address_range, blocks_around, blocks_of_port, blocks_within, hex_key, port_key,
};
use super::super::number::signed;
use super::super::reasons;
use super::super::words::{self, Id, Word};
use crate::store::model::{Cursor, EventFilter, Port};

const JOIN: &str = "JOIN journals j ON j.id = e.journal JOIN event_hosts h ON h.id = e.host";
/// The parts of the log that digests and grants are indexed in, newest first.
const PARTS: &str = "WITH RECURSIVE part(n) AS (SELECT (SELECT max(id) FROM events) >> 16 \
     UNION ALL SELECT n - 1 FROM part WHERE n > 0) ";

/// What was looked up before.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// `event_hosts.id` of the host that is asked for.
    pub(super) host: Option<i64>,
    /// The reasons that begin as is asked for; `None` when they are too many.
    pub(super) reasons: Option<Vec<i64>>,
    /// Whether any event names networks or long ranges of ports.
    pub(super) has_blocks: bool,
}

/// SQL, and the values of its parameters in order.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
}

/// What narrows a question most.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Driver {
    Digest,
    Grant,
    Address(IpNet),
    /// The table of ports, in its own order.
    HostsPort,
    Port,
    User,
    Key,
    Stanza,
    Reasons(Vec<i64>),
    Host,
    Kind,
    Time,
}

/// Conditions, all of which must hold, and the values of their parameters.
#[derive(Clone, Debug, Default)]
struct Conditions {
    sql: String,
    values: Vec<Value>,
}

/// One SELECT: a table with its index, and what must hold besides what must hold in all.
struct Arm {
    from: String,
    own: Conditions,
}

// === impl Statement ===

impl Statement {
    pub(super) fn new(filter: &EventFilter, known: Known, after: Cursor, limit: usize) -> Self {
        let driver = Driver::of(filter, &known);
        let has_blocks = known.has_blocks;
        let common = common(filter, &known, &driver, after);
        let arms = driver.arms(filter, has_blocks);
        let [at_ms, id] = driver.time();
        let order = match arms.as_slice() {
            [_] => format!("{at_ms} DESC, {id}"),
            // Columns of the answer.
            _ => "5 DESC, 1".to_owned(),
        };
        let with = match driver {
            Driver::Digest | Driver::Grant => PARTS,
            Driver::Address(_)
            | Driver::HostsPort
            | Driver::Port
            | Driver::User
            | Driver::Key
            | Driver::Stanza
            | Driver::Reasons(_)
            | Driver::Host
            | Driver::Kind
            | Driver::Time => "",
        };
        let mut values = Vec::new();
        let mut selects = Vec::new();
        for Arm { from, own } in arms {
            let all = own.and(&common);
            selects.push(format!(
                "SELECT {id}, h.name, j.epoch, e.seq, {at_ms}, e.body, e.chain, e.chain_version, \
                 e.stored_at_ms, e.flaw FROM {from} CROSS {JOIN} WHERE {}",
                all.sql
            ));
            values.extend(all.values);
        }
        let selects = selects.join(" UNION ALL ");
        Self {
            sql: format!("{with}{selects} ORDER BY {order} DESC LIMIT {limit}"),
            values,
        }
    }
}

// === impl Driver ===

impl Driver {
    fn of(filter: &EventFilter, known: &Known) -> Self {
        let has_host = known.host.is_some();
        if filter.replay_digest.is_some() {
            Self::Digest
        } else if filter.grant_id.is_some() {
            Self::Grant
        } else if let Some(network) = filter.address {
            Self::Address(network)
        } else if filter.port.is_some() && has_host {
            Self::HostsPort
        } else if filter.port.is_some() && filter.user.is_none() {
            Self::Port
        } else if filter.user.is_some() {
            Self::User
        } else if filter.key.is_some() {
            Self::Key
        } else if filter.stanza.is_some() {
            Self::Stanza
        } else if let Some(reasons) = &known.reasons {
            Self::Reasons(reasons.clone())
        } else if has_host {
            Self::Host
        } else if filter.kind.is_some() {
            Self::Kind
        } else {
            Self::Time
        }
    }

    fn is_of_ports(&self) -> bool {
        matches!(self, Self::HostsPort | Self::Port)
    }

    /// The columns of time and place in the index.
    fn time(&self) -> [&'static str; 2] {
        match self {
            Self::HostsPort | Self::Port => ["p.at_ms", "p.event"],
            Self::Key | Self::Stanza | Self::Reasons(_) => ["w.at_ms", "w.event"],
            Self::Digest
            | Self::Grant
            | Self::Address(_)
            | Self::User
            | Self::Host
            | Self::Kind
            | Self::Time => ["e.at_ms", "e.id"],
        }
    }

    fn arms(&self, filter: &EventFilter, has_blocks: bool) -> Vec<Arm> {
        let by = |index: &str| format!("events e INDEXED BY {index}");
        let one = |index: &str, own| {
            vec![Arm {
                from: by(index),
                own,
            }]
        };
        let none = Conditions::default;
        let word = |text: &Option<String>| Value::Text(text.clone().unwrap_or_default());
        let id = |text: &Option<String>| compact(text.as_deref().unwrap_or_default());
        match self {
            Self::Digest => vec![by_id(
                "replay_digest",
                Id::Digest,
                id(&filter.replay_digest),
            )],
            Self::Grant => vec![by_id("grant_id", Id::Grant, id(&filter.grant_id))],
            Self::Address(network) => {
                let mut arms = at_address(*network);
                arms.extend(has_blocks.then(|| in_network(*network)));
                arms
            }
            Self::HostsPort => at_port("", filter, has_blocks),
            Self::Port => at_port("INDEXED BY event_ports_by_port", filter, has_blocks),
            Self::User => one(
                "events_by_user",
                Conditions::new("e.user = ?", filter.user.clone()),
            ),
            Self::Key => vec![by_word(Word::Key, word(&filter.key))],
            Self::Stanza => vec![by_word(Word::Stanza, word(&filter.stanza))],
            Self::Reasons(reasons) => {
                let arm = |reason: &i64| by_word(Word::Reason, Value::Integer(*reason));
                reasons.iter().map(arm).collect()
            }
            Self::Host => one("events_by_host", none()),
            Self::Kind => one("events_by_kind", none()),
            Self::Time => one("events_by_time", none()),
        }
    }
}

/// What must hold in every arm.
fn common(filter: &EventFilter, known: &Known, driver: &Driver, after: Cursor) -> Conditions {
    let mut all = Conditions::default();
    // The table of ports has its own copy of these two.
    let of = if driver.is_of_ports() { "p" } else { "e" };
    if let Some(host) = known.host {
        all.add(&format!("{of}.host = ?"), [host]);
    }
    if let Some(kind) = filter.kind {
        all.add(&format!("{of}.kind = ?"), [kind]);
    }
    for (column, text, driven) in [
        ("user", &filter.user, Driver::User),
        ("key", &filter.key, Driver::Key),
        ("stanza", &filter.stanza, Driver::Stanza),
    ] {
        if let Some(text) = text
            && *driver != driven
        {
            all.add(&format!("e.{column} = ?"), [text.clone()]);
        }
    }
    if let Some(id) = &filter.grant_id
        && *driver != Driver::Grant
    {
        all.add("e.grant_id = ?", [compact(id)]);
    }
    if let Some(port) = filter.port
        && !driver.is_of_ports()
    {
        let one = "EXISTS (SELECT 1 FROM event_ports p WHERE p.host = e.host AND p.port = ?
                     AND p.at_ms = e.at_ms AND p.event = e.id)";
        let blocks = Conditions::in_blocks(blocks_of_port(port));
        if known.has_blocks && !blocks.values.is_empty() {
            let values = [vec![Value::Integer(port_key(port))], blocks.values].concat();
            let wide = format!(
                "EXISTS (SELECT 1 FROM event_blocks b WHERE b.event = e.id AND {})",
                blocks.sql
            );
            all.add(&format!("({one} OR {wide})"), values);
        } else {
            all.add(one, [port_key(port)]);
        }
    }
    if let Some(network) = filter.address
        && !matches!(driver, Driver::Address(_))
    {
        let (compare, bounds) = within(network);
        let mut values = [bounds.clone(), bounds].concat();
        let mut wide = String::new();
        if known.has_blocks {
            let blocks = Conditions::at_network(network);
            wide = format!(
                " OR EXISTS (SELECT 1 FROM event_blocks b WHERE b.event = e.id AND ({}))",
                blocks.sql
            );
            values.extend(blocks.values);
        }
        all.add(
            &format!("(e.source {compare} OR e.opened {compare}{wide})"),
            values,
        );
    }
    if !matches!(driver, Driver::Reasons(_)) {
        all.add_reason(filter, known);
    }
    all.add_time(driver.time(), filter, after);
    all
}

/// Looks into each part of the log.
fn by_id(column: &str, what: Id, value: Value) -> Arm {
    Arm {
        from:
            "part CROSS JOIN event_ids i ON i.part = part.n CROSS JOIN events e ON e.id = i.event"
                .to_owned(),
        own: Conditions::new(
            &format!(
                "i.what = {} AND i.value = ? AND e.{column} = ?",
                what as i64
            ),
            [words::beginning(value.clone()), value],
        ),
    }
}

fn by_word(what: Word, value: Value) -> Arm {
    Arm {
        from: "event_words w CROSS JOIN events e ON e.id = w.event".to_owned(),
        own: Conditions::new(
            &format!("w.what = {} AND w.value = ?", what as i64),
            [value],
        ),
    }
}

fn at_port(index: &str, filter: &EventFilter, has_blocks: bool) -> Vec<Arm> {
    let port = filter.port.map(port_key);
    let one = Arm {
        from: format!("event_ports p {index} CROSS JOIN events e ON e.id = p.event"),
        own: Conditions::new("p.port = ?", port),
    };
    let long = filter.port.filter(|_| has_blocks).and_then(in_range);
    iter::once(one).chain(long).collect()
}

/// Two arms, one for each column of addresses; the second leaves out what the first has.
fn at_address(network: IpNet) -> Vec<Arm> {
    let (compare, bounds) = within(network);
    let source = format!("e.source IS NOT NULL AND e.source {compare}");
    // Two different addresses may lie in one prefix.
    let opened = format!(
        "e.opened IS NOT NULL AND e.opened IS NOT e.source AND e.opened {compare} \
         AND (e.source IS NULL OR NOT e.source {compare})"
    );
    vec![
        Arm {
            from: "events e INDEXED BY events_by_source".to_owned(),
            own: Conditions::new(&source, bounds.clone()),
        },
        Arm {
            from: "events e INDEXED BY events_by_opened".to_owned(),
            own: Conditions::new(&opened, [bounds.clone(), bounds].concat()),
        },
    ]
}

/// The arm of events that opened a network around the address, or in the prefix, that is asked for;
/// without what the columns of addresses have.
fn in_network(network: IpNet) -> Arm {
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
            "(SELECT DISTINCT b.event FROM event_blocks b WHERE {}) w CROSS JOIN events e ON e.id = \
             w.event",
            blocks.sql
        ),
        own,
    }
}

/// The arm of events that name a long range with this port.
fn in_range(port: Port) -> Option<Arm> {
    let blocks = Conditions::in_blocks(blocks_of_port(port));
    let from = format!(
        "(SELECT DISTINCT b.event AS event, b.at_ms AS at_ms, x.host AS host, x.kind AS kind FROM \
         event_blocks b CROSS JOIN events x ON x.id = b.event WHERE {}) p CROSS JOIN events e ON \
         e.id = p.event",
        blocks.sql
    );
    let own = Conditions {
        sql: "e.id = p.event".to_owned(),
        values: blocks.values,
    };
    (!own.values.is_empty()).then_some(Arm { from, own })
}

/// How an address is compared with a prefix, and with what.
fn within(network: IpNet) -> (&'static str, Vec<Value>) {
    let (low, high) = address_range(network);
    if low == high {
        ("= ?", vec![Value::Blob(low)])
    } else {
        ("BETWEEN ? AND ?", vec![Value::Blob(low), Value::Blob(high)])
    }
}

/// A digest or a grant's id as it is kept.
fn compact(text: &str) -> Value {
    let key: Compact<'_> = hex_key(text);
    match key.to_sql() {
        Ok(ToSqlOutput::Borrowed(value)) => value.try_into().unwrap_or(Value::Null),
        Ok(_) | Err(_) => Value::Null,
    }
}

// === impl Conditions ===

impl Conditions {
    fn new<T: Into<Value>>(sql: &str, values: impl IntoIterator<Item = T>) -> Self {
        Self {
            sql: sql.to_owned(),
            values: values.into_iter().map(Into::into).collect(),
        }
    }

    /// Blocks with one of these keys.
    fn in_blocks(keys: Vec<Vec<u8>>) -> Self {
        let marks = vec!["?"; keys.len()].join(", ");
        Self::new(&format!("b.block IN ({marks})"), keys)
    }

    /// Networks that this one lies in, and those that lie in it.
    fn at_network(network: IpNet) -> Self {
        let mut all = Self::in_blocks(blocks_around(network));
        let (low, high) = blocks_within(network);
        all.sql += " OR b.block BETWEEN ? AND ?";
        all.values.extend([Value::Blob(low), Value::Blob(high)]);
        all
    }

    fn add<T: Into<Value>>(&mut self, sql: &str, values: impl IntoIterator<Item = T>) {
        if !self.sql.is_empty() {
            self.sql += " AND ";
        }
        self.sql += sql;
        self.values.extend(values.into_iter().map(Into::into));
    }

    fn and(mut self, other: &Self) -> Self {
        self.add(&other.sql, other.values.iter().cloned());
        self
    }

    fn add_reason(&mut self, filter: &EventFilter, known: &Known) {
        match (&known.reasons, &filter.reason) {
            (Some(reasons), _) => {
                let marks = vec!["?"; reasons.len()].join(", ");
                self.add(
                    &format!(
                        "EXISTS (SELECT 1 FROM event_words r WHERE r.what = 3
                                 AND r.value IN ({marks}) AND r.at_ms = e.at_ms AND r.event = e.id)"
                    ),
                    reasons.iter().copied(),
                );
            }
            (None, Some(text)) => {
                let (low, high) = reasons::range(text);
                self.add(
                    "EXISTS (SELECT 1 FROM event_reasons t CROSS JOIN event_words r ON r.what = 3
                             AND r.value = t.id AND r.at_ms = e.at_ms AND r.event = e.id
                             WHERE t.text >= ? AND t.text < ?)",
                    [low, high],
                );
            }
            (None, None) => {}
        }
    }

    fn add_time(&mut self, [at_ms, id]: [&str; 2], filter: &EventFilter, after: Cursor) {
        self.add(
            &format!("({at_ms}, {id}) < (?, ?)"),
            [signed(after.at_ms), signed(after.id)],
        );
        if let Some(since_ms) = filter.since_ms {
            self.add(&format!("{at_ms} >= ?"), [signed(since_ms)]);
        }
        if let Some(until_ms) = filter.until_ms {
            self.add(&format!("{at_ms} < ?"), [signed(until_ms)]);
        }
    }
}
