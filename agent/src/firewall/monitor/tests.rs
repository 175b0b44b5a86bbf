//! Which ports are hidden when, and what becomes of changes that others make.

use std::net::IpAddr;

use spa::Service;
use tempfile::TempDir;

use super::super::fault::Faulty;
use super::super::memory::MemoryFirewall;
use super::*;

const OUTSIDER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

/// Keeps what it is told.
#[derive(Debug, Default)]
struct Told {
    drifts: Vec<Option<String>>,
    ready: u32,
}

impl Listener for Told {
    fn drift(&mut self, found: Option<String>) {
        self.drifts.push(found);
    }

    fn ready(&mut self) {
        self.ready += 1;
    }

    fn laid(&mut self) {}
}

fn ports(texts: &[&str]) -> Vec<Service> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A monitor of `host`, in which these ports were hidden at the start, if any ever were.
fn watched(host: &MemoryFirewall, hidden: Option<&[&str]>) -> Watched<Told> {
    let mut rules = host.backend().base_rules;
    let hidden = hidden.map(ports);
    if let Some(hidden) = &hidden {
        rules.lay(hidden).unwrap();
    }
    let kept = Kept {
        rules,
        hidden,
        file: None,
        hooks: Hooks::none(),
        work: Arc::default(),
    };
    Watched::new(kept, Told::default(), Duration::ZERO)
}

/// The same whose `n`-th call from now fails.
fn failing(host: &MemoryFirewall, hidden: &[&str], n: u32) -> Watched<Told> {
    let mut watched = watched(host, Some(hidden));
    let mut rules = host.backend().base_rules;
    rules.lay(&ports(hidden)).unwrap();
    watched.rules = Box::new(Faulty::new(rules, n));
    watched
}

fn looks(watched: &mut Watched<Told>, times: u32) -> Vec<Option<String>> {
    for _ in 0..times {
        watched.look(Look::All, Duration::ZERO);
    }
    std::mem::take(&mut watched.listener.drifts)
}

fn protect(watched: &mut Watched<Told>, texts: &[&str]) {
    watched.wanted = ports(texts);
    watched.enforce();
}

fn get_ready(watched: &mut Watched<Told>) {
    watched.is_ready = true;
    watched.enforce();
}

fn is_hidden(host: &MemoryFirewall, port: &str) -> bool {
    !host.lets_in(OUTSIDER, port.parse::<Service>().unwrap())
}

#[test]
fn drift_is_repaired_and_reported_and_its_end_is_reported_once() {
    let host = MemoryFirewall::default();
    let mut watched = watched(&host, Some(&["tcp/22"]));
    assert_eq!(looks(&mut watched, 2), []);

    host.forget();
    assert!(!is_hidden(&host, "tcp/22"));
    let reports = looks(&mut watched, 3);

    assert_eq!(reports, [Some("the base rules are gone".to_owned()), None]);
    assert!(is_hidden(&host, "tcp/22"));
}

#[test]
fn what_cannot_be_repaired_or_looked_at_is_tried_again_at_the_next_look() {
    for failing_call in [0, 1] {
        let host = MemoryFirewall::default();
        let mut watched = failing(&host, &["tcp/22"], failing_call);
        host.forget();

        let reports = looks(&mut watched, 3);

        assert!(
            reports.len() > 1 && reports.last() == Some(&None),
            "{reports:?}"
        );
        assert_eq!(watched.rules.check(), Ok(None));
    }
}

#[test]
fn ports_that_cannot_be_hidden_are_reported_and_hidden_at_the_next_look() {
    let host = MemoryFirewall::default();
    let mut watched = failing(&host, &["tcp/22"], 0);
    get_ready(&mut watched);

    protect(&mut watched, &["tcp/443"]);

    let told = std::mem::take(&mut watched.listener.drifts);
    assert_eq!(told, [Some("made to fail".to_owned())]);
    looks(&mut watched, 1);
    assert!(is_hidden(&host, "tcp/443"));
}

#[test]
fn a_first_protection_waits_until_the_agent_can_let_people_in() {
    let host = MemoryFirewall::default();
    let mut watched = watched(&host, None);

    protect(&mut watched, &["tcp/22"]);
    looks(&mut watched, 3);
    assert!(!is_hidden(&host, "tcp/22"));
    assert_eq!(watched.listener.ready, 0);

    get_ready(&mut watched);
    assert!(is_hidden(&host, "tcp/22"));
    protect(&mut watched, &["tcp/22", "tcp/443"]);
    assert!(is_hidden(&host, "tcp/443"));
    get_ready(&mut watched);
    assert_eq!(watched.listener.ready, 1);
}

#[test]
fn what_was_hidden_before_stays_hidden_whether_or_not_the_agent_is_ready_until_the_policy_lifts_it()
{
    let host = MemoryFirewall::default();
    let mut watched = watched(&host, Some(&["tcp/22", "tcp/80"]));

    looks(&mut watched, 2);
    assert!(is_hidden(&host, "tcp/22") && is_hidden(&host, "tcp/80"));
    protect(&mut watched, &["tcp/22", "tcp/443"]);

    assert!(is_hidden(&host, "tcp/22"));
    assert!(
        !is_hidden(&host, "tcp/80"),
        "a policy that gives a way back in is obeyed at once"
    );
    assert!(!is_hidden(&host, "tcp/443"), "what is new waits");
    get_ready(&mut watched);
    assert!(is_hidden(&host, "tcp/22") && is_hidden(&host, "tcp/443"));
}

#[test]
fn a_list_that_cannot_be_laid_at_first_is_not_called_ready() {
    let host = MemoryFirewall::default();
    let mut watched = watched(&host, None);
    watched.rules = Box::new(Faulty::new(host.backend().base_rules, 0));
    protect(&mut watched, &["tcp/22"]);

    get_ready(&mut watched);

    assert_eq!(watched.listener.ready, 0);
    looks(&mut watched, 1);
    assert_eq!(watched.listener.ready, 1);
    assert!(is_hidden(&host, "tcp/22"));
}

#[test]
fn what_is_in_force_is_remembered_whenever_it_changes_and_tried_again_when_the_disk_is_full() {
    let dir = TempDir::new().unwrap();
    let state = dir.path().join("state");
    let host = MemoryFirewall::default();
    let mut watched = watched(&host, None);
    watched.file = Some(ProtectionFile::new(&state, "P"));
    let remembered = || ProtectionFile::read(&state).map(|found| found.ports);
    protect(&mut watched, &["tcp/22"]);

    get_ready(&mut watched);
    assert_eq!(remembered(), None, "there is no directory to write to");
    std::fs::create_dir(&state).unwrap();
    looks(&mut watched, 1);

    assert_eq!(remembered(), Some(ports(&["tcp/22"]).into_iter().collect()));
    protect(&mut watched, &["tcp/22", "udp/53"]);
    assert_eq!(remembered().unwrap().len(), 2);
    protect(&mut watched, &[]);
    assert_eq!(remembered(), None);
}
