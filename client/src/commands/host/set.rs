//! `postern host set`

use std::collections::BTreeMap;

use fleet::wire::SetHostRequest;

use super::change::{Common, refused};
use crate::connection::{Connection, ask};
use crate::context::Context;
use crate::error::{CommandError, Result};

/// Change where a host is reached, and its labels
///
/// What is not named stays as it is. The host goes on working. Users have the new address with their next
/// `postern sync`, which a knock does by itself when the controller can be reached.
///
/// Policy selects hosts by labels: the stanzas that select this one now, and no longer, are said, and what
/// would make a hidden port public is refused unless --allow-public says that it is meant. --spa-port is
/// where users send packets; that the agent listens there is said in its own configuration.
///
/// JSON: one object with the fields of `postern host list`, and dry_run, stanzas_added, stanzas_removed,
/// becomes_public, becomes_hidden, access (as of `policy apply`), change_warnings.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern host set web-1 --address 203.0.113.7 --address 2001:db8::7
  postern host set web-1 --label env=prod --label rack- --dry-run
  postern host set web-1 --spa-port 62202")]
pub(crate) struct SetArgs {
    /// Host, as `postern host list` names it
    name: String,

    /// Address or name by which users reach it; instead of all that it has. One of IPv4 and one of IPv6,
    /// or names (can be repeated)
    #[arg(long, value_name = "ADDRESS")]
    address: Vec<String>,

    /// Port to which users send packets
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    spa_port: Option<u16>,

    /// Label to set, or with a minus at its end to take away (can be repeated)
    #[arg(long, value_name = "KEY=VALUE|KEY-", value_parser = label)]
    label: Vec<Label>,

    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Label {
    Set(String, String),
    Remove(String),
}

pub(super) async fn run(context: &Context, args: SetArgs) -> Result {
    let SetArgs {
        name,
        address,
        spa_port,
        label,
        common,
    } = args;
    if address.is_empty() && spa_port.is_none() && label.is_empty() {
        return Err(CommandError::usage("nothing is to be changed")
            .with_hint("say --address, --spa-port or --label"));
    }
    let (mut set_labels, mut remove_labels) = (BTreeMap::new(), Vec::new());
    for label in label {
        match label {
            Label::Set(key, value) => {
                if let Some(other) = set_labels.insert(key.clone(), value) {
                    let problem = format!("{key} is set twice, to {other} and to another value");
                    return Err(CommandError::usage(problem));
                }
            }
            Label::Remove(key) => remove_labels.push(key),
        }
    }
    let connection = Connection::open(&context.profile).await?;
    let request = SetHostRequest {
        name: name.clone(),
        addresses: address,
        spa_port: spa_port.map_or(0, u32::from),
        set_labels: set_labels.into_iter().collect(),
        remove_labels,
        allow_public: common.allow_public,
        dry_run: common.dry_run,
    };
    let answer = connection
        .change(common.look(), async |mut operator| {
            operator.set_host(ask(request)).await
        })
        .await
        .map_err(|status| refused(&connection, status))?
        .into_inner();
    common.tell(context, &name, &answer)
}

fn label(text: &str) -> Result<Label, String> {
    if let Some((key, value)) = text.split_once('=') {
        if key.is_empty() || value.is_empty() {
            return Err("neither KEY nor VALUE may be empty".to_owned());
        }
        return Ok(Label::Set(key.to_owned(), value.to_owned()));
    }
    match text.strip_suffix('-') {
        Some(key) if !key.is_empty() => Ok(Label::Remove(key.to_owned())),
        Some(_) | None => Err("write KEY=VALUE, or KEY- to take it away".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_set_with_a_value_and_taken_away_with_a_minus() {
        let set = |key: &str, value: &str| Ok(Label::Set(key.to_owned(), value.to_owned()));

        assert_eq!(label("env=prod"), set("env", "prod"));
        assert_eq!(label("env=a-"), set("env", "a-"));
        assert_eq!(label("rack-7-"), Ok(Label::Remove("rack-7".to_owned())));
        for bad in ["env", "-", "", "=x", "env="] {
            assert!(label(bad).is_err(), "{bad}");
        }
    }
}
