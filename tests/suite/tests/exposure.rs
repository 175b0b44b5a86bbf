//! What becomes public, and what the controller cannot do to a host whose owner does not let it.

use std::time::Duration;

use anyhow::ensure;
use harness::service::Reach;
use harness::{in_lab, wait};
use suite::{Company, POLICY};

#[test]
fn a_port_that_is_hidden_becomes_public_only_when_the_operator_says_so() {
    in_lab(|lab| {
        let company = Company::found(lab, 2, POLICY)?;
        let _ssh = company.host(1).node.serve_tcp(22)?;
        let reach = || company.stranger.reach(company.host(1).node.v4, 22);
        let desk = &company.operator.node;
        let shown = desk.write("shown.conf", &POLICY.replace("PROTECT tcp/22", ""))?;
        let shown = shown.to_string_lossy().into_owned();

        let diff = company.operator.run(&["policy", "diff", &shown])?.ok()?;
        let words = ["policy", "apply", &shown, "-m", "oops"];
        let refused = company.operator.run(&words)?.code(1)?;

        for host in ["web-1", "web-2"] {
            let said = format!("tcp/22 of {host} becomes public");
            ensure!(diff.stdout.contains(&said), "{}", diff.text());
        }
        let told = "tcp/22 on web-1, web-2";
        ensure!(refused.stderr.contains(told), "{}", refused.text());
        ensure!(
            refused.stderr.contains("--allow-public"),
            "{}",
            refused.text()
        );
        ensure!(reach()? == Reach::Silent);
        company
            .operator
            .run(&[&words[..], &["--allow-public"]].concat())?
            .ok()?
            .says("tcp/22 of web-1 becomes public")?;
        company.operator.hosts_in_sync(2)?;
        wait::until("a public port", Duration::from_secs(5), || {
            Ok(reach()? == Reach::Open)
        })?;
        company
            .operator
            .run(&["policy", "rollback", "1"])?
            .ok()?
            .says("tcp/22 becomes hidden on 2 hosts: web-1, web-2")?;
        Ok(())
    });
}

#[test]
fn a_joined_host_runs_no_command_unless_its_own_configuration_says_so() {
    in_lab(|lab| {
        let company = Company::found(lab, 1, POLICY)?;
        let policy = format!("{POLICY}ENABLE_CMD_EXEC Y\n");
        let ran = company.operator.apply(&policy, "commands")?.ok()?;
        ensure!(
            ran.stderr.contains("no command runs on web-1"),
            "{}",
            ran.text()
        );
        company.operator.hosts_in_sync(1)?;

        let mark = company.host(1).node.write("mark", "")?;
        let command = format!("/bin/rm {}", mark.display());
        company
            .alice
            .run(&["knock", "web-1", "-C", &command])?
            .ok()?;

        let event = company
            .auditor
            .audit_until(&["--kind", "refused", "--user", "alice"])?;
        let reason = event["reason"].as_str().unwrap_or_default();
        ensure!(reason.contains("commands = true"), "{reason}");
        ensure!(event["user_identity"] == "proven", "{event}");
        ensure!(mark.exists());
        company
            .operator
            .run(&["host", "show", "web-1"])?
            .says("commands:      off")?
            .says("hidden:        tcp/22")?;
        Ok(())
    });
}
