//! The body of an answer that ends in time, however long its sender or its stream would go on.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use api::{Reason, Refusal};
use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Frame, SizeHint};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, Sleep, sleep_until},
};
use tonic::{Status, body::Body};

/// A body that ends at an instant with an error, if it has not ended by itself.
pub(crate) struct Bounded {
    inner: Body,
    until: Instant,
    /// The reason of the error at the end.
    reason: Reason,
    /// Set up when there is something to wait for, which the answer of a unary call never has.
    timer: Option<Pin<Box<Sleep>>>,
    is_over: bool,
    /// Given back with the body.
    _place: Option<OwnedSemaphorePermit>,
}

impl Bounded {
    /// Ends the body of a response at `until`, for this reason; keeps `place` until the body has ended.
    pub(crate) fn wrap(
        response: Response<Body>,
        until: Instant,
        reason: Reason,
        place: Option<OwnedSemaphorePermit>,
    ) -> Response<Body> {
        response.map(|inner| {
            let (timer, is_over) = (None, false);
            Body::new(Self { inner, until, reason, timer, is_over, _place: place })
        })
    }

    fn is_due(&mut self, cx: &mut Context<'_>) -> bool {
        let until = self.until;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        timer.as_mut().poll(cx).is_ready()
    }

    fn end(&mut self) -> Frame<Bytes> {
        self.is_over = true;
        // What makes the stream may wait for its body to go away.
        self.inner = Body::empty();
        let mut trailers = HeaderMap::new();
        // Our texts and details are always valid headers.
        let _ = Status::from(Refusal::new(self.reason)).add_header(&mut trailers);
        Frame::trailers(trailers)
    }
}

impl http_body::Body for Bounded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        // A stream that never pauses ends as well.
        if Instant::now() >= self.until {
            return Poll::Ready(Some(Ok(self.end())));
        }
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Pending if self.is_due(cx) => Poll::Ready(Some(Ok(self.end()))),
            polled => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
