//! `portcullis init`: the first configuration, from a few answers.

pub(in crate::cli) mod env_file;
pub(in crate::cli) mod files;
pub(in crate::cli) mod github;
pub(in crate::cli) mod plan;
pub(in crate::cli) mod questions;
pub(in crate::cli) mod told;
pub(in crate::cli) mod trial;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::console::Console;
use super::refusal::{self, Refusal};
use crate::config::answers;
use crate::secret::{Key, Secret};
use env_file::Variables;
use files::Places;
use plan::{Access, Directory, Edge, Plan, Service};
use questions::{Given, Question};

/// What to write.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Your domain: people sign in at auth.DOMAIN, and the servers are at NAME.DOMAIN.
    #[arg(long, conflicts_with = "local")]
    domain: Option<String>,
    /// Where the certificate authority can reach you.
    #[arg(long, conflicts_with = "local")]
    email: Option<String>,
    #[command(flatten)]
    github: github::Credentials,
    /// Who may come in: a login at GitHub, github:NUMBER, or "*" for everybody. May be repeated.
    #[arg(long, value_name = "USER", conflicts_with = "local")]
    allow: Vec<String>,
    /// An organisation at GitHub whose members may come in. May be repeated.
    #[arg(long, value_name = "ORGANISATION", conflicts_with = "local")]
    allow_org: Vec<String>,
    /// A team whose members may come in: ORGANISATION/TEAM. May be repeated.
    #[arg(long, value_name = "TEAM", conflicts_with = "local")]
    allow_team: Vec<String>,
    /// An MCP server: its name, and where it listens. May be repeated.
    #[arg(long, value_name = "NAME=URL")]
    service: Vec<String>,
    /// Where clients, grants and keys are kept: `file:PATH`, or a `redis://` URL with ${NAME} for the password, which is taken from the
    /// environment into .env. Without it `file:portcullis.db` beside the configuration; for root /var/lib/portcullis/portcullis.db.
    #[arg(long, value_name = "STORE")]
    store: Option<String>,
    /// For this machine alone, at `http://localhost:8080`: no certificates, and any name signs in.
    #[arg(long)]
    local: bool,
    /// The folder for portcullis.yaml and .env.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Ask nothing, even at a terminal.
    #[arg(long, short)]
    yes: bool,
}

const EXAMPLES: &str = "Examples:
  portcullis init                          asks for everything at a terminal
  portcullis init --domain example.com --email you@example.com --allow octocat \\
    --github-client-id Ov23li... --github-client-secret-file secret.txt \\
    --service fetch=http://localhost:3000/mcp
  portcullis init --local --service fetch=http://localhost:3000/mcp";

const DOMAIN: Question = Question {
    flag: "--domain",
    usage: "--domain DOMAIN",
    prompt: "Your domain (people sign in at auth.DOMAIN, servers are at NAME.DOMAIN)",
    hidden: false,
    check: answers::domain,
};

pub(in crate::cli) const EMAIL: Question = Question {
    flag: "--email",
    usage: "--email EMAIL",
    prompt: "Your e-mail address (for the certificate authority)",
    hidden: false,
    check: answers::email,
};

pub(in crate::cli) const ALLOW: Question = Question {
    flag: "--allow",
    usage: "--allow USER, --allow-org ORGANISATION or --allow-team ORGANISATION/TEAM",
    prompt: "Who may come in (logins at GitHub with spaces between them; * for everybody)",
    hidden: false,
    check: users,
};

const NAME: Question = Question {
    flag: "--service",
    usage: "--service NAME=URL",
    prompt: "Name of your first MCP server (such as fetch)",
    hidden: false,
    check: answers::service_name,
};

const UPSTREAM: Question = Question {
    flag: "--service",
    usage: "--service NAME=URL",
    prompt: "Where it listens (such as http://localhost:3000/mcp)",
    hidden: false,
    check: answers::upstream,
};

/// Where `--local` is.
const LOCAL: &str = "http://localhost:8080";

/// The command.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    refusal::report(init(arguments))
}

fn init(arguments: &Arguments) -> Result<(), Refusal> {
    let places = Places::within(&arguments.dir);
    places.are_free()?;
    let console = Console::here().filter(|_| !arguments.yes);
    let (plan, variables) = answers(arguments, console.as_ref())?;
    let yaml = plan.yaml("init");
    trial::read(&places, &yaml, &variables)?;
    places.write(&yaml, &variables)?;
    told::say(&plan, &places, &mut io::stdout().lock())?;
    Ok(())
}

/// Everything that has to be known.
fn answers(arguments: &Arguments, console: Option<&Console>) -> Result<(Plan, Variables), Refusal> {
    let mut given = Given::default();
    let asked = (arguments.store.as_deref(), default_store(arguments.local));
    let (store, mut variables) = store(asked, &|name| std::env::var(name).ok(), &mut given)?;
    let services = services(arguments, &mut given);
    if arguments.local {
        given.settle("init --local", console)?;
        let services = first_service(services, console)?;
        let services = services.into_iter().map(|(name, upstream)| local(name, upstream)).collect();
        let access = Access { users: vec!["*".to_owned()], ..Access::default() };
        return Ok((plan(LOCAL.to_owned(), store, Edge::Local, access, services), variables));
    }
    let domain = given.one(&DOMAIN, arguments.domain.as_deref());
    let email = given.one(&EMAIL, arguments.email.as_deref());
    let (id, secret) = arguments.github.given(&mut given);
    let access = access(arguments, &mut given);
    given.settle("init", console)?;

    let domain = DOMAIN.answer(domain, console)?;
    let email = EMAIL.answer(email, console)?;
    let issuer = format!("https://auth.{domain}");
    if let (Some(console), true) = (console, id.is_none() || secret.is_none()) {
        console.say(&told::make_an_app(&issuer));
    }
    let id = github::ID.answer(id, console)?;
    let secret = github::SECRET.answer(secret, console)?;
    let access = match console {
        Some(console) if access.is_empty() => {
            let asked = ALLOW.ask(console)?;
            Access { users: asked.split(' ').map(str::to_owned).collect(), ..access }
        }
        Some(_) | None => access,
    };
    let services = first_service(services, console)?;
    for (name, value) in [("GITHUB_CLIENT_ID", id), ("GITHUB_CLIENT_SECRET", secret)] {
        add(&mut variables, name, Secret::new(value))?;
    }
    let services = services.into_iter().map(|(name, upstream)| public(&domain, name, upstream)).collect();
    Ok((
        plan(issuer, store, Edge::Internet { email, directory: Directory::default() }, access, services),
        variables,
    ))
}

/// A configuration in which everything else is as usual.
pub(in crate::cli) fn plan(
    issuer: String,
    store: String,
    edge: Edge,
    access: Access,
    services: Vec<Service>,
) -> Plan {
    Plan {
        issuer,
        store,
        edge,
        access,
        origins: Vec::new(),
        tokens: Vec::new(),
        session: None,
        services,
        more: String::new(),
    }
}

fn public(domain: &str, name: String, upstream: String) -> Service {
    Service { url: format!("https://{name}.{domain}/mcp"), name, upstream, numeric: false }
}

fn local(name: String, upstream: String) -> Service {
    Service { url: format!("{LOCAL}/{name}/mcp"), name, upstream, numeric: false }
}

/// Adds a variable that must be writable into `.env`.
pub(in crate::cli) fn add(variables: &mut Variables, name: &str, value: Secret) -> Result<(), Refusal> {
    variables
        .add(name, value)
        .map_err(|why| Refusal::usage(format!("{name} cannot be written into .env: {why}")))
}

fn access(arguments: &Arguments, given: &mut Given) -> Access {
    let Arguments { allow, allow_org, allow_team, .. } = arguments;
    if allow.is_empty() && allow_org.is_empty() && allow_team.is_empty() {
        given.lacks(ALLOW.usage);
    }
    Access {
        users: given.several("--allow", allow, answers::user),
        orgs: given.several("--allow-org", allow_org, answers::org),
        teams: given.several("--allow-team", allow_team, answers::team),
    }
}

/// Several logins, with spaces or commas between them.
fn users(text: &str) -> Result<String, String> {
    let words = text.split([' ', ',']).filter(|word| !word.is_empty());
    let users = words.map(answers::user).collect::<Result<Vec<_>, _>>()?;
    if users.is_empty() {
        return Err("without anybody here nobody comes in; write a login, or *".to_owned());
    }
    Ok(users.join(" "))
}

/// Name and upstream of each service.
fn services(arguments: &Arguments, given: &mut Given) -> Vec<(String, String)> {
    if arguments.service.is_empty() {
        given.lacks(NAME.usage);
    }
    let mut services: Vec<(String, String)> = Vec::new();
    for text in &arguments.service {
        let Some((name, upstream)) = given.judge(NAME.flag, service(text)) else { continue };
        if services.iter().any(|(other, _)| *other == name) {
            given.judge::<()>(NAME.flag, Err(format!("`{name}` is there twice; keep one")));
        } else {
            services.push((name, upstream));
        }
    }
    services
}

fn service(text: &str) -> Result<(String, String), String> {
    let (name, upstream) = text.split_once('=').ok_or_else(|| {
        let shown = if text.contains('@') { "this" } else { text };
        format!("`{shown}` is no service; write NAME=URL, such as fetch=http://localhost:3000/mcp")
    })?;
    Ok((answers::service_name(name)?, answers::upstream(upstream)?))
}

fn first_service(
    given: Vec<(String, String)>,
    console: Option<&Console>,
) -> Result<Vec<(String, String)>, Refusal> {
    match console {
        Some(console) if given.is_empty() => Ok(vec![(NAME.ask(console)?, UPSTREAM.ask(console)?)]),
        Some(_) | None => Ok(given),
    }
}

/// The store as it stands in the configuration (`default` if nothing is said), and the variables so far: the secret key, and those
/// that the store names, by `lookup`.
pub(in crate::cli) fn store(
    (asked, default): (Option<&str>, &str),
    lookup: &dyn Fn(&str) -> Option<String>,
    given: &mut Given,
) -> Result<(String, Variables), Refusal> {
    let mut variables = Variables::default();
    add(&mut variables, "PORTCULLIS_SECRET_KEY", Key::random().to_hex())?;
    let Some(store) = asked else { return Ok((default.to_owned(), variables)) };
    for name in given.judge("--store", named(store)).unwrap_or_default() {
        let Some(value) = lookup(&name).filter(|value| !value.is_empty()) else {
            let text = format!("it names ${{{name}}}, which is not in the environment; set it");
            given.judge::<()>("--store", Err(text));
            continue;
        };
        if let Err(why) = variables.add(&name, Secret::new(value)) {
            given.judge::<()>("--store", Err(format!("{name} cannot be written into .env: {why}")));
        }
    }
    Ok((store.to_owned(), variables))
}

/// Where root, whose gateway is a service, and everybody else keep it.
pub(in crate::cli) fn default_store(local: bool) -> &'static str {
    if rustix::process::geteuid().is_root() && !local {
        "file:/var/lib/portcullis/portcullis.db"
    } else {
        "file:portcullis.db"
    }
}

/// The variables that the URL of a store names; an error if a password stands in it as it is.
pub(in crate::cli) fn named(store: &str) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    let mut rest = store;
    while let Some((_, after)) = rest.split_once("${") {
        let (name, after) =
            after.split_once('}').ok_or_else(|| "a `${` has no `}`; write ${NAME}".to_owned())?;
        let end = name.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(name.len());
        names.push(name[..end].to_owned());
        rest = after;
    }
    let authority = store.split_once("://").map_or("", |(_, rest)| rest);
    let before_host = authority.rsplit_once('@').map_or("", |(before, _)| before);
    let password = before_host.split_once(':').map_or("", |(_, password)| password);
    if !password.is_empty() && !password.starts_with("${") {
        return Err(
            "there is a password in it, which everybody on this machine sees; write ${REDIS_PASSWORD} in its place, in single \
             quotes, and set REDIS_PASSWORD"
                .to_owned(),
        );
    }
    Ok(names)
}
