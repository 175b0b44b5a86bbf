//! `postern host`

mod ban;
mod list;
mod show;

use std::collections::BTreeMap;

use fleet::wire::Host;
use serde::Serialize;

use super::Context;
use crate::error::Result;

/// See the hosts of the fleet, and put one out
#[derive(clap::Args, Debug)]
pub(crate) struct HostArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    List(list::ListArgs),
    Show(show::ShowArgs),
    Ban(ban::BanArgs),
}

pub(super) async fn run(context: &Context, args: HostArgs) -> Result {
    match args.command {
        Command::List(args) => list::run(context, args).await,
        Command::Show(args) => show::run(context, args).await,
        Command::Ban(args) => ban::run(context, args).await,
    }
}

/// A host in JSON. The names are part of the interface.
#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    address: &'a str,
    spa_port: u32,
    labels: BTreeMap<&'a str, &'a str>,
    target_generation: u64,
    applied_generation: u64,
    in_sync: bool,
    connected: bool,
    last_seen_ms: u64,
    drift: &'a str,
    rejected: &'a [String],
    banned: bool,
    agent_version: &'a str,
    stanzas: u32,
    joined_at_ms: u64,
}

impl<'a> From<&'a Host> for Row<'a> {
    fn from(host: &'a Host) -> Self {
        let Host {
            name,
            address,
            spa_port,
            labels,
            target_generation,
            applied_generation,
            in_sync,
            connected,
            last_seen_ms,
            drift,
            rejected,
            banned,
            agent_version,
            stanzas,
            joined_at_ms,
        } = host;
        Self {
            name,
            address,
            spa_port: *spa_port,
            labels: labels
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .collect(),
            target_generation: *target_generation,
            applied_generation: *applied_generation,
            in_sync: *in_sync,
            connected: *connected,
            last_seen_ms: *last_seen_ms,
            drift,
            rejected,
            banned: *banned,
            agent_version,
            stanzas: *stanzas,
            joined_at_ms: *joined_at_ms,
        }
    }
}

impl Row<'_> {
    /// How it is, in one word or a few.
    fn state(&self) -> &str {
        match self {
            Row { banned: true, .. } => "banned",
            Row {
                connected: false, ..
            } => "away",
            Row { rejected, .. } if !rejected.is_empty() => "policy rejected",
            Row { drift, .. } if !drift.is_empty() => "drift",
            Row { in_sync: false, .. } => "behind",
            Row { .. } => "in sync",
        }
    }

    fn labels(&self) -> String {
        let labels: Vec<String> = self
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        labels.join(" ")
    }
}
