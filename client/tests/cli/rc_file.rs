//! `~/.fwknoprc` and key files through the program.

use crate::sandbox::{Sandbox, keys, open};

#[test]
fn a_mistake_in_the_rc_file_exits_64_with_file_line_and_the_nearest_name() {
    let sandbox = Sandbox::new();
    let text = "[default]\nDIGEST_TYPE sha256\n[office]\nSPA_SERVR 192.0.2.1\nKEY hunter2\n";
    sandbox.write(".fwknoprc", text);

    let ran = sandbox.run(&["knock", "-n", "office", "-A", "tcp/22", "-s"]);

    assert_eq!(ran.code, 64);
    let told = ".fwknoprc:4: SPA_SERVR: unknown variable; did you mean SPA_SERVER?";
    assert!(ran.stderr.contains(told), "{}", ran.stderr);
    assert!(!ran.stderr.contains("hunter2"));
}

#[test]
fn a_value_that_cannot_be_read_exits_64_without_repeating_it() {
    let cases = [
        ("HMAC_DIGEST_TYPE sha0", "HMAC_DIGEST_TYPE: "),
        ("DIGEST_TYPE sha0", "DIGEST_TYPE: "),
        ("ENCRYPTION_MODE Asymmetric", "ENCRYPTION_MODE: "),
        ("KEY_BASE64 !!!hunter2", "KEY_BASE64: "),
        ("SPA_SERVER_PORT 70000", "SPA_SERVER_PORT: "),
        ("SPA_SERVER_PROTO gre", "SPA_SERVER_PROTO: "),
        ("FW_TIMEOUT 70000", "FW_TIMEOUT: "),
        ("TIME_OFFSET soon", "TIME_OFFSET: "),
        ("ALLOW_IP 010.1.2.3", "ALLOW_IP: "),
        ("ACCESS none/0", "ACCESS: "),
    ];
    for (line, told) in cases {
        let sandbox = Sandbox::new();
        let rest = if line.starts_with("KEY") {
            ""
        } else {
            "KEY k\n"
        };
        let text = format!("[a]\nSPA_SERVER 192.0.2.1\n{line}\n{rest}");
        sandbox.write(".fwknoprc", text);
        let mut words = vec!["knock", "-n", "a", "--dry-run"];
        if !line.starts_with("ALLOW") {
            words.push("-s");
        }
        if !line.starts_with("ACCESS") {
            words.extend(["-A", "tcp/22"]);
        }

        let ran = sandbox.run(&words);

        assert_eq!(ran.code, 64, "{line}: {}", ran.stderr);
        assert!(ran.stderr.contains(".fwknoprc:3: "), "{}", ran.stderr);
        assert!(ran.stderr.contains(told), "{}", ran.stderr);
        assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    }
}

#[test]
fn a_stanza_that_is_not_there_exits_1_and_names_those_that_are() {
    let sandbox = Sandbox::new();
    sandbox.write(".fwknoprc", "[default]\n[home]\nKEY k\n[office]\nKEY k\n");

    let ran = sandbox.run(&["knock", "-n", "garden"]);

    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("home, office"), "{}", ran.stderr);
}

#[test]
fn the_command_line_wins_over_the_stanza() {
    let sandbox = Sandbox::new();
    let text =
        "[a]\nSPA_SERVER 192.0.2.1\nACCESS tcp/1\nALLOW_IP 192.0.2.9\nKEY k\nSPOOF_USER rc\n";
    sandbox.write(".fwknoprc", text);

    let packet = sandbox.packet(&["-n", "a", "-A", "udp/53", "-s", "-U", "cli"]);
    let opened = open(&packet, &keys("k", None));

    assert_eq!(opened.message().username, "cli");
    assert_eq!(opened.message_text(), "0.0.0.0,udp/53");
}

#[test]
fn a_file_of_keys_that_others_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;
    let sandbox = Sandbox::new();
    let path = sandbox.write("keys", "192.0.2.1: filepass 99\n");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();

    let ran = sandbox.run(&[
        "knock",
        "192.0.2.1",
        "-A",
        "tcp/22",
        "-s",
        "--key-file",
        "keys",
        "--dry-run",
    ]);

    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("others can read"), "{}", ran.stderr);
    let opened = open(ran.stdout.trim(), &keys("filepass 99", None));
    assert_eq!(opened.message_text(), "0.0.0.0,tcp/22");
}
