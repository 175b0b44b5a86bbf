//! What must hold in every world, as one story: to lay a world takes longer than to look at it.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use harness::postern::Agent;
use harness::service::Reach;
use harness::{Result, in_lab, wait};

use crate::place::{BackEnd, HOLE_SECS, Place, without_the_user};
use crate::traffic::{barrage, lasted};
use crate::world::World;

/// How far from its deadline a hole may close.
const CLOSING: Duration = Duration::from_millis(20);

/// How long what others flush may be open until it is laid again, on a machine that does other things
/// too; some milliseconds where it does not.
const REPAIRED: Duration = Duration::from_millis(700);

/// How long something that is dead may take to show it.
const PATIENCE: Duration = Duration::from_millis(700);

/// Walks through the story in this world with each of these back ends, side by side.
pub(crate) fn lives(world: &World, back_ends: &[BackEnd]) {
    std::thread::scope(|scope| {
        for back_end in back_ends {
            scope.spawn(move || in_lab(|lab| life(&Place::new(lab, world)?, world, *back_end)));
        }
    });
}

fn life(place: &Place, world: &World, back_end: BackEnd) -> Result<()> {
    let mut agent = place.agent(back_end, world.hooks)?;
    opens_for_one_and_closes_in_time(place).context("a hole")?;
    outlives_a_reload(place, world).context("the owner reloads")?;
    a_ban_holds(place, world).context("the owner bans")?;
    kill_opens_nothing(place, &mut agent).context("kill -9")?;
    agent.start_again()?;
    a_revocation_cuts(place, &mut agent).context("a revocation")?;
    a_flush_opens_nothing(place, world, back_end).context("the owner flushes")?;
    Ok(())
}

/// Closed; a knock opens for its sender and nobody else, over each family; the hole closes within 20
/// ms of its deadline, and what began through it goes on.
fn opens_for_one_and_closes_in_time(place: &Place) -> Result<()> {
    place.sees(&place.user, Reach::Silent)?;
    let promised = Duration::from_secs(HOLE_SECS);
    let closing = std::thread::scope(|scope| {
        let closing = scope.spawn(|| lasted(&place.user, place.host.v4.into(), promised));
        place.knock()?;
        let mut sessions = open_sessions(place)?;
        place.sees(&place.stranger, Reach::Silent)?;
        let closing = closing
            .join()
            .map_err(|_| anyhow::anyhow!("the watch panicked"))??;
        place.sees(&place.user, Reach::Silent)?;
        for session in &mut sessions {
            session.talk().context("it must outlive its hole")?;
        }
        Ok::<_, anyhow::Error>(closing)
    })?;
    ensure!(closing.error() <= CLOSING, "{closing:?}");
    Ok(())
}

/// Waits until sessions can be had, and has them.
fn open_sessions(place: &Place) -> Result<Vec<harness::service::Session>> {
    let opened = wait::some("sessions", Duration::from_secs(2), || {
        Ok(place.sessions().ok())
    });
    Ok(opened?.0)
}

/// The owner's reload ends no session, opens nothing, and the next knock works.
fn outlives_a_reload(place: &Place, world: &World) -> Result<()> {
    place.knock()?;
    let mut sessions = open_sessions(place)?;
    place.owner_does(world.reload)?;
    for session in &mut sessions {
        session.talk().context("it must outlive the reload")?;
    }
    place.sees(&place.stranger, Reach::Silent)?;
    // A line in a chain that was made anew has to be put there again first.
    let limit = Duration::from_secs(8);
    wait::until("a knock to open", limit, || {
        place.knock()?;
        Ok(place.opens().is_ok())
    })?;
    Ok(())
}

/// What the owner blocks is blocked, whatever is open and whatever lived.
fn a_ban_holds(place: &Place, world: &World) -> Result<()> {
    place.knock_v4()?;
    let open = || Ok(place.user.session(place.host.v4, 22).ok());
    let (mut session, _) = wait::some("a session", Duration::from_secs(2), open)?;
    place.owner_does(world.ban)?;
    ensure!(session.is_dead(PATIENCE)?, "it outlived the ban");
    place.knock_v4()?;
    wait::throughout("banned", Duration::from_millis(300), || {
        Ok(place.user.session(place.host.v4, 22).is_err())
    })?;
    place.owner_does(world.unban)?;
    place.knock_v4()?;
    wait::some("a session", Duration::from_secs(2), open)?;
    Ok(())
}

/// Killed, the agent leaves everything closed but what it has opened, and that closes in time.
fn kill_opens_nothing(place: &Place, agent: &mut Agent) -> Result<()> {
    place.knock()?;
    let mut sessions = open_sessions(place)?;
    agent.kill()?;
    let killed = wait::now();
    place.sees(&place.stranger, Reach::Silent)?;
    place.sees(&place.user, Reach::Open)?;
    wait::until_instant(killed + Duration::from_secs(HOLE_SECS));
    place.sees(&place.user, Reach::Silent)?;
    for session in &mut sessions {
        session.talk().context("it must outlive the agent")?;
    }
    Ok(())
}

/// Who may no longer come in is no longer in.
fn a_revocation_cuts(place: &Place, agent: &mut Agent) -> Result<()> {
    place.knock()?;
    let mut sessions = open_sessions(place)?;
    agent.write_access(&without_the_user())?;
    agent.reload(|| Ok(()))?;
    for session in &mut sessions {
        ensure!(session.is_dead(PATIENCE)?, "it outlived the revocation");
    }
    place.sees(&place.user, Reach::Silent)
}

/// Whoever empties the packet filter shows no protected port.
fn a_flush_opens_nothing(place: &Place, world: &World, back_end: BackEnd) -> Result<()> {
    const FLUSHES: u32 = 5;
    let stranger = &place.stranger;
    let ((), seen) = barrage(stranger, &place.addresses(), || {
        for _ in 0..FLUSHES {
            place.owner_does(world.flush)?;
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    })?;
    ensure!(seen.sent > 100, "{seen:?}");
    let most = match back_end {
        BackEnd::Nftables => Duration::ZERO,
        BackEnd::Iptables => FLUSHES * REPAIRED,
    };
    let open_for = seen.open_for();
    ensure!(open_for <= most, "{back_end:?}: {seen:?}, {open_for:?}");
    place.sees(stranger, Reach::Silent)
}
