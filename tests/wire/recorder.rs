//! The server behind: it keeps every byte it is sent, and answers as its path says.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, broadcast, watch};

/// What `/mcp` is answered with.
pub(crate) const RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;

/// A server that answers
/// - `…/stream` with an event stream: the event `open`, then what [`Recorder::tell`] says;
/// - `…/slow` when [`Recorder::release`] is called;
/// - `…/mute` never;
/// - `…/break` by closing the connection;
/// - `…/half` and `…/half-chunked` by closing it in the middle of the body;
/// - `…/twice` and `…/too-long` with [`RESULT`] and an answer or text too many;
/// - `…/flood` with more than anybody wants to keep, as fast as it is taken;
/// - everything else with [`RESULT`].
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    received: Mutex<Vec<Vec<u8>>>,
    requests: watch::Sender<usize>,
    closed: watch::Sender<usize>,
    events: broadcast::Sender<String>,
    released: Semaphore,
    flooded: AtomicUsize,
}

/// A request as it came over the wire.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Seen {
    /// All values of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }
}

impl Recorder {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shared = Arc::new(Shared {
            received: Mutex::default(),
            requests: watch::Sender::new(0),
            closed: watch::Sender::new(0),
            events: broadcast::Sender::new(64),
            released: Semaphore::new(0),
            flooded: AtomicUsize::new(0),
        });
        let address = listener.local_addr().unwrap();
        tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared }
    }

    /// How many connections were ever made.
    pub(crate) fn connections(&self) -> usize {
        self.shared.received.lock().unwrap().len()
    }

    /// Everything received, as whole requests; what is left over fails the test.
    pub(crate) fn requests(&self) -> Vec<Seen> {
        let received = self.shared.received.lock().unwrap();
        received.iter().flat_map(|bytes| whole(bytes)).collect()
    }

    /// How many whole requests have come in all.
    pub(crate) fn answered(&self) -> usize {
        *self.shared.requests.borrow()
    }

    /// How much of `…/flood` was taken so far.
    pub(crate) fn flooded(&self) -> usize {
        self.shared.flooded.load(Ordering::Relaxed)
    }

    /// Everything received, raw.
    pub(crate) fn raw(&self) -> String {
        String::from_utf8_lossy(&self.shared.received.lock().unwrap().concat()).into_owned()
    }

    /// Forgets what was received, with the connections kept.
    pub(crate) fn forget(&self) {
        self.shared.received.lock().unwrap().iter_mut().for_each(Vec::clear);
    }

    /// The same, and how many requests have come.
    pub(crate) fn restart(&self) {
        self.forget();
        self.shared.requests.send_replace(0);
    }

    /// Everything received, by connection.
    pub(crate) fn received(&self) -> Vec<Vec<u8>> {
        self.shared.received.lock().unwrap().clone()
    }

    /// Sends an event to every open stream.
    pub(crate) fn tell(&self, event: &str) {
        self.shared.events.send(event.to_owned()).unwrap();
    }

    /// Lets one `…/slow` answer.
    pub(crate) fn release(&self) {
        self.shared.released.add_permits(1);
    }

    /// Waits until `number` requests have come in all.
    pub(crate) async fn asked(&self, number: usize) {
        reach(&self.shared.requests, number).await;
    }

    /// Waits until `number` connections were closed by the other end.
    pub(crate) async fn closed(&self, number: usize) {
        reach(&self.shared.closed, number).await;
    }
}

async fn reach(counter: &watch::Sender<usize>, number: usize) {
    let mut counter = counter.subscribe();
    let reached = counter.wait_for(|count| *count >= number);
    tokio::time::timeout(Duration::from_secs(5), reached).await.expect("it does not happen").unwrap();
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let number = {
            let mut received = shared.received.lock().unwrap();
            received.push(Vec::new());
            received.len() - 1
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut connection = Connection { stream, number, pending: Vec::new(), shared };
            connection.serve().await;
        });
    }
}

struct Connection {
    stream: TcpStream,
    number: usize,
    pending: Vec<u8>,
    shared: Arc<Shared>,
}

impl Connection {
    async fn serve(&mut self) {
        loop {
            while let Some((seen, length)) = parse(&self.pending) {
                self.pending.drain(..length);
                self.shared.requests.send_modify(|count| *count += 1);
                if self.answer(&seen).await.is_none() {
                    return;
                }
            }
            if !self.read().await {
                return;
            }
        }
    }

    /// More bytes; false at the end, which is counted.
    async fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let read = self.stream.read(&mut buffer).await.unwrap_or(0);
        self.shared.received.lock().unwrap()[self.number].extend_from_slice(&buffer[..read]);
        self.pending.extend_from_slice(&buffer[..read]);
        if read == 0 {
            self.shared.closed.send_modify(|count| *count += 1);
        }
        read > 0
    }

    /// Answers; `None` if the connection is over.
    async fn answer(&mut self, seen: &Seen) -> Option<()> {
        let path = seen.line.split(' ').nth(1).unwrap_or_default();
        match path.rsplit('/').next().unwrap_or_default() {
            "stream" => self.stream().await,
            "mute" => {
                while self.read().await {}
                None
            }
            "slow" => {
                self.shared.released.acquire().await.unwrap().forget();
                self.write(&json()).await
            }
            "flood" => self.flood().await,
            "break" => None,
            "half" => {
                self.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nfirst half").await;
                None
            }
            "half-chunked" => {
                self.write(&format!("{EVENT_STREAM}d\r\ndata: first\n\n\r\n")).await;
                None
            }
            "twice" => self.write(&(json() + &json().replace("result", "poison"))).await,
            "too-long" => self.write(&(json() + "poison")).await,
            _ => self.write(&json()).await,
        }
    }

    async fn stream(&mut self) -> Option<()> {
        let shared = Arc::clone(&self.shared);
        let mut events = shared.events.subscribe();
        self.write(EVENT_STREAM).await?;
        self.write("c\r\ndata: open\n\n\r\n").await?;
        loop {
            tokio::select! {
                event = events.recv() => {
                    let event = format!("data: {}\n\n", event.ok()?);
                    self.write(&format!("{:x}\r\n{event}\r\n", event.len())).await?;
                }
                more = self.read() => if !more { return None },
            }
        }
    }

    async fn flood(&mut self) -> Option<()> {
        self.write("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").await?;
        loop {
            self.stream.write_all(&[b'x'; 16 * 1024]).await.ok()?;
            self.shared.flooded.fetch_add(16 * 1024, Ordering::Relaxed);
        }
    }

    async fn write(&mut self, text: &str) -> Option<()> {
        self.stream.write_all(text.as_bytes()).await.ok()
    }
}

const EVENT_STREAM: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

fn json() -> String {
    let length = RESULT.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{RESULT}")
}

fn whole(mut bytes: &[u8]) -> Vec<Seen> {
    let mut all = Vec::new();
    while let Some((seen, length)) = parse(bytes) {
        all.push(seen);
        bytes = &bytes[length..];
    }
    assert!(bytes.is_empty(), "left over: {:?}", String::from_utf8_lossy(bytes));
    all
}

/// The first request in `bytes` and its length, read as strictly as RFC 9112 has it; `None` if it is not whole.
fn parse(bytes: &[u8]) -> Option<(Seen, usize)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let line = lines.next().unwrap().to_owned();
    let header = |line: &str| {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header: {line:?}"));
        (name.to_owned(), value.trim().to_owned())
    };
    let mut seen = Seen { line, headers: lines.map(header).collect(), body: String::new() };
    let (lengths, codings) = (seen.all("content-length"), seen.all("transfer-encoding"));
    assert!(lengths.len() + codings.len() <= 1, "framed twice: {head}");
    let (body, length) = match (lengths.first(), codings.first()) {
        (Some(length), _) => {
            let length: usize = length.parse().unwrap();
            (bytes.get(end..end + length)?.to_vec(), length)
        }
        (None, Some(coding)) => {
            assert_eq!(*coding, "chunked");
            chunks(&bytes[end..])?
        }
        (None, None) => (Vec::new(), 0),
    };
    seen.body = String::from_utf8(body).unwrap();
    Some((seen, end + length))
}

/// A chunked body without extensions and trailers, and its length on the wire.
fn chunks(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let line = bytes[at..].windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&bytes[at..at + line]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("no chunk size: {size:?}"));
        at += line + 2;
        body.extend_from_slice(bytes.get(at..at + size)?);
        assert_eq!(bytes.get(at + size..at + size + 2)?, b"\r\n");
        at += size + 2;
        if size == 0 {
            return Some((body, at));
        }
    }
}
