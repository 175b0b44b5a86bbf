//! `postern token create`

use std::collections::BTreeMap;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use fleet::Role;
use fleet::wire::{CreateTokenRequest, CreateTokenResponse, Role as WireRole};
use serde::Serialize;
use tonic::{Code, Status};

use crate::connection::{Connection, ask};
use crate::context::{Context, Listing};
use crate::error::{CommandError, Result};
use crate::time;

/// How long a token can be used when nothing is said.
pub(crate) const TTL_DEFAULT: &str = "1h";

/// Make a one-time token
///
/// Whoever has the token can join once, in the role and under the name it carries. It is shown only
/// now. Standard output has nothing but the token.
///
/// A name that policy trusts can be taken only with a token that carries it.
///
/// Roles: an owner may do whatever a person may and alone says who else may; an operator edits policy and
/// manages hosts and users; an auditor reads everything but secrets; a validator checks and compares
/// policies, as a pipeline does, and so sees what a text gives to whom; a helpdesk sees why users are refused and invites them again. What an
/// auditor, a validator or a helpdesk reads is an event. --scope bounds operator, auditor, validator and
/// helpdesk to hosts with these labels.
///
/// JSON fields: token, id, role, name, key, expires_at_ms, warnings.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern token create --role user --name alice
  postern token create --role user --name alice --key-name phone
  postern token create --role host --name web-1 --label role=web --label env=prod --ttl 10m
  postern token create --role auditor --name eve
  postern token create --role operator --name mbr --scope env=stage")]
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

    /// Only hosts with this label are the business of this operator, auditor, validator or helpdesk; the
    /// text of the policy is one, and whoever may see or compare it sees it as a whole (can
    /// be repeated)
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    scope: Vec<(String, String)>,

    /// How long the token can be used, as 10m, 1h or 2d; at most 30d
    #[arg(long, value_name = "TIME", default_value = TTL_DEFAULT, value_parser = ttl)]
    ttl: Duration,

    /// Name of the key that a user gets, as laptop; a user who is there gets one more
    #[arg(long, value_name = "KEY", default_value = "", requires = "name")]
    key_name: String,

    /// Put whoever uses it in the place of the member, or of the key, that has the name now
    #[arg(long, requires = "name")]
    replace: bool,

    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    token: &'a str,
    id: &'a str,
    role: &'a str,
    name: &'a str,
    key: &'a str,
    expires_at_ms: u64,
    warnings: &'a [String],
}

pub(super) async fn run(context: &Context, args: CreateArgs) -> Result {
    if !args.label.is_empty() && args.role != Role::Host {
        return Err(CommandError::usage("only hosts have labels"));
    }
    if !args.key_name.is_empty() && args.role != Role::User {
        return Err(CommandError::usage("only users have several keys"));
    }
    let labels: BTreeMap<_, _> = args.label.iter().cloned().collect();
    if labels.len() != args.label.len() {
        return Err(CommandError::usage("a host has one value for each label"));
    }
    let scope: BTreeMap<_, _> = args.scope.iter().cloned().collect();
    if scope.len() != args.scope.len() {
        return Err(CommandError::usage(
            "a scope has one value for each label: a host has one, too",
        ));
    }
    let connection = Connection::open(&context.profile).await?;
    let request = CreateTokenRequest {
        role: WireRole::from(args.role).into(),
        name: args.name.unwrap_or_default(),
        labels,
        ttl_secs: args.ttl.as_secs(),
        key_name: args.key_name,
        replace: args.replace,
        scope: scope.into_iter().collect(),
    };
    make(context, &connection, (args.role, request), args.listing).await
}

/// Has a token made and prints it.
pub(crate) async fn make(
    context: &Context,
    connection: &Connection,
    (role, request): (Role, CreateTokenRequest),
    listing: Listing,
) -> Result {
    let (name, key) = (request.name.clone(), request.key_name.clone());
    let CreateTokenResponse {
        token,
        expires_at_secs,
        warnings,
        id,
    } = connection
        .change("postern token list", async |mut operator| {
            operator.create_token(ask(request)).await
        })
        .await
        .map_err(|status| refused(connection, role, status))?
        .into_inner();
    let expires_at_ms = expires_at_secs.saturating_mul(1000);
    if listing.json {
        return context.ui.json(&Row {
            token: &token,
            id: &id,
            role: role.as_str(),
            name: &name,
            key: &key,
            expires_at_ms,
            warnings: &warnings,
        });
    }
    context.ui.say(&token)?;
    context.ui.warn_of(&warnings);
    let of = if name.is_empty() {
        format!("one {role}")
    } else {
        format!("{role} {name}")
    };
    context.ui.note(format_args!(
        "Token {id} for {of}, to be used once before {}.",
        time::short(expires_at_ms)
    ));
    Ok(())
}

fn refused(connection: &Connection, role: Role, status: Status) -> CommandError {
    let is_taken = status.code() == Code::AlreadyExists;
    let error = connection.refused(status);
    if !is_taken {
        return error;
    }
    let replace = "--replace puts the joiner in the place of that member";
    match role {
        Role::User => error.with_hint(format!("--key-name adds a key to that user, {replace}")),
        Role::Auditor
        | Role::Helpdesk
        | Role::Owner
        | Role::Validator
        | Role::Host
        | Role::Operator => error.with_hint(replace),
    }
}

/// The roles as they are typed.
pub(crate) fn roles() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(Role::ALL.map(Role::as_str)).try_map(|name| name.parse::<Role>())
}

/// How long a token can be used.
pub(crate) fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if ttl.as_secs() == 0 {
        return Err("a token must be good for a second at least".to_owned());
    }
    Ok(ttl)
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
