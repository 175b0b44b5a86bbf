//! The statement that answers a question: which index drives it, and what else must hold.

use super::super::columns::{blocks_of_port, port_key};
use super::super::number::signed;
use super::super::words::Word;
use super::conditions::{Conditions, Window, compact, exists, within};
use super::driver::Driver;
use super::known::Known;
use crate::store::model::{CONTROLLER, EventFilter};
use crate::store::sql::{Dialect, Value};

const JOIN: &str = "JOIN journals j ON j.id = e.journal JOIN event_hosts h ON h.id = e.host";
/// What the host of a journal is called now: a journal goes along when its host is renamed.
const NOW: &str = "(SELECT n.name FROM event_hosts n WHERE n.id = j.host)";
/// The parts of the log that digests and grants are indexed in, newest first.
const PARTS: &str = "WITH RECURSIVE part(n) AS (SELECT (SELECT max(id) FROM events) >> 16 \
     UNION ALL SELECT n - 1 FROM part WHERE n > 0) ";

/// SQL, and the values of its parameters in order.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
}

// === impl Statement ===

impl Statement {
    /// At most `limit` rows of the window.
    pub(super) fn new(
        dialect: Dialect,
        (filter, known): (&EventFilter, &Known),
        driver: &Driver,
        (window, limit): (Window, usize),
    ) -> Self {
        let common = common(filter, known, driver);
        let arms = driver.arms(filter, known);
        let [at_ms, id] = driver.time();
        let is_one = arms.len() == 1;
        let order = match arms.as_slice() {
            [arm] => arm.order(dialect, [at_ms, id]),
            // Columns of the answer.
            _ => "5 DESC, 1 DESC".to_owned(),
        };
        let mut values = Vec::new();
        let mut selects = Vec::new();
        for arm in arms {
            let keyed = arm.keyed(dialect, [at_ms, id], (filter, window));
            let (from, keyed) = arm.from(dialect, [at_ms, id], keyed);
            let all = keyed.and(&arm.sifted).and(&common);
            let select = format!(
                "SELECT {id}, h.name, j.epoch, e.seq, {at_ms}, e.body, e.chain, e.chain_version, \
                 e.stored_at_ms, e.flaw, {NOW} FROM {from} CROSS {JOIN} WHERE {}",
                all.sql
            );
            // Of each its own, in the order of its index; SQLite reads them side by side by itself.
            selects.push(match dialect {
                Dialect::Postgres if !is_one => {
                    let order = arm.order(dialect, [at_ms, id]);
                    format!("({select} ORDER BY {order} LIMIT {limit})")
                }
                Dialect::Postgres | Dialect::Sqlite => select,
            });
            values.extend(all.values);
        }
        let selects = selects.join(" UNION ALL ");
        Self {
            sql: format!(
                "{}{selects} ORDER BY {order} LIMIT {limit}",
                parts_of(driver)
            ),
            values,
        }
    }
}

/// What a driver's arms name.
const fn parts_of(driver: &Driver) -> &'static str {
    match driver {
        Driver::Digest | Driver::Grant | Driver::Request => PARTS,
        Driver::Address(_)
        | Driver::Addresses(_)
        | Driver::HostsPort
        | Driver::Port
        | Driver::User
        | Driver::Key
        | Driver::Stanza
        | Driver::Actor
        | Driver::Reasons(_)
        | Driver::Host
        | Driver::Generation
        | Driver::Kind
        | Driver::Time => "",
    }
}

/// What must hold in every arm, besides the time.
fn common(filter: &EventFilter, known: &Known, driver: &Driver) -> Conditions {
    let mut all = Conditions::default();
    // Retention has left nothing of those.
    all.add("e.pruned_by IS NULL", std::iter::empty::<Value>());
    // The table of ports has its own copy of these two.
    let of = if driver.is_of_ports() { "p" } else { "e" };
    if !matches!(driver, Driver::Host | Driver::HostsPort) {
        all.add_one_of(&format!("{of}.host"), known.hosts.clone());
    }
    if !known.asked.is_empty() {
        // A former name may be another machine's: its events are another journal's.
        let marks = vec!["?"; known.asked.len()].join(", ");
        let values = [known.asked.clone(), known.asked.clone()].concat();
        all.add(
            &format!("(e.host IN ({marks}) OR j.host IN ({marks}))"),
            values,
        );
    }
    if *driver != Driver::Kind {
        all.add_one_of(&format!("{of}.kind"), filter.kinds.clone());
    }
    if *driver != Driver::User {
        all.add_one_of("e.user", filter.users.clone());
    }
    for (column, text, driven) in [
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
    if let Some(request) = &filter.request_id
        && *driver != Driver::Request
    {
        all.add_request(request);
    }
    if let Some(actor) = &filter.actor
        && *driver != Driver::Actor
    {
        all.add_word(driver.time(), Word::Actor, actor.clone());
    }
    let others = filter.other_actors();
    if !others.is_empty() {
        all.add_no_word(driver.time(), Word::Actor, others);
    }
    if filter.is_of_the_controller() {
        all.add("h.name = ?", [CONTROLLER.to_owned()]);
    }
    if let Some(generation) = filter.generation
        && *driver != Driver::Generation
    {
        all.add("e.generation = ?", [signed(generation)]);
    }
    add_port(&mut all, filter, known, driver);
    add_address(&mut all, filter, known, driver);
    if !matches!(driver, Driver::Reasons(_)) {
        all.add_reason(driver.time(), (filter, known));
    }
    all
}

fn add_port(all: &mut Conditions, filter: &EventFilter, known: &Known, driver: &Driver) {
    if let Some(port) = filter.port
        && !driver.is_of_ports()
    {
        // By what the driver's row says, so that the event is not read where it has not this port.
        let [at_ms, id] = driver.time();
        let one = exists(&format!(
            "SELECT 1 FROM event_ports p WHERE p.port = ? AND p.at_ms = {at_ms} AND p.event = {id}"
        ));
        let blocks = Conditions::in_blocks(blocks_of_port(port));
        if known.has_blocks && !blocks.values.is_empty() {
            let values = [vec![Value::Integer(port_key(port))], blocks.values].concat();
            let wide = exists(&format!(
                "SELECT 1 FROM event_blocks b WHERE b.event = {id} AND {}",
                blocks.sql
            ));
            all.add(&format!("({one} OR {wide})"), values);
        } else {
            all.add(&one, [port_key(port)]);
        }
    }
}

fn add_address(all: &mut Conditions, filter: &EventFilter, known: &Known, driver: &Driver) {
    if let Some(network) = filter.address
        && !matches!(driver, Driver::Address(_) | Driver::Addresses(_))
    {
        let (compare, bounds) = within(network);
        let mut values = [bounds.clone(), bounds].concat();
        let mut wide = String::new();
        if known.has_blocks {
            let blocks = Conditions::at_network(network);
            let block = exists(&format!(
                "SELECT 1 FROM event_blocks b WHERE b.event = e.id AND ({})",
                blocks.sql
            ));
            wide = format!(" OR {block}");
            values.extend(blocks.values);
        }
        all.add(
            &format!("(e.source {compare} OR e.opened {compare}{wide})"),
            values,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan;
    use super::*;
    use crate::store::model::Cursor;

    #[test]
    fn what_else_has_an_index_is_looked_up_by_the_driving_row_before_the_event_is_read() {
        let mut connection = rusqlite::Connection::open_in_memory().unwrap();
        super::super::super::migrations::apply(&mut connection).unwrap();
        let filter = EventFilter {
            port: "tcp/22".parse().ok(),
            stanza: Some("web".to_owned()),
            key: Some("key".to_owned()),
            generation: Some(1),
            reason: Some("denied".to_owned()),
            actor: Some("operator/mbr".to_owned()),
            ..EventFilter::default()
        };
        let known = Known {
            reasons: Some(vec![1]),
            ..Known::default()
        };
        let window = Window {
            after: Cursor::NEWEST,
            floor_ms: Some(1),
        };
        let candidates = Driver::candidates(&filter, &known);
        assert_eq!(candidates.len(), 6);

        for driver in candidates {
            for dialect in [Dialect::Sqlite, Dialect::Postgres] {
                let of = (&filter, &known);
                let Statement { sql, .. } = Statement::new(dialect, of, &driver, (window, 100));
                assert!(!sql.contains("= e.at_ms"), "{driver:?}\n{sql}");
            }
            let plan = plan(&connection, &filter, &known, &driver);
            let by_port = "COVERING INDEX event_ports_by_port (port=? AND at_ms=? AND event=?)";
            let is_of_ports = driver.is_of_ports();
            assert_eq!(plan.contains(by_port), !is_of_ports, "{driver:?}\n{plan}");
        }
    }
}
