//! Who may open what, held against what a host is sent.

use proptest::prelude::*;
use spa::{ExchangePublic, ExchangeSecret};

use super::*;
use crate::{Dialect, NoIncludes, access_changes, compile, parse, parse_as};

const NOW_SECS: u64 = 1_795_422_834;

const FLEET: &str = "\
%group sre alice, bob

NAME sre-ssh
HOSTS role=web
SOURCE 10.0.0.0/8
REQUIRE_USERNAME @sre
OPEN_PORTS tcp/22

NAME everybody
SOURCE ANY
OPEN_PORTS tcp/443
RESTRICT_PORTS tcp/22

NAME old
HOSTS name=db-1
SOURCE ANY
OPEN_PORTS tcp/5432
KEY a-secret-thing
HMAC_KEY another-secret-thing

NAME inner
HOSTS role=web
SOURCE ANY
REQUIRE_USERNAME carol
OPEN_PORTS tcp/8022
FORCE_NAT 10.9.0.5 22

NAME over
HOSTS role=web
SOURCE ANY
OPEN_PORTS tcp/9000
ACCESS_EXPIRE_EPOCH 1000
";

fn policy(text: &str) -> Policy {
    parse("fleet.conf", text, &NoIncludes).unwrap()
}

fn host(name: &str, role: &str) -> HostFacts {
    HostFacts {
        name: name.to_owned(),
        labels: [("role".to_owned(), role.to_owned())].into(),
    }
}

fn users(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn question() -> Question<'static> {
    Question {
        user: None,
        ports: None,
        source: None,
        now_secs: NOW_SECS,
    }
}

fn ports(text: &str) -> PortSet {
    PortSet::parse(text).unwrap()
}

/// `alice tcp/22 by sre-ssh at 3`, for each right.
fn shown(policy: &Policy, rights: &[Right]) -> Vec<String> {
    let shown = rights.iter().map(|right| {
        let who = match &right.holder {
            Holder::User(name) => name.to_string(),
            Holder::Key(_) => "a key".to_owned(),
        };
        let stanza = policy.stanzas[right.stanza].label();
        let line = policy.origin(right.stanza).unwrap().line;
        let leads = right.leads_to.iter().map(|to| format!(" to {to}"));
        let leads: String = leads.collect();
        format!("{who} {}{leads} by {stanza} at {line}", right.ports)
    });
    shown.collect()
}

#[test]
fn a_right_says_who_may_open_what_by_which_stanza_and_line() {
    let policy = policy(FLEET);
    let users = users(&["alice", "carol"]);

    let web = policy.rights_on(&host("web-1", "web"), &users, &question());
    let db = policy.rights_on(&host("db-1", "db"), &users, &question());

    assert_eq!(
        shown(&policy, &web),
        [
            "alice tcp/22 by sre-ssh at 3",
            "alice tcp/443 by everybody at 9",
            "carol tcp/443 by everybody at 9",
            "carol tcp/8022 to 10.9.0.5:22 by inner at 21",
        ]
    );
    assert_eq!(
        shown(&policy, &db),
        [
            "alice tcp/443 by everybody at 9",
            "carol tcp/443 by everybody at 9",
            "a key tcp/5432 by old at 14",
        ]
    );
    let proofs: Vec<Proof> = db.iter().map(|right| right.proof).collect();
    assert_eq!(proofs, [Proof::Proven, Proof::Proven, Proof::Asserted]);
}

#[test]
fn the_answer_for_one_address_is_that_of_the_gate_for_it() {
    let policy = policy(FLEET);
    let users = users(&["alice", "carol"]);
    let web = host("web-1", "web");
    let ask = |user, port: &str, source: Option<&str>| {
        let question = Question {
            source: source.map(|source| source.parse().unwrap()),
            ..question()
        };
        policy.answer(&web, &users, (user, &ports(port)), &question)
    };

    assert!(matches!(ask("alice", "tcp/22", None), Answer::May(_)));
    assert!(matches!(
        ask("alice", "tcp/22", Some("10.1.2.3")),
        Answer::May(_)
    ));
    let Answer::MayNot(whys) = ask("alice", "tcp/22", Some("192.0.2.9")) else {
        panic!("tcp/22 is for 10.0.0.0/8 only");
    };
    assert_eq!(whys[0].why.to_string(), "source 192.0.2.9 is not in SOURCE");
    let Answer::MayNot(whys) = ask("carol", "tcp/22", None) else {
        panic!("carol is no sre");
    };
    assert_eq!(whys[0].why, Denied::Username("carol".to_owned()));
    // She is named, and nothing is hers until she has a key.
    let Answer::MayNot(whys) = ask("bob", "tcp/22", None) else {
        panic!("bob has not joined");
    };
    assert!(whys.iter().all(|why| why.stanza != 0), "{whys:?}");
    assert!(matches!(
        ask("alice", "tcp/22,tcp/80", None),
        Answer::MayNot(_)
    ));
    assert!(matches!(ask("alice", "tcp/9000", None), Answer::MayNot(_)));
}

fn changes(old: &str, new: &str) -> Vec<String> {
    let hosts = [
        host("web-1", "web"),
        host("web-2", "web"),
        host("db-1", "db"),
    ];
    let (old, new) = (policy(old), policy(new));
    let of = (&old, &new);
    let (changes, more) = access_changes(of, &hosts, &users(&["alice", "bob"]), (NOW_SECS, 100));
    assert_eq!(more, 0);
    let shown = changes.iter().map(|change| {
        let who = match &change.holder {
            Holder::User(name) => name.to_string(),
            Holder::Key(_) => "a key".to_owned(),
        };
        let mut words = vec![format!("{who} on {}:", change.host)];
        if !change.gains.is_empty() {
            words.push(format!("+{}", change.gains));
        }
        if !change.loses.is_empty() {
            words.push(format!("-{}", change.loses));
        }
        words.extend(change.changes.clone());
        words.extend(change.runs.iter().map(|user| format!("runs as {user}")));
        words.extend(
            change
                .runs_no_more
                .iter()
                .map(|user| format!("no more as {user}")),
        );
        words.join(" ")
    });
    shown.collect()
}

const SSH: &str =
    "NAME ssh\nHOSTS role=web\nSOURCE ANY\nREQUIRE_USERNAME alice\nOPEN_PORTS tcp/22\n";

#[test]
fn a_change_speaks_of_people_and_hosts() {
    let both = SSH.replace("alice", "alice, bob");
    let other = SSH.replace("tcp/22", "tcp/22,tcp/443");

    assert_eq!(
        changes(SSH, &both),
        ["bob on web-1: +tcp/22", "bob on web-2: +tcp/22"]
    );
    assert_eq!(
        changes(&both, SSH),
        ["bob on web-1: -tcp/22", "bob on web-2: -tcp/22"]
    );
    assert_eq!(
        changes(SSH, &other),
        ["alice on web-1: +tcp/443", "alice on web-2: +tcp/443"]
    );
    assert_eq!(
        changes(SSH, &SSH.replace("role=web", "role=db")),
        [
            "alice on web-1: -tcp/22",
            "alice on web-2: -tcp/22",
            "alice on db-1: +tcp/22"
        ]
    );
}

#[test]
fn what_only_looks_different_changes_nobodys_rights() {
    let renamed = SSH.replace("NAME ssh", "NAME secure-shell");
    let grouped = format!("%group one alice\n{}", SSH.replace("alice", "@one"));
    let split = format!(
        "{}{}",
        SSH.replace("SOURCE ANY", "SOURCE 0.0.0.0/0"),
        SSH.replace("NAME ssh", "NAME six")
            .replace("SOURCE ANY", "SOURCE ::/1, 8000::/1, 0.0.0.0/0")
    );
    let halves = SSH.replace("SOURCE ANY", "SOURCE 10.0.0.0/9, 10.128.0.0/9");

    for same in [renamed, grouped] {
        assert_eq!(changes(SSH, &same), [""; 0], "{same}");
    }
    assert_eq!(
        changes(&halves, &SSH.replace("SOURCE ANY", "SOURCE 10.0.0.0/8")),
        [""; 0]
    );
    assert_eq!(changes(&split, &format!("{split}# more\n")), [""; 0]);
}

#[test]
fn other_terms_for_the_same_port_are_said() {
    let narrow = SSH.replace("SOURCE ANY", "SOURCE 10.0.0.0/8");
    let longer = format!("{SSH}MAX_FW_TIMEOUT 3600\n");
    let ends = format!("{SSH}ACCESS_EXPIRE_EPOCH 1796083200\n");
    let commands = format!("{SSH}ENABLE_CMD_EXEC Y\n");
    let one = |old: &str, new: &str| changes(old, new).remove(0);

    assert_eq!(
        one(SSH, &narrow),
        "alice on web-1: tcp/22 from 10.0.0.0/8, instead of from anywhere"
    );
    assert_eq!(
        one(SSH, &longer),
        "alice on web-1: tcp/22 for at most 3600 s, instead of for at most 300 s"
    );
    assert_eq!(
        one(SSH, &ends),
        "alice on web-1: tcp/22 until 2026-12-01, instead of without an end"
    );
    assert_eq!(one(SSH, &commands), "alice on web-1: runs as root");
    assert_eq!(one(&commands, SSH), "alice on web-1: no more as root");
}

#[test]
fn whoever_holds_a_key_is_spoken_of_by_the_key() {
    let shared = "NAME old\nHOSTS role=db\nSOURCE ANY\nOPEN_PORTS tcp/22\nKEY secret\n";

    assert_eq!(
        changes(SSH, &format!("{SSH}{shared}")),
        ["a key on db-1: +tcp/22"]
    );
    let other = shared.replace("secret", "other-secret");
    assert_eq!(changes(shared, &other).len(), 2);
    assert_eq!(changes(shared, &shared.replace("old", "new")), [""; 0]);
}

proptest! {
    /// The host gets compiled text, reads it, and asks each stanza of the user's key.
    #[test]
    fn a_user_may_open_here_what_her_host_would_open_for_her(
        policy in crate::properties::policies(),
        role in "[a-z]{1,5}",
        port in crate::properties::services(),
        source in prop_oneof![Just("192.0.2.1"), Just("10.0.0.1"), Just("2001:db8::a")],
        name in prop_oneof![Just("zoe"), Just("Al"), Just("somebody")],
    ) {
        let host = HostFacts {
            name: "web-1".to_owned(),
            labels: [("role".to_owned(), role), ("env".to_owned(), "a".to_owned())].into(),
        };
        let public: ExchangePublic = ExchangeSecret::from_bytes([7; 32]).public();
        let keys = [(name.to_owned(), vec![public])].into();
        let text = compile(&policy, &host, &keys).text;
        let compiled = parse_as(Dialect::Compiled, "web-1", &text, &NoIncludes).unwrap();
        let source: IpAddr = source.parse().unwrap();
        let message = access(name, source, port, NOW_SECS);
        let opens = |stanza: &Stanza| {
            let destination = clients_of(&stanza.destination)[0];
            let ask = Ask {
                source,
                destination,
                port: SpaPort::Any,
                message: &message,
                now_secs: NOW_SECS,
                host: &WILLING,
                own: &OwnAddresses::NONE,
                forwarded_for: None,
            };
            stanza.judge(&ask).is_ok()
        };
        let expected = compiled.stanzas.iter().any(opens);

        let question = Question { source: Some(source), ..question() };
        let asked: PortSet = [port].into_iter().collect();
        let users = users(&[name]);
        // A range may be given in parts by several stanzas, which one packet cannot ask for.
        let rights = policy.rights_on(&host, &users, &Question { user: Some(name), ports: Some(&asked), ..question });
        let whole = rights.iter().any(|right| asked.without(&right.ports).is_empty());

        prop_assert_eq!(whole, expected);
    }
}

#[test]
fn of_a_range_the_port_that_is_restricted_is_said_to_be_restricted() {
    let text = "NAME some\nSOURCE ANY\nOPEN_PORTS tcp/2222-2230\nRESTRICT_PORTS tcp/2223\n";
    let policy = policy(text);
    let question = Question {
        user: None,
        ports: None,
        source: None,
        now_secs: NOW_SECS,
    };
    let why = |ports: &str| {
        let ports = PortSet::parse(ports).unwrap();
        let asked = ("alice", &ports);
        match policy.answer(&host("web-1", "web"), &users(&["alice"]), asked, &question) {
            Answer::May(_) => String::new(),
            Answer::MayNot(whys) => whys[0].why.to_string(),
        }
    };

    assert_eq!(why("tcp/2222-2224"), "tcp/2223 is in RESTRICT_PORTS");
    assert_eq!(why("tcp/2223"), "tcp/2223 is in RESTRICT_PORTS");
    assert_eq!(why("tcp/2224-2231"), "tcp/2231 is not in OPEN_PORTS");
    assert_eq!(why("tcp/2224-2230"), "");
}
