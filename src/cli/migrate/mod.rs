//! `portcullis migrate`: from the Traefik-based MCP OAuth Gateway. Its `.env` becomes a configuration, and its registered clients
//! come into our store, so that connected MCP clients keep their ids. Tokens and grants do not come along: for which server they
//! were was never checked there.

mod clients;
mod dotenv;
mod imported;
mod report;
mod settings;
mod source;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use super::init::env_file::Variables;
use super::init::files::Places;
use super::init::plan::Plan;
use super::init::questions::Given;
use super::init::{self, trial};
use super::refusal::{self, Refusal};
use super::serve;
use crate::config::{self, Checked, Config};
use dotenv::DotEnv;
use imported::Imported;
use report::Report;

/// What to move in.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The .env of the old gateway; it is only read.
    #[arg(long, value_name = "FILE")]
    from_env: Option<PathBuf>,
    /// The Redis of the old gateway, whose registered clients are imported; it is only read. ${NAME} in single quotes is a variable of
    /// the old .env or of the environment.
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// The folder for portcullis.yaml and .env.
    #[arg(long, value_name = "DIR", default_value = "portcullis")]
    dir: PathBuf,
    /// Where clients, grants and keys are kept: `file:PATH`, or a `redis://` URL with ${NAME} for the password, which goes into .env.
    /// Without it `file:portcullis.db` beside the configuration; for root /var/lib/portcullis/portcullis.db.
    #[arg(long, value_name = "STORE", requires = "from_env")]
    store: Option<String>,
    /// Without --from-env: the configuration whose store the clients come into.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "portcullis.yaml",
        env = "PORTCULLIS_CONFIG",
        hide_env_values = true
    )]
    config: PathBuf,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// The report as JSON.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  portcullis migrate --from-env .env --dry-run
  portcullis migrate --from-env .env --redis 'redis://:${REDIS_PASSWORD}@localhost:6379/0'
      writes portcullis/portcullis.yaml and portcullis/.env, and imports the clients into its store
  portcullis migrate --redis redis://localhost:6379/0 --config portcullis.yaml
      imports the clients alone";

/// The command.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    refusal::report(migrate(arguments))
}

fn migrate(arguments: &Arguments) -> Result<(), Refusal> {
    if arguments.from_env.is_none() && arguments.redis.is_none() {
        return Err(Refusal::usage("migrate needs --from-env FILE, --redis URL, or both"));
    }
    let env = arguments.from_env.as_deref().map(old_variables).transpose()?;
    let control = serve::control_runtime()?;
    let records = match &arguments.redis {
        Some(url) => Some(control.block_on(source::records(&redis_url(url, env.as_ref())?))?),
        None => None,
    };
    let mut report = Report::of(arguments.dry_run);
    let mut written = match &env {
        Some(env) => Some(New::of(arguments, env, &mut report)?),
        None => None,
    };
    let config = match &written {
        Some(new) => new.read()?,
        None => configured(&arguments.config)?,
    };
    let imported = records.map(|records| Imported::judge(records, &config, &mut report));
    if imported.as_ref().is_some_and(Imported::has_secrets) {
        match &mut written {
            Some(new) => imported::ADVERTISED.clone_into(&mut new.plan.more),
            None if config.gateway.imported_secrets => {}
            None => report.settings.look.push(imported::ADVERTISE.to_owned()),
        }
    }
    if let Some(new) = &written {
        let config = new.read()?;
        if !arguments.dry_run {
            new.places.write(&new.yaml(), &new.variables)?;
        }
        report.has_new(new, &config);
    }
    if let Some(imported) = &imported
        && !arguments.dry_run
    {
        control.block_on(imported.write(&config, &mut report))?;
    }
    report.say(arguments.json)?;
    Ok(())
}

/// The configuration that the old variables become.
struct New {
    plan: Plan,
    variables: Variables,
    places: Places,
}

impl New {
    fn of(arguments: &Arguments, env: &DotEnv, report: &mut Report) -> Result<Self, Refusal> {
        let places = Places::within(&arguments.dir);
        places.are_free()?;
        let mut given = Given::default();
        let lookup = |name: &str| variable(env, name);
        let asked = (arguments.store.as_deref(), init::default_store(false));
        let (store, mut variables) = init::store(asked, &lookup, &mut given)?;
        given.settle("migrate", None)?;
        let file = arguments.from_env.as_deref().unwrap_or(Path::new(".env")).display().to_string();
        let named = |lines: Vec<String>| lines.into_iter().map(|line| format!("{file}: {line}")).collect();
        let understood = settings::read(env, store, &mut report.settings);
        let understood = understood.map_err(|lines| Refusal::Usage(named(lines)))?;
        init::add(&mut variables, "GITHUB_CLIENT_ID", understood.client_id)?;
        init::add(&mut variables, "GITHUB_CLIENT_SECRET", understood.client_secret)?;
        Ok(Self { plan: understood.plan, variables, places })
    }

    fn yaml(&self) -> String {
        self.plan.yaml("migrate")
    }

    fn read(&self) -> Result<Config, Refusal> {
        Ok(trial::read(&self.places, &self.yaml(), &self.variables)?.config)
    }
}

fn old_variables(file: &Path) -> Result<DotEnv, Refusal> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(DotEnv::parse(&text))
}

/// What stands in the old `.env`, or else in the environment.
fn variable(env: &DotEnv, name: &str) -> Option<String> {
    env.value_of(name).map(str::to_owned).or_else(|| std::env::var(name).ok())
}

/// The URL with its variables put in, each as it has to be in a URL.
fn redis_url(url: &str, env: Option<&DotEnv>) -> Result<String, Refusal> {
    let refused = |why: &str| Refusal::usage(format!("--redis: {why}"));
    let names = init::named(url).map_err(|why| refused(&why))?;
    let empty = DotEnv::default();
    let mut whole = url.to_owned();
    for name in names {
        let value =
            variable(env.unwrap_or(&empty), &name).filter(|value| !value.is_empty()).ok_or_else(|| {
                refused(&format!(
                    "it names ${{{name}}}, which is neither in the old .env nor in the environment; set it"
                ))
            })?;
        let encoded = percent_encoding::utf8_percent_encode(&value, crate::oauth::RESERVED).to_string();
        whole = whole.replace(&format!("${{{name}}}"), &encoded);
    }
    config::answers::redis(&whole).map_err(|why| refused(&why.replace("`store`", "it")))?;
    Ok(whole)
}

fn configured(file: &Path) -> Result<Config, Refusal> {
    let Checked { config, .. } = config::read(file, &config::System)?;
    Ok(config)
}
