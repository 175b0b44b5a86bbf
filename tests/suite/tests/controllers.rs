//! A controller with two addresses, of which one goes away: who knows both goes on.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use harness::postern::{Agent, CONTROLLER_PORT, Controller, Member, binary};
use harness::{Node, Result, in_lab, wait};
use serde_json::Value;
use suite::{POLICY, same};

/// Beside the one of its node, 192.0.2.1.
const SECOND: &str = "192.0.2.2";
/// From the moment in which an address refuses until the host is somewhere else: whoever says nothing is asked every
/// seven seconds whether he is there.
const SOON: Duration = Duration::from_secs(12);

/// Where the host's agent is connected; `None` for nowhere.
fn connected(host: &Agent) -> Result<Option<String>> {
    let program = binary("postern-agent")?.display().to_string();
    let state = host.state.display().to_string();
    let status = host
        .node
        .run(&[&program, "status", "--json", "--state", &state])?;
    let status: Value = serde_json::from_str(&status.ok()?.stdout)?;
    let link = status.get("link").context("no link")?;
    let is_connected = link.get("is_connected").and_then(Value::as_bool) == Some(true);
    let known = link.get("controllers").and_then(Value::as_array);
    ensure!(known.is_some_and(|known| known.len() == 2), "{status}");
    let at = link.get("controller").and_then(Value::as_str);
    Ok(at.filter(|_| is_connected).map(str::to_owned))
}

/// The controller's own packet filter refuses whoever asks at this address.
fn refuse_at(controller: &Node, address: &str) -> Result<()> {
    let rules = format!(
        "table inet away {{\n chain input {{\n type filter hook input priority 0\n \
         ip daddr {address} tcp dport {CONTROLLER_PORT} reject with tcp reset\n }}\n}}"
    );
    controller.run(&["nft", &rules])?.ok()?;
    Ok(())
}

#[test]
fn host_and_people_go_on_at_the_other_address_of_a_controller_within_seconds_when_one_refuses() {
    in_lab(|lab| {
        let mut controller = Controller::start(&lab.node("control", 1)?)?;
        let node = controller.node.clone();
        let add = format!(
            "ip addr add {SECOND}/24 dev $(ip -o -4 addr show to {} | awk '{{print $2; exit}}')",
            node.v4
        );
        node.run(&["sh", "-c", &add])?.ok()?;
        let both = [node.v4.to_string(), SECOND.to_owned()];
        let both = both.map(|address| format!("{address}:{CONTROLLER_PORT}"));
        let settings = controller.data.join("controller.toml");
        let mut settings = OpenOptions::new().append(true).open(settings)?;
        writeln!(settings, "controllers = {both:?}")?;
        controller.start_again()?;
        let operator = Member::join_as(&lab.node("desk", 5)?, "operator", &controller.first_token)?;
        let web = lab.node("web-1", 11)?;
        let token = operator.token("host", "web-1", &["role=web"])?;
        let host = Agent::joined(&web, &token)?;
        operator.apply(POLICY, "the first")?.ok()?;
        operator.hosts_in_sync(1)?;
        let (first, _) = wait::some("a session", wait::SOON, || connected(&host))?;
        ensure!(both.contains(&first), "{first}");

        let (address, _) = first.rsplit_once(':').context("no port")?;
        refuse_at(&node, address)?;

        let other = both
            .iter()
            .find(|other| **other != first)
            .context("no other")?;
        let since = wait::now();
        wait::until("a session at the other address", SOON, || {
            Ok(connected(&host)?.as_ref() == Some(other))
        })?;
        let took = since.elapsed();
        ensure!(took < SOON, "{took:?}");
        // For people, too, whichever is theirs; and what they do reaches the host.
        operator
            .apply(&POLICY.replace("20", "30"), "the second")?
            .ok()?;
        operator.hosts_in_sync(1)?;
        let shown = operator.run(&["profile", "show"])?.ok()?;
        for address in &both {
            ensure!(shown.stdout.contains(address.as_str()), "{shown:?}");
        }
        same("still there", &connected(&host)?.as_ref(), &Some(other))
    });
}
