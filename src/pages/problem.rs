//! Pages that tell what went wrong, why, and what to do next. Each names its trouble, and leads to the page that explains it.

use askama::Template;

use super::Page;
use crate::trouble::Trouble;

/// Something went wrong while a person was looking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which trouble it is.
    pub trouble: Trouble,
    /// One sentence: what happened. Goes into logs and JSON answers too.
    pub what: String,
    /// What to do, a step a line.
    pub next: Vec<String>,
    links: Vec<(String, String)>,
}

#[derive(Template)]
#[template(path = "problem.html", config = ".askama.toml")]
struct Shown<'a> {
    problem: &'a Problem,
    request_id: &'a str,
    origin: &'a str,
}

impl Problem {
    pub(super) fn new(trouble: Trouble, what: &str, next: &[&str]) -> Self {
        let next = next.iter().map(|step| (*step).to_owned()).collect();
        Self { trouble, what: what.to_owned(), next, links: Vec::new() }
    }

    /// Adds what there is to do about the trouble wherever it is met.
    fn with_fix(mut self) -> Self {
        self.next.extend(self.trouble.explanation().fix.iter().map(|step| (*step).to_owned()));
        self
    }

    /// Adds a way on.
    #[must_use]
    pub fn with_link(mut self, text: &str, url: &str) -> Self {
        self.links.push((text.to_owned(), url.to_owned()));
        self
    }

    /// The page, with the id under which the log knows this request.
    #[must_use]
    pub fn page(&self, request_id: &str) -> Page {
        Page::of(&Shown { problem: self, request_id, origin: "" })
    }

    /// The page on another host than the issuer's, where everything of ours is linked at `issuer`.
    #[must_use]
    pub fn page_elsewhere(&self, request_id: &str, issuer: &str) -> Page {
        Page::of(&Shown { problem: self, request_id, origin: issuer })
    }

    /// The client is not registered, or its registration has expired.
    #[must_use]
    pub fn unknown_client() -> Self {
        Self::new(
            Trouble::ClientUnknown,
            "The application that sent you here is not registered with this server.",
            &[
                "Registrations that are not used for a day expire, and a server that was set up anew knows none.",
            ],
        )
        .with_fix()
    }

    /// The metadata document that the client names itself by cannot be used. `host` is where it is, `why` a clause,
    /// `next` what can be done.
    #[must_use]
    pub fn client_document(host: Option<&str>, why: &str, next: &[&str]) -> Self {
        let what = match host {
            Some(host) => format!("The application's description of itself at {host} cannot be used: {why}."),
            None => format!("The application does not say properly who it is: {why}."),
        };
        Self::new(Trouble::ClientDocument, &what, next)
    }

    /// The redirect URI is not one of the client's.
    #[must_use]
    pub fn redirect_mismatch(client: Option<&str>, redirect_uri: Option<&str>) -> Self {
        let client = client.unwrap_or("The application");
        let what = match redirect_uri {
            Some(uri) => {
                format!("{client} asks for the answer at {uri}, an address that it did not register here.")
            }
            None => format!("{client} does not say where the answer should go."),
        };
        Self::new(
            Trouble::RedirectMismatch,
            &what,
            &[
                "Nothing was sent there. Most often the application remembers an old registration, or one of another address of this server: clear it, then connect again.",
            ],
        )
        .with_fix()
    }

    /// The redirect URI is one that nobody may register here: why, and the schemes that the configuration allows.
    #[must_use]
    pub fn redirect_invalid(redirect_uri: &str, why: &str, schemes: &[String]) -> Self {
        Self::new(
            Trouble::RedirectInvalid,
            &format!(
                "The application asks for the answer at {redirect_uri}, which is not allowed here: {why}."
            ),
            &[
                "Allowed are https, http on this computer (localhost, 127.0.0.1, [::1]), and schemes with a dot such as com.example.app.",
                &format!(
                    "Besides: {}.",
                    if schemes.is_empty() { "none".to_owned() } else { schemes.join(", ") }
                ),
                "If you trust the application, ask the operator to add its scheme to redirect_schemes in the configuration.",
            ],
        )
    }

    /// The consent form is not ours, too old, or from another browser.
    #[must_use]
    pub fn form_expired(again: &str) -> Self {
        let problem = Self::new(
            Trouble::StateExpired,
            "This page was open too long, or cookies are blocked, so your answer was not taken.",
            &["Start again; nothing was granted."],
        );
        problem.with_link("Start again", again)
    }

    /// Another site posted the form.
    #[must_use]
    pub fn foreign_origin() -> Self {
        Self::new(
            Trouble::LoginHijacked,
            "Another website tried to answer for you. Nothing was granted.",
            &["Go back to the application and connect again."],
        )
    }

    /// The form or query cannot be read.
    #[must_use]
    pub fn unreadable(why: &str) -> Self {
        Self::new(
            Trouble::RequestInvalid,
            &format!("The request cannot be read: {why}."),
            &["Connect again from the application."],
        )
    }

    /// The browser began this sign-in, but there is nothing of it any more. `home` is where the connections are.
    #[must_use]
    pub fn state_expired(home: &str) -> Self {
        let problem = Self::new(
            Trouble::StateExpired,
            "This sign-in took longer than ten minutes, or the server was set up anew meanwhile.",
            &[
                "Nothing was granted, and nothing that was granted before is undone.",
                "To start again, go back to the application and connect once more: it opens a new sign-in.",
            ],
        );
        problem.with_link("Your connections", home)
    }

    /// A sign-in that this browser did not begin, or has finished. `login` is who is signed in here.
    #[must_use]
    pub fn state_reused(login: Option<&str>, home: &str) -> Self {
        let mut problem = Self::new(
            Trouble::StateReused,
            "This sign-in was finished already, or it began in another browser.",
            &[
                "That happens with the back button, a page opened twice, or a link taken to another browser. An earlier sign-in is not undone: if the application says that it is connected, all is well.",
                "If it is not connected, start again: go back to the application and connect once more, and finish in the browser that it opens.",
            ],
        );
        if let Some(login) = login {
            problem.next.insert(
                0,
                format!(
                    "You are signed in here as {login}; what is connected stands under Your connections."
                ),
            );
        }
        problem.with_link("Your connections", home)
    }

    /// Who began this sign-in has gone: the client, or the service.
    #[must_use]
    pub fn flow_gone() -> Self {
        Self::new(
            Trouble::ClientUnknown,
            "What you were signing in to has gone meanwhile: the application's registration, or the MCP server.",
            &["Connect again from the application; with mcp-remote, delete the folder ~/.mcp-auth first."],
        )
    }

    /// The form on our own pages is not from this browser, too old, or of somebody who has signed out.
    #[must_use]
    pub fn page_expired(home: &str) -> Self {
        let problem = Self::new(
            Trouble::StateExpired,
            "This page was open too long, you have signed out meanwhile, or cookies are blocked. Nothing was changed.",
            &["Open your connections again, and sign in if it asks you to."],
        );
        problem.with_link("Your connections", home)
    }

    /// There is no such connection of this person.
    #[must_use]
    pub fn no_connection(home: &str) -> Self {
        let problem = Self::new(
            Trouble::ConnectionUnknown,
            "There is no such connection of yours.",
            &["It may have ended by itself meanwhile. Your connections shows what is connected now."],
        );
        problem.with_link("Your connections", home)
    }

    /// Nothing at all lets the person in who signed in to our own pages.
    #[must_use]
    pub fn let_in_nowhere(provider: &str, login: &str, home: &str) -> Self {
        let problem = Self::new(
            Trouble::NotAllowed,
            &format!("You are signed in as {login} ({provider}), and no MCP server here lets you in."),
            &[
                &format!("Ask the operator to add {login} to access.users."),
                "If you should be let in as a member of an organisation: at GitHub, open Settings, Applications, and grant this application access to the organisation.",
            ],
        );
        problem.with_link("Sign in with another account", home)
    }

    /// The identity provider cannot be reached, or wants no more requests just now.
    #[must_use]
    pub fn provider_unreachable(provider: &str, again: &str) -> Self {
        let problem = Self::new(
            Trouble::GithubUnreachable,
            &format!("{provider} cannot be reached just now, so you could not be signed in."),
            &[
                "Nothing was granted. Wait a moment, then try again.",
                &format!(
                    "If it stays so: look whether {provider} itself works for you. The operator must let this server reach it by https."
                ),
            ],
        );
        problem.with_link("Try again", again)
    }

    /// The identity provider did not sign the person in, for a reason that is theirs.
    #[must_use]
    pub fn not_signed_in(provider: &str, why: &str, again: &str) -> Self {
        let problem = Self::new(
            Trouble::SignInRefused,
            &format!("You were not signed in: {why}."),
            &[&format!("Try again, and answer yes when {provider} asks you; or take another account there.")],
        );
        problem.with_link("Try again", again)
    }

    /// The rules do not let the person in. `tried` are the rules by user, by organisation and by team.
    #[must_use]
    pub fn not_allowed(
        provider: &str,
        login: &str,
        service: &str,
        tried: (&[String], &[String], &[String]),
    ) -> Self {
        let (users, orgs, teams) = tried;
        let rules = [
            (!users.is_empty()).then(|| "certain users".to_owned()),
            (!orgs.is_empty()).then(|| format!("members of {}", orgs.join(", "))),
            (!teams.is_empty()).then(|| format!("members of the team {}", teams.join(", "))),
        ];
        let rules: Vec<String> = rules.into_iter().flatten().collect();
        let rules = if rules.is_empty() { "nobody".to_owned() } else { rules.join("; ") };
        let mut next = vec![
            format!("The access rules of {service} let in: {rules}."),
            format!("Ask the operator to add {login} to access.users of this service."),
        ];
        if !orgs.is_empty() || !teams.is_empty() {
            next.push(format!(
                "If you are a member: organisations can hide from applications. At {provider}, open Settings, Applications, and grant this application access to the organisation."
            ));
        }
        Self {
            trouble: Trouble::NotAllowed,
            what: format!("You are signed in as {login} ({provider}), and {service} does not let you in."),
            next,
            links: Vec::new(),
        }
    }

    /// The application's request is wrong.
    #[must_use]
    pub fn bad_request(why: &str, trouble: Trouble) -> Self {
        Self::new(
            trouble,
            &format!("The application asked in a way that cannot be answered: {why}."),
            &["Nothing was granted. Go back only if you know the application."],
        )
    }

    /// Too many requests from this address. `wait` is in seconds; `limit` and `rate` are what the operator has to look at.
    #[must_use]
    pub fn rate_limited(wait: u64, limit: &str, rate: &str) -> Self {
        let wait = match wait {
            ..=1 => "a second".to_owned(),
            2..120 => format!("{wait} seconds"),
            _ => format!("{} minutes", wait.div_ceil(60)),
        };
        Self::new(
            Trouble::RateLimited,
            "Too many requests came from your network.",
            &[
                &format!("Wait {wait}, then reload this page, or connect again from the application."),
                &format!(
                    "If many people share your network, ask the operator to raise limits.{limit}, which is {rate}."
                ),
            ],
        )
    }

    /// The store is away: Redis, or the file.
    #[must_use]
    pub fn store_away(trouble: Trouble) -> Self {
        Self::new(
            trouble,
            "The server cannot reach its store just now.",
            &["Try again in a moment: reload this page."],
        )
    }

    /// The provider does not accept our client id and secret.
    #[must_use]
    pub fn provider_credentials() -> Self {
        Self::new(
            Trouble::GithubCredentials,
            "GitHub does not accept this server's client id and secret.",
            &["Only the operator can mend that (identity.github in the configuration):"],
        )
        .with_fix()
    }

    /// The provider knows another callback URL.
    #[must_use]
    pub fn provider_callback(callback: &str) -> Self {
        Self::new(
            Trouble::GithubCallback,
            "The OAuth app at GitHub has another callback URL.",
            &["The operator must set this as the Authorization callback URL there:", callback],
        )
    }

    /// An organisation wants single sign-on first.
    #[must_use]
    pub fn single_sign_on(org: &str, url: Option<&str>) -> Self {
        let problem = Self::new(
            Trouble::NotAllowed,
            &format!("The organisation {org} hides your membership from this server."),
            &[
                "It wants single sign-on for this application, or has to approve it: authorise it, then connect again.",
                "At GitHub: Settings, Applications, Authorized OAuth Apps, this application, Organization access.",
            ],
        );
        match url {
            Some(url) => problem.with_link("Authorise at GitHub", url),
            None => problem,
        }
    }

    /// An organisation has not approved this application.
    #[must_use]
    pub fn org_restricted(org: &str) -> Self {
        Self::new(
            Trouble::NotAllowed,
            &format!("The organisation {org} does not show its members to this server."),
            &[
                "It restricts third-party applications, or the addresses they may come from. An owner of the organisation can approve this one.",
                "At GitHub: Settings, Applications, Authorized OAuth Apps, this application, Organization access, Request.",
            ],
        )
    }

    /// Nothing is at this address.
    #[must_use]
    pub fn wrong_url(urls: &[&str]) -> Self {
        let problem = Self::new(Trouble::WrongUrl, "There is nothing at this address.", &[]);
        let next = urls
            .iter()
            .map(|url| format!("The MCP server here is {url}: paste exactly this into your client."))
            .collect();
        Self { next, ..problem }
    }
}
