use fleet::{Event, EventKind, EventRecord};

use super::*;
use crate::app::directory::directory;
use crate::app::events::push;
use crate::app::fixture::{Fleet, NOW, caller, root};

const STAGE: &str = "NAME stage\nHOSTS env=stage\nSOURCE ANY\nREQUIRE_USERNAME alice\n\
                     OPEN_PORTS tcp/22\nPROTECT tcp/22\n\n";
const NAMED: &str = "NAME named\nHOSTS name=web-1\nSOURCE ANY\nREQUIRE_USERNAME alice\n\
                     OPEN_PORTS tcp/443\n\n";
const ASKED: Consent = Consent {
    public: Public::Refused,
    is_dry: false,
};

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(label, value): &(&str, &str)| ((*label).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

async fn fleet() -> Fleet {
    let fleet = Fleet::new().await;
    fleet.join_labelled("web-1", "stage").await;
    fleet.join_labelled("web-2", "prod").await;
    fleet.join(Role::User, "alice").await;
    fleet.apply(0, &[STAGE, NAMED].concat()).await.unwrap();
    fleet
}

async fn set(fleet: &Fleet, wanted: Wanted, consent: Consent) -> Result<Changed, Error> {
    change(&fleet.context, &root(), ("web-1", wanted), consent, NOW).await
}

fn named(name: &str) -> Wanted {
    Wanted {
        name: Some(name.to_owned()),
        ..Wanted::default()
    }
}

#[tokio::test]
async fn a_hosts_new_address_and_port_are_in_the_next_directory_of_its_users() {
    let fleet = fleet().await;
    let alice = fleet.context.roster.find(Role::User, "alice").unwrap();
    let alice = caller(&alice);
    let wanted = Wanted {
        addresses: vec!["198.51.100.9".to_owned(), "2001:db8::9".to_owned()],
        spa_port: Some(62_202),
        ..Wanted::default()
    };

    let changed = set(&fleet, wanted, ASKED).await.unwrap();

    let at: Vec<_> = changed.host.member.addresses().collect();
    assert_eq!(at, ["198.51.100.9", "2001:db8::9"]);
    assert!(changed.difference.is_none() && changed.exposure.is_none());
    let entries = directory(&fleet.context, &alice, NOW).entries;
    assert!(!entries.is_empty());
    for entry in entries {
        assert_eq!(entry.addresses, ["198.51.100.9", "2001:db8::9"]);
        assert_eq!(entry.spa_port, 62_202);
    }
    let recorded = fleet.recorded().await.pop().unwrap();
    assert!(recorded.starts_with("host web-1: at 198.51.100.9 and 2001:db8::9 instead of "));
    assert!(
        recorded.ends_with("SPA port 62202 instead of 62201"),
        "{recorded}"
    );
}

#[tokio::test]
async fn a_label_by_which_policy_hides_less_is_refused_until_it_is_said_to_be_meant() {
    let fleet = fleet().await;
    let wanted = || Wanted {
        set_labels: labels(&[("env", "prod")]),
        ..Wanted::default()
    };
    let dry = Consent {
        public: Public::Allowed,
        is_dry: true,
    };
    let meant = Consent {
        is_dry: false,
        ..dry
    };

    let refused = set(&fleet, wanted(), ASKED).await.unwrap_err();
    assert!(matches!(refused, Error::BecomesPublic(_)), "{refused}");
    let would = set(&fleet, wanted(), dry).await.unwrap();
    assert_eq!(would.host.member.labels, labels(&[("env", "prod")]));
    let still = fleet.context.roster.find(Role::Host, "web-1").unwrap();
    assert_eq!(still.labels, labels(&[("env", "stage")]), "nothing is done");

    let changed = set(&fleet, wanted(), meant).await.unwrap();
    assert_eq!(changed.difference.unwrap().removed, ["stage"]);
    let exposure = changed.exposure.unwrap().exposure;
    assert_eq!(exposure.becomes_public.iter().count(), 1);
    let target = fleet.context.rollout.target("web-1").unwrap();
    assert_eq!(
        target.compiled.stanzas, 1,
        "what it is to have is other already"
    );
}

#[tokio::test]
async fn what_cannot_be_of_a_host_is_said_and_nothing_changes() {
    let fleet = fleet().await;
    let with = |name: &str| (name.to_owned(), Wanted::default());
    let mut cases = vec![
        (with("web-9"), "did you mean web-"),
        (("web-1".to_owned(), Wanted::default()), "is so already"),
        (
            ("web-1".to_owned(), named("web-2")),
            "there is a host called",
        ),
        (("web-1".to_owned(), named("a b")), "is not a name"),
        (
            ("web-1".to_owned(), named("controller")),
            "cannot be called",
        ),
    ];
    let labelled = |set_labels: &[(&str, &str)], remove: &[&str]| Wanted {
        set_labels: labels(set_labels),
        remove_labels: remove.iter().map(|label| (*label).to_owned()).collect(),
        ..Wanted::default()
    };
    for (wanted, reason) in [
        (labelled(&[], &["evn"]), "did you mean env?"),
        (labelled(&[("env", "a")], &["env"]), "at once"),
        (labelled(&[("name", "x")], &[]), "own name"),
        (labelled(&[("env", "a b")], &[]), "is not a label"),
    ] {
        cases.push((("web-1".to_owned(), wanted), reason));
    }
    let before = fleet.recorded().await.len();
    for ((name, wanted), reason) in cases {
        let wanted = (name.as_str(), wanted);
        let refused = change(&fleet.context, &root(), wanted, ASKED, NOW).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(reason), "{reason}: {refused}");
    }
    assert_eq!(fleet.recorded().await.len(), before);
}

#[tokio::test]
async fn stanzas_that_name_a_renamed_host_are_said_and_its_claims_and_open_tokens_follow() {
    let fleet = fleet().await;
    let token = tokens::NewToken {
        role: Role::Host,
        name: "web-1".to_owned(),
        labels: [].into(),
        scope: [].into(),
        ttl: std::time::Duration::ZERO,
        key_name: String::new(),
        replaces: true,
    };
    let token = tokens::create(&fleet.context, &root(), token, NOW).await;
    let id = token.unwrap().id;

    let changed = set(&fleet, named("www-1"), ASKED).await.unwrap();

    let warnings = changed.warnings.join("\n");
    assert!(
        warnings.contains("names web-1 (HOSTS of named)"),
        "{warnings}"
    );
    assert!(warnings.contains(&id), "{warnings}");
    assert_eq!(changed.difference.unwrap().removed, ["named"]);
    assert_eq!(changed.host.member.name, "www-1");
    assert!(fleet.context.roster.find(Role::Host, "web-1").is_none());
    assert!(fleet.context.rollout.target("web-1").is_none());
    assert!(fleet.context.rollout.target("www-1").is_some());
}

#[tokio::test]
async fn whoever_has_a_scope_neither_takes_a_host_out_of_it_nor_one_that_is_not_in_it() {
    let fleet = fleet().await;
    let stage = Caller {
        role: Role::Operator,
        scope: Scope(labels(&[("env", "stage")])),
        ..root()
    };
    let moved = |env: &str| Wanted {
        set_labels: labels(&[("env", env)]),
        ..Wanted::default()
    };
    let rack = Wanted {
        set_labels: labels(&[("rack", "7")]),
        ..Wanted::default()
    };

    for (host, wanted) in [("web-1", moved("prod")), ("web-2", moved("stage"))] {
        let refused = change(&fleet.context, &stage, (host, wanted), ASKED, NOW).await;
        let refused = refused.unwrap_err();
        assert!(matches!(refused, Error::OutOfScope { .. }), "{refused}");
    }
    let done = change(&fleet.context, &stage, ("web-1", rack), ASKED, NOW).await;
    assert_eq!(done.unwrap().host.member.labels["rack"], "7");
}

/// Renames a host.
async fn rename(fleet: &Fleet, from: &str, to: &str) {
    let wanted = (from, named(to));
    let changed = change(&fleet.context, &root(), wanted, ASKED, NOW).await;
    assert_eq!(changed.unwrap().host.member.name, to);
}

/// A host's journal, of which more and more is pushed under the name that the host has then.
struct Pushing {
    epoch: String,
    records: Vec<EventRecord>,
}

impl Pushing {
    fn new(digit: &str) -> Self {
        Self {
            epoch: digit.repeat(32),
            records: Vec::new(),
        }
    }

    async fn push(&mut self, fleet: &Fleet, name: &str) {
        let last = self.records.last();
        let (seq, chain) = last.map_or((0, [0; 32]), |last| {
            (last.seq, last.chain.as_slice().try_into().unwrap())
        });
        let event = Event::new(EventKind::GrantOpened, NOW.ms() + seq);
        self.records.push(EventRecord::after(seq, &chain, event));
        let host = fleet.context.roster.find(Role::Host, name).unwrap();
        let (epoch, records) = (self.epoch.clone(), self.records.clone());
        let pushed = push(&fleet.context, &caller(&host), epoch, records, NOW).await;
        assert_eq!(pushed.unwrap().acknowledged_seq, seq + 1);
    }
}

#[tokio::test]
async fn the_logs_chain_is_unbroken_however_hosts_are_renamed_and_a_forged_name_still_breaks_it() {
    let fleet = fleet().await;
    let (mut one, mut other) = (Pushing::new("1"), Pushing::new("2"));
    one.push(&fleet, "web-1").await;
    other.push(&fleet, "web-2").await;
    rename(&fleet, "web-1", "www").await;
    one.push(&fleet, "www").await;
    rename(&fleet, "web-2", "web-1").await;
    other.push(&fleet, "web-1").await;
    rename(&fleet, "www", "web-2").await;
    rename(&fleet, "web-2", "www").await;
    one.push(&fleet, "www").await;

    let examined = fleet.examined();

    assert_eq!(examined.log.first(), None);
    let forged = fleet.edit(
        "UPDATE events SET host = (SELECT id FROM event_hosts WHERE name = 'web-2')
         WHERE host = (SELECT id FROM event_hosts WHERE name = 'www')",
    );
    assert_eq!(forged, 2);
    assert_eq!(fleet.examined().log.faults_count, 2);
}

#[tokio::test]
async fn another_label_or_name_says_what_people_gain_and_lose_by_it_also_when_it_is_dry() {
    for is_dry in [true, false] {
        let fleet = fleet().await;
        let consent = Consent {
            public: Public::Allowed,
            is_dry,
        };
        let moved = Wanted {
            set_labels: labels(&[("env", "prod")]),
            ..named("www")
        };

        let changed = set(&fleet, moved, consent).await.unwrap();
        let address = Wanted {
            spa_port: Some(62_202),
            ..Wanted::default()
        };
        let name = if is_dry { "web-1" } else { "www" };
        let same = (name, address);
        let same = change(&fleet.context, &root(), same, consent, NOW).await;

        let [alice] = changed.access.as_slice() else {
            panic!("{:?}", changed.access);
        };
        assert_eq!(alice.host, "www");
        assert_eq!(alice.loses.to_string(), "tcp/22,tcp/443");
        assert!(alice.gains.is_empty());
        assert!(same.unwrap().access.is_empty());
    }
}

#[tokio::test]
async fn a_host_that_takes_the_place_of_another_keeps_its_second_address() {
    let fleet = fleet().await;
    let wanted = Wanted {
        addresses: vec!["198.51.100.9".to_owned(), "web-1.example".to_owned()],
        ..Wanted::default()
    };
    set(&fleet, wanted, ASKED).await.unwrap();

    crate::app::fixture::past::replace(&fleet, (Role::Host, "web-1", ""), NOW).await;

    let host = fleet.context.roster.find(Role::Host, "web-1").unwrap();
    assert_eq!(host.more_addresses, ["web-1.example"]);
}
