//! `postern knock`

use std::borrow::Cow;

use program::Failure as _;
use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, Result};
use crate::knock::answer::{Answer, Patience};
use crate::knock::args::KnockArgs;
use crate::knock::attempt::{Checked, Knock, State, patience};
use crate::knock::delivery::{self, Voice};
use crate::knock::why::Why;
use crate::knock::{hosts, target};

/// One line of `--json`.
#[derive(Debug, Serialize)]
struct Row<'a> {
    host: &'a str,
    port: String,
    state: &'static str,
    /// It answered before the packet was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    was_open: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<String>,
    /// Why no packet was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// What was not reached or is not open, so far.
#[derive(Debug, Default)]
struct Failures {
    errors: Vec<CommandError>,
    hosts: Vec<String>,
}

pub(crate) async fn run(context: &Context, args: KnockArgs) -> Result {
    let hosts = match hosts::named(context, &args).await {
        Ok(hosts) => hosts,
        Err(error) => {
            for host in &args.hosts {
                not_sent(context, &args, Some(host), &error)?;
            }
            return Err(error);
        }
    };
    if args.dry_run {
        for host in &hosts {
            let mut target = target::find(context, &args, host.as_deref()).await?;
            delivery::show(context, &mut target).await?;
        }
        return Ok(());
    }
    let voice = if args.quiet || args.json {
        Voice::Quiet
    } else {
        Voice::Full
    };
    let mut failures = Failures::default();
    let mut knocks = Vec::new();
    let count = hosts.len();
    for host in hosts {
        let error = match Knock::send_and_compare(context, &args, host.as_deref(), voice).await {
            Ok(knock) => {
                knocks.push(knock);
                continue;
            }
            Err(error) => error,
        };
        not_sent(context, &args, host.as_deref(), &error)?;
        failures.add(host.as_deref().unwrap_or_default(), error);
    }
    for mut knock in knocks {
        let Some(patience) = patience(&args, knock.is_member()) else {
            sent(context, &args, &knock)?;
            continue;
        };
        check(context, &args, &mut knock, patience, &mut failures).await?;
    }
    failures.end(context, count)
}

/// Nobody waits.
fn sent(context: &Context, args: &KnockArgs, knock: &Knock) -> Result {
    if !args.json {
        return Ok(());
    }
    context.ui.json(&Row {
        host: &knock.target.name,
        port: asked(args),
        state: "sent",
        was_open: None,
        address: None,
        ms: None,
        because: None,
        error: None,
        hint: None,
    })
}

/// No packet was sent to this host, and others may have got theirs.
fn not_sent(context: &Context, args: &KnockArgs, host: Option<&str>, why: &CommandError) -> Result {
    if !args.json {
        return Ok(());
    }
    let named = [&args.route.destination, &args.keys.named_config];
    let named = named.into_iter().find_map(|name| name.as_deref());
    context.ui.json(&Row {
        host: host.or(named).unwrap_or_default(),
        port: asked(args),
        state: "failed",
        was_open: None,
        address: None,
        ms: None,
        because: None,
        error: Some(program::one_line(why).to_string()),
        hint: why.hint().map(Cow::into_owned),
    })
}

/// What was asked for on the command line.
fn asked(args: &KnockArgs) -> String {
    let ports = args.request.access.iter().flat_map(|access| &access.0);
    let ports: Vec<String> = ports.map(ToString::to_string).collect();
    ports.join(",")
}

/// Waits for what one knock asked for, and says how it stands with it. A host that has moved or
/// joined anew since the directory is knocked at once more.
async fn check(
    context: &Context,
    args: &KnockArgs,
    knock: &mut Knock,
    patience: Patience,
    failures: &mut Failures,
) -> Result {
    let mut may_try_again = true;
    loop {
        let checked = knock.wait(patience).await;
        let mut errors = Vec::new();
        let mut is_to_be_tried = false;
        for Checked { service, state } in checked {
            let port = service.to_string();
            let is_refused = match state {
                State::Port(Answer::Open { at, after, .. }) => {
                    let ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
                    let was_open = knock.was_open(at.port());
                    open(context, args, knock, (&port, at.ip(), ms, was_open))?;
                    continue;
                }
                State::Port(Answer::Refused) => true,
                State::Port(Answer::Silence) => false,
                State::Unseen(what) => {
                    errors.extend(unseen(context, args, knock, (&port, what)).await?);
                    continue;
                }
            };
            let (error, explained) = knock.failed(context, &port, is_refused).await;
            is_to_be_tried |= explained.has_changed;
            errors.push((port, is_refused, error, explained.why));
        }
        if is_to_be_tried && may_try_again {
            may_try_again = false;
            for (_, _, _, Why { because, .. }) in errors {
                let because = because.unwrap_or_default();
                context
                    .ui
                    .note(format_args!("note: {because}; knocking again"));
            }
            let name = knock.target.name.clone();
            match Knock::send(context, args, Some(&name), Voice::Quiet).await {
                Ok(again) => *knock = again,
                Err(error) => {
                    not_sent(context, args, Some(&name), &error)?;
                    failures.add(&name, error);
                    return Ok(());
                }
            }
            continue;
        }
        for (port, is_refused, error, why) in errors {
            failed(context, args, knock, (port, is_refused), why)?;
            failures.add(&knock.target.name, error);
        }
        return Ok(());
    }
}

fn open(
    context: &Context,
    args: &KnockArgs,
    knock: &Knock,
    (port, at, ms, was_open): (&str, std::net::IpAddr, u64, bool),
) -> Result {
    let host = &knock.target.name;
    let at = at.to_canonical();
    if args.json {
        return context.ui.json(&Row {
            host,
            port: port.to_owned(),
            state: "open",
            was_open: Some(was_open),
            address: Some(at.to_string()),
            ms: Some(ms),
            because: None,
            error: None,
            hint: None,
        });
    }
    if args.quiet {
        return Ok(());
    }
    let place = match knock.delivery.packets.as_slice() {
        [_] => String::new(),
        _ => format!(" at {at}"),
    };
    context
        .ui
        .say(format_args!("{port} of {host} open after {ms} ms{place}"))?;
    if was_open {
        context.ui.note(format_args!(
            "note: {port} of {host} was open before the packet was sent: by an earlier knock, or because \
             nothing hides it (PROTECT, or the firewall of the host)"
        ));
    }
    Ok(())
}

fn failed(
    context: &Context,
    args: &KnockArgs,
    knock: &Knock,
    (port, is_refused): (String, bool),
    why: Why,
) -> Result {
    if !args.json {
        return Ok(());
    }
    context.ui.json(&Row {
        host: &knock.target.name,
        port,
        state: match (why.is_denied, is_refused) {
            (true, _) => "denied",
            (false, true) => "refused",
            (false, false) => "silent",
        },
        was_open: None,
        address: None,
        ms: None,
        because: why.because,
        error: None,
        hint: Some(why.hint),
    })
}

/// Nobody can see from here whether it is open; the host's own record is the next best.
async fn unseen(
    context: &Context,
    args: &KnockArgs,
    knock: &mut Knock,
    (port, what): (&str, &str),
) -> Result<Option<(String, bool, CommandError, Why)>> {
    let recorded = knock.record().await;
    if let Some(event) = &recorded
        && event.kind() != fleet::EventKind::GrantOpened
    {
        let (error, explained) = knock.failed(context, port, false).await;
        return Ok(Some((port.to_owned(), false, error, explained.why)));
    }
    let host = &knock.target.name;
    let said = recorded.map(|event| {
        let secs = event.until_ms.saturating_sub(event.at_ms) / 1000;
        format!(
            "{host} recorded that it opened it for {}, {secs} s",
            event.opened
        )
    });
    if args.json {
        context.ui.json(&Row {
            host,
            port: port.to_owned(),
            state: "unseen",
            was_open: None,
            address: None,
            ms: None,
            because: said,
            error: None,
            hint: None,
        })?;
        return Ok(None);
    }
    if args.quiet {
        return Ok(None);
    }
    let said = said.map_or_else(String::new, |said| format!("; {said}"));
    context.ui.say(format_args!(
        "{port} of {host} was asked for; whether {what} is open cannot be seen from here{said}"
    ))?;
    Ok(None)
}

// === impl Failures ===

impl Failures {
    fn add(&mut self, host: &str, error: CommandError) {
        self.errors.push(error);
        if !self.hosts.iter().any(|known| known == host) {
            self.hosts.push(host.to_owned());
        }
    }

    /// One failure is told as it is; of several each, and then where.
    fn end(self, context: &Context, count: usize) -> Result {
        let Self { mut errors, hosts } = self;
        if errors.len() == 1 && count == 1 {
            return errors.pop().map_or(Ok(()), Err);
        }
        if errors.is_empty() {
            return Ok(());
        }
        for error in &errors {
            context.ui.error(error);
        }
        Err(CommandError::refused(format!(
            "not everything is open on {} of {count} hosts: {}",
            hosts.len(),
            hosts.join(", ")
        )))
    }
}
