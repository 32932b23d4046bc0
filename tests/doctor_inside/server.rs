//! Servers behind, as people have them: good ones, and ones with one thing wrong.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What a server is like.
#[derive(Clone, Debug)]
pub(crate) enum Mode {
    /// An MCP server at this path.
    Good(&'static str),
    /// One at `/mcp/`, which sends `/mcp` there.
    Redirects,
    /// One of the old transport, at `/sse` and `/messages/`.
    Sse,
    /// One that takes requests for this host only.
    OnlyFor(String),
    /// One that wants a login.
    Locked,
    /// One that thinks for so long.
    Slow(Duration),
    /// One that speaks this revision only, and lists it.
    Speaks(&'static str),
    /// One that chooses this revision, whatever is asked for.
    Chooses(&'static str),
    /// One whose bridge was started for another transport.
    Stateless,
    /// One that fails.
    Failing,
    /// One that has a web page for everybody.
    Page,
}

/// A server on a port of its own; it goes on until the test ends.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    mode: Arc<Mutex<Mode>>,
    asked: Arc<Mutex<Vec<String>>>,
}

struct Request {
    method: String,
    path: String,
    host: String,
    body: String,
}

impl Server {
    pub(crate) fn start(mode: Mode) -> Self {
        Self::at(([127, 0, 0, 1], 0).into(), mode)
    }

    /// One at this address.
    pub(crate) fn at(address: SocketAddr, mode: Mode) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, asked) = (Arc::new(Mutex::new(mode)), Arc::new(Mutex::new(Vec::new())));
        let (current, seen) = (Arc::clone(&mode), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mode = current.lock().unwrap().clone();
                let seen = Arc::clone(&seen);
                // A connection that breaks off is the other end's affair.
                thread::spawn(move || drop(serve(&stream.unwrap(), &mode, &seen)));
            }
        });
        Self { address, mode, asked }
    }

    pub(crate) fn becomes(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    /// The methods of all requests, and their paths.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(stream: &TcpStream, mode: &Mode, seen: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let Some(request) = read(stream)? else { return Ok(()) };
    seen.lock().unwrap().push(format!("{} {}", request.method, request.path));
    if let Mode::Slow(time) = mode {
        thread::sleep(*time);
    }
    let answer = answer(&request, mode);
    (&*stream).write_all(answer.as_bytes())
}

fn read(stream: &TcpStream) -> std::io::Result<Option<Request>> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length, mut host) = (String::new(), 0, String::new());
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut parts = line.split(' ').map(str::to_owned);
    let (method, path) = (parts.next().unwrap(), parts.next().unwrap_or_default());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "host" => value.clone_into(&mut host),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Request { method, path, host, body: String::from_utf8(body).unwrap() }))
}

fn answer(request: &Request, mode: &Mode) -> String {
    let path = request.path.as_str();
    match mode {
        Mode::Good(at) if path == *at => mcp(request, "2025-11-25"),
        Mode::Redirects if path == "/mcp" => {
            "HTTP/1.1 307 Temporary Redirect\r\nlocation: /mcp/\r\ncontent-length: 0\r\n\r\n".into()
        }
        Mode::Redirects if path == "/mcp/" => mcp(request, "2025-11-25"),
        Mode::Sse if path == "/sse" && request.method == "GET" => {
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\nevent: endpoint\ndata: \
             /messages/?session_id=1\n\n"
                .into()
        }
        Mode::Sse if path == "/sse" => status("405 Method Not Allowed", ""),
        Mode::OnlyFor(host) if *host != request.host => status("421 Misdirected Request", "Invalid Host header"),
        Mode::Locked => status("401 Unauthorized", ""),
        Mode::OnlyFor(_) | Mode::Slow(_) => mcp(request, "2025-11-25"),
        Mode::Speaks(revision) => revised(request, revision),
        Mode::Chooses(revision) => mcp(request, revision),
        Mode::Stateless => status("400 Bad Request", &error("Stateless HTTP transport not enabled", "")),
        Mode::Page => status("200 OK", "<!doctype html><p>Welcome"),
        Mode::Failing => status("500 Internal Server Error", "oh no"),
        Mode::Good(_) | Mode::Redirects | Mode::Sse => status("404 Not Found", "Not Found"),
    }
}

/// An MCP server with sessions and two tools.
fn mcp(request: &Request, revision: &str) -> String {
    if request.method == "DELETE" {
        return status("200 OK", "");
    }
    if request.body.contains("\"initialize\"") {
        let result = format!(
            r#"{{"protocolVersion":"{revision}","capabilities":{{"tools":{{}}}},"serverInfo":{{"name":"todo","version":"1.0"}}}}"#
        );
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
        return json("200 OK", &body).replacen("\r\n", "\r\nmcp-session-id: s-1\r\n", 1);
    }
    if request.body.contains("\"tools/list\"") {
        let body = r#"{"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"add"},{"name":"list"}]}}"#;
        return json("200 OK", body);
    }
    if request.body.contains("\"notifications/") {
        return status("202 Accepted", "");
    }
    json("400 Bad Request", &error("Bad Request: Server not initialized", ""))
}

/// One that refuses every revision but its own.
fn revised(request: &Request, revision: &str) -> String {
    if request.body.contains(revision) {
        return mcp(request, revision);
    }
    let data = format!(r#","data":{{"supported":["{revision}"],"requested":"2025-11-25"}}"#);
    json("200 OK", &error("Unsupported protocol version", &data))
}

fn error(message: &str, data: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":-32000,"message":"{message}"{data}}}}}"#)
}

fn json(line: &str, body: &str) -> String {
    status(line, body).replacen("\r\n", "\r\ncontent-type: application/json\r\n", 1)
}

fn status(line: &str, body: &str) -> String {
    format!("HTTP/1.1 {line}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}
