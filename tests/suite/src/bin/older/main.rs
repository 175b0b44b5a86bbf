//! `make older`: a controller of the schema before beside one of this, over one PostgreSQL database, as they are while a
//! fleet is upgraded one controller after another. Both are real programs; whatever does not hold ends it.
//!
//! `older PROGRAM FILE`: PROGRAM is the older controller; what it has executed at the server is written into FILE,
//! so that every build can see that a newer schema still takes it.
#![expect(clippy::print_stdout, reason = "what is so is this program's output")]

mod fleet;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use harness::{Lab, Result};

use crate::fleet::{Fleet, NEWER, OLDER};

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let usage = "usage: older PROGRAM FILE";
    let program = arguments.next().context(usage)?;
    let file = arguments.next().context(usage)?;
    let lab = Lab::new()?;
    let played = play(&lab, Path::new(&program), Path::new(&file));
    if played.is_err() {
        eprintln_logs(&lab);
    }
    played
}

#[expect(clippy::print_stderr, reason = "what went wrong")]
fn eprintln_logs(lab: &Lab) {
    eprintln!("{}", lab.logs());
}

fn play(lab: &Lab, older: &Path, file: &Path) -> Result<()> {
    let mut fleet = Fleet::found(lab, older)?;
    fleet.each_does_all("older, older")?;

    fleet.upgrade_second()?;
    said("the newer brings the schema up to date while the older serves");
    fleet.each_does_all("older, newer")?;

    fleet.first.start_again()?;
    said("the older starts again on the newer schema");
    fleet.each_does_all("older started again, newer")?;

    let failed = fleet.server.written_down(OLDER, "ERROR");
    ensure!(failed.is_empty(), "the older was refused: {failed:#?}");
    said("nothing that the older asked of the server was refused");

    fleet.upgrade_first()?;
    fleet.each_does_all("newer, newer")?;
    fleet.rows_are_all_ours()?;
    said("all rows are ours when both are upgraded");

    fleet.set_back_first()?;
    let failed = fleet.server.written_down(NEWER, "ERROR");
    ensure!(failed.is_empty(), "the newer was refused: {failed:#?}");
    keep(&fleet, file)
}

/// What holds.
pub(crate) fn said(what: &str) {
    println!("{what}");
}

/// Writes down what the older has executed, each once.
fn keep(fleet: &Fleet, file: &Path) -> Result<()> {
    let executed = fleet.server.written_down(OLDER, "LOG");
    // `execute NAME: SQL`: what is prepared, and not what stands for itself (BEGIN, LOCK).
    let prepared = executed.iter().filter_map(|it| {
        let (_, sql) = it.strip_prefix("execute ")?.split_once(": ")?;
        Some(sql.trim_end_matches(';'))
    });
    let prepared: BTreeSet<&str> = prepared.collect();
    ensure!(prepared.len() > 100, "only {} statements", prepared.len());
    let mut text = String::from(
        "-- Made by `make older`: what a controller of the schema before executes at the server. A test of \
         controller/src/store/postgres/tests.rs\n-- prepares each on the newest schema.\n",
    );
    for sql in &prepared {
        let _ = writeln!(text, "{sql};");
    }
    std::fs::write(file, text)?;
    said(&format!("{} statements of it are kept", prepared.len()));
    Ok(())
}
