//! What `expose` is asked for, judged: everything that is wrong or missing is told at once.

use std::io;

use url::Url;

use super::Arguments;
use crate::cli::console::Console;
use crate::cli::init::plan::Access;
use crate::cli::init::questions::{Given, Question};
use crate::cli::init::{ALLOW, EMAIL, github, named};
use crate::cli::refusal::Refusal;
use crate::cli::state;
use crate::config::answers;
use crate::host::is_loopback_url;
use crate::secret::Secret;

use super::folder::Folder;

/// One server, and who may use it.
#[derive(Debug)]
pub(super) struct Wanted {
    /// What people paste into their client.
    pub(super) url: Url,
    /// Where the server listens.
    pub(super) upstream: Url,
    /// Who may come in.
    pub(super) access: Access,
    /// What is needed on the internet; `None` on this machine alone.
    pub(super) public: Option<Public>,
}

/// What is needed on the internet.
#[derive(Debug)]
pub(super) struct Public {
    pub(super) email: String,
    pub(super) client_id: Secret,
    pub(super) client_secret: Secret,
}

const URL: Question = Question {
    flag: "--url",
    usage: "--url URL",
    prompt: "What people paste into their client (such as https://mcp.example.com/mcp)",
    hidden: false,
    check: |text| reachable(text, false).map(|_| text.to_owned()),
};

/// The same with `--dev`.
const DEV_URL: Question = Question {
    prompt: "What people paste into their client (such as http://localhost:8080/mcp)",
    check: |text| reachable(text, true).map(|_| text.to_owned()),
    ..URL
};

const UPSTREAM: Question = Question {
    flag: "UPSTREAM",
    usage: "UPSTREAM, where the MCP server listens, such as http://localhost:3002",
    prompt: "Where the MCP server listens (such as http://localhost:3002)",
    hidden: false,
    check: answers::upstream,
};

/// The e-mail address by its flag here.
const ACME_EMAIL: Question = Question { flag: "--acme-email", usage: "--acme-email EMAIL", ..EMAIL };

impl Wanted {
    /// Reads the arguments, asks for what is missing, and keeps what was asked for.
    ///
    /// # Errors
    /// Whatever is wrong, or missing where nobody can be asked.
    pub(super) fn of(arguments: &Arguments, console: Option<&Console>) -> Result<(Self, Folder), Refusal> {
        if !arguments.command.is_empty() {
            return Err(Refusal::usage(
                "what follows `--` would be a server on stdio, which Portcullis cannot start yet; let the server listen on a port \
                 and give its URL, such as http://localhost:3002",
            ));
        }
        let mut given = Given::default();
        let upstream = asked(&UPSTREAM, arguments.upstream.as_deref(), &mut given, console)?;
        let upstream =
            upstream.and_then(|text| given.judge("--path", at_path(&text, arguments.path.as_deref())));
        let question = if arguments.dev { &DEV_URL } else { &URL };
        let url = asked(question, arguments.url.as_deref(), &mut given, console)?;
        let url = url.and_then(|text| given.judge("--url", reachable(&text, arguments.dev)));
        let access = access(arguments, &mut given);
        if let Some(store) = &arguments.store {
            given.judge("--store", named(store));
        }
        // The folder is known by the URL; without that nothing else is worth asking for.
        let (Some(url), Some(upstream)) = (url, upstream) else {
            given.settle("expose", None)?;
            return Err(Refusal::usage("expose needs UPSTREAM and --url URL"));
        };
        let folder = Folder::of(&url, arguments.data.as_deref())?;
        let public = if arguments.dev {
            given.settle("expose", None)?;
            None
        } else {
            Some(public(arguments, &folder, given, (console, &url))?)
        };
        let access = match console {
            Some(console) if access.is_empty() => {
                let asked = ALLOW.ask(console)?;
                Access { users: asked.split(' ').map(str::to_owned).collect(), ..access }
            }
            Some(_) | None => access,
        };
        Ok((Self { url, upstream, access, public }, folder))
    }
}

/// What was given, or what somebody at a terminal answers.
fn asked(
    question: &Question,
    text: Option<&str>,
    given: &mut Given,
    console: Option<&Console>,
) -> io::Result<Option<String>> {
    match (text, console) {
        (None, Some(console)) => question.ask(console).map(Some),
        (text, _) => Ok(given.one(question, text)),
    }
}

fn access(arguments: &Arguments, given: &mut Given) -> Access {
    let Arguments { allow, allow_org, dev, .. } = arguments;
    let access = Access {
        users: given.several("--allow", allow, answers::user),
        orgs: given.several("--allow-org", allow_org, answers::org),
        teams: Vec::new(),
    };
    if !allow.is_empty() || !allow_org.is_empty() {
        return access;
    }
    if *dev {
        return Access { users: vec!["*".to_owned()], ..access };
    }
    given.lacks("--allow USER or --allow-org ORGANISATION");
    access
}

/// E-mail address and credentials: given, or kept from the last time, or asked for and kept.
fn public(
    arguments: &Arguments,
    folder: &Folder,
    mut given: Given,
    (console, url): (Option<&Console>, &Url),
) -> Result<Public, Refusal> {
    let kept = |name: &str| state::kept(&folder.file(name));
    let [kept_email, kept_id, kept_secret] =
        [kept("acme_email")?, kept("github_client_id")?, kept("github_client_secret")?];
    let email = arguments.acme_email.as_deref().or(kept_email.as_ref().map(Secret::expose));
    let email = given.one(&ACME_EMAIL, email);
    let (id, secret) = arguments.github.given_or((kept_id, kept_secret), &mut given);
    given.settle("expose", console)?;
    if let (Some(console), true) = (console, id.is_none() || secret.is_none()) {
        let issuer = url.origin().ascii_serialization();
        console.say(&crate::cli::init::told::make_an_app(&issuer));
    }
    let answer = |question: &Question, given: Option<String>, name: &str| -> Result<String, Refusal> {
        let asked = given.is_none();
        let answer = question.answer(given, console)?;
        if asked {
            state::keep(&folder.file(name), &Secret::new(answer.clone()))?;
        }
        Ok(answer)
    };
    Ok(Public {
        email: answer(&ACME_EMAIL, email, "acme_email")?,
        client_id: Secret::new(answer(&github::ID, id, "github_client_id")?),
        client_secret: Secret::new(answer(&github::SECRET, secret, "github_client_secret")?),
    })
}

/// `upstream` with `path`, if that is not in it already.
fn at_path(upstream: &str, path: Option<&str>) -> Result<Url, String> {
    let mut url = Url::parse(upstream).map_err(|error| format!("`{upstream}` is not a URL ({error})"))?;
    let Some(path) = path else { return Ok(url) };
    if url.path() != "/" {
        return Err(format!(
            "the upstream has the path {} already; write it there or here, not twice",
            url.path()
        ));
    }
    if !path.starts_with('/') || path.contains(['?', '#']) {
        return Err(format!("`{path}` is no path; write one such as /mcp"));
    }
    url.set_path(path);
    Ok(url)
}

/// A URL that can be served like this.
fn reachable(text: &str, dev: bool) -> Result<Url, String> {
    let url = answers::public_url(text)?;
    let loopback = is_loopback_url(&url);
    if dev && !loopback {
        return Err(format!(
            "with --dev anybody comes in under any name, so `{text}` must be on this machine; write http://localhost:8080/mcp, or \
             leave --dev out"
        ));
    }
    if dev && url.scheme() == "https" {
        return Err(format!(
            "--dev speaks plain http; write {}, or try portcullis demo --https",
            text.replacen("https:", "http:", 1)
        ));
    }
    if !dev && loopback {
        return Err(format!(
            "`{text}` is on this machine; add --dev, or write the https URL under which the internet knows it"
        ));
    }
    if !dev && url.scheme() == "http" {
        return Err(format!("http is for localhost only; write {}", text.replacen("http:", "https:", 1)));
    }
    if url.path() == "/" {
        let origin = url.origin().ascii_serialization();
        return Err(format!("a path is needed; write {origin}/mcp"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stands_in_one_place() {
        let joined = |upstream, path| at_path(upstream, path).map(|url| url.to_string());
        assert_eq!(joined("http://h:1", Some("/mcp")).as_deref(), Ok("http://h:1/mcp"));
        assert_eq!(joined("http://h:1/x", None).as_deref(), Ok("http://h:1/x"));
        assert_eq!(
            joined("http://h:1/x", Some("/mcp")).unwrap_err(),
            "the upstream has the path /x already; write it there or here, not twice"
        );
        assert_eq!(
            joined("http://h:1", Some("mcp")).unwrap_err(),
            "`mcp` is no path; write one such as /mcp"
        );
    }
}
