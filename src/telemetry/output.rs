//! Standard error, without making workers wait: every line goes through a bounded queue to a thread of its own, and is
//! counted instead of written when that thread cannot keep up. Strangers can cause lines of every level, so no level may
//! be written at once: a reader of standard error that stops reading would stop the workers.

use std::io::{self, Stderr, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// How many lines may wait.
const QUEUE: usize = 8192;
/// How long [`flush`] waits for a reader of standard error that has stopped reading.
const FLUSH: Duration = Duration::from_secs(1);

static LINES: OnceLock<Queue> = OnceLock::new();

/// Waits, for a second at most, until all lines so far are written.
pub fn flush() {
    if let Some(queue) = LINES.get() {
        queue.flush();
    }
}

/// Makes a writer for each event.
pub(super) struct Output;

impl Output {
    /// Starts the thread that writes. Without one (no thread to be had), lines are written at once.
    pub(super) fn start() -> Self {
        if LINES.get().is_none()
            && let Ok(queue) = Queue::start(QUEUE, io::stderr())
        {
            // Of two that start at once, the loser's thread ends with its queue.
            let _ = LINES.set(queue);
        }
        Self
    }
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = Writer;

    fn make_writer(&'a self) -> Writer {
        LINES.get().map_or_else(|| Writer::Direct(io::stderr()), Writer::Queued)
    }
}

/// Where one event goes.
pub(super) enum Writer {
    Direct(Stderr),
    Queued(&'static Queue),
}

impl Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self {
            Self::Direct(stderr) => stderr.write(line),
            Self::Queued(queue) => {
                queue.push(line.to_vec());
                Ok(line.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The queue and its thread, which ends when the queue is dropped.
pub(super) struct Queue {
    sender: SyncSender<Message>,
    lost: &'static AtomicU64,
}

enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

impl Queue {
    fn start(size: usize, sink: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(size);
        let lost: &'static AtomicU64 = Box::leak(Box::default());
        std::thread::Builder::new().name("log".to_owned()).spawn(move || write_all(&receiver, sink, lost))?;
        Ok(Self { sender, lost })
    }

    fn push(&self, line: Vec<u8>) {
        if let Err(TrySendError::Full(_)) = self.sender.try_send(Message::Line(line)) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {
        let (done, written) = sync_channel(1);
        // A full queue drains or its reader is stuck; neither is worth more than the wait below.
        if self.sender.try_send(Message::Flush(done)).is_ok() {
            match written.recv_timeout(FLUSH) {
                Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
    }
}

/// The thread: a batch is whatever waits, one write call a batch.
fn write_all(receiver: &Receiver<Message>, mut sink: impl Write, lost: &AtomicU64) {
    while let Ok(first) = receiver.recv() {
        let mut batch = Vec::new();
        let mut waiting = Vec::new();
        for message in std::iter::once(first).chain(receiver.try_iter().take(BATCH)) {
            match message {
                Message::Line(line) => batch.extend_from_slice(&line),
                Message::Flush(done) => waiting.push(done),
            }
        }
        // Nowhere is left to say that standard error cannot be written.
        let _ = sink.write_all(&batch);
        for done in waiting {
            let _ = done.send(());
        }
        match lost.swap(0, Ordering::Relaxed) {
            0 => {}
            lines => tracing::warn!(lines, "log lines were lost: standard error is read too slowly"),
        }
    }
}

/// How many lines one write call may carry.
const BATCH: usize = 256;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Says when it is written to, and takes nothing until told.
    struct Stuck(Sender<()>, Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(()).map_err(io::Error::other)?;
            self.1.recv().map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn flush_waits_for_every_line_in_order() {
        let sink = Sink::default();
        let queue = Queue::start(QUEUE, sink.clone()).unwrap();
        let lines: Vec<_> = (0..1000).map(|number| format!("{number}\n")).collect();
        for line in &lines {
            queue.push(line.clone().into_bytes());
        }
        queue.flush();
        assert_eq!(*sink.0.lock().unwrap(), lines.concat().into_bytes());
    }

    #[test]
    fn a_reader_that_has_stopped_makes_lines_lost_and_nobody_wait() {
        let (writing, written) = channel();
        let (go_on, gate) = channel();
        let queue = Queue::start(2, Stuck(writing, gate)).unwrap();
        queue.push(b"in the write call\n".to_vec());
        written.recv().unwrap();
        for _ in 0..5 {
            queue.push(b"waiting or lost\n".to_vec());
        }
        assert_eq!(queue.lost.load(Ordering::Relaxed), 3);
        drop(go_on);
    }
}
