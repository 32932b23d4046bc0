//! What is answered: JSON, or a backup as it is read.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc;

use crate::store::backup::BackupError;

/// An answer.
pub(super) enum Answer {
    /// All of it.
    Whole(Bytes),
    /// Piece by piece.
    Streamed(mpsc::Receiver<Result<Bytes, BackupError>>),
}

/// Felt whenever a piece goes out: as long as it is, a long answer is no hung one.
#[derive(Clone, Default)]
pub(super) struct Pulse(Arc<AtomicBool>);

impl Pulse {
    /// Whether it was felt since it was last asked.
    pub(super) fn was_felt(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// An answer on its way.
pub(super) struct Body {
    answer: Answer,
    pulse: Pulse,
}

impl Body {
    pub(super) const fn new(answer: Answer, pulse: Pulse) -> Self {
        Self { answer, pulse }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BackupError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BackupError>>> {
        let piece = match &mut self.answer {
            Answer::Whole(bytes) if bytes.is_empty() => None,
            Answer::Whole(bytes) => Some(Ok(std::mem::take(bytes))),
            Answer::Streamed(pieces) => ready!(pieces.poll_recv(context)),
        };
        if let Some(Err(error)) = &piece {
            tracing::warn!(error = error as &dyn std::error::Error, "a backup was broken off");
        }
        self.pulse.0.store(true, Ordering::Relaxed);
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.answer {
            Answer::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Answer::Streamed(_) => SizeHint::default(),
        }
    }
}
