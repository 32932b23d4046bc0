//! The credentials of the OAuth app at GitHub: never from the command line, where every user of the machine sees the secret.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use super::env_file::writable;
use super::questions::{Given, Question};
use crate::secret::Secret;

/// Where the credentials come from.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_field_names, reason = "they are the flags as people write them")]
pub(in crate::cli) struct Credentials {
    /// The client id of the OAuth app at GitHub.
    #[arg(long, value_name = "ID", env = "GITHUB_CLIENT_ID", hide_env_values = true)]
    github_client_id: Option<String>,
    /// A file with its client secret; or the environment variable `GITHUB_CLIENT_SECRET`.
    #[arg(long, value_name = "FILE")]
    github_client_secret_file: Option<PathBuf>,
    /// Refused: told off with what to do instead.
    #[arg(long, hide = true, value_name = "SECRET")]
    github_client_secret: Option<String>,
}

/// The client id.
pub(in crate::cli) const ID: Question = Question {
    flag: "--github-client-id",
    usage: "--github-client-id ID, or GITHUB_CLIENT_ID in the environment",
    prompt: "Client ID of that app",
    hidden: false,
    check: token,
};

/// The client secret.
pub(in crate::cli) const SECRET: Question = Question {
    flag: "GITHUB_CLIENT_SECRET",
    usage: "GITHUB_CLIENT_SECRET in the environment, or --github-client-secret-file FILE",
    prompt: "Client secret of that app (typed unseen)",
    hidden: true,
    check: token,
};

/// What is told to whoever writes the secret on the command line.
const SEEN: &str = "a secret on the command line is seen by everybody on this machine and stays in the shell's history; set \
                    GITHUB_CLIENT_SECRET, or write --github-client-secret-file FILE; and make another secret, since this one was seen";

impl Credentials {
    /// Id and secret as far as they were given.
    pub(in crate::cli) fn given(&self, given: &mut Given) -> (Option<String>, Option<String>) {
        self.given_or((None, None), given)
    }

    /// The same, or what was kept of them.
    pub(in crate::cli) fn given_or(
        &self,
        (kept_id, kept_secret): (Option<Secret>, Option<Secret>),
        given: &mut Given,
    ) -> (Option<String>, Option<String>) {
        let id = self.github_client_id.as_deref().filter(|id| !id.is_empty());
        let id = given.one(&ID, id.or(kept_id.as_ref().map(Secret::expose)));
        if self.github_client_secret.is_some() {
            given.judge::<()>("--github-client-secret", Err(SEEN.to_owned()));
            return (id, None);
        }
        let Some(file) = &self.github_client_secret_file else {
            let secret = std::env::var("GITHUB_CLIENT_SECRET").ok().filter(|secret| !secret.is_empty());
            let secret = secret.as_deref().or(kept_secret.as_ref().map(Secret::expose));
            return (id, given.one(&SECRET, secret));
        };
        let secret = given.judge("--github-client-secret-file", read(file));
        (id, secret)
    }
}

fn read(file: &Path) -> Result<String, String> {
    let shown = file.display();
    let text = fs::read_to_string(file).map_err(|error| {
        format!("{shown} cannot be read ({error}); write a file that is there and readable")
    })?;
    token(text.trim()).map_err(|why| format!("{shown}: {why}"))
}

/// An id or a secret: the value is not repeated, since the two are easily swapped.
fn token(text: &str) -> Result<String, String> {
    writable(text)
        .map_err(|why| format!("this cannot be used: {why}; copy it from the app's page at GitHub"))?;
    if text.contains(char::is_whitespace) {
        return Err("this has a space in it; copy it from the app's page at GitHub".to_owned());
    }
    Ok(text.to_owned())
}
