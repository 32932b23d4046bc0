//! `portcullis doctor`: the troubleshooting guide, as a command.

mod browser;
mod progress;
mod text;

use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use url::Url;

use super::admin::{Failure, colours, print_json, run as told};
use super::door::{Door, Question, in_time, is_about_nobody};
use crate::config::{self, Checked};
use crate::doctor::inside::{self, Inside, Silence};
use crate::doctor::outside::{self, Client, Login, Manner};
use crate::doctor::{Examination, Report};
use crate::internal;
use crate::trouble::Trouble;
use browser::Opener;
use progress::Live;

/// `portcullis doctor`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{STATUS}"))]
pub struct Arguments {
    /// The gateway's configuration.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "portcullis.yaml",
        env = "PORTCULLIS_CONFIG",
        hide_env_values = true
    )]
    config: PathBuf,
    /// Look at this MCP server as a client does, and at nothing else: any server, not only one of ours.
    #[arg(long, value_name = "URL", conflicts_with_all = ["config", "service"], value_parser = web_url)]
    from_outside: Option<Url>,
    /// Look at this service of the configuration only.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Ask in the order of this client, and say where it would stop.
    #[arg(long = "as", value_name = "CLIENT")]
    client: Option<Persona>,
    /// Ask this DNS server for addresses, as the world does, and not the system: 1.1.1.1, or with a port 127.0.0.1:5353.
    #[arg(long, value_name = "ADDRESS", value_parser = dns_server)]
    resolver: Option<SocketAddr>,
    /// Trust the certificate authorities in this PEM file, too.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Compare the clock with this server's, too, in place of GitHub's.
    #[arg(long, value_name = "URL", value_parser = web_url)]
    clock: Option<Url>,
    /// Register at a foreign authorization server as clients do, and delete it again where that can be done.
    #[arg(long, requires = "from_outside")]
    register: bool,
    /// Sign in, with a browser: register, redeem the code, list the tools, refresh, revoke. No token is shown.
    #[arg(long, requires = "from_outside")]
    login: bool,
    /// How many seconds the sign-in may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "login", value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
    /// Explain a finding at length, and do nothing else; `all` lists them.
    #[arg(long, value_name = "ID")]
    explain: Option<String>,
}

/// A client, by its name on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Persona {
    Claude,
    Chatgpt,
    Vscode,
    Cursor,
    Inspector,
}

impl From<Persona> for Client {
    fn from(persona: Persona) -> Self {
        match persona {
            Persona::Claude => Self::Claude,
            Persona::Chatgpt => Self::ChatGpt,
            Persona::Vscode => Self::VsCode,
            Persona::Cursor => Self::Cursor,
            Persona::Inspector => Self::Inspector,
        }
    }
}

const EXAMPLES: &str = "Examples:
  portcullis doctor                                    everything, on the machine of the gateway
  portcullis doctor --service todo                     one service
  portcullis doctor --from-outside https://mcp.example.com/mcp
                                                       any MCP server, from anywhere
  portcullis doctor --from-outside https://mcp.example.com/mcp --as claude
                                                       where Claude would stop
  portcullis doctor --from-outside https://mcp.example.com/mcp --login
                                                       the whole sign-in, with a browser
  portcullis doctor --explain prm-resource             what a finding means";

const STATUS: &str = "Exit status: 0 nothing is wrong; 1 there are findings, or the client of --as stops; 2 it could not be looked at, or wrong arguments; 130 Ctrl-C.";

/// What could not be looked at.
const COULD_NOT_RUN: u8 = 2;

/// Somebody pressed Ctrl-C: 128 and the number of SIGINT, as shells have it.
const INTERRUPTED: u8 = 130;

/// The command.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    told(|| match &arguments.explain {
        Some(id) => explain(id, arguments.json),
        None => examine(arguments),
    })
}

fn explain(id: &str, json: bool) -> Result<ExitCode, Failure> {
    if id == "all" {
        write!(io::stdout(), "{}", text::index())?;
        return Ok(ExitCode::SUCCESS);
    }
    let unknown =
        || Failure::Usage(format!("there is no finding {id}; `portcullis doctor --explain all` lists them"));
    let trouble = Trouble::from_id(id).ok_or_else(unknown)?;
    if json {
        print_json(&trouble.to_json())?;
    } else {
        write!(io::stdout(), "{}", text::explanation(trouble, colours()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn examine(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let manner = manner(arguments)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let live = Live::start(!arguments.json);
    let report = match &arguments.from_outside {
        Some(url) => {
            let examination = Examination::new(&live);
            let opener = Opener;
            let patience = Duration::from_secs(arguments.timeout);
            let login = arguments.login.then_some(Login { browser: &opener, patience });
            runtime.block_on(outside::examine_and_sign_in(&examination, "", url, (&manner, login)));
            examination.conclude(url.as_str())
        }
        None => runtime.block_on(look_inside(arguments, &manner, &live))?,
    };
    live.end();
    tell(&report, arguments.json)
}

async fn look_inside(arguments: &Arguments, manner: &Manner, live: &Live) -> Result<Report, Failure> {
    let file = &arguments.config;
    if !file.exists() {
        return could_not(&format!(
            "there is no {}; name the gateway's configuration by --config, or look at a server by its URL: --from-outside URL",
            file.display()
        ));
    }
    let checked = config::read(file, &config::System);
    if let (Ok(checked), Some(service)) = (&checked, &arguments.service) {
        knows(checked, service)?;
    }
    let running = running(file);
    let examination = Examination::new(live);
    let service = arguments.service.as_deref();
    let inside = Inside { file, checked: &checked, running: &running, service, manner };
    inside::examine(&examination, &inside).await;
    Ok(examination.conclude(&file.display().to_string()))
}

fn knows(checked: &Checked, service: &str) -> Result<(), Failure> {
    let names: Vec<_> = checked.config.gateway.services.iter().map(|one| one.name.as_str()).collect();
    if names.contains(&service) {
        return Ok(());
    }
    could_not(&format!("there is no service {service}; there is {}", names.join(", ")))
}

/// What the gateway of `file` says of itself, if it runs.
fn running(file: &Path) -> Result<internal::Report, Silence> {
    const QUESTION: Question = Question { path: "/status", verb: "gateway/status", of_people: true };
    let file = file.to_owned();
    let asked = in_time(move || Door::of(&file)?.ask::<internal::Report>(QUESTION)).and_then(|report| report);
    asked.map_err(|why| if is_about_nobody(&why) { Silence::Stopped(why) } else { Silence::Unasked(why) })
}

fn manner(arguments: &Arguments) -> Result<Manner, Failure> {
    let roots = match &arguments.ca {
        Some(file) => match std::fs::read(file) {
            Ok(pem) => Some(pem),
            Err(error) => return could_not(&format!("{}: {error}", file.display())),
        },
        None => None,
    };
    if let (Some(pem), Some(file)) = (&roots, &arguments.ca)
        && !has_certificate(pem)
    {
        return could_not(&format!("{}: there is no certificate (BEGIN CERTIFICATE) in it", file.display()));
    }
    Ok(Manner {
        client: arguments.client.map(Into::into),
        resolver: arguments.resolver,
        roots,
        clock: arguments.clock.clone(),
        register: arguments.register,
        ours: arguments.from_outside.is_none(),
    })
}

fn has_certificate(pem: &[u8]) -> bool {
    let mut certificates = CertificateDer::pem_slice_iter(pem);
    certificates.next().is_some_and(|first| first.is_ok()) && certificates.all(|one| one.is_ok())
}

fn could_not<T>(why: &str) -> Result<T, Failure> {
    // Nothing can be said to a terminal that is gone; the exit status still tells.
    drop(writeln!(io::stderr(), "portcullis: {why}"));
    Err(Failure::Told(COULD_NOT_RUN))
}

fn tell(report: &Report, json: bool) -> Result<ExitCode, Failure> {
    if json {
        print_json(report)?;
    } else {
        write!(io::stdout(), "{}", text::report(report, colours()))?;
    }
    if report.interrupted {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    Ok(if report.is_healthy() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// A URL that can be asked.
fn web_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let url = url.ok_or("write the whole URL, such as https://mcp.example.com/mcp")?;
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err("leave out what is before the @ and after the #: no MCP client sends it".to_owned());
    }
    Ok(url)
}

/// An address, with port 53 if it has none.
fn dns_server(text: &str) -> Result<SocketAddr, String> {
    let with_port = text.parse::<SocketAddr>();
    with_port.or_else(|_| text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 53))).map_err(|_| {
        "write the address of a DNS server, such as 1.1.1.1, or with a port 127.0.0.1:5353".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_url_of_the_web_can_be_asked() {
        assert_eq!(web_url("https://a.example").unwrap().as_str(), "https://a.example/");
        for wrong in [
            "a.example/mcp",
            "ftp://a.example/",
            "mailto:a@b.example",
            "https://u:p@a.example/",
            "https://a.example/#x",
        ] {
            assert!(web_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_dns_server_has_port_53_unless_it_says_another() {
        assert_eq!(dns_server("1.1.1.1").unwrap().to_string(), "1.1.1.1:53");
        assert_eq!(dns_server("::1").unwrap().to_string(), "[::1]:53");
        assert_eq!(dns_server("127.0.0.1:5353").unwrap().to_string(), "127.0.0.1:5353");
        assert!(dns_server("resolver.example").is_err());
    }
}
