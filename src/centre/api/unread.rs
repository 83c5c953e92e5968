//! The rest of a request's body: what was not read when the request is answered. Left where it is, the server would
//! close the connection without a word, and the client's next request, or even the answer, would be lost with it
//! (RFC 9112, 9.3 and 9.6). So a rest that is small is read, and after any other the answer says that it is the last.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The longest rest that is read, in bytes.
const MAX_REST: u64 = 4 << 20;
/// It is waited for no longer than this.
const REST_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers, and leaves the connection fit for the next request or says `connection: close`.
pub(super) async fn settle(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    // Whoever waits to be asked for the body sends none once it is answered.
    let asked = !request.headers().contains_key(header::EXPECT);
    let (back, mut rest) = oneshot::channel();
    let mut response = next.run(request.map(|body| Body::new(Lent { body, back: Some(back) }))).await;
    let settled = match rest.try_recv() {
        Ok(rest) => rest.is_end_stream() || (asked && read(rest).await),
        // Who answers reads on while it is sent.
        Err(_) => true,
    };
    if !settled {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Whether the body came to its end.
async fn read(mut rest: Body) -> bool {
    if rest.size_hint().lower() > MAX_REST {
        return false;
    }
    let reading = async {
        let mut left = MAX_REST;
        while let Some(piece) = next(&mut rest).await {
            let length = piece.ok().map(|piece| piece.len() as u64);
            match length.and_then(|length| left.checked_sub(length)) {
                Some(less) => left = less,
                None => return false,
            }
        }
        true
    };
    timeout(REST_TIMEOUT, reading).await.unwrap_or(false)
}

/// The next piece of a body.
pub(super) async fn next(body: &mut Body) -> Option<std::result::Result<Bytes, axum::Error>> {
    let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
    // Trailers say nothing here.
    Some(frame.map(|f| f.into_data().unwrap_or_default()))
}

/// A body that comes back when it is dropped.
struct Lent {
    body: Body,
    back: Option<oneshot::Sender<Body>>,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(back) = self.back.take() {
            // Nobody waits for it when the connection is gone.
            back.send(std::mem::take(&mut self.body)).ok();
        }
    }
}
