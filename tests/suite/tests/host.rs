//! A host, as whoever looks after it sees it: of a fleet, and alone.

use anyhow::{Context as _, ensure};
use harness::capture::Capture;
use harness::postern::binary;
use harness::{Node, Ran, Result, in_lab, wait};
use serde_json::Value;
use suite::{Alone, Company, POLICY, STANZA, same, text};

/// Runs a command of the agent there.
fn agent(node: &Node, words: &[&str]) -> Result<Ran> {
    let program = binary("postern-agent")?;
    let program = program.to_string_lossy();
    node.run(&[&[&*program], words].concat())
}

#[test]
fn a_host_joins_once_however_often_it_is_asked_and_no_other_fleet_takes_it() {
    in_lab(|lab| {
        let company = Company::found(lab, 1, POLICY)?;
        let host = company.host(1);
        let state = host.state.to_string_lossy();
        let join = |token: &str, more: &[&str]| {
            let file = host.node.write("token", token)?;
            let file = file.to_string_lossy();
            let words = ["join", "--token-file", &*file, "--state", &*state];
            agent(&host.node, &[&words, more].concat())
        };
        let unnamed = company
            .operator
            .run(&["token", "create", "--role", "host"])?
            .ok()?;
        let mut words = unnamed.stdout.split_whitespace();
        let again = words.find(|word| word.starts_with("postern1."));
        let again = again.context("no token")?;
        let other = company.operator.token("host", "web-9", &[])?;

        let same_fleet = join(again, &["--json"])?.code(0)?;
        let other_name = join(&other, &[])?.code(1)?;
        let beside = join(&other, &["--force"])?.code(1)?;
        let no_token = join("no token at all", &[])?.code(64)?;

        let said: Value = serde_json::from_str(&same_fleet.stdout)?;
        same("outcome", &text(&said, "outcome"), &"already")?;
        same("name", &text(&said, "name"), &"web-1")?;
        same(
            "confirmed",
            &said.get("confirmed"),
            &Some(&Value::Bool(true)),
        )?;
        ensure!(
            other_name
                .stderr
                .contains("is host web-1 of that fleet already"),
            "{other_name:?}"
        );
        ensure!(beside.stderr.contains("stop it first"), "{beside:?}");
        ensure!(
            no_token.stderr.contains("/token holds no token"),
            "{no_token:?}"
        );
        same("hosts", &company.operator.hosts()?.len(), &1)
    });
}

#[test]
fn a_host_that_its_controller_knows_no_more_is_told_so_by_join_and_doctor_with_the_way_back_in() {
    in_lab(|lab| {
        let mut company = Company::found(lab, 1, POLICY)?;
        company.host_mut(1).stop()?;
        let (operator, host) = (&company.operator, company.host(1));
        let state = host.state.to_string_lossy();
        // 4: it is away, and has not heard.
        operator
            .run(&["member", "remove", "host/web-1", "-m", "gone"])?
            .code(4)?;
        let token = operator.token("host", "web-1", &[])?;
        let file = host.node.write("token", &token)?;
        let file = file.to_string_lossy();
        let join = |more: &[&str]| {
            let words = ["join", "--token-file", &*file, "--state", &*state];
            agent(&host.node, &[&words, more].concat())
        };

        let refused = join(&[])?.code(1)?;
        let doctor = agent(&host.node, &["doctor", "--json", "--state", &*state])?.code(1)?;
        join(&["--force"])?.ok()?;
        let known = join(&[])?.ok()?;

        for said in ["not by its controller's word", "--force"] {
            ensure!(refused.stderr.contains(said), "{refused:?}");
        }
        let found = "\"check\":\"membership\",\"verdict\":\"fail\"";
        ensure!(doctor.stdout.contains(found), "{doctor:?}");
        ensure!(known.stdout.contains("Already host web-1"), "{known:?}");
        Ok(())
    });
}

#[test]
fn a_joined_host_explains_by_its_policy_and_says_who_has_what_open_and_how_it_is() {
    in_lab(|lab| {
        let company = Company::found(lab, 1, POLICY)?;
        let host = company.host(1);
        let state = host.state.to_string_lossy();
        let capture = Capture::start(&host.node, "udp port 62201")?;
        company.alice.knock("web-1", "tcp/22", &[])?.ok()?;
        host.opens(company.alice.node.v4, "tcp:22")?;
        let packet = String::from_utf8(capture.nth(1)?.payload)?;
        let file = host.node.write("packets", &format!("{packet}\n"))?;

        let line = format!(
            "{} explain --state {state} < {}",
            binary("postern-agent")?.display(),
            file.display()
        );
        let explained = host.node.run(&["sh", "-c", &line])?.ok()?;
        let grants = agent(&host.node, &["grants", "--json", "--state", &state])?.ok()?;
        let doctor = agent(&host.node, &["doctor", "--json", "--state", &state])?;
        let status = agent(&host.node, &["status", "--json", "--state", &state])?.ok()?;

        let judged_by = explained.stderr;
        let explained: Value = serde_json::from_str(&explained.stdout)?;
        same("check", &text(&explained, "check"), &"accepted")?;
        same("user", &text(&explained, "user"), &"alice")?;
        let grant: Value = serde_json::from_str(&grants.stdout)?;
        same("user", &text(&grant, "user"), &"alice")?;
        same("identity", &text(&grant, "user_identity"), &"proven")?;
        let judged = "which the agent that runs here enforces";
        ensure!(judged_by.contains(judged), "{judged_by}");
        let status: Value = serde_json::from_str(&status.stdout)?;
        let back_end = status.pointer("/firewall/backend");
        same("back end", &back_end, &Some(&Value::from("nftables")))?;
        same("grants", &status.get("grants_open"), &Some(&Value::from(1)))?;
        for check in [
            "session",
            "certificate",
            "policy",
            "journal",
            "capture",
            "membership",
        ] {
            let found = format!("\"check\":\"{check}\",\"verdict\":\"ok\"");
            ensure!(doctor.stdout.contains(&found), "{check}: {doctor:?}");
        }
        Ok(())
    });
}

/// What happened here can be read here also when the controller has it, and is away.
#[test]
fn the_owner_of_a_joined_host_sees_the_last_hours_without_the_controller() {
    in_lab(|lab| {
        let mut company = Company::found(lab, 1, POLICY)?;
        company.alice.knock("web-1", "tcp/22", &[])?.ok()?;
        let host = company.host(1);
        host.opens(company.alice.node.v4, "tcp:22")?;
        let state = host.state.to_string_lossy().into_owned();
        let node = host.node.clone();
        let audit = || agent(&node, &["audit", "--json", "--state", &state])?.ok();
        wait::until("the controller to have everything", wait::SOON, || {
            Ok(audit()?.stderr.contains("has all events"))
        })?;
        company.controller.kill()?;

        let listed = audit()?;

        let lines = listed.json_lines()?;
        let is_opened = |line: &&Value| text(line, "kind") == "grant-opened";
        let opened = lines.iter().find(is_opened).context("no grant")?;
        same("user", &text(opened, "user"), &"alice")?;
        let first = lines.first().and_then(|line| line.get("seq"));
        same("first", &first, &Some(&Value::from(1)))?;
        ensure!(!listed.stderr.contains("not in this journal"), "{listed:?}");
        Ok(())
    });
}

#[test]
fn a_host_alone_by_a_flag_of_run_is_well_for_doctor_and_explain_says_what_is_enforced() {
    in_lab(|lab| {
        let alone = Alone::start(lab, STANZA)?;
        let (node, state) = (&alone.host, alone.agent.state.to_string_lossy());
        let explain = || {
            let program = binary("postern-agent")?;
            let line = format!("echo x | {} explain --state {state}", program.display());
            node.run(&["sh", "-c", &line])?.ok()
        };

        let doctor = agent(node, &["doctor", "--json", "--state", &state])?;
        let before = explain()?;
        alone
            .agent
            .write_access(&STANZA.replace("tcp/22", "tcp/22,tcp/80"))?;
        let after = explain()?;

        for check in ["configuration", "agent", "access file", "journal"] {
            let found = format!("\"check\":\"{check}\",\"verdict\":\"ok\"");
            ensure!(doctor.stdout.contains(&found), "{check}: {doctor:?}");
        }
        ensure!(!doctor.stdout.contains("membership"), "{doctor:?}");
        ensure!(doctor.stdout.contains("alone, with "), "{doctor:?}");
        let enforced = "which the agent that runs here enforces as generation 1";
        ensure!(before.stderr.contains(enforced), "{before:?}");
        let changed = "enforces generation 1, which says something else: postern-agent reload";
        ensure!(after.stderr.contains(changed), "{after:?}");
        Ok(())
    });
}

#[test]
fn whoever_may_not_look_is_told_that_and_nothing_else() {
    in_lab(|lab| {
        let alone = Alone::start(lab, STANZA)?;
        let state = alone.agent.state.to_string_lossy();
        let program = binary("postern-agent")?;
        let program = program.to_string_lossy();
        let as_nobody = |words: &[&str]| {
            let user = [
                "setpriv",
                "--reuid",
                "65534",
                "--regid",
                "65534",
                "--clear-groups",
            ];
            let state = ["--state", &*state];
            alone
                .host
                .run(&[&user, &[&*program][..], words, &state].concat())
        };

        let doctor = as_nobody(&["doctor"])?.code(1)?;
        let others = ["status", "reload", "grants", "audit"].map(|word| as_nobody(&[word]));

        for wrong in [
            "agent join",
            "modprobe",
            "damaged",
            "no agent runs",
            "mend it",
        ] {
            ensure!(!doctor.stdout.contains(wrong), "{wrong}: {}", doctor.stdout);
        }
        let lines: Vec<&str> = doctor.stdout.lines().collect();
        for (line, next) in lines.iter().zip(lines.iter().skip(1)) {
            let is_cured = next.ends_with("-> run doctor as root, as the agent is");
            ensure!(!line.starts_with("fail") || is_cured, "{}", doctor.stdout);
        }
        for other in others {
            let other = other?.code(1)?;
            ensure!(other.stderr.contains("as user 65534"), "{other:?}");
            ensure!(other.stderr.contains("hint: run it as root"), "{other:?}");
        }
        Ok(())
    });
}
