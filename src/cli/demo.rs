//! `portcullis demo`: the main job on one computer, with nothing to install or configure.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use super::{port, serve, state};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::serve::Passed;
use crate::{echo, telemetry};

/// How to run the demo.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// The port; without it 8080 (8443 with --https), the one used last time with this data, or the next free one.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Serve https with a local certificate authority instead of http.
    #[arg(long)]
    https: bool,
    /// Where the store, the secret key and the certificates are kept; without it
    /// `$XDG_STATE_HOME/portcullis/demo`, or `~/.local/state/portcullis/demo`.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Log every request as it is answered.
    #[arg(long, short)]
    verbose: bool,
}

/// Runs the demo until it is interrupted.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    let filter = if arguments.verbose { "info" } else { "warn" };
    telemetry::start(&telemetry::Settings { filter: filter.to_owned(), ..telemetry::Settings::default() });
    let served = serve::control_runtime().and_then(|control| control.block_on(demo(arguments)));
    super::report(served)
}

async fn demo(arguments: &Arguments) -> anyhow::Result<()> {
    let data = arguments.data.clone().map_or_else(default_data, Ok)?;
    state::create_private(&data)?;
    let port = choose_port(arguments, &data)?;
    let echo = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.context("the built-in MCP server")?;
    let yaml = configuration(arguments, &data, port, echo.local_addr()?.port())?;
    tokio::spawn(async move {
        if let Err(error) = echo::serve(echo, std::future::pending(), || SystemClock.now().seconds()).await {
            tracing::error!(%error, "the built-in MCP server has ended");
        }
    });
    let config = Config::from_text(&yaml)
        .map_err(|problems| anyhow::anyhow!("the demo's configuration: {problems}"))?;
    let issuer = config.gateway.issuer.clone();
    let https = arguments.https;
    let ready = |_| async move { drop(say(&issuer, https, &data)) };
    serve::serve(config, None, Passed::default(), ready).await
}

fn default_data() -> anyhow::Result<PathBuf> {
    Ok(state::of_user()?.join("portcullis/demo"))
}

/// The port asked for; else the one this data was used with, since a changed port changes every URL; else the first free one.
fn choose_port(arguments: &Arguments, data: &Path) -> anyhow::Result<u16> {
    let kept = data.join(if arguments.https { "port-https" } else { "port" });
    let asked = arguments.port.or_else(|| fs::read_to_string(&kept).ok()?.trim().parse().ok());
    if let Some(port) = asked {
        anyhow::ensure!(is_free(port), port::Taken { port, other: "or choose another with --port" });
        return keep_port(&kept, port);
    }
    let first = if arguments.https { 8443 } else { 8080 };
    for port in first..first + 100 {
        if is_free(port) {
            return keep_port(&kept, port);
        }
        eprintln!("Port {port} is taken{}; trying the next.", port::by_whom(port));
    }
    anyhow::bail!("no port from {first} on is free; choose one with --port")
}

fn keep_port(file: &Path, port: u16) -> anyhow::Result<u16> {
    fs::write(file, format!("{port}\n")).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(port)
}

/// Free on both loopback addresses: `localhost` is either.
fn is_free(port: u16) -> bool {
    let v6 = match TcpListener::bind(("::1", port)) {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::AddrNotAvailable,
    };
    v6 && TcpListener::bind(("127.0.0.1", port)).is_ok()
}

fn configuration(arguments: &Arguments, data: &Path, port: u16, echo: u16) -> anyhow::Result<String> {
    let scheme = if arguments.https { "https" } else { "http" };
    let path = |name: &str| serde_json::to_string(&data.join(name).to_string_lossy());
    let store = serde_json::to_string(&format!("file:{}", data.join("portcullis.db").display()))?;
    let edge = if arguments.https {
        format!("listen: {{ https: \"localhost:{port}\", http: [] }}\ntls: {{ local_ca: {} }}", path("")?)
    } else {
        format!("listen: {{ http: \"localhost:{port}\" }}\ntls: off")
    };
    Ok(format!(
        "issuer: {scheme}://localhost:{port}
secret_key: {key}
store: {store}
{edge}
identity: {{ dev: {{}} }}
access: {{ users: [\"*\"] }}
drain: 3s
services:
  echo:
    url: {scheme}://localhost:{port}/mcp
    upstream: http://127.0.0.1:{echo}/mcp
",
        key = state::secret_key(&data.join("secret_key"))?.expose(),
    ))
}

fn say(issuer: &str, https: bool, data: &Path) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let url = format!("{issuer}/mcp");
    let (bold, plain) = if out.is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    writeln!(
        out,
        "Portcullis is up. The MCP server behind it (tools: echo, whoami, headers, time, slow) is at\n"
    )?;
    writeln!(out, "    {bold}{url}{plain}\n")?;
    if https {
        let ca = data.join("ca.pem");
        writeln!(
            out,
            "Its certificate is signed by {}: clients must trust it,\ne.g. export NODE_EXTRA_CA_CERTS={0}\n",
            ca.display()
        )?;
    }
    writeln!(out, "Paste into a client; it opens a browser, where any name signs in:\n")?;
    writeln!(out, "  Claude Code  claude mcp add --transport http demo {url}")?;
    writeln!(
        out,
        "  VS Code      code --add-mcp '{{\"name\":\"demo\",\"type\":\"http\",\"url\":\"{url}\"}}'"
    )?;
    writeln!(
        out,
        "  Cursor       ~/.cursor/mcp.json: {{\"mcpServers\":{{\"demo\":{{\"url\":\"{url}\"}}}}}}"
    )?;
    writeln!(out, "  Inspector    npx @modelcontextprotocol/inspector  (Streamable HTTP, {url})\n")?;
    writeln!(
        out,
        "Open {bold}{issuer}{plain} in a browser for the same. Data: {}. Ctrl-C stops.",
        data.display()
    )?;
    out.flush()
}
