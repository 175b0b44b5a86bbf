//! Packets: what both make of the same words.

use spa::{Opened, Secret};

use super::{Both, Pair, mode, read};
use crate::sandbox::{keys, keys_of, open};

const TO: [&str; 4] = ["-D", "192.0.2.1", "--key-rijndael", "k3y"];

/// What is in a packet, but for what is random.
fn content(opened: &Opened) -> String {
    let message = opened.message();
    format!(
        "{} {} {} {:?} {} {} {}",
        message.username,
        message.version,
        message.message_type.number(),
        opened.nat_text(),
        message.client_timeout_secs,
        message.digest_type,
        opened.message_text(),
    )
}

#[test]
fn every_option_makes_the_packet_that_fwknop_makes() {
    let lines: [(&str, &str); 39] = [
        ("", "-A tcp/22 -a 10.1.2.3"),
        ("", "-A tcp/22,udp/53 -s"),
        ("", "--access=tcp/22 --allow=10.1.2.3"),
        ("", "-A tcp/22 -s -f 30"),
        ("", "-A tcp/22 -s -U bob"),
        ("", "-A tcp/22 -s -m sha512"),
        ("", "-A tcp/22 -s -m SHA3_256"),
        ("", "-A tcp/22 -s -N 10.0.0.1:80"),
        ("", "-A tcp/22 -s -N 10.0.0.1,80 -f 9"),
        ("", "-A tcp/22 -s --nat-local"),
        ("", "-A tcp/22 -s --nat-local --nat-port 99"),
        ("", "-A tcp/22 -s -N 10.0.0.1 --nat-port 99"),
        ("", "-A tcp/22 -s --time-offset-plus 2h"),
        ("", "-A tcp/22 -s --time-offset-minus 3d"),
        ("", "-C id -s"),
        ("", "-A tcp/22 -s -r"),
        ("", "-A tcp/22 -s -p 5000 -P tcp"),
        ("", "-A tcp/22 -s -S 4000"),
        ("", "-A tcp/22 -s --server-resolve-ipv4"),
        ("", "-A tcp/22 -s extra words"),
        ("", "-A tcp/22 -s -v"),
        ("ACCESS tcp/9", "-n web -s"),
        ("ACCESS tcp/9", "-n WEB -s -A udp/1"),
        ("ALLOW_IP source", "-n web -A tcp/1"),
        ("ALLOW_IP 10.9.9.9", "-n web -A tcp/1 -s"),
        ("FW_TIMEOUT 77\nSPOOF_USER rc", "-n web -A tcp/1 -s"),
        ("NAT_ACCESS 10.5.5.5:22", "-n web -A tcp/1 -s"),
        ("NAT_LOCAL Y\nNAT_PORT 2222", "-n web -A tcp/1 -s"),
        (
            "DIGEST_TYPE MD5 # old\nTIME_OFFSET -2M",
            "-n web -A tcp/1 -s",
        ),
        ("TIME_OFFSET 1H", "-n web -A tcp/1 -s"),
        ("RAND_PORT Y\nVERBOSE 2", "-n web -A tcp/1 -s"),
        (
            "SPA_SERVER_PORT 4000\nSPA_SERVER_PROTO tcp",
            "-n web -A tcp/1 -s",
        ),
        ("NAT_PORT 80", "-n web -A tcp/1 -s"),
        ("NAT_LOCAL yes", "-n web -A tcp/1 -s"),
        ("SPA_SOURCE_PORT 0", "-n web -A tcp/1 -s"),
        ("[other]\nNO_SUCH x", "-n web -A tcp/1 -s"),
        ("ACCESS tcp/9\r", "-n web -s"),
        ("", "-A tcp/22 -s --nat-port 80"),
        (
            "",
            "-A tcp/22 -s -b -U uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu",
        ),
    ];
    for (stanza, line) in lines {
        let pair = Pair::new();
        pair.write(".fwknoprc", &format!("[default]\n\n[web]\n{stanza}\n"));
        let words: Vec<&str> = line
            .split(' ')
            .chain(TO)
            .chain(["-T", "-B", "pkt"])
            .collect();

        pair.both(&words, "");

        let packet = |sandbox| read(sandbox, "pkt").trim_end().to_owned();
        let (ours, theirs) = (packet(&pair.ours), packet(&pair.theirs));
        let (ours, theirs) = (
            open(&ours, &keys("k3y", None)),
            open(&theirs, &keys("k3y", None)),
        );
        assert_eq!(content(&ours), content(&theirs), "{stanza} {line}");
        let apart = ours
            .message()
            .timestamp_secs
            .abs_diff(theirs.message().timestamp_secs);
        assert!(apart < 60, "{stanza} {line}: {apart} s");
    }
}

#[test]
fn every_mode_of_encryption_and_digest_of_the_hmac_is_that_of_fwknop() {
    let digests = [
        "md5", "sha1", "sha256", "sha384", "sha512", "sha3_256", "sha3_512",
    ];
    let modes = ["CBC", "ctr", "CFB", "OFB", "ECB"];
    for (digest, mode) in digests.iter().zip(modes.iter().cycle()) {
        let pair = Pair::new();
        let more = ["-A", "tcp/22", "-s", "-T", "-B", "pkt", "-M", mode];
        let hmac = ["--key-hmac", "hm4c", "--hmac-digest-type", digest];
        let words = [&TO[..], &more, &hmac].concat();

        pair.both(&words, "");

        for sandbox in [&pair.ours, &pair.theirs] {
            let hmac = (Secret::from_passphrase("hm4c"), digest.parse().unwrap());
            let keys = keys_of(
                Secret::from_passphrase("k3y"),
                mode.parse().unwrap(),
                Some(hmac),
            );
            let opened = open(read(sandbox, "pkt").trim_end(), &keys);
            assert_eq!(opened.message_text(), "0.0.0.0,tcp/22", "{digest} {mode}");
        }
    }
}

#[test]
fn a_name_for_nat_that_fwknop_does_not_read_is_said_and_ends_its_test_with_1() {
    let pair = Pair::new();
    let base = [&TO[..], &["-s", "-T", "--no-save-args", "-A", "tcp/22"]].concat();
    let label = "a".repeat(20);
    let longest = format!("{label}.{label}.{label}.1234567");
    let names = [
        ("good.example", true),
        ("1a.b-c.", true),
        (&longest, true),
        (&format!("{longest}8"), false),
        ("a_b.example", false),
        ("-a.example", false),
        ("a..b", false),
    ];
    for (name, is_read) in names {
        let nat = format!("{name}:22");

        let Both { ours, .. } = pair.both(&[&base[..], &["-N", &nat]].concat(), "");

        assert_eq!(ours.code, i32::from(!is_read), "{name}: {}", ours.stderr);
        let is_said = ours.stderr.contains("fwknopd leads no packets on to");
        assert_eq!(is_said, !is_read, "{name}: {}", ours.stderr);
    }
}

#[test]
fn a_packet_that_fwknop_cannot_read_is_said_to_be_one_and_ends_its_test_with_1() {
    let pair = Pair::new();
    let base = [&TO[..], &["-s", "-T", "--no-save-args"]].concat();
    let hmac = ["--key-hmac", "hm4c"];
    // Around the lengths where a packet becomes too long: without and with an HMAC, and of the message.
    let lengths = (1..=10).chain(108..=150).chain(174..=190);
    for (length, has_hmac) in lengths.flat_map(|length| [(length, false), (length, true)]) {
        let command = "x".repeat(length);
        let more = if has_hmac { &hmac[..] } else { &[] };
        let words = [&base[..], &["-C", &command], more].concat();

        let Both { ours, .. } = pair.both(&words, "");

        let is_said = ours.stderr.contains("fwknopd takes so long a one for GPG");
        assert!(
            ours.code == 0 || is_said || length > 150,
            "{length}: {}",
            ours.stderr
        );
    }
    let late = pair.both(
        &[&base[..], &["-A", "tcp/22", "--time-offset-plus", "5000d"]].concat(),
        "",
    );
    assert!(late.ours.stderr.contains("2038"), "{}", late.ours.stderr);
    // What is too long for the server alone is warned of, and ends as there.
    let ports: Vec<String> = (1..=12).map(|port| format!("tcp/100{port:02}")).collect();
    let words = [
        &base[..],
        &[
            "-A",
            &ports.join(","),
            "--key-hmac",
            "h",
            "--hmac-digest-type",
            "sha512",
        ],
    ];
    let warned = pair.both(&words.concat(), "");
    assert!(
        warned.ours.stderr.contains("for GPG"),
        "{}",
        warned.ours.stderr
    );
}

#[test]
fn a_packet_is_kept_in_the_file_that_was_named() {
    let pair = Pair::new();
    let base = [&TO[..], &["-A", "tcp/22", "-s", "-T", "-B", "pkt"]].concat();

    for (more, lines) in [(&[][..], 1), (&["-b"], 2), (&["-b"], 3), (&[], 1)] {
        let Both { ours, .. } = pair.both(&[&base[..], more].concat(), "");

        let kept = read(&pair.ours, "pkt");
        assert_eq!(kept.lines().count(), lines);
        assert_eq!(read(&pair.theirs, "pkt").lines().count(), lines);
        // What is shown is what is kept.
        assert_eq!(kept.lines().last(), ours.stdout.lines().last());
    }

    assert_eq!(mode(&pair.ours, "pkt"), 0o600);
}

#[test]
fn every_exit_code_is_that_of_fwknop() {
    let pair = Pair::new();
    pair.write(
        ".fwknoprc",
        "[default]\n\n[bad]\nNO_SUCH x\n\n[good]\nACCESS tcp/1\nALLOW_IP source\n",
    );
    let lines = [
        "-T -A tcp/22 -s --key-rijndael k",
        "-T -A tcp/22 -s -D 192.0.2.1 --key-rijndael k",
        "-T -n good -D 192.0.2.1 --key-rijndael k",
        "-T -A tcp/22 -D 192.0.2.1 --key-rijndael k",
        "-T -s -D 192.0.2.1 --key-rijndael k",
        "-A tcp/22 -s --key-rijndael k",
        "-T -n nope -D 192.0.2.1 --key-rijndael k",
        "-T -n bad -A tcp/22 -s -D 192.0.2.1 --key-rijndael k",
        "-T -A none/0 -s -D 192.0.2.1 --key-rijndael k",
        "-T -A TCP/22 -s -D 192.0.2.1 --key-rijndael k",
        "-T -A tcp/0 -s -D 192.0.2.1 --key-rijndael k",
        "-T -A tcp/22, -s -D 192.0.2.1 --key-rijndael k",
        "-T -A tcp/22 -a 1.2.3 -D 192.0.2.1 --key-rijndael k",
        "-T -A tcp/22 -a 256.1.1.1 -D 192.0.2.1 --key-rijndael k",
        "-T -A tcp/22 -a source -D 192.0.2.1 --key-rijndael k",
        "-T -A tcp/22 -s -D 192.0.2.1 --key-rijndael 123456789012345678901234567890123",
        "-T -A tcp/22 -s -D 192.0.2.1 --key-rijndael k --key-hmac k",
        "-T -A tcp/22 -s -D 192.0.2.1 --key-rijndael k --key-hmac h -M legacy",
        "-T -A tcp/22 -s -D 192.0.2.1 --key-rijndael k -M PCBC",
        "-T -A tcp/22 -s -D 192.0.2.1 --key-rijndael k -m sha0",
        "-T -A tcp/22 -s -D 192.0.2.1 --key-rijndael k -P gre",
        "-T -A tcp/22 -s -D 192.0.2.1 --key-rijndael k -f 131073",
        "-T -A tcp/22 -s -D 192.0.2.1 --key-rijndael k -f 70000",
        "-T -A tcp/22 -s -D 192.0.2.1 --key-rijndael k -Q 1.2.3.4",
        "-T -A tcp/22 -s -D 192.0.2.1 --key-rijndael k -Q 1.2.3.4 -P udpraw",
        "-T -A tcp/22 -s -D 192.0.2.1",
        "-A tcp/22 -s -D 127.0.0.1 --key-rijndael k -P tcp -p 1",
        "-A tcp/22 -s -D no-such-host.invalid --key-rijndael k",
        "--nonsense",
        "--fault-injection-tag x",
        "--key hunter2",
        "-A",
        "",
        "--stanza-list",
        "--no-rc-file --stanza-list",
        "--no-rc-file --save-rc-stanza -n x -A tcp/22 -s -D 192.0.2.1 --key-rijndael k -T",
        "--no-home-dir -A tcp/22 -s -D 192.0.2.1 --key-rijndael k -T",
        "--no-home-dir --no-rc-file -A tcp/22 -s -D 192.0.2.1 --key-rijndael k -T",
        "-E none --show-last",
        "-E none -l",
        "-k",
        "-k --key-len 64",
        "-k --key-len 0",
        "-k --hmac-key-len 129",
        "-V",
        "-h",
    ];
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();

        let Both { ours, .. } = pair.both(&words, "");

        assert!(matches!(ours.code, 0 | 1), "{line}: {}", ours.code);
        assert!(!ours.stderr.contains("hunter2"), "{}", ours.stderr);
    }
}

#[test]
fn the_version_and_the_help_end_with_0() {
    let pair = Pair::new();

    let Both { ours: version, .. } = pair.both(&["-V"], "");
    let Both { ours: help, .. } = pair.both(&["--help"], "");

    let both = "SPA protocol version 3.0.0";
    assert!(version.stdout.contains(both), "{}", version.stdout);
    for option in ["-A, --access PORTS", "-l, --last-cmd", "--save-rc-stanza"] {
        assert!(help.stdout.contains(option), "{}", help.stdout);
    }
}
