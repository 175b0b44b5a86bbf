use std::io::Cursor;

use serde_json::Value;

use super::*;
use crate::gpg::GnupgHomes;

/// `fwknop -A tcp/22 -a 10.1.2.3 -D 127.0.0.1 --key-rijndael vectorpass1 --key-hmac vector-hmac-key`
/// by Debian's fwknop 2.6.10 (vector hmac_default_type).
const PACKET: &str = "9vdGNaxlDvFYwvjHYm2JIT305t89DNfCjVEXLK32DITUi0RF946zVdDBvUM6hgan/BfEVoXWCsyR1GFl5g0TDpBEcqHkzlONI69Nk2c0yZsaIrrTmgbsvYIqjfoi5eWfgVS0uFsv32iy2RXto2oc9SVA+o025OLo80KyNP0IsB+wQG2TrvAom9OAYJC1Rmp9WA3ALyyQlU9o";
const SENT_SECS: u64 = 1_795_422_834;
const KEYS: &str = "SOURCE ANY\nKEY vectorpass1\nHMAC_KEY vector-hmac-key\n";

#[test]
fn a_packet_of_the_real_client_is_explained_field_by_field() {
    let lines = explained(&at_its_time(KEYS), format!("{PACKET}\n"));

    assert_eq!(
        lines,
        [serde_json::json!({
            "accepted": true,
            "check": "accepted",
            "reason": "stanza #1 opens tcp/22 to 10.1.2.3 for 30 s",
            "stanza": 1,
            "username": "root",
            "timestamp": SENT_SECS,
            "version": "3.0.0",
            "message_type": 1,
            "message": "10.1.2.3,tcp/22",
            "nat_access": null,
            "client_timeout": 0,
            "digest": "AoaLAYxZy1ZeN8RHZfk5kl3q/IJLZpp24fBYfoGjMyw",
            "random": "1785484479104091",
            "user": "root",
            "user_identity": "asserted",
            "stanza_name": null,
            "key": lines[0]["key"],
            "replay_digest": lines[0]["replay_digest"],
            "opens": "10.1.2.3",
            "ports": ["tcp/22"],
            "command": null,
            "timeout": 30,
        })]
    );
}

#[test]
fn what_is_not_authentic_has_all_names_and_no_values() {
    let known = explained(&at_its_time(KEYS), PACKET);
    let unknown = explained(
        &at_its_time("SOURCE ANY\nKEY other\nHMAC_KEY another\n"),
        PACKET,
    );

    let names = |line: &Value| {
        line.as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&known[0]), names(&unknown[0]));
    assert_eq!(unknown[0]["accepted"], false);
    assert_eq!(unknown[0]["check"], "authenticate");
    for name in [
        "stanza",
        "username",
        "timestamp",
        "message",
        "digest",
        "opens",
    ] {
        assert_eq!(unknown[0][name], Value::Null, "{name}");
    }
}

#[test]
fn a_second_copy_is_a_replay_with_its_fields() {
    let lines = explained(&at_its_time(KEYS), format!("{PACKET}\n{PACKET}\n"));

    assert_eq!(lines[1]["accepted"], false);
    assert_eq!(lines[1]["check"], "replay");
    assert_eq!(lines[1]["username"], "root");
    assert_eq!(lines[1]["stanza"], 1);
}

#[test]
fn a_malformed_line_never_stops_the_run() {
    let mut input = b"\n\xff\xfe\x00junk\nshort\n".to_vec();
    input.extend(vec![b'A'; 3 * PAYLOAD_BYTES_MAX]);
    input.extend(b"\n");
    input.extend(PACKET.as_bytes());

    let lines = explained(&at_its_time(KEYS), input);

    let checks: Vec<_> = lines
        .iter()
        .map(|line| line["check"].as_str().unwrap())
        .collect();
    assert_eq!(checks, ["parse", "parse", "parse", "parse", "accepted"]);
}

#[test]
fn only_the_newline_is_stripped() {
    let lines = explained(&at_its_time(KEYS), format!("{PACKET}\r\n {PACKET}\n"));

    assert_eq!(lines[0]["check"], "parse");
    assert_eq!(lines[1]["check"], "parse");
}

#[test]
fn age_is_judged_by_the_clock_that_is_given_or_not_at_all() {
    let stale = explained(&arguments(KEYS, &["--clock", "1795422955"]), PACKET);
    let in_time = explained(&arguments(KEYS, &["--clock", "1795422954"]), PACKET);
    let wide = explained(
        &arguments(KEYS, &["--clock", "1795422955", "--max-age", "121"]),
        PACKET,
    );
    let no_ageing = explained(&arguments(KEYS, &["--no-ageing"]), PACKET);

    assert_eq!(stale[0]["check"], "fresh");
    assert_eq!(stale[0]["username"], "root");
    for lines in [in_time, wide, no_ageing] {
        assert_eq!(lines[0]["accepted"], true);
    }
}

#[test]
fn the_stanza_that_refuses_is_named_also_for_a_wrong_source_or_destination() {
    let source = KEYS.replace("ANY", "192.0.2.0/24");
    let destination = format!("{KEYS}DESTINATION 192.0.2.1\n");
    for (access_conf, option) in [(source, "--source"), (destination, "--destination")] {
        let refused = explained(&at_its_time(&access_conf), PACKET);
        let right = ["--no-ageing", option, "192.0.2.1"];
        let accepted = explained(&arguments(&access_conf, &right), PACKET);

        assert_eq!(refused[0]["check"], "authorize");
        assert_eq!(refused[0]["stanza"], 1);
        assert_eq!(accepted[0]["accepted"], true);
    }
}

#[test]
fn what_is_sent_to_another_machine_is_said_to_be_that_unless_a_destination_names_it() {
    let named = format!("{KEYS}DESTINATION 192.0.2.0/24\n");
    let explain = |access_conf: &str, destination| {
        let words = [
            "--no-ageing",
            "--host-address",
            "198.51.100.1",
            "--destination",
            destination,
        ];
        explained(&arguments(access_conf, &words), PACKET).remove(0)
    };

    let elsewhere = explain(KEYS, "192.0.2.1");

    assert_eq!(
        (&elsewhere["accepted"], &elsewhere["check"]),
        (&false.into(), &"destination".into())
    );
    let reason = elsewhere["reason"].as_str().unwrap();
    assert!(reason.contains("not this host's"), "{reason}");
    assert_eq!(explain(KEYS, "198.51.100.1")["accepted"], true);
    assert_eq!(explain(&named, "192.0.2.1")["accepted"], true);
}

#[test]
fn a_file_with_mistakes_is_refused_with_all_of_them() {
    let file = access_file("SOURCE ANY\nKEY __CHANGEME__\nOPEN_PORTS tcp/99999\nNOPE 1\n");

    let invalid = policies::load(file.path(), &GnupgHomes::default(), Now::default())
        .unwrap_err()
        .to_string();

    for line in [2, 3, 4] {
        let place = format!("{}:{line}:", file.path().display());
        assert!(invalid.contains(&place), "{invalid}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let missing = "/nonexistent/access.conf".as_ref();
    let invalid = policies::load(missing, &GnupgHomes::default(), Now::default()).unwrap_err();

    let [reason] = &invalid.reasons()[..] else {
        panic!("{invalid}");
    };
    assert!(
        reason.starts_with("cannot read /nonexistent/access.conf: "),
        "{reason}"
    );
}

/// The arguments, and the access file that they name, for as long as it lives.
struct Arguments {
    parsed: ExplainArgs,
    _file: tempfile::NamedTempFile,
}

fn at_its_time(access_conf: &str) -> Arguments {
    arguments(access_conf, &["--clock", "1795422834"])
}

fn arguments(access_conf: &str, more: &[&str]) -> Arguments {
    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        explain: ExplainArgs,
    }
    let file = access_file(access_conf);
    let path = file.path().to_str().unwrap();
    let words = ["explain", "--access-file", path]
        .into_iter()
        .chain(more.iter().copied());
    let command: Command = clap::Parser::parse_from(words);
    Arguments {
        parsed: command.explain,
        _file: file,
    }
}

fn access_file(access_conf: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(access_conf.as_bytes()).unwrap();
    file
}

fn explained(arguments: &Arguments, input: impl AsRef<[u8]>) -> Vec<Value> {
    let args = &arguments.parsed;
    let path = args.access_file.as_ref().unwrap();
    let compiled = policies::load(path, &GnupgHomes::default(), now(args)).unwrap();
    let mut gate = Gate::new(settings(args, None), compiled);
    gate.set_addressees(addressees(args));
    let mut output = Vec::new();

    let mut replays = Memory::default();
    explain(
        args,
        &mut gate,
        &mut replays,
        Cursor::new(input),
        &mut output,
    )
    .unwrap();

    output
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}
