//! Keys in the keyring of a desktop: of a profile, and of a stanza of an rc file.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::desktop::Desktop;
use crate::fleet_profile::{Member, alice};
use crate::keys::keys_of_host;
use crate::sandbox::{Ran, Sandbox, finish, open, open_tagged};

const TO_KEYRING: [&str; 3] = ["profile", "keyring", "--to-keyring"];
const KNOCK: [&str; 3] = ["knock", "web-1", "--dry-run"];
/// Both private keys of `alice`, as her file has them at first.
const PRIVATE: [&str; 2] = [
    "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=",
    "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=",
];

fn membership(alice: &Member) -> Value {
    let path = alice.sandbox.dir.path();
    let text = fs::read_to_string(path.join(".config/postern/membership.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Moves the keys of alice into the keyring, and answers as which item.
fn moved(desktop: &Desktop, alice: &Member) -> String {
    let ran = desktop.run(&alice.sandbox, &[&TO_KEYRING[..], &["--json"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let said: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(said["keys"], "keyring");
    said["item"].as_str().unwrap().to_owned()
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long somebody waits is what is asked"
)]
fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let ran = run();
    (ran, began.elapsed())
}

fn refused(ran: &Ran, words: &str, hint: &str) {
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains(words), "{}", ran.stderr);
    assert!(ran.stderr.contains(hint), "{}", ran.stderr);
    for key in PRIVATE {
        assert!(!ran.stderr.contains(key), "{}", ran.stderr);
    }
}

#[test]
fn keys_of_a_profile_go_into_the_keyring_and_out_of_the_file_and_come_back() {
    let (desktop, alice) = (Desktop::new(), alice());
    let before = membership(&alice);

    let item = moved(&desktop, &alice);
    let again = moved(&desktop, &alice);

    assert_eq!(item, again);
    let kept: Value = serde_json::from_str(&desktop.lookup(&item).unwrap()).unwrap();
    let keys = [&kept["identity_key"], &kept["exchange_key"]];
    assert_eq!(keys, PRIVATE, "as libsecret finds them");
    let file = membership(&alice).to_string();
    assert!(PRIVATE.iter().all(|key| !file.contains(key)), "{file}");

    let knock = desktop.run(&alice.sandbox, &KNOCK);
    assert_eq!(knock.code, 0, "{}", knock.stderr);
    let opened = open_tagged(knock.stdout.trim(), &alice.keys());
    assert_eq!(opened.message().username, "alice");
    let shown = desktop.run(&alice.sandbox, &["profile", "show"]);
    assert!(shown.stdout.contains("in the keyring"), "{}", shown.stdout);
    let export = [
        "profile", "export", "--format", "fwknoprc", "--output", "rc",
    ];
    let exported = desktop.run(&alice.sandbox, &export);
    assert!(
        exported.stderr.contains("has them in clear"),
        "{}",
        exported.stderr
    );

    let back = desktop.run(&alice.sandbox, &["profile", "keyring", "--to-file"]);
    assert_eq!(back.code, 0, "{}", back.stderr);
    assert_eq!(membership(&alice), before);
    assert_eq!(desktop.lookup(&item), None);
    let without = alice.sandbox.run(&KNOCK);
    assert_eq!(without.code, 0, "no session is needed: {}", without.stderr);
}

#[test]
fn without_a_session_bus_or_a_keyring_on_it_that_is_said_and_nothing_is_moved() {
    let (desktop, alice) = (Desktop::without_keyring(), alice());
    let before = membership(&alice);
    let nowhere = |words: &[&str]| {
        let mut command = alice.sandbox.command();
        command.env("XDG_RUNTIME_DIR", alice.sandbox.dir.path());
        command.args(words);
        finish(command, "")
    };

    let no_bus = nowhere(&TO_KEYRING);
    refused(&no_bus, "there is no session bus", "over ssh, in cron");
    let mut gone = desktop.command(&alice.sandbox);
    gone.env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere/bus");
    gone.args(TO_KEYRING);
    refused(&finish(gone, ""), "there is no session bus", "over ssh");
    let nobody = desktop.run(&alice.sandbox, &TO_KEYRING);
    refused(
        &nobody,
        "no program on the session bus keeps secrets",
        "KWallet",
    );
    let empty = Desktop::without_collection().run(&alice.sandbox, &TO_KEYRING);
    refused(
        &empty,
        "no collection for new secrets",
        "make one that is the default",
    );
    assert_eq!(membership(&alice), before);

    moved(&Desktop::new(), &alice);
    refused(&nowhere(&KNOCK), "there is no session bus", "--to-file");
    let place = nowhere(&["profile", "keyring"]);
    assert_eq!(place.code, 1);
    assert!(place.stdout.contains("are in the keyring, as membership/"));
    let shown = nowhere(&["profile", "show"]);
    assert_eq!(shown.code, 0, "what needs no keys needs no keyring");
}

#[test]
fn a_locked_keyring_is_said_and_no_dialog_is_waited_for_that_nobody_sees() {
    let (mut desktop, alice) = (Desktop::new(), alice());
    moved(&desktop, &alice);
    desktop.lock();

    let (knock, took) = timed(|| desktop.run(&alice.sandbox, &KNOCK));
    refused(&knock, "the keyring is locked", "unlock it in the desktop");
    assert!(took < Duration::from_secs(5), "{took:?}");
    let completed = desktop.run(&alice.sandbox, &["profile", "show"]);
    assert_eq!(completed.code, 0, "{}", completed.stderr);

    // At a terminal of a screen the keyring asks; here it finds no program that shows dialogs.
    let asked = desktop.run_at_terminal(&alice.sandbox, &KNOCK);
    assert_eq!(asked.code, 1, "{}", asked.stdout);
    for words in [
        "its dialog asks for the password",
        "its password was not given",
    ] {
        assert!(asked.stdout.contains(words), "{}", asked.stdout);
    }

    desktop.log_in();
    assert_eq!(desktop.run(&alice.sandbox, &KNOCK).code, 0);
}

#[test]
fn an_item_that_was_deleted_or_replaced_is_said_and_never_taken_for_the_keys() {
    let (desktop, alice) = (Desktop::new(), alice());
    let item = moved(&desktop, &alice);
    let text = desktop.lookup(&item).unwrap();

    for other in ["hunter2", &text.replacen("Aw", "Bw", 1)] {
        desktop.store(&item, other);
        let ran = desktop.run(&alice.sandbox, &KNOCK);
        refused(&ran, "is something else", "new keys are needed");
        assert!(!ran.stderr.contains("hunter2"));
    }
    desktop.delete(&item);
    for words in [&KNOCK[..], &["profile", "keyring", "--to-file"]] {
        let ran = desktop.run(&alice.sandbox, words);
        refused(&ran, "the keyring has no keys of this profile", "new keys");
    }
    desktop.store(&item, &text);
    assert_eq!(desktop.run(&alice.sandbox, &KNOCK).code, 0);
}

/// Takes the five seconds that are given to a keyring.
#[test]
fn a_keyring_that_hangs_is_given_up() {
    let (desktop, alice) = (Desktop::new(), alice());
    moved(&desktop, &alice);
    desktop.hang();

    let (ran, took) = timed(|| desktop.run(&alice.sandbox, &KNOCK));

    refused(&ran, "did not answer within 5 s", "hangs");
    assert!(took < Duration::from_secs(9), "{took:?}");
}

const KEYGEN: [&str; 7] = [
    "keygen",
    "office",
    "--server",
    "192.0.2.1",
    "--allow-ip",
    "192.0.2.9",
    "--keyring",
];

#[test]
fn keys_of_a_stanza_are_in_the_keyring_and_nowhere_else_on_this_machine() {
    let (desktop, sandbox) = (Desktop::new(), Sandbox::new());

    let made = desktop.run(&sandbox, &KEYGEN);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let rc = fs::read_to_string(sandbox.dir.path().join("office.fwknoprc")).unwrap();
    assert!(rc.contains("KEY_SOURCE               keyring\n"), "{rc}");
    assert!(!rc.contains("_BASE64"), "{rc}");
    let kept = desktop.lookup("stanza/office").unwrap();
    let host = fs::read_to_string(sandbox.dir.path().join("office.access.conf")).unwrap();
    for line in kept.lines() {
        let key = line.split_whitespace().nth(1).unwrap();
        assert!(host.contains(key), "{line}");
        assert!(!made.stdout.contains(key) && !made.stderr.contains(key));
    }

    let knock = [
        "knock",
        "--rc-file",
        "office.fwknoprc",
        "-n",
        "office",
        "--dry-run",
    ];
    let packet = desktop.run(&sandbox, &knock);
    assert_eq!(packet.code, 0, "{}", packet.stderr);
    let opened = open(packet.stdout.trim(), &keys_of_host(&sandbox));
    assert_eq!(opened.message_text(), "192.0.2.9,tcp/22");
    let as_fwknop = [
        "fwknop",
        "--rc-file",
        "office.fwknoprc",
        "-n",
        "OFFICE",
        "-T",
    ];
    let tested = desktop.run(&sandbox, &as_fwknop);
    assert_eq!(tested.code, 0, "{}", tested.stderr);

    let elsewhere = Sandbox::new();
    let twice = desktop.run(&elsewhere, &KEYGEN);
    refused(&twice, "has keys as stanza/office already", "another name");
    assert!(fs::read_dir(elsewhere.dir.path()).unwrap().next().is_none());
    assert_eq!(desktop.lookup("stanza/office"), Some(kept));
}

#[test]
fn a_stanza_finds_what_somebody_put_into_the_keyring_by_hand_and_says_what_is_wrong_with_it() {
    let (desktop, sandbox) = (Desktop::new(), Sandbox::new());
    let stanza = |source: &str| {
        let text =
            format!("[web]\nSPA_SERVER 192.0.2.1\nACCESS tcp/22\nALLOW_IP 192.0.2.9\n{source}\n");
        sandbox.write(".fwknoprc", text);
        desktop.run(&sandbox, &["knock", "-n", "web", "--dry-run"])
    };
    desktop.store("stanza/home", "KEY_BASE64 a2tr\nHMAC_KEY_BASE64 aGho\n");
    desktop.store("stanza/bad", "hunter2");

    let found = stanza("KEY_SOURCE keyring:home");
    assert_eq!(found.code, 0, "{}", found.stderr);
    let keys = crate::sandbox::keys("kkk", Some("hhh"));
    let opened = open(found.stdout.trim(), &keys);
    assert_eq!(opened.message_text(), "192.0.2.9,tcp/22");

    for (source, code, told) in [
        (
            "KEY_SOURCE keyring",
            1,
            "the keyring has no keys of stanza web (stanza/web)",
        ),
        (
            "KEY_SOURCE keyring:bad",
            64,
            "stanza/bad is not the keys of a stanza",
        ),
        (
            "KEY_SOURCE vault",
            64,
            ".fwknoprc:5: KEY_SOURCE: is keyring, or keyring:NAME",
        ),
        (
            "KEY_SOURCE keyring\nKEY abc",
            64,
            "KEY stands in the same stanza",
        ),
        ("KEY_SORCE keyring", 64, "did you mean KEY_SOURCE?"),
    ] {
        let ran = stanza(source);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (code, ""),
            "{source}: {}",
            ran.stderr
        );
        assert!(ran.stderr.contains(told), "{source}: {}", ran.stderr);
        assert!(!ran.stderr.contains("hunter2"));
    }
    desktop.lock();
    let locked = stanza("KEY_SOURCE keyring:home");
    refused(&locked, "the keyring is locked", "unlock it");
    let given = desktop.run(
        &sandbox,
        &[
            "knock",
            "-n",
            "web",
            "--key-rijndael",
            "k",
            "--key-hmac",
            "h",
            "--dry-run",
        ],
    );
    assert_eq!(
        given.code, 0,
        "what is said needs no keyring: {}",
        given.stderr
    );
}
