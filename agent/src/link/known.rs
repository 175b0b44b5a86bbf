//! Whether the controller still takes this host for one of its fleet: asked by commands, without a session, so that
//! whatever an agent does meanwhile goes on.

use std::time::Duration;

use fleet::wire::PushEventsRequest;
use fleet::wire::agent_client::AgentClient;
use member::{ConnectError, Membership};
use tonic::Code;

/// Somebody waits at a terminal, or a machine for its start.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// What the controller says of a membership.
#[derive(Debug)]
pub enum Known {
    /// It has a host of this name with this key; it may be locked.
    Member,
    /// It has none: removed, replaced, or the controller is an older copy of itself, from before this host joined.
    Refused(ConnectError),
    /// It could not be asked, or its answer says nothing about this.
    Unanswered(ConnectError),
}

/// Asks the controller at this address, or else at any that the membership knows, with a request that is refused for
/// what is in it once the caller is known, and stores nothing.
pub async fn ask(member: &Membership, address: Option<&str>) -> Known {
    let answer = async {
        let (channel, address) = match address {
            Some(address) => (member.channel_to(address).await?, address.to_owned()),
            None => member.channel_and_address().await?,
        };
        match AgentClient::new(channel)
            .push_events(PushEventsRequest::default())
            .await
        {
            Err(status) if status.code() != Code::InvalidArgument => {
                Err(ConnectError::from_status(&address, status))
            }
            Ok(_) | Err(_) => Ok(()),
        }
    };
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, answer).await;
    let dialled = address.unwrap_or(&member.address);
    match answer.unwrap_or_else(|_| Err(no_answer(dialled))) {
        Ok(()) => Known::Member,
        Err(
            error @ ConnectError::Refused {
                code: Code::PermissionDenied | Code::Unauthenticated | Code::NotFound,
                ..
            },
        ) => Known::Refused(error),
        Err(error) => Known::Unanswered(error),
    }
}

fn no_answer(address: &str) -> ConnectError {
    ConnectError::Unreachable {
        address: address.to_owned(),
        cause: format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()).into(),
    }
}
