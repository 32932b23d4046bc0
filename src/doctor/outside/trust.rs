//! Where what a server names may lead: its documents are a stranger's, and must send neither a browser to anything but a page, nor this
//! program into the network that it runs in.

use url::Url;

use super::View;
use super::authority::{Authority, ENDPOINTS};
use crate::doctor::{Remedy, Trial};
use crate::fetch::is_public;
use crate::host::{is_loopback_name, is_loopback_url};
use crate::trouble::Trouble;

/// Why something is not asked.
pub(super) const INSIDE: &str =
    "it lies in a private network or on this machine, where no server of the internet may send anybody";

/// Whether a browser may be sent there: to https with a host, or on this machine, as for a try, to http. Anything else may be a program
/// that is started.
#[must_use]
pub fn is_page(url: &Url) -> bool {
    match url.scheme() {
        "https" => url.has_host(),
        "http" => is_loopback_url(url),
        _ => false,
    }
}

/// Whether a server of the internet names by this an address that is none of the internet.
pub(super) async fn leads_inside(view: &View<'_>, url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    if view.manner.ours || url.host() == view.url.host() || !is_of_the_internet(view).await {
        return false;
    }
    is_loopback_name(host.trim_end_matches('.'))
        || view.web.addresses(host).await.is_ok_and(|all| !all.into_iter().all(is_public))
}

async fn is_of_the_internet(view: &View<'_>) -> bool {
    let host = view.url.host_str().unwrap_or_default();
    view.web.addresses(host).await.is_ok_and(|all| all.into_iter().any(is_public))
}

/// Finds the endpoints that must not be asked, says so, and has `authority` not name them any more.
pub(super) async fn examine(view: &View<'_>, authority: &mut Authority) {
    let tried = format!("GET {}", authority.at);
    let bad = |found: String, cause: &str, fix: &str| {
        let trial = Trial::new(tried.as_str(), found);
        view.examination.bad(Trouble::LoginHijacked, view.subject, trial, Remedy::new(cause, [fix]));
    };
    let named =
        |authority: &Authority, name| format!("{name} is {}", authority.text(name).unwrap_or_default());
    let page = authority.text("authorization_endpoint").map(Url::parse);
    if page.is_some_and(|page| !page.is_ok_and(|page| is_page(&page))) {
        bad(
            named(authority, "authorization_endpoint"),
            "The authorization endpoint is no page that a browser may be sent to: opening it could start a program, or send what people type through the network for everybody to read.",
            "Name it by https, with its host. Sign in nowhere by it before its operator knows of it.",
        );
        authority.refused.push("authorization_endpoint");
    }
    let mut inside = Vec::new();
    for name in ENDPOINTS {
        if let Some(url) = authority.endpoint(name)
            && leads_inside(view, &url).await
        {
            inside.push(named(authority, name));
            authority.refused.push(name);
        }
    }
    if !inside.is_empty() {
        bad(
            inside.join("; "),
            "A server of the internet names endpoints in a private network: clients are sent to machines of their own network, and codes and tokens with them. It was not asked there.",
            "Name the endpoints by their public URLs; a server behind a proxy must be told its own.",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_sent_to_pages_only() {
        let url = |text: &str| Url::parse(text).unwrap();
        for good in ["https://a.example/x", "http://localhost:8080/x", "http://127.0.0.1/", "http://[::1]/"] {
            assert!(is_page(&url(good)), "{good}");
        }
        for bad in [
            "file:///usr/share/applications/x.desktop",
            "http://a.example/x",
            "ftp://a.example/",
            "javascript:alert(1)",
            "data:text/html,x",
            "ssh://a.example",
            "vscode://x/y",
            "mailto:a@b.example",
        ] {
            assert!(!is_page(&url(bad)), "{bad}");
        }
    }
}
