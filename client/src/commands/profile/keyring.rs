//! `postern profile keyring`

use member::Membership;
use serde::Serialize;

use crate::context::{Context, Listing};
use crate::error::Result;
use crate::keyring;

/// Keep the keys of this profile in the keyring of the desktop, or in a file
///
/// The keyring is the Secret Service of whoever is logged in: GNOME Keyring, KWallet, KeePassXC. A disk
/// that is stolen while the machine is off does not show what is in it; every program of yours can ask it,
/// as it can read a file. The keys begin in a file, since a knock that is typed over ssh, by cron or in a
/// container finds no keyring.
///
/// Nothing is lost when this is cut off: keys are read again where they were written, before they are taken
/// away where they were. Run it again then. A disk may still have what a file held before; keys that were
/// never in one are made by `postern join --keyring`.
///
/// Without an option it says where the keys are, and whether they can be read.
///
/// JSON fields: keys (file or keyring), item (its attribute `item` in the keyring), role, name, fleet.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern profile keyring --to-keyring
  postern profile keyring --to-file
  postern profile keyring --json")]
pub(crate) struct KeyringArgs {
    /// Move the keys from the file into the keyring
    #[arg(long)]
    to_keyring: bool,

    /// Move the keys from the keyring into the file
    #[arg(long, conflicts_with = "to_keyring")]
    to_file: bool,

    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, Serialize)]
struct Place<'a> {
    keys: &'static str,
    item: String,
    role: &'a str,
    name: &'a str,
    fleet: &'a str,
}

pub(super) fn run(context: &Context, args: &KeyringArgs) -> Result {
    let mut membership = context.profile.membership()?;
    if args.to_keyring {
        to_keyring(context, &mut membership)?;
    } else if args.to_file {
        let were_in_keyring = membership.is_in_keyring();
        let left = membership.move_to_file(&keyring::required()?)?;
        if let Some(error) = left {
            let what = if were_in_keyring {
                "the keys are in the file and still in the keyring, too"
            } else {
                "the keys were in the file already; whether a keyring has them, too, is not known"
            };
            let error = program::one_line(&error);
            context.ui.warn(format_args!("{what}: {error}"));
        }
    }
    say(context, &membership, args.listing)?;
    // Whether they can be read, too.
    Ok(membership.check_keys()?)
}

/// Moves the keys into the keyring, and says what does not work any more.
pub(crate) fn to_keyring(context: &Context, membership: &mut Membership) -> Result {
    membership.move_to_keyring(&keyring::required()?)?;
    context.ui.note(
        "What runs without the session of this desktop (ssh from elsewhere, cron, a container) cannot use \
         this profile now; `postern profile keyring --to-file` takes it back.",
    );
    Ok(())
}

fn say(context: &Context, membership: &Membership, listing: Listing) -> Result {
    let is_in_keyring = membership.is_in_keyring();
    if listing.json {
        return context.ui.json(&Place {
            keys: if is_in_keyring { "keyring" } else { "file" },
            item: membership.keyring_name(),
            role: membership.role.as_str(),
            name: &membership.name,
            fleet: &membership.fleet,
        });
    }
    let dir = context.profile.dir().display();
    if is_in_keyring {
        return context.ui.say(format_args!(
            "The keys of the profile in {dir} are in the keyring, as {}.",
            membership.keyring_name()
        ));
    }
    context.ui.say(format_args!(
        "The keys of the profile in {dir} are in its file membership.json."
    ))
}
