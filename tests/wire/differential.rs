//! Thousands of odd requests, made of a seed: spellings of framing, hosts, targets and line ends in every combination, each
//! without a token, with a bad one and with a good one. What the server behind received is read by [`oracle`].
//!
//! `PORTCULLIS_CORPUS_SEED=N` makes another corpus.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{Client, call};
use crate::oracle;
use crate::process::{Place, plain};
use crate::recorder::{RESULT, Recorder};

const REQUESTS: u32 = 6_000;
/// At the same time: below what one address may have open.
const AT_ONCE: usize = 40;
const SEED: u64 = 20_261_121;

/// Numbers from a seed (Vigna's `SplitMix64`).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of them; the first half of the time.
    fn usually<'a>(&mut self, all: &[&'a str]) -> &'a str {
        if self.next().is_multiple_of(2) { all[0] } else { self.one_of(all) }
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[usize::try_from(self.next() % all.len() as u64).unwrap()]
    }

    fn in_a_hundred(&mut self, times: u64) -> bool {
        self.next() % 100 < times
    }
}

const METHODS: &[&str] =
    &["POST", "GET", "PUT", "DELETE", "HEAD", "OPTIONS", "post", "TRACE", "CONNECT", "BREW"];
const TARGETS: &[&str] = &[
    "/mcp",
    "/mcp/c",
    "/mcp?a=/../b",
    "/mcp/%20",
    "//mcp",
    "/mcp/../x",
    "/mcp/%2e%2e/x",
    "/mcp%2fx",
    "/mcp/..;/x",
    "/mcp#x",
    "/mcp\\x",
    "/mcp/%00",
    "/mcp/%0d%0aX: y",
    "*",
    "mcp",
    "http://{host}/mcp",
    "https://{host}/mcp",
    "{host}",
    "http://other.example/mcp",
    "/mcp/%",
];
const VERSIONS: &[&str] = &["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", ""];
const HOSTS: &[&str] = &[
    "Host: {host}",
    "Host:{host}",
    "host: {host} ",
    "Host: x@{host}",
    "Host: {host}:80",
    "Host: {host}/mcp",
    "Host: other.example",
    "Host: {host}\r\nHost: {host}",
    "Host: {host}\r\nHost: other.example",
    "Host :{host}",
    "Host:",
    "X-No-Host: 1",
    "Host: {host}, a",
];
/// `{length}` is the body's, `{more}` longer, `{less}` shorter.
const LENGTHS: &[&str] = &[
    "Content-Length: {length}",
    "content-length:{length}",
    "Content-Length: 0{length}",
    "Content-Length: {length} \t",
    "Content-Length: +{length}",
    "Content-Length: -1",
    "Content-Length: {length}, {length}",
    "Content-Length: {length}\r\nContent-Length: {length}",
    "Content-Length: {length}\r\nContent-Length: {less}",
    "Content-Length: {less}",
    "Content-Length: {more}",
    "Content-Length : {length}",
    "Content_Length: {less}",
    "Content-Length: 0x{length}",
    "Content-Length:",
    "Content-Length: 99999999999999999999",
    "X: y\r\n Content-Length: {length}",
    "X: y\rContent-Length: {length}",
    "Content-Length: {length}\0",
    "Content-\0Length: {length}",
    "Connection: Content-Length\r\nContent-Length: {length}",
];
const CODINGS: &[&str] = &[
    "Transfer-Encoding: chunked",
    "transfer-encoding:chunked",
    "Transfer-Encoding: \tchunked \t",
    "Transfer-Encoding: CHUNKED",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding:\x0bchunked",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding:",
    "X: y\r\n\tTransfer-Encoding: chunked",
    "X: y\nTransfer-Encoding: chunked",
    "X: y\rTransfer-Encoding: chunked",
    "Transfer_Encoding: chunked",
    "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
    "TE: chunked\r\nTransfer-Encoding: chunked",
];
/// Others that a server might heed.
const OTHERS: &[&str] = &[
    "X-Nothing: 1",
    "Expect: 100-continue",
    "Expect: everything",
    "Connection: close",
    "Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk",
    "Connection: Upgrade\r\nUpgrade: websocket",
    "X-User-Id: dev:root",
    "X_User_Id: dev:root",
    "X-HTTP-Method-Override: DELETE",
    "Trailer: X-User-Id",
    "X-A: \u{e4}",
    "X-A: b\x01",
    "X A: b",
    ": b",
    "X-A",
    "Origin: https://evil.example",
];
const ENDS: &[&str] = &["\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n"];
/// `{size}` and `{data}` are one chunk's.
const CHUNKS: &[&str] = &[
    "{size}\r\n{data}\r\n0\r\n\r\n",
    "{size};a=b\r\n{data}\r\n0\r\n\r\n",
    "0{size}\r\n{data}\r\n00\r\n\r\n",
    "{size} \r\n{data}\r\n0\r\n\r\n",
    "{size}\r\n{data}\r\n0\r\nX-User-Id: dev:root\r\n\r\n",
    "{size}\n{data}\n0\n\n",
    "0x{size}\r\n{data}\r\n0\r\n\r\n",
    "+{size}\r\n{data}\r\n0\r\n\r\n",
    "{size};a\nb\r\n{data}\r\n0\r\n\r\n",
    "{size}\r\n{data}0\r\n\r\n",
    "{size}\r\n{data}\r\n0\r\n",
    "10000000000000{size}\r\n{data}\r\n0\r\n\r\n",
    "{size}\r\n{data}\r\n0\r\n\r\n\r\n",
    "{size}\r{data}\r\n0\r\n\r\n",
    "fffffffffffffffff\r\n{data}",
    "\r\n{data}\r\n0\r\n\r\n",
    "0\r\n\r\n{data}",
];

/// By what right a request comes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Right {
    None,
    Bad,
    Good,
}

/// A request.
struct Odd {
    right: Right,
    bytes: Vec<u8>,
}

fn odd(number: u32, chance: &mut Chance, host: &str, bearer: &str) -> Odd {
    let right = [Right::None, Right::Bad, Right::Good][number as usize % 3];
    let id = format!("{right:?}-{number}-");
    let end = if chance.in_a_hundred(85) { "\r\n" } else { chance.one_of(ENDS) };
    let is_chunked = chance.in_a_hundred(50);
    // Half of them are odd in one way only: else the first of many oddities would hide the others.
    let odd_at = chance.next() % 8;
    let mut pick = |at: u64, all: &[&'static str]| -> String {
        let is_odd = odd_at == at || (odd_at >= 6 && chance.in_a_hundred(40));
        (if is_odd { chance.one_of(all) } else { all[0] }).to_owned()
    };
    let (method, target, version) = (pick(0, METHODS), pick(1, TARGETS), pick(0, VERSIONS));
    let mut lines = vec![format!("{method} {target} {version}"), pick(2, HOSTS), format!("X-Id: {id}")];
    let (length, coding, chunk, other) =
        (pick(3, LENGTHS), pick(3, CODINGS), pick(4, CHUNKS), pick(5, OTHERS));
    let smuggled = format!("GET /mcp/smuggled HTTP/1.1\r\nHost: {host}\r\nX-Id: {id}smuggled\r\n\r\n");
    let data = chance.usually(&["body of {id}", "{smuggled}", "0\r\n\r\n{smuggled}", ""]).to_owned();
    let data = data.replace("{smuggled}", &smuggled).replace("{id}", &id);
    let mut framing = if is_chunked { vec![coding.clone()] } else { vec![length.clone()] };
    if chance.in_a_hundred(25) {
        framing.push(if is_chunked { length } else { coding });
    }
    if chance.in_a_hundred(50) {
        framing.reverse();
    }
    lines.extend(framing);
    lines.push(other);
    match right {
        Right::None => {}
        Right::Bad => lines.push(format!("Authorization: {}x", bearer.replace('.', ".x"))),
        Right::Good => lines.push(format!("Authorization: {bearer}")),
    }
    let body = if is_chunked {
        chunk.replace("{size}", &format!("{:x}", data.len())).replace("{data}", &data)
    } else {
        data
    };
    let after = chance.usually(&["", "{smuggled}", "G", "\r\n{smuggled}"]).replace("{smuggled}", &smuggled);
    let text = lines.join(end) + end + end + &body + &after;
    let text = text
        .replace("{host}", host)
        .replace("{length}", &body.len().to_string())
        .replace("{more}", &(body.len() + 7).to_string())
        .replace("{less}", &body.len().saturating_sub(3).to_string());
    Odd { right, bytes: text.into_bytes() }
}

/// Sends it over a connection of its own; the statuses of what is answered.
async fn send(address: std::net::SocketAddr, bytes: &[u8]) -> Vec<u16> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    drop(stream.write_all(bytes).await);
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        // What is not whole is waited for, and nothing comes: the connection is closed here then.
        let patience = Duration::from_millis(if read.is_empty() { 400 } else { 40 });
        match timeout(patience, stream.read(&mut buffer)).await {
            Ok(Ok(count @ 1..)) => read.extend_from_slice(&buffer[..count]),
            Ok(_) | Err(_) => break,
        }
    }
    let text = String::from_utf8_lossy(&read).into_owned();
    let lines = text.split("HTTP/1.").skip(1);
    lines.filter_map(|line| line.get(2..5)?.parse().ok()).collect()
}

/// Sends all of a corpus; how often each status came, by right.
async fn send_all(odd: Vec<Odd>, address: std::net::SocketAddr) -> BTreeMap<(Right, u16), u32> {
    let (odd, next) = (Arc::new(odd), Arc::new(AtomicU32::new(0)));
    let senders: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (odd, next) = (Arc::clone(&odd), Arc::clone(&next));
            tokio::spawn(async move {
                let mut told = Vec::new();
                while let Some(one) = odd.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let statuses = send(address, &one.bytes).await;
                    told.extend(statuses.into_iter().map(|status| (one.right, status)));
                }
                told
            })
        })
        .collect();
    let mut all = BTreeMap::new();
    for sender in senders {
        for told in sender.await.unwrap() {
            *all.entry(told).or_default() += 1;
        }
    }
    all
}

#[tokio::test]
async fn of_thousands_of_odd_requests_none_arrives_without_a_token_twice_or_as_another() {
    // P14, R11
    let seed = std::env::var("PORTCULLIS_CORPUS_SEED").map_or(SEED, |seed| seed.parse().unwrap());
    println!("PORTCULLIS_CORPUS_SEED={seed}");
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let mut process = place.start(&plain(upstream.address, ""));
    let client = Client::plain(&place);
    let signed_in = client.sign_in("alice").await;
    let bearer = signed_in.bearer();
    let mut chance = Chance(seed);
    let corpus: Vec<Odd> =
        (0..REQUESTS).map(|number| odd(number, &mut chance, client.host(), &bearer)).collect();
    let told = send_all(corpus, client.address).await;
    // The gateway lives on.
    let mut last = call("POST", "/mcp", &signed_in);
    last.headers_mut().insert("x-id", "last-".parse().unwrap());
    let answer = client.send(last).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, RESULT));
    assert!(process.is_running() && !process.log().contains("panicked"), "{}", process.log());

    let received = upstream.received();
    // Ids that the gateway makes are random, and may have any word in them.
    let raw = String::from_utf8_lossy(&received.concat()).into_owned();
    let raw: Vec<_> = raw.lines().filter(|line| !line.starts_with("x-request-id: ")).collect();
    let raw = raw.join("\n");
    for right in [Right::None, Right::Bad] {
        assert!(!raw.contains(&format!("{right:?}-")), "it arrived without a token, seed {seed}: {raw}");
    }
    let arrived = oracle::examine(&received).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    for one in &arrived {
        let body = String::from_utf8_lossy(&one.body);
        // A length that is too short cuts the body, and with it the id in it.
        let named = body.match_indices("Good-").map(|(at, _)| &body[at..]);
        let is_own = named.into_iter().all(|text| text.starts_with(&one.id) || one.id.starts_with(text));
        assert!(one.id.ends_with('-') && is_own, "{one:?}, seed {seed}");
    }
    // Else it would prove little: many pass, and many do not.
    let good = REQUESTS as usize / 3;
    assert!((good / 5..good * 9 / 10).contains(&arrived.len()), "{} of {good}: {told:?}", arrived.len());
    for (right, status) in told.keys() {
        let is_admitted = matches!(status, 200..=299) && *right != Right::Good;
        assert!(!is_admitted || *status == 204, "{right:?}: {told:?}, seed {seed}");
    }
    println!("{} of {good} arrived; answers: {told:?}", arrived.len());
}
