use std::net::SocketAddr;

use bytes::Bytes;
use http::Method;
use http::uri::PathAndQuery;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::testing::{incoming, read_request};
use super::*;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn settings(urls: &[String]) -> Settings {
    Settings {
        replicas: urls.iter().map(|url| url.parse().unwrap()).collect(),
        connect_timeout: Duration::from_secs(2),
        first_byte_timeout: Some(Duration::from_secs(2)),
        probe: Probe { kind: ProbeKind::Off, every: Duration::from_secs(10) },
    }
}

/// An upstream of these replicas.
fn at(urls: &[String]) -> Upstream {
    Upstream::new("todo", &settings(urls), None)
}

fn url(listener: &TcpListener) -> String {
    format!("http://{}/mcp", listener.local_addr().unwrap())
}

/// An upstream of this one.
fn alone(listener: &TcpListener) -> Upstream {
    at(&[url(listener)])
}

impl Pool {
    /// Sends a request that is bound to nobody.
    async fn ask(
        &self,
        upstream: &Upstream,
        request: Box<Outgoing>,
    ) -> Result<Response<ResponseBody>, UpstreamError> {
        self.send(upstream, None, request).await.map(|answer| answer.response)
    }
}

async fn post(body: &str) -> Box<Outgoing> {
    Outgoing::new(Method::POST, PathAndQuery::from_static("/mcp"), incoming(body).await)
}

async fn text(response: Response<ResponseBody>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = alone(&listener);
    let connections = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut hosts = Vec::new();
        for _ in 0..20 {
            hosts.push(read_request(&mut tcp).await.unwrap());
            tcp.write_all(OK).await.unwrap();
        }
        hosts
    });
    let pool = Pool::new();
    for _ in 0..20 {
        assert_eq!(text(pool.ask(&upstream, post("{}").await).await.unwrap()).await, "ok");
    }
    let requests = connections.await.unwrap();
    assert!(requests[19].starts_with("POST /mcp HTTP/1.1\r\n"), "{}", requests[19]);
    assert!(requests[19].contains(&format!("host: {}\r\n", upstream.replicas()[0].name())));
}

// P7: the upstream has closed, and this process has not been told by its event loop.
#[tokio::test]
async fn a_connection_that_was_closed_right_before_a_post_costs_nothing_and_doubles_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = alone(&listener);
    let (close, mut to_close) = mpsc::unbounded_channel::<()>();
    let (closed, mut was_closed) = mpsc::unbounded_channel::<()>();
    let seen = std::sync::Arc::new(AtomicU32::new(0));
    let counter = std::sync::Arc::clone(&seen);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = listener.into_std().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let (mut tcp, _) = listener.accept().await.unwrap();
                read_request(&mut tcp).await.unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
                tcp.write_all(OK).await.unwrap();
                if to_close.recv().await.is_none() {
                    return;
                }
                drop(tcp);
                closed.send(()).unwrap();
            }
        });
    });
    let pool = Pool::new();
    let mut request = post("{}").await;
    for round in 1..=200 {
        let answer = pool.ask(&upstream, request).await.unwrap();
        assert_eq!(text(answer).await, "ok", "round {round}");
        assert_eq!(seen.load(Ordering::SeqCst), round);
        request = post("{}").await;
        close.send(()).unwrap();
        // Blocking on purpose: the event loop must not get the chance to see the connection end.
        while was_closed.try_recv().is_err() {
            std::thread::yield_now();
        }
    }
}

// P7
#[tokio::test]
async fn a_post_that_was_written_is_never_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = alone(&listener);
    let requests = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        read_request(&mut tcp).await.unwrap();
        tcp.write_all(OK).await.unwrap();
        read_request(&mut tcp).await.unwrap();
        drop(tcp);
        tokio::time::timeout(Duration::from_millis(300), listener.accept()).await.is_err()
    });
    let pool = Pool::new();
    text(pool.ask(&upstream, post("1").await).await.unwrap()).await;
    let error = pool.ask(&upstream, post("2").await).await.err().unwrap();
    assert!(matches!(error, UpstreamError::BrokeOff(_)), "{error:?}");
    assert!(requests.await.unwrap(), "it was sent a second time");
}

// P6
#[tokio::test]
async fn a_dropped_request_or_answer_closes_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = alone(&listener);
    let server = tokio::spawn(async move {
        let mut connections = 0;
        for half in [&b""[..], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"] {
            let (mut tcp, _) = listener.accept().await.unwrap();
            read_request(&mut tcp).await.unwrap();
            tcp.write_all(half).await.unwrap();
            let end = tokio::time::timeout(Duration::from_secs(2), tcp.read(&mut [0; 16])).await;
            assert!(matches!(end, Ok(Ok(0) | Err(_))), "still open: {end:?}");
            connections += 1;
        }
        connections
    });
    let pool = Pool::new();
    let unanswered =
        tokio::time::timeout(Duration::from_millis(100), pool.ask(&upstream, post("{}").await)).await;
    assert!(unanswered.is_err());
    let mut answer = pool.ask(&upstream, post("{}").await).await.unwrap();
    assert_eq!(answer.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "ok");
    drop(answer);
    assert_eq!(server.await.unwrap(), 2);
}

/// How long a connection stays open after its one answer, which `pool` got.
async fn idle_time(pool: Pool, keep: bool) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = alone(&listener);
    let server = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        read_request(&mut tcp).await.unwrap();
        tcp.write_all(OK).await.unwrap();
        let since = tokio::time::Instant::now();
        assert!(read_request(&mut tcp).await.is_none());
        since.elapsed()
    });
    text(pool.ask(&upstream, post("{}").await).await.unwrap()).await;
    let _kept = keep.then_some(pool);
    server.await.unwrap()
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_about_four_seconds() {
    let pool = Pool::new();
    let remembered = pool.idle.clone();
    let idle = idle_time(pool, true).await;
    assert!((Duration::from_millis(3900)..Duration::from_secs(7)).contains(&idle), "{idle:?}");
    assert_eq!(remembered.upstreams(), 0, "nothing is left of an upstream that a reload has taken away");
}

#[tokio::test]
async fn a_pool_that_is_gone_leaves_no_connection_open() {
    let idle = idle_time(Pool::new(), false).await;
    assert!(idle < Duration::from_secs(1), "{idle:?}");
}

#[tokio::test]
async fn an_upstream_that_is_away_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = alone(&listener);
    drop(listener);
    let error = Pool::new().ask(&upstream, post("{}").await).await.err().unwrap();
    assert!(matches!(error, UpstreamError::Unreachable(_)), "{error:?}");
}

// A listener whose queue is full lets connections wait.
#[tokio::test]
async fn an_upstream_that_does_not_accept_is_slow() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut queue = Vec::new();
    while let Ok(tcp) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        queue.push(tcp.unwrap());
    }
    let upstream = Settings {
        connect_timeout: Duration::from_millis(200),
        first_byte_timeout: None,
        ..settings(&[format!("http://{address}/mcp")])
    };
    let upstream = Upstream::new("todo", &upstream, None);
    let error = Pool::new().ask(&upstream, post("{}").await).await.err().unwrap();
    assert!(matches!(error, UpstreamError::ConnectTimeout), "{error:?}");
}

#[tokio::test]
async fn a_host_with_several_addresses_is_reached_at_the_one_that_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = at(&[url(&listener).replace("127.0.0.1", "localhost")]);
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        read_request(&mut tcp).await.unwrap();
        tcp.write_all(OK).await.unwrap();
    });
    assert_eq!(text(Pool::new().ask(&upstream, post("{}").await).await.unwrap()).await, "ok");
}

// A late 408 on an idle connection is not the answer to the next request.
#[tokio::test]
async fn what_an_upstream_says_unasked_answers_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = alone(&listener);
    let server = tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        read_request(&mut first).await.unwrap();
        first.write_all(OK).await.unwrap();
        first.write_all(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nlate").await.unwrap();
        let (mut second, _) = listener.accept().await.unwrap();
        read_request(&mut second).await.unwrap();
        second.write_all(OK).await.unwrap();
    });
    let pool = Pool::new();
    text(pool.ask(&upstream, post("1").await).await.unwrap()).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let answer = pool.ask(&upstream, post("2").await).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(text(answer).await, "ok");
    server.await.unwrap();
}

#[tokio::test]
async fn an_https_upstream_must_prove_its_name() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rustls_pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let server = rustls::ServerConfig::builder_with_provider(std::sync::Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let by_name = url(&listener).replace("http://127.0.0.1", "https://localhost");
    let upstream = at(std::slice::from_ref(&by_name));
    tokio::spawn(async move {
        let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(server));
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut tls) = acceptor.accept(tcp).await else { return };
                let mut some = [0; 1024];
                while tls.read(&mut some).await.is_ok_and(|count| count > 0) {
                    tls.write_all(OK).await.unwrap();
                }
            });
        }
    });
    let pool = Pool { connector: Connector::with_tls(client), ..Pool::new() };
    for _ in 0..3 {
        assert_eq!(text(pool.ask(&upstream, post("{}").await).await.unwrap()).await, "ok");
    }
    let by_address = at(&[by_name.replace("localhost", "127.0.0.1")]);
    let error = pool.ask(&by_address, post("{}").await).await.err().unwrap();
    assert!(matches!(error, UpstreamError::Unreachable(_)), "another name: {error:?}");
    let error = Pool::new().ask(&upstream, post("{}").await).await.err().unwrap();
    assert!(matches!(error, UpstreamError::Unreachable(_)), "not in the system's roots: {error:?}");
}
