//! The variables of the old gateway, each with what becomes of it. None is dropped without a word.

use std::time::Duration;

use serde::Serialize;

use super::dotenv::DotEnv;
use crate::cli::init::plan::{Access, Directory, Edge, Plan, Service};
use crate::config::answers;
use crate::oauth::TokenLives;
use crate::secret::Secret;

/// What becomes of the variables.
#[derive(Debug, Default, Serialize)]
pub(super) struct Settings {
    /// What was taken over: the variable, and what it is now.
    pub(super) taken: Vec<Line>,
    /// What has no counterpart, and why.
    pub(super) left: Vec<Line>,
    /// What nobody knows.
    pub(super) unknown: Vec<String>,
    /// What a person should look at.
    pub(super) look: Vec<String>,
}

/// A variable and what is said of it; never its value if that is secret.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) told: String,
}

/// What was understood.
pub(super) struct Understood {
    pub(super) plan: Plan,
    pub(super) client_id: Secret,
    pub(super) client_secret: Secret,
}

/// Where every server of the old compose file listens.
const PORT: u16 = 3000;

/// What is on there without a word in its `.env`.
const DEFAULTS: &str = "services that are not named by MCP_..._ENABLED are on there by default: add those you use under `services`";

/// Variables that have no counterpart; a `*` at the end stands for anything.
const LEFT: [(&str, &str); 17] = [
    (
        "GATEWAY_JWT_SECRET",
        "signing keys are made by the gateway and replace themselves; tokens of before are not accepted",
    ),
    (
        "JWT_*",
        "signing keys are made by the gateway and replace themselves; tokens of before are not accepted",
    ),
    (
        "CLIENT_LIFETIME",
        "an unused registration lives for a day, a used one outlives its grants; imported clients keep their time",
    ),
    ("REDIS_*", "the store is written under `store`, in one URL; see --store"),
    ("MCP_PROTOCOL_VERSION*", "client and server agree on it between themselves; every revision passes"),
    ("GITHUB_PAT", "of the tests there"),
    ("GATEWAY_OAUTH_*", "of the tests there"),
    ("MCP_CLIENT_*", "of the tests there"),
    ("MCP_TESTING_URL", "of the tests there"),
    ("TEST_*", "of the tests there"),
    ("HEALTH_CHECK_*", "of the tests there"),
    ("TRAEFIK_*", "there is no Traefik any more: Portcullis itself listens on ports 443 and 80"),
    ("COMPOSE_*", "of docker compose itself; keep it in the .env of the compose file"),
    ("LOG_FILE", "the log goes to standard output"),
    ("LOG_LEVEL", "write log: { filter: info } if it is to be another one"),
    ("NODE_ENV", "of the servers behind; keep it in the .env of the compose file"),
    ("TZ", "times are told in UTC"),
];

/// Reads everything.
///
/// # Errors
/// What is missing or wrong, all at once.
pub(super) fn read(env: &DotEnv, store: String, settings: &mut Settings) -> Result<Understood, Vec<String>> {
    let mut reader = Reader { env, settings, wrong: Vec::new() };
    let domain = reader.needed("BASE_DOMAIN", answers::domain);
    let email = reader.needed("ACME_EMAIL", answers::email);
    let client_id = reader.needed("GITHUB_CLIENT_ID", |text| Ok(text.to_owned()));
    let client_secret = reader.needed("GITHUB_CLIENT_SECRET", |text| Ok(text.to_owned()));
    let users = reader.needed("ALLOWED_GITHUB_USERS", users);
    let services = reader.services(domain.as_deref());
    let origins = reader.origins();
    let tokens = reader.tokens();
    let session = reader.session();
    reader.rest();
    let Reader { wrong, settings, .. } = reader;
    let (Some(domain), Some(email), Some(client_id), Some(client_secret), Some(users)) =
        (domain, email, client_id, client_secret, users)
    else {
        return Err(wrong);
    };
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let issuer = format!("https://auth.{domain}");
    settings.took("BASE_DOMAIN", format!("issuer: {issuer}, and the hosts of the services"));
    settings.took("ACME_EMAIL", "tls.acme.email".to_owned());
    settings.took("GITHUB_CLIENT_ID", "GITHUB_CLIENT_ID in .env".to_owned());
    settings.took("GITHUB_CLIENT_SECRET", "GITHUB_CLIENT_SECRET in .env".to_owned());
    settings.took("ALLOWED_GITHUB_USERS", format!("access.users: {users}"));
    let access = Access { users: users.split(' ').map(str::to_owned).collect(), ..Access::default() };
    let plan = Plan {
        issuer,
        store,
        edge: Edge::Internet { email, directory: Directory::default() },
        access,
        origins,
        tokens,
        session,
        services,
        more: String::new(),
    };
    Ok(Understood { plan, client_id: Secret::new(client_id), client_secret: Secret::new(client_secret) })
}

impl Settings {
    fn took(&mut self, name: &str, told: String) {
        self.taken.push(Line { name: name.to_owned(), told });
    }

    fn leave(&mut self, name: &str, told: &str) {
        self.left.push(Line { name: name.to_owned(), told: told.to_owned() });
    }

    fn knows(&self, name: &str) -> bool {
        self.taken.iter().chain(&self.left).any(|line| line.name == name)
    }
}

struct Reader<'a> {
    env: &'a DotEnv,
    settings: &'a mut Settings,
    wrong: Vec<String>,
}

impl Reader<'_> {
    fn needed(&mut self, name: &str, check: fn(&str) -> Result<String, String>) -> Option<String> {
        let Some(text) = self.env.value_of(name) else {
            self.wrong.push(format!("{name} is missing"));
            return None;
        };
        check(text).map_err(|why| self.wrong.push(format!("{name}: {why}"))).ok()
    }

    /// `MCP_NAME_ENABLED`, with the host and the container that its compose file gives it.
    fn services(&mut self, domain: Option<&str>) -> Vec<Service> {
        let env = self.env;
        let mut services = Vec::new();
        let flags = env.names().filter_map(|name| Some((name, service_of(name, "_ENABLED")?)));
        for (variable, service) in flags {
            if service.ends_with("-tests") {
                self.settings.leave(variable, "of the tests there");
                continue;
            }
            let on = env.value_of(variable).unwrap_or_default().to_ascii_lowercase();
            match on.as_str() {
                "true" | "1" | "yes" | "on" => {}
                "false" | "0" | "no" | "off" | "" => {
                    self.settings.leave(variable, "it is off there");
                    continue;
                }
                _ => {
                    self.wrong.push(format!("{variable} is neither true nor false"));
                    continue;
                }
            }
            if let Err(why) = answers::service_name(&service) {
                self.wrong.push(format!("{variable}: {why}"));
                continue;
            }
            let url = format!("https://{service}.{}/mcp", domain.unwrap_or_default());
            let upstream = format!("http://mcp-{service}:{PORT}/mcp");
            self.settings.took(variable, format!("services.{service}: {url}, at {upstream}"));
            self.public_urls(variable, &service, &url);
            services.push(Service { name: service, url, upstream, numeric: true });
        }
        // Its compose file turns on whatever has no such variable, and nobody knows here what it had.
        self.settings.look.push(DEFAULTS.to_owned());
        if services.is_empty() {
            self.wrong.push("no service is on: none of MCP_..._ENABLED is true".to_owned());
        }
        services
    }

    /// `MCP_NAME_URLS` says where the tests found the service: where that is elsewhere, somebody has to look.
    fn public_urls(&mut self, enabled: &str, service: &str, url: &str) {
        let name = enabled.replacen("_ENABLED", "_URLS", 1);
        let Some(urls) = self.env.value_of(&name) else { return };
        let others: Vec<_> = urls.split(',').map(str::trim).filter(|other| *other != url).collect();
        if others.is_empty() {
            self.settings.took(&name, format!("the same as services.{service}.url"));
            return;
        }
        self.settings.leave(&name, "the URL follows from BASE_DOMAIN, as its Traefik rule did");
        self.settings.look.push(format!(
            "{name} names {} beside {url}; is services.{service}.url right?",
            others.join(", ")
        ));
    }

    fn origins(&mut self) -> Vec<String> {
        const NAME: &str = "MCP_CORS_ORIGINS";
        let Some(text) = self.env.value_of(NAME) else { return Vec::new() };
        if text.trim() == "*" {
            self.settings.leave(
                NAME,
                "`*` let every web page call; programs need no origin, and web pages are listed one by one under `origins`",
            );
            return Vec::new();
        }
        let origins: Vec<_> =
            text.split(',').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect();
        self.settings.took(NAME, format!("origins: {}", origins.join(", ")));
        origins
    }

    fn seconds(&mut self, name: &str) -> Option<Duration> {
        let text = self.env.value_of(name)?;
        let read = text.parse::<u64>().ok().filter(|seconds| (1..=TEN_YEARS).contains(seconds));
        if read.is_none() {
            self.wrong.push(format!("{name} is no number of seconds from 1 to {TEN_YEARS}"));
        }
        read.map(Duration::from_secs)
    }

    fn tokens(&mut self) -> Vec<(&'static str, String)> {
        let (access, idle) = (self.seconds("ACCESS_TOKEN_LIFETIME"), self.seconds("REFRESH_TOKEN_LIFETIME"));
        let defaults = TokenLives::default();
        let mut tokens = Vec::new();
        let idle_or_default = idle.unwrap_or(defaults.idle);
        if let Some(access) = access {
            let kept = access.min(TokenLives::LONGEST_ACCESS).min(idle_or_default);
            let told = if kept == access {
                String::new()
            } else {
                format!(" (no longer than that; there {})", time(access))
            };
            self.settings.took("ACCESS_TOKEN_LIFETIME", format!("tokens.access: {}{told}", time(kept)));
            tokens.push(("access", time(kept)));
        } else if idle_or_default < defaults.access {
            tokens.push(("access", time(idle_or_default)));
        }
        if let Some(idle) = idle {
            let told = format!("tokens.refresh_idle: {}, anew with every use", time(idle));
            self.settings.took("REFRESH_TOKEN_LIFETIME", told);
            tokens.push(("refresh_idle", time(idle)));
            if idle > defaults.absolute {
                tokens.push(("refresh_absolute", time(idle)));
            }
        }
        tokens
    }

    fn session(&mut self) -> Option<String> {
        let session = self.seconds("SESSION_TIMEOUT").map(time)?;
        self.settings
            .took("SESSION_TIMEOUT", format!("session: {session}, for how long a browser is remembered"));
        Some(session)
    }

    /// Everything else that stands there.
    fn rest(&mut self) {
        let known =
            ["BASE_DOMAIN", "ACME_EMAIL", "GITHUB_CLIENT_ID", "GITHUB_CLIENT_SECRET", "ALLOWED_GITHUB_USERS"];
        let known = known.iter().chain(&[
            "ACCESS_TOKEN_LIFETIME",
            "REFRESH_TOKEN_LIFETIME",
            "SESSION_TIMEOUT",
            "MCP_CORS_ORIGINS",
        ]);
        let known: Vec<_> = known.copied().collect();
        for name in self.env.names() {
            if self.settings.knows(name) || known.contains(&name) {
                continue;
            }
            let left = LEFT.iter().find(|(pattern, _)| match pattern.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => name == *pattern,
            });
            match left {
                Some((_, why)) => self.settings.leave(name, why),
                None if service_of(name, "_URLS").is_some() => {
                    self.settings.leave(name, "that service is off there");
                }
                None => self.settings.unknown.push(name.to_owned()),
            }
        }
        for line in &self.env.odd {
            self.settings.look.push(format!("line {line} is none of NAME=VALUE; it was not read"));
        }
        for name in &self.env.repeated {
            self.settings.look.push(format!("{name} stands there more than once; the last one counts"));
        }
    }
}

const TEN_YEARS: u64 = 10 * 365 * 24 * 60 * 60;

/// `echo-stateful` of `MCP_ECHO_STATEFUL_ENABLED`.
fn service_of(variable: &str, suffix: &str) -> Option<String> {
    let name = variable.strip_prefix("MCP_")?.strip_suffix(suffix)?;
    (!name.is_empty()).then(|| name.to_ascii_lowercase().replace('_', "-"))
}

fn users(text: &str) -> Result<String, String> {
    let users = text.split([',', ' ']).filter(|user| !user.is_empty()).map(answers::user);
    let users = users.collect::<Result<Vec<_>, _>>()?;
    if users.is_empty() {
        Err("it names nobody, so nobody would come in".to_owned())
    } else {
        Ok(users.join(" "))
    }
}

/// A length of time as the configuration has it.
fn time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86400, 'd'), (3600, 'h'), (60, 'm')];
    let unit = units.into_iter().find(|(unit, _)| seconds.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{seconds}s"), |(unit, letter)| format!("{}{letter}", seconds / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_largest_unit_that_fits() {
        let told = |seconds| time(Duration::from_secs(seconds));
        assert_eq!([86400, 2_592_000, 3600, 90, 60, 61].map(told), ["1d", "30d", "1h", "90s", "1m", "61s"]);
    }
}
