//! Streams that stand for hours: the tests' clock is stopped while nothing is on the wire, and hours pass in no time.

use http_body_util::Empty;
use hyper::client::conn::http2 as http2_client;
use hyper::server::conn::http2;
use hyper_util::rt::TokioExecutor;

use super::*;

const HOUR: Duration = Duration::from_hours(1);
const MODERN: &str = "MCP-Protocol-Version: 2026-07-28\r\n";

fn listen() -> String {
    post(&format!("{MODERN}Mcp-Method: subscriptions/listen\r\n"))
}

/// A front whose tokens are good for five hours.
fn lasting(address: SocketAddr, change: impl FnOnce(&mut Service)) -> Front {
    Front::new(address, |service, claims| {
        claims.expires = NOW.after(5 * HOUR);
        change(service);
    })
}

/// Lets time pass while nothing is on the wire.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::sleep(time).await;
    tokio::time::resume();
}

async fn say(upstream: &mut TcpStream, text: &str) {
    upstream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await.unwrap();
}

/// What has come so far.
async fn heard(client: &mut TcpStream) -> String {
    let mut bytes = vec![0; 64 * 1024];
    let read = client.read(&mut bytes);
    let count = tokio::time::timeout(Duration::from_millis(100), read).await.map_or(0, Result::unwrap);
    String::from_utf8(bytes[..count].to_vec()).unwrap()
}

// P5: neither the first byte's time nor a body's pause is one of a stream.
#[tokio::test]
async fn a_quiet_stream_stands_as_long_as_its_token_and_no_longer() {
    for request in [get(""), listen()] {
        let (listener, address) = listener().await;
        let (mut client, mut upstream, _front) =
            under_way(lasting(address, |_| {}), &listener, &request, SSE).await;
        pass(5 * HOUR + Duration::from_secs(58)).await;
        say(&mut upstream, "data: 1\n\n").await;
        read_until(&mut client, "data: 1\n\n\r\n").await;
        pass(Duration::from_secs(3)).await;
        assert_eq!(ends(&mut client).await, "", "no last chunk");
        ends(&mut upstream).await;
    }
}

// P5
#[tokio::test]
async fn a_running_answer_may_be_quiet_for_a_day() {
    let (listener, address) = listener().await;
    let (mut client, mut upstream, front) =
        under_way(lasting(address, |_| {}), &listener, &post(""), SSE).await;
    pass(24 * HOUR).await;
    say(&mut upstream, "data: 1\n\n").await;
    read_until(&mut client, "data: 1\n\n\r\n").await;
    pass(24 * HOUR).await;
    front.revocations.insert(revocation());
    assert_eq!(ends(&mut client).await, "", "R14: but not once its grant is revoked");
}

/// The front over HTTP/2, in memory.
async fn http2_on(front: Arc<Front>) -> http2_client::SendRequest<Empty<Bytes>> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let service = service_fn(move |request| {
        let front = Arc::clone(&front);
        async move { Ok::<_, Infallible>(front.answer(request).await) }
    });
    tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(far), service));
    let (sender, connection) =
        http2_client::handshake(TokioExecutor::new(), TokioIo::new(near)).await.unwrap();
    tokio::spawn(connection);
    sender
}

// P5, R14
#[tokio::test]
async fn over_http2_a_stream_stands_and_ends_the_same() {
    for is_revoked in [false, true] {
        let (listener, address) = listener().await;
        let front = Arc::new(lasting(address, |service| service.settings.sse_keep_alive = Some(HOUR)));
        let mut http2 = http2_on(Arc::clone(&front)).await;
        let request = Request::get("https://todo.example.com/mcp").body(Empty::new()).unwrap();
        let asked = tokio::spawn(http2.send_request(request));
        let (mut upstream, _) = listener.accept().await.unwrap();
        read_request(&mut upstream).await.unwrap();
        upstream.write_all(SSE.as_bytes()).await.unwrap();
        let mut answer = asked.await.unwrap().unwrap();
        pass(HOUR * 9 / 2).await;
        say(&mut upstream, "data: 1\n\n").await;
        for expected in [":\n\n", ":\n\n", ":\n\n", ":\n\n", "data: 1\n\n"] {
            assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), expected);
        }
        if is_revoked {
            front.revocations.insert(revocation());
        } else {
            pass(HOUR / 2 + Duration::from_secs(61)).await;
        }
        assert!(answer.frame().await.unwrap().is_err(), "a reset, no end");
        ends(&mut upstream).await;
    }
}

#[tokio::test]
async fn a_quiet_stream_is_kept_alive_where_that_is_configured() {
    let (listener, address) = listener().await;
    let kept = lasting(address, |service| service.settings.sse_keep_alive = Some(Duration::from_secs(15)));
    let (mut client, mut upstream, front) = under_way(kept, &listener, &get(""), SSE).await;
    let comment = "3\r\n:\n\n\r\n";
    pass(Duration::from_secs(50)).await;
    assert_eq!(heard(&mut client).await, comment.repeat(3));
    // The half of an event, and however long the other half takes.
    say(&mut upstream, "data: 1\n").await;
    assert_eq!(heard(&mut client).await, "8\r\ndata: 1\n\r\n");
    pass(HOUR).await;
    assert_eq!(heard(&mut client).await, "");
    say(&mut upstream, "\n").await;
    assert_eq!(heard(&mut client).await, "1\r\n\n\r\n");
    pass(Duration::from_secs(16)).await;
    assert_eq!(heard(&mut client).await, comment);
    // The access line counts what went over the wire.
    say(&mut upstream, "").await;
    assert_eq!(ends(&mut client).await, "0\r\n\r\n");
    assert_eq!(*front.finished.lock().unwrap(), [(4 * 3 + 9, true)]);
}

#[tokio::test]
async fn nothing_is_written_into_a_quiet_stream_where_nothing_is_configured() {
    let (listener, address) = listener().await;
    let (mut client, _upstream, _front) = under_way(lasting(address, |_| {}), &listener, &get(""), SSE).await;
    pass(4 * HOUR).await;
    assert_eq!(heard(&mut client).await, "");
}

// P6, R14: comments hide nothing.
#[tokio::test]
async fn a_stream_that_is_kept_alive_ends_as_any_other() {
    for end in ["token", "grant", "client"] {
        let (listener, address) = listener().await;
        let kept = lasting(address, |service| service.settings.sse_keep_alive = Some(Duration::from_mins(1)));
        let (mut client, mut upstream, front) = under_way(kept, &listener, &get(""), SSE).await;
        pass(Duration::from_secs(90)).await;
        assert_eq!(heard(&mut client).await, "3\r\n:\n\n\r\n");
        match end {
            "token" => pass(5 * HOUR).await,
            "grant" => front.revocations.insert(revocation()),
            _ => {
                drop(client);
                ends(&mut upstream).await;
                continue;
            }
        }
        let rest = ends(&mut client).await;
        assert!(!rest.ends_with("0\r\n\r\n"), "no last chunk: {rest:?}");
        ends(&mut upstream).await;
    }
}

// P10
#[tokio::test]
async fn what_a_client_says_of_its_body_decides_no_more_than_how_long_a_modern_stream_lasts() {
    let life = |request: &str| {
        let (line, lines) = request.split_once("\r\n").unwrap();
        let headers = lines.split("\r\n").filter_map(|line| line.split_once(": "));
        let headers: Vec<_> = headers.map(|(name, value)| (name, value.parse().unwrap())).collect();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
        }
        life(&line.split(' ').next().unwrap().parse().unwrap(), &map)
    };
    assert_eq!(life(&listen()), Life::Token);
    let says = "Mcp-Method: subscriptions/listen\r\n";
    for lie in [
        says.to_owned(),
        format!("{says}MCP-Protocol-Version: 2025-11-25\r\n"),
        format!("{says}MCP-Protocol-Version: 9\r\n"),
        format!("{says}{MODERN}{MODERN}"),
        format!("{says}{says}{MODERN}"),
        format!("{says}Mcp-Method: tools/call\r\n{MODERN}"),
        format!("Mcp-Method: Subscriptions/Listen\r\n{MODERN}"),
        format!("Mcp-Name: subscriptions/listen\r\n{MODERN}"),
    ] {
        assert_eq!(life(&post(&lie)), Life::Answer, "{lie}");
    }
    assert_eq!(life(&get(&format!("Mcp-Method: tools/call\r\n{MODERN}"))), Life::Token, "a GET is one");
}

// P12
#[tokio::test]
async fn no_cache_on_the_way_may_share_what_was_asked_for_with_a_token() {
    const SHARED: &str = "HTTP/1.1 200 OK\r\nCache-Control: public, max-age=60\r\nCDN-Cache-Control: max-age=600\r\n\
                          Content-Length: 2\r\n\r\n{}";
    let (address, _requests) = upstream(SHARED).await;
    let (front, _) = Front::new(address, |_, _| {}).listen().await;
    let answer = ask(front, &get("")).await;
    assert_eq!(header(&answer, "cache-control"), Some("max-age=60, private"));
    assert_eq!(header(&answer, "cdn-cache-control"), None);
    let (public, _) = Front::new(address, |service, _| service.settings.public = true).listen().await;
    let answer = ask(public, &get("")).await;
    assert_eq!(header(&answer, "cache-control"), Some("public, max-age=60"), "anybody may ask anyway");
    assert_eq!(header(&answer, "cdn-cache-control"), Some("max-age=600"));
    for kept in ["private, max-age=60", "no-store"] {
        let answer = format!("HTTP/1.1 200 OK\r\nCache-Control: {kept}\r\nContent-Length: 2\r\n\r\n{{}}");
        let (address, _requests) = upstream(Box::leak(answer.into_boxed_str())).await;
        let (front, _) = Front::new(address, |_, _| {}).listen().await;
        assert_eq!(header(&ask(front, &get("")).await, "cache-control"), Some(kept));
    }
}

// P12: the body's `cacheScope` is between the server and the client, who read it; every request goes to the server.
#[tokio::test]
async fn nothing_is_answered_from_a_cache_of_ours() {
    const FRESH: &str = "HTTP/1.1 200 OK\r\nCache-Control: public, max-age=600\r\nETag: \"1\"\r\nContent-Length: 60\r\n\r\n\
                         {\"result\":{\"ttlMs\":600000,\"cacheScope\":\"public\",\"tools\":[]}}";
    let (address, mut requests) = upstream(FRESH).await;
    let (front, _) = Front::new(address, |_, _| {}).listen().await;
    for asked in [get(""), get(""), post(""), post("")] {
        assert!(ask(front, &asked).await.ends_with("\"cacheScope\":\"public\",\"tools\":[]}}"));
        requests.try_recv().expect("the server was asked");
    }
}
