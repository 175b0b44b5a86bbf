//! Packets: what is printed, what is sent, and what openssl makes of them.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::process::Command;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use spa::{DigestType, EncryptionMode, Secret};

use crate::sandbox::{Ran, Sandbox, finish, keys, keys_of, open, open_tagged};

const KEY: &str = "k3y-of-the-test";
const HMAC: &str = "hm4c-of-the-test";
const BASE: [&str; 6] = ["-A", "tcp/22", "--key-rijndael", KEY, "--key-hmac", HMAC];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&BASE[..], more].concat()
}

#[test]
fn openssl_decrypts_the_packet_and_computes_the_same_hmac() {
    let sandbox = Sandbox::new();
    let packet = sandbox.packet(&with(&["192.0.2.1", "-a", "192.0.2.9", "-U", "mbr"]));
    let (body, tag) = packet.split_at(packet.len() - 43);
    let text = format!("U2FsdGVkX1{body}");

    let raw = STANDARD_NO_PAD.decode(&text).unwrap();
    let raw = sandbox.write("raw", raw);
    let text = sandbox.write("text", text);
    let pass = format!("pass:{KEY}");
    let raw = raw.to_str().unwrap();
    let plain = openssl(&[
        "enc",
        "-d",
        "-aes-256-cbc",
        "-md",
        "md5",
        "-pass",
        &pass,
        "-in",
        raw,
    ]);
    let mac = openssl(&[
        "dgst",
        "-sha256",
        "-binary",
        "-hmac",
        HMAC,
        text.to_str().unwrap(),
    ]);

    assert_eq!(STANDARD_NO_PAD.encode(mac), tag);
    let plain = String::from_utf8(plain).unwrap();
    let fields: Vec<&str> = plain.split(':').collect();
    assert!(fields[0].len() == 16 && fields[0].bytes().all(|byte| byte.is_ascii_digit()));
    // `printf mbr | base64`, `printf 192.0.2.9,tcp/22 | base64`
    assert_eq!(fields[1], "bWJy");
    assert_eq!((fields[3], fields[4]), ("3.0.0", "1"));
    assert_eq!(fields[5], "MTkyLjAuMi45LHRjcC8yMg");
    let covered = sandbox.write("covered", plain.rsplit_once(':').unwrap().0);
    let digest = openssl(&["dgst", "-sha256", "-binary", covered.to_str().unwrap()]);
    assert_eq!(STANDARD_NO_PAD.encode(digest), fields[6]);
}

#[test]
fn every_mode_and_digest_is_what_was_asked_for() {
    let sandbox = Sandbox::new();
    let modes = ["cbc", "CTR", "CFB", "OFB", "ECB", "legacy"];
    let digests = [
        "MD5", "sha1", "sha256", "sha384", "sha512", "sha3_256", "sha3_512",
    ];
    for (mode, digest) in modes.iter().cycle().zip(digests) {
        let legacy = *mode == "legacy";
        let mut words = vec!["192.0.2.1", "-A", "tcp/22", "-s", "--key-rijndael", KEY];
        words.extend(["-M", mode, "-m", digest]);
        if !legacy {
            words.extend(["--key-hmac", HMAC, "--hmac-digest-type", digest]);
        }

        let packet = sandbox.packet(&words);

        let hmac: Option<(Secret, DigestType)> =
            (!legacy).then(|| (Secret::from_passphrase(HMAC), digest.parse().unwrap()));
        let mode: EncryptionMode = mode.parse().unwrap();
        let opened = open(&packet, &keys_of(Secret::from_passphrase(KEY), mode, hmac));
        assert_eq!(opened.message().digest_type, digest.parse().unwrap());
    }
}

#[test]
fn the_type_of_the_message_follows_from_the_options() {
    let sandbox = Sandbox::new();
    let keys = keys(KEY, Some(HMAC));
    type Case<'a> = (&'a [&'a str], u8, &'a str, Option<&'a str>, u32);
    let cases: [Case<'_>; 9] = [
        (&["-s"], 1, "0.0.0.0,tcp/22", None, 0),
        (&["-a", "0.0.0.0"], 1, "0.0.0.0,tcp/22", None, 0),
        (&["-a", "2001:db8::7"], 1, "2001:db8::7,tcp/22", None, 0),
        (&["-s", "-f", "60"], 3, "0.0.0.0,tcp/22", None, 60),
        (
            &["-s", "-N", "db:5432"],
            2,
            "0.0.0.0,tcp/22",
            Some("db,5432"),
            0,
        ),
        (
            &["-s", "-N", "db", "-f", "9"],
            4,
            "0.0.0.0,tcp/22",
            Some("db,22"),
            9,
        ),
        (
            &["-s", "--nat-local"],
            5,
            "0.0.0.0,tcp/22",
            Some("192.0.2.1,22"),
            0,
        ),
        (
            &["-s", "--nat-local", "-f", "9"],
            6,
            "0.0.0.0,tcp/22",
            Some("192.0.2.1,22"),
            9,
        ),
        (
            &["-s", "-N", "db", "--nat-port", "4000"],
            2,
            "0.0.0.0,tcp/4000",
            Some("db,22"),
            0,
        ),
    ];
    for (more, number, text, nat, timeout_secs) in cases {
        let packet = sandbox.packet(&[&with(&["192.0.2.1"])[..], more].concat());
        let opened = open(&packet, &keys);
        assert_eq!(opened.message().message_type.number(), number, "{more:?}");
        assert_eq!((opened.message_text(), opened.nat_text()), (text, nat));
        assert_eq!(opened.message().client_timeout_secs, timeout_secs);
    }

    let command = [
        "192.0.2.1",
        "-s",
        "-C",
        "/bin/echo a:b,c",
        "-f",
        "5",
        "--key-rijndael",
        KEY,
    ];
    let opened = open(&sandbox.packet(&command), &self::keys(KEY, None));
    assert_eq!(opened.message().message_type.number(), 0);
    assert_eq!(opened.message_text(), "0.0.0.0,/bin/echo a:b,c");
}

#[test]
fn the_time_offset_moves_the_timestamp() {
    let sandbox = Sandbox::new();
    let keys = keys(KEY, Some(HMAC));
    let at = |more: &[&str]| {
        let packet = sandbox.packet(&[&with(&["192.0.2.1", "-s"])[..], more].concat());
        i64::try_from(open(&packet, &keys).message().timestamp_secs).unwrap()
    };

    let now_secs = at(&[]);

    assert!((at(&["--time-offset-plus", "2h"]) - now_secs - 7200).abs() < 60);
    assert!((at(&["--time-offset-minus", "1D"]) - now_secs + 86_400).abs() < 60);
}

#[test]
fn two_packets_share_neither_random_data_nor_salt() {
    let sandbox = Sandbox::new();
    let keys = keys(KEY, Some(HMAC));
    let one = sandbox.packet(&with(&["192.0.2.1", "-s"]));
    let other = sandbox.packet(&with(&["192.0.2.1", "-s"]));

    assert_ne!(one[..12], other[..12]);
    assert_ne!(
        open(&one, &keys).message().random,
        open(&other, &keys).message().random
    );
}

#[test]
fn the_tagged_form_is_for_those_who_ask_and_have_an_hmac_key() {
    let sandbox = Sandbox::new();
    let packet = sandbox.packet(&with(&["192.0.2.1", "-s", "--tagged"]));

    let opened = open_tagged(&packet, &keys(KEY, Some(HMAC)));
    let without = [
        "knock",
        "192.0.2.1",
        "-A",
        "tcp/22",
        "-s",
        "--key-rijndael",
        KEY,
        "--tagged",
    ];
    let ran = sandbox.run(&without);

    assert_eq!(opened.message_text(), "0.0.0.0,tcp/22");
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("--no-tagged"), "{}", ran.stderr);
}

#[test]
fn no_secret_is_in_any_output() {
    let sandbox = Sandbox::new();
    let words = with(&["192.0.2.1", "-s", "-vvv", "--dry-run"]);

    let Ran {
        code,
        stdout,
        stderr,
    } = sandbox.run(&[&["knock"], &words[..]].concat());
    let too_long = "x".repeat(33);
    let refused = sandbox.run(&[
        "knock",
        "192.0.2.1",
        "-A",
        "tcp/22",
        "-s",
        "--key-rijndael",
        &too_long,
    ]);

    assert_eq!((code, refused.code), (0, 2));
    for text in [stdout, stderr, refused.stdout, refused.stderr] {
        for secret in [KEY, HMAC, too_long.as_str()] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[test]
fn a_key_on_the_command_line_is_warned_of_and_one_from_standard_input_is_not() {
    let sandbox = Sandbox::new();
    let base = ["knock", "192.0.2.1", "-A", "tcp/22", "-s", "--dry-run"];

    let visible = sandbox.run(&[&base[..], &["--key-rijndael", KEY]].concat());
    let hidden = sandbox.run_with(&[&base[..], &["--stdin"]].concat(), "k3y-of-the-test\n");

    assert!(visible.stderr.contains("other users of this machine"));
    assert!(!hidden.stderr.contains("warning"), "{}", hidden.stderr);
    let opened = open(hidden.stdout.trim(), &keys(KEY, None));
    assert_eq!(opened.message().username, "root");
}

#[test]
fn the_fields_are_printed_and_the_packet_arrives_as_printed_over_udp() {
    let sandbox = Sandbox::new();
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = receiver.local_addr().unwrap().port().to_string();

    let ran = sandbox.run(&[&["knock"], &with(&["127.0.0.1", "-s", "-p", &port])[..]].concat());
    let mut buffer = [0; 2000];
    let length = receiver.recv(&mut buffer).unwrap();

    let packet = std::str::from_utf8(&buffer[..length]).unwrap();
    let opened = open(packet, &keys(KEY, Some(HMAC)));
    let random = String::from_utf8_lossy(&opened.message().random).into_owned();
    for line in [
        format!("random data: {random}"),
        "username: root".to_owned(),
        format!("timestamp: {}", opened.message().timestamp_secs),
        "version: 3.0.0".to_owned(),
        "action: 1 (access mode)".to_owned(),
        "access: 0.0.0.0,tcp/22".to_owned(),
        format!("sha256 digest: {}", opened.digest_text()),
        format!("sending {length} byte packet to 127.0.0.1 over udp/{port}"),
    ] {
        assert!(
            ran.stdout.lines().any(|said| said == line),
            "{line}\n{}",
            ran.stdout
        );
    }
}

#[test]
fn the_packet_arrives_over_ipv6_and_from_the_source_port_that_was_asked_for() {
    let sandbox = Sandbox::new();
    let Ok(receiver) = UdpSocket::bind("[::1]:0") else {
        return; // a machine without IPv6
    };
    let port = receiver.local_addr().unwrap().port().to_string();
    let free = UdpSocket::bind("[::]:0").unwrap();
    let source_port = free.local_addr().unwrap().port();
    drop(free);
    let source = source_port.to_string();

    let words = with(&[
        "-D",
        "[::1]",
        "-6",
        "-a",
        "2001:db8::7",
        "-p",
        &port,
        "-S",
        &source,
    ]);
    let ran = sandbox.run(&[&["knock"], &words[..]].concat());
    let mut buffer = [0; 2000];
    let (length, from) = receiver.recv_from(&mut buffer).unwrap();

    assert_eq!((ran.code, from.port()), (0, source_port), "{}", ran.stderr);
    let packet = std::str::from_utf8(&buffer[..length]).unwrap();
    let opened = open(packet, &keys(KEY, Some(HMAC)));
    assert_eq!(opened.message_text(), "2001:db8::7,tcp/22");
}

#[test]
fn over_tcp_the_packet_is_the_connection_and_over_http_the_path() {
    let sandbox = Sandbox::new();
    for transport in ["tcp", "http"] {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port().to_string();
        let received = thread::spawn(move || {
            let mut text = String::new();
            server
                .accept()
                .unwrap()
                .0
                .read_to_string(&mut text)
                .unwrap();
            text
        });

        let words = with(&["127.0.0.1", "-s", "-P", transport, "-p", &port]);
        let ran = sandbox.run(&[&["knock"], &words[..]].concat());

        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let text = received.join().unwrap();
        let packet = if transport == "tcp" {
            text
        } else {
            assert!(text.contains("\r\nUser-Agent: Fwknop"), "{text}");
            assert!(text.ends_with("\r\n\r\n"));
            let path = text
                .strip_prefix("GET /")
                .unwrap()
                .split(' ')
                .next()
                .unwrap();
            path.replace('-', "+").replace('_', "/")
        };
        let opened = open(&packet, &keys(KEY, Some(HMAC)));
        assert_eq!(opened.message_text(), "0.0.0.0,tcp/22");
    }
}

#[test]
fn the_outside_address_comes_from_the_page_that_was_named() {
    let sandbox = Sandbox::new();
    let page = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/ip", page.local_addr().unwrap());
    let served = thread::spawn(move || {
        let mut stream = page.accept().unwrap().0;
        let mut request = [0; 2000];
        let _ = stream.read(&mut request).unwrap();
        let answer = "HTTP/1.0 200 OK\r\nContent-Length: 13\r\n\r\n203.0.113.77\n";
        stream.write_all(answer.as_bytes()).unwrap();
    });

    let refused = sandbox.run(
        &[
            &["knock"],
            &with(&["192.0.2.1", "-R", "--resolve-url", &url])[..],
        ]
        .concat(),
    );
    let packet = sandbox.packet(&with(&[
        "192.0.2.1",
        "--resolve-http-only",
        "--resolve-url",
        &url,
    ]));

    served.join().unwrap();
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("HTTPS"), "{}", refused.stderr);
    let opened = open(&packet, &keys(KEY, Some(HMAC)));
    assert_eq!(opened.message_text(), "203.0.113.77,tcp/22");
}

#[test]
fn an_outside_address_of_another_family_than_the_packets_is_refused() {
    let sandbox = Sandbox::new();
    let page = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/ip", page.local_addr().unwrap());
    let served = thread::spawn(move || {
        let mut stream = page.accept().unwrap().0;
        let mut request = [0; 2000];
        let _ = stream.read(&mut request).unwrap();
        let answer = "HTTP/1.0 200 OK\r\nContent-Length: 8\r\n\r\nfd77::2\n";
        stream.write_all(answer.as_bytes()).unwrap();
    });

    let words = ["127.0.0.1", "--resolve-http-only", "--resolve-url", &url];
    let ran = sandbox.run(&[&["knock"], &with(&words)[..]].concat());

    served.join().unwrap();
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("goes over IPv4"), "{}", ran.stderr);
}

fn openssl(words: &[&str]) -> Vec<u8> {
    let mut command = Command::new("openssl");
    command.args(words);
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let sandbox = Sandbox::new();
    let mut shell = Command::new("bash");
    let program = sandbox.command().get_program().to_owned();
    shell
        .arg("-c")
        .arg("set -o pipefail; \"$0\" completions bash | head -c 1 >/dev/null")
        .arg(program)
        .env("HOME", sandbox.dir.path());

    let ran = finish(shell, "");

    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
}

#[test]
fn a_close_says_in_json_what_it_sent_and_nothing_when_it_is_quiet() {
    let sandbox = Sandbox::new();
    let host = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = host.local_addr().unwrap().port().to_string();
    let close = |more: &[&str]| {
        let words = ["close", "127.0.0.1", "-p", &port, "-a", "192.0.2.9"];
        sandbox.run(&[&words[..], &BASE, more].concat())
    };

    let told = close(&["--json"]);
    let quiet = close(&["-q"]);

    assert_eq!((told.code, quiet.code), (0, 0), "{}", told.stderr);
    let row: serde_json::Value = serde_json::from_str(told.stdout.trim()).unwrap();
    let expected = serde_json::json!({"host": "127.0.0.1", "port": "tcp/22", "state": "sent"});
    assert_eq!(row, expected);
    assert_eq!(quiet.stdout, "");
}
