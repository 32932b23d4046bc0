use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::testing::{incoming, read_request};
use super::super::{BodyFault, Outgoing, UpstreamError};
use super::connection::{Connection, Io, Origin};
use super::conversation::{Failed, Reading, converse};
use super::framing::{Chunks, Framing};
use super::head::Head;

/// An answer, how its body ends, whether its connection stays, and what is left after its head.
type Taken = (Response<()>, Framing, bool, String);

fn head(method: &Method, text: &str) -> io::Result<Option<Taken>> {
    let mut buffer = BytesMut::from(text);
    let head = Head::take(&mut buffer, method)?;
    Ok(head
        .map(|head| (head.response, head.framing, head.keeps, String::from_utf8(buffer.to_vec()).unwrap())))
}

fn framed(method: &Method, lines: &str) -> (Framing, bool) {
    let (_, framing, keeps, _) = head(method, &format!("HTTP/1.1 {lines}\r\n\r\n")).unwrap().unwrap();
    (framing, keeps)
}

// RFC 9112 §6.3
#[test]
fn a_body_ends_where_its_head_says() {
    let post = |lines| framed(&Method::POST, lines);
    let chunks = || Framing::Chunked(Chunks::default());
    assert_eq!(post("200 OK\r\nContent-Length: 7"), (Framing::Length(7), true));
    assert_eq!(post("200\r\nContent-Length: 7\r\nContent-Length: 7"), (Framing::Length(7), true));
    assert_eq!(post("200 OK\r\nTransfer-Encoding: Chunked"), (chunks(), true));
    assert_eq!(post("200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 7"), (chunks(), false));
    assert_eq!(post("200 OK"), (Framing::UntilClose, false));
    assert_eq!(post("200 OK\r\nConnection: x, Close\r\nContent-Length: 7"), (Framing::Length(7), false));
    for bodiless in ["204 No Content\r\nContent-Length: 7", "304 Not Modified\r\nTransfer-Encoding: chunked"]
    {
        assert_eq!(post(bodiless), (Framing::Length(0), true), "{bodiless}");
    }
    assert_eq!(framed(&Method::HEAD, "200 OK\r\nContent-Length: 7"), (Framing::Length(0), true));
    let (_, framing, keeps, _) =
        head(&Method::GET, "HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\n").unwrap().unwrap();
    assert_eq!((framing, keeps), (Framing::Length(7), false));
}

#[test]
fn a_head_that_leaves_a_doubt_is_an_error() {
    for lines in [
        "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 8",
        "HTTP/1.1 200 OK\r\nContent-Length: 7, 7",
        "HTTP/1.1 200 OK\r\nContent-Length: +7",
        "HTTP/1.1 200 OK\r\nContent-Length: -7",
        "HTTP/1.1 200 OK\r\nContent-Length:",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "HTTP/1.1 200 OK\r\nContent-Length : 7",
        "HTTP/1.1 200 OK\r\nX: 1\r\n folded",
        "HTTP/1.1 20 OK",
        "HTTP/2.0 200 OK",
        "ICY 200 OK",
        "HTTP/1.1 200 OK\r\nX: a\0b",
    ] {
        assert!(head(&Method::GET, &format!("{lines}\r\n\r\n")).is_err(), "{lines:?}");
    }
    let many = "X: y\r\n".repeat(101);
    assert!(head(&Method::GET, &format!("HTTP/1.1 200 OK\r\n{many}\r\n")).is_err(), "too many headers");
    let long = "x".repeat(65 * 1024);
    assert!(head(&Method::GET, &format!("HTTP/1.1 200 OK\r\nX: {long}")).is_err(), "a head without end");
}

#[test]
fn interim_answers_are_read_over_but_not_a_change_of_protocol() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let (answer, _, _, left) = head(
        &Method::POST,
        &format!("{interim}HTTP/1.1 202 Accepted\r\nA: b\r\nContent-Length: 0\r\n\r\nleft"),
    )
    .unwrap()
    .unwrap();
    assert_eq!((answer.status().as_u16(), left.as_str()), (202, "left"));
    let names: HeaderMap = [("a", "b"), ("content-length", "0")]
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .into_iter()
        .collect();
    assert_eq!(*answer.headers(), names);
    assert!(head(&Method::POST, interim).unwrap().is_none(), "the answer is still to come");
    let (answer, framing, keeps, _) =
        head(&Method::GET, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nraw").unwrap().unwrap();
    assert_eq!((answer.status().as_u16(), framing, keeps), (101, Framing::Length(0), false));
}

#[test]
fn a_head_that_is_not_all_there_is_waited_for() {
    let text = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nEmpty:\r\n\r\n";
    for end in 0..text.len() {
        assert!(head(&Method::GET, &text[..end]).unwrap().is_none(), "{:?}", &text[..end]);
    }
    let (answer, ..) = head(&Method::GET, text).unwrap().unwrap();
    assert_eq!(answer.headers()["empty"], "");
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
}

/// A connection, and the upstream's end of it.
async fn connection() -> (Connection, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
    let origin = Origin { name: format!("http://{address}").into(), host: "up:1".parse().unwrap() };
    (Connection::new(origin, Io::Tcp(ours.unwrap())), theirs.unwrap().0)
}

async fn post(body: &str) -> Box<Outgoing> {
    Outgoing::new(Method::POST, "/mcp".parse().unwrap(), incoming(body).await)
}

fn finally(ended: Result<(Response<()>, Reading), Failed>) -> UpstreamError {
    match ended {
        Err(Failed::Finally(error)) => error,
        Err(Failed::Unsent(_, error)) => panic!("unsent: {error}"),
        Ok((response, _)) => panic!("{response:?}"),
    }
}

async fn rest(reading: &mut Reading) -> io::Result<Bytes> {
    let mut all = BytesMut::new();
    while let Some(piece) = std::future::poll_fn(|cx| reading.poll_data(cx)).await? {
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

#[tokio::test]
async fn an_answer_without_a_length_lasts_until_the_end_of_its_connection() {
    let (connection, mut upstream) = connection().await;
    let server = tokio::spawn(async move {
        read_request(&mut upstream).await.unwrap();
        upstream.write_all(b"HTTP/1.1 200 OK\r\n\r\nall ").await.unwrap();
        tokio::task::yield_now().await;
        upstream.write_all(b"of it").await.unwrap();
    });
    let (_, mut reading) = converse(connection, post("{}").await, None).await.ok().unwrap();
    assert_eq!(rest(&mut reading).await.unwrap(), "all of it");
    assert!(reading.into_connection().is_none());
    server.await.unwrap();
}

#[tokio::test]
async fn an_answer_that_ends_too_early_is_an_error() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
    ] {
        let (connection, mut upstream) = connection().await;
        tokio::spawn(async move {
            read_request(&mut upstream).await.unwrap();
            upstream.write_all(answer.as_bytes()).await.unwrap();
        });
        let (_, mut reading) = converse(connection, post("{}").await, None).await.ok().unwrap();
        let error = rest(&mut reading).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{answer:?}");
    }
}

// RFC 9112 §9.5: what comes after an answer belongs to none.
#[tokio::test]
async fn a_connection_is_not_kept_if_more_was_said_than_the_answer() {
    for (more, kept) in [("", true), ("HTTP/1.1 200 OK\r\n", false)] {
        let (connection, mut upstream) = connection().await;
        tokio::spawn(async move {
            read_request(&mut upstream).await.unwrap();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok{more}");
            upstream.write_all(answer.as_bytes()).await.unwrap();
            let _ended = upstream.read_u8().await;
        });
        let (_, mut reading) = converse(connection, post("{}").await, None).await.ok().unwrap();
        assert_eq!(reading.whole().unwrap(), "ok");
        assert_eq!(reading.into_connection().is_some(), kept, "{more:?}");
    }
}

// P7: the upstream has closed before anything was written, and once more after.
#[tokio::test]
async fn what_was_not_written_comes_back_whole_and_what_was_does_not() {
    let (connection, upstream) = connection().await;
    assert!(connection.is_usable());
    reset(upstream);
    // The reset has come once the connection says so.
    while connection.is_usable() {
        tokio::task::yield_now().await;
    }
    let Err(Failed::Unsent(unsent, _)) = converse(connection, post("hello").await, None).await else {
        panic!("it was sent")
    };
    let (connection, mut upstream) = self::connection().await;
    let server = tokio::spawn(async move { read_request(&mut upstream).await });
    let error = finally(converse(connection, unsent, None).await);
    assert!(matches!(error, UpstreamError::BrokeOff(_)), "{error:?}");
    let request = server.await.unwrap().unwrap();
    assert!(request.starts_with("POST /mcp HTTP/1.1\r\nhost: up:1\r\ncontent-length: 5\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\nhello"), "{request}");
}

/// Closes a socket with a reset.
fn reset(tcp: TcpStream) {
    socket2::SockRef::from(&tcp).set_linger(Some(Duration::ZERO)).unwrap();
    drop(tcp);
}

#[tokio::test]
async fn a_limit_holds_for_each_request_of_a_connection_by_itself() {
    let limit = std::time::Duration::from_millis(400);
    let (mut connection, mut upstream) = connection().await;
    for round in 0..3 {
        let answering = async {
            read_request(&mut upstream).await.unwrap();
            tokio::time::sleep(limit * 3 / 5).await;
            upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        };
        let (answer, ()) = tokio::join!(converse(connection, post("{}").await, Some(limit)), answering);
        let (_, mut reading) = answer.ok().expect("in time");
        assert!(reading.whole().is_some_and(|body| body.is_empty()), "round {round}");
        connection = reading.into_connection().unwrap();
    }
    let begun = tokio::time::Instant::now();
    let error = finally(converse(connection, post("{}").await, Some(limit)).await);
    assert!(matches!(error, UpstreamError::AnswerTimeout), "{error:?}");
    assert!(begun.elapsed() >= limit, "not at the end of an earlier one's: {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_body_larger_than_it_may_be_ends_the_request() {
    let (connection, mut upstream) = connection().await;
    let server = tokio::spawn(async move {
        let mut all = Vec::new();
        upstream.read_to_end(&mut all).await.map(|_| all).unwrap_or_default()
    });
    let body = incoming("0123456789").await.bounded(5, std::time::Duration::from_secs(5));
    let error =
        finally(converse(connection, Outgoing::new(Method::POST, "/".parse().unwrap(), body), None).await);
    assert!(matches!(error, UpstreamError::Body(BodyFault::TooLarge(5))), "{error:?}");
    assert!(!String::from_utf8_lossy(&server.await.unwrap()).contains('9'));
}

#[tokio::test]
async fn a_large_body_and_a_large_answer_pass_each_other() {
    const LENGTH: usize = 3_000_000;
    let (connection, mut upstream) = connection().await;
    let server = tokio::spawn(async move {
        // It answers before it has read the body, and ends when it has.
        let (mut reader, mut writer) = upstream.split();
        let reading = async {
            let (mut read, mut some) = (0, vec![0; 65_536]);
            while read < LENGTH {
                read += reader.read(&mut some).await.ok().filter(|count| *count > 0).expect("the rest");
            }
        };
        let writing = async {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
            writer.write_all(head.as_bytes()).await.unwrap();
            writer.write_all(&vec![b'y'; LENGTH - 1]).await.unwrap();
        };
        tokio::join!(reading, writing);
        writer.write_all(b"y").await.unwrap();
    });
    let (_, mut reading) = converse(connection, post(&"x".repeat(LENGTH)).await, None).await.ok().unwrap();
    let answer = rest(&mut reading).await.unwrap();
    assert!(answer.len() == LENGTH && answer.iter().all(|byte| *byte == b'y'));
    server.await.unwrap();
}
