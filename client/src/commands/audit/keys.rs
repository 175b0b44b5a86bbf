//! Which keys of the log are believed: the one that was said, or that this profile keeps, and all that
//! followed it or that it followed.

use std::path::Path;

use fleet::audit::{AuditKey, AuditSigner, Checkpoint, InvalidCheckpoint, KeyChain};
use fleet::wire::LogBegin;
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::{CommandError, Result};
use crate::time::rfc3339_ms;

/// In a profile that cannot be written, such as one that is mounted read-only, the log is verified all the same.
pub(super) fn said_if_not_kept(context: &Context, kept: Result) {
    if let Err(error) = kept {
        context.ui.warn(format_args!(
            "this profile does not keep what was verified: {}",
            program::one_line(&error)
        ));
    }
}

/// The keys that the controller names, when the one that was said, or that is kept here, is among them. The one
/// of now is kept: the first that is heard, and each that followed the one that was kept.
pub(super) fn pinned(
    context: &Context,
    begin: &LogBegin,
    said: Option<AuditKey>,
) -> Result<KeyChain> {
    let named: AuditKey = begin.audit_key.parse().map_err(|cause| {
        CommandError::failed("the controller names no key that signs its log", cause)
    })?;
    let keys = KeyChain::of(named, begin.successions.iter().map(String::as_str));
    let keys = keys.map_err(|broken| {
        CommandError::refused(format!(
            "the controller's log is not to be believed: {broken}"
        ))
        .with_hint("compare with what hosts keep: `postern-agent audit --checkpoint` on a host")
    })?;
    let named = keys.newest();
    let (kept, is_said) = match said {
        Some(key) => (Some(key), true),
        None => (kept_key(context)?, false),
    };
    match kept {
        Some(expected) if !keys.has(&expected) => Err(CommandError::refused(format!(
            "the controller's log is signed by another key: {named} instead of {expected}"
        ))
        .with_hint(
            "if it was made anew on purpose, say the new one, heard by another way, with --key",
        )),
        Some(expected) if expected != *named => {
            context.ui.note(format_args!(
                "the log is signed by {named}, which followed {expected}, signed by both"
            ));
            if !is_said {
                said_if_not_kept(context, context.profile.keep_audit_key(&named.to_string()));
            }
            Ok(keys)
        }
        Some(_) => Ok(keys),
        None => {
            match context.profile.keep_audit_key(&named.to_string()) {
                Ok(()) => context.ui.note(format_args!(
                    "the log is signed by {named}; kept in this profile"
                )),
                refused @ Err(_) => said_if_not_kept(context, refused),
            }
            Ok(keys)
        }
    }
}

/// The keys of an export, of which one comes by another way than the export.
pub(super) fn chain_of_export(
    context: &Context,
    (path, begin): (&Path, &LogBegin),
    said: Option<AuditKey>,
) -> Result<KeyChain> {
    let key = match said {
        Some(key) => Some(key),
        None => kept_key(context)?,
    };
    let key = key.ok_or_else(|| {
        CommandError::usage("--key is needed to verify an export").with_hint(
            "whoever runs the fleet says it by another way than the file: postern audit key",
        )
    })?;
    let Ok(named) = begin.audit_key.parse::<AuditKey>() else {
        return Ok(key.into());
    };
    let keys = KeyChain::of(named, begin.successions.iter().map(String::as_str));
    let keys = keys.map_err(|broken| {
        CommandError::refused(format!(
            "{}:1: not to be believed: {broken}",
            path.display()
        ))
    })?;
    if keys.has(&key) {
        return Ok(keys);
    }
    // Nothing was done to an export only because it is from before this key: that would be said of every
    // checkpoint in it, and who reads it would look for a fault that there is not.
    Err(CommandError::refused(format!(
        "{}:1: the export is signed by {}, and {key} is none of its keys",
        path.display(),
        keys.newest()
    ))
    .with_hint(
        "if `postern audit key --chain` lists the key of the export, it is from before the key was replaced: \
         verify it with that one (--key); else it is of another log, or is not to be believed",
    ))
}

/// The key that this profile keeps. One that is damaged is no key that was never heard.
fn kept_key(context: &Context) -> Result<Option<AuditKey>> {
    let Some(text) = context.profile.audit_key()? else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|cause| {
        let (_, path) = context.profile.audit_files();
        CommandError::failed(format!("{} is damaged", path.display()), cause)
            .with_hint("say the key that signs the log, heard by another way, with --key")
            .unanswered()
    })
}

/// The checkpoint that this profile keeps; empty for none. One that is damaged is not as good as none: it is
/// all that shows a log that was cut.
pub(super) fn kept_note(context: &Context) -> Result<String> {
    let Some(note) = context.profile.audit_checkpoint()? else {
        return Ok(String::new());
    };
    let (path, _) = context.profile.audit_files();
    if is_note(&note) {
        return Ok(note);
    }
    Err(
        CommandError::refused(format!("{}: {}", path.display(), InvalidCheckpoint::Form))
            .with_hint(
                "up to where this profile has verified the log is not known any more: compare with \
                 --checkpoint, and keep what the log is now with --after-restore",
            )
            .unanswered(),
    )
}

/// Whether it has the form of a checkpoint, whoever signed it.
pub(super) fn is_note(text: &str) -> bool {
    // The form is judged before the key is asked for, so any key does.
    let anyone = AuditSigner::new("anyone", &[0; 32]).public();
    Checkpoint::open(text, &anyone) != Err(InvalidCheckpoint::Form)
}

/// All keys, the oldest first, with what each has signed last.
pub(super) fn said_keys(keys: &KeyChain) -> Vec<Value> {
    let ended = keys.successions().iter().map(|it| {
        let last = &it.checkpoint;
        json!({
            "key": it.from.to_string(), "last_record": last.size, "ended_at": rfc3339_ms(last.at_ms),
        })
    });
    let newest = json!({ "key": keys.newest().to_string(), "last_record": null, "ended_at": null });
    ended.chain([newest]).collect()
}
