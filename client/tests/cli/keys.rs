//! Keys that leave this program: pairs for those who stand alone, and those of a profile.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use policy::{NoIncludes, StanzaKey};
use spa::Keys;

use crate::fleet_profile::alice;
use crate::sandbox::{Sandbox, open};

const KEYGEN: [&str; 7] = [
    "keygen",
    "office",
    "--server",
    "192.0.2.1",
    "-A",
    "tcp/22",
    "--allow-ip",
];

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The keys of the stanza that was made for the host.
pub(crate) fn keys_of_host(sandbox: &Sandbox) -> Keys {
    let text = fs::read_to_string(sandbox.dir.path().join("office.access.conf")).unwrap();
    let policy = policy::parse("office.access.conf", &text, &NoIncludes).unwrap();
    let StanzaKey::Static(keys) = &policy.stanzas[0].key else {
        panic!("no static key");
    };
    keys[0].clone()
}

#[test]
fn a_pair_of_keys_is_written_for_its_owner_only_and_never_over_what_is_there() {
    let sandbox = Sandbox::new();

    let made = sandbox.run(&[&KEYGEN[..], &["source"]].concat());
    let again = sandbox.run(&[&KEYGEN[..], &["source"]].concat());

    assert_eq!((made.code, again.code), (0, 1), "{}", made.stderr);
    assert!(
        again.stderr.contains("is there already"),
        "{}",
        again.stderr
    );
    for name in ["office.access.conf", "office.fwknoprc"] {
        assert_eq!(mode(&sandbox.dir.path().join(name)), 0o600, "{name}");
        let text = fs::read_to_string(sandbox.dir.path().join(name)).unwrap();
        let keys = text.lines().filter(|line| line.contains("KEY_BASE64"));
        for key in keys.filter_map(|line| line.split_whitespace().nth(1)) {
            assert!(!made.stdout.contains(key) && !made.stderr.contains(key));
        }
    }
    fs::remove_file(sandbox.dir.path().join("office.access.conf")).unwrap();
    let half = sandbox.run(&[&KEYGEN[..], &["source"]].concat());
    assert_eq!(half.code, 1);
    assert!(!sandbox.dir.path().join("office.access.conf").exists());
}

#[test]
fn both_clients_make_packets_that_the_made_stanza_of_the_host_opens() {
    let sandbox = Sandbox::new();
    let made = sandbox.run(&[&KEYGEN[..], &["192.0.2.7"]].concat());
    assert_eq!(made.code, 0, "{}", made.stderr);
    let keys = keys_of_host(&sandbox);

    let ours = sandbox.packet(&["--rc-file", "office.fwknoprc", "-n", "office"]);
    let mut fwknop = Command::new("fwknop");
    fwknop
        .args("--no-save-args --rc-file office.fwknoprc -n office -T -B packet".split(' '))
        .env("HOME", sandbox.dir.path())
        .current_dir(sandbox.dir.path());
    let output = fwknop
        .output()
        .expect("fwknop's client (package fwknop-client)");

    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let theirs = fs::read_to_string(sandbox.dir.path().join("packet")).unwrap();
    for packet in [ours.as_str(), theirs.trim()] {
        assert_eq!(open(packet, &keys).message_text(), "192.0.2.7,tcp/22");
    }
}

#[test]
fn what_would_make_a_stanza_that_nobody_can_read_is_refused_and_nothing_is_written() {
    let sandbox = Sandbox::new();
    let with = |name: &str, more: &[&str]| {
        sandbox.run(&[&["keygen", name, "--server", "192.0.2.1"], more].concat())
    };

    for ran in [
        with("two words", &[]),
        with("../out", &[]),
        with("default", &[]),
        with("office", &["--allow-ip", "somewhere"]),
        with("office", &["--source", "nowhere"]),
        with("office", &["--source", "ANY\nKEY x"]),
    ] {
        assert_eq!(ran.code, 2, "{}", ran.stderr);
    }
    assert_eq!(fs::read_dir(sandbox.dir.path()).unwrap().count(), 0);
}

#[test]
fn exported_keys_are_written_for_their_owner_only_and_nothing_is_written_over() {
    let alice = alice();
    let sandbox = &alice.sandbox;
    let export = |more: &[&str]| {
        sandbox.run(&[&["profile", "export", "--format", "fwknoprc"], more].concat())
    };

    assert_eq!(export(&["--output", "rc"]).code, 0);
    assert_eq!(export(&["--output", "rc"]).code, 1);
    assert_eq!(mode(&sandbox.dir.path().join("rc")), 0o600);

    sandbox.write("mine", "[home]\nSPA_SERVER 192.0.2.9\n");
    let path = sandbox.dir.path().join("mine");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(export(&["--append", "mine", "--host", "web-1"]).code, 0);
    let twice = export(&["--append", "mine"]);

    assert_eq!((twice.code, mode(&path)), (1, 0o600));
    assert!(twice.stderr.contains("web-1"), "{}", twice.stderr);
    let text = fs::read_to_string(&path).unwrap();
    let heads: Vec<&str> = text.lines().filter(|line| line.starts_with('[')).collect();
    assert_eq!(heads, ["[home]", "[web-1]"]);
}

#[test]
fn a_code_with_keys_is_shown_on_a_terminal_only() {
    let alice = alice();
    let qr = ["profile", "export", "--format", "qr", "--host", "web-1"];

    let piped = alice.sandbox.run(&qr);
    assert_eq!((piped.code, piped.stdout.as_str()), (2, ""));

    let mut shown = alice.sandbox.command();
    let line = format!("{} {}", shown.get_program().display(), qr.join(" "));
    shown = {
        let mut script = Command::new("script");
        script.args(["-qec", &line, "/dev/null"]);
        script.env_clear().env("HOME", alice.sandbox.dir.path());
        script
            .env("PATH", "/usr/bin:/bin")
            .current_dir(alice.sandbox.dir.path());
        script
    };
    let shown = shown.output().expect("script (package bsdutils)");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();

    assert!(
        shown.contains('█') && shown.contains("server 127.0.0.1, port 4000"),
        "{shown}"
    );
    assert!(!shown.contains("KEY_BASE64"), "{shown}");
}

#[test]
fn a_made_stanza_hides_what_it_opens_unless_that_is_somebody_elses_business() {
    for ports in ["tcp/22", "tcp/22,udp/53", "tcp/8000-8010,icmp/echo"] {
        for (more, hides) in [(&[][..], true), (&["--no-protect"], false)] {
            let sandbox = Sandbox::new();
            let words = ["keygen", "office", "--server", "192.0.2.1", "-A", ports];
            let made = sandbox.run(&[&words[..], more].concat());
            assert_eq!(made.code, 0, "{}", made.stderr);

            let path = sandbox.dir.path().join("office.access.conf");
            let text = fs::read_to_string(path).unwrap();
            // Behind what stands in an access file already, as the help says to append it.
            let text = format!("SOURCE ANY\nKEY other\n\n{text}");
            let policy = policy::parse("access.conf", &text, &NoIncludes).unwrap();
            let protect = &policy.stanzas[1].protect;
            let open = policy.stanzas[1].open_ports.as_ref().unwrap();
            assert_eq!(protect.to_string() == open.to_string(), hides, "{text}");
            assert_eq!(made.stderr.contains("keep a session open"), hides);
        }
    }
}

#[test]
fn an_export_with_a_bad_address_is_refused_and_a_link_to_a_file_not_yet_there_is_followed() {
    let alice = alice();
    let sandbox = &alice.sandbox;
    let export = |more: &[&str]| {
        sandbox.run(&[&["profile", "export", "--format", "fwknoprc"], more].concat())
    };

    let bad = export(&["--allow-ip", "foo"]);
    assert_eq!((bad.code, bad.stdout.as_str()), (2, ""), "{}", bad.stderr);
    assert!(bad.stderr.contains("resolve or source"), "{}", bad.stderr);

    let dir = sandbox.dir.path();
    fs::create_dir(dir.join("dotfiles")).unwrap();
    std::os::unix::fs::symlink("dotfiles/rc", dir.join("linked")).unwrap();
    let added = export(&["--append", "linked"]);
    assert_eq!(added.code, 0, "{}", added.stderr);
    assert_eq!(mode(&dir.join("dotfiles/rc")), 0o600);
    assert!(
        fs::symlink_metadata(dir.join("linked"))
            .unwrap()
            .is_symlink()
    );
}
