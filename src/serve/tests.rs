//! Real sockets and real workers, with a stand-in for the gateway.

use std::convert::Infallible;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use http::header::CONNECTION;
use http::{StatusCode, Version};
use http_body_util::{BodyExt, Either, Empty, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{AlertDescription, ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::certs;
use crate::clock::{Clock, SystemClock};
use crate::gateway::ConnectionLimits;

/// One frame, and then nothing for ever.
struct Endless(Option<Bytes>);

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(bytes) => Poll::Ready(Some(Ok(http_body::Frame::data(bytes)))),
            None => Poll::Pending,
        }
    }
}

/// What the tests share with the workers' applications.
#[derive(Clone)]
struct StandIn {
    limits: Limits,
    /// Whose connections are those of others.
    proxy: Option<IpAddr>,
    refusals: Arc<Refusals>,
    /// `/slow` has been asked for.
    entered: Arc<Notify>,
    /// Lets one `/slow` answer.
    finish: Arc<Notify>,
    /// How many `/slow` were given up.
    dropped: Arc<AtomicUsize>,
}

struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Application for StandIn {
    type Body = Either<Full<Bytes>, Endless>;

    async fn answer(&self, arrival: &Arrival, request: Request<Incoming>) -> Response<Self::Body> {
        let text = match request.uri().path() {
            "/stream" => return Response::new(Either::Right(Endless(Some("first".into())))),
            "/slow" => {
                let guard = Dropped(Arc::clone(&self.dropped));
                self.entered.notify_one();
                self.finish.notified().await;
                std::mem::forget(guard);
                "done".to_owned()
            }
            "/block" => {
                self.entered.notify_one();
                std::thread::sleep(Duration::from_millis(300));
                "unblocked".to_owned()
            }
            _ => {
                let Arrival { peer, tls, server_name } = arrival;
                format!("{:?} tls={tls} {server_name:?} {}", request.version(), peer.ip())
            }
        };
        Response::new(Either::Left(Full::from(text)))
    }

    fn https_location(&self, host: &str, path_and_query: &str) -> Option<String> {
        (host == "localhost").then(|| format!("https://{host}{path_and_query}"))
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn is_proxy(&self, peer: IpAddr) -> bool {
        self.proxy == Some(peer)
    }

    fn refusals(&self) -> &Refusals {
        &self.refusals
    }
}

struct Running {
    address: SocketAddr,
    redirect: SocketAddr,
    stand_in: StandIn,
    stop: CancellationToken,
    served: JoinHandle<Result<(), ServeError>>,
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn http1(&self) -> http1::SendRequest<Empty<Bytes>> {
        hyper1(self.connect().await).await
    }

    /// Stops, and says how long that took.
    async fn stop(self) -> Duration {
        let start = Instant::now();
        self.stop.cancel();
        self.served.await.unwrap().unwrap();
        start.elapsed()
    }
}

fn settings(listen: &str) -> Settings {
    Settings {
        listen: vec![listen.parse().unwrap()],
        redirect: vec!["127.0.0.1:0".parse().unwrap()],
        peers: Peers::Loopback,
        drain: Duration::from_secs(20),
        workers: 1,
    }
}

fn start(settings: Settings, tls: Option<certs::Tls>, limits: Limits) -> Running {
    start_before(None, settings, tls, limits)
}

fn start_before(
    proxy: Option<IpAddr>,
    settings: Settings,
    tls: Option<certs::Tls>,
    limits: Limits,
) -> Running {
    let listeners = Listeners::bind(&settings, &mut Passed::default()).unwrap();
    let address = listeners.addresses()[0];
    let redirect = listeners.bound.iter().find(|bound| bound.door == Door::Redirect).unwrap().address;
    let stop = CancellationToken::new();
    let stand_in = StandIn {
        limits,
        proxy,
        refusals: Arc::default(),
        entered: Arc::default(),
        finish: Arc::default(),
        dropped: Arc::default(),
    };
    let application = {
        let stand_in = stand_in.clone();
        move || stand_in.clone()
    };
    let stopped = stop.clone().cancelled_owned();
    let served = tokio::spawn(listeners.run((settings, tls), application, stopped));
    Running { address, redirect, stand_in, stop, served }
}

fn plain() -> Running {
    start(settings("127.0.0.1:0"), None, usual())
}

fn usual() -> Limits {
    ConnectionLimits::default().into()
}

/// The usual ones, but for these.
fn limited(change: impl FnOnce(&mut ConnectionLimits)) -> Limits {
    let mut limits = usual();
    change(&mut limits.configured);
    limits
}

fn patient_handshake() -> Limits {
    let mut limits = impatient();
    limits.configured.handshake = Duration::from_secs(10);
    limits
}

fn impatient() -> Limits {
    let short = Duration::from_millis(150);
    let configured =
        ConnectionLimits { handshake: short, head: short, idle: short * 2, ..usual().configured };
    Limits { configured, late: short }
}

/// A local CA's server and a client that trusts it.
struct Tls {
    directory: tempfile::TempDir,
    server: certs::Tls,
}

impl Tls {
    fn new(hosts: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        let settings = certs::Settings::LocalCa { directory: directory.path().into() };
        let server =
            certs::Certificates::load(&settings, &hosts, SystemClock.now()).unwrap().unwrap().tls(None);
        Self { directory, server }
    }

    fn start(&self, limits: Limits) -> Running {
        start(
            Settings { peers: Peers::Anybody, ..settings("127.0.0.1:0") },
            Some(self.server.clone()),
            limits,
        )
    }

    async fn connect(&self, to: &Running, name: &str, alpn: &[&[u8]]) -> io::Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(Arc::new(client(&self.directory.path().join("ca.pem"), alpn)));
        connector.connect(ServerName::try_from(name.to_owned()).unwrap(), to.connect().await).await
    }

    async fn http2(&self, to: &Running) -> http2::SendRequest<Empty<Bytes>> {
        let stream = self.connect(to, "localhost", &[b"h2"]).await.unwrap();
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }
}

fn client(ca: &Path, alpn: &[&[u8]]) -> ClientConfig {
    client_of(ca, alpn, rustls::DEFAULT_VERSIONS)
}

fn client_of(
    ca: &Path,
    alpn: &[&[u8]],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

async fn hyper1<I>(io: I) -> http1::SendRequest<Empty<Bytes>>
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn get(uri: &str) -> Request<Empty<Bytes>> {
    Request::get(uri).header("host", "localhost").body(Empty::new()).unwrap()
}

fn get2(path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("https://localhost{path}")).body(Empty::new()).unwrap()
}

async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Everything until the other end closes, which it must within seconds.
async fn rest<I: tokio::io::AsyncRead + Unpin>(io: &mut I) -> String {
    let mut bytes = Vec::new();
    // A reset is an end as well.
    let _ =
        timeout(Duration::from_secs(5), io.read_to_end(&mut bytes)).await.expect("the connection is closed");
    String::from_utf8_lossy(&bytes).into_owned()
}

fn alert(error: &io::Error) -> Option<AlertDescription> {
    if let rustls::Error::AlertReceived(alert) = error.get_ref()?.downcast_ref()? {
        Some(*alert)
    } else {
        None
    }
}

#[tokio::test]
async fn plain_http_is_answered_and_a_connection_is_kept() {
    let running = plain();
    let mut sender = running.http1().await;
    for _ in 0..2 {
        sender.ready().await.unwrap();
        let response = sender.send_request(get("/")).await.unwrap();
        assert_eq!(text(response).await, "HTTP/1.1 tls=false None 127.0.0.1");
    }
}

#[tokio::test]
async fn an_ipv4_peer_on_an_ipv6_socket_is_an_ipv4_peer() {
    let running = start(settings("[::]:0"), None, usual());
    let stream = TcpStream::connect(("127.0.0.1", running.address.port())).await.unwrap();
    let response = hyper1(stream).await.send_request(get("/")).await.unwrap();
    assert_eq!(text(response).await, "HTTP/1.1 tls=false None 127.0.0.1");
}

#[tokio::test]
async fn alpn_decides_the_http_version() {
    let tls = Tls::new(&["localhost"]);
    let running = tls.start(usual());
    let response = tls.http2(&running).await.send_request(get2("/")).await.unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    assert_eq!(text(response).await, "HTTP/2.0 tls=true Some(\"localhost\") 127.0.0.1");
    for alpn in [&[b"http/1.1".as_slice()][..], &[]] {
        let stream = tls.connect(&running, "LocalHost", alpn).await.unwrap();
        let response = hyper1(stream).await.send_request(get("/")).await.unwrap();
        assert_eq!(text(response).await, "HTTP/1.1 tls=true Some(\"localhost\") 127.0.0.1");
    }
    let refused = tls.connect(&running, "localhost", &[b"h3"]).await.unwrap_err();
    assert_eq!(alert(&refused), Some(AlertDescription::NoApplicationProtocol));
}

// P15
#[tokio::test]
async fn a_host_that_is_not_ours_gets_unrecognized_name_and_no_certificate() {
    let tls = Tls::new(&["localhost"]);
    let running = tls.start(usual());
    for name in ["other.example.com", "localhost.example.com", "127.0.0.1"] {
        let refused = tls.connect(&running, name, &[]).await.unwrap_err();
        assert_eq!(alert(&refused), Some(AlertDescription::UnrecognisedName), "{name}: {refused}");
    }
    assert!(tls.connect(&running, "localhost", &[]).await.is_ok());
}

#[tokio::test]
async fn an_address_that_is_configured_is_served_without_a_server_name() {
    let tls = Tls::new(&["localhost", "127.0.0.1"]);
    let running = tls.start(usual());
    let stream = tls.connect(&running, "127.0.0.1", &[]).await.unwrap();
    let response = hyper1(stream).await.send_request(get("/")).await.unwrap();
    assert_eq!(text(response).await, "HTTP/1.1 tls=true None 127.0.0.1");
}

#[tokio::test]
async fn sessions_are_resumed() {
    let tls = Tls::new(&["localhost"]);
    let running = tls.start(usual());
    let connector = TlsConnector::from(Arc::new(client(&tls.directory.path().join("ca.pem"), &[])));
    for kind in [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed] {
        let name = ServerName::try_from("localhost").unwrap();
        let stream = connector.connect(name, running.connect().await).await.unwrap();
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(kind));
        let response = hyper1(stream).await.send_request(get("/")).await.unwrap();
        text(response).await;
    }
}

#[tokio::test]
async fn a_key_exchange_that_outlives_quantum_computers_is_preferred_and_tls_1_2_is_spoken_too() {
    let tls = Tls::new(&["localhost"]);
    let running = tls.start(usual());
    let stream = tls.connect(&running, "localhost", &[]).await.unwrap();
    let group = stream.get_ref().1.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
    let old = client_of(&tls.directory.path().join("ca.pem"), &[], &[&rustls::version::TLS12]);
    let connector = TlsConnector::from(Arc::new(old));
    let stream = connector.connect("localhost".try_into().unwrap(), running.connect().await).await.unwrap();
    assert_eq!(stream.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_2));
}

#[tokio::test]
async fn a_silent_peer_is_closed_after_the_handshake_time() {
    let tls = Tls::new(&["localhost"]);
    let running = tls.start(limited(|limits| limits.handshake = Duration::from_millis(300)));
    for hello in [&b""[..], &[22, 3, 1, 1, 0, 1]] {
        let start = Instant::now();
        let mut stream = running.connect().await;
        stream.write_all(hello).await.unwrap();
        assert_eq!(rest(&mut stream).await, "");
        assert!(start.elapsed() >= Duration::from_millis(300));
    }
}

#[tokio::test]
async fn a_head_that_does_not_come_closes_the_connection() {
    let running = start(settings("127.0.0.1:0"), None, impatient());
    for head in ["", "GET / HTTP/1.1\r\nHost: loc"] {
        let mut stream = running.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let answered = rest(&mut stream).await;
        assert!(!answered.contains("200 OK"), "{answered}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_asks_nothing_more_is_closed() {
    let running = start(settings("127.0.0.1:0"), None, impatient());
    let mut stream = running.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn an_http2_peer_that_never_says_so_is_closed() {
    let tls = Tls::new(&["localhost"]);
    let running = tls.start(patient_handshake());
    for preface in ["", "PRI * HT"] {
        let mut stream = tls.connect(&running, "localhost", &[b"h2"]).await.unwrap();
        stream.write_all(preface.as_bytes()).await.unwrap();
        rest(&mut stream).await;
    }
}

#[tokio::test]
async fn an_http2_connection_is_closed_when_idle_and_not_while_a_stream_is_open() {
    let tls = Tls::new(&["localhost"]);
    let running = tls.start(patient_handshake());
    let mut sender = tls.http2(&running).await;
    let mut streaming = sender.send_request(get2("/stream")).await.unwrap();
    sleep(Duration::from_secs(2)).await;
    text(sender.send_request(get2("/")).await.unwrap()).await;
    assert_eq!(streaming.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    drop(streaming);
    sleep(Duration::from_secs(2)).await;
    assert!(sender.is_closed());
}

#[tokio::test]
async fn a_head_that_is_too_big_is_431() {
    let running = plain();
    let many = "x: y\r\n".repeat(101);
    let long = format!("x: {}\r\n", "y".repeat(70_000));
    for headers in [many, long] {
        let mut stream = running.connect().await;
        stream
            .write_all(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").as_bytes())
            .await
            .unwrap();
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
}

// P6
#[tokio::test]
async fn a_client_that_goes_away_takes_its_request_along() {
    let running = plain();
    let mut stream = running.connect().await;
    stream.write_all(b"POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    running.stand_in.entered.notified().await;
    drop(stream);
    timeout(Duration::from_secs(2), async {
        while running.stand_in.dropped.load(Ordering::SeqCst) == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_stop_lets_an_open_request_finish_and_refuses_new_connections() {
    let running = plain();
    let mut sender = running.http1().await;
    let open = tokio::spawn(async move { sender.send_request(get("/slow")).await.unwrap() });
    running.stand_in.entered.notified().await;
    running.stop.cancel();
    while TcpStream::connect(running.address).await.is_ok() {
        sleep(Duration::from_millis(5)).await;
    }
    assert!(!running.served.is_finished());
    running.stand_in.finish.notify_one();
    let response = open.await.unwrap();
    assert_eq!(response.headers()[CONNECTION], "close");
    assert_eq!(text(response).await, "done");
    running.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stop_lets_open_http2_streams_finish() {
    let tls = Tls::new(&["localhost"]);
    let running = tls.start(usual());
    let mut sender = tls.http2(&running).await;
    let open = sender.send_request(get2("/slow"));
    let open = tokio::spawn(open);
    running.stand_in.entered.notified().await;
    running.stop.cancel();
    sleep(Duration::from_millis(100)).await;
    running.stand_in.finish.notify_one();
    assert_eq!(text(open.await.unwrap().unwrap()).await, "done");
    running.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stop_closes_idle_connections_after_a_moment() {
    let tls = Tls::new(&["localhost"]);
    let late = Duration::from_millis(300);
    let running = tls.start(Limits { late, ..usual() });
    let stream = tls.connect(&running, "localhost", &[]).await.unwrap();
    let mut one = hyper1(stream).await;
    text(one.send_request(get("/")).await.unwrap()).await;
    let took = running.stop().await;
    assert!(took >= late && took < late * 3, "{took:?}");
    assert!(one.ready().await.is_err());
}

#[tokio::test]
async fn a_stop_closes_idle_http2_connections_at_once() {
    let tls = Tls::new(&["localhost"]);
    let running = tls.start(Limits { late: Duration::from_hours(1), ..usual() });
    let mut two = tls.http2(&running).await;
    text(two.send_request(get2("/")).await.unwrap()).await;
    assert!(running.stop().await < Duration::from_millis(800));
    assert!(two.ready().await.is_err());
}

#[tokio::test]
async fn a_kept_connection_is_answered_once_more_after_a_stop() {
    let running = start(settings("127.0.0.1:0"), None, Limits { late: Duration::from_hours(1), ..usual() });
    let mut sender = running.http1().await;
    let response = sender.send_request(get("/")).await.unwrap();
    assert!(!response.headers().contains_key(CONNECTION));
    text(response).await;
    running.stop.cancel();
    sleep(Duration::from_millis(100)).await;
    let response = sender.send_request(get("/")).await.unwrap();
    assert_eq!(response.headers()[CONNECTION], "close");
    assert_eq!(text(response).await, "HTTP/1.1 tls=false None 127.0.0.1");
    assert!(sender.ready().await.is_err());
    timeout(Duration::from_secs(2), running.served).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn what_does_not_end_in_the_drain_time_is_cut_off_and_seen_to_be() {
    let drain = Duration::from_millis(300);
    let running = start(Settings { drain, ..settings("127.0.0.1:0") }, None, usual());
    let mut sender = running.http1().await;
    let mut response = sender.send_request(get("/stream")).await.unwrap();
    assert_eq!(response.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    let took = running.stop().await;
    assert!(took >= drain && took < drain * 5, "{took:?}");
    assert!(response.frame().await.unwrap().is_err(), "not a clean end");
}

#[tokio::test]
async fn a_connection_that_waited_in_the_queue_at_the_stop_is_served() {
    let running = plain();
    let mut busy = running.http1().await;
    let busy = tokio::spawn(async move { busy.send_request(get("/block")).await });
    running.stand_in.entered.notified().await;
    let mut waiting = running.connect().await;
    waiting.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    running.stop.cancel();
    let answer = rest(&mut waiting).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("connection: close"), "{answer}");
    assert_eq!(text(busy.await.unwrap().unwrap()).await, "unblocked");
    running.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn giving_up_waiting_for_the_drain_stops_the_workers_too() {
    let running = plain();
    text(running.http1().await.send_request(get("/")).await.unwrap()).await;
    running.served.abort();
    timeout(Duration::from_secs(2), async {
        while TcpStream::connect(running.address).await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn several_workers_share_one_port() {
    let running = start(Settings { workers: 3, ..settings("127.0.0.1:0") }, None, usual());
    let open =
        (0..30).map(|_| async { running.http1().await.send_request(get("/")).await.unwrap().status() });
    for answered in open {
        assert_eq!(answered.await, StatusCode::OK);
    }
    assert!(running.stop().await < Duration::from_secs(5));
}

/// The child of the next test: the limit is the process's.
#[tokio::test]
#[ignore = "run by the next test"]
async fn out_of_files() {
    let running = plain();
    let mut open = Vec::new();
    let refused = loop {
        match TcpStream::connect(running.address).await {
            Ok(stream) => open.push(stream),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.to_string(), "Too many open files (os error 24)");
    sleep(PATIENCE).await;
    drop(open);
    sleep(PATIENCE).await;
    let response = running.http1().await.send_request(get("/")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(running.stop().await < Duration::from_secs(5));
}

const PATIENCE: Duration = Duration::from_millis(200);

#[test]
fn too_many_open_files_are_outlived() {
    let child = std::process::Command::new("sh")
        .args(["-c", "ulimit -n 60; exec \"$0\" --exact serve::tests::out_of_files --ignored --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .output()
        .unwrap();
    let told = String::from_utf8(child.stdout).unwrap() + &String::from_utf8(child.stderr).unwrap();
    assert!(child.status.success() && told.contains("1 passed"), "{told}");
}

/// The machine's own address on the network it would reach the world by; no packet is sent.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").expect("a network beside loopback, which this test needs");
    socket.local_addr().unwrap().ip()
}

#[tokio::test]
async fn other_peers_are_closed_before_a_byte_is_read() {
    let address = own_address();
    let ask = async |peers: Peers| {
        let running = start(Settings { peers, ..settings("0.0.0.0:0") }, None, usual());
        let mut stream = TcpStream::connect((address, running.address.port())).await.unwrap();
        // The other end may have closed already.
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
        rest(&mut stream).await
    };
    assert_eq!(ask(Peers::Loopback).await, "");
    assert_eq!(ask(Peers::Networks(vec!["198.51.100.0/24".parse().unwrap()])).await, "");
    assert!(ask(Peers::Networks(vec![address.into()])).await.starts_with("HTTP/1.1 200 OK"));
    assert!(ask(Peers::Anybody).await.ends_with(&format!("tls=false None {address}")));
}

// X1
#[tokio::test]
async fn the_redirect_port_redirects_and_serves_nothing() {
    let running = plain();
    let ask = async |head: &str| {
        let mut stream = TcpStream::connect(running.redirect).await.unwrap();
        stream.write_all(format!("GET /mcp?x=1 HTTP/1.1\r\n{head}\r\n").as_bytes()).await.unwrap();
        rest(&mut stream).await
    };
    let redirected = ask("Host: localhost:80\r\n").await;
    assert!(redirected.starts_with("HTTP/1.1 308 Permanent Redirect\r\n"), "{redirected}");
    assert!(redirected.contains("location: https://localhost/mcp?x=1\r\n"), "{redirected}");
    let leaked = ask("Host: localhost\r\nAuthorization: Bearer x\r\n").await;
    assert!(leaked.starts_with("HTTP/1.1 400 Bad Request\r\n") && !leaked.contains("location:"), "{leaked}");
    assert!(ask("Host: other.example.com\r\n").await.starts_with("HTTP/1.1 404 Not Found\r\n"));
}

mod challenges;

async fn is_answered(running: &Running) -> bool {
    let mut stream = running.connect().await;
    drop(stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await);
    rest(&mut stream).await.starts_with("HTTP/1.1 200 OK")
}

#[tokio::test]
async fn a_proxy_has_as_many_connections_as_there_are_and_others_have_their_part() {
    let limits = limited(|limits| (limits.per_address, limits.total) = (1, 3));
    let loopback = Some(IpAddr::from([127, 0, 0, 1]));
    for (proxy, most, counts) in [(None, 1, [0, 1]), (loopback, 3, [1, 0])] {
        let running = start_before(proxy, settings("127.0.0.1:0"), None, limits);
        let mut held = Vec::new();
        for _ in 0..most {
            let mut sender = running.http1().await;
            text(sender.send_request(get("/")).await.unwrap()).await;
            held.push(sender);
        }
        assert!(!is_answered(&running).await, "{proxy:?}");
        let refused = running.stand_in.refusals.connections();
        assert_eq!([refused[1], refused[2]], [("total", counts[0]), ("per-address", counts[1])]);
        held.clear();
        let answered = async {
            while !is_answered(&running).await {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(5), answered).await.expect("who goes makes room");
    }
}
