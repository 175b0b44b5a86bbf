//! How long it takes to prove that a log is as it was, and how much memory that takes on both sides.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::clock;
use crate::experiments::scale::status;
use crate::fleet::Company;
use crate::report::{Report, Row};
use crate::servers::Server;

/// How often a program is asked what it has.
const LOOK: Duration = Duration::from_millis(20);

/// Verifies the log of a fleet over the line, exports it, and verifies the export.
pub(crate) fn run(company: &Company, records: u64, report: &mut Report) -> anyhow::Result<()> {
    let file = company.members_dir().join("log.jsonl");
    let file = file.to_str().context("a path that is no text")?.to_owned();
    let key = company.client()?.args(["audit", "key"]).output()?;
    let key = String::from_utf8(key.stdout)?.trim().to_owned();
    let whole: [(&str, &[&str]); 3] = [
        ("audit verify", &["audit", "verify"]),
        ("audit export", &["audit", "export", &file]),
        (
            "audit verify of the export",
            &["audit", "verify", &file, "--key", &key],
        ),
    ];
    for (what, words) in whole {
        let (time, kib) = run_one(company.client()?.args(words))?;
        let rate = f64::from(u32::try_from(records)?) / time.as_secs_f64();
        report.add(Row {
            experiment: "E11",
            case: format!("{what}, {records} records through the controller"),
            server: Server::Postern,
            measure: "records_per_s",
            value: Some(rate),
            text: format!(
                "{:.1} s, {rate:.0}/s, {:.0} MiB at most; the controller has had {:.0} MiB at most",
                time.as_secs_f64(),
                kib / 1024.0,
                status(company.controller.pid(), "VmHWM:")? / 1024.0,
            ),
            goal: "(no goal)",
        })?;
    }
    fs::remove_file(file)?;
    Ok(())
}

/// How long a program takes, and the most memory that it had.
fn run_one(command: &mut Command) -> anyhow::Result<(Duration, f64)> {
    let start = clock::now();
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()?;
    let mut most = 0.0;
    loop {
        // Gone between two looks: the last one counts.
        most = status(child.id(), "VmHWM:").unwrap_or(most);
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "{command:?}: {status}");
            return Ok((start.elapsed(), most));
        }
        std::thread::sleep(LOOK);
    }
}
