//! The way to a host: its name and its port.

use std::net::{IpAddr, SocketAddr};

use url::Url;

use super::{View, certificate, clock, probe};
use crate::clock::{Clock as _, SystemClock};
use crate::doctor::web::{Answer, Ask, Dead, Fault, NameFault, TlsFault};
use crate::doctor::{Remedy, Trial};
use crate::time::Timestamp;
use crate::trouble::Trouble;

/// Whether the MCP server's host can be talked to; if not, why the rest cannot be tried.
///
/// What time it really is comes back, if somebody said so.
pub(super) async fn examine(view: &View<'_>) -> Result<Option<Timestamp>, String> {
    way(view, Role::Server).await
}

/// The same for the host of an authorization server.
pub(super) async fn examine_host(view: &View<'_>) -> Result<(), String> {
    way(view, Role::Authority).await.map(drop)
}

/// What clients want from a host.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Server,
    Authority,
}

impl Role {
    /// What can be told of a host that is reached.
    const fn rest(self) -> &'static [Trouble] {
        match self {
            Self::Server => &[Trouble::Cert, Trouble::Clock],
            Self::Authority => &[Trouble::Cert],
        }
    }

    /// Why it is looked at, where nobody typed it.
    fn introduced(self, view: &View<'_>) -> String {
        match self {
            Self::Server => String::new(),
            Self::Authority => {
                format!("{} is named by the protected resource metadata as authorization server. ", view.url)
            }
        }
    }
}

async fn way(view: &View<'_>, role: Role) -> Result<Option<Timestamp>, String> {
    let rest = role.rest();
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
        closed(view, &knocked, role);
        let because = format!("nothing answers at {host}, port {port}");
        view.not_tried(rest, &because);
        return Err(because);
    }
    let (tried, outcome) = converse(view, role).await;
    match &outcome {
        Err(fault @ (Fault::Broke(_) | Fault::Timeout(_))) => mute(view, (&tried, fault), role).await,
        // What is wrong with TLS is the certificate's finding.
        Ok(_) | Err(Fault::Tls { .. } | Fault::Url | Fault::Plain | Fault::Name(_) | Fault::Connect(_)) => {
            open(view, &alive);
        }
    }
    let now = SystemClock.now();
    let true_time = if role == Role::Server {
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

/// Asks for anything at all. A stream may be silent until something happens, so a call has the last word.
async fn converse(view: &View<'_>, role: Role) -> (String, Result<Answer, Fault>) {
    let get =
        Ask::get(view.url).header("accept", "text/event-stream").without_body().past_a_bad_certificate();
    let tried = get.shown();
    let outcome = view.web.ask(get).await;
    if role == Role::Server && matches!(outcome, Err(Fault::Broke(_) | Fault::Timeout(_))) {
        let call = probe::initialize(view.url).past_a_bad_certificate();
        let tried = format!("{tried}; {}", call.shown());
        return (tried, view.web.ask(call.without_body()).await);
    }
    (tried, outcome)
}

/// Somebody accepts connections, and does not speak HTTP on them.
async fn mute(view: &View<'_>, (tried, fault): (&str, &Fault), role: Role) {
    let port = view.url.port_or_known_default().unwrap_or(443);
    let secure = with_scheme(view.url, "https");
    let speaks_tls = view.url.scheme() == "http" && speaks_tls(view, &secure).await;
    let (cause, fix) = if speaks_tls {
        (
            format!("Port {port} speaks TLS, and the URL is http."),
            format!("Use https: give clients `{secure}`."),
        )
    } else if let Fault::Timeout(patience) = fault {
        (
            format!(
                "Port {port} accepts connections and says nothing for {} s: the server hangs, or what listens there is none of HTTP.",
                patience.as_secs()
            ),
            format!(
                "On the server's machine: `sudo ss -ltnp 'sport = :{port}'` says who listens; see its log, and start it anew if it hangs."
            ),
        )
    } else {
        (
            format!("What listens on port {port} is no HTTP server, or drops the connection."),
            format!(
                "On the server's machine: `sudo ss -ltnp 'sport = :{port}'` says who listens; the URL needs the port of the MCP server."
            ),
        )
    };
    let trial = Trial::new(tried, fault.to_string());
    let remedy = Remedy::new(format!("{}{cause}", role.introduced(view)), [fix]).shown(&[]);
    view.examination.bad(Trouble::Port443, view.subject, trial, remedy);
}

/// The same URL, to the same port.
pub(super) fn with_scheme(url: &Url, scheme: &str) -> Url {
    let (mut other, port) = (url.clone(), url.port_or_known_default());
    // Both can fail for URLs only that have no host.
    let outcome = other.set_scheme(scheme).and_then(|()| other.set_port(port));
    outcome.map_or_else(|()| url.clone(), |()| other)
}

async fn speaks_tls(view: &View<'_>, secure: &Url) -> bool {
    match view.web.ask(Ask::get(secure).without_body().past_a_bad_certificate()).await {
        Ok(_) => true,
        Err(Fault::Tls { fault, .. }) => !matches!(
            fault,
            TlsFault::NotTls | TlsFault::Closed | TlsFault::Handshake(_) | TlsFault::Roots(_)
        ),
        Err(
            Fault::Url
            | Fault::Plain
            | Fault::Name(_)
            | Fault::Connect(_)
            | Fault::Broke(_)
            | Fault::Timeout(_),
        ) => false,
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

fn closed(view: &View<'_>, knocked: &Knocked, role: Role) {
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
    let mut fix =
        vec![format!("On the server's machine: `sudo ss -ltnp 'sport = :{port}'` says who listens.")];
    if view.is_local() {
        fix.push("Start the server, or take the port that it listens on.".to_owned());
    } else {
        fix.push(format!(
            "Let the firewall pass it, there and at the provider: `sudo ufw allow {port}/tcp`."
        ));
    }
    let cause = format!("{}{cause}", role.introduced(view));
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
