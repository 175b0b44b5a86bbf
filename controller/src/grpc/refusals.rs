//! Who asks is recorded, and whatever a member tries and may not: in one place, behind which it does not matter who has
//! refused it.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task;

use tonic::codegen::http::{Request, Response};
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::access::caller::Caller;
use crate::access::peer::Peer;
use crate::app::reads::{self, note_refused};
use crate::clock;
use crate::context::Context;

/// Puts the recorder in front of the table of permissions.
#[derive(Clone, Debug)]
pub(crate) struct RecordRefusalsLayer {
    pub(crate) context: Arc<Context>,
}

/// A service whose refusals are recorded.
#[derive(Clone, Debug)]
pub(crate) struct RecordRefusals<S> {
    inner: S,
    context: Arc<Context>,
}

impl<S> Layer<S> for RecordRefusalsLayer {
    type Service = RecordRefusals<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RecordRefusals {
            inner,
            context: Arc::clone(&self.context),
        }
    }
}

impl<S, A, B> Service<Request<A>> for RecordRefusals<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut task::Context<'_>) -> task::Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let uri = request.uri().clone();
        let address = request.extensions().get::<Peer>().map(|peer| peer.address);
        let answer = self.inner.call(request);
        let context = Arc::clone(&self.context);
        Box::pin(async move {
            let response = answer.await?;
            let caller = response.extensions().get::<Caller>().cloned();
            note_sign_in(&context, caller, address).await;
            if let Some((caller, why)) = refused(&response) {
                let call = uri.path().rsplit('/').next().unwrap_or_default();
                let noted = note_refused(&context, &caller, (call, &why), clock::now()).await;
                if let Err(error) = noted {
                    let (name, error) = (&caller.name, program::one_line(&error));
                    tracing::error!(name, call, %error, "a refusal is not recorded");
                }
            }
            Ok(response)
        })
    }
}

/// Records whoever is known by her certificate, whatever comes of what she asks.
async fn note_sign_in(context: &Context, caller: Option<Caller>, address: Option<IpAddr>) {
    let (Some(caller), Some(address)) = (caller, address) else {
        return;
    };
    let noted = reads::note_sign_in(context, &caller, address, clock::now()).await;
    if let Err(error) = noted {
        let (name, error) = (&caller.name, program::one_line(&error));
        tracing::error!(name, %error, "a sign-in is not recorded");
    }
}

/// Whom it is refused, and why, when it is for want of a permission.
fn refused<B>(response: &Response<B>) -> Option<(Caller, String)> {
    let status = response.extensions().get::<Status>()?;
    let caller = response.extensions().get::<Caller>()?;
    let is_refused = status.code() == Code::PermissionDenied;
    is_refused.then(|| (caller.clone(), status.message().to_owned()))
}
