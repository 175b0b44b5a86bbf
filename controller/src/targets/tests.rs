use policy::{Dialect, NoIncludes};
use spa::ExchangeSecret;

use super::*;

const POLICY: &str = "\
NAME ssh\nSOURCE ANY\nREQUIRE_USERNAME alice, bob\nOPEN_PORTS tcp/22\n
NAME old\nSOURCE ANY\nREQUIRE_USERNAME alice, bob\nKEY a-secret-thing\nHMAC_KEY another-secret\n
NAME hers\nSOURCE ANY\nREQUIRE_USERNAME alice\nKEY a-third-secret\nHMAC_KEY a-fourth-secret\nPROTECT tcp/443\n
NAME any\nSOURCE ANY\nKEY a-fifth-secret\nHMAC_KEY a-sixth-secret\n";

fn compiled(barred: &[&str]) -> Policy {
    let policy = Arc::new(policy::parse("policy", POLICY, &NoIncludes).unwrap());
    let public = |seed| vec![ExchangeSecret::from_bytes([seed; 32]).public()];
    let mut users = Users {
        keys: [
            ("alice".to_owned(), public(1)),
            ("bob".to_owned(), public(2)),
        ]
        .into(),
        barred: barred.iter().map(|name| (*name).to_owned()).collect(),
    };
    users.keys.retain(|name, _| !users.barred.contains(name));
    let host = crate::store::fixture::member(fleet::Role::Host, "web-1");
    let targets = Targets::compile(&policy, 1, &[Arc::new(host)], &users, &Targets::default());
    let text = &targets.get("web-1").unwrap().compiled.text.0;
    policy::parse_as(Dialect::Compiled, "web-1", text, &NoIncludes).unwrap()
}

fn stanzas(policy: &Policy) -> Vec<(String, Vec<&str>)> {
    let stanzas = policy.stanzas.iter();
    stanzas
        .map(|stanza| (stanza.label(), stanza.require_username.iter().collect()))
        .collect()
}

#[test]
fn a_barred_name_is_in_no_list_and_a_list_of_nobody_opens_nothing() {
    let all = compiled(&[]);
    let left = compiled(&["alice"]);

    let names = |names: &[&'static str]| names.to_vec();
    assert_eq!(
        stanzas(&all),
        [
            ("ssh".to_owned(), names(&["alice"])),
            ("ssh".to_owned(), names(&["bob"])),
            ("old".to_owned(), names(&["alice", "bob"])),
            ("hers".to_owned(), names(&["alice"])),
            ("any".to_owned(), names(&[])),
        ]
    );
    assert_eq!(
        stanzas(&left),
        [
            ("ssh".to_owned(), names(&["bob"])),
            ("old".to_owned(), names(&["bob"])),
            ("any".to_owned(), names(&[])),
        ]
    );
    assert_eq!(
        left.protected_ports(),
        all.protected_ports(),
        "what is hidden stays hidden"
    );
}

const FLEET: &str = "\
PROTECT tcp/8080\n
NAME all\nSOURCE ANY\nREQUIRE_USERNAME alice\nOPEN_PORTS tcp/22\n
NAME web\nHOSTS role=web\nSOURCE ANY\nOPEN_PORTS tcp/80\nPROTECT tcp/80\n
NAME one\nHOSTS name=web-1\nSOURCE ANY\nREQUIRE_USERNAME bob\nOPEN_PORTS tcp/81\n
NAME both\nHOSTS role=web name=web-2\nHOSTS env=test\nSOURCE ANY\nOPEN_PORTS tcp/82\n
NAME key\nHOSTS role=web\nHOSTS name=db-1\nSOURCE ANY\nKEY a-fifth-secret\nHMAC_KEY a-sixth-secret\n";

fn read(text: &str) -> Arc<Policy> {
    Arc::new(policy::parse("policy", text, &NoIncludes).unwrap())
}

fn people(seeds: &[(&str, u8)]) -> Users {
    let keys = |seed| vec![ExchangeSecret::from_bytes([seed; 32]).public()];
    let people = seeds.iter();
    Users {
        keys: people
            .map(|(name, seed)| ((*name).to_owned(), keys(*seed)))
            .collect(),
        barred: BTreeSet::new(),
    }
}

fn hosts() -> Vec<Arc<Member>> {
    let labels = [
        ("web-1", vec![("role", "web")]),
        ("web-2", vec![("role", "web")]),
        ("web-3", vec![("role", "web")]),
        ("web-4", vec![("role", "web")]),
        ("web-5", vec![("role", "web"), ("env", "test")]),
        ("db-1", vec![]),
        ("db-2", vec![]),
        // Its label is no name.
        ("db-3", vec![("name", "web-1")]),
    ];
    let host = |(name, labels): (&str, Vec<(&str, &str)>)| {
        let mut host = crate::store::fixture::member(fleet::Role::Host, name);
        let labels = labels.into_iter();
        host.labels = labels
            .map(|(label, value)| (label.to_owned(), value.to_owned()))
            .collect();
        Arc::new(host)
    };
    labels.into_iter().map(host).collect()
}

fn fleet(text: &str, people: &Users, before: &Targets) -> Targets {
    Targets::compile(&read(text), 2, &hosts(), people, before)
}

fn kept(before: &Targets, after: &Targets) -> Vec<String> {
    let kept = |name: &String| {
        let text = |targets: &Targets| Arc::clone(&targets.get(name).unwrap().compiled);
        Arc::ptr_eq(&text(before), &text(after))
    };
    let names = hosts().into_iter().map(|host| host.name.clone());
    names.filter(kept).collect()
}

#[test]
fn every_host_has_what_it_would_have_if_each_stanza_were_asked() {
    let people = people(&[("alice", 1), ("bob", 2)]);

    let targets = fleet(FLEET, &people, &Targets::default());

    for host in hosts() {
        let asked = policy::compile(&read(FLEET), &facts(&host), &people.keys);
        let compiled = &targets.get(&host.name).unwrap().compiled;
        assert_eq!(compiled.text.0, asked.text, "{}", host.name);
        assert_eq!(compiled.digest, asked.digest);
        assert_eq!(usize::try_from(compiled.stanzas).unwrap(), asked.stanzas);
    }
}

#[test]
fn hosts_that_the_same_stanzas_select_share_one_text() {
    let targets = fleet(FLEET, &people(&[("bob", 2)]), &Targets::default());
    let text = |name| Arc::as_ptr(&targets.get(name).unwrap().compiled);

    assert_eq!(text("web-3"), text("web-4"));
    assert_eq!(text("db-2"), text("db-3"));
    assert_ne!(text("web-3"), text("web-1"));
    assert_ne!(text("db-1"), text("db-2"));
}

#[test]
fn hosts_with_other_texts_share_a_key_and_hear_of_each_others_claims() {
    let targets = fleet(FLEET, &people(&[]), &Targets::default());
    let domain = targets.get("db-1").unwrap().compiled.domains[0];

    let mut sharing: Vec<_> = targets.sharing(&domain).collect();
    sharing.sort_unstable();

    let with_key = ["db-1", "web-1", "web-2", "web-3", "web-4", "web-5"];
    assert_eq!(sharing, with_key);
    let alone = FLEET.replace("HOSTS role=web\nHOSTS name=db-1", "HOSTS name=db-1");
    let targets = fleet(&alone, &people(&[]), &Targets::default());
    assert_eq!(
        targets.sharing(&domain).count(),
        0,
        "one host shares nothing"
    );
}

#[test]
fn an_edit_makes_only_the_texts_anew_that_it_changes() {
    let people = people(&[("alice", 1), ("bob", 2)]);
    let before = fleet(FLEET, &people, &Targets::default());
    let edited = |from, to| kept(&before, &fleet(&FLEET.replace(from, to), &people, &before));
    let all: Vec<_> = hosts().into_iter().map(|host| host.name.clone()).collect();
    let without = |gone: &[&str]| -> Vec<String> {
        let stay = |name: &&String| !gone.contains(&name.as_str());
        all.iter().filter(stay).cloned().collect()
    };

    assert_eq!(edited("tcp/81", "tcp/81"), all);
    assert_eq!(edited("tcp/81", "tcp/91"), without(&["web-1"]));
    assert_eq!(edited("tcp/82", "tcp/92"), without(&["web-2", "web-5"]));
    assert_eq!(
        edited("PROTECT tcp/8080", "PROTECT tcp/8081"),
        without(&all.iter().map(String::as_str).collect::<Vec<_>>())
    );
    // It says the same in another place of the text.
    let moved = FLEET.replacen("NAME all", "# a remark\nNAME all", 1);
    assert_eq!(kept(&before, &fleet(&moved, &people, &before)), all);
}

#[test]
fn a_new_key_of_one_user_makes_only_the_texts_anew_that_admit_her() {
    let before = fleet(
        FLEET,
        &people(&[("alice", 1), ("bob", 2)]),
        &Targets::default(),
    );
    let keys = |seeds| kept(&before, &fleet(FLEET, &people(seeds), &before));

    // `web` and `both` admit everybody, `one` admits bob.
    assert_eq!(keys(&[("alice", 1), ("bob", 3)]), ["db-1", "db-2", "db-3"]);
    assert!(keys(&[("alice", 4), ("bob", 2)]).is_empty());
    assert_eq!(keys(&[("alice", 1), ("bob", 2)]).len(), hosts().len());
}

#[test]
fn a_text_that_comes_again_has_the_digest_of_before_and_is_kept_once() {
    let people = people(&[("alice", 1)]);
    let before = fleet(FLEET, &people, &Targets::default());
    // Another first stanza, which selects nobody, moves all the others.
    let moved = format!(
        "{}\nNAME nobody\nHOSTS role=none\nSOURCE ANY\n{}",
        "PROTECT tcp/8080\n",
        FLEET.trim_start_matches("PROTECT tcp/8080\n")
    );

    let after = fleet(&moved, &people, &before);

    let names = hosts().len();
    let same = |host: &Arc<Member>| {
        after.get(&host.name).unwrap().compiled.digest
            == before.get(&host.name).unwrap().compiled.digest
    };
    assert!(hosts().iter().all(same));
    assert_eq!(kept(&before, &after).len(), names);
}

#[test]
fn hosts_that_change_one_by_one_have_what_they_have_when_all_is_compiled() {
    let people = people(&[("alice", 1), ("bob", 2)]);
    let all = hosts();
    let mut targets = Targets::compile(&read(FLEET), 2, &[], &people, &Targets::default());
    let as_host = |host: &Arc<Member>| (host.name.clone(), Some(Arc::clone(host)));
    for host in &all {
        let joined = targets.of_hosts(2, vec![as_host(host)]);
        assert_eq!(targets.take(joined).concat(), host.name);
    }
    let as_compiled = |targets: &Targets, hosts: &[Arc<Member>]| {
        let compiled = Targets::compile(&read(FLEET), 2, hosts, &people, &Targets::default());
        assert_eq!(targets.by_host.len(), compiled.by_host.len());
        for (name, target) in &compiled.by_host {
            let known = targets.get(name).unwrap();
            assert_eq!(known.compiled.digest, target.compiled.digest, "{name}");
            for domain in &target.compiled.domains {
                let sharing = |targets: &Targets| {
                    let sharing = targets.sharing(domain).map(str::to_owned);
                    sharing.collect::<BTreeSet<_>>()
                };
                assert_eq!(sharing(targets), sharing(&compiled), "{name}");
            }
        }
    };
    as_compiled(&targets, &all);

    // The same again is no news, and other labels are.
    let again = targets.of_hosts(3, all.iter().map(as_host).collect());
    assert!(targets.take(again).is_empty());
    assert!(targets.changed_at(3).is_empty());
    let mut others = all;
    Arc::make_mut(&mut others[0]).labels.clear();
    let changed = targets.of_hosts(3, vec![as_host(&others[0])]);
    targets.take(changed);
    as_compiled(&targets, &others);

    while let Some(gone) = others.pop() {
        let left = targets.of_hosts(3, vec![(gone.name.clone(), None)]);
        assert!(targets.take(left).is_empty());
        as_compiled(&targets, &others);
    }
}
