//! What both keep: rc files, keys, arguments.

use std::process::Command;

use super::{Both, Pair, mode, read};
use crate::sandbox::{finish, keys, keys_of, open};

/// The lines of a file but for comments and empty ones.
fn lines(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim_end);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

#[test]
fn a_saved_stanza_is_the_one_that_fwknop_saves() {
    let pair = Pair::new();
    pair.write("kf", "192.0.2.1: kkk\n");
    pair.write("hf", "192.0.2.1: hhh\n");
    let saved = [
        "-n a -A tcp/22 -a 10.1.2.3 -D 192.0.2.1 --key-rijndael k3y",
        "-A tcp/22 -a 10.1.2.3 -D 192.0.2.1 --key-rijndael k3y --key-hmac hm4c",
        "-n b -A tcp/22 -a 1.2.3.4 -D 192.0.2.1 -p 1234 -P udp -S 3333 -f 30 -U bob --time-offset-plus 60 \
         -m sha512 -M CTR --key-base64-rijndael YWJj --key-base64-hmac ZGVm --hmac-digest-type sha384 \
         --use-hmac -u Foo/1 --resolve-url http://x/ -w /usr/bin/wget -v --no-save-args",
        "-n c -A tcp/22 -a 1.2.3.4 -D 192.0.2.1 -r --key-rijndael k3y -N 10.0.0.1:80 --nat-port 99",
        "-n d -A tcp/22 -a 1.2.3.4 -D 192.0.2.1 -P tcp --nat-local --nat-rand-port --time-offset-minus 2h \
         -G kf --get-hmac-key hf --use-wget-user-agent -vv",
        "-n e -A tcp/22 -a 1.2.3.4 -D 192.0.2.1 --key-rijndael k3y -Q 3.3.3.3 -P udpraw",
        "-n f -C id -a 1.2.3.4 -D 192.0.2.1 --key-rijndael k3y",
        "-n a -A tcp/23 -a 10.1.2.3 -D 192.0.2.1 --key-rijndael other --force-stanza",
        "-n b -A tcp/24 -a 10.1.2.3 -D 192.0.2.1 -G kf -M ctr --force-stanza",
        "-n d -A tcp/25 -a 10.1.2.3 -D 192.0.2.1 -G kf -M Legacy -f 0",
    ];
    for line in saved {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        words.extend(["-T", "--save-rc-stanza"]);
        pair.both(&words, "");
        let (ours, theirs) = (
            read(&pair.ours, ".fwknoprc"),
            read(&pair.theirs, ".fwknoprc"),
        );
        assert_eq!(lines(&ours), lines(&theirs), "{line}");
    }

    assert_eq!(mode(&pair.ours, ".fwknoprc"), 0o600);
    // Each reads what the other wrote.
    let theirs = read(&pair.theirs, ".fwknoprc");
    pair.theirs
        .write(".fwknoprc", read(&pair.ours, ".fwknoprc"));
    pair.ours.write(".fwknoprc", theirs);
    for stanza in ["a", "192.0.2.1", "b", "c", "d", "e"] {
        let Both { ours, .. } = pair.both(&["-n", stanza, "-T"], "");
        assert_eq!(ours.code, 0, "{stanza}: {}", ours.stderr);
    }
}

#[test]
fn a_stanza_whose_name_has_blanks_is_saved_listed_and_used() {
    let pair = Pair::new();
    let base = ["-n", "my server", "-T"];
    let said = "-A tcp/22 -a 10.1.2.3 -D 192.0.2.1 --key-rijndael k3y --save-rc-stanza";
    let said: Vec<&str> = said.split(' ').collect();

    let Both { ours, .. } = pair.both(&[&base[..], &said].concat(), "");

    assert_eq!(ours.code, 0, "{}", ours.stderr);
    let saved = [&pair.ours, &pair.theirs].map(|sandbox| read(sandbox, ".fwknoprc"));
    assert_eq!(lines(&saved[0]), lines(&saved[1]));
    assert!(saved[0].contains("[my server]"), "{}", saved[0]);
    let Both { ours, .. } = pair.both(&base, "");
    assert_eq!(ours.code, 0, "{}", ours.stderr);
    let listed = pair.ours(&["--stanza-list"], "");
    assert!(listed.stdout.contains("my server"), "{}", listed.stdout);
    for name in ["", " a", "a ", "a  b", "a]b", "a;b", "a#b"] {
        let words = [&["-n", name, "-T"][..], &said].concat();
        let refused = pair.ours(&words, "");
        assert_eq!(refused.code, 1, "{name}: {}", refused.stderr);
    }
}

#[test]
fn what_an_rc_file_cannot_hold_as_it_is_saved_in_base64_or_refused() {
    let pair = Pair::new();
    let base = [
        "-n",
        "a",
        "-A",
        "tcp/22",
        "-s",
        "-D",
        "192.0.2.1",
        "-T",
        "--save-rc-stanza",
    ];

    let saved = pair.ours(&[&base[..], &["--key-rijndael", "a b;c#d"]].concat(), "");
    let again = pair.ours(&["-n", "a", "-T"], "");
    let refused = pair.ours(&[&base[..], &["-U", "a b", "--force-stanza"]].concat(), "");

    assert_eq!((saved.code, again.code), (0, 0), "{}", again.stderr);
    let packet = again.stdout.lines().last().unwrap().to_owned();
    assert_eq!(
        open(&packet, &keys("a b;c#d", None)).message_text(),
        "0.0.0.0,tcp/22"
    );
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("SPOOF_USER"), "{}", refused.stderr);
}

#[test]
fn nothing_is_saved_of_options_that_can_make_no_packet() {
    let pair = Pair::new();
    let base = ["-n", "a", "-D", "192.0.2.1", "-T", "--save-rc-stanza"];
    assert_eq!(pair.ours(&["-V"], "").code, 0);
    pair.ours.write(".fwknoprc", "[default]\n");
    for more in [
        "-A tcp/0 -s --key-rijndael k",
        "-A tcp/22 -a 1.2.3 --key-rijndael k",
        "-A tcp/22 -s --key-rijndael k -p 70000",
        "-A tcp/22 -s --key-rijndael k -m sha0",
        "-A tcp/22 -s --key-rijndael k -M PCBC",
        "-A tcp/22 -s --key-rijndael k --hmac-digest-type sha0",
        "-A tcp/22 -s --key-rijndael k --key-hmac k",
        "-A tcp/22 -s --key-rijndael k -Q 3.3.3.3",
        "-A tcp/22 -s --key-base64-rijndael !",
        "-A tcp/22 -s --key-rijndael k -P gre",
        "-A tcp/22 -s -k --key-len 33",
        "-A tcp/0 -s -k",
    ] {
        let words: Vec<&str> = base.into_iter().chain(more.split(' ')).collect();

        let ran = pair.ours(&words, "");

        assert_eq!(ran.code, 1, "{more}");
        assert_eq!(read(&pair.ours, ".fwknoprc"), "[default]\n", "{more}");
    }
}

#[test]
fn without_a_terminal_keys_are_replaced_with_force_stanza_only() {
    let pair = Pair::new();
    let base = [
        "-n",
        "a",
        "-A",
        "tcp/22",
        "-s",
        "-D",
        "192.0.2.1",
        "-T",
        "--save-rc-stanza",
    ];
    let with = |key| [&base[..], &["--key-rijndael", key]].concat();
    assert_eq!(pair.ours(&with("hunter1"), "").code, 0);
    let before = read(&pair.ours, ".fwknoprc");

    let refused = pair.ours(&with("hunter2"), "");

    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("--force-stanza"),
        "{}",
        refused.stderr
    );
    assert!(!refused.stderr.contains("hunter"), "{}", refused.stderr);
    assert_eq!(read(&pair.ours, ".fwknoprc"), before);
    assert_eq!(
        pair.ours(&[&with("hunter2")[..], &["--force-stanza"]].concat(), "")
            .code,
        0
    );
    assert!(read(&pair.ours, ".fwknoprc").contains("hunter2"));
}

#[test]
fn the_rc_file_is_made_found_and_left_out_as_the_options_say() {
    let pair = Pair::new();
    let base = [
        "-A",
        "tcp/22",
        "-s",
        "-D",
        "192.0.2.1",
        "--key-rijndael",
        "k",
        "-T",
    ];

    pair.both(&base, "");
    pair.both(&[&base[..], &["--rc-file", "other"]].concat(), "");
    pair.write(
        "listed",
        "[default]\n[b]\nACCESS tcp/1\n[A]\nACCESS tcp/2\n",
    );
    let Both { ours: listed, .. } = pair.both(&["--rc-file", "listed", "--stanza-list"], "");
    let at = pair.ours.dir.path().join("away");
    let none = pair.ours(&[&base[..], &["--no-rc-file", "-n", "x"]].concat(), "");
    assert_eq!(none.code, 1);

    for name in [".fwknoprc", "other"] {
        assert_eq!(lines(&read(&pair.ours, name)), ["[default]"], "{name}");
        assert_eq!(mode(&pair.ours, name), 0o600, "{name}");
    }
    assert!(listed.stdout.contains(" - a\n - b\n"), "{}", listed.stdout);
    let home = at.to_str().unwrap();
    let mut command = Command::new(pair.ours.dir.path().join("fwknop"));
    command.env_clear().env("HOME", home).args(base);
    command.args(["--no-home-dir", "--no-rc-file", "--no-save-args"]);
    assert_eq!(finish(command, "").code, 0);
    assert!(!at.exists());
}

#[test]
fn keys_are_made_and_kept_as_fwknop_does() {
    let pair = Pair::new();
    let shapes = |text: &str| -> Vec<(String, usize)> {
        let lines = lines(text)
            .into_iter()
            .filter(|line| line.contains("KEY_BASE64"));
        lines
            .map(|line| {
                let (name, key) = line.split_once([':', ' ']).unwrap();
                (name.to_owned(), key.trim().len())
            })
            .collect()
    };
    for more in [
        "",
        "--hmac-digest-type md5",
        "--hmac-digest-type sha1",
        "--hmac-digest-type sha512",
        "--key-len 16 --hmac-key-len 20",
        "--hmac-digest-type sha3_256 --hmac-key-len 64",
    ] {
        let words: Vec<&str> = ["-k"].into_iter().chain(more.split_whitespace()).collect();
        let Both { ours, theirs } = pair.both(&words, "");
        assert_eq!(shapes(&ours.stdout), shapes(&theirs.stdout), "{more}");
    }

    pair.both(&["-K", "keys"], "");
    pair.both(
        &[
            "-k",
            "--save-rc-stanza",
            "-n",
            "w",
            "-D",
            "192.0.2.1",
            "-A",
            "tcp/22",
            "-a",
            "1.2.3.4",
        ],
        "",
    );

    assert_eq!(
        shapes(&read(&pair.ours, "keys")),
        shapes(&read(&pair.theirs, "keys"))
    );
    assert_eq!(mode(&pair.ours, "keys"), 0o600);
    let saved = |sandbox| shapes(&read(sandbox, ".fwknoprc"));
    assert_eq!(saved(&pair.ours).len(), 2);
    assert_eq!(saved(&pair.ours), saved(&pair.theirs));
    // The file of keys may be pasted into a stanza as it is.
    let pasted = format!("[p]\n{}", read(&pair.theirs, "keys"));
    pair.ours.write("pasted", pasted);
    let ran = pair.ours(
        &[
            "--rc-file",
            "pasted",
            "-n",
            "p",
            "-A",
            "tcp/1",
            "-s",
            "-D",
            "192.0.2.1",
            "-T",
        ],
        "",
    );
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn the_last_arguments_are_kept_without_secrets() {
    let pair = Pair::new();
    let base = ["-A", "tcp/22", "-s", "-D", "192.0.2.1", "-U", "a'b c", "-T"];
    let keyed = [
        &base[..],
        &[
            "--key-rijndael",
            "hunter2",
            "--key-base64-hmac",
            "aHVudGVyMw==",
        ],
    ]
    .concat();

    pair.both(&keyed, "");
    let kept = read(&pair.ours, ".fwknop.run");
    let shown = pair.ours(&["--show-last"], "");
    let again = pair.ours(&["-l"], "");
    let elsewhere = pair.ours(&[&base[..], &["--stdin", "-E", "args"]].concat(), "k3y\n");
    let from_there = pair.ours(&["-l", "-E", "args"], "k3y\n");
    let unkept = [&base[..], &["--stdin", "--no-save-args", "-A", "tcp/1"]].concat();
    assert_eq!(pair.ours(&unkept, "k3y\n").code, 0);

    assert_eq!(kept, "fwknop -A tcp/22 -s -D 192.0.2.1 -U 'a'\\''b c' -T\n");
    assert_eq!(mode(&pair.ours, ".fwknop.run"), 0o600);
    assert_eq!(shown.stdout, kept);
    // There is no key any more, and nobody to ask.
    assert_eq!(again.code, 1);
    assert_eq!(
        (elsewhere.code, from_there.code),
        (0, 0),
        "{}{}",
        elsewhere.stderr,
        from_there.stderr
    );
    assert_eq!(read(&pair.ours, ".fwknop.run"), kept);
    // What the reference has kept works, and is not shown.
    pair.ours.write(
        ".fwknop.run",
        read(&pair.theirs, ".fwknop.run").replace("-U a'b c ", ""),
    );
    let theirs = pair.ours(&["-l"], "");
    let shown = pair.ours(&["--show-last"], "");
    assert_eq!(theirs.code, 0, "{}", theirs.stderr);
    assert!(!shown.stdout.contains("hunter2"), "{}", shown.stdout);
    assert!(!theirs.stderr.contains("hunter2"), "{}", theirs.stderr);
}

#[test]
fn a_descriptor_is_read_for_what_neither_options_nor_stanza_say() {
    let pair = Pair::new();
    pair.write("kf", "192.0.2.1: k3y\n");
    pair.write("rc", "[k]\nKEY k3y\nHMAC_KEY hm4c\n");
    let cases = [
        ("-n k --stdin", "other\n", true),
        ("-n k --fd 0", "", true),
        ("--key-rijndael k3y --stdin", "other\n", false),
        ("-G kf --fd 0", "", false),
    ];
    for (more, stdin, has_hmac) in cases {
        let words = format!("-A tcp/22 -s -D 192.0.2.1 -T --rc-file rc {more}");
        let words: Vec<&str> = words.split(' ').collect();

        let Both { ours, theirs } = pair.both(&words, stdin);

        let keys = keys("k3y", has_hmac.then_some("hm4c"));
        assert_eq!((ours.code, theirs.code), (0, 0), "{more}: {}", ours.stderr);
        let opened = open(ours.stdout.lines().last().unwrap(), &keys);
        assert_eq!(opened.message_text(), "0.0.0.0,tcp/22", "{more}");
    }
}

#[test]
fn keys_come_from_files_descriptors_and_options() {
    let pair = Pair::new();
    pair.write("kf", "192.0.2.9: no\n192.0.2.1: k3y\n");
    pair.write("hf", "192.0.2.1: hm4c\n");
    pair.write(
        "rc",
        "[f]\nKEY_FILE kf\nHMAC_KEY_FILE hf\n[k]\nKEY k3y\nHMAC_KEY_BASE64: aG00Yw==\nUSE_HMAC Y\n",
    );
    let base = [
        "-A",
        "tcp/22",
        "-s",
        "-D",
        "192.0.2.1",
        "-T",
        "--rc-file",
        "rc",
    ];
    let without = keys("k3y", None);
    let with = keys("k3y", Some("hm4c"));
    let cases: [(&str, &str, bool); 9] = [
        ("-G kf", "", false),
        ("-G kf --get-hmac-key hf", "", true),
        ("--stdin", "k3y\n", false),
        ("--fd 0", "k3y\n", false),
        ("--key-base64-rijndael azN5", "", false),
        ("--key-rijndael k3y --key-base64-hmac aG00Yw==", "", true),
        ("-n f", "", true),
        ("-n k", "", true),
        ("--stdin --use-hmac", "k3y\nhm4c\n", true),
    ];
    for (more, stdin, has_hmac) in cases {
        let words: Vec<&str> = base.into_iter().chain(more.split(' ')).collect();
        // Two secrets from one descriptor, and the HMAC key's file in a stanza, the reference cannot.
        let ours = if more.contains("--use-hmac") || more == "-n f" {
            pair.ours(&words, stdin)
        } else {
            pair.both(&words, stdin).ours
        };
        assert_eq!(ours.code, 0, "{more}: {}", ours.stderr);
        let packet = ours.stdout.lines().last().unwrap();
        let opened = open(packet, if has_hmac { &with } else { &without });
        assert_eq!(opened.message_text(), "0.0.0.0,tcp/22", "{more}");
    }
    // Keys of other bytes than UTF-8: what either makes with one, both could have made.
    let path = pair.ours.write("latin", b"# B\xfcro\n192.0.2.1: k\xfcy\n");
    std::fs::copy(path, pair.theirs.dir.path().join("latin")).unwrap();
    let words = [&base[..7], &["-G", "latin"]].concat();
    let words: Vec<&str> = words
        .into_iter()
        .filter(|word| *word != "rc" && *word != "--rc-file")
        .collect();
    let Both { ours, .. } = pair.both(&words, "");
    let secret = spa::Secret::from_passphrase(b"k\xfcy");
    let latin = keys_of(secret, spa::EncryptionMode::Cbc, None);
    open(ours.stdout.lines().last().unwrap(), &latin);
    let mut shell = Command::new("bash");
    let program = pair.ours.dir.path().join("fwknop");
    shell
        .args(["-c", "exec \"$0\" \"$@\" --fd 5 5< <(echo k3y)"])
        .arg(program)
        .args(base);
    shell
        .env("HOME", pair.ours.dir.path())
        .current_dir(pair.ours.dir.path());
    let ran = finish(shell, "");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    open(ran.stdout.lines().last().unwrap(), &without);
}
