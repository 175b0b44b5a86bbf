//! How PostgreSQL goes about the questions, in a log with and without events.

use super::*;
use crate::store::postgres::trial::Trial;

/// Events, of which half have the port and the word that is asked for, and what the server knows of them.
const MANY: &str = "
    INSERT INTO event_hosts (id, name) SELECT n, 'web-' || n FROM generate_series(1, 10) n;
    INSERT INTO journals (id, host, epoch, last_seq, chain)
        SELECT n, n, 'e', 0, decode(repeat('00', 32), 'hex') FROM generate_series(1, 10) n;
    INSERT INTO events (id, journal, host, seq, body, chain, chain_version, stored_at_ms, log_chain, at_ms,
                        kind, \"user\", generation)
        SELECT n, 1 + n % 10, 1 + n % 10, n, '', '', 2, n, '', n, 1 + n % 2, 'user-' || n % 20, 1
        FROM generate_series(1, 20000) n;
    INSERT INTO event_ports (host, port, at_ms, event, kind)
        SELECT host, 393238 + id % 2, at_ms, id, kind FROM events;
    INSERT INTO event_words (what, value, at_ms, event)
        SELECT what, B'1', at_ms, id FROM events, generate_series(1, 7) what WHERE id % 2 = 0;
    INSERT INTO event_ids (part, what, value, event)
        SELECT 0, what, id::bit(64)::bit varying, id FROM events, generate_series(1, 2) what;
    ANALYZE";

#[test]
fn the_index_that_was_counted_drives_whatever_else_is_asked_for_and_nothing_is_read_but_what_is_looked_up()
 {
    let trial = Trial::start("fsync = off\nsynchronous_commit = off\nfull_page_writes = off");
    trial.ask(|connection| explain_all(connection, false));
    trial.sql("postgres", MANY);

    trial.ask(|connection| explain_all(connection, true));
}

fn explain_all(connection: &Connection, has_events: bool) {
    for bits in (0_usize..1 << FIELDS).filter(|bits| bits.count_ones() <= 3) {
        let filter = question(bits);
        let mut known = Known {
            hosts: filter.hosts.iter().map(|_| 1).collect(),
            reasons: filter.reason.as_ref().map(|_| vec![1]),
            ..Known::default()
        };
        let mut drivers = Driver::candidates(&filter, &known);
        known.addresses = filter.address.map(|_| of_prefix());
        let of_few = Driver::candidates(&filter, &known);
        drivers.extend(of_few.into_iter().filter(Driver::is_of_few_addresses));
        for driver in drivers {
            let plan = plan(connection, &filter, &known, &driver);
            let index = index_of(&driver);
            let mut scans = plan.lines().filter(|line| line.contains(" using "));
            let is_first = scans.next().is_some_and(|line| line.contains(index));
            let is_of_id = index == "event_ids_pkey" && plan.contains(index);
            assert!(is_first || is_of_id, "{filter:?} {driver:?}\n{plan}");
            for table in ["events", "event_ports", "event_words", "event_ids"] {
                assert!(!plan.contains(&format!("Seq Scan on {table}")), "{plan}");
            }
            let is_sorted = plan.contains("Sort");
            let may_sort = !driver.is_in_time_order() || driver.is_of_few_addresses();
            assert!(!is_sorted || may_sort, "{driver:?}\n{plan}");
            // It is read no further than to the end of its part, which a comparison of rows would not end.
            let conds = plan.lines().find(|line| line.contains("Index Cond"));
            let is_bounded = conds.is_some_and(|line| line.contains("(at_ms >= "));
            let may_end = driver.is_in_time_order();
            assert!(is_bounded || !may_end, "{filter:?} {driver:?}\n{plan}");
            // All that could be found, read whatever of it is asked for. Where there are no ids it is all one.
            for whole in ["hashed", "Materialize", "Join Filter"] {
                let is_whole = plan.contains(whole) && (has_events || !is_of_id);
                assert!(!is_whole, "{filter:?} {driver:?}\n{plan}");
            }
        }
    }
}

fn index_of(driver: &Driver) -> &'static str {
    match driver {
        Driver::Digest | Driver::Grant | Driver::Request => "event_ids_pkey",
        Driver::Address(_) | Driver::Addresses(_) => "events_by_source",
        Driver::HostsPort => "event_ports_pkey",
        Driver::Port => "event_ports_by_port",
        Driver::User => "events_by_user",
        Driver::Key | Driver::Stanza | Driver::Actor | Driver::Reasons(_) | Driver::Generation => {
            "event_words_pkey"
        }
        Driver::Host => "events_by_host",
        Driver::Kind => "events_by_kind",
        Driver::Time => "events_by_time",
    }
}
