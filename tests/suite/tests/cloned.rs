//! Two machines with one state directory: a virtual machine that was copied, a disk image that was
//! started twice.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use harness::postern::Agent;
use harness::{Node, Result, in_lab, wait};
use suite::{Company, POLICY, SHARED, shared_knock, text};

/// From the moment in which both run.
const FOUND_IN: Duration = Duration::from_secs(20);
/// What one of both had granted when they were found, the other refuses by its date: all that is dated up to two
/// minutes after. Nobody waits for that here: this host takes what is dated later than hosts of a fleet do.
const TAKES_LATER: [&str; 2] = ["--max-future", "600"];
/// Dated behind those two minutes.
const LATER: [&str; 2] = ["--time-offset-plus", "4m"];

#[test]
fn a_copied_host_is_found_and_locked_and_the_original_goes_on_once_the_copy_is_gone() {
    in_lab(|lab| {
        let mut company = Company::found(lab, 1, &[POLICY, SHARED].concat())?;
        let machine = lab.node("copy", 31)?;
        company.host_mut(1).stop()?;
        let mut copy = Agent::copy_of(company.host(1), &machine)?;
        company.host_mut(1).start_again_with(&TAKES_LATER)?;
        wait::until("the copy to be found", FOUND_IN, || {
            let found = company.auditor.audit(&["--kind", "host-cloned"])?;
            Ok(!found.is_empty())
        })?;

        // Whoever looks is told what is so, and what to do.
        let list = company.operator.run(&["host", "list"])?.ok()?;
        ensure!(list.stdout.contains("locked"), "{list:?}");
        ensure!(list.stderr.contains("postern host show web-1"), "{list:?}");
        for words in [["host", "show", "web-1"], ["member", "show", "host/web-1"]] {
            let shown = company.operator.run(&words)?.ok()?;
            for said in [
                "two machines use one state directory",
                "postern member unlock host/web-1",
            ] {
                ensure!(shown.stdout.contains(said), "{said}: {shown:?}");
            }
        }
        company.host_mut(1).wait_for("has locked this host")?;
        copy.wait_for("has locked this host")?;
        for agent in [company.host(1), &copy] {
            for dated in [&[][..], &LATER] {
                ensure!(!opens(&company.stranger, agent, dated)?, "{}", agent.log());
            }
        }

        copy.stop()?;
        fs::remove_dir_all(&copy.state)?;
        let unlock = ["member", "unlock", "host/web-1"];
        company.operator.run(&unlock)?.ok()?;
        company.operator.hosts_in_sync(1)?;
        let original = company.host(1);
        let now = opens(&company.stranger, original, &[])?;
        ensure!(!now, "what may have been granted: {}", original.log());
        wait::until("the original to grant", wait::SOON, || {
            opens(&company.stranger, original, &LATER)
        })?;
        let found = company.auditor.audit(&["--kind", "host-cloned"])?;
        ensure!(found.len() == 1, "{found:#?}");
        let reason = text(&found[0], "reason");
        ensure!(reason.contains("host web-1"), "{reason}");
        Ok(())
    });
}

/// Whether a packet with a key that every host knows opens this one.
fn opens(from: &Node, agent: &Agent, dated: &[&str]) -> Result<bool> {
    shared_knock(from, agent, &[&["-s"], dated].concat())?;
    thread::sleep(Duration::from_secs(1));
    agent.has_hole(from.v4, "tcp:22")
}
