//! What a server behind may have received: whole requests, each framed in one way and each with its user. A reading of its
//! own, stricter than any server's, that shares no code with the gateway.

use std::collections::BTreeSet;

/// A request that arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    /// The value of `X-Id`.
    pub(crate) id: String,
    pub(crate) body: Vec<u8>,
}

/// Reads everything that came over all connections. A request that is not whole may stand last on a connection: it was broken
/// off.
///
/// # Errors
/// What no server behind a gateway should ever see.
pub(crate) fn examine(connections: &[Vec<u8>]) -> Result<Vec<Arrived>, String> {
    let (mut all, mut ids) = (Vec::new(), BTreeSet::new());
    for bytes in connections {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let Some((arrived, length)) = one(rest)? else { break };
            if !ids.insert(arrived.id.clone()) {
                return Err(format!("{} arrived twice", arrived.id));
            }
            all.push(arrived);
            rest = &rest[length..];
        }
    }
    Ok(all)
}

/// The first request and its length; `None` if it is not whole.
fn one(bytes: &[u8]) -> Result<Option<(Arrived, usize)>, String> {
    let shown = || String::from_utf8_lossy(bytes).into_owned();
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| format!("not UTF-8: {}", shown()))?;
    if head.chars().any(|c| c.is_control() && !matches!(c, '\r' | '\n' | '\t')) {
        return Err(format!("a control character: {head:?}"));
    }
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let headers: Vec<(&str, &str)> = lines.map(header).collect::<Result<_, _>>()?;
    check_line(line)?;
    let all = |name: &str| -> Vec<&str> {
        headers.iter().filter(|(one, _)| one.eq_ignore_ascii_case(name)).map(|(_, value)| *value).collect()
    };
    if all("x-user-id") != ["dev:alice"] || !all("authorization").is_empty() || all("host").len() != 1 {
        return Err(format!("not from the gateway: {head:?}"));
    }
    let [id] = all("x-id")[..] else { return Err(format!("no id, or several: {head:?}")) };
    let after = &bytes[end + 4..];
    let body = match (&all("content-length")[..], &all("transfer-encoding")[..]) {
        ([], []) => Some((Vec::new(), 0)),
        ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            let length: usize = length.parse().map_err(|_| format!("no length: {head:?}"))?;
            after.get(..length).map(|body| (body.to_vec(), length))
        }
        ([], ["chunked"]) => chunks(after)?,
        _ => return Err(format!("framed twice or not at all: {head:?}")),
    };
    Ok(body.map(|(body, length)| (Arrived { id: id.to_owned(), body }, end + 4 + length)))
}

fn header(line: &str) -> Result<(&str, &str), String> {
    let (name, value) = line.split_once(':').ok_or_else(|| format!("no header: {line:?}"))?;
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(is_token) || value.contains(['\r', '\n']) {
        return Err(format!("no header: {line:?}"));
    }
    Ok((name, value.trim_matches([' ', '\t'])))
}

fn check_line(line: &str) -> Result<(), String> {
    let parts: Vec<&str> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = parts[..] else { return Err(format!("no request line: {line:?}")) };
    let path = target.split('?').next().unwrap_or_default();
    let is_ours = path == "/mcp" || path.starts_with("/mcp/");
    let is_plain =
        !path.contains(['\\', '#']) && !["//", "/.", "%2e", "%2f"].iter().any(|odd| path.contains(odd));
    if method.is_empty() || !is_ours || !is_plain || target.contains("smuggled") {
        return Err(format!("nobody may ask for that: {line:?}"));
    }
    Ok(())
}

/// A chunked body and its length on the wire: plain sizes, no extensions, no trailers.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = bytes[at..].windows(2).position(|window| window == b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(&bytes[at..at + line]).unwrap_or_default();
        let is_size = !size.is_empty() && size.len() < 8 && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = usize::from_str_radix(size, 16).ok().filter(|_| is_size);
        let size =
            size.ok_or_else(|| format!("no chunk size: {:?}", String::from_utf8_lossy(&bytes[at..])))?;
        at += line + 2;
        let Some(data) = bytes.get(at..at + size + 2) else { return Ok(None) };
        if !data.ends_with(b"\r\n") {
            return Err(format!("a chunk without its end: {:?}", String::from_utf8_lossy(bytes)));
        }
        body.extend_from_slice(&data[..size]);
        at += size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

const GOOD: &str = "POST /mcp HTTP/1.1\r\nhost: a\r\nx-user-id: dev:alice\r\nx-id: 1\r\n";

fn examined(text: &str) -> Result<Vec<Arrived>, String> {
    examine(&[text.as_bytes().to_vec()])
}

#[test]
fn what_is_framed_well_is_read() {
    let body = |text: &str| vec![Arrived { id: "1".into(), body: text.into() }];
    assert_eq!(examined(&format!("{GOOD}\r\n")), Ok(body("")));
    assert_eq!(examined(&format!("{GOOD}content-length: 2\r\n\r\nab")), Ok(body("ab")));
    assert_eq!(
        examined(&format!("{GOOD}transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n")),
        Ok(body("ab"))
    );
    assert_eq!(examined(&format!("{GOOD}content-length: 3\r\n\r\nab")), Ok(vec![]), "broken off");
}

#[test]
fn the_oracle_objects_to_what_a_smuggler_would_get_through() {
    // P14: a test that cannot fail proves nothing.
    let smuggled = "GET /mcp/smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for (through, objection) in [
        (format!("{GOOD}content-length: 0\r\n\r\n{smuggled}"), "nobody may ask for that"),
        (
            format!("{GOOD}content-length: 0\r\n\r\n{}", smuggled.replace("/smuggled", "")),
            "not from the gateway",
        ),
        (format!("{GOOD}content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nG"), "framed twice"),
        (format!("{GOOD}content-length: 2\r\ncontent-length: 2\r\n\r\nab"), "framed twice"),
        (format!("{GOOD}content-length: +2\r\n\r\nab"), "framed twice"),
        (format!("{GOOD}transfer-encoding: xchunked\r\n\r\nab"), "framed twice"),
        (format!("{GOOD}transfer-encoding: chunked\r\n\r\n2;a=b\r\nab\r\n0\r\n\r\n"), "no chunk size"),
        (format!("{GOOD}transfer-encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n"), "a chunk without its end"),
        (
            format!("{GOOD}transfer-encoding: chunked\r\n\r\n0\r\nx-user-id: b\r\n\r\n"),
            "a chunk without its end",
        ),
        (format!("{GOOD}\r\n{GOOD}\r\n"), "1 arrived twice"),
        (format!("{GOOD}x-user-id: dev:root\r\n\r\n"), "not from the gateway"),
        (GOOD.replace("x-user-id: dev:alice\r\n", "") + "\r\n", "not from the gateway"),
        (format!("{GOOD}authorization: Bearer x\r\n\r\n"), "not from the gateway"),
        (format!("{GOOD}x-a: b\nx-c: d\r\n\r\n"), "no header"),
        (format!("{GOOD} x-a: b\r\n\r\n"), "no header"),
        (format!("{GOOD}x-a : b\r\n\r\n"), "no header"),
        (format!("{GOOD}x-a: b\0\r\n\r\n"), "a control character"),
        (GOOD.replace("/mcp", "/mcp/../x") + "\r\n", "nobody may ask for that"),
        (GOOD.replace("/mcp", "http://a/mcp") + "\r\n", "nobody may ask for that"),
    ] {
        let told = examined(&through).expect_err(&through);
        assert!(told.starts_with(objection), "{told}: {through}");
    }
    let twice = format!("{GOOD}\r\n").into_bytes();
    assert_eq!(examine(&[twice.clone(), twice]), Err("1 arrived twice".to_owned()), "over two connections");
}
