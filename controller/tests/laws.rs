//! Which file of this crate may name what: the clock, the engine of the store, and the wire.
#![expect(clippy::unwrap_used, reason = "a test that is wrong may panic")]

use std::fs;
use std::path::{Path, PathBuf};

/// What only some files may name, and which: files, or folders that end with a slash.
const OWNERS: &[(&[&str], &[&str])] = &[
    // Whoever is called with `now` must not ask for it again.
    (
        &[
            "crate::clock",
            "clock::now",
            "clock::instant",
            "SystemTime",
            "Instant::now",
        ],
        &[
            "clock.rs",
            "grpc/",
            "hostile.rs",
            "backup.rs",
            "beside.rs",
            "backup/",
            "authority/",
            "audit/rotate.rs",
            "housekeeping.rs",
            "metrics.rs",
            "sealing.rs",
            "server.rs",
            "server/",
            "sinks/",
            "start.rs",
            "status.rs",
            // Measure how long a batch and a question have taken.
            "store/sqlite/cost.rs",
            "store/sqlite/writer.rs",
            // … and when a connection has rested, or a server is gone too long.
            "store/postgres/",
        ],
    ),
    // A second engine must be addable without touching a caller.
    (
        &["rusqlite", "sqlite::", "postgres::"],
        &[
            "store/sqlite.rs",
            "store/sqlite/",
            "store/sql.rs",
            "store/sql/",
            "store/postgres.rs",
            "store/postgres/",
            "store/engine.rs",
            "store/place.rs",
            // Whichever it is.
            "store/alone.rs",
            "store/opened.rs",
            "store/snapshot.rs",
            "store/whole.rs",
            "store/fixture.rs",
            "store/tests/set_back.rs",
            "store.rs",
            "store/authorities.rs",
            // From one engine to another.
            "store/copying.rs",
            "store/copying/",
            "store/membership.rs",
            "store/others.rs",
            "store/proof.rs",
            "store/questions.rs",
            "store/sending.rs",
        ],
    ),
    // A second front must be addable without touching a use case.
    (
        &["tonic", "prost"],
        &[
            "grpc.rs",
            "grpc/",
            "hostile.rs",
            "server.rs",
            "server/",
            "access/layer.rs",
            "access/standing.rs",
            // Speaks the contract of others.
            "sinks/error.rs",
            "sinks/otlp.rs",
        ],
    ),
    (&["crate::grpc"], &["server.rs", "hostile.rs"]),
];

/// What a use case and everything below it must not know.
const BELOW_THE_FRONT: &[&str] = &[
    "access/",
    "app/",
    "sessions/",
    "reload.rs",
    "rollout.rs",
    "targets.rs",
];

#[test]
fn the_clock_the_engine_and_the_wire_are_named_by_their_owners_only() {
    for (words, owners) in OWNERS {
        for (path, line) in code_lines() {
            let is_owner = owners.iter().any(|owner| is_in(&path, owner));
            let named = words.iter().find(|word| line.contains(**word));
            assert!(
                is_owner || named.is_none(),
                "{path} names {named:?}: {line}"
            );
        }
    }
}

#[test]
fn use_cases_and_what_is_below_them_know_nothing_of_the_wire() {
    for (path, line) in code_lines() {
        let is_below = BELOW_THE_FRONT.iter().any(|part| is_in(&path, part));
        assert!(!is_below || !line.contains("wire::"), "{path}: {line}");
    }
}

#[test]
fn whoever_changes_what_is_stored_of_members_takes_a_number_for_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/sqlite");
    let tables = ["members", "member_keys", "former_names", "departed_users"];
    let verbs = ["INSERT INTO ", "UPDATE ", "DELETE FROM "];
    let of_members = tables.map(|table| verbs.map(|verb| format!("{verb}{table} ")));
    let mut changing = 0;
    for path in sources(&root) {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        // How the first version had them; and MACs, which change nobody.
        if name.starts_with("version_1") || name.contains("tests") || name == "rows.rs" {
            continue;
        }
        for function in text.split("\n}\n") {
            let changes = |words: &String| function.contains(&**words);
            let by_name = [
                "UPDATE {table} SET locked",
                "prepare_cached(INSERT)",
                "prepare_cached(INSERT_KEY)",
            ];
            let by_name = by_name.map(str::to_owned);
            let by_name: &[String] = if name == "members.rs" { &by_name } else { &[] };
            let is_change = of_members.iter().flatten().chain(by_name).any(changes);
            if !is_change || function.contains("const INSERT") {
                continue;
            }
            changing += 1;
            let is_callers = ["fn departed(", "fn move_name("];
            let is_callers = is_callers.iter().any(|it| function.contains(it));
            assert!(
                is_callers || function.contains("member_changes::note"),
                "{name}: {function}"
            );
        }
    }
    assert!(changing >= 12, "{changing}");
}

fn is_in(path: &str, owner: &str) -> bool {
    if owner.ends_with('/') {
        path.starts_with(owner)
    } else {
        path == owner
    }
}

/// The lines of every source file that are neither comments nor tests, with the file's path.
fn code_lines() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut lines = Vec::new();
    for path in sources(&root) {
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        let is_test = name.ends_with("tests.rs") || name.contains("/tests/");
        if is_test || name.ends_with("fixture.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text
            .lines()
            .take_while(|line| !line.starts_with("mod tests {"));
        for line in code.map(str::trim).filter(|line| !line.starts_with("//")) {
            lines.push((name.clone(), line.to_owned()));
        }
    }
    assert!(!lines.is_empty());
    lines
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
