//! The database of a controller is away: whoever asks is told so, what is known without it is shown, and knocks go on.

use anyhow::{Context as _, ensure};
use harness::postern::{Agent, Controller, Member, binary};
use harness::{Postgres, Result, in_lab, shell, wait};
use serde_json::Value;
use suite::{POLICY, same};

/// What a command of the controller comes to.
fn ask(controller: &Controller, words: &[&str]) -> Result<shell::Ran> {
    let mut command = controller.node.command(binary("postern-controller")?);
    shell::run(command.args(words).arg("--data").arg(&controller.data))
}

fn status(controller: &Controller) -> Result<Value> {
    let ran = ask(controller, &["status", "--json"])?.ok()?;
    Ok(serde_json::from_str(&ran.stdout)?)
}

#[test]
fn while_the_database_is_away_everybody_is_told_so_nothing_is_half_done_and_knocks_go_on() {
    in_lab(|lab| {
        let mut server = Postgres::start()?;
        let node = lab.node("control", 1)?;
        let controller = Controller::start_over(&node, &server.database("fleet")?)?;
        let desk = lab.node("desk", 5)?;
        let operator = Member::join_as(&desk, "operator", &controller.first_token)?;
        let web = lab.node("web-1", 11)?;
        let token = controller.token("host", "web-1", &["role=web"])?;
        let host = Agent::joined(&web, &token)?;
        let laptop = lab.node("laptop", 6)?;
        let alice = Member::join_as(&laptop, "alice", &controller.token("user", "alice", &[])?)?;
        operator.apply(POLICY, "the first")?.ok()?;
        operator.hosts_in_sync(1)?;
        alice.run(&["sync"])?.ok()?;

        server.kill()?;

        for words in [
            &["host", "list"][..],
            &["member", "lock", "user/alice", "-m", "x"],
            &["audit", "list"],
        ] {
            let ran = operator.run(words)?;
            same("exit code", &ran.code, &3)?;
            let socket = server.dir().display().to_string();
            ensure!(!ran.stderr.contains(&socket), "{}", ran.stderr);
            let said = "cannot reach its database now; nothing was changed";
            ensure!(ran.stderr.contains(said), "{}", ran.stderr);
        }
        let applied = operator.apply(&POLICY.replace("22", "23"), "the second")?;
        same("exit code", &applied.code, &3)?;

        operator.run(&["controllers"])?.ok()?;
        let now = status(&controller)?;
        let field = |name: &str| now.get(name).context("no field").cloned();
        same("hosts connected", &field("hosts_connected")?, &1.into())?;
        let error = field("database_error")?;
        let error = error.as_str().context("no text")?;
        ensure!(error.contains("cannot be reached"), "{error}");
        let shown = ask(&controller, &["status"])?.ok()?.stdout;
        ensure!(shown.contains("warning: nothing is granted"), "{shown}");
        let checked = ask(&controller, &["check"])?;
        ensure!(checked.stdout.contains("FAIL  connection"), "{checked:?}");
        ensure!(checked.stderr.contains("start that server"), "{checked:?}");

        // What needs no claim of the fleet opens as ever, by the policy that the host has.
        alice.knock("web-1", "tcp/22", &[])?.ok()?;
        host.opens(laptop.v4, "tcp:22")?;

        server.start_again()?;
        wait::until("the database is used again", wait::SOON, || {
            let now = status(&controller)?;
            Ok(now.get("database_error") == Some(&"".into()))
        })?;
        let shown = operator.run(&["policy", "show"])?.ok()?;
        ensure!(!shown.stdout.contains("tcp/23"), "half applied");
        operator
            .run(&["member", "lock", "user/alice", "-m", "x"])?
            .ok()?;
        Ok(())
    });
}
