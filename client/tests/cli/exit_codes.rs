//! Scripts depend on these numbers.

use crate::sandbox::Sandbox;

const STATIC: [&str; 6] = ["-A", "tcp/22", "-s", "--key-rijndael", "k", "--dry-run"];

#[test]
fn a_command_line_that_makes_no_sense_exits_2() {
    let sandbox = Sandbox::new();
    let cases: [&[&str]; 9] = [
        &["frobnicate"],
        &["knock", "192.0.2.1", "-A", "icmp/0"],
        &[
            "knock",
            "192.0.2.1",
            "-A",
            "tcp/22",
            "-a",
            "192.0.2.9",
            "-s",
        ],
        &["knock", "192.0.2.1", "-A", "tcp/22", "-f", "65537"],
        &["knock", "192.0.2.1", "-A", "tcp/22", "-P", "tcpraw"],
        &["knock", "192.0.2.1", "-A", "tcp/22", "-a", "010.1.2.3"],
        &["join", "not-a-token"],
        &["audit", "list", "--since", "some day"],
        &["policy", "apply", "file-without-message"],
    ];
    for words in cases {
        let ran = sandbox.run(words);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{words:?}");
        assert!(ran.stderr.contains("error:"), "{}", ran.stderr);
    }
}

#[test]
fn knocking_outside_of_a_fleet_needs_an_address_a_port_and_a_key() {
    let sandbox = Sandbox::new();
    let cases: [(&[&str], &str); 4] = [
        (
            &["knock", "192.0.2.1", "-A", "tcp/22", "--key-rijndael", "k"],
            "-s takes",
        ),
        (
            &["knock", "192.0.2.1", "-s", "--key-rijndael", "k"],
            "-A tcp/22",
        ),
        (&["knock", "192.0.2.1", "-A", "tcp/22", "-s"], "--key-file"),
        (
            &["knock", "-A", "tcp/22", "-s", "--key-rijndael", "k"],
            "postern knock HOST",
        ),
    ];
    for (words, hint) in cases {
        let ran = sandbox.run(words);
        assert_eq!(ran.code, 2, "{words:?}");
        assert!(ran.stderr.contains("hint: "), "{}", ran.stderr);
        assert!(ran.stderr.contains(hint), "{}", ran.stderr);
    }
}

#[test]
fn a_profile_that_has_not_joined_exits_1_and_says_how_to_join() {
    let sandbox = Sandbox::new();

    for words in [
        &["sync"][..],
        &["host", "list"],
        &["policy", "history"],
        &["audit", "list"],
        &["profile", "show"],
    ] {
        let ran = sandbox.run(words);
        assert_eq!(ran.code, 1, "{words:?}");
        assert!(ran.stderr.contains("postern join -"), "{}", ran.stderr);
    }
}

#[test]
fn a_host_without_an_address_exits_3() {
    let sandbox = Sandbox::new();
    let words = [&["knock", "no-such-host.invalid"], &STATIC[..5]].concat();

    let ran = sandbox.run(&words);

    assert_eq!(ran.code, 3, "{}", ran.stderr);
}

#[test]
fn an_unreachable_page_for_the_outside_address_exits_3() {
    let sandbox = Sandbox::new();
    let page = "https://127.0.0.1:1/";
    let words = [
        "knock",
        "-D",
        "192.0.2.1",
        "-A",
        "tcp/22",
        "-R",
        "--resolve-url",
        page,
    ];

    let ran = sandbox.run(&[&words[..], &["--key-rijndael", "k"]].concat());

    assert_eq!(ran.code, 3, "{}", ran.stderr);
}

#[test]
fn a_policy_with_mistakes_exits_64_with_each_of_them() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "bad.conf",
        "NAME x\nSOURC ANY\nSOURCE ANY\nOPEN_PORTS tcp/99999\n",
    );

    // Mistakes are found before anyone is asked, so no profile is needed.
    for words in [
        &["policy", "check", "bad.conf"][..],
        &["policy", "diff", "bad.conf"],
        &["policy", "apply", "bad.conf", "-m", "why"],
    ] {
        let ran = sandbox.run(words);
        assert_eq!((ran.code, ran.stdout.as_str()), (64, ""), "{words:?}");
        assert!(ran.stderr.contains("bad.conf:2: SOURC: "), "{}", ran.stderr);
        assert!(
            ran.stderr.contains("bad.conf:4: OPEN_PORTS: "),
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn a_policy_with_its_includes_is_checked_without_a_controller() {
    let sandbox = Sandbox::new();
    sandbox.write("more.d/b.conf", "SOURCE ANY\nKEY secret-b\n");
    let text = "SOURCE 192.0.2.0/24\nKEY secret-a\nOPEN_PORTS tcp/22\n%include_folder more.d\n";
    sandbox.write("access.conf", text);

    let ran = sandbox.run(&["policy", "check", "access.conf"]);

    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(ran.stdout, "access.conf is in order: 2 stanzas.\n");
    assert!(!ran.stderr.contains("secret-"), "{}", ran.stderr);
}

#[test]
fn a_policy_file_that_is_not_there_exits_1() {
    let ran = Sandbox::new().run(&["policy", "check", "nowhere.conf"]);

    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("because: "), "{}", ran.stderr);
}

#[test]
fn nobody_reading_any_more_is_no_failure_and_no_panic() {
    let sandbox = Sandbox::new();
    let dry_run = [&["knock", "192.0.2.1"][..], &STATIC].concat();

    for words in [&["completions", "bash"][..], &["man"], &dry_run] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = sandbox
            .command()
            .args(words)
            .stdout(writer)
            .stderr(std::process::Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(ended.status.code(), Some(0), "{words:?}");
        let told = String::from_utf8(ended.stderr).unwrap();
        assert!(!told.contains("error:"), "{told}");
        assert!(!told.contains("panicked"), "{told}");
    }
}

#[test]
fn a_command_to_run_without_dashes_before_it_is_told_of_them() {
    let ran = Sandbox::new().run(&["run", "web-1", "ls"]);

    assert_eq!(ran.code, 2);
    let told = "`ls` is not understood: before the command stands `--`";
    assert!(ran.stderr.contains(told), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("postern run web-1 -- "),
        "{}",
        ran.stderr
    );
}
