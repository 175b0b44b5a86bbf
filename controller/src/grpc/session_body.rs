//! A session's stream as it travels.
//!
//! tonic writes all that it streams into one buffer for each stream, which stays as large as the
//! largest message was for as long as the stream lives: a policy of a megabyte costs a megabyte for
//! each host, for ever. Here each directive has bytes of its own, which go when they are sent, and a
//! session that says nothing has none.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use fleet::wire::Directive;
use http_body::{Body, Frame};
use parking_lot::Mutex;
use prost::Message as _;
use prost::bytes::{BufMut as _, Bytes, BytesMut};
use tokio_stream::{Empty, Stream};
use tonic::codegen::Service;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::server::NamedService;
use tonic::{Code, Status, body};
use tower::util::MapResponse;

/// What a session says.
pub(super) type Directives = Pin<Box<dyn Stream<Item = Result<Directive, Status>> + Send>>;
/// What tonic is given in its place.
pub(super) type Nothing = Empty<Result<Directive, Status>>;

/// Not compressed, and how many bytes follow (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX_BYTES: usize = 5;

/// Beside the answer, on its way from the service to [`WithSessionBody`].
#[derive(Clone)]
struct Waiting(Arc<Mutex<Option<Directives>>>);

/// The body of the answer.
struct SessionBody {
    /// `None` once its end was said.
    directives: Option<Directives>,
}

/// A service whose sessions travel so.
#[derive(Clone, Debug)]
pub(crate) struct WithSessionBody<S>(MapResponse<S, MapBody>);

type MapBody = fn(Response<body::Body>) -> Response<body::Body>;

/// An answer that streams `directives`, from a service within [`WithSessionBody`].
pub(super) fn streaming(directives: Directives) -> tonic::Response<Nothing> {
    let mut response = tonic::Response::new(tokio_stream::empty());
    let waiting = Waiting(Arc::new(Mutex::new(Some(directives))));
    response.extensions_mut().insert(waiting);
    response
}

fn with_session_body(mut response: Response<body::Body>) -> Response<body::Body> {
    let waiting = response.extensions_mut().remove::<Waiting>();
    let Some(directives) = waiting.and_then(|waiting| waiting.0.lock().take()) else {
        return response;
    };
    response.map(|_| {
        body::Body::new(SessionBody {
            directives: Some(directives),
        })
    })
}

/// A message with its prefix; `None` of one that is longer than the form can say.
fn framed(directive: &Directive) -> Option<Bytes> {
    let length = directive.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).ok()?);
    directive.encode(&mut bytes).ok()?;
    Some(bytes.freeze())
}

// === impl WithSessionBody ===

impl<S> WithSessionBody<S> {
    pub(crate) fn new(service: S) -> Self {
        Self(MapResponse::new(service, with_session_body))
    }
}

impl<S, B> Service<Request<B>> for WithSessionBody<S>
where
    S: Service<Request<B>, Response = Response<body::Body>, Error = Infallible>,
{
    type Response = Response<body::Body>;
    type Error = Infallible;
    type Future = <MapResponse<S, MapBody> as Service<Request<B>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.0.call(request)
    }
}

impl<S: NamedService> NamedService for WithSessionBody<S> {
    const NAME: &'static str = S::NAME;
}

// === impl SessionBody ===

impl SessionBody {
    /// The last frame: how it ended.
    fn end(&mut self, status: &Status) -> Option<Result<Frame<Bytes>, Status>> {
        self.directives = None;
        let mut trailers = HeaderMap::new();
        let said = status.add_header(&mut trailers);
        Some(said.map(|()| Frame::trailers(trailers)))
    }
}

impl Body for SessionBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(directives) = &mut self.directives else {
            return Poll::Ready(None);
        };
        let frame = match ready!(directives.as_mut().poll_next(cx)) {
            Some(Ok(directive)) => match framed(&directive) {
                Some(bytes) => Some(Ok(Frame::data(bytes))),
                None => self.end(&Status::internal("a directive is too long to be sent")),
            },
            Some(Err(status)) => self.end(&status),
            None => self.end(&Status::new(Code::Ok, "")),
        };
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.directives.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use fleet::wire::directive::Directive as Kind;
    use fleet::wire::{Locked, PolicySnapshot};
    use tonic::codec::{Codec as _, Streaming};
    use tonic_prost::ProstCodec;

    use super::*;

    fn body(directives: Vec<Result<Directive, Status>>) -> SessionBody {
        SessionBody {
            directives: Some(Box::pin(tokio_stream::iter(directives))),
        }
    }

    fn policy(bytes: usize) -> Directive {
        Directive {
            directive: Some(Kind::Policy(PolicySnapshot {
                packed: vec![7; bytes].into(),
                ..PolicySnapshot::default()
            })),
        }
    }

    fn locked() -> Directive {
        Directive {
            directive: Some(Kind::Locked(Locked {
                reason: "laptop lost".to_owned(),
            })),
        }
    }

    /// Reads the body as tonic's own client does.
    fn read(body: SessionBody) -> Streaming<Directive> {
        let decoder = ProstCodec::<Directive, Directive>::default().decoder();
        Streaming::new_response(decoder, body, http_ok(), None, Some(4 * 1024 * 1024))
    }

    fn http_ok() -> tonic::codegen::http::StatusCode {
        tonic::codegen::http::StatusCode::OK
    }

    #[tokio::test]
    async fn a_client_reads_what_was_said_and_how_it_ended() {
        let ended = Err(Status::aborted("this session was ended"));
        let said = body(vec![Ok(policy(1_000_000)), Ok(locked()), ended]);

        let mut read = read(said);

        assert_eq!(read.message().await.unwrap(), Some(policy(1_000_000)));
        assert_eq!(read.message().await.unwrap(), Some(locked()));
        let ended = read.message().await.unwrap_err();
        assert_eq!(ended.code(), Code::Aborted);
        assert_eq!(ended.message(), "this session was ended");
    }

    #[tokio::test]
    async fn a_client_reads_that_nothing_follows() {
        let mut read = read(body(vec![Ok(locked())]));

        assert_eq!(read.message().await.unwrap(), Some(locked()));
        assert_eq!(read.message().await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_was_sent_is_the_receivers_alone() {
        let mut said = body(vec![Ok(policy(1_000_000)), Ok(locked())]);

        let frame = poll_fn(|cx| Pin::new(&mut said).poll_frame(cx)).await;
        let sent = frame.unwrap().unwrap().into_data().unwrap();

        // Whoever drops it frees it: nothing of it is shared with the body.
        assert!(sent.is_unique());
    }
}
