//! With the back end iptables, what others flush of ours is laid again when the kernel tells of it.

use std::time::Duration;

use anyhow::ensure;
use harness::service::Reach;
use harness::{Result, in_lab};

use crate::iptables::IPTABLES;
use crate::place::{BackEnd, Place};
use crate::traffic::barrage;
use crate::world::World;

/// How long each may be open: some short processes, on a machine that does other things too.
const REPAIRED: Duration = Duration::from_millis(400);

/// Whoever comes in is let in by the owner.
const OPEN: World = World {
    lay: "true",
    ..IPTABLES
};

#[test]
fn what_is_flushed_of_the_chains_of_iptables_is_laid_again_within_moments() {
    in_lab(|lab| flushed(&Place::new(lab, &OPEN)?));
}

fn flushed(place: &Place) -> Result<()> {
    const FLUSHES: [&str; 3] = [
        "iptables -t mangle -F; ip6tables -t mangle -F",
        "iptables -t mangle -F PREROUTING; ip6tables -t mangle -F PREROUTING",
        "nft flush ruleset",
    ];
    let _agent = place.agent(BackEnd::Iptables, &[])?;
    place.sees(&place.stranger, Reach::Silent)?;
    for flush in FLUSHES {
        let ((), seen) = barrage(&place.stranger, &place.addresses(), || {
            place.owner_does(flush)?;
            std::thread::sleep(Duration::from_secs(1));
            Ok(())
        })?;
        let open_for = seen.open_for();
        ensure!(open_for <= REPAIRED, "{flush}: {seen:?}, {open_for:?}");
        place.sees(&place.stranger, Reach::Silent)?;
    }
    Ok(())
}
