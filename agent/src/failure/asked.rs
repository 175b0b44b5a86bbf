//! How commands end that ask a running agent.

use std::borrow::Cow;

use program::{Exit, Failure};

use crate::commands::control::{AskFailed, Unreached};
use crate::report::BEGIN_ANEW;

impl Failure for Unreached {
    fn exit(&self) -> Exit {
        match self {
            Self::Denied(cause) => cause.exit(),
            Self::NoAgent { .. } => Exit::Refused,
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Denied(cause) => cause.hint(),
            Self::NoAgent { .. } => {
                Some("is it running? Its state directory is named with --state".into())
            }
        }
    }
}

impl Failure for AskFailed {
    fn exit(&self) -> Exit {
        match self {
            Self::Unreached(cause) => cause.exit(),
            Self::Silent { .. } => Exit::Refused,
        }
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Unreached(cause) => cause.hint(),
            Self::Silent { .. } => Some(BEGIN_ANEW.into()),
        }
    }
}
