//! What ends an open stream: its grant is revoked, or its token has been expired for a minute.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::Revocations;
use super::guard::Refusal;
use crate::oauth::GrantId;
use crate::time::Timestamp;
use crate::token::{Claims, TokenError};

/// How long a standing stream may outlive its token, so that a client can open the next one first.
const GRACE: Duration = Duration::from_mins(1);

/// Why a stream was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Its grant was revoked.
    Revoked,
    /// Its token expired.
    Expired,
}

impl From<Cut> for Refusal {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::Revoked => Self::Revoked,
            Cut::Expired => Self::Token(TokenError::Expired),
        }
    }
}

/// How long an answer's stream may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// As long as its token, and a minute: a GET stream or `subscriptions/listen`, which have no end of their own.
    Token,
    /// To its end: the answer of a running POST.
    Answer,
}

/// When an answer must end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Term {
    grant: GrantId,
    deadline: Option<Instant>,
}

impl Term {
    /// The term of an answer to a request that came now, with these claims.
    pub(super) fn new(claims: &Claims, life: Life, now: Timestamp) -> Self {
        let deadline = match life {
            Life::Token => Some(Instant::now() + claims.expires.after(GRACE).since(now)),
            Life::Answer => None,
        };
        Self { grant: claims.grant, deadline }
    }

    /// Whether it is to end now.
    pub(super) fn check(&self, revocations: &Revocations) -> Option<Cut> {
        if revocations.contains(self.grant) {
            Some(Cut::Revoked)
        } else if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            Some(Cut::Expired)
        } else {
            None
        }
    }
}

/// Ends one stream. It costs a look at the revoked set with each frame; only when the stream has to wait is it
/// registered to be woken.
pub(super) struct Cutter {
    revocations: Revocations,
    term: Term,
    wakeup: Option<Pin<Box<dyn Future<Output = Cut> + Send>>>,
}

impl Cutter {
    /// The cutter of a stream.
    pub(super) fn new(term: Term, revocations: &Revocations) -> Self {
        Self { revocations: revocations.clone(), term, wakeup: None }
    }

    /// Whether the stream is to end now.
    pub(super) fn check(&self) -> Option<Cut> {
        self.term.check(&self.revocations)
    }

    /// Waits for the end, beside a stream that waits for its next frame.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Cut> {
        let (revocations, Term { grant, deadline }) = (&self.revocations, self.term);
        self.wakeup
            .get_or_insert_with(|| Box::pin(end(revocations.clone(), grant, deadline)))
            .as_mut()
            .poll(cx)
    }
}

async fn end(revocations: Revocations, grant: GrantId, deadline: Option<Instant>) -> Cut {
    tokio::select! {
        () = revoked(&revocations, grant) => Cut::Revoked,
        () = expired(deadline) => Cut::Expired,
    }
}

async fn revoked(revocations: &Revocations, grant: GrantId) {
    // Registered first, then looked at: what is revoked in between wakes us.
    let mut changed = revocations.watch(grant.shard());
    while !revocations.contains(grant) {
        if changed.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn expired(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
