//! The configuration that is to be written, and its text: every value in a spelling that YAML and `${...}` leave alone.

use std::fmt::Write as _;
use std::path::PathBuf;

/// A configuration in the making.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Plan {
    /// `issuer`.
    pub(in crate::cli) issuer: String,
    /// `store` as it is to stand there: with variables, so that no password does.
    pub(in crate::cli) store: String,
    /// Where TLS ends, and who signs people in.
    pub(in crate::cli) edge: Edge,
    /// `access`.
    pub(in crate::cli) access: Access,
    /// `origins`.
    pub(in crate::cli) origins: Vec<String>,
    /// `tokens`: access, `refresh_idle`, `refresh_absolute`; each a length of time.
    pub(in crate::cli) tokens: Vec<(&'static str, String)>,
    /// `session`.
    pub(in crate::cli) session: Option<String>,
    /// `services`.
    pub(in crate::cli) services: Vec<Service>,
    /// Further lines, each a key of its own.
    pub(in crate::cli) more: String,
}

/// Where TLS ends, and who signs people in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Edge {
    /// Here, with certificates by ACME; GitHub does.
    Internet {
        /// `tls.acme.email`.
        email: String,
        /// Who gives them.
        directory: Directory,
    },
    /// Nowhere: this machine only, where anybody may say any name.
    Local,
}

/// A certificate authority; Let's Encrypt if nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Directory {
    /// `tls.acme.directory`.
    pub(in crate::cli) url: Option<String>,
    /// `tls.acme.ca_file`.
    pub(in crate::cli) roots: Option<PathBuf>,
}

/// Who may come in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Access {
    pub(in crate::cli) users: Vec<String>,
    pub(in crate::cli) orgs: Vec<String>,
    pub(in crate::cli) teams: Vec<String>,
}

impl Access {
    /// Whether nobody may.
    pub(in crate::cli) const fn is_empty(&self) -> bool {
        self.users.is_empty() && self.orgs.is_empty() && self.teams.is_empty()
    }
}

/// One of `services`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Service {
    pub(in crate::cli) name: String,
    pub(in crate::cli) url: String,
    pub(in crate::cli) upstream: String,
    /// `user_id: numeric`.
    pub(in crate::cli) numeric: bool,
}

impl Plan {
    /// The file's text; `from` is the command that wrote it.
    pub(in crate::cli) fn yaml(&self, from: &str) -> String {
        let mut yaml = format!(
            "# Written by `portcullis {from}`. config/portcullis.yaml explains every key; `portcullis check` tells what is wrong.\n\
             # ${{NAME}} is a variable of the environment: those here stand in .env.\n\n\
             # Where people sign in. Tokens and clients know the gateway by this text: changing it makes everybody sign in again.\n\
             issuer: {}\n\n\
             # What is secret in the store is sealed under it. Keep a copy.\n\
             secret_key: ${{PORTCULLIS_SECRET_KEY}}\n\
             # The one of before, for as long as `portcullis rotate-secrets` needs it; an empty one is none.\n\
             secret_key_previous: ${{PORTCULLIS_SECRET_KEY_PREVIOUS:-}}\n\n\
             # Where clients, grants and keys are kept.\n\
             store: {}\n",
            scalar(&self.issuer),
            quoted(&self.store),
        );
        yaml.push_str(&self.edge.yaml());
        yaml.push_str(&self.access.yaml());
        yaml.push_str(&self.rest());
        yaml.push_str(&self.more);
        yaml.push_str("\n# The MCP servers: what people paste into their client, and where the server listens.\nservices:\n");
        for service in &self.services {
            yaml.push_str(&service.yaml());
        }
        yaml
    }

    fn rest(&self) -> String {
        let mut yaml = String::new();
        if !self.origins.is_empty() {
            let _ = write!(
                yaml,
                "\n# Web pages that may call the services from a browser.\norigins: {}\n",
                list(&self.origins)
            );
        }
        if !self.tokens.is_empty() {
            yaml.push_str("\n# How long tokens live.\ntokens:\n");
            for (key, time) in &self.tokens {
                let _ = writeln!(yaml, "  {key}: {}", scalar(time));
            }
        }
        if let Some(session) = &self.session {
            let _ = write!(
                yaml,
                "\n# How long a browser is remembered, so that the next client is approved by one click.\nsession: {}\n",
                scalar(session)
            );
        }
        yaml
    }

    /// The host of every URL, each once, the issuer's first.
    pub(in crate::cli) fn hosts(&self) -> Vec<String> {
        let urls = std::iter::once(&self.issuer).chain(self.services.iter().map(|service| &service.url));
        let mut hosts = Vec::new();
        for url in urls.filter_map(|url| url::Url::parse(url).ok()) {
            let host = url.host_str().unwrap_or_default().to_owned();
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        hosts
    }
}

impl Edge {
    fn yaml(&self) -> String {
        match self {
            Self::Internet { email, directory } => format!(
                "\n# From Let's Encrypt, unless it says otherwise. Ports 443 and 80 must be reached from the internet.\n\
                 tls:\n  acme: {{ email: {}{} }}\n\n\
                 # Of an OAuth app at GitHub whose callback URL is <issuer>/callback.\n\
                 identity:\n  github:\n    client_id: ${{GITHUB_CLIENT_ID}}\n    client_secret: ${{GITHUB_CLIENT_SECRET}}\n",
                scalar(email),
                directory.yaml()
            ),
            Self::Local => {
                "\n# This machine only: plain http, and anybody under any name without a password.\n\
                            tls: off\nidentity:\n  dev: {}\n"
                    .to_owned()
            }
        }
    }
}

impl Directory {
    fn yaml(&self) -> String {
        let roots = self.roots.as_ref().map(|file| file.display().to_string());
        let keys = [("directory", &self.url), ("ca_file", &roots)];
        let keys =
            keys.into_iter().filter_map(|(key, value)| Some(format!(", {key}: {}", scalar(value.as_ref()?))));
        keys.collect()
    }
}

impl Access {
    fn yaml(&self) -> String {
        let mut yaml = String::from(
            "\n# Who may come in: logins (or \"*\" for everybody), members of organisations, of teams. Nobody else does.\naccess:\n",
        );
        for (key, rules) in [("users", &self.users), ("orgs", &self.orgs), ("teams", &self.teams)] {
            if !rules.is_empty() {
                let _ = writeln!(yaml, "  {key}: {}", list(rules));
            }
        }
        yaml
    }
}

impl Service {
    fn yaml(&self) -> String {
        let Self { name, url, upstream, numeric } = self;
        let mut yaml =
            format!("  {}:\n    url: {}\n    upstream: {}\n", scalar(name), scalar(url), scalar(upstream));
        if *numeric {
            yaml.push_str("    # X-User-Id is the bare number.\n    user_id: numeric\n");
        }
        yaml
    }
}

fn list(texts: &[String]) -> String {
    let texts: Vec<_> = texts.iter().map(|text| scalar(text)).collect();
    format!("[{}]", texts.join(", "))
}

/// `text` as a value that means just this text.
fn scalar(text: &str) -> String {
    quoted(&text.replace('$', "$$"))
}

/// `text` as a value, bare where YAML takes it for text and inside `[ ]` too. Variables in it stay variables.
fn quoted(text: &str) -> String {
    const WORDS: [&str; 11] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "inf", "nan"];
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/:@+".contains(&byte);
    let bare = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(plain)
        && !text.ends_with(':')
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if bare {
        return text.to_owned();
    }
    // JSON's strings are YAML's.
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_back_as_the_text_that_it_is() {
        for text in [
            "octocat",
            "*",
            "true",
            "NULL",
            "1e3",
            "12",
            "0x1f",
            "github:583231",
            "a#b",
            "a: b",
            "- a",
            "é",
            "a\"b",
            "~",
            "http://h:1/mcp",
            "90d",
            "you+mcp@example.com",
            "{a}",
            "a,b",
            "",
            "=",
            "x:",
            "2026-01-01",
            "1:30",
        ] {
            let yaml = format!("a: {}\nb: [{0}]\n", scalar(text));
            let read: std::collections::BTreeMap<String, serde_yaml::Value> =
                serde_yaml::from_str(&yaml).unwrap();
            assert_eq!(read["a"].as_str(), Some(text), "{yaml}");
            assert_eq!(read["b"][0].as_str(), Some(text), "{yaml}");
        }
        assert_eq!(scalar("a$b"), "\"a$$b\"", "no variable");
    }
}
