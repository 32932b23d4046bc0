//! Where a public path is at the upstream, and back.

use url::{Position, Url};

use super::{Service, ServiceSettings};

/// The upstream's path for a public one: the upstream's own path takes the place of the service's, if it has one; a
/// further path of the service (`/sse`) goes unchanged. `None` if the path is not the service's.
pub(super) fn to_upstream(settings: &ServiceSettings, path: &str) -> Option<String> {
    let public = settings.url.path();
    let upstream = settings.upstream.path();
    let further =
        settings.paths.iter().filter(|further| below(path, further).is_some()).map(String::len).max();
    match below(path, public) {
        Some(rest) if upstream != "/" && further.is_none_or(|further| further < public.len()) => {
            Some(put_below(upstream, rest))
        }
        Some(_) => Some(path.to_owned()),
        None => further.map(|_| path.to_owned()),
    }
}

/// Whether a public path is one of the service's further ones.
pub(super) fn is_further(service: &Service, path: &str) -> bool {
    let settings = &service.settings;
    let further = settings.paths.iter().filter(|further| below(path, further).is_some()).map(String::len);
    let own = below(path, settings.url.path()).map(|_| settings.url.path().len());
    further.max().is_some_and(|further| own.is_none_or(|own| further >= own))
}

/// The public URL of a `Location` that an upstream gave in answer to a request for `requested` (its own path and
/// query); `None` if it points to another server, or is no URL.
pub(super) fn to_public(service: &Service, requested: &str, location: &str) -> Option<String> {
    let settings = &service.settings;
    let replicas = &settings.upstream.replicas;
    // Whichever it was: a `Location` without a host is on the one that said it, and all have the same paths.
    let target = replicas.first()?.join(requested).ok()?.join(location).ok()?;
    if !replicas.iter().any(|replica| same_server(&target, replica)) {
        return None;
    }
    let upstream = settings.upstream.path();
    let path = match below(target.path(), upstream) {
        Some(rest) if upstream != "/" => put_below(settings.url.path(), rest),
        Some(_) | None => target.path().to_owned(),
    };
    Some(format!("{}{path}{}", service.origin, &target[Position::AfterPath..]))
}

/// Whatever the scheme: behind a TLS terminator many servers say `https` of themselves.
fn same_server(one: &Url, other: &Url) -> bool {
    matches!(one.scheme(), "http" | "https")
        && one.host() == other.host()
        && (one.port() == other.port() || one.port_or_known_default() == other.port_or_known_default())
}

/// What of `path` lies below `prefix`, on segment boundaries: empty, or from a slash on.
fn below<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    if path == prefix {
        return Some("");
    }
    let rest = path.strip_prefix(prefix.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

fn put_below(prefix: &str, rest: &str) -> String {
    if rest.is_empty() { prefix.to_owned() } else { format!("{}{rest}", prefix.trim_end_matches('/')) }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn service(public: &str, upstream: &str, paths: &[&str]) -> Service {
        let mut service = testing::service();
        service.settings.url = public.parse().unwrap();
        service.settings.upstream.replicas = vec![upstream.parse().unwrap()];
        service.settings.paths = paths.iter().map(|path| (*path).to_owned()).collect();
        service.origin = service.settings.url.origin().ascii_serialization();
        service
    }

    #[test]
    fn the_upstreams_path_takes_the_place_of_the_services() {
        for (public, upstream, path, expected) in [
            ("https://a.example/mcp", "http://up:3000/mcp", "/mcp", Some("/mcp")),
            ("https://a.example/mcp", "http://up:3000/inner/x", "/mcp", Some("/inner/x")),
            ("https://a.example/mcp", "http://up:3000/inner", "/mcp/", Some("/inner/")),
            ("https://a.example/mcp", "http://up:3000/inner", "/mcp/a%20b/c", Some("/inner/a%20b/c")),
            ("https://a.example/mcp", "http://up:3000/inner/", "/mcp", Some("/inner/")),
            ("https://a.example/mcp", "http://up:3000/inner/", "/mcp/a", Some("/inner/a")),
            ("https://a.example/mcp", "http://up:3000", "/mcp/a", Some("/mcp/a")),
            ("https://a.example/", "http://up:3000/mcp", "/", Some("/mcp")),
            ("https://a.example/", "http://up:3000/mcp", "/a", Some("/mcp/a")),
            ("https://a.example/", "http://up:3000/", "/a", Some("/a")),
            ("https://a.example/time/mcp", "http://up:3000/mcp", "/time/mcp", Some("/mcp")),
            ("https://a.example/mcp", "http://up:3000/mcp", "/mcpx", None),
            ("https://a.example/mcp", "http://up:3000/mcp", "/other", None),
            ("https://a.example/mcp", "http://up:3000/mcp", "/", None),
        ] {
            let mapped = to_upstream(&service(public, upstream, &[]).settings, path);
            assert_eq!(mapped.as_deref(), expected, "{path} of {public} at {upstream}");
        }
    }

    #[test]
    fn a_further_path_goes_unchanged() {
        let sse = service("https://a.example/mcp", "http://up:3000/inner", &["/sse", "/messages"]);
        assert_eq!(to_upstream(&sse.settings, "/sse").as_deref(), Some("/sse"));
        assert_eq!(to_upstream(&sse.settings, "/messages/1").as_deref(), Some("/messages/1"));
        assert_eq!(to_upstream(&sse.settings, "/mcp/sse").as_deref(), Some("/inner/sse"));
        assert_eq!(to_upstream(&sse.settings, "/ssex"), None);
        for (path, further) in [("/sse", true), ("/messages/1", true), ("/mcp", false), ("/mcp/sse", false)] {
            assert_eq!(is_further(&sse, path), further, "{path}");
        }
        let root = service("https://a.example/", "http://up:3000/inner", &["/sse"]);
        assert!(is_further(&root, "/sse") && !is_further(&root, "/x"));
        assert_eq!(to_upstream(&root.settings, "/sse").as_deref(), Some("/sse"), "the longer path wins");
        assert_eq!(to_upstream(&root.settings, "/x").as_deref(), Some("/inner/x"));
    }

    #[test]
    fn a_location_on_the_upstream_becomes_public() {
        let inner = service("https://a.example/mcp", "http://up:3000/inner", &["/sse"]);
        for (location, expected) in [
            ("http://up:3000/inner/", Some("https://a.example/mcp/")),
            ("https://up:3000/inner/x?y=1#z", Some("https://a.example/mcp/x?y=1#z")),
            ("HTTP://UP:3000/inner", Some("https://a.example/mcp")),
            ("//up:3000/inner", Some("https://a.example/mcp")),
            ("/inner/", Some("https://a.example/mcp/")),
            ("x", Some("https://a.example/mcp/x")),
            ("?page=2", Some("https://a.example/mcp/a?page=2")),
            ("/sse", Some("https://a.example/sse")),
            ("http://up:3001/inner/", None),
            ("https://elsewhere.example/", None),
            ("http://up.evil.example:3000/inner", None),
            ("javascript:alert(1)", None),
            ("http://[", None),
        ] {
            let mapped = to_public(&inner, "/inner/a?page=1", location);
            assert_eq!(mapped.as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn a_location_on_any_replica_becomes_public() {
        let mut inner = service("https://a.example/mcp", "http://up-1:3000/inner", &[]);
        inner.settings.upstream.replicas.push("http://up-2:3000/inner".parse().unwrap());
        for (location, expected) in [
            ("http://up-1:3000/inner/x", Some("https://a.example/mcp/x")),
            ("http://up-2:3000/inner/x", Some("https://a.example/mcp/x")),
            ("http://up-3:3000/inner/x", None),
        ] {
            assert_eq!(to_public(&inner, "/inner/a", location).as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn a_location_at_an_upstream_without_a_path_keeps_its_own() {
        let flat = service("https://a.example/mcp", "http://up:3000", &[]);
        assert_eq!(to_public(&flat, "/mcp", "/mcp/").as_deref(), Some("https://a.example/mcp/"));
        let root = service("https://a.example/", "http://up:3000/mcp", &[]);
        assert_eq!(to_public(&root, "/mcp", "/mcp/").as_deref(), Some("https://a.example/"));
        let default_port = service("https://a.example/mcp", "http://up/mcp", &[]);
        let mapped = to_public(&default_port, "/mcp", "https://up/mcp/");
        assert_eq!(mapped.as_deref(), Some("https://a.example/mcp/"));
    }
}
