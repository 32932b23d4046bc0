//! The HTML that people see. Everything a client or a person sent is escaped by the templates; nothing of theirs
//! becomes a link but the redirect back to the client.

mod connect;
mod connections;
mod help;
mod problem;

use std::sync::LazyLock;

use askama::Template;

pub use connect::Connect;
pub use connections::{Connection, Home, Moment, Person, Trace, Wrong, WrongCount, home};
pub use help::{all_help, by_group, help};
pub use problem::Problem;

/// The one stylesheet, served at `/assets/app.css`.
pub const STYLESHEET: &str = include_str!("templates/app.css");

/// The query under which pages ask for the stylesheet: another one whenever it changes, so that browsers may keep it.
pub static STYLESHEET_VERSION: LazyLock<String> =
    LazyLock::new(|| format!("v={:016x}", fingerprint(STYLESHEET)));

/// A finished page.
#[derive(Clone, Debug)]
pub struct Page(String);

impl Page {
    /// The document.
    #[must_use]
    pub fn html(&self) -> &str {
        &self.0
    }

    fn of(template: &impl Template) -> Self {
        // Our templates fail only if a `Display` of ours does, and they print nothing but text.
        Self(template.render().unwrap_or_else(|_| "This page could not be made.".to_owned()))
    }
}

/// What the consent page shows (C2).
#[derive(Debug, Template)]
#[template(path = "consent.html", config = ".askama.toml")]
pub struct Consent<'a> {
    /// As registered: anybody can claim any name.
    pub client_name: Option<&'a str>,
    /// The domain that vouches for the client by its metadata document; without one anybody may have registered it.
    pub verified: Option<&'a str>,
    /// The host, or private-use scheme, that the answer goes to.
    pub redirect_shown: &'a str,
    /// Whether that is a program on the person's own machine (C3).
    pub is_loopback: bool,
    /// Which program opens that scheme, where it is known.
    pub app: Option<&'a str>,
    /// The services to choose from; one if there is no choice.
    pub services: &'a [Choice<'a>],
    /// Where people sign in.
    pub provider: &'a str,
    /// What the provider is asked to tell of them, in words.
    pub asked_of_provider: &'a [&'a str],
    /// Who is signed in here already.
    pub signed_in_as: Option<&'a str>,
    /// Every parameter of the request, to be posted again: text that no browser changes on its way.
    pub carried: &'a str,
    /// Ties the form to the browser and the request.
    pub form_token: &'a str,
}

/// A service that may be meant.
#[derive(Debug)]
pub struct Choice<'a> {
    /// Its name in the configuration.
    pub name: &'a str,
    /// Its URL.
    pub url: &'a str,
    /// What would be granted.
    pub scopes: Vec<Said<'a>>,
}

/// A scope, in words.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// As clients ask for it.
    pub scope: &'a str,
    /// What the configuration says that it allows.
    pub words: Option<&'a str>,
}

impl<'a> Said<'a> {
    /// What it allows, where that is known.
    #[must_use]
    pub fn words(&self) -> Option<&'a str> {
        match (self.words, self.scope) {
            (Some(words), _) => Some(words),
            (None, "mcp") => Some("Use its tools, prompts and resources"),
            (None, "offline_access") => Some("Stay connected until you disconnect it"),
            (None, _) => None,
        }
    }
}

/// The consent page.
#[must_use]
pub fn consent(consent: &Consent<'_>) -> Page {
    Page::of(consent)
}

#[derive(Template)]
#[template(path = "handed_over.html", config = ".askama.toml")]
struct HandedOver<'a> {
    client: &'a str,
    url: &'a str,
    scheme: &'a str,
    app: Option<&'a str>,
    approved: bool,
}

/// After a decision, for a private-use scheme: the page stays, with the link to try again (finding `redirect-dead`).
/// `approved` is false where the client is told of an error.
#[must_use]
pub fn handed_over(client: Option<&str>, url: &str, approved: bool) -> Page {
    let scheme = url.split(':').next().unwrap_or_default();
    let client = client.unwrap_or("the application");
    Page::of(&HandedOver { client, url, scheme, app: app_of(scheme), approved })
}

/// The program that opens the links of a private-use scheme, of those that are widely known.
#[must_use]
pub fn app_of(scheme: &str) -> Option<&'static str> {
    match scheme {
        "claude" => Some("Claude Desktop"),
        "cursor" => Some("Cursor"),
        "vscode" => Some("Visual Studio Code"),
        "vscode-insiders" => Some("Visual Studio Code Insiders"),
        "windsurf" => Some("Windsurf"),
        "zed" => Some("Zed"),
        _ => None,
    }
}

#[derive(Template)]
#[template(path = "dev_login.html", config = ".askama.toml")]
struct DevLogin<'a> {
    state: &'a str,
}

/// The `dev` identity's page.
#[must_use]
pub fn dev_login(state: &str) -> Page {
    Page::of(&DevLogin { state })
}

#[derive(Template)]
#[template(path = "landing.html", config = ".askama.toml")]
struct Landing<'a> {
    service: Connect<'a>,
    issuer: &'a str,
}

/// What a browser finds at a service's URL: how to connect to it. It stands on the service's host, so everything of
/// ours is linked at the issuer.
#[must_use]
pub fn landing(service: Connect<'_>, issuer: &str) -> Page {
    Page::of(&Landing { service, issuer })
}

/// Characters of what a client says of itself that a page shows: a name, and no room for a letter of its own.
const SHOWN: usize = 100;

/// The beginning of a text that a stranger wrote.
#[must_use]
pub fn shortened(text: &str) -> String {
    let mut characters = text.chars();
    let start: String = characters.by_ref().take(SHOWN).collect();
    if characters.next().is_some() { start + "…" } else { start }
}

/// FNV-1a: nothing depends on it but a cache.
const fn fingerprint(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let (mut hash, mut index) = (0xcbf2_9ce4_8422_2325_u64, 0);
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u64).wrapping_mul(0x0100_0000_01b3);
        index += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trouble::Trouble;

    const ECHO: Connect<'_> = Connect { name: "echo", url: "https://echo.example.com/mcp", public: false };

    fn shown(name: &str) -> String {
        let page = consent(&Consent {
            client_name: Some(name),
            verified: None,
            redirect_shown: "127.0.0.1",
            is_loopback: true,
            services: &[Choice {
                name: "fetch",
                url: "https://fetch.example.com/mcp",
                scopes: ["mcp", "fetch:all", "fetch:one"]
                    .map(|scope| Said { scope, words: (scope == "fetch:one").then_some("Fetch <one> page") })
                    .to_vec(),
            }],
            provider: "GitHub",
            asked_of_provider: &["your public profile", "your organisation memberships"],
            signed_in_as: None,
            app: None,
            carried: "abc",
            form_token: "1.abc",
        });
        page.html().to_owned()
    }

    #[test]
    fn what_a_client_says_of_itself_is_text_and_nothing_else() {
        // C9
        let page = shown("<img src=x onerror=alert(1)>\"'");
        assert!(page.contains("&#60;img src=x onerror=alert(1)&#62;&#34;&#39;"), "{page}");
        assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
    }

    #[test]
    fn the_page_says_who_asks_for_what_and_where_the_answer_goes() {
        // C2, C3
        let page = shown("Inspector");
        for part in [
            "Inspector",
            "127.0.0.1",
            "https://fetch.example.com/mcp",
            "mcp",
            "GitHub",
            "fetch:all",
            "your public profile, your organisation memberships",
            "this computer",
            "unverified",
            "Use its tools, prompts and resources",
            "Fetch &#60;one&#62; page",
        ] {
            assert!(page.contains(part), "{part} is missing in {page}");
        }
    }

    #[test]
    fn no_page_needs_a_script_or_anything_from_elsewhere() {
        // C5
        for page in [
            shown("x"),
            handed_over(None, "cursor://x", true).html().into(),
            dev_login("s").html().into(),
            landing(ECHO, "https://auth.example.com").html().into(),
            home(&Home {
                host: "a",
                provider: "GitHub",
                services: &[ECHO],
                person: None,
                wrong: None,
                form_token: "t",
            })
            .html()
            .into(),
            Problem::store_away(Trouble::RedisDown).page("r").html().into(),
        ] {
            assert!(
                !page.contains("<script") && !page.contains("style=") && !page.contains("src=\"http"),
                "{page}"
            );
            assert!(page.contains(&format!("/assets/app.css?{}\"", *STYLESHEET_VERSION)), "{page}");
        }
    }
}
