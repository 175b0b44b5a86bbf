//! The owner's block stays above whatever the agent does: for connections that live and for new ones,
//! for as long as it stands, for ports that are protected and for those that are not.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use harness::{Result, in_lab, wait};

use crate::iptables::IPTABLES;
use crate::place::{BOTH, BackEnd, Place};
use crate::world::World;

/// Longer than any round of repairs has ever taken.
const FOR_LONG: Duration = Duration::from_secs(7);

/// A host that lets everybody in to TCP 9090, with the agent beside it.
pub(crate) const OPEN_HOST: World = World {
    lay: "true",
    ..IPTABLES
};

#[test]
fn a_block_that_the_owner_puts_on_top_stays_in_force_for_all_ports_and_old_connections() {
    std::thread::scope(|scope| {
        for back_end in BOTH {
            scope.spawn(|| in_lab(|lab| blocked(&Place::new(lab, &OPEN_HOST)?, *back_end)));
        }
    });
}

fn blocked(place: &Place, back_end: BackEnd) -> Result<()> {
    let _other = place.host.serve_tcp(9090)?;
    let _agent = place.agent(back_end, &[])?;
    let mut other = place.user.session(place.host.v4, 9090)?;
    place.knock_v4()?;
    place.opens_v4()?;
    let mut through = place.user.session(place.host.v4, 22)?;

    place.owner_does(OPEN_HOST.ban)?;

    let banned = wait::now();
    while banned.elapsed() < FOR_LONG {
        place.knock_v4()?;
        let patience = Duration::from_millis(300);
        ensure!(
            other.is_dead(patience)?,
            "tcp/9090 after {:?}",
            banned.elapsed()
        );
        ensure!(
            through.is_dead(patience)?,
            "tcp/22 after {:?}",
            banned.elapsed()
        );
        let new = place.user.session(place.host.v4, 22);
        ensure!(new.is_err(), "a new one after {:?}", banned.elapsed());
    }
    let first = place.owner.run("iptables -S INPUT 1")?.ok()?.stdout;
    let wanted = format!("-s {}/32 -j DROP", place.user.v4);
    ensure!(first.contains(&wanted), "moved below: {first}");
    place.owner_does(OPEN_HOST.unban)?;
    place.knock_v4()?;
    place.opens_v4().context("unbanned")
}
