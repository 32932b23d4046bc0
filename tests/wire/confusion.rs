//! HTTP/2 requests, frame by frame, that would be another request in HTTP/1.1, or two: what becomes of each with a token and
//! without, and what the server behind saw of it (RFC 9113 §8.1.1, §8.2, §8.3, §10.3).

use tokio::io::AsyncWriteExt;

use crate::client::Client;
use crate::http2::{
    DATA, END_HEADERS, END_STREAM, HEADERS, Outcome, PROTOCOL_ERROR, block, connect, frame, outcome,
};
use crate::process::{Place, secure};
use crate::recorder::{RESULT, Recorder};

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// Answered by us, with or without a token.
    Refused(u16, &'static str),
    /// No request at all: a stream error, or an empty 400.
    Malformed,
    /// The header block cannot be read, and the whole connection ends.
    Ends,
    /// With a token passed on, once.
    Once,
}

use Fate::{Ends, Malformed, Once, Refused};

const HOST: &str = "the request must name one host";
const FORM: &str = "the request's target must be a path";
const PATH: &str = "the path must be plain: no empty or dot segments, no encoded slashes";
const UNKNOWN: &str = "this gateway does not serve the host";

/// Changes to a POST of `hello` to `/mcp`: a name that it has is replaced, `None` takes one away, and what begins with `+` is
/// added at the end. `{host}` is ours.
type Change = (&'static str, Option<&'static str>);

#[rustfmt::skip]
const CASES: &[(&str, &[Change], Fate)] = &[
    ("nothing odd", &[], Once),
    ("its length told", &[("+content-length", Some("5"))], Once),
    ("the host told twice", &[("+host", Some("{host}"))], Once),
    ("the host by another name only", &[(":authority", None), ("+host", Some("{host}"))], Once),
    ("another host", &[("+host", Some("other.example"))], Refused(400, HOST)),
    ("another authority", &[(":authority", Some("other.example")), ("+host", Some("{host}"))], Refused(400, HOST)),
    ("an authority that is not ours", &[(":authority", Some("evil.example"))], Refused(421, "the connection was made for another host")),
    ("an authority with the port 0", &[(":authority", Some("localhost:0"))], Refused(421, UNKNOWN)),
    ("an authority with a user", &[(":authority", Some("x@{host}"))], Refused(400, HOST)),
    ("an authority with a path", &[(":authority", Some("{host}/mcp"))], Malformed),
    ("an empty authority", &[(":authority", Some(""))], Malformed),
    ("no authority and no host", &[(":authority", None)], Refused(400, HOST)),
    ("two hosts", &[("+host", Some("{host}")), ("+host", Some("{host}"))], Refused(400, HOST)),
    ("two authorities", &[("+:authority", Some("{host}"))], Malformed),
    ("two paths", &[("+:path", Some("/other"))], Malformed),
    ("two methods", &[("+:method", Some("GET"))], Malformed),
    ("no path", &[(":path", None)], Malformed),
    ("no method", &[(":method", None)], Malformed),
    ("no scheme", &[(":scheme", None)], Malformed),
    ("an empty path", &[(":path", Some(""))], Malformed),
    ("a path without a slash", &[(":path", Some("mcp"))], Malformed),
    ("an asterisk", &[(":path", Some("*"))], Refused(400, PATH)),
    ("a path that is a URL", &[(":path", Some("https://{host}/mcp"))], Malformed),
    ("a path with a line in it", &[(":path", Some("/mcp HTTP/1.1\r\nX-A: b"))], Malformed),
    ("a path with a space", &[(":path", Some("/mcp /x"))], Malformed),
    ("a path with a NUL", &[(":path", Some("/mcp\0"))], Malformed),
    ("two slashes", &[(":path", Some("//mcp"))], Refused(400, PATH)),
    ("dots", &[(":path", Some("/mcp/../x"))], Refused(400, PATH)),
    ("encoded dots", &[(":path", Some("/mcp/%2e%2e/x"))], Refused(400, PATH)),
    ("an encoded end of line", &[(":path", Some("/mcp/%0d%0ax"))], Refused(400, PATH)),
    ("an unknown pseudo-header", &[("+:x", Some("y"))], Ends),
    ("a status in a request", &[("+:status", Some("200"))], Malformed),
    ("a scheme that is not the web's", &[(":scheme", Some("ftp"))], Refused(400, FORM)),
    ("a scheme that is none", &[(":scheme", Some("ht tp"))], Malformed),
    ("TRACE", &[(":method", Some("TRACE"))], Refused(405, "this address answers")),
    ("CONNECT", &[(":method", Some("CONNECT")), (":path", None), (":scheme", None)], Refused(400, FORM)),
    ("CONNECT with a path", &[(":method", Some("CONNECT"))], Malformed),
    ("CONNECT by an extension (RFC 8441)", &[(":method", Some("CONNECT")), ("+:protocol", Some("websocket"))], Malformed),
    ("connect in small letters", &[(":method", Some("connect"))], Refused(400, FORM)),
    ("a method with a line in it", &[(":method", Some("GET /x HTTP/1.1\r\nX-A:"))], Ends),
    ("a pseudo-header after others", &[(":path", None), ("+x-a", Some("b")), ("+:path", Some("/mcp"))], Malformed),
    ("a name in capitals", &[("+X-Upper", Some("b"))], Ends),
    ("a name with a space", &[("+x a", Some("b"))], Ends),
    ("a name with a colon", &[("+x-a: b", Some("c"))], Ends),
    ("a name with a line in it", &[("+x-a\r\nhost", Some("other.example"))], Ends),
    ("an empty name", &[("+", Some("b"))], Ends),
    ("a value with a line in it", &[("+x-a", Some("b\r\nHost: other.example"))], Ends),
    ("a value with LF", &[("+x-a", Some("b\nHost: other.example"))], Ends),
    ("a value with CR", &[("+x-a", Some("b\rc"))], Ends),
    ("a value with NUL", &[("+x-a", Some("b\0c"))], Ends),
    ("transfer-encoding", &[("+transfer-encoding", Some("chunked"))], Malformed),
    ("connection", &[("+connection", Some("keep-alive"))], Malformed),
    ("keep-alive", &[("+keep-alive", Some("timeout=5"))], Malformed),
    ("proxy-connection", &[("+proxy-connection", Some("keep-alive"))], Malformed),
    ("upgrade", &[("+upgrade", Some("websocket"))], Malformed),
    ("te: gzip", &[("+te", Some("gzip"))], Malformed),
    ("te: trailers", &[("+te", Some("trailers"))], Once),
    ("http2-settings", &[("+http2-settings", Some("AAMAAABk"))], Once),
    ("less body than its length", &[("+content-length", Some("7"))], Malformed),
    ("more body than its length", &[("+content-length", Some("3"))], Malformed),
    ("two lengths", &[("+content-length", Some("5")), ("+content-length", Some("6"))], Malformed),
    ("a length with a sign", &[("+content-length", Some("+5"))], Malformed),
    ("a length that is none", &[("+content-length", Some("x"))], Malformed),
];

/// The request as it is with these changes.
fn fields(host: &str, auth: &str, changes: &[Change]) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", host),
        (":path", "/mcp"),
        ("authorization", auth),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    fields.retain(|(name, value)| name != "authorization" || !value.is_empty());
    for (name, value) in changes {
        let value = value.map(|value| value.replace("{host}", host));
        match (name.strip_prefix('+'), value) {
            (Some(name), value) => fields.push((name.to_owned(), value.unwrap_or_default())),
            (None, None) => fields.retain(|(one, _)| one != name),
            (None, Some(value)) => fields.iter_mut().find(|(one, _)| one == name).unwrap().1 = value,
        }
    }
    fields
}

async fn send(place: &Place, fields: &[(String, String)]) -> Outcome {
    let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut stream = connect(place).await;
    let mut bytes = frame(HEADERS, END_HEADERS, 1, &block(&fields));
    bytes.extend(frame(DATA, END_STREAM, 1, b"hello"));
    drop(stream.write_all(&bytes).await);
    outcome(&mut stream).await
}

/// What is wrong with what came of it, and with what the server saw.
fn fault(fate: Fate, is_admitted: bool, outcome: &Outcome, upstream: &Recorder) -> Option<String> {
    let is_right = match (fate, outcome) {
        (Once, Outcome::Answered(status, body)) if is_admitted => *status == 200 && body == RESULT,
        (Once, Outcome::Answered(status, body)) => *status == 401 && body.contains("no token"),
        (Refused(expected, why), Outcome::Answered(status, body)) => {
            *status == expected && body.contains(why)
        }
        (Malformed, Outcome::Answered(400, body)) => body.is_empty(),
        (Malformed, Outcome::Reset(code)) | (Ends, Outcome::Gone(code)) => *code == PROTOCOL_ERROR,
        (Once | Refused(..) | Malformed | Ends, _) => false,
    };
    let seen = upstream.raw();
    let arrived = upstream.answered();
    let expected = usize::from(is_admitted && matches!(fate, Once));
    // A body that turns out to be none may have been on its way, and has no end there.
    let is_whole = arrived == expected && (expected == 1 || !seen.contains("hello\r\n0\r\n\r\n"));
    let is_silent = is_admitted || upstream.connections() == 0;
    let is_clean = !["other.example", "/other", "x-upper", "http2-settings", "te: "]
        .iter()
        .any(|odd| seen.contains(odd));
    let is_all_right = is_right && is_whole && is_silent && is_clean;
    (!is_all_right).then(|| format!("{fate:?}, admitted {is_admitted}: {outcome:?}; the server saw {seen:?}"))
}

#[tokio::test]
async fn no_http2_request_becomes_another_one_on_its_way() {
    // P14, R11
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&secure(upstream.address));
    let client = Client::secure(&place);
    let bearer = client.sign_in("alice").await.bearer();
    let mut faults = Vec::new();
    for is_admitted in [false, true] {
        for (name, changes, fate) in CASES {
            let auth = if is_admitted { bearer.as_str() } else { "" };
            let outcome = send(&place, &fields(client.host(), auth, changes)).await;
            faults.extend(
                fault(*fate, is_admitted, &outcome, &upstream).map(|fault| format!("{name}: {fault}")),
            );
            upstream.restart();
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
