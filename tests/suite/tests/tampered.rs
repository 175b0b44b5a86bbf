//! A real agent and a real auditor beside a controller whose log somebody has edited, cut, spliced or put
//! back to an older copy with `sqlite3` and `cp`: what each of them sees, says and goes on doing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;
use harness::{Result, in_lab, wait};
use suite::{Company, POLICY, SHARED, shared_knock, text};

/// Removes the newest records with all that was signed of them; the counters with which rows are
/// numbered, too.
const CUT: &str = "DELETE FROM checkpoints WHERE size > (SELECT min(size) FROM checkpoints); \
    DELETE FROM events WHERE id > (SELECT min(size) FROM checkpoints);";
/// Nobody was let in.
const EDITED: &str = "UPDATE events SET body = zeroblob(length(body)) \
    WHERE id = (SELECT max(id) FROM events WHERE id <= (SELECT max(size) FROM checkpoints));";
/// A record is where another was.
const SPLICED: &str = "UPDATE events SET body = (SELECT body FROM events WHERE id = 2), \
    chain = (SELECT chain FROM events WHERE id = 2) WHERE id = 3;";

#[test]
fn what_is_done_to_a_log_is_seen_by_auditor_host_and_outsider_and_the_host_goes_on() {
    in_lab(|lab| {
        let mut company = Company::found(lab, 1, &[POLICY, SHARED].concat())?;
        let early = company.stopped_copy("early")?;
        company.controller.start_again()?;
        company.until_back()?;
        company.knock()?;
        let exported = company.export()?;
        offline(&company, &exported)?;
        let good = company.stopped_copy("good")?;

        company.serve(&good, Some(&[EDITED, SPLICED].concat()))?;
        let verdict = company.auditor.run(&["audit", "verify"])?;
        ensure!(verdict.code == 1, "edited: {verdict:?}");
        ensure!(verdict.stdout.contains("NOT as it was"), "{verdict:?}");
        ensure!(verdict.stdout.contains("record 3, changed"), "{verdict:?}");

        company.serve(&good, Some(CUT))?;
        company.host_mut(1).wait_for("the fleet's log was cut")?;
        let verdict = company.auditor.run(&["audit", "verify"])?;
        ensure!(verdict.code == 1, "cut: {verdict:?}");
        company.conflict()?;

        // As it was, and then as it was long before.
        company.serve(&good, None)?;
        company.serve(&early, None)?;
        let conflict = company.conflict()?;
        ensure!(conflict.contains("web-1"), "{conflict}");
        let set_back = company
            .auditor
            .audit_until(&["--kind", "controller-set-back"])?;
        ensure!(!text(&set_back, "reason").is_empty(), "{set_back}");
        let verdict = company.auditor.run(&["audit", "verify"])?;
        ensure!(verdict.code == 1, "set back: {verdict:?}");

        // Nobody is locked out by any of it. (What is claimed waits until no message of before is recent.)
        company.alice.knock("web-1", "tcp/22", &[])?.ok()?;
        company.host(1).opens(company.alice.node.v4, "tcp:22")?;
        Ok(())
    });
}

/// What an outsider sees of an export: that it is whole, and which line is not.
fn offline(company: &Company, exported: &Path) -> Result<()> {
    let key = company.auditor.run(&["audit", "key"])?.ok()?.stdout;
    let outsider = harness::postern::Member::stranger(&company.stranger, "outsider");
    let verify = |file: &Path| {
        let file = file.display().to_string();
        outsider.run(&["audit", "verify", &file, "--key", key.trim()])
    };
    let whole = verify(exported)?;
    ensure!(whole.code == 0, "{whole:?}");
    let text = fs::read_to_string(exported)?;
    let lines: Vec<&str> = text.lines().collect();
    // A checkpoint that is missing hides nothing: the next one covers the same records.
    let rows = lines.iter().enumerate();
    let rows = rows.filter(|(_, line)| line.starts_with("{\"row\""));
    let mut rows = rows.map(|(at, _)| at);
    let (Some(first), Some(second)) = (rows.nth(3), rows.next()) else {
        anyhow::bail!("few records: {text}");
    };
    let without = |gone: usize| {
        let kept = lines.iter().enumerate().filter(|(at, _)| *at != gone);
        let kept: Vec<&str> = kept.map(|(_, line)| *line).collect();
        kept.join("\n") + "\n"
    };
    let swapped = {
        let mut lines = lines.clone();
        lines.swap(first, second);
        lines.join("\n") + "\n"
    };
    let cut = lines.get(..lines.len() - 2).unwrap_or_default().join("\n") + "\n";
    for (what, text) in [
        ("missing", without(first)),
        ("swapped", swapped),
        ("cut", cut),
    ] {
        let file = exported.with_extension(what);
        fs::write(&file, text)?;
        let verdict = verify(&file)?;
        ensure!(verdict.code == 1, "{what}: {verdict:?}");
    }
    Ok(())
}

/// What is done to the controller of a company.
trait Tampered {
    /// A copy of its data, as it is once it has stopped.
    fn stopped_copy(&mut self, name: &str) -> Result<PathBuf>;
    /// Serves from a copy, after this was done to its database.
    fn serve(&mut self, copy: &Path, sql: Option<&str>) -> Result<()>;
    /// The host is there again.
    fn until_back(&self) -> Result<()>;
    /// Lets somebody in.
    fn knock(&self) -> Result<()>;
    /// The log in a file, once it is verified.
    fn export(&self) -> Result<PathBuf>;
    /// What the newest event says of a log that is not the one that was shown.
    fn conflict(&self) -> Result<String>;
}

impl Tampered for Company {
    fn stopped_copy(&mut self, name: &str) -> Result<PathBuf> {
        let code = self.controller.stop()?;
        ensure!(code == 0, "{code}: {}", self.controller.log());
        let copy = self.controller.data.with_extension(name);
        replace(&self.controller.data, &copy)?;
        Ok(copy)
    }

    fn serve(&mut self, copy: &Path, sql: Option<&str>) -> Result<()> {
        self.controller.kill()?;
        let data = self.controller.data.clone();
        replace(copy, &data)?;
        if let Some(sql) = sql {
            let database = data.join("controller.db");
            let edited = Command::new("sqlite3").arg(database).arg(sql).output()?;
            ensure!(edited.status.success(), "{edited:?}");
        }
        self.controller.start_again()?;
        self.until_back()
    }

    fn until_back(&self) -> Result<()> {
        wait::until("the host to be back", wait::SOON, || {
            let hosts = self.operator.hosts()?;
            Ok(hosts.iter().all(|host| host["connected"] == true))
        })?;
        Ok(())
    }

    fn knock(&self) -> Result<()> {
        shared_knock(&self.stranger, self.host(1), &["-s"])?;
        self.host(1).opens(self.stranger.v4, "tcp:22")?;
        Ok(())
    }

    fn export(&self) -> Result<PathBuf> {
        self.auditor.audit_until(&["--kind", "grant-opened"])?;
        wait::until("the log to be signed", wait::SOON, || {
            Ok(self.auditor.run(&["audit", "verify"])?.code == 0)
        })?;
        let file = self.stranger.dir.join("log.jsonl");
        let words = ["audit", "export", &file.display().to_string()];
        self.auditor.run(&words)?.ok()?;
        Ok(file)
    }

    fn conflict(&self) -> Result<String> {
        let event = self.auditor.audit_until(&["--kind", "audit-conflict"])?;
        Ok(event.to_string())
    }
}

fn replace(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status()?;
    ensure!(copied.success(), "{}", from.display());
    Ok(())
}
