//! The end of a gateway: what is open may finish, for a while.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::client::{Client, SignedIn, call, http1_on, http2_on, piece, tls, whole};
use crate::process::{Place, Process, plain, secure};
use crate::recorder::{RESULT, Recorder};

async fn start(drain: &str) -> (Place, Recorder, Process, Client, SignedIn) {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let process = place.start(&plain(upstream.address, &format!("drain: {drain}")));
    let client = Client::plain(&place);
    let signed_in = client.sign_in("alice").await;
    (place, upstream, process, client, signed_in)
}

async fn refuses_connections(client: &Client) {
    let started = Instant::now();
    while TcpStream::connect(client.address).await.is_ok() {
        assert!(started.elapsed() < Duration::from_secs(2), "it still accepts connections");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_open_request_finishes_after_a_stop_and_no_new_one_begins() {
    for signal in ["TERM", "INT"] {
        let (_place, upstream, mut process, client, signed_in) = start("30s").await;
        let open = tokio::spawn({
            let (client, request) = (client.clone(), call("POST", "/mcp/slow", &signed_in));
            async move { client.send(request).await }
        });
        upstream.asked(1).await;
        process.signal(signal);
        refuses_connections(&client).await;
        assert!(process.is_running(), "{signal}");
        upstream.release();
        let answer = open.await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, RESULT));
        assert_eq!(answer.header("connection"), "close");
        let finished = Instant::now();
        let (status, log) = process.ended().await;
        assert_eq!(status, 0, "{signal}: {log}");
        assert!(finished.elapsed() < Duration::from_secs(2), "{signal}: {:?}", finished.elapsed());
        assert!(log.contains("stopping: no new connections") && log.contains("stopped"), "{log}");
        assert!(!log.contains("cut off"), "{log}");
        let lines: Vec<_> = log.lines().filter(|line| line.contains("path=\"/mcp/slow\"")).collect();
        assert!(matches!(lines[..], [line] if line.contains("status=200")), "{log}");
    }
}

#[tokio::test]
async fn a_stream_without_an_end_is_cut_at_the_deadline() {
    let (_place, _upstream, mut process, client, signed_in) = start("1s").await;
    let mut stream = client.open(call("GET", "/mcp/stream", &signed_in)).await;
    assert_eq!(piece(&mut stream).await.unwrap().unwrap(), "data: open\n\n");
    let stopped = Instant::now();
    process.signal("TERM");
    assert!(piece(&mut stream).await.unwrap().is_err(), "the client must not take it for the end");
    let (status, log) = process.ended().await;
    let took = stopped.elapsed();
    assert!(Duration::from_millis(900) < took && took < Duration::from_secs(3), "{took:?}");
    assert_eq!(status, 0, "{log}");
    assert!(log.contains("cut off: their requests did not end in time"), "{log}");
    let lines: Vec<_> = log.lines().filter(|line| line.contains("path=\"/mcp/stream\"")).collect();
    assert!(matches!(lines[..], [line] if line.contains("reason=\"cut_short\"")), "{log}");
}

#[tokio::test]
async fn connections_that_ask_nothing_do_not_hold_up_the_stop() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let mut process = place.start(&secure(upstream.address).replace("workers: 1", "workers: 2"));
    let client = Client::secure(&place);
    let signed_in = client.sign_in("alice").await;
    let silent = TcpStream::connect(place.address()).await.unwrap();
    let redirect = TcpStream::connect(("127.0.0.1", place.second)).await.unwrap();
    let shaken = tls(&place, "localhost", &[b"http/1.1"]).await.unwrap();
    let mut http1 = http1_on(tls(&place, "localhost", &[b"http/1.1"]).await.unwrap()).await;
    let asked = client.addressed(call("POST", "/mcp", &signed_in));
    assert_eq!(whole(http1.send_request(asked).await.unwrap()).await.status, 200);
    let mut http2 = http2_on(tls(&place, "localhost", &[b"h2"]).await.unwrap()).await;
    let mut asked = call("POST", "/mcp", &signed_in);
    *asked.uri_mut() = format!("{}/mcp", client.issuer).parse().unwrap();
    assert_eq!(whole(http2.send_request(asked.map(Into::into)).await.unwrap()).await.status, 200);
    let stopped = Instant::now();
    process.signal("TERM");
    let (status, log) = process.ended().await;
    assert_eq!(status, 0, "{log}");
    assert!(stopped.elapsed() < Duration::from_secs(3), "{:?}", stopped.elapsed());
    assert!(!log.contains("cut off"), "{log}");
    drop((silent, redirect, shaken));
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let (_place, _upstream, mut process, client, signed_in) = start("5m").await;
    let mut stream = client.open(call("GET", "/mcp/stream", &signed_in)).await;
    assert_eq!(piece(&mut stream).await.unwrap().unwrap(), "data: open\n\n");
    process.signal("TERM");
    refuses_connections(&client).await;
    assert!(process.is_running());
    let again = Instant::now();
    process.signal("TERM");
    let (status, log) = process.ended().await;
    assert_eq!(status, 130, "{log}");
    assert!(again.elapsed() < Duration::from_secs(1), "{:?}", again.elapsed());
    assert!(log.contains("stopped at once, open requests were cut"), "{log}");
}

#[tokio::test]
async fn what_was_stored_is_there_after_a_restart() {
    let (place, upstream, mut process, client, signed_in) = start("1s").await;
    process.signal("TERM");
    assert_eq!(process.ended().await.0, 0);
    let _again = place.start(&plain(upstream.address, ""));
    let answer = client.send(call("POST", "/mcp", &signed_in)).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, RESULT));
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", &signed_in.client),
        ("refresh_token", &signed_in.refresh),
    ];
    assert_eq!(client.post("/token", &[], &form).await.status, 200);
}
