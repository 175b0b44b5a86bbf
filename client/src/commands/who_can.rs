//! `postern who-can`

use fleet::UserIdentity;
use fleet::wire::{Access, WhoCanRequest};
use serde::Serialize;

use crate::connection::{Connection, ask};
use crate::context::{Context, Listing};
use crate::error::{CommandError, Result};
use crate::time;

/// List who may open what on which hosts, and by which line of the policy
///
/// The answer is the gate's own judgement over the policy in force, or over that of another time or
/// generation. Users and hosts that are locked or have left may open nothing and are not listed; which
/// they are is said on standard error, as is what cannot be known of the past: texts of policies are
/// kept, labels that hosts had then are not.
///
/// `proven` is a user whose packets only her own key makes; `asserted` one whose name whoever holds the
/// stanza's key may write.
///
/// JSON fields: user (empty for whoever holds `key`), key, host, ports (empty for any), sources (empty
/// for anywhere), stanza, file, line, user_identity (proven, asserted), expires_at, expires_at_secs (0
/// for never), timeout_secs, forwarded_to, runs_commands_as, generation.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern who-can tcp/22
  postern who-can tcp/22 --host web-1 --at 2026-11-01
  postern who-can --host env=prod --from 198.51.100.7
  postern who-can --user alice --generation 41 --json")]
pub(crate) struct WhoCanArgs {
    /// Only this port, as tcp/22 [default: all]
    #[arg(value_name = "PORT", default_value = "", hide_default_value = true)]
    port: String,

    /// Only this host, or hosts with these labels, as env=prod
    #[arg(
        long,
        value_name = "HOST|LABEL",
        default_value = "",
        hide_default_value = true
    )]
    host: String,

    /// Only this user
    #[arg(
        long,
        value_name = "USER",
        default_value = "",
        hide_default_value = true
    )]
    user: String,

    /// Only what a packet from this address opens
    #[arg(long, value_name = "IP", default_value = "", hide_default_value = true)]
    from: String,

    #[command(flatten)]
    when: When,

    #[command(flatten)]
    listing: Listing,
}

/// Under which policy.
#[derive(clap::Args, Debug)]
pub(super) struct When {
    /// As of then: RFC 3339, a date, or how long ago (7d, 2h)
    #[arg(long, value_name = "TIME", conflicts_with = "generation")]
    at: Option<String>,

    /// Under this generation, with the hosts and members of now
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    generation: Option<u64>,
}

/// One right, in JSON. The names are part of the interface.
#[derive(Debug, Serialize)]
pub(super) struct Row<'a> {
    pub(super) user: &'a str,
    pub(super) key: &'a str,
    pub(super) host: &'a str,
    pub(super) ports: &'a [String],
    pub(super) sources: &'a [String],
    pub(super) stanza: &'a str,
    pub(super) file: &'a str,
    pub(super) line: u32,
    pub(super) user_identity: &'static str,
    pub(super) expires_at: Option<String>,
    pub(super) expires_at_secs: u64,
    pub(super) timeout_secs: u64,
    pub(super) forwarded_to: &'a str,
    pub(super) runs_commands_as: &'a str,
    pub(super) generation: u64,
}

pub(crate) async fn run(context: &Context, args: WhoCanArgs) -> Result {
    let at_ms = args.when.at_ms(context)?;
    let connection = Connection::open(&context.profile).await?;
    let answer = connection
        .operator()
        .who_can(ask(WhoCanRequest {
            host: args.host,
            user: args.user,
            port: args.port,
            source: args.from,
            generation: args.when.generation.unwrap_or(0),
            at_ms,
        }))
        .await
        .map_err(|status| connection.refused(status))?
        .into_inner();
    for warning in &answer.warnings {
        context.ui.note(warning);
    }
    let rows = answer.access.iter();
    let rows: Vec<Row<'_>> = rows
        .map(|access| Row::new(access, answer.generation))
        .collect();
    if args.listing.json {
        return rows.iter().try_for_each(|row| context.ui.json(row));
    }
    if rows.is_empty() {
        return context.ui.say("Nobody.");
    }
    context.ui.table(
        ["USER", "HOST", "PORTS", "FROM", "STANZA", "LINE", "NOTES"],
        rows.iter().map(|row| {
            [
                row.who(),
                row.host.to_owned(),
                row.ports(),
                row.sources(),
                row.stanza.to_owned(),
                row.place(),
                row.notes(),
            ]
        }),
    )
}

// === impl When ===

impl When {
    /// Milliseconds since the Unix epoch; 0 for now.
    pub(super) fn at_ms(&self, context: &Context) -> Result<u64> {
        let Some(at) = self.at.as_deref() else {
            return Ok(0);
        };
        let at_ms = time::parse(at, context.now_secs)
            .map_err(|problem| CommandError::usage(format!("--at `{at}`: {problem}")))?;
        if at_ms > context.now_secs.saturating_mul(1000).saturating_add(999) {
            return Err(CommandError::usage(format!("--at `{at}` is in the future")));
        }
        Ok(at_ms)
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.unwrap_or(0)
    }
}

// === impl Row ===

impl<'a> Row<'a> {
    pub(super) fn new(access: &'a Access, generation: u64) -> Self {
        let identity = access.user_identity();
        let Access {
            user,
            host,
            ports,
            sources,
            stanza,
            file,
            line,
            user_identity: _,
            expires_at_secs,
            timeout_secs,
            forwarded_to,
            key,
            runs_commands_as,
        } = access;
        let ends = *expires_at_secs > 0;
        Self {
            user,
            key,
            host,
            ports,
            sources,
            stanza,
            file,
            line: *line,
            user_identity: match identity {
                UserIdentity::Proven => "proven",
                UserIdentity::Asserted => "asserted",
                UserIdentity::Unspecified => "unspecified",
            },
            expires_at: ends.then(|| time::rfc3339_ms(expires_at_secs.saturating_mul(1000))),
            expires_at_secs: *expires_at_secs,
            timeout_secs: *timeout_secs,
            forwarded_to,
            runs_commands_as,
            generation,
        }
    }

    pub(super) fn who(&self) -> String {
        match (self.user, self.user_identity) {
            ("", _) => format!("whoever holds key {}", self.key),
            (user, "asserted") => format!("{user} (asserted)"),
            (user, _) => user.to_owned(),
        }
    }

    fn ports(&self) -> String {
        if self.ports.is_empty() {
            return "any".to_owned();
        }
        self.ports.join(",")
    }

    pub(super) fn sources(&self) -> String {
        if self.sources.is_empty() {
            return "anywhere".to_owned();
        }
        self.sources.join(",")
    }

    /// `fleet.conf:12`
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }

    pub(super) fn notes(&self) -> String {
        let mut notes = vec![format!("at most {} s", self.timeout_secs)];
        if self.expires_at_secs > 0 {
            let end = time::short(self.expires_at_secs.saturating_mul(1000));
            notes.push(format!("until {end}"));
        }
        if !self.forwarded_to.is_empty() {
            notes.push(format!("led to {}", self.forwarded_to));
        }
        if !self.runs_commands_as.is_empty() {
            notes.push(format!("commands as {}", self.runs_commands_as));
        }
        notes.join("; ")
    }
}
