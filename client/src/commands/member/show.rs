//! `postern member show`

use fleet::wire::{ShowMemberRequest, ShowMemberResponse};
use serde::Serialize;

use super::row::Row;
use super::target::Target;
use crate::connection::{Connection, ask};
use crate::context::{Context, Listing};
use crate::error::Result;
use crate::time;

/// Show one member: its keys and lock, a user's stanzas, a host's warnings
///
/// JSON fields: those of `postern member list`, stanzas, and warnings.
#[derive(clap::Args, Debug)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    target: Target,

    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    member: Row<'a>,
    stanzas: &'a [String],
}

pub(super) async fn run(context: &Context, args: ShowArgs) -> Result {
    let connection = Connection::open(&context.profile).await?;
    let (_, found) = args.target.find(&connection).await?;
    let question = ShowMemberRequest {
        role: found.role,
        name: found.name.clone(),
    };
    let ShowMemberResponse {
        member,
        stanzas,
        warnings,
    } = connection
        .operator()
        .show_member(ask(question))
        .await
        .map_err(|status| connection.refused(status))?
        .into_inner();
    let mut member = member.unwrap_or(found);
    // Of keys, and of the host: one list.
    member.warnings.clone_from(&warnings);
    let row = Row::from(&member);
    if args.listing.json {
        return context.ui.json(&Shown {
            member: row,
            stanzas: &stanzas,
        });
    }
    for (name, value) in lines(context.now_secs, &row, &stanzas, &warnings) {
        if !value.is_empty() {
            let name = format!("{name}:");
            context.ui.say(format_args!("{name:<14} {value}"))?;
        }
    }
    Ok(())
}

/// How old a key is, in days.
fn age(joined_at_ms: u64, now_secs: u64) -> String {
    match now_secs.saturating_sub(joined_at_ms / 1000) / 86_400 {
        0 => String::new(),
        1 => " (1 day)".to_owned(),
        days => format!(" ({days} days)"),
    }
}

fn lines<'a>(
    now_secs: u64,
    row: &Row<'_>,
    stanzas: &'a [String],
    warnings: &'a [String],
) -> Vec<(&'a str, String)> {
    let lock = if row.locked {
        format!(
            "since {}  {}",
            time::short(row.locked_at_ms),
            row.lock_reason
        )
    } else {
        String::new()
    };
    let mut lines = vec![
        ("role", row.role.to_owned()),
        ("name", row.name.to_owned()),
        ("state", row.state().to_owned()),
        ("locked", lock.trim_end().to_owned()),
        ("labels", row.labels()),
        ("joined", time::short(row.joined_at_ms)),
        ("renewed", time::short(row.renewed_at_ms)),
    ];
    lines.extend(row.keys.iter().map(|key| {
        let lock = if key.locked { "  locked" } else { "" };
        let joined = time::short(key.joined_at_ms);
        let used = match key.renewed_at_ms {
            // Of a controller that does not say.
            0 => String::new(),
            at => format!(", last used {}", time::short(at)),
        };
        let age = age(key.joined_at_ms, now_secs);
        let follows = match key.follows {
            "" => String::new(),
            followed => format!(", to replace {followed} when every host knows it"),
        };
        let asked = match key.rotation_asked_ms {
            0 => String::new(),
            at => format!(", asked for a new one {}", time::short(at)),
        };
        (
            "key",
            format!(
                "{}  {}  joined {joined}{age}{used}{follows}{asked}{lock}",
                key.name, key.fingerprint
            ),
        )
    }));
    lines.extend(stanzas.iter().map(|stanza| ("may open by", stanza.clone())));
    lines.extend(warnings.iter().map(|warning| ("warning", warning.clone())));
    lines
}
