//! How each error of this program ends it, and who can do something about it: the one table.

mod asked;

use std::borrow::Cow;

#[cfg(feature = "link")]
use member::{ConnectError, FilesError, JoinError};
use program::files::AS_ROOT;
use program::{Exit, Failure};

use crate::capture::CaptureError;
use crate::commands::audit::AuditFailed;
use crate::commands::doctor::DoctorFailed;
use crate::commands::floor::FloorFailed;
use crate::commands::flush::FlushFailed;
use crate::commands::grants::GrantsFailed;
use crate::commands::import::ImportFailed;
#[cfg(feature = "link")]
use crate::commands::join::JoinFailed;
use crate::commands::reload::ReloadFailed;
use crate::commands::rotate_keys::RotateKeysFailed;
use crate::commands::status::StatusFailed;
use crate::commands::syns::SynsFailed;
use crate::config::ConfigError;
use crate::explain::{ExplainError, NotEnforced};
use crate::firewall::FirewallError;
use crate::journal::JournalError;
use crate::os_signatures::BadOsSignatures;
use crate::policies::InvalidAccessFile;
use crate::report::BEGIN_ANEW;
use crate::run::RunError;

impl Failure for ConfigError {
    fn exit(&self) -> Exit {
        match self {
            Self::Unreadable(cause) => cause.exit(),
            Self::Invalid(_) => Exit::Invalid,
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Unreadable(cause) => cause.hint(),
            Self::Invalid(_) => None,
        }
    }
}

impl Failure for ImportFailed {
    fn exit(&self) -> Exit {
        match self {
            Self::Unreadable(cause) => cause.exit(),
            Self::Config(cause) => cause.exit(),
            Self::Policy(cause) => cause.exit(),
            Self::There(_) | Self::Write { .. } | Self::Differs(_) => Exit::Refused,
            Self::Print(cause) => cause.exit(),
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Unreadable(cause) => cause.hint(),
            Self::There(_) => Some("--force writes over it".into()),
            Self::Differs(_) => {
                Some("nothing was written; this is a fault of postern-agent".into())
            }
            Self::Config(_) | Self::Policy(_) | Self::Write { .. } | Self::Print(_) => None,
        }
    }
}

impl RunError {
    /// What the error itself is.
    fn kind(&self) -> Exit {
        match self {
            Self::AccessFile(cause) => cause.exit(),
            Self::Config(cause) => cause.exit(),
            Self::Capture(cause) => cause.exit(),
            Self::Firewall(cause) => cause.exit(),
            Self::Journal(cause) => cause.exit(),
            Self::OsSignatures(cause) => cause.exit(),
            #[cfg(feature = "link")]
            Self::Member(cause) => cause.exit(),
            #[cfg(not(feature = "link"))]
            Self::NoLink => Exit::Invalid,
            #[cfg(feature = "metrics")]
            Self::Metrics { .. } => Exit::Refused,
            Self::DomainEnded(cause) => cause.exit(),
            Self::CompiledPolicy(_)
            | Self::Digests(_)
            | Self::Domains(_)
            | Self::Network(_)
            | Self::Random(_)
            | Self::State(_)
            | Self::StateLost(_)
            | Self::Status(_)
            | Self::Thread(_) => Exit::Refused,
        }
    }

    /// Whether it is of a file, and stays so until somebody changes that: to try again is of no use.
    fn stays_so(&self) -> bool {
        match self {
            Self::Journal(JournalError::Newer { .. }) => true,
            #[cfg(feature = "link")]
            Self::Member(
                FilesError::NotMember { .. }
                | FilesError::Damaged { .. }
                | FilesError::Exposed { .. },
            ) => true,
            Self::AccessFile(_)
            | Self::Config(_)
            | Self::Journal(_)
            | Self::OsSignatures(_)
            | Self::Digests(_)
            | Self::State(_)
            | Self::Status(_) => program::stays_so(self),
            #[cfg(feature = "link")]
            Self::Member(_) => program::stays_so(self),
            // What has no right to the address does not get it; what is not there may come.
            #[cfg(feature = "metrics")]
            Self::Metrics { .. } => program::is_denied(self),
            #[cfg(not(feature = "link"))]
            Self::NoLink => true,
            Self::Capture(_)
            | Self::CompiledPolicy(_)
            | Self::Firewall(_)
            | Self::DomainEnded(_)
            | Self::Domains(_)
            | Self::Network(_)
            | Self::Random(_)
            | Self::StateLost(_)
            | Self::Thread(_) => false,
        }
    }
}

impl Failure for RunError {
    /// The unit starts an agent again that has ended with 1, and not one that has ended with 64.
    fn exit(&self) -> Exit {
        let kind = self.kind();
        if kind == Exit::Refused && self.stays_so() {
            Exit::Invalid
        } else {
            kind
        }
    }

    fn has_said_why(&self) -> bool {
        let by_gate = matches!(self, Self::DomainEnded(cause) if cause.has_said_why());
        // Of which the supervisor says why.
        by_gate || matches!(self, Self::Firewall(FirewallError::Lost))
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Journal(cause) => Failure::hint(cause),
            Self::Firewall(cause) => cause.hint(),
            Self::Capture(cause) => cause.hint(),
            #[cfg(feature = "link")]
            Self::Member(FilesError::NotMember { .. }) => Some(
                "`postern-agent join --token-file FILE` makes this host one of a fleet; \
                 `--access-file FILE` runs it alone"
                    .into(),
            ),
            #[cfg(feature = "link")]
            Self::Member(cause) => cause.hint(),
            #[cfg(not(feature = "link"))]
            Self::NoLink => Some("`--access-file FILE` runs this host alone".into()),
            #[cfg(feature = "metrics")]
            Self::Metrics { .. } => Some("is another program there already?".into()),
            Self::AccessFile(cause) => cause.hint(),
            Self::Config(cause) => cause.hint(),
            Self::State(cause) => cause.hint(),
            Self::OsSignatures(cause) => cause.hint(),
            Self::DomainEnded(_) => None,
            Self::Domains(_) => Some("`--no-separation` runs it in one process".into()),
            Self::CompiledPolicy(_)
            | Self::Digests(_)
            | Self::Network(_)
            | Self::Random(_)
            | Self::StateLost(_)
            | Self::Status(_)
            | Self::Thread(_) => None,
        }
    }
}

impl Failure for SynsFailed {
    fn exit(&self) -> Exit {
        match self {
            Self::Capture(cause) => cause.exit(),
            Self::Signatures(cause) => cause.exit(),
            Self::Print(cause) => cause.exit(),
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Capture(cause) => cause.hint(),
            Self::Signatures(cause) => cause.hint(),
            Self::Print(cause) => cause.hint(),
        }
    }
}

impl Failure for BadOsSignatures {
    fn exit(&self) -> Exit {
        match self {
            Self::Unreadable(cause) => cause.exit(),
            Self::Invalid(_) => Exit::Invalid,
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Unreadable(cause) => cause.hint(),
            Self::Invalid(_) => None,
        }
    }
}

impl Failure for InvalidAccessFile {
    fn exit(&self) -> Exit {
        match self {
            Self::Unreadable(cause) => cause.exit(),
            Self::Policy(_) | Self::NoStanza { .. } | Self::CompiledPolicy { .. } => Exit::Invalid,
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Unreadable(cause) => cause.hint(),
            Self::Policy(_) | Self::NoStanza { .. } | Self::CompiledPolicy { .. } => None,
        }
    }
}

impl Failure for CaptureError {
    fn exit(&self) -> Exit {
        match self {
            Self::Filter { .. } | Self::NoLibpcap { .. } => Exit::Invalid,
            Self::Down { .. }
            | Self::Link { .. }
            | Self::NotCapture { .. }
            | Self::File { .. }
            | Self::Socket { .. } => Exit::Refused,
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Down { .. } => {
                Some("does the interface exist? Capturing needs root, or CAP_NET_RAW".into())
            }
            Self::Filter { .. }
            | Self::NoLibpcap { .. }
            | Self::Link { .. }
            | Self::NotCapture { .. }
            | Self::File { .. }
            | Self::Socket { .. } => None,
        }
    }
}

impl Failure for FirewallError {
    fn exit(&self) -> Exit {
        match self {
            Self::ChainName(_) => Exit::Invalid,
            Self::Netlink { .. }
            | Self::Set { .. }
            | Self::Spawn { .. }
            | Self::Refused { .. }
            | Self::NoIp6tables(_)
            | Self::NoNftables(_)
            | Self::Locked { .. }
            | Self::Unsupported(_)
            | Self::Overlapping(_)
            | Self::Connections(_)
            | Self::Thread(_)
            | Self::Denied(_)
            | Self::Lost
            | Self::Silent
            | Self::Fault => Exit::Refused,
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        let hint = match self {
            Self::Locked { .. } => "stop it first, or give this one another --chain and --state",
            Self::Spawn { .. } => "is the package iptables installed?",
            Self::NoNftables(_) => "leave the choice to the agent: backend = \"auto\"",
            Self::NoIp6tables(_) => {
                "load the kernel's ip6_tables, or switch IPv6 off in the kernel"
            }
            Self::Netlink { .. } | Self::Set { .. } | Self::Refused { .. } | Self::Fault => {
                "the agent needs root, or CAP_NET_ADMIN and CAP_NET_RAW"
            }
            Self::Silent => {
                "is another program at work on the packet filter? iptables-restore, nft"
            }
            Self::ChainName(_)
            | Self::Overlapping(_)
            | Self::Unsupported(_)
            | Self::Connections(_)
            | Self::Thread(_)
            | Self::Denied(_)
            | Self::Lost => return None,
        };
        Some(hint.into())
    }
}

impl Failure for JournalError {
    fn exit(&self) -> Exit {
        Exit::Refused
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        self.hint().map(Cow::from)
    }
}

#[cfg(feature = "link")]
impl Failure for JoinFailed {
    fn exit(&self) -> Exit {
        match self {
            Self::NoToken | Self::Token(_) => Exit::Usage,
            Self::TokenFile { .. } => Exit::Invalid,
            Self::Unreadable(cause) => cause.exit(),
            Self::Join(cause) => cause.exit(),
            Self::Journal(cause) => cause.exit(),
            Self::AgentRuns { .. }
            | Self::Input(_)
            | Self::NotForHosts { .. }
            | Self::NotKnown { .. }
            | Self::OtherName { .. }
            | Self::Runtime(_) => Exit::Refused,
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::NoToken => Some(
                "name a file with --token-file; an operator makes one with `postern token create \
                 --role host`"
                    .into(),
            ),
            Self::Unreadable(cause) => cause.hint(),
            Self::Join(JoinError::AlreadyMember { .. }) => {
                Some("name another directory with --state, or replace this one with --force".into())
            }
            Self::NotKnown { .. } => Some(
                "was it removed, or the controller put back to a copy of before? Stop the agent, and join anew with a \
                 token of an operator's: postern-agent join --token-file FILE --force"
                    .into(),
            ),
            Self::OtherName { .. } => {
                Some("keep it, or become the other one with --force".into())
            }
            Self::Join(JoinError::Connect(ConnectError::Unreachable { .. })) => Some(
                "does the controller run, and does a firewall stand between? --wait 5m goes on trying"
                    .into(),
            ),
            Self::Join(cause) => cause.hint(),
            Self::AgentRuns { .. } => {
                Some("stop it first (systemctl stop postern-agent), join, and start it again".into())
            }
            Self::Journal(cause) => Failure::hint(cause),
            Self::NotForHosts { .. } => Some("use it with `postern join -`".into()),
            Self::Input(_) | Self::Token(_) | Self::TokenFile { .. } | Self::Runtime(_) => None,
        }
    }
}

impl Failure for FlushFailed {
    fn exit(&self) -> Exit {
        match self {
            Self::Firewall(cause) => cause.exit(),
            Self::State(_) | Self::Remembered { .. } => Exit::Refused,
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Firewall(cause) => cause.hint(),
            Self::State(JournalError::InUse { .. }) => {
                Some("stop the agent that uses it first".into())
            }
            Self::State(cause) => Failure::hint(cause),
            Self::Remembered { cause, .. } if program::is_denied(cause) => Some(AS_ROOT.into()),
            Self::Remembered { .. } => None,
        }
    }
}

impl Failure for FloorFailed {
    fn exit(&self) -> Exit {
        match self {
            Self::Print(cause) => cause.exit(),
            Self::Journal(cause) => cause.exit(),
            Self::Silent { .. } => Exit::Refused,
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Journal(cause) => Failure::hint(cause),
            Self::Silent { .. } | Self::Print(_) => None,
        }
    }
}

impl Failure for StatusFailed {
    fn exit(&self) -> Exit {
        match self {
            Self::Print(cause) => cause.exit(),
            Self::Unreached(cause) => cause.exit(),
            Self::Silent { .. } | Self::Stopped(_) => Exit::Refused,
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Unreached(cause) => cause.hint(),
            Self::Silent { .. } => Some(BEGIN_ANEW.into()),
            Self::Stopped(_) => {
                Some("what to do stands above; postern-agent doctor has the rest".into())
            }
            Self::Print(_) => None,
        }
    }
}

impl Failure for GrantsFailed {
    fn exit(&self) -> Exit {
        match self {
            Self::Journal(cause) => cause.exit(),
            Self::Print(cause) => cause.exit(),
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Journal(cause) => Failure::hint(cause),
            Self::Print(_) => None,
        }
    }
}

impl Failure for AuditFailed {
    fn exit(&self) -> Exit {
        match self {
            Self::Journal(cause) => cause.exit(),
            #[cfg(feature = "link")]
            Self::NoCheckpoint => Exit::Refused,
            Self::Print(cause) => cause.exit(),
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Journal(cause) => Failure::hint(cause),
            #[cfg(feature = "link")]
            Self::NoCheckpoint => None,
            Self::Print(_) => None,
        }
    }
}

impl Failure for DoctorFailed {
    fn exit(&self) -> Exit {
        match self {
            Self::Found(_) => Exit::Refused,
            Self::Print(cause) => cause.exit(),
        }
    }
}

impl Failure for ReloadFailed {
    fn exit(&self) -> Exit {
        match self {
            Self::Ask(cause) => cause.exit(),
            Self::Busy | Self::NotInForce(_) => Exit::Refused,
            Self::Invalid(_) | Self::Beside(_) => Exit::Invalid,
            Self::Print(cause) => cause.exit(),
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Ask(cause) => cause.hint(),
            Self::Busy => Some("try again in a moment".into()),
            Self::NotInForce(_) => Some("`postern-agent doctor` says what does not work".into()),
            Self::Invalid(_) | Self::Beside(_) | Self::Print(_) => None,
        }
    }
}

impl Failure for RotateKeysFailed {
    fn exit(&self) -> Exit {
        match self {
            Self::Ask(cause) => cause.exit(),
            Self::Alone | Self::Refused(_) => Exit::Refused,
            Self::Waiting(_) => Exit::Unreachable,
            Self::Print(cause) => cause.exit(),
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Ask(cause) => cause.hint(),
            Self::Waiting(_) => Some("the agent goes on by itself".into()),
            Self::Alone | Self::Refused(_) | Self::Print(_) => None,
        }
    }
}

#[cfg(feature = "link")]
impl Failure for NotEnforced {
    fn exit(&self) -> Exit {
        match self {
            Self::Member(cause) => cause.exit(),
            Self::Journal(cause) => cause.exit(),
            Self::None => Exit::Refused,
            Self::Unusable(_) => Exit::Invalid,
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Member(cause) if program::is_denied(cause) => cause.hint(),
            Self::Member(_) => Some(
                "name an access file with --access-file, or this host's state with --state".into(),
            ),
            Self::Journal(cause) => Failure::hint(cause),
            Self::None => Some("the controller sends it as soon as it is reached".into()),
            Self::Unusable(_) => None,
        }
    }
}

#[cfg(not(feature = "link"))]
impl Failure for NotEnforced {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        Some("name one with --access-file".into())
    }
}

/// What an agent that is started would end with, of what it reads.
fn as_at_a_start(cause: &(impl Failure + 'static)) -> Exit {
    let exit = cause.exit();
    if exit == Exit::Refused && program::stays_so(cause) {
        Exit::Invalid
    } else {
        exit
    }
}

impl Failure for ExplainError {
    fn exit(&self) -> Exit {
        match self {
            Self::AccessFile(cause) => as_at_a_start(cause),
            Self::Config(cause) => as_at_a_start(cause),
            Self::Enforced(cause) => cause.exit(),
            Self::Journal(cause) => cause.exit(),
            Self::Print(cause) => cause.exit(),
            Self::Capture(cause) => cause.exit(),
            Self::Signatures(cause) => cause.exit(),
            Self::Input(_) => Exit::Refused,
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::AccessFile(cause) => cause.hint(),
            Self::Config(cause) => cause.hint(),
            Self::Enforced(cause) => cause.hint(),
            Self::Journal(cause) => Failure::hint(cause),
            Self::Capture(cause) => cause.hint(),
            Self::Signatures(cause) => cause.hint(),
            Self::Input(_) | Self::Print(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
