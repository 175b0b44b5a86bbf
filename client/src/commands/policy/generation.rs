//! What is shown of a generation, and of what it changes.

use fleet::wire::{Generation, PolicyHistoryRequest};
use serde::Serialize;

use crate::connection::{Connection, ask};
use crate::error::Result;
use crate::time;

/// A generation in JSON. The names are part of the interface.
#[derive(Debug, Serialize)]
pub(super) struct Row<'a> {
    pub(super) generation: u64,
    pub(super) author: &'a str,
    pub(super) message: &'a str,
    pub(super) at: String,
    pub(super) at_ms: u64,
    pub(super) rollback_of: u64,
    pub(super) stanzas: u32,
    /// What its author called the file; empty where that was not kept.
    pub(super) file: &'a str,
}

impl<'a> From<&'a Generation> for Row<'a> {
    fn from(generation: &'a Generation) -> Self {
        let Generation {
            generation,
            author,
            message,
            at_ms,
            rollback_of,
            stanzas,
            file,
        } = generation;
        Self {
            generation: *generation,
            author,
            message,
            at: time::rfc3339_ms(*at_ms),
            at_ms: *at_ms,
            rollback_of: *rollback_of,
            stanzas: *stanzas,
            file,
        }
    }
}

/// The generation in force; 0 before the first policy.
pub(super) async fn current_generation(connection: &Connection) -> Result<u64> {
    let history = connection
        .operator()
        .policy_history(ask(PolicyHistoryRequest { limit: 1 }))
        .await
        .map_err(|status| connection.refused(status))?
        .into_inner()
        .generations;
    Ok(history
        .iter()
        .map(|generation| generation.generation)
        .max()
        .unwrap_or(0))
}

/// "2 hosts change: web-1, web-2" and the like.
pub(super) fn changed(hosts: &[String]) -> String {
    match hosts {
        [] => "no host changes".to_owned(),
        [one] => format!("1 host changes: {one}"),
        several => format!("{} hosts change: {}", several.len(), several.join(", ")),
    }
}

/// Reads a reason, which must say something.
pub(super) fn why(text: &str) -> std::result::Result<String, &'static str> {
    if text.trim().is_empty() {
        return Err("it says nothing; say why, for the history");
    }
    Ok(text.to_owned())
}
