//! Customers who never ask twice: whatever the gateway does meanwhile, every request of theirs is answered, and reached the
//! server behind once.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::Request;
use hyper::client::conn::http2;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::{Body, Client, SignedIn, http2_on, trusting};
use crate::process::Place;
use crate::recorder::Recorder;

/// How long an answer, or a connection, may take: longer than anything that is waited for in the tests.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    next: AtomicU64,
    stop: AtomicBool,
    failures: Mutex<Vec<String>>,
    answered: Mutex<Vec<u64>>,
    connections: AtomicU64,
    /// The longest that anybody waited, in microseconds.
    longest: AtomicU64,
}

/// Customers at work.
pub(crate) struct Load {
    tally: Arc<Tally>,
    customers: JoinSet<()>,
}

/// Everything that a customer needs.
struct Customer {
    client: Client,
    bearer: String,
    tls: [Arc<ClientConfig>; 2],
    tally: Arc<Tally>,
}

/// The figures of a load that has ended well.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) requests: usize,
    pub(crate) connections: u64,
    pub(crate) longest: Duration,
}

impl Load {
    /// Customers over kept HTTP/1.1 connections and over HTTP/2 connections, each pausing for a moment between requests.
    pub(crate) fn start(place: &Place, signed_in: &SignedIn, (http1, http2): (u64, u64)) -> Self {
        let ca = place.folder().join("ca/ca.pem");
        let customer = Arc::new(Customer {
            client: Client::secure(place),
            bearer: signed_in.bearer(),
            tls: [b"http/1.1".as_slice(), b"h2"].map(|protocol| Arc::new(trusting(&ca, &[protocol]))),
            tally: Arc::default(),
        });
        let mut customers = JoinSet::new();
        for number in 0..http1 {
            customers.spawn(Arc::clone(&customer).over_http1(number));
        }
        for _ in 0..http2 {
            customers.spawn(Arc::clone(&customer).over_http2());
        }
        Self { tally: Arc::clone(&customer.tally), customers }
    }

    /// Waits until `number` more requests were answered.
    pub(crate) async fn answers(&self, number: usize) {
        let answered = || self.tally.answered.lock().unwrap().len();
        let (before, started) = (answered(), Instant::now());
        while answered() < before + number {
            assert!(started.elapsed() < PATIENCE, "nothing is answered: {:?}", self.tally);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends, and fails the test unless every request was answered and came to `upstream` once.
    pub(crate) async fn end(mut self, upstream: &Recorder) -> Figures {
        self.tally.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.customers.join_next().await {
            ended.unwrap();
        }
        let failures = self.tally.failures.lock().unwrap();
        assert!(failures.is_empty(), "{} requests failed: {:#?}", failures.len(), failures);
        let mut seen: BTreeMap<String, u64> = BTreeMap::new();
        for request in upstream.requests() {
            *seen.entry(request.body).or_default() += 1;
        }
        let answered = self.tally.answered.lock().unwrap();
        assert_eq!(answered.len() as u64, self.tally.next.load(Ordering::Relaxed), "as many as were asked");
        for id in answered.iter() {
            assert_eq!(seen.get(&asked(*id)), Some(&1), "request {id} came so often");
        }
        Figures {
            requests: answered.len(),
            connections: self.tally.connections.load(Ordering::Relaxed),
            longest: Duration::from_micros(self.tally.longest.load(Ordering::Relaxed)),
        }
    }
}

/// The body of a request that there is once.
fn asked(id: u64) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list"}}"#)
}

impl Tally {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn one_more(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn outcome(&self, id: u64, since: Instant, status: Result<u16, String>) {
        let took = since.elapsed();
        self.longest.fetch_max(u64::try_from(took.as_micros()).unwrap(), Ordering::Relaxed);
        match status {
            Ok(200) => self.answered.lock().unwrap().push(id),
            other => self.failures.lock().unwrap().push(format!("request {id} after {took:?}: {other:?}")),
        }
    }
}

impl Customer {
    async fn connect(&self, protocol: usize) -> io::Result<TlsStream<TcpStream>> {
        self.tally.connections.fetch_add(1, Ordering::Relaxed);
        let tcp = TcpStream::connect(self.client.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::clone(&self.tls[protocol])).connect(name, tcp).await
    }

    /// One request after the other, as httpx or undici do it: a connection that is seen to be closed is not used, one that was
    /// used and breaks is a failure.
    async fn over_http1(self: Arc<Self>, number: u64) {
        let mut kept = None;
        while self.tally.goes_on() {
            let (id, since) = (self.tally.one_more(), Instant::now());
            let exchange = self.exchange(id, kept.take());
            let outcome = timeout(PATIENCE, exchange).await.map_err(|_| "no answer".to_owned());
            let outcome = outcome.and_then(|outcome| outcome.map_err(|error| error.to_string()));
            let status = outcome.map(|(status, connection)| {
                kept = connection;
                status
            });
            self.tally.outcome(id, since, status);
            // All phases of a drain are met by somebody.
            tokio::time::sleep(Duration::from_millis(5 + (number * 7 + id * 13) % 60)).await;
        }
    }

    /// The status, and the connection if it may be used again.
    async fn exchange(
        &self,
        id: u64,
        kept: Option<TlsStream<TcpStream>>,
    ) -> io::Result<(u16, Option<TlsStream<TcpStream>>)> {
        let mut io = match still_open(kept).await {
            Some(io) => io,
            None => self.connect(0).await?,
        };
        let (host, body) = (self.client.host(), asked(id));
        let request = format!(
            "POST /mcp HTTP/1.1\r\nHost: {host}\r\nAuthorization: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.bearer,
            body.len()
        );
        io.write_all(request.as_bytes()).await?;
        let head = head(&mut io).await?.to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
        io.read_exact(&mut vec![0; length.parse().unwrap()]).await?;
        let status = head[9..12].parse().unwrap();
        Ok((status, (!head.contains("\r\nconnection: close")).then_some(io)))
    }

    /// Three requests side by side, again and again, over one connection as long as it takes some.
    async fn over_http2(self: Arc<Self>) {
        let mut kept = None;
        let mut ids = Vec::new();
        while self.tally.goes_on() || !ids.is_empty() {
            let since = Instant::now();
            let mut sender = match kept.take() {
                Some(sender) => sender,
                None => match self.connect(1).await {
                    Ok(io) => http2_on(io).await,
                    Err(error) => return self.tally.failures.lock().unwrap().push(error.to_string()),
                },
            };
            // It has said that it takes no more.
            if sender.ready().await.is_err() {
                continue;
            }
            while ids.len() < 3 {
                ids.push(self.tally.one_more());
            }
            let [one, two, three] = [ids[0], ids[1], ids[2]].map(|id| self.ask(sender.clone(), id, since));
            let left = tokio::join!(one, two, three);
            ids = [left.0, left.1, left.2].into_iter().flatten().collect();
            kept = ids.is_empty().then_some(sender);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks, and hands back what the other end has not taken up.
    async fn ask(&self, mut sender: http2::SendRequest<Body>, id: u64, since: Instant) -> Option<u64> {
        let request = Request::post(format!("{}/mcp", self.client.issuer))
            .header("authorization", &self.bearer)
            .header("content-type", "application/json")
            .body(Body::from(asked(id)))
            .unwrap();
        let status = match timeout(PATIENCE, sender.try_send_request(request)).await {
            Err(_) => Err("no answer".to_owned()),
            Ok(Ok(response)) => Ok(response.status().as_u16()),
            Ok(Err(mut refused)) => match refused.take_message() {
                Some(_) => return Some(id),
                None => match format!("{:?}", refused.into_error()) {
                    // RFC 9113 §6.8: not processed. If it was after all, it is seen twice.
                    gone if gone.contains("GoAway") && gone.contains("NO_ERROR, Remote") => return Some(id),
                    failure => Err(failure),
                },
            },
        };
        self.tally.outcome(id, since, status);
        None
    }
}

/// None if the other end has closed it.
async fn still_open(kept: Option<TlsStream<TcpStream>>) -> Option<TlsStream<TcpStream>> {
    let mut io = kept?;
    timeout(Duration::ZERO, io.read(&mut [0])).await.is_err().then_some(io)
}

async fn head(io: &mut TlsStream<TcpStream>) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await?);
    }
    Ok(String::from_utf8(head).unwrap())
}
