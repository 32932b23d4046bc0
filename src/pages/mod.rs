//! The HTML that people see. Everything a client or a person sent is escaped by the templates; nothing of theirs
//! becomes a link but the redirect back to the client.

mod problem;

use askama::Template;

pub use problem::Problem;

/// The one stylesheet, served at `/assets/app.css`.
pub const STYLESHEET: &str = include_str!("templates/app.css");

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
    /// The services to choose from; one if there is no choice.
    pub services: &'a [Choice<'a>],
    /// Where people sign in.
    pub provider: &'a str,
    /// What the provider is asked to tell of them, in words.
    pub asked_of_provider: &'a [&'a str],
    /// Who is signed in here already.
    pub signed_in_as: Option<&'a str>,
    /// Every parameter of the request, to be posted again.
    pub parameters: &'a [(&'a str, &'a str)],
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
    pub scopes: Vec<&'a str>,
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
}

/// After an approval for a private-use scheme: the page stays, with the link to try again (finding `redirect-dead`).
#[must_use]
pub fn handed_over(client: Option<&str>, url: &str) -> Page {
    Page::of(&HandedOver { client: client.unwrap_or("the application"), url })
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
#[template(path = "home.html", config = ".askama.toml")]
struct Home<'a> {
    services: &'a [(&'a str, &'a str)],
}

/// The issuer's root: which MCP servers are here, and how to connect to them.
#[must_use]
pub fn home(services: &[(&str, &str)]) -> Page {
    Page::of(&Home { services })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: &str) -> String {
        let page = consent(&Consent {
            client_name: Some(name),
            verified: None,
            redirect_shown: "127.0.0.1",
            is_loopback: true,
            services: &[Choice {
                name: "fetch",
                url: "https://fetch.example.com/mcp",
                scopes: vec!["mcp", "fetch:all"],
            }],
            provider: "GitHub",
            asked_of_provider: &["your public profile", "your organisation memberships"],
            signed_in_as: None,
            parameters: &[("client_id", "c_1"), ("state", "\"><script>")],
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
        assert!(page.contains("value=\"&#34;&#62;&#60;script&#62;\""), "{page}");
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
        ] {
            assert!(page.contains(part), "{part} is missing in {page}");
        }
    }

    #[test]
    fn no_page_needs_a_script_or_anything_from_elsewhere() {
        // C5
        for page in [
            shown("x"),
            handed_over(None, "cursor://x").html().into(),
            dev_login("s").html().into(),
            home(&[]).html().into(),
        ] {
            assert!(
                !page.contains("<script") && !page.contains("style=") && !page.contains("src=\"http"),
                "{page}"
            );
            assert!(page.contains("/assets/app.css"), "{page}");
        }
    }
}
