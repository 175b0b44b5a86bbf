//! What a call holds of its caller's right to make it.
//!
//! A request is authorized when its headers come, and may take long after that: its message may
//! come slowly, its answer may be a stream for hours. So the caller's standing goes with it. The
//! handler asks for it again when the message is there, and the answer ends when it ends.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::codegen::http::HeaderMap;
use tonic::{Code, Status};

use crate::error::Error;

/// Ends when the key that makes a call may make it no longer, or the authority of its certificate counts no
/// more; in the request's extensions.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    /// Of the key.
    key: CancellationToken,
    /// Of the authority that has signed the certificate.
    authority: CancellationToken,
}

/// An answer that ends with its caller's standing.
struct Answer {
    body: Body,
    key_ended: Pin<Box<WaitForCancellationFutureOwned>>,
    authority_ended: Pin<Box<WaitForCancellationFutureOwned>>,
    is_over: bool,
}

// === impl Standing ===

impl Standing {
    pub(crate) fn new(key: CancellationToken, authority: CancellationToken) -> Self {
        Self { key, authority }
    }

    /// Whether the key may still make the call.
    ///
    /// # Errors
    ///
    /// Why it may not.
    pub(crate) fn is_good(&self) -> Result<(), Error> {
        if self.authority.is_cancelled() {
            return Err(Error::AuthorityUnknown);
        }
        if self.key.is_cancelled() {
            return Err(Error::NotMember);
        }
        Ok(())
    }

    /// `body`, until the standing ends.
    pub(crate) fn bound(self, body: Body) -> Body {
        Body::new(Answer {
            body,
            key_ended: Box::pin(self.key.cancelled_owned()),
            authority_ended: Box::pin(self.authority.cancelled_owned()),
            is_over: false,
        })
    }
}

// === impl Answer ===

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        if self.authority_ended.as_mut().poll(context).is_ready() {
            self.is_over = true;
            return Poll::Ready(last_words(&Error::AuthorityUnknown.into()).map(Ok));
        }
        if self.key_ended.as_mut().poll(context).is_ready() {
            self.is_over = true;
            let ended = Status::new(
                Code::PermissionDenied,
                "this member was locked or removed while it was being answered",
            );
            return Poll::Ready(last_words(&ended).map(Ok));
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// The status that ends an answer which has begun.
fn last_words(status: &Status) -> Option<Frame<Bytes>> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers).ok()?;
    Some(Frame::trailers(trailers))
}
