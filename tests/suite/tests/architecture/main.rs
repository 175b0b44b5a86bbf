//! The law of the tree: contracts know nothing of programs, the pure know no I/O, and every crate obeys the lints.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests: a missing field should stop here"
)]

mod modules;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use modules::Modules;

/// Crates that must be functions of their arguments, and everything they may depend on.
///
/// To add one: it must do no I/O, read no clock and start no thread; say in the commit why it is needed.
const PURE: &[(&str, &[&str])] = &[
    (
        "spa",
        &[
            "aes",
            "base64",
            "cbc",
            "cfb-mode",
            "ctr",
            "ecb",
            "hkdf",
            "hmac",
            "md-5",
            // Asks the processor what it can do, and nothing else.
            "multiversion",
            "ofb",
            // A value as other values: what is opened is said between the agent's processes.
            "serde",
            "sha1",
            "sha2",
            "sha3",
            "subtle",
            "thiserror",
            "x25519-dalek",
            "zeroize",
        ],
    ),
    (
        "policy",
        &[
            "base64",
            "hashbrown",
            "ipnet",
            // Calendar days of ACCESS_EXPIRE, in UTC.
            "jiff",
            // Expressions of REQUIRE_OS_REGEX: linear time, bounded size.
            "regex-lite",
            "serde",
            "sha2",
            "spa",
            "strsim",
            "thiserror",
            "zeroize",
        ],
    ),
    (
        "fleet",
        &[
            "base64",
            "prost",
            "sha2",
            "thiserror",
            // With feature `audit` only: a signature is a function of its key and its text.
            "ed25519-dalek",
            // With feature `export` only: texts of values, and days in UTC.
            "jiff",
            "serde",
            "serde_json",
            // Bytes as other bytes: texts that travel packed.
            "zstd-safe",
            // With feature `rpc` only.
            "tonic",
            "tonic-prost",
        ],
    ),
    // Networks and errors are values.
    (
        "engine",
        &[
            "fleet",
            "gate",
            "hashbrown",
            "ipnet",
            "policy",
            "serde",
            "spa",
            "thiserror",
        ],
    ),
    (
        "gate",
        &[
            "etherparse",
            "hashbrown",
            "ipnet",
            "lru",
            "policy",
            // A hash is a function of its bytes.
            "sha2",
            "spa",
            "thiserror",
        ],
    ),
];

/// What no line of a pure crate may name outside of comments.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "TcpStream",
    "UdpSocket",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "TimeZone::system",
    "async fn",
    "println!",
];

/// What only some files may name, by the crate or type that brings it. The controller's own laws stand in
/// controller/tests/laws.rs.
const OWNERS: &[(&str, &[&str])] = &[
    (
        "rusqlite",
        &[
            "agent/src/journal",
            "controller/src/store/sql.rs",
            "controller/src/store/sql/",
            "controller/src/store/sqlite",
        ],
    ),
    (
        "pcap::",
        &["agent/src/capture/live.rs", "agent/src/capture/frames.rs"],
    ),
    ("netlink_sys", &["agent/src/netlink"]),
    (
        "\"iptables",
        &[
            "agent/src/firewall/iptables",
            "agent/src/firewall/xtables.rs",
            "agent/src/firewall/hooks/iptables.rs",
            // As words that people read and write.
            "agent/src/firewall/owner",
            // `fwknopd --fw-list-all` has the host's own program list everything.
            "agent/src/fwknopd/program.rs",
            "agent/src/config.rs",
        ],
    ),
    // Everybody else asks `firewall::open` and `capture::open`.
    ("MemoryFirewall", &["agent/src/firewall"]),
    ("SetHoles", &["agent/src/firewall/iptables"]),
    ("LiveCapture", &["agent/src/capture"]),
    // An agent alone is built without it.
    (
        "tonic",
        &[
            "agent/src/link",
            "controller/src",
            "client/src",
            "member/src",
        ],
    ),
    ("member::", AGENT_MEMBERS),
    ("SystemTime::now", CLOCKS),
    ("Instant::now", CLOCKS),
];

/// Who of the agent knows that there are fleets, and everybody of the client.
const AGENT_MEMBERS: &[&str] = &[
    "agent/src/link",
    "agent/src/run/joined.rs",
    "agent/src/run/error.rs",
    "agent/src/failure.rs",
    "agent/src/leaving.rs",
    "agent/src/membership.rs",
    "agent/src/commands/join.rs",
    "agent/src/commands/doctor/controller.rs",
    "agent/src/explain/enforced.rs",
    "client/src",
    "controller/src",
];

/// Each program reads its clock in one place.
const CLOCKS: &[&str] = &[
    "agent/src/clock.rs",
    // The runtime's clock, for waiting.
    "agent/src/link",
    "client/src/clock.rs",
    "controller/src/clock.rs",
    "member/src/clock.rs",
];

#[test]
fn pure_crates_depend_only_on_pure_crates() {
    for (name, allowed) in PURE {
        for dependency in dependencies_of(name) {
            assert!(
                allowed.contains(&dependency.as_str()),
                "`{name}` now depends on `{dependency}`; if it is pure, add it to this list and say why",
            );
        }
    }
}

#[test]
fn pure_crates_name_no_clock_no_file_and_no_socket() {
    for dir in [
        "proto/spa/src",
        "proto/policy/src",
        "proto/fleet/src",
        "agent/gate/src",
        "agent/engine/src",
    ] {
        for (path, line) in code_lines(&root().join(dir)) {
            for impure in IMPURE {
                assert!(
                    !line.contains(impure),
                    "{} names {impure}: {line}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn programs_do_not_depend_on_each_other_and_contracts_not_on_programs() {
    let programs = ["agent", "controller", "client"];
    for name in [
        "spa",
        "policy",
        "fleet",
        "gate",
        "member",
        "agent",
        "controller",
        "client",
    ] {
        for dependency in dependencies_of(name) {
            assert!(
                !programs.contains(&dependency.as_str()),
                "`{name}` depends on the program `{dependency}`"
            );
        }
    }
    assert!(
        !dependencies_of("fleet").iter().any(|name| name == "tokio"),
        "`fleet` must make no connection"
    );
}

#[test]
fn every_crate_obeys_the_lints_of_the_workspace() {
    for package in metadata()["packages"].as_array().unwrap() {
        let manifest = fs::read_to_string(package["manifest_path"].as_str().unwrap()).unwrap();
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{} has lints of its own",
            package["name"]
        );
    }
}

#[test]
fn databases_netfilter_pcap_grpc_and_clocks_are_named_by_their_owners_only() {
    for (word, owners) in OWNERS {
        for crate_dir in ["agent/src", "controller/src", "client/src", "member/src"] {
            for (path, line) in code_lines(&root().join(crate_dir)) {
                let shown = path.strip_prefix(root()).unwrap().display().to_string();
                let at_home = owners.iter().any(|owner| shown.starts_with(owner));
                assert!(
                    at_home || !line.contains(word),
                    "{shown} names {word}: {line}"
                );
            }
        }
    }
}

#[test]
fn no_files_of_a_crate_stand_in_a_circle() {
    let mut found = Vec::new();
    for package in metadata()["packages"].as_array().unwrap() {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap());
        let src = manifest.parent().unwrap().join("src");
        if src.exists() {
            let circles = Modules::of(&src).circles();
            let name = package["name"].as_str().unwrap();
            found.extend(circles.into_iter().map(|circle| (name.to_owned(), circle)));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn no_file_is_longer_than_its_wall() {
    const WALL: usize = 600;
    for dir in ["proto", "agent", "controller", "client", "member", "tests"] {
        for path in sources(&root().join(dir)) {
            let text = fs::read_to_string(&path).unwrap();
            let lines = text
                .lines()
                .take_while(|line| !line.starts_with("mod tests {"))
                .count();
            let is_test = path.components().any(|part| part.as_os_str() == "tests")
                || path.ends_with("tests.rs");
            assert!(
                is_test || lines <= WALL,
                "{} has {lines} lines",
                path.display()
            );
        }
    }
}

/// The lines of every source file below `dir` that are neither comments nor inside an inline `mod tests`.
fn code_lines(dir: &Path) -> Vec<(PathBuf, String)> {
    let mut lines = Vec::new();
    for path in sources(dir) {
        let is_test =
            path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs");
        if is_test {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for line in text
            .lines()
            .take_while(|line| !line.starts_with("mod tests {"))
        {
            if !line.trim_start().starts_with("//") {
                lines.push((path.clone(), line.trim().to_owned()));
            }
        }
    }
    assert!(!lines.is_empty(), "no source in {}", dir.display());
    lines
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("generated") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn dependencies_of(name: &str) -> Vec<String> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages
        .iter()
        .find(|package| package["name"] == name)
        .unwrap();
    package["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|dependency| dependency["kind"].is_null())
        .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
        .collect()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}
