//! What the parser takes, and what it says about the rest.

mod fwknop;
mod gpg;
mod includes;
mod sequences;
mod warnings;

use spa::{DigestType, EncryptionMode, ExchangeSecret};

use crate::{
    CollectMode, Dialect, InvalidPolicy, Mistake, Networks, NoIncludes, OnControllerLoss, Policy,
    PortSet, ReadError, Source, Stanza, StanzaKey, parse, parse_as,
};

fn policy(text: &str) -> Policy {
    parse("access.conf", text, &NoIncludes).unwrap_or_else(|e| panic!("{e}"))
}

fn alone(text: &str) -> Policy {
    parse_as(Dialect::Alone, "access.conf", text, &NoIncludes).unwrap_or_else(|e| panic!("{e}"))
}

fn stanza(text: &str) -> Stanza {
    let mut policy = policy(text);
    assert_eq!(policy.stanzas.len(), 1);
    policy.stanzas.remove(0)
}

fn mistakes(text: &str) -> Vec<String> {
    shown(parse("access.conf", text, &NoIncludes))
}

fn shown(parsed: Result<Policy, InvalidPolicy>) -> Vec<String> {
    let mistakes = parsed.unwrap_err().mistakes;
    mistakes.iter().map(Mistake::to_string).collect()
}

/// Asserts that there is one mistake, which begins like this.
fn assert_mistake(text: &str, expected: &str) {
    let mistakes = mistakes(text);
    assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
    assert!(mistakes[0].starts_with(expected), "{mistakes:#?}");
}

#[test]
fn a_name_with_a_domain_is_a_name_and_only_what_begins_with_an_at_sign_is_a_group() {
    let text = "%group sre bob@corp.example, mbr\nSOURCE ANY\n\
                REQUIRE_USERNAME alice@corp.example, @sre\nKEY k\nHMAC_KEY h\n";

    let policy = parse("access.conf", text, &NoIncludes).unwrap_or_else(|e| panic!("{e}"));

    let names: Vec<_> = policy.stanzas[0].require_username.iter().collect();
    assert_eq!(names, ["alice@corp.example", "bob@corp.example", "mbr"]);
    let printed = policy.print(crate::Secrets::Show);
    assert_eq!(parse("access.conf", &printed, &NoIncludes), Ok(policy));
    assert!(parse("a", &text.replace("@sre", "@nobody"), &NoIncludes).is_err());
}

#[test]
fn the_stanza_of_the_founding_article_is_read() {
    let policy = alone(
        "SOURCE: ANY;\nOPEN_PORTS: tcp/22;\nKEY: demokey;\nFW_ACCESS_TIMEOUT: 10;\n\
         REQUIRE_USERNAME: mbr;\nDATA_COLLECT_MODE: PCAP;\n",
    );

    let stanza = &policy.stanzas[0];
    assert_eq!(policy.collect_mode, Some(CollectMode::Pcap));
    assert_eq!(stanza.number, 1);
    assert_eq!(stanza.source, Networks::Any);
    assert_eq!(stanza.open_ports, Some(PortSet::parse("tcp/22").unwrap()));
    assert_eq!(stanza.fw_access_timeout_secs, 10);
    assert_eq!(stanza.max_fw_timeout_secs, 300);
    assert_eq!(stanza.require_username.iter().collect::<Vec<_>>(), ["mbr"]);
    let [keys] = stanza.static_keys() else {
        panic!("{:?}", stanza.key)
    };
    assert_eq!(keys.encryption().as_bytes(), b"demokey");
    assert_eq!(keys.mode(), EncryptionMode::Cbc);
    assert_eq!(keys.hmac(), None);
}

#[test]
fn the_stanza_of_the_design_is_pairwise() {
    let policy = policy(
        "%group sre         mbr, alice              # names used below as @sre\n\n\
         NAME               sre-ssh                 # stable name, shown in the audit\n\
         HOSTS              role=web env=prod       # labels that must all match\n\
         HOSTS              name=db-1\n\
         SOURCE             ANY\n\
         REQUIRE_USERNAME   @sre, bob\n\
         OPEN_PORTS         tcp/22\n\
         FW_ACCESS_TIMEOUT  30\n",
    );

    let stanza = &policy.stanzas[0];
    assert_eq!(stanza.name.as_deref(), Some("sre-ssh"));
    assert_eq!(stanza.key, StanzaKey::Pairwise);
    assert_eq!(stanza.hosts.len(), 2);
    let users: Vec<_> = stanza.require_username.iter().collect();
    assert_eq!(users, ["alice", "bob", "mbr"]);
    assert_eq!(policy.warnings, []);
}

#[test]
fn every_enforced_keyword_of_fwknop_is_read() {
    let stanza = stanza(
        "SOURCE 192.0.2.0/24, 10.0.0.0/255.0.0.0\nDESTINATION 198.51.100.7\n\
         OPEN_PORTS tcp/22, udp/53\nRESTRICT_PORTS tcp/23\n\
         KEY_BASE64 c2VjcmV0LWtleQ==\nHMAC_KEY_BASE64 c2VjcmV0LWhtYWM=\n\
         HMAC_DIGEST_TYPE sha512\nENCRYPTION_MODE ctr\n\
         FW_ACCESS_TIMEOUT 60\nMAX_FW_TIMEOUT 600\nREQUIRE_USERNAME mbr\n\
         REQUIRE_SOURCE_ADDRESS yes\nENABLE_CMD_EXEC Y\nCMD_EXEC_USER nobody\nCMD_EXEC_GROUP users\n\
         ACCESS_EXPIRE 12/31/2030\nON_CONTROLLER_LOSS allow\nFORCE_MASQUERADE N\n",
    );

    let [keys] = stanza.static_keys() else {
        panic!("{:?}", stanza.key)
    };
    let (hmac, digest) = keys.hmac().unwrap();
    assert_eq!(keys.encryption().as_bytes(), b"secret-key");
    assert_eq!(hmac.as_bytes(), b"secret-hmac");
    assert_eq!(digest, DigestType::Sha512);
    assert_eq!(keys.mode(), EncryptionMode::Ctr);
    assert_eq!(stanza.source.to_string(), "192.0.2.0/24,10.0.0.0/8");
    assert_eq!(stanza.max_fw_timeout_secs, 600);
    assert!(stanza.require_source_address);
    let command = stanza.command.unwrap();
    assert_eq!(command.user.as_deref(), Some("nobody"));
    assert_eq!(command.group.as_deref(), Some("users"));
    assert_eq!(stanza.expire_at_secs, Some(1_924_905_600));
    assert_eq!(stanza.on_controller_loss, OnControllerLoss::Allow);
}

#[test]
fn a_stanza_begins_at_source_or_name() {
    let policy = policy(
        "SOURCE 192.0.2.1\nNAME first\nOPEN_PORTS tcp/1\n\
         SOURCE 192.0.2.2\nOPEN_PORTS tcp/2\n\
         NAME third\nHOSTS ANY\nSOURCE 192.0.2.3\n",
    );

    let seen: Vec<_> = policy
        .stanzas
        .iter()
        .map(|stanza| (stanza.number, stanza.label(), stanza.source.to_string()))
        .collect();
    let expected = [(1, "first", 1), (2, "#2", 2), (3, "third", 3)]
        .map(|(n, name, host)| (n, name.to_owned(), format!("192.0.2.{host}")));
    assert_eq!(seen, expected);
}

#[test]
fn further_keys_begin_further_pairs() {
    let stanza = stanza(
        "SOURCE ANY\nHMAC_DIGEST_TYPE sha1\nHMAC_KEY early\nKEY old\nKEY new\nHMAC_KEY late\n",
    );

    let pairs: Vec<_> = stanza
        .static_keys()
        .iter()
        .map(|keys| {
            (
                keys.encryption().as_bytes(),
                keys.hmac().map(|(key, _)| key.as_bytes()),
            )
        })
        .collect();
    let expected: [(&[u8], Option<&[u8]>); 2] = [(b"old", Some(b"early")), (b"new", Some(b"late"))];
    assert_eq!(pairs, expected);
    assert_eq!(stanza.static_keys()[1].hmac().unwrap().1, DigestType::Sha1);
}

#[test]
fn all_mistakes_are_reported_at_once_with_file_line_and_keyword() {
    let text = "OPEN_PORTS tcp/22\nSOURCE 300.1.2.3\nOPEN_PORT tcp/22\nFW_ACCESS_TIMEOUT soon\n\
                ENCRYPTION_MODE PCBC\nKEY\nREQUIRE_USERNAME @ops\n";

    assert_eq!(
        mistakes(text),
        [
            "access.conf:1: OPEN_PORTS: the line stands outside of a stanza (a stanza begins with SOURCE or NAME)",
            "access.conf:2: SOURCE: `300.1.2.3` is not an IPv4 or IPv6 address or network",
            "access.conf:3: OPEN_PORT: unknown keyword (did you mean OPEN_PORTS?)",
            "access.conf:4: FW_ACCESS_TIMEOUT: the value is not a number of seconds from 0 to 2147483",
            "access.conf:5: ENCRYPTION_MODE: this encryption mode is not supported by this version (CBC, CTR, CFB, OFB, ECB and legacy are)",
            "access.conf:6: KEY: the keyword has no value",
            "access.conf:7: REQUIRE_USERNAME: group `@ops` is not defined (define it with %group NAME user, user)",
        ]
    );
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    for line in ["ENCRYPTION_MODE PCBC", "DATA_COLLECT_MODE ENCRYPT_SEQUENCE"] {
        let keyword = line.split(' ').next().unwrap();
        let mistakes = mistakes(&format!("SOURCE ANY\nKEY k\n{line}\n"));
        assert_eq!(mistakes.len(), 1, "{line}: {mistakes:#?}");
        assert!(
            mistakes[0].starts_with(&format!("access.conf:3: {keyword}: "))
                && mistakes[0].contains("not supported by this version"),
            "{mistakes:#?}"
        );
    }
}

#[test]
fn lines_about_nat_that_do_not_go_together_are_mistakes() {
    for (lines, mistake) in [
        (
            "FORCE_SNAT 10.0.0.1",
            "FORCE_SNAT: the line needs FORCE_NAT or FORWARD_ALL Y",
        ),
        (
            "FORCE_MASQUERADE Y",
            "FORCE_MASQUERADE: the line needs FORCE_NAT or FORWARD_ALL Y",
        ),
        (
            "FORCE_NAT 10.0.0.1 22\nFORCE_SNAT 2001:db8::1",
            "FORCE_SNAT: the address is of another family than that of FORCE_NAT",
        ),
        (
            "FORCE_NAT 10.0.0.1:22",
            "FORCE_NAT: the value is not an address and a port, such as 192.168.10.5 22",
        ),
        (
            "FORCE_NAT 0.0.0.0 22",
            "FORCE_NAT: `0.0.0.0` is not the address of another host; LOCAL is this one",
        ),
        (
            "FORWARD_ALL Y\nFORCE_SNAT 127.0.0.1",
            "FORCE_SNAT: the value is not the address of a host",
        ),
        (
            "NAT_ACCESS 10.0.0.0/8\nNAT_ACCESS NONE",
            "NAT_ACCESS: NONE stands alone",
        ),
        (
            "DISABLE_DNAT maybe",
            "DISABLE_DNAT: the value is neither Y nor N",
        ),
    ] {
        let mistakes = mistakes(&format!("SOURCE ANY\nKEY k\n{lines}\n"));
        assert_eq!(mistakes.len(), 1, "{lines}: {mistakes:#?}");
        assert!(mistakes[0].ends_with(mistake), "{lines}: {mistakes:#?}");
    }
}

#[test]
fn a_stanza_without_nat_access_permits_all_on_a_host_alone_and_nothing_in_a_fleet() {
    let text = "SOURCE ANY\nKEY k\n";
    let access = |dialect| {
        let policy = parse_as(dialect, "a", text, &NoIncludes).unwrap();
        policy.stanzas[0].nat.access.clone()
    };

    assert_eq!(access(Dialect::Alone), crate::NatAccess::Everywhere);
    assert_eq!(access(Dialect::Operator), crate::NatAccess::Nowhere);
    assert_eq!(access(Dialect::Compiled), crate::NatAccess::Nowhere);
}

#[test]
fn wrong_keys_are_mistakes_when_the_policy_is_read() {
    let long = "k".repeat(33);
    for (lines, expected) in [
        (format!("KEY {long}"), "KEY: encryption key of 33 bytes"),
        (
            format!("KEY k\nHMAC_KEY {}", "h".repeat(129)),
            "HMAC_KEY: HMAC key of 129 bytes",
        ),
        ("KEY __CHANGEME__".to_owned(), "KEY: the placeholder"),
        (
            "KEY_BASE64 __CHANGEME__".to_owned(),
            "KEY_BASE64: the placeholder",
        ),
        (
            "KEY_BASE64 not base64".to_owned(),
            "KEY_BASE64: not valid base64",
        ),
        ("KEY_BASE64 =".to_owned(), "KEY_BASE64: "),
        (
            "KEY same\nHMAC_KEY same".to_owned(),
            "KEY: the HMAC key is equal",
        ),
        (
            "KEY k\nHMAC_KEY h\nENCRYPTION_MODE legacy".to_owned(),
            "KEY: legacy",
        ),
        (
            "KEY k\nHMAC_KEY h\nHMAC_KEY i".to_owned(),
            "HMAC_KEY: this key has an HMAC key",
        ),
        (
            "HMAC_KEY h".to_owned(),
            "KEY: the stanza has an HMAC key but no KEY",
        ),
        (
            "ENCRYPTION_MODE CTR".to_owned(),
            "KEY: the stanza has no KEY, and pairwise",
        ),
        (
            "KEY k\nHMAC_DIGEST_TYPE sha224".to_owned(),
            "HMAC_DIGEST_TYPE: this HMAC",
        ),
    ] {
        let mistakes = mistakes(&format!("SOURCE ANY\n{lines}\n"));
        assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
        assert!(mistakes[0].contains(expected), "{expected}: {mistakes:#?}");
    }
}

#[test]
fn no_mistake_repeats_what_may_be_a_key() {
    let secret = "hunter2hunter2hunter2hunter2hunter2hunter2";
    for text in [
        format!("SOURCE ANY\nKEY {secret}\n"),
        format!("SOURCE ANY\nKEY\n{secret}\n"),
        format!("SOURCE ANY\nKEYY {secret}\n"),
        format!("SOURCE ANY\nKEY a;{secret}\n"),
        format!("SOURCE ANY\nKEY_BASE64 {secret}!\n"),
        format!("SOURCE ANY\nGPG_DECRYPT_PW {secret}\n"),
    ] {
        let mistakes = mistakes(&text).join("\n");
        assert!(!mistakes.contains("hunter2"), "{mistakes}");
    }
}

#[test]
fn a_keyword_that_stands_twice_is_a_mistake() {
    assert_mistake(
        "SOURCE ANY\nOPEN_PORTS tcp/22\nKEY k\nOPEN_PORTS tcp/23\n",
        "access.conf:4: OPEN_PORTS: the stanza has this keyword already",
    );
}

#[test]
fn a_name_stands_for_one_stanza() {
    assert_mistake(
        "NAME a\nSOURCE ANY\nNAME a\nSOURCE ANY\n",
        "access.conf:3: NAME: the name `a` is taken by the stanza at access.conf:1",
    );
}

#[test]
fn a_stanza_without_source_is_a_mistake() {
    assert_mistake(
        "NAME a\nOPEN_PORTS tcp/22\n",
        "access.conf:1: SOURCE: the stanza has no SOURCE",
    );
}

#[test]
fn two_expiries_are_a_mistake() {
    assert_mistake(
        "SOURCE ANY\nACCESS_EXPIRE 1/1/2031\nACCESS_EXPIRE_EPOCH 1924905600\n",
        "access.conf:3: ACCESS_EXPIRE_EPOCH: the stanza has ACCESS_EXPIRE as well",
    );
}

#[test]
fn a_list_of_users_is_never_empty() {
    for text in [
        "%group sre\nSOURCE ANY\n",
        "%group sre ,\nSOURCE ANY\n",
        "SOURCE ANY\nREQUIRE_USERNAME ,\n",
        "SOURCE ANY\nREQUIRE_USERNAME @\n",
        "SOURCE ANY\nREQUIRE_USERNAME # nobody\n",
    ] {
        assert_eq!(mistakes(text).len(), 1, "{text:?}");
    }
}

#[test]
fn a_group_may_stand_behind_its_use() {
    let stanza = stanza("SOURCE ANY\nREQUIRE_USERNAME @sre\n%group sre alice\n");

    assert!(stanza.require_username.contains("alice"));
}

#[test]
fn protect_stands_before_all_stanzas_or_in_one() {
    let policy = policy("PROTECT tcp/22,tcp/443\nPROTECT udp/53\nSOURCE ANY\nPROTECT tcp/5432\n");

    assert_eq!(policy.protect.to_string(), "tcp/22,tcp/443,udp/53");
    assert_eq!(policy.stanzas[0].protect.to_string(), "tcp/5432");
    assert_eq!(
        policy.protected_ports().to_string(),
        "tcp/22,tcp/443,tcp/5432,udp/53"
    );
}

#[test]
fn an_operator_writes_no_public_keys() {
    let public = ExchangeSecret::from_bytes([7; 32]).public();

    assert_mistake(
        &format!("SOURCE ANY\nREQUIRE_USERNAME a\nUSER_PUBLIC_KEY {public}\n"),
        "access.conf:3: USER_PUBLIC_KEY: the keyword stands only in what the controller compiles",
    );
}

#[test]
fn what_needs_a_controller_cannot_be_enforced_alone() {
    let policy = policy("NAME a\nSOURCE ANY\nHOSTS ANY\nREQUIRE_USERNAME alice\n");

    let mistakes = policy.require_standalone().unwrap_err().to_string();

    assert!(mistakes.contains("access.conf:1: KEY: the stanza has no KEY"));
    assert!(mistakes.contains("access.conf:1: HOSTS: "));
    assert_eq!(alone("SOURCE ANY\nKEY k\n").require_standalone(), Ok(()));
}

#[test]
fn a_thousand_mistakes_are_enough() {
    let text = "NONSENSE_WORD x\n".repeat(100_000);

    assert_eq!(mistakes(&text).len(), 1000);
}
