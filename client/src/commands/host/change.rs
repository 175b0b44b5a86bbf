//! What `postern host set` and `postern host rename` have in common.

use fleet::wire::{ChangeHostResponse, ExposureChange, HostChange};
use serde::Serialize;
use tonic::{Code, Status};

use super::row::Row;
use crate::commands::policy::access;
use crate::connection::Connection;
use crate::context::{Context, Listing};
use crate::error::{CommandError, Result};

/// What both take.
#[derive(clap::Args, Debug)]
pub(super) struct Common {
    /// Go on although this makes a hidden port public
    #[arg(long)]
    pub(super) allow_public: bool,

    /// Say what would change, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,

    #[command(flatten)]
    listing: Listing,
}

/// In JSON. The names are part of the interface.
#[derive(Debug, Serialize)]
struct Told<'a> {
    dry_run: bool,
    #[serde(flatten)]
    host: Row<'a>,
    stanzas_added: Vec<&'a str>,
    stanzas_removed: Vec<&'a str>,
    becomes_public: Vec<&'a str>,
    becomes_hidden: Vec<&'a str>,
    /// What people gain and lose by it.
    access: Vec<access::Row<'a>>,
    change_warnings: &'a [String],
}

// === impl Common ===

impl Common {
    /// What shows whether the change is done; nothing where none is made.
    pub(super) fn look(&self) -> &'static str {
        if self.dry_run {
            ""
        } else {
            "postern host list"
        }
    }

    /// Shows what came of a change of the host that was called `name`.
    pub(super) fn tell(
        &self,
        context: &Context,
        name: &str,
        answer: &ChangeHostResponse,
    ) -> Result {
        let nothing = || CommandError::refused(format!("the controller says nothing of {name}"));
        let host = answer.host.as_ref().ok_or_else(nothing)?;
        let row = Row::from(host);
        let words = |of: fn(&HostChange) -> &[String]| -> Vec<&str> {
            let all = answer.hosts.iter().flat_map(of);
            all.map(String::as_str).collect()
        };
        let ports = |of: fn(&ExposureChange) -> &[String]| -> Vec<&str> {
            let all = answer.exposure.iter().flat_map(of);
            all.map(String::as_str).collect()
        };
        let told = Told {
            dry_run: self.dry_run,
            host: row,
            stanzas_added: words(|change| &change.added),
            stanzas_removed: words(|change| &change.removed),
            becomes_public: ports(|change| &change.becomes_public),
            becomes_hidden: ports(|change| &change.becomes_hidden),
            access: access::rows(&answer.access),
            change_warnings: &answer.warnings,
        };
        if self.listing.json {
            return context.ui.json(&told);
        }
        let done = if self.dry_run { "Would be" } else { "Now" };
        context.ui.say(format_args!("{done}: {}", told.line()))?;
        for (what, words) in [
            ("stanzas that select it now", &told.stanzas_added),
            ("stanzas that select it no longer", &told.stanzas_removed),
            ("becomes public", &told.becomes_public),
            ("becomes hidden", &told.becomes_hidden),
        ] {
            if !words.is_empty() {
                context
                    .ui
                    .say(format_args!("{what}: {}", words.join(", ")))?;
            }
        }
        context.ui.say_of(access::sentences(&answer.access))?;
        context.ui.warn_of(&answer.warnings);
        Ok(())
    }
}

// === impl Told ===

impl Told<'_> {
    /// The host in one line.
    fn line(&self) -> String {
        let Row {
            name,
            addresses,
            spa_port,
            ..
        } = &self.host;
        let mut line = format!("{name} at {}, SPA port {spa_port}", addresses.join(" and "));
        let labels = self.host.labels();
        if !labels.is_empty() {
            line += &format!(", {labels}");
        }
        line
    }
}

/// What a refusal means to whoever asked.
pub(super) fn refused(connection: &Connection, status: Status) -> CommandError {
    let would_be_public = status.code() == Code::OutOfRange;
    let is_older = status.code() == Code::Unimplemented;
    let error = connection.refused(status);
    if would_be_public {
        return error.with_hint(
            "--dry-run --allow-public says all of it; if it is meant, leave --dry-run out",
        );
    }
    if is_older {
        return error.with_hint("this controller is of a version that cannot change hosts");
    }
    error
}
