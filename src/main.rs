//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use portcullis::cli;

/// The OAuth 2.1 gateway in front of your MCP servers.
#[derive(Parser)]
#[command(name = "portcullis", bin_name = "portcullis", version, about, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway.
    Serve {
        /// The configuration.
        #[arg(default_value = "portcullis.yaml", env = "PORTCULLIS_CONFIG", hide_env_values = true)]
        file: PathBuf,
    },
    /// Say what is wrong with a configuration.
    ///
    /// Reads it as `serve` would and does nothing else: everything that is wrong is told at once, each with file, line, column
    /// and what to write instead. A file that is no YAML is told its first fault of that kind; the rest follows once it
    /// is. The exit status is 78 if anything is wrong.
    Check {
        /// The configuration.
        #[arg(default_value = "portcullis.yaml", env = "PORTCULLIS_CONFIG", hide_env_values = true)]
        file: PathBuf,
    },
    /// Write the first configuration: portcullis.yaml, and its secrets in .env.
    Init(cli::init::Arguments),
    /// Put one MCP server on the internet (or, with --dev, on this machine), without any file.
    Expose(cli::expose::Arguments),
    /// Move in from the Traefik-based MCP OAuth Gateway: its .env, and its registered clients.
    Migrate(cli::migrate::Arguments),
    /// Say whether the gateway runs: for a container's health check, and for scripts.
    Health(cli::health::Arguments),
    /// Find out what is wrong, why, and what to type: with a gateway of yours, or with any MCP server by its URL.
    Doctor(cli::doctor::Arguments),
    /// Show how it stands with a running gateway: everything at a glance.
    Status(cli::status::Arguments),
    /// Show how much a running gateway's log says, or have it say more or less for a while.
    LogLevel(cli::log_level::Arguments),
    /// Show every line that the log has of one request, or of one trace.
    Logs(cli::logs::Arguments),
    /// Write what whoever helps needs to know into one text file, without secrets, to be read before it is sent.
    SupportBundle(cli::support_bundle::Arguments),
    /// List, show or delete the clients of a running gateway.
    Client(cli::client::Arguments),
    /// List or revoke what people have allowed clients.
    Grant(cli::grant::Arguments),
    /// Say why a token would be refused, or issue one.
    Token(cli::token::Arguments),
    /// Unpin a login.
    User(cli::user::Arguments),
    /// Certificates: how it stands with them, and another one before its time.
    Cert(cli::cert::Arguments),
    /// List or rotate keys.
    Key(cli::key::Arguments),
    /// Write everything that must survive into one file, while the gateway runs or not.
    Backup(cli::backup::Arguments),
    /// Put a backup into the store, of the same kind or the other; the gateway does not run meanwhile.
    Restore(cli::restore::Arguments),
    /// Change the secret key in an env file, and Redis' password; nobody is signed out.
    RotateSecrets(cli::rotate_secrets::Arguments),
    #[cfg(feature = "echo")]
    /// Try it: a gateway on this computer with a built-in MCP server; nothing else to install or configure.
    Demo(cli::demo::Arguments),
    /// Run the built-in diagnostic MCP server alone: it knows nothing of OAuth and answers on loopback.
    #[cfg(feature = "echo")]
    EchoServer {
        /// The port on 127.0.0.1; 0 takes a free one.
        #[arg(long, default_value_t = 3000)]
        port: u16,
        /// In a container: the name by which the gateway reaches it. It then listens on every address, so keep the network private.
        #[arg(long)]
        host: Option<String>,
    },
}

const EXAMPLES: &str = "Examples:
  portcullis demo                         try it on this computer
  portcullis init                         write a configuration, from a few answers
  portcullis expose http://localhost:3002 --url https://mcp.example.com/mcp --allow octocat
                                          one server on the internet, without a file
  portcullis check portcullis.yaml        what is wrong with a configuration
  portcullis serve portcullis.yaml        run the gateway
  portcullis doctor                       what is wrong with a deployment
  portcullis echo-server --port 3000      an MCP server to put behind it";

fn main() -> ExitCode {
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("portcullis: a cryptographic provider was installed twice");
        return ExitCode::FAILURE;
    }
    match Arguments::parse().command {
        Command::Serve { file } => cli::serve::run(&file),
        Command::Check { file } => cli::check::run(&file),
        Command::Init(arguments) => cli::init::run(&arguments),
        Command::Expose(arguments) => cli::expose::run(&arguments),
        Command::Migrate(arguments) => cli::migrate::run(&arguments),
        Command::Health(arguments) => cli::health::run(&arguments),
        Command::Doctor(arguments) => cli::doctor::run(&arguments),
        Command::Status(arguments) => cli::status::run(&arguments),
        Command::LogLevel(arguments) => cli::log_level::run(&arguments),
        Command::Logs(arguments) => cli::logs::run(&arguments),
        Command::SupportBundle(arguments) => cli::support_bundle::run(&arguments),
        Command::Client(arguments) => cli::client::run(&arguments),
        Command::Grant(arguments) => cli::grant::run(&arguments),
        Command::Token(arguments) => cli::token::run(&arguments),
        Command::User(arguments) => cli::user::run(&arguments),
        Command::Cert(arguments) => cli::cert::run(&arguments),
        Command::Key(arguments) => cli::key::run(&arguments),
        Command::Backup(arguments) => cli::backup::run(&arguments),
        Command::Restore(arguments) => cli::restore::run(&arguments),
        Command::RotateSecrets(arguments) => cli::rotate_secrets::run(&arguments),
        #[cfg(feature = "echo")]
        Command::Demo(arguments) => cli::demo::run(&arguments),
        #[cfg(feature = "echo")]
        Command::EchoServer { port, host } => cli::echo_server::run(port, host.as_deref()),
    }
}
