//! `postern-controller token`: tokens without an owner, by whoever may read the directory.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, Subcommand};
use controller::{Issued, NewToken};
use fleet::Role;

use super::data::DataArgs;
use super::error::CommandError;

/// Make one-time tokens without an owner, for example when the last owner is lost
#[derive(Args, Debug)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    Create(Create),
}

/// Make a one-time token and print it
///
/// The controller may be running or not.
#[derive(Args, Debug)]
struct Create {
    #[command(flatten)]
    data: DataArgs,
    /// What its bearer becomes: host, user, owner, operator, auditor, validator or helpdesk
    #[arg(long)]
    role: Role,
    /// Name of the new member; otherwise it proposes its own
    #[arg(long, default_value = "")]
    name: String,
    /// Label of a host, for HOSTS lines of the policy; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Only hosts with this label are the business of this operator, auditor, validator or helpdesk; may
    /// be given several times
    #[arg(long = "scope", value_name = "KEY=VALUE", value_parser = label)]
    scope: Vec<(String, String)>,
    /// How long the token is good for, at most 30 days
    #[arg(long, default_value = "1h", value_parser = ttl)]
    ttl: Duration,
    /// Name of the key that a user gets, as laptop; a user who is there gets one more
    #[arg(long, value_name = "NAME", default_value = "")]
    key_name: String,
    /// Whoever redeems it takes the place of the member, or of the key, of that name
    #[arg(long)]
    replace: bool,
}

// === impl TokenArgs ===

impl TokenArgs {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let TokenCommand::Create(create) = self.command;
        create.run()
    }
}

// === impl Create ===

impl Create {
    fn run(self) -> Result<(), CommandError> {
        let data = self.data.enter()?;
        let new = NewToken {
            role: self.role,
            name: self.name,
            labels: self.labels.into_iter().collect::<BTreeMap<_, _>>(),
            scope: self.scope.into_iter().collect(),
            ttl: self.ttl,
            key_name: self.key_name,
            replaces: self.replace,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(CommandError::Runtime)?;
        let Issued {
            token,
            id,
            warnings,
        } = runtime.block_on(controller::create_token(&data, new))?;
        for warning in warnings {
            program::note(format_args!("warning: {warning}"));
        }
        program::note(format_args!(
            "Token {id} for one {}, good once, for {}:",
            self.role,
            humantime::format_duration(self.ttl)
        ));
        Ok(program::print(format!("{token}\n"))?)
    }
}

fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if ttl.as_secs() == 0 {
        return Err("a token must be good for a second at least".to_owned());
    }
    Ok(ttl)
}

fn label(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(label, value)| (label.to_owned(), value.to_owned()))
        .ok_or_else(|| "not KEY=VALUE".to_owned())
}
