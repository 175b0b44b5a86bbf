//! Keys in a fleet: a user's own, noise to every other host; and shared ones, claimed at the controller.

use anyhow::ensure;
use harness::capture::Capture;
use harness::fwknop::{fwknop, fwknop_with_rc};
use harness::service::Reach;
use harness::{Result, SPA_PORT, in_lab, wait};
use suite::{Company, POLICY, SHARED, SHARED_ARGS, same, shared_knock, text};
#[test]
fn a_users_own_key_opens_the_host_she_names_and_is_noise_to_its_siblings() {
    in_lab(|lab| {
        let company = Company::found(lab, 2, POLICY)?;
        let alice = &company.alice;
        let _ssh = company.host(1).node.serve_tcp(22)?;
        let capture = Capture::start(&company.host(1).node, "udp port 62201")?;
        ensure!(alice.node.reach(company.host(1).node.v4, 22)? == Reach::Silent);

        alice.knock("web-1", "tcp/22", &[])?;
        company.host(1).opens(alice.node.v4, "tcp:22")?;
        ensure!(alice.node.reach(company.host(1).node.v4, 22)? == Reach::Open);

        let packet = capture.nth(1)?.payload;
        for host in [company.host(1), company.host(2)] {
            company.stranger.send(host.node.v4, SPA_PORT, &packet)?;
            alice.node.send(host.node.v4, SPA_PORT, &packet)?;
        }
        company
            .auditor
            .audit_until(&["--kind", "replay", "--host", "web-1"])?;
        alice.knock("web-2", "tcp/22", &["-a", "203.0.113.1"])?;
        company.host(2).opens([203, 0, 113, 1], "tcp:22")?;
        same("holes on web-2", &company.host(2).node.holes()?.len(), &1)?;
        ensure!(!company.host(1).has_hole(company.stranger.v4, "tcp:22")?);
        Ok(())
    });
}

#[test]
fn a_message_of_a_shared_key_grants_once_in_the_whole_fleet() {
    in_lab(|lab| {
        let company = Company::found(lab, 3, &format!("{POLICY}{SHARED}"))?;
        let capture = Capture::start(&company.host(1).node, "udp port 62201")?;

        shared_knock(&company.alice.node, company.host(1), &["-s"])?;
        company.host(1).opens(company.alice.node.v4, "tcp:22")?;
        let packet = capture.nth(1)?.payload;
        for number in [1, 2, 3] {
            company
                .stranger
                .send(company.host(number).node.v4, SPA_PORT, &packet)?;
        }

        company
            .auditor
            .audit_until(&["--kind", "replay", "--host", "web-1"])?;
        for number in [2, 3] {
            let name = format!("web-{number}");
            let event =
                company
                    .auditor
                    .audit_until(&["--kind", "replay-elsewhere", "--host", &name])?;
            let reason = text(&event, "reason");
            ensure!(
                reason.contains("web-1") || reason.contains("another host"),
                "{event}"
            );
            ensure!(company.host(number).node.holes()?.is_empty());
        }
        ensure!(!company.host(1).has_hole(company.stranger.v4, "tcp:22")?);
        Ok(())
    });
}

#[test]
fn one_message_sent_to_all_hosts_at_once_opens_exactly_one() {
    in_lab(|lab| {
        let company = Company::found(lab, 3, &format!("{POLICY}{SHARED}"))?;
        let packet = sealed_elsewhere(lab, &company)?;

        for number in [1, 2, 3] {
            company
                .stranger
                .send(company.host(number).node.v4, SPA_PORT, &packet)?;
        }

        let judged = || -> Result<usize> {
            let lost = company
                .auditor
                .audit(&["--kind", "replay-elsewhere"])?
                .len();
            Ok(lost + company.auditor.audit(&["--kind", "grant-opened"])?.len())
        };
        wait::until("all three verdicts", wait::SOON, || Ok(judged()? >= 3))?;
        same("verdicts", &judged()?, &3)?;
        same(
            "grants",
            &company.auditor.audit(&["--kind", "grant-opened"])?.len(),
            &1,
        )
    });
}

#[test]
fn without_the_controller_own_keys_work_and_shared_keys_do_as_the_stanza_says() {
    in_lab(|lab| {
        let lenient = SHARED
            .replace("shared-ssh", "lenient-ssh")
            .replace("KEY shared-", "KEY lenient-")
            .replace(
                "FW_ACCESS_TIMEOUT 5",
                "FW_ACCESS_TIMEOUT 60\nON_CONTROLLER_LOSS allow",
            );
        let mut company = Company::found(lab, 2, &format!("{POLICY}{SHARED}{lenient}"))?;
        company.alice.run(&["sync"])?.ok()?;
        company.controller.kill()?;

        company.alice.knock("web-1", "tcp/22", &[])?;
        company.host(1).opens(company.alice.node.v4, "tcp:22")?;
        let lenient_args = [
            "--key-rijndael",
            "lenient-passphrase",
            "--key-hmac",
            "lenient-hmac-passphrase",
        ];
        shared_knock(&company.alice.node, company.host(1), &["-a", "203.0.113.1"])?;
        let words = [
            &["-A", "tcp/22", "-a", "203.0.113.2"],
            lenient_args.as_slice(),
        ]
        .concat();
        fwknop(&company.alice.node, company.host(1).node.v4, &words)?;
        company.host(1).opens([203, 0, 113, 2], "tcp:22")?;
        company
            .alice
            .knock("web-1", "tcp/22", &["-a", "203.0.113.3"])?;
        company.host(1).opens([203, 0, 113, 3], "tcp:22")?;

        company.controller.start_again()?;
        company.operator.hosts_in_sync(2)?;
        let refused = company
            .auditor
            .audit_until(&["--kind", "refused", "--host", "web-1"])?;
        same("stanza", &text(&refused, "stanza"), &"shared-ssh")?;
        ensure!(
            !company.host(1).has_hole([203, 0, 113, 1], "tcp:22")?,
            "a shared key opened without a claim"
        );
        wait::until("the grants made meanwhile in the audit", wait::SOON, || {
            Ok(company
                .auditor
                .audit(&["--kind", "grant-opened", "--host", "web-1"])?
                .len()
                == 3)
        })?;
        Ok(())
    });
}

#[test]
fn an_agent_that_starts_without_the_controller_enforces_the_last_policy() {
    in_lab(|lab| {
        let mut company = Company::found(lab, 1, POLICY)?;
        let _ssh = company.host(1).node.serve_tcp(22)?;
        company.alice.run(&["sync"])?.ok()?;
        company.controller.kill()?;
        company.host_mut(1).kill()?;

        company.host_mut(1).start_again()?;

        ensure!(company.stranger.reach(company.host(1).node.v4, 22)? == Reach::Silent);
        company.alice.knock("web-1", "tcp/22", &[])?;
        company.host(1).opens(company.alice.node.v4, "tcp:22")?;
        Ok(())
    });
}

#[test]
fn stock_fwknop_opens_with_the_stanza_that_a_users_profile_exports() {
    in_lab(|lab| {
        let company = Company::found(lab, 2, POLICY)?;
        company.alice.run(&["sync"])?.ok()?;

        let rc = company
            .alice
            .run(&["profile", "export", "--format", "fwknoprc"])?
            .ok()?;
        fwknop_with_rc(
            &company.alice.node,
            &rc.stdout,
            "web-2",
            &["-A", "tcp/22", "-a", "203.0.113.4", "-U", "alice"],
        )?;

        company.host(2).opens([203, 0, 113, 4], "tcp:22")?;
        Ok(())
    });
}

/// A packet of the shared key that no host has seen: sent where nobody listens, and caught there.
fn sealed_elsewhere(lab: &harness::Lab, company: &Company) -> Result<Vec<u8>> {
    let nowhere = lab.node("nowhere", 99)?;
    let capture = Capture::start(&nowhere, "udp port 62201")?;
    fwknop(
        &company.alice.node,
        nowhere.v4,
        &[&["-A", "tcp/22", "-s"], SHARED_ARGS].concat(),
    )?;
    Ok(capture.nth(1)?.payload)
}
