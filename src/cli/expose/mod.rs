//! `portcullis expose`: the gateway for one MCP server, without any file. The configuration is written as text and read by the
//! same code as a file, so every rule is the same.

mod folder;
mod told;
mod wanted;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use url::Url;

use super::console::Console;
use super::init::env_file::Variables;
use super::init::files::Places;
use super::init::plan::{Directory, Edge, Plan, Service};
use super::init::{self, github, trial};
use super::refusal::{self, Refusal};
use super::{port, serve, state};
use crate::config::{Checked, Problems, answers};
use crate::serve::{Listeners, Passed};
use crate::telemetry;
use folder::Folder;
use wanted::Wanted;

/// What to expose.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Where the MCP server listens, such as `http://localhost:3002`.
    upstream: Option<String>,
    /// What people paste into their client, such as `https://mcp.example.com/mcp`; they sign in at the same host.
    #[arg(long)]
    url: Option<String>,
    /// The path at the server behind, if it is not in UPSTREAM; without it the one of the URL.
    #[arg(long)]
    path: Option<String>,
    /// Who may come in: a login at GitHub, github:NUMBER, or "*" for everybody. May be repeated.
    #[arg(long, value_name = "USER")]
    allow: Vec<String>,
    /// An organisation at GitHub whose members may come in. May be repeated.
    #[arg(long, value_name = "ORGANISATION")]
    allow_org: Vec<String>,
    /// Where the certificate authority (Let's Encrypt) can reach you.
    #[arg(long, value_name = "EMAIL")]
    acme_email: Option<String>,
    /// Another certificate authority than Let's Encrypt: the https URL of its ACME directory, or letsencrypt-staging to try things out
    /// with certificates that nobody trusts.
    #[arg(long, value_name = "URL")]
    acme_directory: Option<String>,
    /// The roots by which that directory is trusted, where this machine does not trust it; PEM.
    #[arg(long, value_name = "FILE", requires = "acme_directory")]
    acme_ca_file: Option<PathBuf>,
    #[command(flatten)]
    github: github::Credentials,
    /// On this machine alone: plain http, and anybody under any name without a password.
    #[arg(long)]
    dev: bool,
    /// Do not listen on port 80, which only leads people to port 443 and helps to get the certificate.
    #[arg(long)]
    https_only: bool,
    /// Where clients, grants and keys are kept: `file:PATH`, or a `redis://` URL with ${NAME} for the password. Without it a file
    /// in the state directory.
    #[arg(long)]
    store: Option<String>,
    /// The state directory: store, secret key, and what was asked for. Without it `$XDG_STATE_HOME/portcullis/HOST`,
    /// `~/.local/state/portcullis/HOST`, or for root `/var/lib/portcullis/HOST`.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Log every request as it is answered.
    #[arg(long, short)]
    verbose: bool,
    /// A server on stdio: not there yet.
    #[arg(last = true, hide = true)]
    command: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  portcullis expose http://localhost:3002 --url https://mcp.example.com/mcp --allow octocat
      one server on the internet: certificate from Let's Encrypt, sign-in by GitHub (asked for
      once, or from the environment variables GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET)
  portcullis expose http://localhost:3002/v1/mcp --url https://mcp.example.com/mcp --allow-org example
      the server has another path than the URL
  portcullis expose http://localhost:3002 --url http://localhost:8080/mcp --dev
      on this machine, to try it out: any name signs in";

/// Runs the gateway until it is interrupted.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    refusal::report(expose(arguments))
}

fn expose(arguments: &Arguments) -> Result<(), Refusal> {
    let console = Console::here();
    let (wanted, folder) = Wanted::of(arguments, console.as_ref())?;
    let plan = plan(arguments, &wanted, &folder);
    let variables = variables(&wanted, &folder)?;
    let places = Places::within(folder.path());
    let checked = trial::read(&places, &plan.yaml("expose"), &variables)
        .map_err(|problems| without_places(&problems))?;
    let Checked { config, .. } = checked;
    let filter = if arguments.verbose { "info" } else { "warn" };
    telemetry::start(&telemetry::Settings { filter: filter.to_owned(), ..telemetry::Settings::default() });
    // Before anything is said of it: the sockets are bound again by what serves.
    drop(
        Listeners::bind(&config.serve, &mut Passed::default())
            .map_err(|error| port::explained_with(error, &config.serve, OTHER))?,
    );
    told::before(&plan, &wanted, &folder)?;
    let control = serve::control_runtime()?;
    let ready = async move |keepers| told::ready(&plan, &wanted, keepers);
    Ok(control.block_on(serve::serve(config, None, Passed::default(), ready))?)
}

/// How to choose another port.
const OTHER: &str = "or write another port in --url (and --https-only leaves port 80 alone)";

fn plan(arguments: &Arguments, wanted: &Wanted, folder: &Folder) -> Plan {
    let file = || format!("file:{}", folder.file("portcullis.db").display()).replace('$', "$$");
    let store = arguments.store.clone().unwrap_or_else(file);
    let edge = match &wanted.public {
        Some(public) => {
            let directory =
                Directory { url: arguments.acme_directory.clone(), roots: arguments.acme_ca_file.clone() };
            Edge::Internet { email: public.email.clone(), directory }
        }
        None => Edge::Local,
    };
    let service = Service {
        name: name(&wanted.url),
        url: wanted.url.as_str().trim_end_matches('/').to_owned(),
        upstream: wanted.upstream.to_string(),
        numeric: false,
    };
    let issuer = wanted.url.origin().ascii_serialization();
    let plan = init::plan(issuer, store, edge, wanted.access.clone(), vec![service]);
    Plan { more: listen(arguments, wanted), ..plan }
}

/// What the service is called: the first label of the host, where that can be a name.
fn name(url: &Url) -> String {
    let label = url.domain().and_then(|host| host.split('.').next());
    label
        .filter(|label| answers::service_name(label).is_ok() && *label != "localhost")
        .unwrap_or("mcp")
        .to_owned()
}

fn listen(arguments: &Arguments, wanted: &Wanted) -> String {
    // Streams stand open for long, and whoever presses Ctrl-C does not want to wait for them.
    let drain = "drain: 3s\n";
    let listen = match (&wanted.public, wanted.url.port()) {
        (Some(_), Some(port)) => format!("listen: {{ https: \":{port}\", http: [] }}\n"),
        (Some(_), None) if arguments.https_only => "listen: { http: [] }\n".to_owned(),
        (Some(_) | None, _) => String::new(),
    };
    format!("{drain}{listen}")
}

fn variables(wanted: &Wanted, folder: &Folder) -> Result<Variables, Refusal> {
    let mut variables = Variables::default();
    init::add(&mut variables, "PORTCULLIS_SECRET_KEY", state::secret_key(&folder.file("secret_key"))?)?;
    if let Some(public) = &wanted.public {
        init::add(&mut variables, "GITHUB_CLIENT_ID", public.client_id.clone())?;
        init::add(&mut variables, "GITHUB_CLIENT_SECRET", public.client_secret.clone())?;
    }
    Ok(variables)
}

/// What is wrong, without its place in a file that nobody has.
fn without_places(problems: &Problems) -> Refusal {
    let bare = |line: &String| {
        let text = line.splitn(4, ':').nth(3).unwrap_or(line);
        text.trim_start().to_owned()
    };
    Refusal::Usage(problems.lines().iter().map(bare).collect())
}

#[cfg(test)]
mod tests {
    use super::wanted::Public;
    use super::*;
    use crate::certs;
    use crate::cli::init::plan::Access;
    use crate::secret::Secret;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn config(url: &str, more: &[&str]) -> crate::config::Config {
        let arguments = Line::parse_from([&["expose"], more].concat()).arguments;
        let data = tempfile::tempdir().unwrap();
        let folder = Folder::of(&Url::parse(url).unwrap(), Some(&data.path().join("state"))).unwrap();
        let wanted = Wanted {
            url: Url::parse(url).unwrap(),
            upstream: Url::parse("http://localhost:3002").unwrap(),
            access: Access { users: vec!["octocat".into()], ..Access::default() },
            public: Some(Public {
                email: "you@example.com".into(),
                client_id: Secret::new("Ov23liABCDEFGHIJKLMN".into()),
                client_secret: Secret::new("0123456789abcdef0123456789abcdef01234567".into()),
            }),
        };
        let (plan, variables) = (plan(&arguments, &wanted, &folder), variables(&wanted, &folder).unwrap());
        trial::read(&Places::within(folder.path()), &plan.yaml("expose"), &variables).unwrap().config
    }

    #[test]
    fn on_the_internet_it_orders_a_certificate_for_its_one_host() {
        let config = config("https://mcp.example.com/mcp", &[]);
        let certs::Settings::Acme(acme) = &config.tls else { panic!("{:?}", config.tls) };
        assert_eq!((acme.email.as_str(), acme.challenges.len()), ("you@example.com", 2));
        assert_eq!(config.hosts(), ["mcp.example.com"]);
        assert_eq!(config.gateway.issuer, "https://mcp.example.com");
        let service = &config.gateway.services[0];
        assert_eq!(
            (service.name.as_str(), service.resource.as_str()),
            ("mcp", "https://mcp.example.com/mcp")
        );
        let ports = |addresses: &[std::net::SocketAddr]| {
            addresses.iter().map(std::net::SocketAddr::port).collect::<Vec<_>>()
        };
        assert_eq!((ports(&config.serve.listen), ports(&config.serve.redirect)), (vec![443], vec![80]));
    }

    #[test]
    fn another_port_or_https_only_leaves_port_80_alone() {
        let other = config("https://mcp.example.com:8443/mcp", &[]);
        assert_eq!(other.serve.listen[0].port(), 8443);
        assert!(other.serve.redirect.is_empty());
        let only = config("https://mcp.example.com/mcp", &["--https-only"]);
        assert_eq!(only.serve.listen[0].port(), 443);
        assert!(only.serve.redirect.is_empty());
    }
}
