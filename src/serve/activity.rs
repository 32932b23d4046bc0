//! What goes on on one connection: when a quiet one may be ended without hurting anybody.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::sync::Notify;

/// Requests of one connection: how many there were, and how many are not over.
#[derive(Debug, Default)]
pub(super) struct Activity {
    begun: AtomicU64,
    open: AtomicUsize,
    first: Notify,
    ending: AtomicBool,
}

impl Activity {
    /// Counts a request in; it is over when the returned value is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        if self.begun.fetch_add(1, Ordering::Relaxed) == 0 {
            self.first.notify_one();
        }
        Open(Arc::clone(self))
    }

    /// From here on each answer says that it is the connection's last: HTTP/1.1's way to end one.
    pub(super) fn say_the_end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// Whether there was a request.
    pub(super) fn is_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed) > 0
    }

    /// Done when the first request has begun.
    pub(super) async fn has_begun(&self) {
        if !self.is_begun() {
            self.first.notified().await;
        }
    }

    /// Done when a whole period has gone by in which no request began or was open: `first` before the first request, then
    /// `later`.
    pub(super) async fn idle(&self, first: Duration, later: Duration) {
        loop {
            let begun = self.begun.load(Ordering::Relaxed);
            tokio::time::sleep(if begun == 0 { first } else { later }).await;
            if self.begun.load(Ordering::Relaxed) == begun && self.open.load(Ordering::Relaxed) == 0 {
                return;
            }
        }
    }
}

/// A request that is not over.
#[derive(Debug)]
pub(super) struct Open(Arc<Activity>);

impl Open {
    /// Whether this request is to be the connection's last.
    pub(super) fn is_last(&self) -> bool {
        self.0.ending.load(Ordering::Relaxed)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

pin_project! {
    /// A response's body that keeps its request open until it is sent or dropped.
    pub(super) struct Counted<B> {
        #[pin]
        body: Option<B>,
        open: Option<Open>,
    }
}

impl<B> Counted<B> {
    pub(super) const fn new(body: B, open: Option<Open>) -> Self {
        Self { body: Some(body), open }
    }

    /// An answer without a body.
    pub(super) const fn nothing(open: Option<Open>) -> Self {
        Self { body: None, open }
    }
}

impl<B: Body> Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project().body.as_pin_mut() {
            Some(body) => body.poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::time::{sleep, timeout};

    use super::*;

    const FIRST: Duration = Duration::from_millis(50);
    const LATER: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn a_connection_without_a_request_is_idle_after_the_first_period() {
        let start = Instant::now();
        Activity::default().idle(FIRST, Duration::from_hours(1)).await;
        assert!(start.elapsed() >= FIRST);
    }

    #[tokio::test]
    async fn an_open_request_is_never_idle() {
        let activity = Arc::new(Activity::default());
        let open = activity.begin();
        assert!(timeout(LATER * 4, activity.idle(FIRST, LATER)).await.is_err());
        drop(open);
        activity.idle(FIRST, LATER).await;
    }

    #[tokio::test]
    async fn a_request_starts_the_period_anew() {
        let activity = Arc::new(Activity::default());
        let idle = tokio::spawn({
            let activity = Arc::clone(&activity);
            async move { activity.idle(FIRST, LATER).await }
        });
        for _ in 0..40 {
            drop(activity.begin());
            sleep(LATER / 10).await;
        }
        assert!(!idle.is_finished());
        idle.await.unwrap();
    }

    #[tokio::test]
    async fn the_first_request_is_noticed_before_and_after() {
        let activity = Arc::new(Activity::default());
        assert!(timeout(FIRST, activity.has_begun()).await.is_err());
        drop(activity.begin());
        activity.has_begun().await;
        activity.has_begun().await;
    }
}
