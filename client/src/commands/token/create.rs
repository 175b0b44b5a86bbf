//! `postern token create`

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use fleet::Role;
use fleet::wire::{CreateTokenRequest, Role as WireRole};
use serde::Serialize;

use crate::connection::{Connection, ask};
use crate::context::{Context, Listing};
use crate::error::{CommandError, Result};
use crate::time;

/// Make a one-time token
///
/// Whoever has the token can join once, in the role and under the name it carries. It is shown only
/// now. Standard output has nothing but the token.
///
/// JSON fields: token, role, name, expires_at_ms.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern token create --role user --name alice
  postern token create --role host --name web-1 --label role=web --label env=prod --ttl 10m")]
pub(crate) struct CreateArgs {
    /// Part that the joiner will play
    #[arg(long, value_name = "ROLE", value_parser = roles())]
    role: Role,

    /// Name that the joiner will have; without it the joiner proposes one
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Label of a host, by which policy selects it (can be repeated)
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,

    /// How long the token can be used, as 10m, 1h or 2d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    ttl: Duration,

    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    token: &'a str,
    role: &'a str,
    name: &'a str,
    expires_at_ms: u64,
}

pub(super) async fn run(context: &Context, args: CreateArgs) -> Result {
    if !args.label.is_empty() && args.role != Role::Host {
        return Err(CommandError::usage("only hosts have labels"));
    }
    let connection = Connection::open(&context.profile).await?;
    let name = args.name.unwrap_or_default();
    let answer = connection
        .operator()
        .create_token(ask(CreateTokenRequest {
            role: WireRole::from(args.role).into(),
            name: name.clone(),
            labels: args.label.into_iter().collect(),
            ttl_secs: args.ttl.as_secs(),
            ..CreateTokenRequest::default()
        }))
        .await
        .map_err(|status| connection.refused(status))?
        .into_inner();
    let expires_at_ms = answer.expires_at_secs.saturating_mul(1000);
    if args.listing.json {
        return context.ui.json(&Row {
            token: &answer.token,
            role: args.role.as_str(),
            name: &name,
            expires_at_ms,
        });
    }
    context.ui.say(&answer.token)?;
    let of = if name.is_empty() {
        format!("one {}", args.role)
    } else {
        format!("{} {name}", args.role)
    };
    context.ui.note(format_args!(
        "Token for {of}, to be used once before {}.",
        time::short(expires_at_ms)
    ));
    Ok(())
}

fn roles() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(["host", "user", "operator", "auditor"])
        .try_map(|name| name.parse::<Role>())
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| "write KEY=VALUE".to_owned())?;
    if key.is_empty() || value.is_empty() {
        return Err("neither KEY nor VALUE may be empty".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}
