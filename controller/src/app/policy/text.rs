//! Texts of policies: what comes from an operator, and what is stored.

use std::sync::Arc;

use policy::{NoIncludes, Policy};
use zeroize::Zeroizing;

use crate::context::Context;
use crate::error::Error;

/// A text that is to become the policy in force.
#[derive(Debug)]
pub(crate) struct Draft {
    /// As access.conf. May hold static keys.
    pub(crate) text: Zeroizing<String>,
    /// What mistakes call it; empty for `policy`.
    pub(crate) file: String,
}

/// The text with the keys that were left out of it when it was shown, as far as its stanzas stand as they
/// are in force; otherwise as it is, and reading it names what is missing.
pub(crate) async fn with_keys(context: &Context, draft: Draft) -> Result<Draft, Error> {
    let in_force = context.rollout.in_force();
    if policy::keys_left_out(&draft.text) == 0 || in_force.generation == 0 {
        return Ok(draft);
    }
    let stored = stored_text(context, in_force.generation).await?;
    let text = draft.text.clone();
    let restoring = tokio::task::spawn_blocking(move || {
        policy::keys_restored(&text, (&stored, &in_force.policy)).map(Zeroizing::new)
    });
    Ok(Draft {
        text: restoring.await?.unwrap_or(draft.text),
        file: draft.file,
    })
}

pub(crate) async fn stored_text(
    context: &Context,
    generation: u64,
) -> Result<Zeroizing<String>, Error> {
    let text = context.store.policy_text(generation).await?;
    text.ok_or_else(|| Error::no_generation(generation))
}

/// Parsing ten thousand stanzas takes a while, so it is not done on the runtime's own threads.
pub(crate) async fn parse(file: String, text: &Zeroizing<String>) -> Result<Arc<Policy>, Error> {
    let text = text.clone();
    let file = if file.is_empty() {
        "policy".to_owned()
    } else {
        file
    };
    tokio::task::spawn_blocking(move || policy::parse(&file, &text, &NoIncludes))
        .await?
        .map(Arc::new)
        .map_err(Error::InvalidPolicy)
}

/// A stored generation, and what its author called the file. Places in it are those of that file, or
/// lines of the stored text where its name was not kept.
pub(crate) async fn stored_policy(
    context: &Context,
    generation: u64,
    text: &Zeroizing<String>,
) -> Result<(String, Arc<Policy>), Error> {
    let known = context.store.generation(generation).await?;
    let file = known.map(|known| known.file).unwrap_or_default();
    let name = if file.is_empty() {
        format!("generation {generation}")
    } else {
        file.clone()
    };
    Ok((file, parse(name, text).await?))
}

/// Whether this text is the one in force, to the letter. After a restore nobody knows which one hosts
/// have, so that none is.
pub(super) async fn is_in_force(
    context: &Context,
    current: u64,
    text: &Zeroizing<String>,
) -> Result<bool, Error> {
    let knows = context.fleet.borrow().set_back.is_none();
    if current == 0 || !knows || context.rollout.in_force().generation != current {
        return Ok(false);
    }
    Ok(context.store.policy_text(current).await?.as_ref() == Some(text))
}
