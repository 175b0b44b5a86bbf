//! A knock names the address to open, so that a packet that is caught on its way opens nothing for
//! whoever caught it.

use std::fs;

use anyhow::{Context as _, ensure};
use harness::service::Reach;
use harness::{Node, Result, SPA_PORT, in_lab};
use suite::{Company, POLICY};

/// From now on the node has a private address of its own, which nobody else ever sees.
fn put_behind_a_nat(node: &Node) -> Result<()> {
    let script = format!(
        "ip address add 10.9.0.5/32 dev lo && \
         dev=$(ip -o route get 192.0.2.1 | sed 's/.* dev \\([^ ]*\\).*/\\1/') && \
         ip route replace 192.0.2.0/24 dev $dev proto kernel scope link src 10.9.0.5 && \
         iptables -t nat -A POSTROUTING -s 10.9.0.5 -j SNAT --to-source {}",
        node.v4
    );
    node.run(&["sh", "-c", &script])?.ok()?;
    Ok(())
}

#[test]
fn behind_a_nat_the_packet_names_what_the_controller_sees_and_a_thief_of_it_gets_nothing() {
    in_lab(|lab| {
        let mut company = Company::found(lab, 1, POLICY)?;
        let _ssh = company.host(1).node.serve_tcp(22)?;
        let public = company.alice.node.v4;
        put_behind_a_nat(&company.alice.node)?;
        let to = company.host(1).node.v4;

        // Caught before it arrives, and sent by the thief.
        let printed = company.alice.run(&["knock", "web-1", "--dry-run"])?.ok()?;
        let packet = printed.stdout.trim().as_bytes().to_vec();
        company.stranger.send(to, SPA_PORT, &packet)?;

        company.host(1).opens(public, "tcp:22")?;
        ensure!(!company.host(1).has_hole(company.stranger.v4, "tcp:22")?);
        ensure!(company.stranger.reach(to, 22)? == Reach::Silent);
        ensure!(company.alice.node.reach(to, 22)? == Reach::Open);
        company
            .alice
            .run(&["knock", "web-1", "-A", "tcp/22", "-v"])?
            .ok()?
            .says(&format!("access: {public},tcp/22"))?
            .says("tcp/22 of web-1 open after")?;

        // Without the controller its last word is good for a moment; then it is said what to do.
        company.controller.kill()?;
        company.alice.knock("web-1", "tcp/22", &[])?;
        let kept = company.alice.profile.join("seen.json");
        fs::remove_file(&kept).context("the controller's word was not kept")?;
        let began = harness::wait::now();
        company
            .alice
            .run(&["knock", "web-1"])?
            .code(3)?
            .says("-a IP names it")?;
        ensure!(began.elapsed().as_secs() < 4, "{:?}", began.elapsed());
        company
            .alice
            .knock("web-1", "tcp/22", &["-a", "192.0.2.21"])?;
        Ok(())
    });
}

#[test]
fn a_knock_for_whoever_sends_it_is_refused_unless_the_stanza_says_otherwise() {
    in_lab(|lab| {
        let company = Company::found(lab, 1, POLICY)?;
        let _ssh = company.host(1).node.serve_tcp(22)?;
        let rendered = ["policy", "render", "--host", "web-1"];
        company
            .operator
            .run(&rendered)?
            .says("REQUIRE_SOURCE_ADDRESS Y")?;

        let words = ["knock", "web-1", "-A", "tcp/22", "-s"];
        let refused = company.alice.run(&words)?.code(1)?;

        ensure!(
            refused.stderr.contains("does not answer"),
            "{}",
            refused.text()
        );
        ensure!(
            refused.stderr.contains("whoever sends it"),
            "{}",
            refused.text()
        );
        company
            .auditor
            .audit_until(&["--kind", "refused", "--user", "alice"])?;
        company.apply(
            &format!("{POLICY}REQUIRE_SOURCE_ADDRESS N\n"),
            "behind CGNAT",
        )?;
        company
            .operator
            .run(&rendered)?
            .says("REQUIRE_SOURCE_ADDRESS N")?;
        company.alice.knock("web-1", "tcp/22", &["-s"])?;
        company.host(1).opens(company.alice.node.v4, "tcp:22")?;
        Ok(())
    });
}
