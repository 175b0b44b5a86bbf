//! Which index drives a question, and the SELECTs over it.

use std::iter;

use ipnet::IpNet;

use super::super::columns::{address_range, blocks_of_port, port_key};
use super::super::number::signed;
use super::super::words::{Id, Word};
use super::conditions::{Conditions, Window, compact, within};
use super::known::Known;
use crate::store::model::{EventFilter, Port};
use crate::store::sql::{Dialect, Value};

/// Hosts that are each read in the order of their index; more are sifted. SQLite takes 500 SELECTs in
/// one, and a port makes two of a host.
const HOSTS_MAX: usize = 200;

/// What narrows a question most.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Driver {
    Digest,
    Grant,
    Request,
    Address(IpNet),
    /// The table of ports, in its own order.
    HostsPort,
    Port,
    User,
    Key,
    Stanza,
    Actor,
    Reasons(Vec<i64>),
    Host,
    Generation,
    Kind,
    Time,
}

/// One SELECT: a table with its index, and what must hold besides what must hold in all.
#[derive(Default)]
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

// === impl Driver ===

impl Driver {
    /// All that may drive a question, those first that narrow most where all else is equal; one at
    /// least.
    pub(super) fn candidates(filter: &EventFilter, known: &Known) -> Vec<Self> {
        let has_host = (1..=HOSTS_MAX).contains(&known.hosts.len());
        // An id is of a few events.
        if filter.replay_digest.is_some() {
            return vec![Self::Digest];
        }
        if filter.grant_id.is_some() {
            return vec![Self::Grant];
        }
        if filter.request_id.is_some() {
            return vec![Self::Request];
        }
        let port = filter.port.map(|_| match has_host {
            true => Self::HostsPort,
            false => Self::Port,
        });
        let reasons = known.reasons.clone();
        let is_of_hosts = has_host && filter.port.is_none();
        let mut all: Vec<Self> = [
            filter.address.map(Self::Address),
            port,
            (!filter.users.is_empty()).then_some(Self::User),
            filter.key.as_ref().map(|_| Self::Key),
            filter.stanza.as_ref().map(|_| Self::Stanza),
            filter.actor.as_ref().map(|_| Self::Actor),
            reasons.map(Self::Reasons),
            is_of_hosts.then_some(Self::Host),
            filter.generation.map(|_| Self::Generation),
            (!filter.kinds.is_empty()).then_some(Self::Kind),
        ]
        .into_iter()
        .flatten()
        .collect();
        if all.iter().all(|driver| !driver.is_in_time_order()) {
            all.push(Self::Time);
        }
        all
    }

    /// Whether its rows come in the order of the answer, so that a part of them can be read.
    pub(super) fn is_in_time_order(&self) -> bool {
        match self {
            // One address has its events in order, a prefix those of each address.
            Self::Address(network) => {
                let (low, high) = address_range(*network);
                low == high
            }
            Self::Digest | Self::Grant | Self::Request => false,
            Self::HostsPort
            | Self::Port
            | Self::User
            | Self::Key
            | Self::Stanza
            | Self::Actor
            | Self::Reasons(_)
            | Self::Host
            | Self::Generation
            | Self::Kind
            | Self::Time => true,
        }
    }

    /// Whether its rows stand by the addresses of a prefix, and not by time.
    pub(super) fn is_of_addresses(&self) -> bool {
        matches!(self, Self::Address(_)) && !self.is_in_time_order()
    }

    pub(super) fn is_of_ports(&self) -> bool {
        matches!(self, Self::HostsPort | Self::Port)
    }

    /// The columns of time and place in the index.
    pub(super) fn time(&self) -> [&'static str; 2] {
        match self {
            Self::HostsPort | Self::Port => ["p.at_ms", "p.event"],
            Self::Key | Self::Stanza | Self::Actor | Self::Reasons(_) | Self::Generation => {
                ["w.at_ms", "w.event"]
            }
            Self::Digest
            | Self::Grant
            | Self::Request
            | Self::Address(_)
            | Self::User
            | Self::Host
            | Self::Kind
            | Self::Time => ["e.at_ms", "e.id"],
        }
    }

    /// One for each value of what drives, and each kind of place where it may be.
    pub(super) fn arms(&self, filter: &EventFilter, known: &Known) -> Vec<Arm> {
        let has_blocks = known.has_blocks;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let word = |what, asked| vec![by_word(what, Value::Text(text(asked)))];
        match self {
            Self::Digest => by_id("replay_digest", Id::Digest, &text(&filter.replay_digest)),
            Self::Grant => by_id("grant_id", Id::Grant, &text(&filter.grant_id)),
            Self::Request => by_request(&text(&filter.request_id)),
            Self::Address(network) => {
                let mut arms = at_address(*network);
                arms.extend(has_blocks.then(|| in_network(*network)));
                arms
            }
            Self::HostsPort => {
                let hosts = known.hosts.iter();
                hosts
                    .flat_map(|host| at_port(Some(*host), filter, has_blocks))
                    .collect()
            }
            Self::Port => at_port(None, filter, has_blocks),
            Self::User => {
                let users = filter.users.iter();
                users
                    .map(|user| by_column("events_by_user", "e.user", user.clone()))
                    .collect()
            }
            Self::Key => word(Word::Key, &filter.key),
            Self::Stanza => word(Word::Stanza, &filter.stanza),
            Self::Actor => word(Word::Actor, &filter.actor),
            Self::Reasons(reasons) => {
                let arm = |reason: &i64| by_word(Word::Reason, Value::Integer(*reason));
                reasons.iter().map(arm).collect()
            }
            Self::Host => {
                let hosts = known.hosts.iter();
                hosts
                    .map(|host| by_column("events_by_host", "e.host", *host))
                    .collect()
            }
            Self::Generation => {
                let generation = signed(filter.generation.unwrap_or_default());
                vec![by_word(Word::Generation, Value::Integer(generation))]
            }
            Self::Kind => {
                let kinds = filter.kinds.iter();
                kinds
                    .map(|kind| by_column("events_by_kind", "e.kind", *kind))
                    .collect()
            }
            Self::Time => vec![Arm::of_events(
                "events_by_time",
                Vec::new(),
                Conditions::default(),
            )],
        }
    }
}

// === impl Arm ===

impl Arm {
    fn of_events(index: &str, keys: Vec<(&'static str, Value)>, own: Conditions) -> Self {
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

fn by_column(index: &str, column: &'static str, value: impl Into<Value>) -> Arm {
    // The index of users leaves out who is none.
    let own = Conditions {
        sql: format!("{column} IS NOT NULL"),
        values: Vec::new(),
    };
    Arm::of_events(index, vec![(column, value.into())], own)
}

/// Where ids are looked up: in each part of the log.
const IDS: &str = "part CROSS JOIN event_ids i ON i.part = part.n";

fn by_id(column: &str, what: Id, id: &str) -> Vec<Arm> {
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
fn by_request(request: &str) -> Vec<Arm> {
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

fn by_word(what: Word, value: Value) -> Arm {
    Arm {
        from: "event_words w".to_owned(),
        event: Some("w.event"),
        keys: vec![("w.what", Value::Integer(what as i64)), ("w.value", value)],
        has_index: true,
        ..Arm::default()
    }
}

/// Of one host, in the table's own order, or of all.
fn at_port(host: Option<i64>, filter: &EventFilter, has_blocks: bool) -> Vec<Arm> {
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
fn at_address(network: IpNet) -> Vec<Arm> {
    let (compare, bounds) = within(network);
    let arm = |index, column: &'static str, mut own: Conditions, sifted| {
        let mut keys = Vec::new();
        let mut range = None;
        match bounds.as_slice() {
            [one] => keys.push((column, one.clone())),
            _ => {
                own.add(&format!("{column} {compare}"), bounds.clone());
                range = Some(column);
            }
        }
        Arm {
            range,
            sifted,
            ..Arm::of_events(index, keys, own)
        }
    };
    let none = Vec::<Value>::new;
    let source = Conditions::new("e.source IS NOT NULL", none());
    let other = "e.opened IS NOT NULL AND e.opened IS DISTINCT FROM e.source";
    let opened = Conditions::new(other, none());
    // Two different addresses may lie in one prefix.
    let of_none = format!("(e.source IS NULL OR NOT e.source {compare})");
    let of_none = Conditions::new(&of_none, bounds.clone());
    vec![
        arm(
            "events_by_source",
            "e.source",
            source,
            Conditions::default(),
        ),
        arm("events_by_opened", "e.opened", opened, of_none),
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
