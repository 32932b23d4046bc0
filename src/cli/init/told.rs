//! What `init` says: what is to be done outside, and how the two files come to the gateway.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::files::Places;
use super::plan::{Edge, Plan};

/// How to make the OAuth app, before its id is asked for.
pub(in crate::cli) fn make_an_app(issuer: &str) -> String {
    format!(
        "Make an OAuth app at https://github.com/settings/applications/new\n\
         \x20   Homepage URL                {issuer}\n\
         \x20   Authorization callback URL  {issuer}/callback\n\
         and generate a client secret on its page."
    )
}

/// Says everything.
pub(super) fn say(plan: &Plan, places: &Places, out: &mut dyn Write) -> io::Result<()> {
    written(places, out)?;
    let mut number = 1;
    if plan.edge != Edge::Local {
        writeln!(out, "\n1. At GitHub: {}", make_an_app(&plan.issuer).replace('\n', "\n   "))?;
        writeln!(out, "\n2. In your DNS, with this machine's public address (AAAA for IPv6):")?;
        records(plan, out)?;
        writeln!(out, "   Ports 443 and 80 of this machine must be reached from the internet.")?;
        number = 3;
    }
    writeln!(out, "\n{number}. Check and start it:")?;
    commands(places, out)?;
    writeln!(out, "\nThen paste into an MCP client:")?;
    for service in &plan.services {
        writeln!(out, "     {}", service.url)?;
    }
    out.flush()
}

/// What was written.
pub(in crate::cli) fn written(places: &Places, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "Written:")?;
    writeln!(out, "     {}  the configuration", places.yaml.display())?;
    writeln!(
        out,
        "     {}  its secrets, for their owner only; keep a copy of the secret key",
        places.env.display()
    )
}

/// The DNS records, one for each host.
pub(in crate::cli) fn records(plan: &Plan, out: &mut dyn Write) -> io::Result<()> {
    let hosts = plan.hosts();
    let width = hosts.iter().map(String::len).max().unwrap_or_default();
    for host in &hosts {
        writeln!(out, "     {host:width$}  A  ADDRESS")?;
    }
    let domain = plan.issuer.strip_prefix("https://auth.");
    if let Some(domain) = domain.filter(|domain| hosts.iter().all(|host| host.ends_with(*domain))) {
        writeln!(out, "   or for all of them, and those to come:")?;
        let any = format!("*.{domain}");
        writeln!(out, "     {any:width$}  A  ADDRESS")?;
    }
    Ok(())
}

/// How the variables come to the gateway. It reads the environment only: whoever starts it says which one.
pub(in crate::cli) fn commands(places: &Places, out: &mut dyn Write) -> io::Result<()> {
    let (yaml, env) = (shell(&places.yaml), shell(&sourced(places)));
    writeln!(out, "     set -a; . {env}; set +a")?;
    writeln!(out, "     portcullis check {yaml}")?;
    writeln!(out, "     portcullis serve {yaml}")?;
    writeln!(out, "   A service manager brings the variables itself:")?;
    // systemd takes no other path.
    let absolute = std::path::absolute(&places.env)?;
    writeln!(out, "     systemd   EnvironmentFile={}", absolute.display())?;
    writeln!(
        out,
        "               (with the unit in deploy/systemd: install -m 600 {env} /etc/portcullis/.env)"
    )?;
    writeln!(out, "     compose   env_file: {}", places.env.display())
}

/// The dot command looks for a name without a slash in `PATH`.
fn sourced(places: &Places) -> PathBuf {
    let bare = places.env.parent().is_some_and(|folder| folder.as_os_str().is_empty());
    if bare { Path::new(".").join(&places.env) } else { places.env.clone() }
}

/// A path as a word of a shell's line.
fn shell(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
