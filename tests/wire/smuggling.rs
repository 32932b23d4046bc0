//! Requests that two readers could take for different ones: refused, or passed on as exactly one (RFC 9112 §11).

use tokio::io::AsyncWriteExt;

use crate::client::{Client, Raw, http2_on, raw, read_raw, tls, whole};
use crate::process::{Place, plain, secure};
use crate::recorder::{RESULT, Recorder};
use crate::support::rig::request;

/// What becomes of a request that carries a good token.
enum Fate {
    /// Refused before the guard looks at it, so without a token too.
    Refused(u16, &'static str),
    /// Passed on once, framed anew, with this body; the connection ends with the answer or stays.
    Once(&'static str, End),
    /// The body cannot be read: nothing whole reaches the server.
    Broken,
}

#[derive(PartialEq)]
enum End {
    Closes,
    Stays,
}

use End::{Closes, Stays};
use Fate::{Broken, Once, Refused};

/// `{host}` is the issuer's host, `{auth}` the line with the token or nothing, `{second}` a smuggled request.
const SECOND: &str = "GET /mcp/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";

const HYPER: &str = "";
const HOST: &str = "the request must name one host";
const FORM: &str = "the request's target must be a path";
const CODING: &str = "the only transfer coding understood is chunked, once";
const PATH: &str = "the path must be plain: no empty or dot segments, no encoded slashes";

/// Those that are about where a body ends.
#[rustfmt::skip]
const FRAMING: &[(&str, &str, Fate)] = &[
    ("CL and TE", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{second}", Once("", Closes)),
    ("TE and CL", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n{second}", Once("", Closes)),
    ("TE and a CL that ends in the chunk", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n17\r\nGET /mcp/x HTTP/1.1\r\n\r\n\r\n0\r\n\r\n", Once("GET /mcp/x HTTP/1.1\r\n\r\n", Closes)),
    ("TE and a CL that is no number", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Transfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n0\r\n\r\n{second}", Once("", Closes)),
    ("two equal CLs", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", Once("hello", Stays)),
    ("two different CLs", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello{second}", Refused(400, HYPER)),
    ("a list of CLs", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Content-Length: 5, 5\r\n\r\nhello{second}", Refused(400, HYPER)),
    ("a CL with a sign", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Content-Length: +5\r\n\r\nhello{second}", Refused(400, HYPER)),
    ("an endless CL", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Content-Length: 99999999999999999999\r\n\r\nhello{second}", Refused(400, HYPER)),
    ("TE: chunked, identity", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{second}", Refused(400, HYPER)),
    ("TE: xchunked", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Content-Length: 3\r\nTransfer-Encoding: xchunked\r\n\r\nabc{second}", Refused(400, HYPER)),
    ("TE: chunked, then TE: identity", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{second}", Refused(400, HYPER)),
    ("TE in HTTP/1.0", "POST /mcp HTTP/1.0\r\nHost: {host}\r\n{auth}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{second}", Refused(400, HYPER)),
    ("a TE without a value", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Transfer-Encoding:\r\n\r\n0\r\n\r\n{second}", Refused(400, HYPER)),
    ("TE: identity", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Content-Length: 3\r\nTransfer-Encoding: identity\r\n\r\nabc{second}", Refused(400, HYPER)),
    ("TE: \"chunked\"", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n{second}", Refused(400, HYPER)),
    ("TE: chunked;q=1", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n{second}", Refused(400, HYPER)),
    ("TE: gzip, chunked", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", Refused(501, CODING)),
    ("TE: identity, then TE: chunked", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused(501, CODING)),
    ("TE: chunked twice", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused(501, CODING)),
    ("TE: chunked, chunked", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", Refused(501, CODING)),
    ("a tab around chunked", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Transfer-Encoding:\tchunked\t\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Once("hello", Stays)),
    ("CHUNKED", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}transfer-ENCODING: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Once("hello", Stays)),
    ("a CL with minus", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Content-Length: -5\r\n\r\nhello{second}", Refused(400, HYPER)),
    ("a CL with a space within", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Content-Length: 5 5\r\n\r\nhello{second}", Refused(400, HYPER)),
    ("a CL in hex", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Content-Length: 0x5\r\n\r\nhello{second}", Refused(400, HYPER)),
    ("a CL without a value", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Content-Length:\r\n\r\nhello{second}", Refused(400, HYPER)),
    ("a space before the colon of CL", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Content-Length : 5\r\n\r\nhello{second}", Refused(400, HYPER)),
    ("a CL with zeros before and spaces around", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Content-Length: \t 005 \t\r\n\r\nhello", Once("hello", Stays)),
    ("a CL under another name", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Content_Length: 40\r\nContent-Length: 5\r\n\r\nhello", Once("hello", Stays)),
    ("a GET with a body", "GET /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Content-Length: 5\r\n\r\nhello", Once("hello", Stays)),
    ("no length and what looks like a body", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Once("", Stays)),
    ("an upgrade to h2c", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nContent-Length: 5\r\n\r\nhello", Once("hello", Stays)),
    ("an upgrade to h2c that Connection does not name", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nContent-Length: 5\r\n\r\nhello", Once("hello", Stays)),
    ("an upgrade to a websocket", "GET /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", Once("", Stays)),
    ("Connection names the token", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Connection: Authorization, X-User-Id, Content-Length, Host\r\nContent-Length: 5\r\n\r\nhello", Once("hello", Stays)),
    ("an unknown expectation", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Expect: everything\r\nContent-Length: 5\r\n\r\nhello", Once("hello", Stays)),
    ("empty lines before the request", "\r\n\r\nPOST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Content-Length: 5\r\n\r\nhello", Once("hello", Stays)),
    ("HTTP/1.2", "POST /mcp HTTP/1.2\r\nHost: {host}\r\n{auth}Content-Length: 5\r\n\r\nhello{second}", Refused(400, HYPER)),
    ("a version in small letters", "POST /mcp http/1.1\r\nHost: {host}\r\n{auth}Content-Length: 5\r\n\r\nhello{second}", Refused(400, HYPER)),
    ("two spaces in the first line", "POST  /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n{second}", Refused(400, HYPER)),
    ("a fold at the first header", "POST /mcp HTTP/1.1\r\n Host: {host}\r\n{auth}\r\n{second}", Refused(400, HYPER)),
    ("a NUL in a value", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}X-A: b\0c\r\n\r\n{second}", Refused(400, HYPER)),
    ("a NUL in a name", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}X-A\0: b\r\n\r\n{second}", Refused(400, HYPER)),
    ("a control character in a value", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}X-A: b\x01c\r\n\r\n{second}", Refused(400, HYPER)),
    ("DEL in a value", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}X-A: b\x7fc\r\n\r\n{second}", Refused(400, HYPER)),
    ("a space in a name", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}X A: b\r\n\r\n{second}", Refused(400, HYPER)),
    ("a parenthesis in a name", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}X(A: b\r\n\r\n{second}", Refused(400, HYPER)),
    ("a letter beyond ASCII in a name", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}X-\u{e4}: b\r\n\r\n{second}", Refused(400, HYPER)),
    ("a header without a name", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}: b\r\n\r\n{second}", Refused(400, HYPER)),
    ("a header without a colon", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}X-A\r\n\r\n{second}", Refused(400, HYPER)),
    ("HTTP/1.0", "POST /mcp HTTP/1.0\r\nHost: {host}\r\n{auth}Content-Length: 5\r\n\r\nhello{second}", Once("hello", Closes)),
    ("HTTP/0.9", "GET /mcp\r\n{second}", Refused(400, HYPER)),
    ("HTTP/2.0 without its preface", "GET /mcp HTTP/2.0\r\nHost: {host}\r\n{auth}\r\n{second}", Refused(400, HYPER)),
    ("a space before the colon of TE", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Content-Length: 3\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n{second}", Refused(400, HYPER)),
    ("a vertical tab before chunked", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n{second}", Refused(400, HYPER)),
    ("a folded line", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}X-A: b\r\n Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc{second}", Refused(400, HYPER)),
    ("a bare CR in a head", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}X-A: b\rTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc{second}", Refused(400, HYPER)),
    ("bare LFs", "POST /mcp HTTP/1.1\nHost: {host}\n{auth}Content-Length: 5\n\nhello", Once("hello", Stays)),
    ("a chunk's extension", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n", Once("hello", Stays)),
    ("trailers", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-User-Id: dev:root\r\nContent-Length: 9\r\n\r\n", Once("hello", Stays)),
    ("a chunk size with zeros before and a space after", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Transfer-Encoding: chunked\r\n\r\n0005 \r\nhello\r\n000\r\n\r\n", Once("hello", Stays)),
    ("a chunk size with a sign", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n{second}", Broken),
    ("a negative chunk size", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n{second}", Broken),
    ("a space before a chunk size", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Transfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n{second}", Broken),
    ("no chunk size", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Transfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n{second}", Broken),
    ("a bare CR after a chunk size", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Transfer-Encoding: chunked\r\n\r\n5\rhello\r\n0\r\n\r\n{second}", Broken),
    ("a folded trailer", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-A: b\r\n c\r\n\r\n{second}", Broken),
    ("bare LFs around chunks", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Transfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n{second}", Broken),
    ("a bare LF in a chunk's extension", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Transfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n{second}", Broken),
    ("a chunk size that is none", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n{second}", Broken),
    ("a chunk size that overflows", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n{second}", Broken),
    ("a chunk longer than its size", "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n{second}", Broken),
];

/// Those that are about which resource is meant.
#[rustfmt::skip]
const TARGETS: &[(&str, &str, Fate)] = &[
    ("two Hosts", "POST /mcp HTTP/1.1\r\nHost: {host}\r\nHost: other.example\r\n{auth}Content-Length: 0\r\n\r\n", Refused(400, HOST)),
    ("two equal Hosts", "POST /mcp HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n{auth}Content-Length: 0\r\n\r\n", Refused(400, HOST)),
    ("no Host", "POST /mcp HTTP/1.1\r\n{auth}Content-Length: 0\r\n\r\n", Refused(400, HOST)),
    ("an empty Host", "POST /mcp HTTP/1.1\r\nHost:\r\n{auth}Content-Length: 0\r\n\r\n", Refused(400, HOST)),
    ("a user in Host", "POST /mcp HTTP/1.1\r\nHost: x@{host}\r\n{auth}Content-Length: 0\r\n\r\n", Refused(400, HOST)),
    ("a list in Host", "POST /mcp HTTP/1.1\r\nHost: {host}, other.example\r\n{auth}Content-Length: 0\r\n\r\n", Refused(400, HOST)),
    ("a path in Host", "POST /mcp HTTP/1.1\r\nHost: {host}/mcp\r\n{auth}Content-Length: 0\r\n\r\n", Refused(400, HOST)),
    ("two ports in Host", "POST /mcp HTTP/1.1\r\nHost: {host}:80\r\n{auth}Content-Length: 0\r\n\r\n", Refused(400, HOST)),
    ("a Host beyond ASCII", "POST /mcp HTTP/1.1\r\nHost: l\u{f6}calhost\r\n{auth}Content-Length: 0\r\n\r\n", Refused(400, HOST)),
    ("the port 0", "POST /mcp HTTP/1.1\r\nHost: localhost:0\r\n{auth}Content-Length: 0\r\n\r\n", Refused(421, "this gateway does not serve the host")),
    ("no port", "POST /mcp HTTP/1.1\r\nHost: localhost\r\n{auth}Content-Length: 0\r\n\r\n", Refused(421, "this gateway does not serve the host")),
    ("a dot after Host", "POST /mcp HTTP/1.1\r\nHost: localhost.\r\n{auth}Content-Length: 0\r\n\r\n", Refused(421, "this gateway does not serve the host")),
    ("no Host in HTTP/1.0", "POST /mcp HTTP/1.0\r\n{auth}Content-Length: 0\r\n\r\n", Refused(400, HOST)),
    ("spaces around Host", "POST /mcp HTTP/1.1\r\nHost: \t {host} \r\n{auth}Content-Length: 0\r\n\r\n", Once("", Stays)),
    ("the absolute form", "POST http://{host}/mcp HTTP/1.1\r\nHost: {host}\r\n{auth}Content-Length: 0\r\n\r\n", Refused(400, FORM)),
    ("the absolute form with another Host", "POST http://{host}/mcp HTTP/1.1\r\nHost: other.example\r\n{auth}Content-Length: 0\r\n\r\n", Refused(400, FORM)),
    ("the absolute form of another server", "GET http://169.254.169.254/latest HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(400, FORM)),
    ("the absolute form by https", "GET https://{host}/mcp HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(400, FORM)),
    ("the absolute form with a user", "GET http://x@{host}/mcp HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(400, FORM)),
    ("the absolute form of another scheme", "GET ftp://{host}/mcp HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(400, FORM)),
    ("the authority form", "GET {host} HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(400, FORM)),
    ("connect in small letters", "connect /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(400, FORM)),
    ("TRACE", "TRACE /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(405, "this address answers")),
    ("trace in small letters", "trace /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(405, "this address answers")),
    ("CONNECT", "CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(400, FORM)),
    ("CONNECT with a path", "CONNECT /mcp HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(400, FORM)),
    ("an asterisk", "OPTIONS * HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(400, PATH)),
    ("an asterisk that is not for OPTIONS", "GET * HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(400, PATH)),
    ("a space in the path", "GET /mcp/a b HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(400, HYPER)),
    ("a tab in the path", "GET /mcp/a\tb HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(400, HYPER)),
    ("a NUL in the path", "GET /mcp/a\0b HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(400, HYPER)),
    ("a backslash", "GET /mcp\\..\\secret HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(400, PATH)),
    ("dots with a parameter", "GET /mcp/..;/secret HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(400, PATH)),
    ("dots at the end", "GET /mcp/.. HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(400, PATH)),
    ("one dot", "GET /mcp/./x HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(400, PATH)),
    ("an encoded end of line", "GET /mcp/%0d%0aX-A:%20b HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(400, PATH)),
    ("an escape that is none", "GET /mcp/%u002e%u002e/x HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(400, PATH)),
    ("half an escape", "GET /mcp/% HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(400, PATH)),
    ("another case", "GET /MCP HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(404, "")),
    ("an encoded letter of the path", "GET /%6dcp HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(404, "")),
    ("a well-known path below", "GET /mcp/.well-known/x HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(404, "there is no such document here")),
    ("dots in the query", "GET /mcp?a=/../b HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Once("", Stays)),
    ("a path without a slash", "GET mcp HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(400, "")),
    ("encoded dots", "GET /mcp/%2e%2e/secret HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(400, PATH)),
    ("half encoded dots", "GET /mcp/.%2E/secret HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(400, PATH)),
    ("dots", "GET /mcp/../secret HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(400, PATH)),
    ("two slashes", "GET //mcp HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(400, PATH)),
    ("two slashes within", "GET /mcp//secret HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(400, PATH)),
    ("an encoded slash", "GET /mcp%2fsecret HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(400, PATH)),
    ("an encoded backslash", "GET /mcp%5c..%5csecret HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(400, PATH)),
    ("an encoded NUL", "GET /mcp%00 HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Refused(400, PATH)),
    ("a fragment", "GET /mcp/x#/../secret HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n", Once("", Stays)),
];

struct Trial {
    client: Client,
    upstream: Recorder,
    bearer: String,
}

impl Trial {
    async fn send(&self, text: &str, auth: &str) -> Raw {
        self.upstream.forget();
        let text = text.replace("{second}", SECOND).replace("{auth}", auth);
        raw(self.client.address, &text.replace("{host}", self.client.host())).await
    }

    /// With the token.
    async fn admitted(&self, name: &str, text: &str, fate: &Fate) {
        let answer = self.send(text, &format!("Authorization: {}\r\n", self.bearer)).await;
        match fate {
            Refused(status, why) => self.refused(name, &answer, (*status, why)),
            Once(body, end) => {
                assert_eq!(answer.statuses(), [200], "{name}: {answer:?}");
                assert!(answer.text.ends_with(RESULT), "{name}: {answer:?}");
                assert_eq!(answer.closed, *end == Closes, "{name}: {answer:?}");
                let [seen] = &self.upstream.requests()[..] else { panic!("{name}: {}", self.upstream.raw()) };
                assert_eq!(seen.body, *body, "{name}");
                assert_eq!(seen.all("x-user-id"), ["dev:alice"], "{name}");
                for hop in
                    ["upgrade", "connection", "http2-settings", "te", "trailer", "expect", "authorization"]
                {
                    assert_eq!(seen.all(hop), [""; 0], "{name}: {hop}");
                }
            }
            Broken => {
                assert!(matches!(answer.statuses()[..], [] | [400]) && answer.closed, "{name}: {answer:?}");
                assert!(!self.upstream.raw().contains("\r\n0\r\n"), "{name}: {}", self.upstream.raw());
            }
        }
        assert!(!self.upstream.raw().contains("/mcp/smuggled"), "{name}: {}", self.upstream.raw());
    }

    /// Without: at most the challenge, and nothing reaches the server.
    async fn anonymous(&self, name: &str, text: &str, fate: &Fate) {
        let answer = self.send(text, "").await;
        match fate {
            Refused(status, why) => self.refused(name, &answer, (*status, why)),
            Once(..) | Broken => {
                assert_eq!(answer.statuses().first(), Some(&401), "{name}: {answer:?}");
                assert_eq!(answer.statuses().len(), 1, "{name}: {answer:?}");
            }
        }
        assert_eq!(self.upstream.raw(), "", "{name}");
    }

    fn refused(&self, name: &str, answer: &Raw, (status, why): (u16, &str)) {
        assert_eq!(answer.statuses(), [status], "{name}: {answer:?}");
        assert!(answer.text.contains(why), "{name}: {answer:?}");
        assert_eq!(self.upstream.raw(), "", "{name}");
    }
}

async fn run(cases: &[(&str, &str, Fate)]) {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&plain(upstream.address, ""));
    let client = Client::plain(&place);
    let bearer = client.sign_in("alice").await.bearer();
    let trial = Trial { client, upstream, bearer };
    for (name, text, fate) in cases {
        trial.anonymous(name, text, fate).await;
    }
    assert_eq!(trial.upstream.connections(), 0, "nothing was even connected to without a token");
    for (name, text, fate) in cases {
        trial.admitted(name, text, fate).await;
    }
}

#[tokio::test]
async fn no_framing_smuggles_a_second_request_to_the_server() {
    // P14, R11
    run(FRAMING).await;
}

#[tokio::test]
async fn a_target_that_two_readers_could_see_differently_is_refused() {
    // P14, R11
    run(TARGETS).await;
}

#[tokio::test]
async fn each_of_two_pipelined_requests_needs_its_own_token() {
    // P14, R11
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&plain(upstream.address, ""));
    let client = Client::plain(&place);
    let bearer = client.sign_in("alice").await.bearer();
    let host = client.host();
    let first = format!(
        "POST /mcp HTTP/1.1\r\nHost: {host}\r\nAuthorization: {bearer}\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    let second = format!("GET /mcp/smuggled HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let answer = raw(client.address, &format!("{first}{second}{first}")).await;
    assert_eq!(answer.statuses(), [200, 401, 200], "{answer:?}");
    let lines: Vec<_> = upstream.requests().into_iter().map(|seen| seen.line).collect();
    assert_eq!(lines, ["POST /mcp HTTP/1.1", "POST /mcp HTTP/1.1"]);
}

#[tokio::test]
async fn an_authority_that_is_not_the_host_is_refused_over_http2() {
    // P14
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&secure(upstream.address));
    let client = Client::secure(&place);
    let bearer = client.sign_in("alice").await.bearer();
    let mut sender = http2_on(tls(&place, "localhost", &[b"h2"]).await.unwrap()).await;
    let mut ask = async |target: &str, host: &str| {
        let mut headers = vec![("authorization", bearer.as_str())];
        if !host.is_empty() {
            headers.push(("host", host));
        }
        let request = request("GET", target, &headers, String::new()).map(Into::into);
        let answer = whole(sender.send_request(request).await.unwrap()).await;
        let why = answer.json()["error_description"].as_str().unwrap_or_default().to_owned();
        (answer.status.as_u16(), why)
    };
    let issuer = client.issuer.as_str();
    assert_eq!(ask(&format!("{issuer}/mcp"), "other.example").await, (400, HOST.into()));
    let other = format!("https://other.example:{}/mcp", place.port);
    assert_eq!(ask(&other, client.host()).await, (400, HOST.into()));
    for path in ["/mcp/%2e%2e/x", "//mcp", "/mcp%2fx"] {
        assert_eq!(ask(&format!("{issuer}{path}"), "").await, (400, PATH.into()), "{path}");
    }
    assert_eq!(upstream.connections(), 0);
    assert_eq!(ask(&format!("{issuer}/mcp"), client.host()).await.0, 200, "the same host twice is one host");
}

/// A length in HPACK (RFC 7541 §5.1), of text that is not Huffman coded.
fn length(text: &str) -> Vec<u8> {
    let mut rest = match u8::try_from(text.len()) {
        Ok(short @ 0..127) => return vec![short],
        Ok(_) | Err(_) => text.len() - 127,
    };
    let mut bytes = vec![127];
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}

/// An HTTP/2 request in bytes, so that it can be what no client library sends: literals without an index.
fn http2_bytes(headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        for part in [&[0][..], &length(name), name.as_bytes(), &length(value), value.as_bytes()] {
            block.extend_from_slice(part);
        }
    }
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
    };
    let (headers, data) = (frame(1, 4, 1, &block), frame(0, 1, 1, body.as_bytes()));
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(4, 0, 0, &[])[..], &headers, &data].concat()
}

#[tokio::test]
async fn an_http2_request_that_would_be_another_one_in_http1_does_not_pass() {
    // P14, R11 (RFC 9113 §8.2.1, §8.2.2, §10.3)
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&secure(upstream.address));
    let client = Client::secure(&place);
    let bearer = client.sign_in("alice").await.bearer();
    let send = async |headers: &[(&str, &str)]| {
        let mut stream = tls(&place, "localhost", &[b"h2"]).await.unwrap();
        stream.write_all(&http2_bytes(headers, "hello")).await.unwrap();
        read_raw(&mut stream).await
    };
    let token = ("authorization", bearer.as_str());
    let at = |path| {
        let host = client.host();
        vec![(":method", "POST"), (":scheme", "https"), (":authority", host), (":path", path), token]
    };
    send(&at("/mcp")).await;
    assert_eq!(upstream.answered(), 1, "the bytes are right");
    for more in [
        &[("transfer-encoding", "chunked")][..],
        &[("connection", "keep-alive")],
        &[("content-length", "3")],
        &[("content-length", "7")],
        &[("content-length", "5"), ("content-length", "6")],
        &[("x-a", "b\r\nHost: other.example")],
        &[("x-a", "b\nHost: other.example")],
        &[("x-a\r\nhost", "other.example")],
        &[("x-a: b", "c")],
        &[("X-Upper", "b")],
        &[(":path", "/other")],
        &[(":authority", "other.example")],
        &[("host", "other.example")],
    ] {
        let answer = send(&[&at("/mcp"), more].concat()).await;
        assert!(!answer.text.is_empty(), "{more:?}");
        assert_eq!(upstream.answered(), 1, "{more:?}: {}", upstream.raw());
    }
    for path in ["", "mcp", "*", "/mcp HTTP/1.1\r\nX-A: b", "/mcp /x", "/mcp\0", "//mcp", "/mcp/../x"] {
        send(&at(path)).await;
        assert_eq!(upstream.answered(), 1, "{path:?}: {}", upstream.raw());
    }
    assert!(!upstream.raw().contains("other.example"), "{}", upstream.raw());
}

#[tokio::test]
async fn a_body_without_its_last_line_is_none() {
    // P14: RFC 9112 §7.1, §8
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&plain(upstream.address, ""));
    let client = Client::plain(&place);
    let bearer = client.sign_in("alice").await.bearer();
    for (number, end) in ["0\r\n", "0", "0\r\nX-A: b\r\n"].into_iter().enumerate() {
        let mut stream = tokio::net::TcpStream::connect(client.address).await.unwrap();
        let head = format!("POST /mcp HTTP/1.1\r\nHost: {}\r\nAuthorization: {bearer}\r\n", client.host());
        let sent = format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n{end}");
        stream.write_all(sent.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        upstream.closed(number + 1).await;
    }
    assert_eq!(upstream.answered(), 0, "{}", upstream.raw());
    assert!(!upstream.raw().contains("0\r\n\r\n"), "{}", upstream.raw());
}
