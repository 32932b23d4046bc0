//! Plain HTTP on the redirect port: the same URL with https for hosts we serve, and nothing else (X1).

use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, LOCATION};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;

use crate::certs::Challenges;

/// Where a certificate authority looks (RFC 8555 §8.3).
const CHALLENGE: &str = "/.well-known/acme-challenge/";
/// The longest token that is looked up; Let's Encrypt's have 43 characters.
const LONGEST_TOKEN: usize = 256;

/// What a certificate authority is answered, if the request is one of those it makes: over plain http, before anything is
/// redirected, for there may be no certificate yet.
pub(super) async fn challenge<B>(
    request: &Request<B>,
    challenges: Option<&dyn Challenges>,
) -> Option<Response<Full<Bytes>>> {
    let token = request.uri().path().strip_prefix(CHALLENGE)?;
    let challenges = challenges?;
    let readable = matches!(*request.method(), Method::GET | Method::HEAD);
    if !readable || !is_token(token) || request.headers().contains_key(AUTHORIZATION) {
        return None;
    }
    let host = host(request.headers())?;
    let answer = challenges.http01(&host, token).await?;
    let mut response = text(StatusCode::OK, "");
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    *response.body_mut() = Full::from(answer);
    Some(response)
}

/// RFC 8555 §8.3: base64url, which is also what keeps strangers from asking the store for anything else.
fn is_token(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=LONGEST_TOKEN).contains(&text.len()) && text.bytes().all(known)
}

/// Answers a request; `location` knows our hosts.
pub(super) fn answer<B>(
    request: &Request<B>,
    location: impl Fn(&str, &str) -> Option<String>,
) -> Response<Full<Bytes>> {
    // First of all: a redirect would make a client that leaks its token work, and leak it again and again.
    if request.headers().contains_key(AUTHORIZATION) {
        return text(StatusCode::BAD_REQUEST, LEAKED);
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let location =
        host(request.headers()).filter(|_| path.starts_with('/')).and_then(|host| location(&host, path));
    match location.and_then(|location| HeaderValue::try_from(location).ok()) {
        Some(location) => {
            let mut response = text(StatusCode::PERMANENT_REDIRECT, "Use https.\n");
            response.headers_mut().insert(LOCATION, location);
            response
        }
        None => text(StatusCode::NOT_FOUND, "Nothing is served here under this name.\n"),
    }
}

const LEAKED: &str = "This request carried an access token over plain http, where anybody on the way could read it. \
    Consider the token leaked: revoke it, sign in again, and use the https URL.\n";

/// The one Host (RFC 9112 §3.2), lower-case, without its port: that is this port's, not the https one's.
fn host(headers: &HeaderMap) -> Option<String> {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return None };
    let host = host.to_str().ok()?;
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    Some(name.to_ascii_lowercase())
}

fn text(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn location(host: &str, path: &str) -> Option<String> {
        ["fetch.example.com", "[::1]"].contains(&host).then(|| format!("https://{host}{path}"))
    }

    fn ask(uri: &str, headers: &[(http::HeaderName, &str)]) -> Response<Full<Bytes>> {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        answer(&request.body(()).unwrap(), location)
    }

    async fn body(response: Response<Full<Bytes>>) -> String {
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    // X1
    #[test]
    fn our_hosts_are_redirected_with_path_and_query() {
        for (host, uri, to) in [
            ("fetch.example.com", "/mcp?a=b%20c", "https://fetch.example.com/mcp?a=b%20c"),
            ("Fetch.Example.com:80", "/", "https://fetch.example.com/"),
            ("[::1]:8080", "/x", "https://[::1]/x"),
        ] {
            let response = ask(uri, &[(HOST, host)]);
            assert_eq!(response.status(), StatusCode::PERMANENT_REDIRECT);
            assert_eq!(response.headers()[LOCATION], to);
            assert_eq!(response.headers()[CONNECTION], "close");
        }
    }

    // X1
    #[tokio::test]
    async fn a_token_is_never_redirected() {
        for host in ["fetch.example.com", "other.example.com"] {
            let response = ask("/mcp", &[(HOST, host), (AUTHORIZATION, "Bearer x")]);
            assert_eq!(response.status(), StatusCode::BAD_REQUEST);
            assert!(!response.headers().contains_key(LOCATION));
            assert_eq!(
                body(response).await,
                "This request carried an access token over plain http, where anybody on the way could read it. \
                 Consider the token leaked: revoke it, sign in again, and use the https URL.\n"
            );
        }
    }

    #[tokio::test]
    async fn unknown_hosts_are_not_redirected() {
        for hosts in [
            &[(HOST, "other.example.com")][..],
            &[],
            &[(HOST, "fetch.example.com"), (HOST, "other.example.com")],
            &[(HOST, "fetch.example.com:evil")],
        ] {
            let response = ask("/", hosts);
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{hosts:?}");
            assert!(!response.headers().contains_key(LOCATION));
            assert_eq!(body(response).await, "Nothing is served here under this name.\n");
        }
        let whole_server = Request::options("*").header(HOST, "fetch.example.com").body(()).unwrap();
        assert_eq!(answer(&whole_server, location).status(), StatusCode::NOT_FOUND);
    }
}
