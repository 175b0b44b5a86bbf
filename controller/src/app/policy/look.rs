//! Looking at what is stored.

use policy::{Dialect, NoIncludes, Secrets};

use super::text::stored_text;
use crate::access::caller::Caller;
use crate::app::near;
use crate::context::Context;
use crate::error::Error;
use crate::store::model::Generation;

const HISTORY_DEFAULT: u32 = 100;

/// A stored generation, secrets redacted.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) generation: Option<Generation>,
    pub(crate) text: String,
}

/// What one host is to have, secrets redacted.
#[derive(Debug)]
pub(crate) struct Rendered {
    /// The generation at which it last changed.
    pub(crate) generation: u64,
    pub(crate) text: String,
}

/// A stored generation, secrets redacted; 0 is the current one.
pub(crate) async fn show(context: &Context, generation: u64) -> Result<Shown, Error> {
    let generation = match generation {
        0 => context.rollout.in_force().generation,
        generation => generation,
    };
    if generation == 0 {
        return Err(none_yet());
    }
    let text = stored_text(context, generation).await?;
    Ok(Shown {
        generation: context.store.generation(generation).await?,
        text: policy::redact_text(&text),
    })
}

/// At most `limit` generations, newest first; 0 for the usual number.
pub(crate) async fn history(context: &Context, limit: u32) -> Result<Vec<Generation>, Error> {
    let limit = if limit == 0 { HISTORY_DEFAULT } else { limit };
    Ok(context.store.policy_history(limit).await?)
}

/// What one host is to have, secrets redacted.
pub(crate) fn render(context: &Context, caller: &Caller, host: &str) -> Result<Rendered, Error> {
    let member = near::host(context, caller, host)?;
    let target = context.rollout.target(host);
    let target = target.ok_or_else(|| match member.lock {
        None => none_yet(),
        Some(_) => Error::Conflict(format!("host {host} is locked: it has no policy")),
    })?;
    let text = &target.compiled.text.0;
    let compiled = policy::parse_as(Dialect::Compiled, host, text, &NoIncludes)
        .map_err(Error::InvalidPolicy)?;
    Ok(Rendered {
        generation: target.generation,
        text: compiled.print(Secrets::Redact),
    })
}

fn none_yet() -> Error {
    Error::not_found("policy has been applied yet")
}
