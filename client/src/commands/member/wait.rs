//! What was done to a membership, and waiting until hosts have heard of it.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::wire::{HostProgress, MemberEntry, MemberProgress, Role as WireRole};
use serde::Serialize;
use tonic::{Request, Response, Status, Streaming};

use crate::connection::Connection;
use crate::context::{Context, Listing};
use crate::error::{CommandError, Result};

/// What the answer may take beyond the time that hosts are waited for.
const GRACE: Duration = Duration::from_secs(30);

/// How long hosts are waited for, and how they are shown.
#[derive(clap::Args, Debug)]
pub(crate) struct Wait {
    /// How long to wait for hosts to acknowledge
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    wait: Duration,

    #[command(flatten)]
    pub(super) listing: Listing,
}

/// An answer that tells of hosts as they hear.
pub(crate) type Progress = Result<Response<Streaming<MemberProgress>>, Status>;

/// What was done, and to whom.
#[derive(Debug)]
pub(crate) struct Done<'a> {
    /// As `Locked`.
    pub(crate) act: &'a str,
    /// Of the contract.
    pub(crate) role: i32,
    pub(crate) name: &'a str,
    /// The one key of a user; empty for all.
    pub(crate) key: &'a str,
    /// Something else is the result: this is told beside it, on standard error.
    pub(crate) is_aside: bool,
}

#[derive(Debug, Serialize)]
struct Told<'a> {
    act: &'a str,
    role: &'a str,
    name: &'a str,
    key: &'a str,
    locked: bool,
    warnings: &'a [String],
}

#[derive(Debug, Serialize)]
struct HostRow<'a> {
    host: &'a str,
    acknowledged: bool,
    connected: bool,
}

// === impl Done ===

impl Done<'_> {
    /// How the member is then, as far as the act alone says it.
    /// A line about it, where it belongs.
    fn say(&self, context: &Context, line: impl std::fmt::Display) -> Result {
        if self.is_aside {
            context.ui.note(line);
            return Ok(());
        }
        context.ui.say(line)
    }

    /// Whether it is this host that was done something to, and not one that has to hear of it.
    fn is_about(&self, host: &str) -> bool {
        self.is_aside && self.role == i32::from(WireRole::Host) && self.name == host
    }

    /// What is left to say of hosts that have not heard. Who was removed cannot be removed again.
    fn hint(&self) -> &'static str {
        if self.is_aside || self.act == "Removed" {
            "they get it as soon as they are connected; `postern host list` shows which are away"
        } else {
            "they get it as soon as they are connected; run this again to see"
        }
    }

    fn after(&self) -> MemberEntry {
        MemberEntry {
            locked: self.act == "Locked",
            ..MemberEntry::default()
        }
    }
}

// === impl Wait ===

impl Wait {
    /// At least 1: 0 is the controller's own choice.
    pub(crate) fn secs(&self) -> u32 {
        u32::try_from(self.wait.as_secs())
            .unwrap_or(u32::MAX)
            .max(1)
    }

    pub(crate) fn ask<T>(&self, question: T) -> Request<T> {
        let mut request = Request::new(question);
        request.set_timeout(self.wait.saturating_add(GRACE));
        request
    }

    /// Tells what was done and each host that has heard. Ends with code 4 when some have not.
    pub(crate) async fn follow(
        &self,
        context: &Context,
        connection: &Connection,
        done: &Done<'_>,
        answer: Progress,
    ) -> Result {
        let mut stream = answer
            .map_err(|status| connection.refused(status))?
            .into_inner();
        let mut missing = BTreeMap::new();
        let MemberProgress {
            member: after,
            hosts,
            warnings,
        } = match stream.message().await {
            Ok(first) => first.unwrap_or_default(),
            // What was answered is done: so ends the call of an operator who locks herself.
            Err(status) => {
                self.tell(context, done, &done.after(), &[])?;
                context.ui.warn(format_args!(
                    "the answer ended before it said which hosts have heard: {}",
                    program::one_line(&connection.refused(status))
                ));
                return Ok(());
            }
        };
        self.tell(context, done, &after.unwrap_or_default(), &warnings)?;
        self.take(context, done, hosts, &mut missing)?;
        loop {
            match stream.message().await {
                Ok(Some(progress)) => self.take(context, done, progress.hosts, &mut missing)?,
                Ok(None) => break,
                // It is done; only the rest of the story is lost.
                Err(status) => {
                    let lost = connection.refused(status);
                    context.ui.warn(program::one_line(&lost));
                    break;
                }
            }
        }
        self.finish(context, done, missing.into_values())
    }

    fn tell(
        &self,
        context: &Context,
        done: &Done<'_>,
        after: &MemberEntry,
        warnings: &[String],
    ) -> Result {
        let &Done {
            act,
            role,
            name,
            key,
            is_aside: _,
        } = done;
        let role = fleet::Role::try_from(role).map_or("member", fleet::Role::as_str);
        if self.listing.json {
            return context.ui.json(&Told {
                act: &act.to_lowercase(),
                role,
                name,
                key,
                locked: after.locked,
                warnings,
            });
        }
        match key {
            "" => done.say(context, format_args!("{act} {role} {name}."))?,
            key => done.say(context, format_args!("{act} key {key} of {role} {name}."))?,
        }
        context.ui.warn_of(warnings);
        Ok(())
    }

    /// Tells of hosts that have acknowledged, and keeps the others.
    fn take(
        &self,
        context: &Context,
        done: &Done<'_>,
        hosts: Vec<HostProgress>,
        missing: &mut BTreeMap<String, HostProgress>,
    ) -> Result {
        for host in hosts.into_iter().filter(|it| !done.is_about(&it.host)) {
            if !host.acknowledged {
                missing.insert(host.host.clone(), host);
                continue;
            }
            missing.remove(&host.host);
            self.host(context, done, &host)?;
        }
        Ok(())
    }

    fn host(&self, context: &Context, done: &Done<'_>, progress: &HostProgress) -> Result {
        let HostProgress {
            host,
            acknowledged,
            connected,
        } = progress;
        if self.listing.json {
            return context.ui.json(&HostRow {
                host,
                acknowledged: *acknowledged,
                connected: *connected,
            });
        }
        let (mark, state) = match (acknowledged, connected) {
            (true, _) => ("+", "acknowledged"),
            (false, true) => ("-", "has not acknowledged yet"),
            (false, false) => ("-", "away"),
        };
        done.say(context, format_args!("{mark} {host}  {state}"))
    }

    fn finish(
        &self,
        context: &Context,
        done: &Done<'_>,
        missing: impl ExactSizeIterator<Item = HostProgress>,
    ) -> Result {
        if missing.len() == 0 {
            return Ok(());
        }
        let mut names = Vec::new();
        let count = missing.len();
        for host in missing {
            if self.listing.json || names.len() < program::few::FEW {
                self.host(context, done, &host)?;
            }
            names.push(host.host);
        }
        if !self.listing.json && count > program::few::FEW {
            let more = count - program::few::FEW;
            done.say(context, format_args!("- and {more} more"))?;
        }
        Err(CommandError::partly(format!(
            "in force at the controller, and not yet on {}",
            program::few::names(&names)
        ))
        .with_hint(done.hint()))
    }
}
