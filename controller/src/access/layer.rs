//! The table of permissions in front of every service.
//!
//! TLS has verified a client certificate, if one was presented, against the fleet's CA. Here its
//! one URI name is read and looked up in the roster, and its role must have the permission that
//! the RPC needs. Enrollment has no certificate yet; everything else needs one. A locked member is
//! turned away at its next request, whatever connection it has, and its answers end; so is whoever
//! has a certificate of an authority that counts no more.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use fleet::Role;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tower::{Layer, Service};

use super::caller::{Call, Caller, RequestId};
use super::limits::{Peer as Counted, RateLimits};
use super::looks::Looks;
use super::peer::{MemberCertificate, Peer, Presented, Subject};
use super::roles::{may, may_when_locked};
use super::roster::{Admitted, Roster};
use super::rpc::{Requirement, requirement};
use super::standing::Standing;
use crate::error::Error;

/// Puts the table in front of every service.
#[derive(Clone, Debug)]
pub(crate) struct AuthorizeLayer {
    pub(crate) fleet: Arc<str>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) limits: Arc<RateLimits>,
    /// What others have changed is looked for there, where there are others.
    pub(crate) looks: Option<Arc<Looks>>,
    /// Where changes are carried out that whoever asked for them does not wait for any more.
    pub(crate) tasks: TaskTracker,
}

/// What a service answers.
type Answer<E> = Result<Response<Body>, E>;

/// A service behind the table.
#[derive(Clone, Debug)]
pub(crate) struct Authorize<S> {
    inner: S,
    rules: AuthorizeLayer,
}

// === impl AuthorizeLayer ===

impl AuthorizeLayer {
    /// Names a request, decides about it, and leaves in it its name and who makes it.
    ///
    /// What a stranger is given must be held until the answer.
    fn admit<B>(&self, request: &mut Request<B>) -> Result<Option<OwnedSemaphorePermit>, Error> {
        let id = RequestId::new()?;
        let path = request.uri().path();
        let requirement = requirement(path).ok_or(Error::UnknownCall)?;
        let peer = request.extensions().get::<Peer>();
        let peer = peer.cloned().ok_or(Error::Unauthenticated)?;
        let admitted = match requirement {
            Requirement::Nothing => None,
            Requirement::Permission(permission) => {
                if peer.authority.is_cancelled() {
                    return Err(Error::AuthorityUnknown);
                }
                let admitted = self.caller(&peer.presented)?;
                // Also of a call that is refused it is known who made it.
                let caller = Caller::of(&admitted.member, id);
                request.extensions_mut().insert(caller);
                let Admitted {
                    member,
                    key,
                    locked,
                    standing: _,
                } = &admitted;
                if !may(member.role, permission) {
                    return Err(Error::NotAllowed {
                        role: member.role,
                        what: permission.words(),
                    });
                }
                if *locked && !may_when_locked(member.role, permission) {
                    return Err(Error::locked(member, key));
                }
                Some(admitted)
            }
        };
        let room = match &admitted {
            Some(admitted) => {
                self.limits.admit(Counted::Member(admitted.member.id))?;
                None
            }
            None => {
                self.limits.admit(Counted::stranger(Some(peer.address)))?;
                let room = peer.in_work.try_acquire_owned();
                Some(room.map_err(|_| Error::TooMany)?)
            }
        };

        let standing = admitted.as_ref();
        let standing =
            standing.map(|it| Standing::new(it.standing.clone(), peer.authority.clone()));
        let name = admitted.as_ref().map(|it| it.member.name.as_str());
        let path = request.uri().path();
        tracing::debug!(path, request = %id, caller = name, "called");
        let extensions = request.extensions_mut();
        extensions.insert(Call {
            id,
            peer: Some(peer.address),
        });
        if let Some(standing) = standing {
            extensions.insert(standing);
        }
        Ok(room)
    }

    /// The member whose certificate the connection was made with.
    fn caller(&self, presented: &Presented) -> Result<Admitted, Error> {
        match presented {
            Presented::Nothing => Err(Error::Unauthenticated),
            Presented::Foreign => Err(Error::AuthorityUnknown),
            Presented::OutOfTime(validity) => Err(Error::OutOfTime(*validity)),
            Presented::Valid(certificate) => self.member(certificate),
        }
    }

    /// `Member::id` and role of whoever may have a member's connection.
    pub(crate) fn member_of(&self, presented: &Presented) -> Option<(u64, Role)> {
        let Admitted { member, locked, .. } = self.caller(presented).ok()?;
        (!locked || member.role == Role::Host).then_some((member.id, member.role))
    }

    /// Looks at what other controllers have done where a certificate of the fleet's authority has a key that nobody
    /// knows here: whoever has it has joined elsewhere, just now perhaps.
    pub(crate) async fn hear_of(&self, presented: &Presented) {
        let (Presented::Valid(certificate), Some(looks)) = (presented, &self.looks) else {
            return;
        };
        let subject = self.subject(certificate);
        if subject.is_ok_and(|subject| self.roster.is_unheard_of(subject.key)) {
            looks.wait().await;
        }
    }

    /// Whom a verified certificate names, where it is of this fleet.
    fn subject<'a>(&self, certificate: &'a MemberCertificate) -> Result<&'a Subject, Error> {
        let subject = certificate.subject.as_ref();
        let own = subject.filter(|subject| *subject.fleet == *self.fleet);
        own.ok_or(Error::Unauthenticated)
    }

    /// The member that a verified certificate names.
    fn member(&self, certificate: &MemberCertificate) -> Result<Admitted, Error> {
        let Subject {
            fleet: _,
            role,
            name,
            key,
        } = self.subject(certificate)?;
        // The name may have been given to somebody else since, and the key taken away.
        let admitted = self.roster.admit(*role, name, *key);
        admitted.ok_or_else(|| {
            if self.roster.is_void(*key) {
                Error::MembershipEnded
            } else {
                Error::NotMember
            }
        })
    }
}

impl<S> Layer<S> for AuthorizeLayer {
    type Service = Authorize<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Authorize {
            inner,
            rules: self.clone(),
        }
    }
}

// === impl Authorize ===

impl<S, B> Service<Request<B>> for Authorize<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let admitted = self.rules.admit(&mut request);
        let caller = request.extensions().get::<Caller>().cloned();
        match admitted {
            Ok(room) => {
                let standing = request.extensions().get::<Standing>().cloned();
                let is_change = is_change(request.uri().path());
                let answer = self.inner.call(request);
                let answer = async move {
                    let _room = room;
                    let answer = said_to(answer.await?, caller);
                    Ok(match standing {
                        Some(standing) => answer.map(|body| standing.bound(body)),
                        None => answer,
                    })
                };
                if is_change {
                    Box::pin(to_its_end(self.rules.tasks.spawn(answer)))
                } else {
                    Box::pin(answer)
                }
            }
            Err(error) => {
                tracing::debug!(
                    path = request.uri().path(),
                    error = %program::one_line(&error),
                    "turned away"
                );
                let response = said_to(Status::from(error).into_http(), caller);
                Box::pin(std::future::ready(Ok(response)))
            }
        }
    }
}

/// Whether a call commits something that others must be told of afterwards: the roster, hosts,
/// sessions. Such a call goes on when its caller hangs up, so that the telling follows the commit.
fn is_change(path: &str) -> bool {
    match requirement(path) {
        Some(Requirement::Nothing) => true,
        Some(Requirement::Permission(permission)) => permission.changes(),
        None => false,
    }
}

/// The answer of a task, which is not dropped with whoever waits for it.
async fn to_its_end<E>(task: JoinHandle<Answer<E>>) -> Answer<E> {
    task.await
        .unwrap_or_else(|broken| Ok(Status::from(Error::from(broken)).into_http()))
}

/// Says in a response whom it answers, for whoever records it.
fn said_to<B>(mut response: Response<B>, caller: Option<Caller>) -> Response<B> {
    if let Some(caller) = caller {
        response.extensions_mut().insert(caller);
    }
    response
}

/// The URI name, when it is the certificate's only name.
#[cfg(test)]
mod tests;
