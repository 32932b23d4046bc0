//! The diagnostic server over real connections, request by request as the clients of both protocol eras send them.

#![cfg(feature = "echo")]
#![expect(
    clippy::unwrap_used,
    reason = "allow-unwrap-in-tests does not reach the helpers of an integration test"
)]

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use portcullis::echo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

const MODERN: &str = "2026-07-28";
const LEGACY: &str = "2025-11-25";
const SOON: Duration = Duration::from_secs(5);

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    running: JoinHandle<std::io::Result<()>>,
}

impl Server {
    /// A server whose clock stands at 2026-11-21T02:47:20Z.
    async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move { drop(stopped.await) };
        let running = tokio::spawn(echo::serve(listener, stopped, || 1_795_229_240));
        Self { address, stop, running }
    }

    async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(async move { drop(connection.await) });
        Client { sender, driver, host: self.address.to_string() }
    }
}

/// One connection; dropping it closes the socket.
struct Client {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
    host: String,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Client {
    async fn send(
        &mut self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Response<Incoming> {
        let mut request = Request::builder().method(method).uri(target);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", &self.host);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body)).unwrap();
        self.sender.ready().await.unwrap();
        timeout(SOON, self.sender.send_request(request)).await.expect("an answer in time").unwrap()
    }

    async fn post(&mut self, headers: &[(&str, &str)], message: &Value) -> Response<Incoming> {
        let mut all =
            vec![("accept", "application/json, text/event-stream"), ("content-type", "application/json")];
        all.extend(headers);
        self.send(Method::POST, echo::PATH, &all, message.to_string()).await
    }

    /// `initialize` and `notifications/initialized` as the SDKs send them; the session's id.
    async fn initialize(&mut self) -> String {
        let params = json!({
            "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "ts-v1", "version": "1"}
        });
        let answer = self.post(&[], &request(0, "initialize", &params)).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let session = answer.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        let result = result(answer).await;
        assert_eq!(result["protocolVersion"], LEGACY);
        assert_eq!(result["serverInfo"]["name"], "portcullis-echo");
        assert_eq!(result["capabilities"], json!({"tools": {}}));

        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let answer = self.post(&legacy(&session), &initialized).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        assert_eq!(body(answer).await, "");
        session
    }

    /// `tools/call` in the era without sessions.
    async fn call(&mut self, tool: &str, arguments: &Value, headers: &[(&str, &str)]) -> Response<Incoming> {
        let mut all = modern("tools/call").to_vec();
        all.push(("mcp-name", tool));
        all.extend(headers);
        let params = json!({"name": tool, "arguments": arguments, "_meta": meta()});
        self.post(&all, &request(2, "tools/call", &params)).await
    }
}

fn request(id: u64, method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

fn legacy(session: &str) -> [(&'static str, &str); 2] {
    [("mcp-protocol-version", LEGACY), ("mcp-session-id", session)]
}

fn modern(method: &str) -> [(&'static str, &str); 2] {
    [("mcp-protocol-version", MODERN), ("mcp-method", method)]
}

fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": {"name": "py", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {}
    })
}

async fn body(answer: Response<Incoming>) -> String {
    let collected = timeout(SOON, answer.into_body().collect()).await.expect("a body in time").unwrap();
    String::from_utf8(collected.to_bytes().to_vec()).unwrap()
}

/// The JSON-RPC messages of an answer, be it JSON or an event stream; a priming event carries none.
async fn messages(answer: Response<Incoming>) -> Vec<Value> {
    let stream = answer.headers()["content-type"] == "text/event-stream";
    let body = body(answer).await;
    if !stream {
        return vec![serde_json::from_str(&body).unwrap()];
    }
    let data = body.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim);
    data.filter(|data| !data.is_empty()).map(|data| serde_json::from_str(data).unwrap()).collect()
}

async fn result(answer: Response<Incoming>) -> Value {
    assert_eq!(answer.status(), StatusCode::OK);
    let mut messages = messages(answer).await;
    assert_eq!(messages.len(), 1, "{messages:?}");
    messages[0]["result"].take()
}

async fn refusal(answer: Response<Incoming>) -> String {
    let result = result(answer).await;
    assert_eq!(result["isError"], true, "{result}");
    result["content"][0]["text"].as_str().unwrap().to_owned()
}

fn progress(messages: &[Value]) -> Vec<&Value> {
    messages.iter().filter(|m| m["method"] == "notifications/progress").map(|m| &m["params"]).collect()
}

/// A call that answers nothing for five seconds, not even a head.
async fn slow_call(mut client: Client) {
    client.call("slow", &json!({"steps": 1, "delay_ms": 5000}), &[]).await;
}

fn alive_tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Waits, but less long than a slow call's step takes.
async fn tasks_reach(wanted: impl Fn(usize) -> bool) {
    let reached = async {
        while !wanted(alive_tasks()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let reached = timeout(Duration::from_secs(2), reached).await;
    reached.unwrap_or_else(|_| panic!("still {} tasks", alive_tasks()));
}

#[tokio::test]
async fn a_legacy_client_initializes_lists_calls_and_ends_its_session() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let session = client.initialize().await;

    let answer = client.post(&legacy(&session), &request(1, "tools/list", &json!({}))).await;
    let listed = result(answer).await;
    let names: Vec<&str> =
        listed["tools"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["echo", "headers", "slow", "time", "whoami"]);
    assert_eq!(listed["tools"][0]["annotations"]["readOnlyHint"], true);

    let mut headers = legacy(&session).to_vec();
    headers.extend([
        ("x-user-id", "github:583231"),
        ("x-user-name", "octocat"),
        ("x-user-email", "o@x.test"),
    ]);
    let call = request(2, "tools/call", &json!({"name": "whoami", "arguments": {}}));
    let result = result(client.post(&headers, &call).await).await;
    let identity = json!({"id": "github:583231", "name": "octocat", "email": "o@x.test"});
    assert_eq!(result["structuredContent"], identity);
    assert_eq!(result["isError"], false);
    let text = result["content"][0]["text"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), identity);

    let ended = client.send(Method::DELETE, echo::PATH, &legacy(&session), String::new()).await;
    assert_eq!(ended.status(), StatusCode::NO_CONTENT, "202 is a failure to the Python SDK 1.x");
    body(ended).await;
    let after = client.post(&legacy(&session), &call).await;
    assert_eq!(after.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_legacy_session_tells_each_requests_own_identity() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let session = client.initialize().await;
    let call = request(1, "tools/call", &json!({"name": "whoami", "arguments": {}}));
    for user in ["github:1", "github:2"] {
        let [version, id] = legacy(&session);
        let result = result(client.post(&[version, id, ("x-user-id", user)], &call).await).await;
        assert_eq!(result["structuredContent"], json!({"id": user, "name": null, "email": null}));
    }
}

#[tokio::test]
async fn a_legacy_client_sees_progress_before_the_result_of_a_slow_call() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let session = client.initialize().await;
    let params = json!({
        "name": "slow", "arguments": {"steps": 3, "delay_ms": 20}, "_meta": {"progressToken": "p1"}
    });
    let answer = client.post(&legacy(&session), &request(7, "tools/call", &params)).await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let messages = messages(answer).await;
    let steps: Vec<&Value> = progress(&messages).iter().map(|p| &p["progress"]).collect();
    assert_eq!(steps, [1.0, 2.0, 3.0]);
    assert_eq!(messages.len(), 4);
    assert_eq!(messages[3]["id"], 7);
    assert_eq!(messages[3]["result"]["structuredContent"], json!({"steps": 3, "delay_ms": 20}));
}

#[tokio::test]
async fn a_legacy_client_that_cancels_stops_its_slow_call() {
    let server = Server::start().await;
    let (mut client, mut other) = (server.connect().await, server.connect().await);
    let session = client.initialize().await;
    let idle = alive_tasks();
    let params = json!({"name": "slow", "arguments": {"steps": 1, "delay_ms": 5000}});
    let answer = client.post(&legacy(&session), &request(7, "tools/call", &params)).await;
    tasks_reach(|alive| alive > idle).await;

    let cancelled = json!({
        "jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7, "reason": "enough"}
    });
    let accepted = other.post(&legacy(&session), &cancelled).await;
    assert_eq!(accepted.status(), StatusCode::ACCEPTED);
    body(accepted).await;
    tasks_reach(|alive| alive <= idle).await;
    assert_eq!(messages(answer).await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_modern_client_discovers_and_lists_without_a_session() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let answer = client
        .post(&modern("server/discover"), &request(1, "server/discover", &json!({"_meta": meta()})))
        .await;
    assert!(!answer.headers().contains_key("mcp-session-id"));
    let discovered = result(answer).await;
    let versions = discovered["supportedVersions"].as_array().unwrap();
    assert!(versions.contains(&json!(MODERN)) && versions.contains(&json!(LEGACY)), "{versions:?}");
    assert_eq!(discovered["capabilities"], json!({"tools": {}}));

    let answer =
        client.post(&modern("tools/list"), &request(2, "tools/list", &json!({"_meta": meta()}))).await;
    let listed = result(answer).await;
    assert_eq!(listed["tools"].as_array().unwrap().len(), 5);
    assert_eq!(listed["resultType"], "complete");
}

#[tokio::test]
async fn a_modern_call_reaches_every_tool() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let answer = client.call("whoami", &json!({}), &[("x-user-id", "github:9")]).await;
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(result(answer).await["structuredContent"]["id"], "github:9");

    let answer = client.call("echo", &json!({"text": "grüße"}), &[]).await;
    assert_eq!(result(answer).await["structuredContent"], json!({"text": "grüße"}));

    let answer = client.call("time", &json!({}), &[]).await;
    assert_eq!(result(answer).await["structuredContent"], json!({"now": "2026-11-21T02:47:20Z"}));

    let answer = client.call("slow", &json!({"steps": 2, "delay_ms": 1}), &[]).await;
    assert_eq!(result(answer).await["structuredContent"], json!({"steps": 2, "delay_ms": 1}));
}

#[tokio::test]
async fn headers_shows_everything_that_arrived() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let sent = [("authorization", "Bearer leaked"), ("x-twice", "b"), ("cookie", "a=1"), ("x-twice", "a")];
    let result = result(client.call("headers", &json!({}), &sent).await).await;
    let seen: Vec<(&str, &str)> = result["structuredContent"]["headers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|header| (header["name"].as_str().unwrap(), header["value"].as_str().unwrap()))
        .collect();
    let length = seen.iter().find(|(name, _)| *name == "content-length").unwrap().1;
    assert_eq!(
        seen,
        [
            ("accept", "application/json, text/event-stream"),
            ("authorization", "Bearer leaked"),
            ("content-length", length),
            ("content-type", "application/json"),
            ("cookie", "a=1"),
            ("host", server.address.to_string().as_str()),
            ("mcp-method", "tools/call"),
            ("mcp-name", "headers"),
            ("mcp-protocol-version", MODERN),
            ("x-twice", "b"),
            ("x-twice", "a"),
        ]
    );
}

#[tokio::test]
async fn wrong_arguments_are_a_tool_error_that_names_them() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let cases = [
        ("echo", json!({}), "wrong arguments: missing field `text`"),
        ("echo", json!({"text": [1]}), "wrong arguments: text: invalid type: sequence, expected a string"),
        (
            "slow",
            json!({"steps": 101, "delay_ms": 0}),
            "wrong arguments: steps: 101 is too much, at most 100 is allowed",
        ),
        (
            "slow",
            json!({"steps": 1, "delay_ms": 5001}),
            "wrong arguments: delay_ms: 5001 is too much, at most 5000 is allowed",
        ),
        ("time", json!({"zone": 1}), "wrong arguments: zone: unknown field `zone`, there are no fields"),
    ];
    for (tool, arguments, text) in cases {
        assert_eq!(refusal(client.call(tool, &arguments, &[]).await).await, text);
    }
}

#[tokio::test]
async fn a_modern_request_whose_headers_contradict_its_body_is_refused() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let params = json!({"name": "whoami", "arguments": {}, "_meta": meta()});
    let call = request(2, "tools/call", &params);
    let cases: [&[(&str, &str)]; 5] = [
        &[("mcp-protocol-version", MODERN), ("mcp-method", "tools/list"), ("mcp-name", "whoami")],
        &[("mcp-protocol-version", MODERN), ("mcp-method", "tools/call"), ("mcp-name", "echo")],
        &[("mcp-protocol-version", MODERN), ("mcp-name", "whoami")],
        &[("mcp-protocol-version", MODERN), ("mcp-method", "tools/call")],
        &[("mcp-protocol-version", LEGACY), ("mcp-method", "tools/call"), ("mcp-name", "whoami")],
    ];
    for headers in cases {
        let answer = client.post(headers, &call).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{headers:?}");
        let error = messages(answer).await.remove(0);
        assert_eq!(error["error"]["code"], -32020, "{headers:?}: {error}");
        assert_eq!(error["id"], 2, "{headers:?}");
    }
}

#[tokio::test]
async fn a_modern_slow_call_streams_progress_as_it_happens() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let mut meta = meta();
    meta["progressToken"] = json!("p1");
    let params = json!({"name": "slow", "arguments": {"steps": 3, "delay_ms": 150}, "_meta": meta});
    let [version, method] = modern("tools/call");
    let began = Instant::now();
    let answer =
        client.post(&[version, method, ("mcp-name", "slow")], &request(5, "tools/call", &params)).await;
    assert!(began.elapsed() < Duration::from_millis(400), "the stream opens before the call is done");
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let messages = messages(answer).await;
    assert!(began.elapsed() >= Duration::from_millis(450));
    let progress = progress(&messages);
    assert_eq!(progress.len(), 3);
    assert_eq!(
        progress[1],
        &json!({"progressToken": "p1", "progress": 2.0, "total": 3.0, "message": "step 2 of 3"})
    );
    assert_eq!(messages[3]["result"]["structuredContent"], json!({"steps": 3, "delay_ms": 150}));
}

#[tokio::test]
async fn a_modern_client_that_goes_away_stops_its_slow_call() {
    let server = Server::start().await;
    let idle = alive_tasks();
    let client = server.connect().await;
    let waiting = tokio::spawn(slow_call(client));
    // More than the two halves of the connection and the waiting itself: the call is under way.
    tasks_reach(|alive| alive > idle + 3).await;
    waiting.abort();
    tasks_reach(|alive| alive <= idle).await;
}

#[tokio::test]
async fn only_loopback_names_and_origins_are_answered() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let discover = request(1, "server/discover", &json!({"_meta": meta()}));
    let [version, method] = modern("server/discover");
    for (name, value, status) in [
        ("host", "evil.example", StatusCode::FORBIDDEN),
        ("host", "127.0.0.1.evil.example:80", StatusCode::FORBIDDEN),
        ("host", "localhost:1", StatusCode::OK),
        ("host", "[::1]:1", StatusCode::OK),
        ("origin", "https://evil.example", StatusCode::FORBIDDEN),
        ("origin", "null", StatusCode::FORBIDDEN),
        ("origin", "http://localhost:6274", StatusCode::OK),
    ] {
        let answer = client.post(&[version, method, (name, value)], &discover).await;
        assert_eq!(answer.status(), status, "{name}: {value}");
        body(answer).await;
    }
}

#[tokio::test]
async fn in_a_container_it_answers_to_the_one_name_that_it_was_given_too() {
    let listener = TcpListener::bind(("0.0.0.0", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async move { drop(stopped.await) };
    let running = tokio::spawn(echo::serve_as("echo", listener, stopped, || 1_795_229_240));
    let server = Server { address: ([127, 0, 0, 1], port).into(), stop, running };
    let mut client = server.connect().await;
    let discover = request(1, "server/discover", &json!({"_meta": meta()}));
    let [version, method] = modern("server/discover");
    for (host, status) in [
        ("echo:3000", StatusCode::OK),
        ("echo", StatusCode::OK),
        ("localhost:1", StatusCode::OK),
        ("echo.evil.example", StatusCode::FORBIDDEN),
        ("evil.example", StatusCode::FORBIDDEN),
    ] {
        let answer = client.post(&[version, method, ("host", host)], &discover).await;
        assert_eq!(answer.status(), status, "{host}");
        body(answer).await;
    }
}

#[tokio::test]
async fn other_paths_are_not_found() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    for path in ["/", "/mcp/", "/MCP", "/mcp/x", "/.well-known/oauth-protected-resource"] {
        let answer = client.send(Method::GET, path, &[], String::new()).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(body(answer).await, "Not Found: the diagnostic MCP server is at /mcp\n");
    }
    let answer = client.send(Method::PUT, "/mcp?x=1", &[], String::new()).await;
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_stop_lets_a_call_finish_and_ends_idle_streams_cleanly() {
    let server = Server::start().await;
    let (mut listening, mut calling) = (server.connect().await, server.connect().await);
    let session = listening.initialize().await;
    let mut headers = legacy(&session).to_vec();
    headers.push(("accept", "text/event-stream"));
    let stream = listening.send(Method::GET, echo::PATH, &headers, String::new()).await;
    assert_eq!(stream.status(), StatusCode::OK);
    let call = tokio::spawn(async move {
        result(calling.call("slow", &json!({"steps": 1, "delay_ms": 400}), &[]).await).await
    });
    tokio::time::sleep(Duration::from_millis(100)).await;

    server.stop.send(()).unwrap();
    assert_eq!(call.await.unwrap()["structuredContent"]["steps"], 1);
    let rest = timeout(SOON, stream.into_body().collect()).await.expect("the stream ends");
    rest.expect("with its last chunk");
    timeout(SOON, server.running).await.expect("the server ends").unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn headers_are_those_of_the_request_and_not_of_the_session() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let session = client.initialize().await;
    let call = request(1, "tools/call", &json!({"name": "headers"}));
    let [version, id] = legacy(&session);
    let result = result(client.post(&[version, id, ("x-request-id", "r-1")], &call).await).await;
    let headers = result["structuredContent"]["headers"].as_array().unwrap();
    assert!(headers.contains(&json!({"name": "x-request-id", "value": "r-1"})));
    assert!(headers.contains(&json!({"name": "mcp-session-id", "value": session})));
}
