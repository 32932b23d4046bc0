//! A timer for many deadlines of which hardly one is ever reached: it is set again only when it goes off too early, once in a long
//! time, and not for every deadline, which would cost each request a place in the runtime's wheel.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep};

/// The timer; nothing is allocated before its first use.
#[derive(Debug, Default)]
pub struct LazyTimer(Option<Pin<Box<Sleep>>>);

impl LazyTimer {
    /// Done at `deadline`, which may be another one at each call. Only the last caller is woken.
    pub fn poll_deadline(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_deadline_is_kept_whether_later_or_earlier_than_the_one_before() {
        let mut timer = LazyTimer::default();
        let begun = Instant::now();
        let mut expected = Duration::ZERO;
        for seconds in [10, 3, 30, 1, 1, 60, 0] {
            // Given up half-way, as the deadline of a request that is answered.
            let given_up = Instant::now() + Duration::from_secs(seconds * 7 / 2);
            let half = Duration::from_secs(seconds);
            let answered = tokio::time::timeout(half, poll_fn(|cx| timer.poll_deadline(cx, given_up)));
            assert_eq!(answered.await.is_ok(), seconds == 0, "{seconds}");
            let deadline = Instant::now() + Duration::from_secs(seconds);
            poll_fn(|cx| timer.poll_deadline(cx, deadline)).await;
            expected += half * 2;
            assert_eq!(begun.elapsed().as_secs(), expected.as_secs(), "{seconds}");
        }
    }
}
