//! Revoked means gone: what began through a grant ends with what gave it, whatever has become of its
//! hole and of the agent meanwhile, and nobody else's knock revives it.

use std::time::Duration;

use anyhow::ensure;
use harness::{in_lab, wait};
use suite::{Company, POLICY, SHARED, same, shared_knock, text};

/// From a decision until the last packet of a session.
const AT_ONCE: Duration = Duration::from_secs(1);

#[test]
fn a_session_whose_hole_has_closed_ends_with_its_user_on_every_host_and_nobody_revives_it() {
    in_lab(|lab| {
        let company = Company::found(lab, 2, &policy())?;
        let alice = &company.alice;
        let mut sessions = Vec::new();
        let mut services = Vec::new();
        for host in &company.hosts {
            services.push(host.node.serve_tcp(22)?);
            alice.knock(&host.node.name, "tcp/22", &[])?;
            host.opens(alice.node.v4, "tcp:22")?;
            let mut session = alice.node.session(host.node.v4, 22)?;
            session.talk()?;
            sessions.push(session);
        }
        for host in &company.hosts {
            wait::until("the hole to close", wait::SOON, || {
                Ok(!host.has_hole(alice.node.v4, "tcp:22")?)
            })?;
        }
        for session in &mut sessions {
            session.talk()?;
        }

        company
            .operator
            .apply(&without_alice(), "alice left")?
            .ok()?;
        wait::until("her sessions to end", AT_ONCE, || {
            let mut dead = true;
            for session in &mut sessions {
                dead &= session.is_dead(Duration::from_millis(100))?;
            }
            Ok(dead)
        })?;

        // What begins from the same address to the same port within 200 ms of the end may still be hers, and is
        // ended too.
        wait::until_instant(wait::now() + Duration::from_secs(1));
        // Somebody else behind the same address is let in, and she is not.
        let host = company.host(1);
        shared_knock(&alice.node, host, &["-s"])?;
        host.opens(alice.node.v4, "tcp:22")?;
        alice.node.session(host.node.v4, 22)?.talk()?;
        for (session, service) in sessions.iter_mut().zip(&services) {
            service.say_to(session.client());
            ensure!(session.is_dead(Duration::from_secs(1))?, "it came back");
        }
        let cut = company
            .auditor
            .audit_until(&["--kind", "connections-cut", "--user", "alice"])?;
        same(
            "ports",
            &cut["ports"].to_string(),
            &"[\"tcp/22\"]".to_owned(),
        )?;
        ensure!(!text(&cut, "grant_id").is_empty(), "{cut}");
        Ok(())
    });
}

#[test]
fn a_revocation_cuts_also_after_the_agent_was_killed_and_has_started_again() {
    in_lab(|lab| {
        let mut company = Company::found(lab, 1, &policy())?;
        let _ssh = company.host(1).node.serve_tcp(22)?;
        let address = company.alice.node.v4;
        company.alice.knock("web-1", "tcp/22", &[])?;
        company.host(1).opens(address, "tcp:22")?;
        let mut session = company.alice.node.session(company.host(1).node.v4, 22)?;
        session.talk()?;
        let host = company.host(1);
        wait::until("the hole to close", wait::SOON, || {
            Ok(!host.has_hole(address, "tcp:22")?)
        })?;
        company.host_mut(1).start_again()?;
        // Still hers under another generation of the same rules.
        company.apply(&format!("{}\n# a remark\n", policy()), "a remark")?;
        session.talk()?;

        company
            .operator
            .apply(&without_alice(), "alice left")?
            .ok()?;

        wait::until("her session to end", AT_ONCE, || {
            session.is_dead(Duration::from_millis(100))
        })?;
        Ok(())
    });
}

#[test]
fn the_users_of_one_address_are_told_apart_by_when_they_came() {
    in_lab(|lab| {
        let company = Company::found(lab, 1, &policy())?;
        let (alice, host) = (&company.alice, company.host(1));
        let _ssh = host.node.serve_tcp(22)?;
        alice.knock("web-1", "tcp/22", &[])?;
        host.opens(alice.node.v4, "tcp:22")?;
        let mut hers = alice.node.session(host.node.v4, 22)?;
        hers.talk()?;
        wait::until("the hole to close", wait::SOON, || {
            Ok(!host.has_hole(alice.node.v4, "tcp:22")?)
        })?;
        // More than a moment in which it could not be told.
        wait::until_instant(wait::now() + Duration::from_secs(2));
        shared_knock(&alice.node, host, &["-s"])?;
        host.opens(alice.node.v4, "tcp:22")?;
        let mut theirs = alice.node.session(host.node.v4, 22)?;
        theirs.talk()?;

        company
            .operator
            .apply(&without_alice(), "alice left")?
            .ok()?;

        wait::until("her session to end", AT_ONCE, || {
            hers.is_dead(Duration::from_millis(100))
        })?;
        theirs.talk()
    });
}

/// Holes that close soon.
fn policy() -> String {
    format!(
        "{}{SHARED}",
        POLICY.replace("FW_ACCESS_TIMEOUT 20", "FW_ACCESS_TIMEOUT 3")
    )
}

fn without_alice() -> String {
    policy().replace("REQUIRE_USERNAME alice", "REQUIRE_USERNAME bob")
}
