//! A step of the schema only adds: a controller of the schema before goes on beside one that has taken it, and may start
//! again. What that one may still use is taken away one version later, by a step that says so.
#![expect(clippy::unwrap_used, reason = "a test that is wrong may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The first step for which it holds.
const SINCE: u32 = 15;
/// Above a statement that takes something away: the number of the newest schema whose programs use it.
const CONTRACTION: &str = "-- Contraction: last used by schema ";
/// What a step before this rule takes away, and why nothing is lost by it.
const KNOWN: &[(&str, &str)] = &[(
    // Whoever uses it writes all of it again every five seconds.
    "0002_controllers.sql",
    "DELETE FROM meta WHERE key LIKE 'present at %'",
)];

/// A statement without its comments, and the schema that its contraction names.
struct Statement {
    sql: String,
    last_used: Option<u32>,
}

#[test]
fn each_step_of_the_schema_only_adds_what_the_one_before_need_not_know() {
    let mut steps = 0;
    for (path, schema) in steps_since(SINCE) {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let known = |sql: &str| KNOWN.contains(&(name.as_str(), sql));
        let wrong: Vec<_> = faults(&text, schema)
            .into_iter()
            .filter(|it| !known(it))
            .collect();
        assert!(wrong.is_empty(), "{}: {wrong:#?}", path.display());
        steps += 1;
    }
    assert!(steps >= 2, "{steps}");
}

#[test]
fn a_step_that_an_older_program_would_trip_over_is_found() {
    let made = "CREATE TABLE new (id bigint PRIMARY KEY, old bigint REFERENCES old (id) ON DELETE CASCADE);";
    for good in [
        "ALTER TABLE old ADD COLUMN a bigint;",
        "ALTER TABLE old ADD COLUMN a bigint NOT NULL DEFAULT 0;",
        "ALTER TABLE old ADD COLUMN a bigint, ADD COLUMN b text NOT NULL DEFAULT f(1, 2);",
        "-- Apart.\nALTER TABLE old ALTER COLUMN a SET DEFAULT nextval('s');",
        "CREATE SEQUENCE s; CREATE INDEX i ON old (a) WHERE a IS NOT NULL;",
        "CREATE UNIQUE INDEX i ON new (old); INSERT INTO new SELECT id, id FROM old;",
        "-- Contraction: last used by schema 18.\nDROP TABLE old;",
    ] {
        let found = faults(&format!("{made}\n{good}"), 20);
        assert!(found.is_empty(), "{good}: {found:?}");
    }
    for bad in [
        "DROP TABLE old;",
        "ALTER TABLE old DROP COLUMN a;",
        "ALTER TABLE old RENAME COLUMN a TO b;",
        "ALTER TABLE old ADD COLUMN a bigint NOT NULL;",
        "ALTER TABLE old ADD COLUMN a bigint UNIQUE;",
        "ALTER TABLE old ADD COLUMN a bigint REFERENCES new (id);",
        "ALTER TABLE old ADD COLUMN a bigint, DROP COLUMN b;",
        "ALTER TABLE old ALTER COLUMN a TYPE text;",
        "CREATE UNIQUE INDEX i ON old (a);",
        "CREATE TABLE other (old bigint REFERENCES old (id));",
        "CREATE TRIGGER t BEFORE INSERT ON old EXECUTE FUNCTION f();",
        "UPDATE old SET a = 1;",
        "DELETE FROM old;",
        "INSERT INTO old VALUES (1);",
        "-- Contraction: last used by schema 19.\nDROP TABLE old;",
    ] {
        let found = faults(&format!("{made}\n{bad}"), 20);
        assert_eq!(found.len(), 1, "{bad}: {found:?}");
    }
}

/// The statements of a step that makes this schema which do more than add.
fn faults(text: &str, schema: u32) -> Vec<String> {
    let mut made = BTreeSet::new();
    let mut faults = Vec::new();
    for Statement { sql, last_used } in statements(text) {
        let is_left = last_used.is_some_and(|last| last + 2 <= schema);
        if !is_left && !adds(&sql, &mut made) {
            faults.push(sql);
        }
    }
    faults
}

/// Whether it only adds; `made` are the tables of this step, of which no older program knows.
fn adds(sql: &str, made: &mut BTreeSet<String>) -> bool {
    let upper = sql.to_ascii_uppercase();
    let after = |begin: &str| upper.strip_prefix(begin).map(first_word);
    let on = || {
        upper
            .split(" ON ")
            .nth(1)
            .map(first_word)
            .unwrap_or_default()
    };
    if let Some(table) = after("CREATE TABLE ") {
        made.insert(table);
        // Whoever removes what is referred to must not be refused.
        let refers = upper.split("REFERENCES ").skip(1);
        let mut refers = refers.map(|it| (first_word(it), it.split(',').next().unwrap_or(it)));
        return refers.all(|(table, rest)| {
            made.contains(&table)
                || rest.contains("ON DELETE CASCADE")
                || rest.contains("ON DELETE SET NULL")
        });
    }
    if after("CREATE SEQUENCE ").is_some() || after("CREATE INDEX ").is_some() {
        return true;
    }
    if after("CREATE UNIQUE INDEX ").is_some() {
        return made.contains(&on());
    }
    if let Some(table) = after("INSERT INTO ").or_else(|| after("UPDATE ")) {
        return made.contains(&table);
    }
    let Some(table) = after("ALTER TABLE ") else {
        return false;
    };
    let change = upper
        .split_once(&format!("{table} "))
        .map_or("", |(_, change)| change);
    change_clauses(change).iter().all(|clause| {
        let has = |word: &str| clause.contains(word);
        if clause.starts_with("ADD COLUMN ") {
            let is_bound = has("UNIQUE") || has("REFERENCES") || has("CHECK") || has("PRIMARY");
            return !is_bound && (has(" DEFAULT ") || !has(" NOT NULL"));
        }
        clause.starts_with("ALTER COLUMN ") && has(" SET DEFAULT ")
    })
}

/// What one ALTER TABLE does, apart: by the commas outside of brackets.
fn change_clauses(change: &str) -> Vec<String> {
    let mut clauses = vec![String::new()];
    let mut depth = 0_u32;
    for c in change.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                clauses.push(String::new());
                continue;
            }
            _ => {}
        }
        clauses.last_mut().unwrap().push(c);
    }
    clauses
        .into_iter()
        .map(|clause| clause.trim().to_owned())
        .collect()
}

fn first_word(text: &str) -> String {
    let end = text.find([' ', '(']).unwrap_or(text.len());
    text.get(..end).unwrap_or(text).to_owned()
}

fn statements(text: &str) -> Vec<Statement> {
    assert!(!text.contains("$$"), "a body that this cannot read");
    let mut statements = Vec::new();
    let (mut sql, mut last_used) = (String::new(), None);
    for line in text.lines() {
        if let Some(said) = line.trim().strip_prefix(CONTRACTION) {
            last_used = Some(said.trim_end_matches('.').parse().unwrap());
        }
        let code = line.split("--").next().unwrap_or_default();
        for (at, part) in code.split(';').enumerate() {
            if at > 0 {
                statements.push(Statement {
                    sql: std::mem::take(&mut sql),
                    last_used: last_used.take(),
                });
            }
            for word in part.split_whitespace() {
                sql += if sql.is_empty() { "" } else { " " };
                sql += word;
            }
        }
    }
    assert!(sql.is_empty(), "without an end: {sql}");
    statements
}

/// The steps of both engines that make this schema or a later one, with its number: PostgreSQL's first made 14.
fn steps_since(first: u32) -> Vec<(PathBuf, u32)> {
    let mut steps = Vec::new();
    for (engine, before) in [("sqlite", 0), ("postgres", 13)] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../migrations")
            .join(engine);
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let schema = before + name.split('_').next().unwrap().parse::<u32>().unwrap();
            if schema >= first {
                steps.push((path, schema));
            }
        }
    }
    steps
}
