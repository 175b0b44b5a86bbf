//! A controller that is killed while it is asked for a change: the change is done or not, once, and who asked reads what is
//! known.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use harness::postern::{Controller, Member};
use harness::{Postgres, Result, in_lab, wait};
use serde_json::Value;
use suite::{POLICY, same, text};

/// Moments of a change in which the controller is killed.
const MOMENTS: u32 = 8;
/// What a program says that sent a change and heard nothing.
const MAY_BE_DONE: &str = "it may be done";

/// What somebody was told who asked for a change.
#[derive(Debug)]
struct Told {
    is_done: bool,
    said: String,
}

impl Told {
    /// What is so now agrees with it: nothing that was not done is said to be, and nothing that was done is said not to be.
    fn agrees(&self, is_done: bool) -> Result<()> {
        let may_be = self.said.contains(MAY_BE_DONE);
        ensure!(
            self.is_done == is_done || (is_done && may_be),
            "done: {is_done}, but {self:?}"
        );
        Ok(())
    }
}

/// Runs it, and kills the controller after this time; both have ended then, and the controller is there again.
fn killed(
    by: &Member,
    words: &[&str],
    (controller, after): (&mut Controller, Duration),
) -> Result<Told> {
    let mut command = by.command(words)?;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn()?;
    std::thread::sleep(after);
    controller.kill()?;
    let output = child.wait_with_output()?;
    controller.start_again()?;
    let said = [output.stdout, output.stderr].concat();
    Ok(Told {
        // Done, or done and not heard of by every host.
        is_done: matches!(output.status.code(), Some(0 | 4)),
        said: String::from_utf8_lossy(&said).into_owned(),
    })
}

/// How many generations there are.
fn generations(operator: &Member) -> Result<usize> {
    let history = operator.run(&["policy", "history", "--json"])?.ok()?;
    Ok(history.json_lines()?.len())
}

/// The members of this name.
fn members(operator: &Member, name: &str) -> Result<Vec<Value>> {
    let mut members = operator
        .run(&["member", "list", "--json"])?
        .ok()?
        .json_lines()?;
    members.retain(|member| text(member, "name") == name);
    Ok(members)
}

/// Whether the controller of `who` says that `member` is locked.
fn locked(who: &Member, member: &str) -> Result<bool> {
    let shown = who.run(&["member", "show", member, "--json"])?.ok()?;
    let shown: Value = serde_json::from_str(&shown.stdout)?;
    Ok(shown.get("locked").and_then(Value::as_bool) == Some(true))
}

#[test]
fn a_change_at_a_controller_that_is_killed_is_done_once_or_not_and_who_asked_reads_what_is_known() {
    in_lab(|lab| {
        let server = Postgres::start()?;
        let database = server.database("fleet")?;
        let mut first = Controller::start_over(&lab.node("control-a", 1)?, &database)?;
        let second = Controller::join_over(&lab.node("control-b", 2)?, &database, &first)?;
        let desk = lab.node("desk", 5)?;
        let operator = Member::join_as(&desk, "operator", &first.first_token)?;
        // Of the one that lives.
        let other = Member::join(&desk, "olga", &second.token("owner", "olga", &[])?)?;
        let since = wait::now();
        operator.apply(POLICY, "the first")?.ok()?;
        let takes = since.elapsed();
        let mut done = 0;

        for moment in 0..MOMENTS {
            let after = takes * (3 * moment) / (2 * (MOMENTS - 1));
            // A policy.
            let before = generations(&operator)?;
            let policy = POLICY.replace("20", &format!("{}", 30 + moment));
            let file = desk.write("killed.conf", &policy)?.display().to_string();
            operator.run(&["policy", "show"])?.ok()?;
            let told = killed(
                &operator,
                &["policy", "apply", &file, "-m", "m"],
                (&mut first, after),
            )?;
            let now = generations(&operator)?;
            ensure!(now == before || now == before + 1, "{before}, then {now}");
            told.agrees(now > before)?;
            done += usize::from(now > before);

            // Somebody joins, and goes on with what she has begun.
            let name = format!("user-{moment}");
            let token = first.token("user", &name, &[])?;
            let user = Member::stranger(&desk, &name);
            let told = killed(&user, &["join", &token], (&mut first, after))?;
            if !told.is_done {
                user.run(&["join", &token])?
                    .ok()
                    .with_context(|| told.said.clone())?;
            }
            same("members of her name", &members(&operator, &name)?.len(), &1)?;
            user.run(&["sync"])?.ok()?;

            // And is locked.
            let member = format!("user/{name}");
            let told = killed(
                &operator,
                &["member", "lock", &member, "-m", "left"],
                (&mut first, after),
            )?;
            let is_locked = locked(&operator, &member)?;
            told.agrees(is_locked)?;
            // The one that lives takes her in, and that, when it looks next.
            wait::until("the same lock at both", wait::SOON, || {
                Ok(locked(&other, &member).is_ok_and(|there| there == is_locked))
            })?;
        }

        // Otherwise no moment was one of the change.
        ensure!(
            done > 0 && done < MOMENTS as usize,
            "{done} of {MOMENTS} were done"
        );
        for controller in [&first, &second] {
            let checked = controller.run(&["check"])?;
            ensure!(!checked.text().contains("FAIL"), "{checked:?}");
        }
        // The one that lived knows the same.
        wait::until("the same policy at both", wait::SOON, || {
            Ok(generations(&other)? == generations(&operator)?)
        })?;
        other.run(&["audit", "verify"])?.ok()?;
        Ok(())
    });
}
