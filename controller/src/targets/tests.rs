use policy::{Dialect, NoIncludes};
use spa::ExchangeSecret;

use super::*;

const POLICY: &str = "\
NAME ssh\nSOURCE ANY\nREQUIRE_USERNAME alice, bob\nOPEN_PORTS tcp/22\n
NAME old\nSOURCE ANY\nREQUIRE_USERNAME alice, bob\nKEY a-secret-thing\nHMAC_KEY another-secret\n
NAME hers\nSOURCE ANY\nREQUIRE_USERNAME alice\nKEY a-third-secret\nHMAC_KEY a-fourth-secret\nPROTECT tcp/443\n
NAME any\nSOURCE ANY\nKEY a-fifth-secret\nHMAC_KEY a-sixth-secret\n";

fn compiled(barred: &[&str]) -> Policy {
    let policy = policy::parse("policy", POLICY, &NoIncludes).unwrap();
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
