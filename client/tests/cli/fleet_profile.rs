//! A profile as `postern join` and `postern sync` leave it behind, with an authority made by openssl:
//! knocking in a fleet and exporting need no controller.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleet::wire::{DirectoryBody, DirectoryHost, SyncResponse};
use prost::Message as _;
use spa::{ExchangeSecret, Keys};

use crate::sandbox::{Sandbox, open, open_tagged};

/// Nobody listens there.
const CONTROLLER: &str = "127.0.0.1:1";
/// There is no way to db-1, so its packets are only printed, for somebody who says where she is.
const HERE: [&str; 3] = ["--dry-run", "-a", "2001:db8::7"];

pub(crate) struct Member {
    pub(crate) sandbox: Sandbox,
    user: ExchangeSecret,
    host: ExchangeSecret,
}

impl Member {
    fn new(role: &str) -> Self {
        let member = Self {
            sandbox: Sandbox::new(),
            user: ExchangeSecret::from_bytes([7; 32]),
            host: ExchangeSecret::from_bytes([9; 32]),
        };
        member.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.pem \
             -subj /CN=ca -days 30 -outform DER -out ca.der",
        );
        let ca = fs::read(member.sandbox.dir.path().join("ca.der")).unwrap();
        let exchange = (role == "user").then(|| STANDARD.encode(*member.user.to_bytes()));
        let file = serde_json::json!({
            "version": 1, "role": role, "name": "alice", "fleet": "demo", "address": CONTROLLER,
            "ca": STANDARD.encode(ca), "identity_key": STANDARD.encode([3; 32]),
            "exchange_key": exchange,
        });
        member.write("membership.json", file.to_string());
        member
    }

    /// A directory signed by `key`, of `user`.
    fn directory(&self, key: &str, user: &str) {
        let host = |name: &str, address: &str, spa_port: u32, ports: &[&str]| DirectoryHost {
            name: name.to_owned(),
            address: address.to_owned(),
            spa_port,
            exchange_key: self.host.public().0.to_vec(),
            ports: ports.iter().map(|port| (*port).to_owned()).collect(),
            stanza: "ssh".to_owned(),
            ..DirectoryHost::default()
        };
        let body = DirectoryBody {
            fleet: "demo".to_owned(),
            user: user.to_owned(),
            generation: 3,
            at_secs: 1_795_438_016,
            hosts: vec![
                host("web-1", "127.0.0.1", 4000, &["tcp/22"]),
                host("db-1", "2001:db8::1", 4000, &["tcp/22", "tcp/5432"]),
                host("db-1", "2001:db8::1", 4001, &["tcp/5433"]),
            ],
            locked: vec![DirectoryHost {
                exchange_key: Vec::new(),
                ..host("lab-1", "", 4000, &["tcp/22"])
            }],
        };
        let body = body.encode_to_vec();
        self.sandbox.write("body", &body);
        self.openssl(&format!("dgst -sha256 -sign {key} -out signature body"));
        let signature = fs::read(self.sandbox.dir.path().join("signature")).unwrap();
        self.write(
            "directory.bin",
            SyncResponse {
                body,
                signature,
                ..SyncResponse::default()
            }
            .encode_to_vec(),
        );
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        use std::os::unix::fs::PermissionsExt as _;
        self.sandbox.write(&format!(".config/postern/{name}"), text);
        let dir = self.sandbox.dir.path().join(".config/postern");
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
    }

    fn openssl(&self, words: &str) {
        let mut command = Command::new("openssl");
        command.args(words.split_whitespace());
        command.current_dir(self.sandbox.dir.path());
        assert!(command.output().unwrap().status.success(), "{words}");
    }

    /// The host's side of the key agreement.
    pub(crate) fn keys(&self) -> Keys {
        let (user, host) = (self.user.public(), self.host.public());
        spa::pairwise(&self.host, &user, &user, &host).unwrap()
    }
}

pub(crate) fn alice() -> Member {
    let alice = Member::new("user");
    alice.directory("ca.pem", "alice");
    alice
}

#[test]
fn in_a_fleet_a_host_name_is_enough() {
    let alice = alice();

    let opened = open_tagged(&alice.sandbox.packet(&["web-1"]), &alice.keys());

    assert_eq!(opened.message().username, "alice");
    assert_eq!(opened.message_text(), "127.0.0.1,tcp/22");
}

#[test]
fn a_rotation_that_finds_no_controller_leaves_a_profile_that_knocks_and_keeps_what_it_has_made() {
    let alice = alice();
    let file = |name: &str| {
        let path = format!(".config/postern/{name}");
        fs::read(alice.sandbox.dir.path().join(path)).unwrap()
    };
    let before = file("membership.json");

    let ran = alice.sandbox.run(&["profile", "rotate", "--json"]);

    assert_eq!((ran.code, ran.stdout.as_str()), (3, ""), "{}", ran.stderr);
    assert_eq!(file("membership.json"), before);
    let made = file("rotating.json");
    open_tagged(&alice.sandbox.packet(&["web-1"]), &alice.keys());
    assert_eq!(alice.sandbox.run(&["profile", "rotate"]).code, 3);
    assert_eq!(file("rotating.json"), made, "the same keys again");
    let shown = alice.sandbox.run(&["profile", "show"]);
    assert!(shown.stdout.contains("profile rotate"), "{}", shown.stdout);
}

#[test]
fn the_directory_says_where_the_packet_goes() {
    let alice = alice();

    let ran = alice
        .sandbox
        .run(&[&["knock", "db-1", "-A", "tcp/22", "-v"], &HERE[..]].concat());

    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let way = "way: udp to 2001:db8::1 port 4000";
    assert!(ran.stderr.contains(way), "{}", ran.stderr);
}

#[test]
fn what_is_asked_at_another_port_goes_there() {
    let alice = alice();

    let ran = alice
        .sandbox
        .run(&[&["knock", "db-1", "-A", "tcp/5433", "-v"], &HERE[..]].concat());
    let given = alice.sandbox.run(&[
        "knock",
        "db-1",
        "-A",
        "tcp/5433",
        "-p",
        "4002",
        "-v",
        "--dry-run",
        "-a",
        "2001:db8::7",
    ]);

    assert!(ran.stderr.contains("port 4001"), "{}", ran.stderr);
    assert!(given.stderr.contains("port 4002"), "{}", given.stderr);
}

#[test]
fn what_is_asked_at_another_port_has_a_stanza_of_its_own_in_an_fwknoprc() {
    let alice = alice();

    let ran = alice
        .sandbox
        .run(&["profile", "export", "--format", "fwknoprc"]);

    let lines: Vec<_> = ran
        .stdout
        .lines()
        .filter(|line| line.starts_with('[') || line.starts_with("SPA_SERVER_PORT"))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let expected = [
        "[web-1]",
        "SPA_SERVER_PORT 4000",
        "[db-1]",
        "SPA_SERVER_PORT 4000",
        "[db-1-4001]",
        "SPA_SERVER_PORT 4001",
    ];
    assert_eq!(lines, expected, "{}", ran.stderr);
}

#[test]
fn which_of_several_ports_must_be_said_and_one_that_is_not_listed_is_warned_of() {
    let alice = alice();

    let silent = alice.sandbox.run(&["knock", "db-1", "--dry-run"]);
    let other = alice
        .sandbox
        .run(&[&["knock", "db-1", "-A", "tcp/80"], &HERE[..]].concat());

    assert_eq!((silent.code, other.code), (2, 0));
    assert!(
        silent.stderr.contains("tcp/22, tcp/5432, tcp/5433"),
        "{}",
        silent.stderr
    );
    assert!(
        other.stderr.contains("does not let you open tcp/80"),
        "{}",
        other.stderr
    );
}

#[test]
fn fwknops_form_and_another_name_are_for_those_who_ask() {
    let alice = alice();

    let packet = alice
        .sandbox
        .packet(&["web-1", "--no-tagged", "-U", "bob", "-a", "192.0.2.9"]);
    let opened = open(&packet, &alice.keys());

    assert_eq!(opened.message().username, "bob");
    assert_eq!(opened.message_text(), "192.0.2.9,tcp/22");
}

#[test]
fn a_static_key_leaves_the_directory_aside() {
    let alice = alice();

    let ran = alice
        .sandbox
        .run(&["knock", "web-1", "-A", "tcp/22", "--key-rijndael", "k"]);

    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("-s takes"), "{}", ran.stderr);
}

#[test]
fn a_directory_of_another_authority_or_another_user_is_not_used() {
    for (key, user) in [("other.pem", "alice"), ("ca.pem", "bob")] {
        let alice = Member::new("user");
        alice.openssl("ecparam -name prime256v1 -genkey -noout -out other.pem");
        alice.directory(key, user);

        let ran = alice.sandbox.run(&["knock", "web-1", "--dry-run"]);

        // The controller is asked for a better one, and nobody is there.
        assert_eq!((ran.code, ran.stdout.as_str()), (3, ""), "{}", ran.stderr);
    }
}

#[test]
fn a_host_that_is_not_in_the_directory_is_looked_for_at_the_controller() {
    let ran = alice().sandbox.run(&["knock", "web-9", "--dry-run"]);

    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stderr.contains(CONTROLLER), "{}", ran.stderr);
}

#[test]
fn an_operator_has_no_directory() {
    let ran = Member::new("operator").sandbox.run(&["knock", "web-1"]);

    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("operator alice"), "{}", ran.stderr);
}

#[test]
fn the_listing_of_hosts_has_one_object_per_line() {
    let alice = alice();

    let table = alice.sandbox.run(&["profile", "show"]);
    let json = alice.sandbox.run(&["profile", "show", "--json"]);

    assert!(!table.stdout.contains('\u{1b}'));
    assert!(
        table
            .stdout
            .contains("db-1   2001:db8::1  4000      tcp/22,tcp/5432"),
        "{}",
        table.stdout
    );
    let rows: Vec<serde_json::Value> = json
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[2]["spa_port"], 4001);
    assert_eq!(rows[0]["name"], "web-1");
    assert_eq!(rows[1]["ports"][1], "tcp/5432");
}

#[test]
fn stock_fwknop_reads_the_exported_stanzas_and_makes_packets_for_the_same_keys() {
    let alice = alice();
    let exported = alice.sandbox.run(&[
        "profile",
        "export",
        "--format",
        "fwknoprc",
        "--allow-ip",
        "source",
    ]);
    assert_eq!(exported.code, 0, "{}", exported.stderr);
    alice.sandbox.write("exported", &exported.stdout);

    let mut fwknop = Command::new("fwknop");
    fwknop
        .args("--no-save-args --rc-file exported -n web-1 -T -B packet".split(' '))
        .env("HOME", alice.sandbox.dir.path())
        .current_dir(alice.sandbox.dir.path());
    let Ok(output) = fwknop.output() else {
        return; // a machine without fwknop
    };

    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let packet = fs::read_to_string(alice.sandbox.dir.path().join("packet")).unwrap();
    let opened = open(packet.trim(), &alice.keys());
    assert_eq!(opened.message().username, "alice");
    assert_eq!(opened.message_text(), "0.0.0.0,tcp/22");

    let ours = alice
        .sandbox
        .packet(&["--rc-file", "exported", "-n", "web-1"]);
    assert_eq!(open(&ours, &alice.keys()).message_text(), "0.0.0.0,tcp/22");
}

#[test]
fn the_default_names_an_address_and_whoever_wants_none_is_told_what_that_means() {
    let alice = alice();

    let named = alice.sandbox.run(&["knock", "web-1", "-v", "--dry-run"]);
    let sender = alice.sandbox.run(&["knock", "web-1", "-s", "--dry-run"]);

    let said = "for: 127.0.0.1, this machine's own address";
    assert!(named.stderr.contains(said), "{}", named.stderr);
    assert!(!named.stderr.contains("warning"), "{}", named.stderr);
    assert!(
        sender.stderr.contains("a thief who catches it"),
        "{}",
        sender.stderr
    );
    let opened = open_tagged(sender.stdout.trim(), &alice.keys());
    assert_eq!(opened.message_text(), "0.0.0.0,tcp/22");
}

#[test]
fn an_address_of_the_other_family_is_warned_of() {
    let alice = alice();

    let words = ["knock", "web-1", "-a", "2001:db8::7", "--dry-run"];
    let ran = alice.sandbox.run(&words);

    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("not of the family"), "{}", ran.stderr);
}

#[test]
fn where_no_way_leads_it_is_said_how_to_name_the_address() {
    let alice = alice();

    // The documentation's network: nowhere, but the kernel may have a route for everything.
    let ran = alice
        .sandbox
        .run(&["knock", "db-1", "-A", "tcp/22", "--dry-run"]);

    if ran.code == 0 {
        return; // a machine with a public IPv6 address
    }
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    for hint in ["-a IP", "-R", "-s opens for whoever"] {
        assert!(ran.stderr.contains(hint), "{}", ran.stderr);
    }
}

#[test]
fn after_the_knock_it_is_said_whether_the_port_answers() {
    let alice = alice();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let open = format!("tcp/{}", listener.local_addr().unwrap().port());
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let shut = format!("tcp/{}", free.local_addr().unwrap().port());
    drop(free);

    let answers = alice.sandbox.run(&["knock", "web-1", "-A", &open]);
    let silent = alice.sandbox.run(&["knock", "web-1", "-A", &shut]);
    let waited = alice
        .sandbox
        .run(&["knock", "web-1", "-A", &shut, "--wait", "1"]);
    let unchecked = alice
        .sandbox
        .run(&["knock", "web-1", "-A", &shut, "--no-check"]);
    let unwaited = alice
        .sandbox
        .run(&["knock", "web-1", "-A", &shut, "--no-wait"]);

    let said = format!("{open} of web-1 open after ");
    assert!(answers.stdout.contains(&said), "{}", answers.stdout);
    let told = format!(
        "the packet was sent, and {shut} of web-1 refuses connections: perhaps nobody listens there; \
         it was to open for 127.0.0.1, this machine's own address"
    );
    assert!(silent.stderr.contains(&told), "{}", silent.stderr);
    assert!(silent.stderr.contains("postern audit list --host web-1"));
    assert!(waited.stderr.contains(&told), "{}", waited.stderr);
    assert!(!unchecked.stderr.contains(&told), "{}", unchecked.stderr);
    let codes = [&answers, &silent, &waited, &unchecked, &unwaited].map(|ran| ran.code);
    assert_eq!(codes, [0, 1, 1, 0, 0]);
}

#[test]
fn a_host_that_is_locked_is_named_as_such_and_is_no_slip_of_the_hand() {
    let alice = alice();

    let knocked = alice.sandbox.run(&["knock", "lab-1"]);

    assert_eq!(knocked.code, 1, "{}", knocked.stderr);
    let told = "lab-1 is locked or being installed anew";
    assert!(knocked.stderr.contains(told), "{}", knocked.stderr);
    assert!(
        !knocked.stderr.contains("did you mean"),
        "{}",
        knocked.stderr
    );
    assert!(
        knocked.stderr.contains("ask an operator"),
        "{}",
        knocked.stderr
    );

    let listed = alice.sandbox.run(&["list", "lab-1", "--json"]);
    assert_eq!(listed.code, 0, "{}", listed.stderr);
    let row: serde_json::Value = serde_json::from_str(listed.stdout.trim()).unwrap();
    assert_eq!(
        (&row["locked"], &row["host"]),
        (&true.into(), &"lab-1".into())
    );
    let listed = alice.sandbox.run(&["list"]);
    let line = listed.stdout.lines().find(|line| line.starts_with("lab-1"));
    assert!(line.unwrap().contains("locked"), "{}", listed.stdout);
    let of_then = listed.stderr.contains("this is the directory of");
    assert!(of_then, "an old list says how old: {}", listed.stderr);
}

#[test]
fn every_host_that_was_asked_for_has_its_row_also_where_nothing_was_sent() {
    let alice = alice();
    let rows = |words: &[&str]| {
        let ran = alice.sandbox.run(words);
        let rows: Vec<serde_json::Value> = ran
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(ran.stderr.contains("error: "), "{}", ran.stderr);
        (ran.code, rows)
    };
    let states = |rows: &[serde_json::Value]| -> Vec<String> {
        let state = |row: &serde_json::Value| format!("{} {}", row["host"], row["state"]);
        rows.iter().map(state).collect()
    };

    let (code, one) = rows(&["knock", "lab-1", "--json"]);
    let (_, some) = rows(&["knock", "web-1", "lab-1", "--no-wait", "--json"]);
    let (_, none) = rows(&["knock", "web-1", "role=mail", "-A", "tcp/22", "--json"]);
    let (_, close) = rows(&["close", "lab-1", "--json"]);

    assert_eq!(
        (code, states(&one)),
        (1, vec![r#""lab-1" "failed""#.to_owned()])
    );
    let told = one[0]["error"].as_str().unwrap();
    assert!(told.starts_with("lab-1 is locked"), "{told}");
    assert!(one[0]["hint"].is_string(), "{one:?}");
    let expected = [r#""lab-1" "failed""#, r#""web-1" "sent""#];
    assert_eq!(states(&some), expected);
    let expected = [r#""web-1" "failed""#, r#""role=mail" "failed""#];
    assert_eq!(states(&none), expected);
    assert_eq!(none[0]["port"], "tcp/22");
    assert_eq!(states(&close), [r#""lab-1" "failed""#]);
}
