//! Connections in memory whose peer writes and reads bytes.

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use http_body::Frame;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::gateway::{ConnectionLimits, Lasting};
use crate::serve::connection::{Limits, Terms, serve_http1};
use crate::telemetry::Refusals;

const SINCE: Timestamp = Timestamp::from_seconds(784_111_777);
const STREAM: &str = "GET /stream HTTP/1.1\r\nhost: a\r\n\r\n";
const WHOLE: &str = "GET /whole HTTP/1.1\r\nhost: a\r\n\r\n";

/// What a stream's server says.
#[derive(Clone, Copy, Debug)]
enum Say {
    Text(&'static str),
    Much(usize),
    Break,
}

struct Told {
    said: mpsc::UnboundedReceiver<Say>,
    polls: Arc<AtomicUsize>,
    is_broken: bool,
}

impl Body for Told {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        // As the gateway's own body does after an error.
        if self.is_broken {
            return Poll::Ready(None);
        }
        let said = ready!(self.said.poll_recv(cx));
        self.is_broken = matches!(said, Some(Say::Break));
        Poll::Ready(said.map(|said| match said {
            Say::Text(text) => Ok(Frame::data(Bytes::from_static(text.as_bytes()))),
            Say::Much(length) => Ok(Frame::data(vec![b'x'; length].into())),
            Say::Break => Err("broken".into()),
        }))
    }
}

/// A connection that is served, its peer, and the server behind `/stream`.
struct Line {
    peer: DuplexStream,
    say: Option<mpsc::UnboundedSender<Say>>,
    polls: Arc<AtomicUsize>,
    stopping: CancellationToken,
    served: JoinHandle<()>,
}

impl Line {
    /// Whose buffer holds so many bytes each way.
    fn new(room: usize) -> Self {
        let (peer, io) = duplex(room);
        let (say, said) = mpsc::unbounded_channel();
        let polls = Arc::new(AtomicUsize::new(0));
        let stopping = CancellationToken::new();
        let told = Mutex::new(Some(Told { said, polls: Arc::clone(&polls), is_broken: false }));
        let served = tokio::spawn({
            let stopping = stopping.clone();
            async move {
                let refusals = Refusals::default();
                let limits = Limits::from(ConnectionLimits::default());
                let terms = Terms { limits, stopping: &stopping, refusals: &refusals };
                serve_http1(io, |request| std::future::ready(answer(&request, &told)), terms).await;
            }
        });
        Self { peer, say: Some(say), polls, stopping, served }
    }

    fn say(&self, said: Say) {
        self.say.as_ref().unwrap().send(said).unwrap();
    }

    async fn ask(&mut self, bytes: &str) {
        self.peer.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// What comes up to `end`, without dates of now.
    async fn hears(&mut self, end: &str) -> String {
        let mut heard = Vec::new();
        while !heard.ends_with(end.as_bytes()) {
            let byte = timeout(Duration::from_secs(5), self.peer.read_u8()).await;
            heard
                .push(byte.unwrap_or_else(|_| panic!("only {:?}", String::from_utf8_lossy(&heard))).unwrap());
        }
        String::from_utf8(heard)
            .unwrap()
            .split_inclusive("\r\n")
            .filter(|line| !line.starts_with("date: ") || *line == DATED)
            .collect()
    }

    /// What comes up to the end of the connection.
    async fn hears_all(&mut self) -> Vec<u8> {
        let mut heard = Vec::new();
        timeout(Duration::from_secs(5), self.peer.read_to_end(&mut heard)).await.unwrap().unwrap();
        heard
    }
}

/// Of `/stream` what is told, of `/whole` a large text that hyper writes.
fn answer(request: &Request<Incoming>, told: &Mutex<Option<Told>>) -> Response<Told> {
    if request.uri().path() == "/stream" {
        let told = told.lock().unwrap().take().unwrap();
        let mut response = Response::new(told);
        response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
        response.extensions_mut().insert(Lasting { since: SINCE });
        return response;
    }
    let (say, said) = mpsc::unbounded_channel();
    say.send(Say::Text("whole")).unwrap();
    Response::new(Told { said, polls: Arc::default(), is_broken: false })
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\ntransfer-encoding: chunked\r\n\r\n";
const DATED: &str = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";

#[tokio::test]
async fn a_stream_is_written_in_chunks_and_the_next_request_read_afterwards() {
    let mut line = Line::new(64 * 1024);
    line.ask(STREAM).await;
    assert_eq!(line.hears("\r\n\r\n").await, HEAD, "before anything was said");
    line.say(Say::Text("data: 1\n\n"));
    assert_eq!(line.hears("\n\n\r\n").await, "9\r\ndata: 1\n\n\r\n");
    line.say(Say::Text(""));
    line.say(Say::Text("data: 22222222\n\n"));
    assert_eq!(line.hears("\n\n\r\n").await, "10\r\ndata: 22222222\n\n\r\n", "an empty frame is no end");
    line.say = None;
    assert_eq!(line.hears("0\r\n\r\n").await, "0\r\n\r\n");
    line.ask(WHOLE).await;
    assert!(line.hears("whole\r\n0\r\n\r\n").await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(!line.served.is_finished());
}

#[tokio::test]
async fn a_peer_that_says_more_wakes_it_once() {
    let mut line = Line::new(64 * 1024);
    line.ask(STREAM).await;
    line.hears("\r\n\r\n").await;
    let polls = line.polls.load(Ordering::Relaxed);
    for byte in ["G", "E", "T"] {
        line.ask(byte).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(line.polls.load(Ordering::Relaxed), polls + 1);
}

#[tokio::test]
async fn a_request_that_comes_early_is_answered_after_the_stream() {
    for early in [WHOLE.to_owned(), WHOLE.repeat(20)] {
        let mut line = Line::new(64 * 1024);
        line.ask(&format!("{STREAM}{early}")).await;
        line.say(Say::Text("data: 1\n\n"));
        line.say = None;
        let heard = line.hears("0\r\n\r\n").await;
        assert_eq!(heard, format!("{HEAD}9\r\ndata: 1\n\n\r\n0\r\n\r\n"));
        for _ in 0..early.len() / WHOLE.len() {
            assert!(line.hears("0\r\n\r\n").await.contains("whole"));
        }
    }
}

#[tokio::test]
async fn one_that_comes_in_the_middle_of_the_stream_is_too() {
    let mut line = Line::new(64 * 1024);
    line.ask(STREAM).await;
    line.hears("\r\n\r\n").await;
    let (begin, end) = WHOLE.split_at(7);
    line.ask(begin).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    line.say = None;
    assert_eq!(line.hears("0\r\n\r\n").await, "0\r\n\r\n");
    line.ask(end).await;
    assert!(line.hears("0\r\n\r\n").await.contains("whole"));
}

#[tokio::test]
async fn what_breaks_off_has_no_end() {
    let mut line = Line::new(64 * 1024);
    line.ask(STREAM).await;
    line.say(Say::Text("data: 1\n\n"));
    line.say(Say::Break);
    let heard = line.hears_all().await;
    assert!(heard.ends_with(b"9\r\ndata: 1\n\n\r\n"), "{}", String::from_utf8_lossy(&heard));
}

#[tokio::test]
async fn what_breaks_off_while_the_client_reads_nothing_ends_all_the_same() {
    let mut line = Line::new(64);
    line.ask(STREAM).await;
    line.say(Say::Much(1000));
    line.say(Say::Break);
    timeout(Duration::from_secs(5), &mut line.served).await.unwrap().unwrap();
    let heard = line.hears_all().await;
    assert!(!heard.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&heard));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_for_a_minute_is_left() {
    let mut line = Line::new(64);
    line.ask(STREAM).await;
    line.say(Say::Much(100_000));
    // One that takes a little now and then is not.
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(50)).await;
        line.peer.read_exact(&mut [0; 64]).await.unwrap();
    }
    assert!(!line.served.is_finished());
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert!(line.served.is_finished());
    assert!(line.say.as_ref().unwrap().is_closed(), "nothing is held of the server's");
}

/// hyper reads no more than it has room for of what was read too early: the rest comes before what the socket has.
#[tokio::test]
async fn nothing_is_lost_of_much_that_comes_early() {
    let (peer, io) = duplex(256 * 1024);
    let asked = Arc::new(Mutex::new(String::new()));
    let served = tokio::spawn({
        let asked = Arc::clone(&asked);
        async move {
            let (refusals, stopping) = (Refusals::default(), CancellationToken::new());
            let limits = Limits::from(ConnectionLimits::default());
            let terms = Terms { limits, stopping: &stopping, refusals: &refusals };
            let answer = |request: Request<Incoming>| {
                let asked = Arc::clone(&asked);
                async move {
                    let (parts, body) = request.into_parts();
                    let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
                    asked.lock().unwrap().push_str(&format!("{} {};", parts.uri.path(), body.len()));
                    let (_, said) = mpsc::unbounded_channel();
                    let mut response = Response::new(Told { said, polls: Arc::default(), is_broken: false });
                    response.extensions_mut().insert(Lasting { since: SINCE });
                    response
                }
            };
            serve_http1(io, answer, terms).await;
        }
    });
    let request = |number: usize, length: usize| {
        let body = "b".repeat(length);
        format!("POST /{number} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    let lengths: Vec<usize> = (0..200).map(|number| if number == 0 { 30_000 } else { number * 7 }).collect();
    let requests: String =
        lengths.iter().enumerate().map(|(number, length)| request(number, *length)).collect();
    let (mut near, mut far) = tokio::io::split(peer);
    tokio::spawn(async move {
        far.write_all(requests.as_bytes()).await.unwrap();
        far
    });
    let mut heard = Vec::new();
    while heard.windows(5).filter(|seen| seen == b"0\r\n\r\n").count() < lengths.len() {
        let mut more = [0; 4096];
        let read = timeout(Duration::from_secs(5), near.read(&mut more)).await.unwrap().unwrap();
        assert!(read > 0, "it ended after {}", asked.lock().unwrap());
        heard.extend_from_slice(&more[..read]);
    }
    let expected: String =
        lengths.iter().enumerate().map(|(number, length)| format!("/{number} {length};")).collect();
    assert_eq!(*asked.lock().unwrap(), expected);
    assert!(!served.is_finished());
}

#[tokio::test]
async fn a_client_that_goes_ends_the_stream() {
    let Line { mut peer, say, served, .. } = Line::new(64 * 1024);
    peer.write_all(STREAM.as_bytes()).await.unwrap();
    peer.read_u8().await.unwrap();
    drop(peer);
    timeout(Duration::from_secs(5), say.unwrap().closed()).await.unwrap();
    timeout(Duration::from_secs(5), served).await.unwrap().unwrap();
}

#[tokio::test]
async fn nothing_is_asked_of_the_server_while_the_client_does_not_read() {
    let mut line = Line::new(1024);
    for _ in 0..100 {
        line.say(Say::Much(8 * 1024));
    }
    line.say = None;
    line.ask(STREAM).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(line.polls.load(Ordering::Relaxed) <= 4);
    let heard = line.hears("\r\n0\r\n\r\n").await;
    assert_eq!(heard.matches("xx").count(), 100 * 4 * 1024);
}

/// hyper must have written what it has before its buffers go.
#[tokio::test]
async fn an_answer_before_it_is_written_whole() {
    for room in [16, 100, 300, 1000] {
        let mut line = Line::new(room);
        line.say(Say::Text("data: 1\n\n"));
        line.say = None;
        let asked = format!("{WHOLE}{WHOLE}{WHOLE}{STREAM}{WHOLE}");
        let (mut near, mut far) = tokio::io::split(line.peer);
        let asking = tokio::spawn(async move {
            far.write_all(asked.as_bytes()).await.unwrap();
            far
        });
        // The client reads nothing for a while.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut heard = Vec::new();
        while !heard.ends_with(b"0\r\n\r\n") || heard.windows(7).filter(|seen| seen == b"HTTP/1.").count() < 5
        {
            heard.push(timeout(Duration::from_secs(5), near.read_u8()).await.unwrap().unwrap());
        }
        asking.await.unwrap();
        let heard = String::from_utf8(heard).unwrap();
        let answers: Vec<_> = heard.split("HTTP/1.1 200 OK\r\n").collect();
        for (at, answer) in answers.iter().enumerate().skip(1) {
            let end = if at == 4 { "9\r\ndata: 1\n\n\r\n0\r\n\r\n" } else { "5\r\nwhole\r\n0\r\n\r\n" };
            assert!(answer.ends_with(end), "{room} {at} {answer:?}");
        }
    }
}

#[tokio::test]
async fn after_a_stop_a_stream_goes_on_and_one_request_more_is_answered() {
    for asks in [false, true] {
        let mut line = Line::new(64 * 1024);
        line.ask(STREAM).await;
        line.hears("\r\n\r\n").await;
        line.stopping.cancel();
        line.say(Say::Text("data: 1\n\n"));
        line.say = None;
        assert_eq!(line.hears("0\r\n\r\n").await, "9\r\ndata: 1\n\n\r\n0\r\n\r\n");
        if asks {
            line.ask(WHOLE).await;
        }
        let rest = String::from_utf8(line.hears_all().await).unwrap();
        assert_eq!(rest.contains("\r\nconnection: close\r\n"), asks, "{rest}");
        line.served.await.unwrap();
    }
}

#[tokio::test]
async fn one_that_begins_after_a_stop_says_that_it_is_the_last() {
    let mut line = Line::new(64 * 1024);
    line.ask(WHOLE).await;
    line.hears("0\r\n\r\n").await;
    line.stopping.cancel();
    tokio::time::sleep(Duration::from_millis(20)).await;
    line.say = None;
    line.ask(STREAM).await;
    let heard = String::from_utf8(line.hears_all().await).unwrap();
    assert!(heard.contains("\r\nconnection: close\r\n"), "{heard}");
    assert!(heard.ends_with("\r\n\r\n0\r\n\r\n"));
}

/// hyper knows better what to do with these.
#[test]
fn only_requests_of_http_1_1_that_leave_the_connection_alone_are_held() {
    let request = |method: Method, version, connection: &[&str]| {
        let mut request = Request::builder().method(method).version(version);
        for value in connection {
            request = request.header(CONNECTION, *value);
        }
        may_be_held(&request.body(()).unwrap())
    };
    assert!(request(Method::GET, Version::HTTP_11, &[]));
    assert!(request(Method::POST, Version::HTTP_11, &["Keep-Alive"]));
    assert!(!request(Method::HEAD, Version::HTTP_11, &[]));
    assert!(!request(Method::GET, Version::HTTP_10, &["keep-alive"]));
    for connection in [&["close"][..], &["keep-alive, close"], &["keep-alive", "close"], &["upgrade"], &[""]]
    {
        assert!(!request(Method::GET, Version::HTTP_11, connection), "{connection:?}");
    }
}

#[tokio::test]
async fn a_client_that_wants_to_close_is_hyper_s() {
    let mut line = Line::new(64 * 1024);
    line.say(Say::Text("data: 1\n\n"));
    line.say = None;
    line.ask("GET /stream HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(line.hears_all().await.ends_with(b"data: 1\n\n\r\n0\r\n\r\n"));
    line.served.await.unwrap();
}

#[test]
fn an_answer_is_taken_once_and_only_when_hyper_has_written_everything() {
    let handover = Arc::new(Handover::<Told>::default());
    assert!(handover.take().is_none());
    let (_, said) = mpsc::unbounded_channel();
    let response = Response::new(Told { said, polls: Arc::default(), is_broken: false });
    handover.give(Held { response, since: SINCE, open: None });
    handover.is_behind.store(true, Ordering::Relaxed);
    assert!(handover.take().is_none(), "hyper has something left to write");
    handover.is_behind.store(false, Ordering::Relaxed);
    assert!(handover.take().is_some());
    assert!(handover.take().is_none());
}
