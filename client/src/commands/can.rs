//! `postern can`

use fleet::wire::WhoCanRequest;
use serde::Serialize;

use super::who_can::{Row, When};
use crate::connection::{Connection, ask};
use crate::context::Context;
use crate::error::{CommandError, Result};

/// Say whether a user may open a port of a host, and by which line
///
/// Exit code 0: she may; 1: she may not, and what each stanza of the host says is printed. Where there is
/// no answer it is another one: 2 for a user, host or port that there is not, and for whoever may not
/// ask; 3 when the controller is not reached. Standard output is empty then, also with --json.
///
/// JSON fields: allowed, user, host, port, generation, reasons, warnings, and when she may `access`
/// with the fields of `postern who-can`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern can alice web-1 tcp/22
  postern can alice web-1 tcp/22 --from 198.51.100.7
  postern can alice web-1 tcp/22 --at '2026-11-01T12:00:00Z' && echo 'she could'")]
pub(crate) struct CanArgs {
    /// User
    user: String,

    /// Host, as `postern host list` names it
    host: String,

    /// Port, as tcp/22, or several: tcp/80,tcp/443
    port: String,

    /// Where the packet comes from [default: anywhere that the stanza allows]
    #[arg(long, value_name = "IP", default_value = "", hide_default_value = true)]
    from: String,

    #[command(flatten)]
    when: When,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The answer in JSON. The names are part of the interface.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    allowed: bool,
    user: &'a str,
    host: &'a str,
    port: &'a str,
    generation: u64,
    access: Option<Row<'a>>,
    reasons: &'a [String],
    warnings: &'a [String],
}

pub(crate) async fn run(context: &Context, args: CanArgs) -> Result {
    ask_and_say(context, args)
        .await
        .map_err(CommandError::unanswered)
}

async fn ask_and_say(context: &Context, args: CanArgs) -> Result {
    let CanArgs {
        user,
        host,
        port,
        from,
        when,
        json,
    } = args;
    let at_ms = when.at_ms(context)?;
    let connection = Connection::open(&context.profile).await?;
    let answer = connection
        .operator()
        .can(ask(WhoCanRequest {
            user: user.clone(),
            host: host.clone(),
            port: port.clone(),
            source: from,
            generation: when.generation(),
            at_ms,
        }))
        .await
        .map_err(|status| connection.refused(status))?
        .into_inner();
    let access = answer.access.as_ref();
    let access = access.map(|access| Row::new(access, answer.generation));
    let result = if answer.allowed {
        Ok(())
    } else {
        Err(CommandError::answered())
    };
    if json {
        context.ui.json(&Answer {
            allowed: answer.allowed,
            user: &user,
            host: &host,
            port: &port,
            generation: answer.generation,
            access,
            reasons: &answer.reasons,
            warnings: &answer.warnings,
        })?;
        return result;
    }
    for warning in &answer.warnings {
        context.ui.note(warning);
    }
    if let Some(access) = access {
        let proof = match (access.user, access.user_identity) {
            ("", _) | (_, "asserted") => "as may whoever holds the key of the stanza",
            (_, _) => "proven by a key of her own",
        };
        context.ui.say(format_args!(
            "{user} may open {port} on {host} from {}, by stanza {} ({}); {}; {proof}.",
            access.sources(),
            access.stanza,
            access.place(),
            access.notes()
        ))?;
    } else {
        context
            .ui
            .say(format_args!("{user} may not open {port} on {host}."))?;
        for reason in &answer.reasons {
            context.ui.say(format_args!("  {reason}"))?;
        }
    }
    result
}
