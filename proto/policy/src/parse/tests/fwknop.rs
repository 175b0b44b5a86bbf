//! access.conf as people have it: what fwknop's dialect makes of it, and what is said about that.

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use zeroize::Zeroizing;

use super::*;

/// The warnings of a text in fwknop's dialect.
fn said(text: &str) -> Vec<String> {
    alone(text)
        .warnings
        .iter()
        .map(Mistake::to_string)
        .collect()
}

fn refused(text: &str) -> Vec<String> {
    shown(parse_as(Dialect::Alone, "access.conf", text, &NoIncludes))
}

/// Its keys: encryption key and HMAC key.
fn keys(stanza: &Stanza) -> Vec<(&[u8], Option<&[u8]>)> {
    let keys = stanza.static_keys().iter();
    keys.map(|keys| {
        let hmac = keys.hmac().map(|(key, _)| key.as_bytes());
        (keys.encryption().as_bytes(), hmac)
    })
    .collect()
}

#[test]
fn of_two_key_lines_fwknops_dialect_takes_the_last_with_the_stanzas_hmac_key_and_says_so() {
    let text = "SOURCE ANY\nKEY abc\nHMAC_KEY hhh\nKEY xyz\nOPEN_PORTS tcp/22\n";

    let policy = alone(text);

    assert_eq!(keys(&policy.stanzas[0]), [(&b"xyz"[..], Some(&b"hhh"[..]))]);
    let warnings = said(text);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].starts_with(
            "access.conf:4: KEY: the line takes the place of the one at access.conf:2"
        ),
        "{warnings:?}"
    );
    // In whatever order and spelling.
    for (text, expected) in [
        (
            "KEY_BASE64 YWJj\nKEY xyz\nHMAC_KEY_BASE64 YWJj\nHMAC_KEY hhh\n",
            (b"xyz", b"hhh"),
        ),
        (
            "HMAC_KEY old\nKEY abc\nHMAC_KEY hhh\nKEY_BASE64 eHl6\n",
            (b"xyz", b"hhh"),
        ),
    ] {
        let policy = alone(&format!("SOURCE ANY\n{text}"));
        let (key, hmac) = expected;
        assert_eq!(keys(&policy.stanzas[0]), [(&key[..], Some(&hmac[..]))]);
    }
}

#[test]
fn in_a_stanza_with_any_hmac_key_no_key_is_without_one() {
    let text = "SOURCE ANY\nKEY abc\nHMAC_KEY hhh\nKEY xyz\nOPEN_PORTS tcp/22\n";
    assert_mistake(text, "access.conf:4: KEY: this key has no HMAC key");
    assert_mistake(
        "SOURCE ANY\nKEY abc\nMORE_KEYS_BASE64 eHl6 aGho\n",
        "access.conf:2: KEY: this key has no HMAC key",
    );

    // What an earlier controller has compiled stays in force but for that key.
    let compiled = parse_as(Dialect::Compiled, "policy", text, &NoIncludes).unwrap();
    assert_eq!(
        keys(&compiled.stanzas[0]),
        [(&b"abc"[..], Some(&b"hhh"[..]))]
    );
    assert_eq!(compiled.warnings.len(), 1, "{:?}", compiled.warnings);
}

#[test]
fn more_keys_stand_in_lines_that_hold_the_hmac_key_too_in_both_dialects() {
    let text = "SOURCE ANY\nKEY abc\nMORE_KEYS_BASE64 eHl6 aGho\nHMAC_KEY one\nMORE_KEYS_BASE64 cXFx eHh4\n";
    let expected = [
        (&b"abc"[..], Some(&b"one"[..])),
        (&b"xyz"[..], Some(&b"hhh"[..])),
        (&b"qqq"[..], Some(&b"xxx"[..])),
    ];

    for dialect in [Dialect::Alone, Dialect::Operator] {
        let policy = parse_as(dialect, "a", text, &NoIncludes).unwrap();

        assert_eq!(keys(&policy.stanzas[0]), expected, "{dialect:?}");
        // Hosts of the version before read it, too.
        let printed = policy.print(crate::Secrets::Show);
        assert!(!printed.contains("MORE_KEYS"), "{printed}");
    }
    for line in ["eHl6", "eHl6 aGho cXFx", "eHl6 eHl6", "? ?"] {
        let mistakes = refused(&format!(
            "SOURCE ANY\nKEY k\nHMAC_KEY h\nMORE_KEYS_BASE64 {line}\n"
        ));
        assert_eq!(mistakes.len(), 1, "{line}");
        assert!(!mistakes[0].contains(line), "{mistakes:?}");
    }
    let alone = refused("SOURCE ANY\nMORE_KEYS_BASE64 eHl6 aGho\n");
    assert!(
        alone[0].contains("MORE_KEYS_BASE64: the stanza has no KEY"),
        "{alone:?}"
    );
}

#[test]
fn of_two_lines_of_any_keyword_fwknops_dialect_takes_the_last_and_says_so_and_ours_takes_none() {
    let text = "SOURCE ANY\nKEY k\nHMAC_KEY h\nOPEN_PORTS tcp/22\nOPEN_PORTS tcp/80\n\
                FW_ACCESS_TIMEOUT 30\nFW_ACCESS_TIMEOUT 60\n\
                ACCESS_EXPIRE_EPOCH 1900000000\nACCESS_EXPIRE 1/1/2030\n";

    let policy = alone(text);

    let stanza = &policy.stanzas[0];
    assert_eq!(stanza.open_ports, Some(PortSet::parse("tcp/80").unwrap()));
    assert_eq!(stanza.fw_access_timeout_secs, 60);
    assert_eq!(stanza.expire_at_secs, Some(1_893_456_000));
    let lines: Vec<_> = policy.warnings.iter().map(|warning| warning.line).collect();
    assert_eq!(lines, [5, 7, 9]);
    assert_eq!(mistakes(text).len(), 3);
}

#[test]
fn words_of_fwknop_1_may_stand_where_they_are_off_and_are_named_where_they_are_on() {
    let stanza = "SOURCE ANY\nKEY k\nHMAC_KEY h\nOPEN_PORTS tcp/22\n";
    for word in [
        "ENABLE_EXTERNAL_CMDS",
        "ENABLE_FORWARD_ACCESS",
        "ENABLE_OUTPUT_ACCESS",
        "PERMIT_CLIENT_PORTS",
        "PERMIT_CLIENT_TIMEOUT",
        "DISABLE_FW_TIMEOUT",
    ] {
        let warnings = said(&format!("{stanza}{word} N;\n"));
        let expected = format!("access.conf:5: {word}: the line has no effect");
        assert!(warnings[0].starts_with(&expected), "{warnings:?}");

        let mistakes = refused(&format!("{stanza}{word} Y;\n"));
        assert!(
            mistakes[0].starts_with(&format!("access.conf:5: {word}: ")),
            "{mistakes:?}"
        );
    }
    // What narrows a stanza is not passed over, whatever it says.
    assert_eq!(refused(&format!("{stanza}CMD_REGEX N\n")).len(), 1);
}

#[test]
fn a_prefix_of_no_length_is_refused_where_fwknopd_refuses_it_and_where_an_address_stands_before_it()
{
    let text = |source: &str| format!("NAME n\nHOSTS name=a\nSOURCE {source}\nOPEN_PORTS tcp/22\n");
    for source in ["1.2.3.4/0", "0.0.0.0/0", "1.2.3.4/0.0.0.0", "2001:db8::1/0"] {
        let alone = format!("SOURCE {source}\nKEY k\nHMAC_KEY h\n");
        let mistakes = refused(&alone);
        let expected = format!("access.conf:1: SOURCE: `{source}` is every address (ANY says so)");
        assert_eq!(mistakes, [expected]);
    }
    assert_mistake(
        &text("1.2.3.4/0"),
        "access.conf:3: SOURCE: `1.2.3.4/0` is every address",
    );
    let policy = policy(&text("0.0.0.0/0"));
    assert!(
        policy.warnings[0].message.contains("is every address"),
        "{policy:?}"
    );
}

#[test]
fn bits_behind_a_prefix_are_said_with_the_network_that_is_meant() {
    let warnings = said(
        "SOURCE 192.168.10.7/24\nDESTINATION 10.1.2.3/255.0.0.0\nKEY k\nHMAC_KEY h\nOPEN_PORTS tcp/22\n",
    );

    assert_eq!(
        warnings,
        [
            "access.conf:1: SOURCE: `192.168.10.7/24` is the whole network 192.168.10.0/24 \
             (write 192.168.10.0/24, or the address alone)",
            "access.conf:2: DESTINATION: `10.1.2.3/255.0.0.0` is the whole network 10.0.0.0/8 \
             (write 10.0.0.0/8, or the address alone)",
        ]
    );
}

#[test]
fn what_looks_like_a_comment_behind_a_passphrase_is_a_part_of_it_and_that_is_said() {
    let text = "SOURCE ANY\nKEY abc # c\nHMAC_KEY hhh #x\nOPEN_PORTS tcp/22\n";

    let policy = alone(text);

    assert_eq!(
        keys(&policy.stanzas[0]),
        [(&b"abc # c"[..], Some(&b"hhh #x"[..]))]
    );
    let lines: Vec<_> = policy.warnings.iter().map(|warning| warning.line).collect();
    assert_eq!(lines, [2, 3]);
    assert!(!said(text)[0].contains("abc"));
    assert!(said("SOURCE ANY\nKEY a#c\nHMAC_KEY #x\nOPEN_PORTS tcp/22\n").is_empty());
}

#[test]
fn a_blank_before_the_semicolon_is_part_of_a_passphrase_for_fwknop_and_a_mistake_for_us() {
    let text = "SOURCE ANY\nKEY abc ;\nHMAC_KEY h\nOPEN_PORTS tcp/22\n";

    let policy = alone(text);

    assert_eq!(keys(&policy.stanzas[0])[0].0, b"abc ");
    assert_eq!(policy.warnings.len(), 1);
    let ours = mistakes(text);
    assert!(
        ours[1].starts_with("access.conf:2: KEY: the blank in front of `;`"),
        "{ours:?}"
    );
}

#[test]
fn names_with_a_blank_between_them_are_one_name_and_that_is_said() {
    let text = "%group sre alice bob\nSOURCE ANY\nREQUIRE_USERNAME root bob\nKEY k\nHMAC_KEY h\n\
                OPEN_PORTS tcp/22\n%group dba carol\n";

    assert_eq!(
        said(text),
        [
            "access.conf:1: %group: `alice bob` is one name, with a blank in it (commas separate names)",
            "access.conf:3: REQUIRE_USERNAME: `root bob` is one name, with a blank in it (commas separate names)",
        ]
    );
}

/// A machine in Tokyo, whose working directory has a file.
struct Tokyo;

impl Source for Tokyo {
    fn read(&self, path: &Path) -> Result<Zeroizing<String>, ReadError> {
        match path.to_str() {
            Some("conf/keys") => Ok("KEY k\nHMAC_KEY h\n".to_owned().into()),
            Some("conf/more.conf") => Ok("SOURCE ANY\nKEY k\nHMAC_KEY h\nOPEN_PORTS tcp/22\n"
                .to_owned()
                .into()),
            _ => Err(ReadError("no such file".to_owned())),
        }
    }

    fn list_conf(&self, dir: &Path) -> Result<Vec<PathBuf>, ReadError> {
        Err(ReadError(format!("no folder {}", dir.display())))
    }

    fn time_zone(&self) -> TimeZone {
        TimeZone::get("Asia/Tokyo").unwrap()
    }
}

#[test]
fn a_date_is_local_for_fwknop_and_the_same_moment_on_every_host_of_a_fleet() {
    let text = "SOURCE ANY\nKEY k\nHMAC_KEY h\nACCESS_EXPIRE 11/26/2026\n";
    let expires = |dialect| {
        let policy = parse_as(dialect, "access.conf", text, &Tokyo).unwrap();
        (
            policy.stanzas[0].expire_at_secs,
            policy.notes[0].to_string(),
        )
    };

    let (at, note) = expires(Dialect::Alone);

    assert_eq!(at, Some(1_795_618_800));
    assert_eq!(
        note,
        "access.conf:4: ACCESS_EXPIRE: access ends at 2026-11-26 00:00:00 +09:00, which is second \
         1795618800 (ACCESS_EXPIRE_EPOCH)"
    );
    assert_eq!(expires(Dialect::Operator).0, Some(1_795_651_200));
}

#[test]
fn a_relative_include_is_looked_for_in_the_working_directory_too_and_that_is_said() {
    let text = "SOURCE ANY\nOPEN_PORTS tcp/22\n%include conf/more.conf\n%include_keys conf/keys\n";

    let policy = parse_as(Dialect::Alone, "/etc/fwknop/access.conf", text, &Tokyo).unwrap();

    assert_eq!(policy.stanzas.len(), 2);
    let warnings: Vec<_> = policy.warnings.iter().map(Mistake::to_string).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings[0].starts_with(
            "/etc/fwknop/access.conf:3: %include: taken from the working directory, as by fwknop"
        ),
        "{warnings:?}"
    );
    let ours = shown(parse("/etc/fwknop/access.conf", text, &Tokyo));
    assert!(
        ours[0].contains("cannot read /etc/fwknop/conf/more.conf"),
        "{ours:?}"
    );
    let missing = parse_as(Dialect::Alone, "/etc/a", "%include nowhere\n", &Tokyo);
    assert!(shown(missing)[0].contains("working directory either"));
}

#[test]
fn a_warning_names_the_line_that_is_meant() {
    let text = "SOURCE ANY\nKEY k\nHMAC_KEY h\nOPEN_PORTS tcp/22\nENCRYPTION_MODE ECB\nFW_ACCESS_TIMEOUT 600\n";

    let lines: Vec<_> = alone(text)
        .warnings
        .iter()
        .map(|warning| warning.line)
        .collect();

    assert_eq!(lines, [5, 6]);
}

#[test]
fn an_unknown_word_is_named_where_it_looks_like_one_and_a_key_in_a_line_of_its_own_is_not() {
    let stanza = "SOURCE ANY\nKEY k\nHMAC_KEY h\n";
    let said = |line: &str| refused(&format!("{stanza}{line}\n")).remove(0);

    assert_eq!(
        said("PARAMETER on"),
        "access.conf:4: PARAMETER: unknown keyword"
    );
    assert_eq!(said("NEW_WORD"), "access.conf:4: NEW_WORD: unknown keyword");
    for key in [
        "SECRETPASSPHRASE",
        "c2VjcmV0LWtleS1vbi1hLWxpbmU=",
        "correct horse battery",
    ] {
        let said = said(key);
        assert!(!said.contains(key.split(' ').next().unwrap()), "{said}");
        assert!(
            said.starts_with("access.conf:4: the line does not begin"),
            "{said}"
        );
    }
}
