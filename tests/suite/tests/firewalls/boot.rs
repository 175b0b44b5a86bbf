//! A boot, in the order of the units: the owner's firewall first, then what was hidden, then the agent.

use anyhow::Context as _;
use harness::postern::Agent;
use harness::service::Reach;
use harness::{Node, Result, in_lab};

use crate::iptables::IPTABLES;
use crate::native::MARKED;
use crate::place::{BOTH, BackEnd, Place};
use crate::world::World;

/// How two kinds of host come up: from nothing, by what their unit runs.
const BOOTS: [(World, &str); 2] = [
    (
        IPTABLES,
        "iptables-restore </etc/iptables/rules.v4; ip6tables-restore </etc/iptables/rules.v6",
    ),
    (MARKED, "nft -f /etc/nftables.conf"),
];

#[test]
fn after_a_boot_everything_is_hidden_before_the_network_is_up_and_no_hole_comes_back() {
    for (world, restore) in BOOTS {
        std::thread::scope(|scope| {
            for back_end in BOTH {
                scope.spawn(move || {
                    in_lab(|lab| booted(&Place::new(lab, &world)?, &world, restore, *back_end));
                });
            }
        });
    }
}

fn booted(place: &Place, world: &World, restore: &str, back_end: BackEnd) -> Result<()> {
    let mut agent = place.agent(back_end, world.hooks)?;
    place.owner_does(world.reload)?;
    place.knock()?;
    place.opens()?;
    agent.kill()?;

    // What a boot leaves: no rule of anybody. The owner's policy is open from here on, so that only
    // what Postern hides is hidden.
    place.owner_does(
        "nft flush ruleset; nft delete table inet postern 2>/dev/null || true; ipset destroy || true",
    )?;
    place.sees(&place.stranger, Reach::Open)?;
    if back_end == BackEnd::Iptables {
        // What was saved names our sets.
        protect(&place.host, &agent, back_end)?;
    }
    place.owner_does(restore).context("the owner's unit")?;
    place.owner_does(OPEN_POLICY)?;
    protect(&place.host, &agent, back_end)?;
    place.sees(&place.stranger, Reach::Silent)?;
    place
        .sees(&place.user, Reach::Silent)
        .context("a hole came back")?;
    agent.start_again()?;
    place.knock()?;
    place.opens()
}

/// As the unit postern-protect.service runs it, on the host of this agent or what it is after a boot.
pub(crate) fn protect(host: &Node, agent: &Agent, back_end: BackEnd) -> Result<()> {
    let program = harness::postern::binary("postern-agent")?;
    let (program, state) = (program.display(), agent.state.display());
    let config = format!(
        "backend = \"{}\"\nstate_dir = \"{state}\"\n",
        back_end.name()
    );
    let config = host.write("agent.toml", &config)?;
    let line = format!("{program} protect --config {}", config.display());
    host.run(&["sh", "-ec", &line])?.ok()?;
    Ok(())
}

/// Whatever the owner's rules are: everybody may come in.
const OPEN_POLICY: &str = "for ip in iptables ip6tables; do $ip -P INPUT ACCEPT; done
nft insert rule inet filter input accept 2>/dev/null || true";
