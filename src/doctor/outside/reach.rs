//! The way to a host: its name and its port.

use std::net::{IpAddr, SocketAddr};

use super::{View, certificate, clock, probe};
use crate::clock::{Clock as _, SystemClock};
use crate::doctor::web::{Ask, Dead, Fault, NameFault};
use crate::doctor::{Remedy, Trial};
use crate::time::Timestamp;
use crate::trouble::Trouble;

/// Whether the MCP server's host can be talked to; if not, why the rest cannot be tried.
///
/// What time it really is comes back, if somebody said so.
pub(super) async fn examine(view: &View<'_>) -> Result<Option<Timestamp>, String> {
    way(view, &[Trouble::Cert, Trouble::Clock]).await
}

/// The same for another host that clients need.
pub(super) async fn examine_host(view: &View<'_>) -> Result<(), String> {
    way(view, &[Trouble::Cert]).await.map(drop)
}

async fn way(view: &View<'_>, rest: &[Trouble]) -> Result<Option<Timestamp>, String> {
    let host = view.url.host_str().unwrap_or_default();
    let port = view.url.port_or_known_default().unwrap_or(443);
    let Some(addresses) = look_up(view, host).await else {
        let because = format!("{host} has no address");
        view.not_tried(&[&[Trouble::Port443], rest].concat(), &because);
        return Err(because);
    };
    view.examination.begins(&format!("connecting to {host}"));
    let knocked = knock(view, &addresses, port).await;
    let alive: Vec<SocketAddr> =
        knocked.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(address, _)| *address).collect();
    name(view, host, &knocked, &alive).await;
    if alive.is_empty() {
        closed(view, &knocked);
        let because = format!("nothing answers at {host}, port {port}");
        view.not_tried(rest, &because);
        return Err(because);
    }
    open(view, &alive);
    let ask = Ask::get(view.url).header("accept", "text/event-stream").without_body();
    let tried = ask.shown();
    let outcome = view.web.ask(ask.past_a_bad_certificate()).await;
    let now = SystemClock.now();
    let true_time = if rest.contains(&Trouble::Clock) {
        clock::compare(view, outcome.as_ref().ok(), now).await
    } else {
        view.true_time
    };
    certificate::judge(view, (&tried, &outcome), true_time.unwrap_or(now)).await;
    match outcome {
        Ok(_) => Ok(true_time),
        Err(fault) => Err(format!("{host} does not answer ({fault})")),
    }
}

async fn look_up(view: &View<'_>, host: &str) -> Option<Vec<IpAddr>> {
    view.examination.begins(&format!("looking up {host}"));
    let fault = match view.web.addresses(host).await {
        Ok(addresses) => return Some(addresses),
        Err(fault) => fault,
    };
    let (cause, fix) = match &fault {
        NameFault::NoSuchName | NameFault::NoAddress => (
            format!("{host} has no A and no AAAA record, or was misspelt."),
            vec![
                format!(
                    "At the DNS provider of the domain: `{host}. 300 IN A ADDRESS`, with the public address of the server's machine."
                ),
                format!("See that it has come: `dig +short {host} @1.1.1.1`."),
            ],
        ),
        NameFault::Timeout | NameFault::Failed(_) => (
            format!("The name servers of {host} are not well, or this machine's resolver is not."),
            vec![
                format!(
                    "Ask another resolver: `portcullis doctor --from-outside {} --resolver 1.1.1.1`.",
                    view.url
                ),
                format!("If that fails, too, see which name servers the domain has: `dig +trace {host}`."),
            ],
        ),
    };
    let trial = Trial::new(asked(view, host), fault.to_string());
    view.examination.bad(Trouble::Dns, about(view, host), trial, Remedy::new(cause, fix));
    None
}

/// Hosts are told apart where nothing else tells what is looked at.
fn about<'a>(view: &View<'a>, host: &'a str) -> &'a str {
    if view.subject.is_empty() { host } else { view.subject }
}

fn asked(view: &View<'_>, host: &str) -> String {
    match view.manner.resolver {
        Some(server) => format!("A and AAAA of {host} at {server}"),
        None => format!("A and AAAA of {host}"),
    }
}

type Knocked = Vec<(SocketAddr, Result<(), Dead>)>;

async fn knock(view: &View<'_>, addresses: &[IpAddr], port: u16) -> Knocked {
    let mut tasks = Vec::new();
    for address in addresses.iter().take(8) {
        let address = SocketAddr::new(*address, port);
        tasks.push(async move { (address, view.web.knock(address).await) });
    }
    all(tasks).await
}

/// Everything at once, in order.
async fn all<T>(tasks: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut tasks: Vec<_> = tasks.into_iter().map(|task| (Box::pin(task), None)).collect();
    std::future::poll_fn(|context| {
        let mut waits = false;
        for (task, outcome) in &mut tasks {
            if outcome.is_none() {
                match task.as_mut().poll(context) {
                    std::task::Poll::Ready(done) => *outcome = Some(done),
                    std::task::Poll::Pending => waits = true,
                }
            }
        }
        if waits { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    tasks.into_iter().filter_map(|(_, outcome)| outcome).collect()
}

pub(super) fn list(addresses: impl IntoIterator<Item = impl ToString>) -> String {
    addresses.into_iter().map(|one| one.to_string()).collect::<Vec<_>>().join(", ")
}

/// Whether all addresses lead to the same server.
async fn name(view: &View<'_>, host: &str, knocked: &Knocked, alive: &[SocketAddr]) {
    let trial = |found: String| Trial::new(asked(view, host), found);
    let addresses = list(knocked.iter().map(|(address, _)| address.ip()));
    let dead = |(address, outcome): &(SocketAddr, Result<(), Dead>)| {
        let why = outcome.err()?;
        // Without IPv6 here, nothing can be said of an IPv6 address.
        (why != Dead::Unreachable).then(|| (address.ip(), why))
    };
    let dead: Vec<_> = knocked.iter().filter_map(dead).collect();
    let subject = about(view, host);
    if let (Some((address, why)), false) = (dead.first(), alive.is_empty()) {
        let record = if address.is_ipv6() { "AAAA" } else { "A" };
        let cause = format!(
            "{host} leads to several addresses, and {address} does not answer: whoever gets that one waits, or fails."
        );
        let fix = [
            format!(
                "At the DNS provider, take the {record} record with {address} away, if that is not the server."
            ),
            format!(
                "If it is: let its firewall pass port {} there, too.",
                view.url.port_or_known_default().unwrap_or(443)
            ),
        ];
        let found = format!("{addresses}; {address}: {why}");
        return view.examination.bad(Trouble::Dns, subject, trial(found), Remedy::new(cause, fix));
    }
    if let Some((one, other)) = differ(view, alive).await {
        let cause = format!("{host} leads to several machines, and they are not the same server.");
        let fix = [format!(
            "At the DNS provider, keep only the records of {host} that lead to the MCP server, and take the others away."
        )];
        let found = format!("{addresses}; {one}, but {other}");
        return view.examination.bad(Trouble::Dns, subject, trial(found), Remedy::new(cause, fix));
    }
    view.examination.good(Trouble::Dns, subject, trial(addresses));
}

/// Two addresses that do not answer alike.
async fn differ(view: &View<'_>, alive: &[SocketAddr]) -> Option<(String, String)> {
    if alive.len() < 2 {
        return None;
    }
    let ask = |address: &SocketAddr| {
        let (ask, address) = (probe::initialize(view.url).at(*address).past_a_bad_certificate(), *address);
        async move {
            let said = match view.web.ask(ask.without_body()).await {
                Ok(answer) => {
                    if let Some(end) = probe::end(view.url, &answer) {
                        drop(view.web.ask(end.at(address).past_a_bad_certificate()).await);
                    }
                    answer.status.as_u16().to_string()
                }
                Err(Fault::Tls { fault, .. }) => fault.to_string(),
                Err(other) => other.to_string(),
            };
            (address.ip(), said)
        }
    };
    let said = all(alive.iter().map(ask).collect()).await;
    let (first, expected) = said.first()?;
    let (other, found) = said.iter().find(|(_, found)| found != expected)?;
    Some((format!("{first} answers {expected}"), format!("{other} answers {found}")))
}

fn closed(view: &View<'_>, knocked: &Knocked) {
    let shown: Vec<_> = knocked
        .iter()
        .filter_map(|(address, outcome)| Some(format!("{address}: {}", outcome.err()?)))
        .collect();
    let silent = knocked.iter().any(|(_, outcome)| *outcome == Err(Dead::Silent));
    let port = view.url.port_or_known_default().unwrap_or(443);
    let cause = if silent {
        format!("A firewall drops connections to port {port}, or the address is another machine's.")
    } else {
        format!("Nothing listens on port {port} there.")
    };
    let fix = [
        format!("On the server's machine: `sudo ss -ltnp 'sport = :{port}'` says who listens."),
        format!("Let the firewall pass it, there and at the provider: `sudo ufw allow {port}/tcp`."),
    ];
    let trial = Trial::new(format!("TCP connections to port {port}"), shown.join("; "));
    view.examination.bad(Trouble::Port443, view.subject, trial, Remedy::new(cause, fix));
}

fn open(view: &View<'_>, alive: &[SocketAddr]) {
    let port = view.url.port_or_known_default().unwrap_or(443);
    let trial =
        Trial::new(format!("TCP connections to port {port}"), format!("{} accepts connections", list(alive)));
    if view.is_local() {
        return view.examination.good(Trouble::Port443, view.subject, trial);
    }
    let mut wanted = view.url.clone();
    if view.url.scheme() == "http" {
        let cause = "The URL is plain http: tokens would go through the network for everybody to read, and clients refuse it.";
        // Both can fail for URLs only that have no host.
        let (Ok(()), Ok(())) = (wanted.set_scheme("https"), wanted.set_port(None)) else { return };
        let fix = [format!("Put the server behind TLS on port 443, and give clients `{wanted}`.")];
        return view.examination.bad(Trouble::Port443, view.subject, trial, Remedy::new(cause, fix));
    }
    if port != 443 {
        let Ok(()) = wanted.set_port(None) else { return };
        let cause = format!(
            "The URL names port {port}; Claude connects to port 443 only, of the MCP server and of the authorization server."
        );
        let fix = [format!(
            "Put the server behind Portcullis, or another proxy on port 443, and give clients `{wanted}`."
        )];
        return view.examination.bad(Trouble::Port443, view.subject, trial, Remedy::new(cause, fix));
    }
    let private = |address: &&SocketAddr| !crate::fetch::is_public(address.ip());
    if view.manner.resolver.is_none()
        && let Some(address) = alive.iter().find(private)
    {
        let cause = format!(
            "{} is no address of the internet: clients that run elsewhere (Claude, ChatGPT) do not reach it; those on this network do.",
            address.ip()
        );
        return view.examination.remark(Trouble::Port443, view.subject, trial, Remedy::new(cause, [""; 0]));
    }
    view.examination.good(Trouble::Port443, view.subject, trial);
}
