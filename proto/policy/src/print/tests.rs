//! The canonical text, letter by letter.

use spa::{ExchangePublic, ExchangeSecret};

use crate::{Dialect, NoIncludes, Policy, Secrets, parse, parse_as, redact_text};

const UNTIDY: &str = "\
PROTECT: udp/53, tcp/22;
%group sre  mbr,alice
%group dba carol
SOURCE: 192.0.2.7/24 ,2001:db8::/32;
   NAME: db;   # the database
HOSTS env=prod   role=db
HOSTS ANY
OPEN_PORTS: tcp/5432 tcp/22,tcp/22;
RESTRICT_PORTS udp/1
KEY: old key;
HMAC_KEY: old h#m;
KEY_BASE64: bmV3IGtleQ;
HMAC_KEY h#m;
ENCRYPTION_MODE ctr
HMAC_DIGEST_TYPE SHA512
REQUIRE_USERNAME @sre, bob, @dba
ACCESS_EXPIRE 12/31/2030
REQUIRE_SOURCE y
ENABLE_CMD_EXEC yes
CMD_EXEC_USER nobody
NAT_ACCESS: 10.0.0.7/24 local tcp/22, udp/1-9;
NAT_ACCESS 2001:DB8::/64
FORCE_MASQUERADE y
FORWARD_ALL yes
DISABLE_DNAT Y
FORCE_NAT 192.168.77.7  2222
ON_CONTROLLER_LOSS allow
PROTECT tcp/5432

SOURCE any
MAX_FW_TIMEOUT 60
";

/// Written by hand; the keys with `printf 'old key' | base64` and so on.
const TIDY: &str = "\
%group dba carol
%group sre alice, mbr
PROTECT tcp/22,udp/53

NAME db
SOURCE 192.0.2.0/24,2001:db8::/32
HOSTS env=prod role=db
HOSTS ANY
REQUIRE_USERNAME alice, bob, carol, mbr
KEY_BASE64 b2xkIGtleQ==
HMAC_KEY_BASE64 b2xkIGgjbQ==
KEY_BASE64 bmV3IGtleQ==
HMAC_KEY_BASE64 aCNt
ENCRYPTION_MODE CTR
HMAC_DIGEST_TYPE sha512
OPEN_PORTS tcp/22,tcp/5432
RESTRICT_PORTS udp/1
FW_ACCESS_TIMEOUT 30
MAX_FW_TIMEOUT 300
REQUIRE_SOURCE_ADDRESS Y
ACCESS_EXPIRE_EPOCH 1924905600
ENABLE_CMD_EXEC Y
CMD_EXEC_USER nobody
FORCE_NAT 192.168.77.7 2222
FORCE_MASQUERADE Y
DISABLE_DNAT Y
FORWARD_ALL Y
NAT_ACCESS 10.0.0.0/24,LOCAL tcp/22,udp/1-9
NAT_ACCESS 2001:db8::/64
ON_CONTROLLER_LOSS allow
PROTECT tcp/5432

SOURCE ANY
FW_ACCESS_TIMEOUT 30
MAX_FW_TIMEOUT 60
REQUIRE_SOURCE_ADDRESS Y
";

fn policy(text: &str) -> Policy {
    parse("access.conf", text, &NoIncludes).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn a_policy_is_printed_in_one_spelling() {
    assert_eq!(policy(UNTIDY).print(Secrets::Show), TIDY);
}

#[test]
fn the_canonical_text_reads_back_as_itself() {
    assert_eq!(policy(TIDY), policy(UNTIDY));
    assert_eq!(policy(TIDY).print(Secrets::Show), TIDY);
}

#[test]
fn a_redacted_text_shows_no_key_and_does_not_read_back() {
    let redacted = policy(UNTIDY).print(Secrets::Redact);

    for secret in ["old key", "b2xkIGtleQ", "bmV3IGtleQ", "aCNt", "h#m"] {
        assert!(!redacted.contains(secret), "{redacted}");
    }
    let mistakes = parse("access.conf", &redacted, &NoIncludes)
        .unwrap_err()
        .mistakes;
    assert_eq!(mistakes.len(), 4);
    assert!(mistakes[0].message.contains("left out"));
}

#[test]
fn debug_output_shows_no_key() {
    let shown = format!("{:?}", policy(UNTIDY));

    for secret in ["old key", "b2xkIGtleQ", "bmV3IGtleQ", "aCNt", "h#m"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn compiled_text_reads_back_as_itself() {
    let public: ExchangePublic = ExchangeSecret::from_bytes([7; 32]).public();
    let text = format!(
        "PROTECT tcp/22\n\nNAME a\nSOURCE ANY\nREQUIRE_USERNAME alice\nUSER_PUBLIC_KEY {public}\n\
         OPEN_PORTS tcp/22\nFW_ACCESS_TIMEOUT 30\nMAX_FW_TIMEOUT 300\nREQUIRE_SOURCE_ADDRESS N\n"
    );

    let policy = parse_as(Dialect::Compiled, "policy", &text, &NoIncludes).unwrap();

    assert_eq!(policy.print(Secrets::Show), text);
}

#[test]
fn a_stanza_without_a_key_requires_an_address_unless_it_says_that_it_does_not() {
    let required = |dialect, more: &str| {
        let text = format!("NAME a\nSOURCE ANY\n{more}");
        let policy = parse_as(dialect, "policy", &text, &NoIncludes).unwrap();
        let printed = policy.print(Secrets::Show);
        let again = parse_as(dialect, "policy", &printed, &NoIncludes);
        assert_eq!(again.as_ref(), Ok(&policy), "{printed}");
        policy.stanzas[0].require_source_address
    };
    let public = ExchangeSecret::from_bytes([7; 32]).public();
    let of_user = format!("REQUIRE_USERNAME alice\nUSER_PUBLIC_KEY {public}\n");

    assert!(required(Dialect::Operator, ""));
    assert!(!required(Dialect::Operator, "REQUIRE_SOURCE_ADDRESS N\n"));
    assert!(!required(Dialect::Operator, "KEY k\nHMAC_KEY h\n"));
    assert!(!required(Dialect::Alone, "KEY k\nHMAC_KEY h\n"));
    // A controller of the version before compiled nothing where it meant that none is required.
    assert!(!required(Dialect::Compiled, &of_user));
    let said = format!("{of_user}REQUIRE_SOURCE_ADDRESS Y\n");
    assert!(required(Dialect::Compiled, &said));
}

#[test]
fn a_text_keeps_its_comments_and_loses_its_keys() {
    let redacted = redact_text(
        "# ours\n#KEY old\n  KEY: a b #c;\nKEY_BASE64\tYWJj\nHMAC_KEY:x\nSOURCE ANY # all\n%group sre alice\n",
    );

    assert_eq!(
        redacted,
        "# ours\n#KEY [redacted]\n  KEY [redacted]\nKEY_BASE64 [redacted]\nHMAC_KEY [redacted]\n\
         SOURCE ANY # all\n%group sre alice\n"
    );
}

/// The text that Debian's fwknop-server 2.6.10 installs, without its comments.
#[test]
fn the_sample_of_fwknop_is_refused_for_its_placeholders_only() {
    let sample = "SOURCE              ANY\nKEY_BASE64          __CHANGEME__\nHMAC_KEY_BASE64     __CHANGEME__\n";

    let mistakes = parse("access.conf", sample, &NoIncludes)
        .unwrap_err()
        .mistakes;

    let lines: Vec<u32> = mistakes.iter().map(|mistake| mistake.line).collect();
    assert_eq!(lines, [2, 3]);
}

#[test]
fn a_text_made_of_several_files_says_where_each_stanza_was_written() {
    struct Files;
    impl crate::Source for Files {
        fn read(
            &self,
            _path: &std::path::Path,
        ) -> Result<zeroize::Zeroizing<String>, crate::ReadError> {
            Ok("\n\nNAME inner\nSOURCE ANY\n".to_owned().into())
        }
        fn list_conf(
            &self,
            _dir: &std::path::Path,
        ) -> Result<Vec<std::path::PathBuf>, crate::ReadError> {
            Ok(Vec::new())
        }
    }
    let text = "%group sre alice\n%include conf.d/inner.conf\n%test deny @sre ANY tcp/23\nNAME outer\nSOURCE ANY\n";
    let policy = parse("fleet.conf", text, &Files).unwrap();

    let whole = policy.print_with_places();
    let read = parse("sent", &whole, &NoIncludes).unwrap();

    let places = |policy: &Policy| {
        let stanzas = (0..2).map(|position| policy.origin(position).unwrap().to_string());
        stanzas.collect::<Vec<_>>()
    };
    assert_eq!(places(&policy), ["conf.d/inner.conf:3", "fleet.conf:4"]);
    assert_eq!(places(&read), places(&policy));
    assert_eq!(read.tests[0].at.to_string(), "fleet.conf:3");
    assert_eq!(read, policy);
    assert!(
        whole.contains("\n#line 3 \"conf.d/inner.conf\"\nNAME inner\n"),
        "{whole}"
    );
    // What does not read so is a comment, and a host's own text has no other lines than its own.
    let odd = "#line x \"y\"\n#line 3\nNAME a\nSOURCE ANY\nKEY k\n";
    assert_eq!(
        parse("f", odd, &NoIncludes)
            .unwrap()
            .origin(0)
            .unwrap()
            .line,
        3
    );
    let alone = "#line 7 \"y\"\nNAME a\nSOURCE ANY\nKEY k\n";
    let alone = parse_as(Dialect::Alone, "f", alone, &NoIncludes).unwrap();
    assert_eq!(alone.origin(0).unwrap().to_string(), "f:2");
}
