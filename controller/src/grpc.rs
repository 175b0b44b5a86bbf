//! The contract's services: each handler reads its request and the clock, calls one use case, and
//! writes the answer. Nothing is decided here.
//!
//! | file | what |
//! |---|---|
//! | `agent`, `audit`, `directory`, `enrollment`, `operator` | one service each |
//! | `host_changes` | a host in the contract's form, and changes of it |
//! | `reads` | what is asked for, in the words of the events that say so |
//! | `refusals` | what is refused is recorded, whoever refuses it |
//! | `policy_wire` | changes of policy in the contract's form |
//! | `members` | members and tokens in the contract's form |
//! | `status` | what a caller learns of an error |

mod access_review;
pub(crate) mod agent;
pub(crate) mod audit;
pub(crate) mod directory;
pub(crate) mod enrollment;
mod host_changes;
mod members;
pub(crate) mod operator;
mod policy_wire;
mod proof;
mod reads;
mod recent_events;
pub(crate) mod refusals;
pub(crate) mod session_body;
mod sinks;
mod status;
mod who_can;

use fleet::Contract;
use tonic::Request;

use crate::access::caller::{Call, Caller};
use crate::access::standing::Standing;
use crate::error::Error;

/// Which version of the contract the program speaks that makes this request.
fn contract<T>(request: &Request<T>) -> Contract {
    let said = request.metadata().get("user-agent");
    Contract::of_header(said.and_then(|said| said.to_str().ok()))
}

/// Which call this is. The access layer says so of every one.
fn call<T>(request: &Request<T>) -> Result<Call, Error> {
    let call = request.extensions().get::<Call>();
    call.copied().ok_or(Error::Unauthenticated)
}

/// Who makes this request. Only RPCs that need a permission have one. Whoever was locked while the
/// request was on its way makes none, nor whoever has a certificate that counts no more since.
fn caller<T>(request: &Request<T>) -> Result<Caller, Error> {
    let standing = request.extensions().get::<Standing>();
    standing.ok_or(Error::NotMember)?.is_good()?;
    let caller = request.extensions().get::<Caller>();
    caller.cloned().ok_or(Error::Unauthenticated)
}
