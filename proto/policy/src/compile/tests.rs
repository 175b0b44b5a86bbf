//! What each host gets.

use std::collections::BTreeMap;

use spa::{ExchangePublic, ExchangeSecret};

use crate::{
    Dialect, HostFacts, HostPolicy, NoIncludes, Policy, Secrets, StanzaKey, compile, parse,
    parse_as,
};

const FLEET: &str = "\
%group sre alice, mbr
PROTECT tcp/22

NAME sre-ssh
HOSTS role=web
SOURCE ANY
REQUIRE_USERNAME @sre, nobody
OPEN_PORTS tcp/22

NAME web
HOSTS role=web
SOURCE 10.0.0.0/8
KEY_BASE64 c2VjcmV0
HMAC_KEY_BASE64 aG1hYw==
OPEN_PORTS tcp/443
PROTECT tcp/443

NAME db
HOSTS role=db
SOURCE ANY
OPEN_PORTS tcp/5432
PROTECT tcp/5432
";

fn policy(text: &str) -> Policy {
    parse("fleet.conf", text, &NoIncludes).unwrap_or_else(|e| panic!("{e}"))
}

fn public(seed: u8) -> ExchangePublic {
    ExchangeSecret::from_bytes([seed; 32]).public()
}

fn users(names: &[&str]) -> BTreeMap<String, Vec<ExchangePublic>> {
    (1..)
        .zip(names)
        .map(|(seed, name)| ((*name).to_owned(), vec![public(seed)]))
        .collect()
}

fn host(name: &str, role: &str) -> HostFacts {
    HostFacts {
        name: name.to_owned(),
        labels: [("role".to_owned(), role.to_owned())].into(),
    }
}

fn compiled(host: &HostFacts, names: &[&str]) -> HostPolicy {
    compile(&policy(FLEET), host, &users(names))
}

/// The digest is that of `sha256sum`, the keys of `base64`.
#[test]
fn a_host_gets_its_stanzas_and_one_for_each_user() {
    let (alice, mbr) = (public(1), public(3));
    let got = compiled(&host("web-1", "web"), &["alice", "bob", "mbr"]);

    let expected = format!(
        "PROTECT tcp/22,tcp/443\n\n\
         NAME sre-ssh\nSOURCE ANY\nREQUIRE_USERNAME alice\nUSER_PUBLIC_KEY {alice}\n\
         OPEN_PORTS tcp/22\nFW_ACCESS_TIMEOUT 30\nMAX_FW_TIMEOUT 300\nREQUIRE_SOURCE_ADDRESS Y\n\n\
         NAME sre-ssh\nSOURCE ANY\nREQUIRE_USERNAME mbr\nUSER_PUBLIC_KEY {mbr}\n\
         OPEN_PORTS tcp/22\nFW_ACCESS_TIMEOUT 30\nMAX_FW_TIMEOUT 300\nREQUIRE_SOURCE_ADDRESS Y\n\n\
         NAME web\nSOURCE 10.0.0.0/8\nKEY_BASE64 c2VjcmV0\nHMAC_KEY_BASE64 aG1hYw==\n\
         OPEN_PORTS tcp/443\nFW_ACCESS_TIMEOUT 30\nMAX_FW_TIMEOUT 300\n"
    );
    assert_eq!(got.text, expected);
    assert_eq!(got.stanzas, 3);
}

#[test]
fn the_agent_reads_what_the_controller_compiled() {
    let got = compiled(&host("web-1", "web"), &["alice", "mbr"]);

    let policy = parse_as(Dialect::Compiled, "policy", &got.text, &NoIncludes).unwrap();

    let keys: Vec<_> = policy.stanzas.iter().map(|stanza| &stanza.key).collect();
    assert_eq!(policy.warnings, []);
    assert!(matches!(
        keys.as_slice(),
        [
            StanzaKey::User { .. },
            StanzaKey::User { .. },
            StanzaKey::Static(_)
        ]
    ));
    assert_eq!(policy.protected_ports().to_string(), "tcp/22,tcp/443");
}

#[test]
fn a_stanza_without_users_is_for_all_of_them() {
    assert_eq!(
        compiled(&host("db-1", "db"), &["alice", "bob", "mbr"]).stanzas,
        3
    );
}

#[test]
fn a_port_is_protected_before_anybody_can_open_it() {
    let got = compiled(&host("db-1", "db"), &[]);

    assert_eq!(got.text, "PROTECT tcp/22,tcp/5432\n");
    assert_eq!(got.stanzas, 0);
}

#[test]
fn a_user_cannot_smuggle_lines_into_a_policy_with_her_name() {
    let name = "eve\nNAME all\nSOURCE ANY\nKEY k\n#";

    let got = compiled(&host("db-1", "db"), &[name]);

    assert_eq!(got.stanzas, 0);
}

#[test]
fn a_user_with_two_keys_has_a_stanza_for_each() {
    let mut users = users(&["alice"]);
    users.get_mut("alice").unwrap().push(public(9));

    let got = compile(&policy(FLEET), &host("web-1", "web"), &users);

    let read = parse_as(Dialect::Compiled, "web-1", &got.text, &NoIncludes).unwrap();
    let of = |seed| StanzaKey::User {
        user: "alice".into(),
        public: public(seed),
    };
    let keys: Vec<_> = read.stanzas.iter().map(|stanza| &stanza.key).collect();
    assert_eq!(keys[..2], [&of(1), &of(9)], "{}", got.text);
}

#[test]
fn the_empty_policy_is_a_policy_like_any_other() {
    let got = compile(
        &Policy::default(),
        &host("web-1", "web"),
        &users(&["alice"]),
    );

    assert_eq!(got.text, "");
    // sha256sum < /dev/null
    let digest: String = got
        .digest
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        digest,
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
}

#[test]
fn a_change_elsewhere_leaves_the_digest_as_it_is() {
    let web = host("web-1", "web");
    let other = FLEET.replace("tcp/5432", "tcp/3306");

    let before = compiled(&web, &["alice"]);
    let after = compile(&policy(&other), &web, &users(&["alice", "zoe"]));

    assert_eq!(before.digest, after.digest);
}

#[test]
fn keys_do_not_show_in_debug_output() {
    let shown = format!("{:?}", compiled(&host("web-1", "web"), &["alice"]));

    assert!(!shown.contains("c2VjcmV0"), "{shown}");
}

#[test]
fn only_keys_on_several_hosts_make_a_shared_domain() {
    let policy = policy(FLEET);
    let hosts = |names: &[(&str, &str)]| -> Vec<HostFacts> {
        names.iter().map(|(name, role)| host(name, role)).collect()
    };

    let one = policy.shared_domains(&hosts(&[("web-1", "web"), ("db-1", "db"), ("db-2", "db")]));
    let two = policy.shared_domains(&hosts(&[("web-1", "web"), ("web-2", "web")]));

    assert!(one.is_empty());
    assert_eq!(two.values().copied().collect::<Vec<_>>(), [2]);
}

#[test]
fn an_agent_is_told_short_ranges_port_by_port_and_the_operator_sees_ranges() {
    let text = "NAME a\nHOSTS ANY\nSOURCE ANY\nKEY k\nHMAC_KEY h\nOPEN_PORTS tcp/80,tcp/81,tcp/1000-2000\n";
    let policy = parse("fleet.conf", text, &NoIncludes).unwrap();
    let host = HostFacts {
        name: "a".to_owned(),
        labels: BTreeMap::new(),
    };

    let compiled = compile(&policy, &host, &BTreeMap::new()).text;

    assert!(
        compiled.contains("OPEN_PORTS tcp/80,tcp/81,tcp/1000-2000\n"),
        "{compiled}"
    );
    let printed = policy.print(Secrets::Redact);
    assert!(
        printed.contains("OPEN_PORTS tcp/80-81,tcp/1000-2000\n"),
        "{printed}"
    );
}
