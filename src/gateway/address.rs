//! Who is at the other end: the client's address from the peers that may say so, and the requests that must not be
//! believed or answered because of how they came.

use std::net::IpAddr;

use http::{HeaderMap, Request, Response, StatusCode};

use super::exchange::Exchange;
use super::{Arrival, Body, Settings, reply};
use crate::host::{is_loopback_name, without_port};
use crate::trouble::Trouble;

const FORWARDING: [&str; 6] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "cf-connecting-ip",
];

/// The client's address: the peer's, or, if the peer is a trusted proxy, the rightmost address of
/// `X-Forwarded-For` that is not one.
pub(super) fn client(settings: &Settings, arrival: &Arrival, headers: &HeaderMap) -> IpAddr {
    let peer = arrival.peer.ip().to_canonical();
    let trusted = |address: IpAddr| is_trusted(settings, address);
    if !trusted(peer) {
        return peer;
    }
    // Split as bytes: what a client wrote before the proxy's own part must not hide that part.
    let lines = headers.get_all("x-forwarded-for").iter();
    let parts = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let listed: Vec<&str> = parts.map(|part| std::str::from_utf8(part).unwrap_or_default().trim()).collect();
    let mut nearest = peer;
    for text in listed.iter().rev() {
        let Some(address) = parse(text) else { break };
        nearest = address;
        if !trusted(address) {
            break;
        }
    }
    nearest
}

/// Whether `address` is one of `trusted_proxies`.
pub(super) fn is_trusted(settings: &Settings, address: IpAddr) -> bool {
    settings.trusted_proxies.iter().any(|net| net.contains(&address))
}

/// Refuses what came in a way that the configuration does not allow: the `dev` identity behind a tunnel, plain
/// http before a trusted proxy, a foreign Host at a port published on loopback.
pub(super) fn refuse<B>(exchange: &Exchange<'_>, request: &Request<B>) -> Option<Response<Body>> {
    let settings = &exchange.site.settings;
    let headers = request.headers();
    if settings.dev_identity && FORWARDING.iter().any(|name| headers.contains_key(*name)) {
        return Some(behind_tunnel(
            exchange,
            (StatusCode::FORBIDDEN, "forbidden"),
            "the dev identity lets anybody in, so requests through a proxy or tunnel are refused; set up identity.github",
        ));
    }
    let lines = headers.get_all("x-forwarded-proto").iter();
    let mut protos = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let plain = protos.any(|proto| !proto.trim_ascii().eq_ignore_ascii_case(b"https"));
    if !settings.trusted_proxies.is_empty() && plain {
        return Some(behind_tunnel(
            exchange,
            (StatusCode::BAD_REQUEST, "invalid_request"),
            "the proxy in front was asked by plain http; use the https URL",
        ));
    }
    let host = headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    if settings.published_on_loopback && !host.is_some_and(|host| is_loopback_name(without_port(host))) {
        return Some(behind_tunnel(
            exchange,
            (StatusCode::MISDIRECTED_REQUEST, "unknown_host"),
            "published_on_loopback answers loopback names only",
        ));
    }
    None
}

/// What a tunnel or proxy in front must not do, or the configuration must know of.
fn behind_tunnel(
    exchange: &Exchange<'_>,
    (status, error): (StatusCode, &'static str),
    text: &str,
) -> Response<Body> {
    let trouble = Trouble::Tunnel;
    reply::problem_of(status, (error, trouble), text, &exchange.help(trouble))
}

/// `203.0.113.7`, `203.0.113.7:4711`, `2001:db8::1`, `[2001:db8::1]:4711`.
fn parse(text: &str) -> Option<IpAddr> {
    let bare = text.parse::<IpAddr>().ok();
    bare.or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
        .map(|address| address.to_canonical())
}
