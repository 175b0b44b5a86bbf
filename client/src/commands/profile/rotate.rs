//! `postern profile rotate`

use std::time::Duration;

use fleet::Role;
use member::{ConnectError, JoinError, Membership, Rotation, RotationStep};
use serde::Serialize;
use tonic::Code;

use crate::clock;
use crate::context::{Context, Listing};
use crate::directory;
use crate::error::{CommandError, Result};

/// The first pause between two questions whether hosts have heard.
const PAUSE: Duration = Duration::from_millis(200);
/// And the longest.
const PAUSE_MAX: Duration = Duration::from_secs(3);

/// Give this profile other keys, in the place of those that it has
///
/// The new keys are made here and kept where the old ones are (a file, or the keyring). The controller and every host
/// that you may open learn of them beside the old ones; when all of them have, this profile uses the new ones, and the
/// old ones end. At every moment this profile knocks: while a host is away the old keys go on, everywhere. What was
/// opened by the old keys closes when they end, with its connections: --keep-old leaves them, until this is run again
/// without it.
///
/// Cut off at whatever moment, or with hosts that are away (exit code 4), it goes on when it is run again: the old
/// keys do not end by themselves. `postern host list` of an operator shows which hosts are away; one that
/// never comes back is to be locked or removed. What `postern profile export` has written has the old keys: write it
/// again afterwards.
///
/// JSON fields: state (waiting, switched or rotated), role, name, fleet, waits_for (hosts).
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern profile rotate
  postern profile rotate --wait 10m
  postern profile rotate --keep-old      while a connection must live on
  postern profile rotate --json")]
pub(crate) struct RotateArgs {
    /// How long to wait for hosts
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    wait: Duration,

    /// Use the new keys, and leave the old ones as they are for now
    #[arg(long)]
    keep_old: bool,

    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, Serialize)]
struct State<'a> {
    state: &'static str,
    role: &'a str,
    name: &'a str,
    fleet: &'a str,
    waits_for: &'a [String],
}

pub(super) async fn run(context: &Context, args: &RotateArgs) -> Result {
    let mut membership = context.profile.membership()?;
    let since = clock::moment();
    let mut pause = PAUSE;
    let mut told = Vec::new();
    loop {
        if args.keep_old && membership.rotation()? == Some(Rotation::Switched) {
            return switched(context, &membership, args.listing);
        }
        match membership.rotate_step().await.map_err(refused)? {
            RotationStep::Made => context
                .ui
                .note("New keys are made; telling the controller ..."),
            RotationStep::WaitsFor(hosts) => {
                if told != hosts {
                    context
                        .ui
                        .note(format_args!("Waiting for {} ...", hosts.join(", ")));
                }
                let left = args
                    .wait
                    .saturating_sub(clock::moment().duration_since(since));
                if left.is_zero() {
                    return waiting(context, &membership, args.listing, &hosts);
                }
                told = hosts;
                tokio::time::sleep(pause.min(left)).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            RotationStep::Switched => context.ui.note("This profile has its new keys."),
            RotationStep::Ended(rotated) => {
                if let Some(error) = rotated.left_in_keyring {
                    context.ui.warn(format_args!(
                        "the keyring still has the old keys, which are good for nothing now: {error}"
                    ));
                }
                directory::forget_asked(&context.profile);
                return done(context, &membership, args.listing);
            }
        }
    }
}

/// Says once more what an operator has asked for, if that is so.
pub(crate) fn say_asked(context: &Context, asked_ms: u64) {
    if asked_ms > 0 {
        context.ui.warn(format_args!(
            "an operator has asked you for new keys on {}: run `postern profile rotate`",
            crate::time::short(asked_ms)
        ));
    }
}

/// A controller of the version before does not know the question; the new keys wait until it does.
fn refused(error: JoinError) -> CommandError {
    match error {
        JoinError::Connect(ConnectError::Refused { code, message })
            if code == Code::Unimplemented || message.contains("/postern.v1.") =>
        {
            CommandError::refused("the controller does not know how keys are rotated")
                .with_hint("it is of an older version than this program; upgrade it")
        }
        error @ (JoinError::Connect(_)
        | JoinError::TokenExpired { .. }
        | JoinError::TokenRefused { .. }
        | JoinError::AlreadyMember { .. }
        | JoinError::Running { .. }
        | JoinError::Rotating { .. }
        | JoinError::RotatedOften { .. }
        | JoinError::Files(_)) => error.into(),
    }
}

fn done(context: &Context, membership: &Membership, listing: Listing) -> Result {
    if listing.json {
        return json(context, membership, ("rotated", &[]));
    }
    context.ui.say(format_args!(
        "{} {} has new keys, and the old ones have ended.",
        membership.role, membership.name
    ))?;
    if membership.role == Role::User {
        context.ui.note(
            "What `postern profile export` has written before has the old keys: write it again.",
        );
    }
    Ok(())
}

fn switched(context: &Context, membership: &Membership, listing: Listing) -> Result {
    if listing.json {
        return json(context, membership, ("switched", &[]));
    }
    context.ui.say(format_args!(
        "{} {} uses the new keys; the old ones end when this is run again without --keep-old.",
        membership.role, membership.name
    ))
}

fn waiting(
    context: &Context,
    membership: &Membership,
    listing: Listing,
    hosts: &[String],
) -> Result {
    if listing.json {
        json(context, membership, ("waiting", hosts))?;
    }
    let problem = format!(
        "not every host knows the new keys yet: {}",
        hosts.join(", ")
    );
    Err(CommandError::partly(problem).with_hint(
        "the old keys go on meanwhile, everywhere; run this again when they are connected",
    ))
}

fn json(
    context: &Context,
    membership: &Membership,
    (state, hosts): (&'static str, &[String]),
) -> Result {
    context.ui.json(&State {
        state,
        role: membership.role.as_str(),
        name: &membership.name,
        fleet: &membership.fleet,
        waits_for: hosts,
    })
}
