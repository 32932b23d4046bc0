//! The hosts: whether their names lead to this gateway, whether certificates can be had for them, and what their services look like from
//! outside.
//!
//! That an address leads here is told by asking the same question twice, at the gateway's own listener and at the address: the issuer's
//! keys are this gateway's alone, and other hosts' documents are those of this configuration. So it works behind NAT, too.

mod authority;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use url::Url;

use super::{Inside, Silence};
use crate::certs::Settings as Tls;
use crate::config::Config;
use crate::doctor::outside::{self, Manner};
use crate::doctor::web::{Answer, Ask, Dead, Fault, NameFault, Web};
use crate::doctor::{Examination, Remedy, Trial};
use crate::gateway::ServiceSettings;
use crate::host::{is_loopback_name, is_loopback_url};
use crate::trouble::Trouble;

/// What a client meets that knows nothing but a URL.
const FROM_OUTSIDE: [Trouble; 11] = [
    Trouble::WrongUrl,
    Trouble::Waf,
    Trouble::Tunnel,
    Trouble::PrmMissing,
    Trouble::PrmResource,
    Trouble::IssuerMismatch,
    Trouble::NoRegistration,
    Trouble::NoChallenge,
    Trouble::Cors,
    Trouble::RedirectInvalid,
    Trouble::LoginHijacked,
];

/// Where a name leads.
enum Lead {
    /// To this gateway, as far as it can be told.
    Here,
    /// Elsewhere, or nowhere: asking further is of no use.
    Astray,
    /// To an address that does not answer from here, and may well do so from elsewhere.
    Hidden,
}

/// Looks at every host, and at its services.
pub(super) async fn examine(
    examination: &Examination<'_>,
    config: &Config,
    services: &[&ServiceSettings],
    inside: &Inside<'_>,
) {
    let web = Web::new(inside.manner);
    let mut origins: Vec<Url> = Url::parse(&config.gateway.issuer).into_iter().collect();
    origins.extend(services.iter().map(|service| service.url.clone()));
    let key = |url: &Url| (url.host_str().map(str::to_owned), url.port_or_known_default());
    let mut seen = Vec::new();
    origins.retain(|url| {
        !seen.contains(&key(url)) && {
            seen.push(key(url));
            true
        }
    });
    let all = Hosts { examination, config, web: &web, inside, registers: AtomicBool::new(true) };
    join_all(origins.iter().map(|origin| all.examine_host(origin, services))).await;
}

struct Hosts<'a> {
    examination: &'a Examination<'a>,
    config: &'a Config,
    web: &'a Web,
    inside: &'a Inside<'a>,
    /// Whether clients are to be registered yet: all services have one issuer.
    registers: AtomicBool,
}

impl Hosts<'_> {
    async fn examine_host(&self, origin: &Url, services: &[&ServiceSettings]) {
        let host = origin.host_str().unwrap_or_default();
        self.examination.begins(&format!("looking {host} up"));
        let lead = self.examine_name(origin).await;
        let authority = self.examine_authority(host, &lead);
        let here = services.iter().copied().filter(|service| {
            service.url.host() == origin.host()
                && service.url.port_or_known_default() == origin.port_or_known_default()
        });
        let visits = join_all(here.map(|service| self.visit(service, &lead)));
        tokio::join!(authority, visits);
    }

    /// Whether the host's name leads here.
    async fn examine_name(&self, origin: &Url) -> Lead {
        let host = origin.host_str().unwrap_or_default();
        let tried = format!("A and AAAA of {host}");
        let addresses = match self.web.addresses(host).await {
            Ok(addresses) => addresses,
            Err(fault) => {
                self.nameless(host, &tried, &fault);
                return Lead::Astray;
            }
        };
        let shown = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        if is_loopback_name(host) || is_loopback_url(origin) {
            self.examination.good(Trouble::Dns, host, Trial::new(tried, format!("{shown}: this machine")));
            return Lead::Here;
        }
        if matches!(self.inside.running, Err(Silence::Stopped(_) | Silence::Hanging(_))) {
            self.name_of_a_stopped_gateway(host, &tried, &addresses);
            return Lead::Here;
        }
        self.compare(origin, &addresses, Trial::new(tried, shown)).await
    }

    fn nameless(&self, host: &str, tried: &str, fault: &NameFault) {
        let trial = Trial::new(tried, fault.to_string());
        let remedy = match fault {
            NameFault::NoSuchName | NameFault::NoAddress => Remedy::new(
                format!("Nobody on the internet knows where {host} is: it has no address record."),
                [
                    format!(
                        "At your DNS provider, create `{host}. A {}`, and `AAAA` if the machine has IPv6.",
                        own_address()
                    ),
                    "It may take as long as the TTL until everybody sees it.".to_owned(),
                ],
            ),
            NameFault::Timeout | NameFault::Failed(_) => Remedy::new(
                "The name server that this machine asks does not tell.",
                [format!(
                    "Ask another: `portcullis doctor --resolver 1.1.1.1`, or `dig {host} @1.1.1.1`; then mend /etc/resolv.conf."
                )],
            ),
        };
        self.examination.bad(Trouble::Dns, host, trial, remedy);
    }

    /// Nothing answers yet that could be compared.
    fn name_of_a_stopped_gateway(&self, host: &str, tried: &str, addresses: &[IpAddr]) {
        let shown = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let trial = Trial::new(tried, shown.as_str());
        if addresses.iter().all(|address| is_of_this_machine(*address)) {
            let trial = Trial::new(tried, format!("{shown}: this machine"));
            self.examination.good(Trouble::Dns, host, trial);
            return;
        }
        let cause = format!(
            "{host} leads to {shown}, which is no address of this machine's own. Behind NAT or a load balancer that is right."
        );
        let fix = ["Start the gateway and look again: then it is seen whether it answers there."];
        self.examination.remark(Trouble::Dns, host, trial, Remedy::new(cause, fix));
    }

    /// Asks at the gateway's own door and at each address.
    async fn compare(&self, origin: &Url, addresses: &[IpAddr], trial: Trial) -> Lead {
        let (host, port) =
            (origin.host_str().unwrap_or_default(), origin.port_or_known_default().unwrap_or(443));
        let Some((question, own)) = self.own_answer(origin).await else {
            let cause =
                "What the gateway itself answers cannot be seen from here, so nothing can be compared.";
            let fix = [format!("Compare the addresses with this machine's public one ({}).", own_address())];
            self.examination.remark(Trouble::Dns, host, trial, Remedy::new(cause, fix));
            return Lead::Here;
        };
        let at = |address: &IpAddr| {
            let ask = Ask::get(&question).at(SocketAddr::new(*address, port)).past_a_bad_certificate();
            async { self.web.ask(ask).await }
        };
        let answers = join_all(addresses.iter().map(at)).await;
        let mut lead = Lead::Here;
        for (address, answer) in addresses.iter().zip(answers) {
            match answer {
                Ok(answer) if answer.status == own.status && answer.body == own.body => {}
                Ok(answer) => {
                    self.astray(
                        host,
                        *address,
                        &question,
                        &format!("{} there, {} here", told(&answer), told(&own)),
                    );
                    lead = Lead::Astray;
                }
                Err(
                    fault @ (Fault::Tls { .. }
                    | Fault::Broke(_)
                    | Fault::Timeout(_)
                    | Fault::Url
                    | Fault::Plain
                    | Fault::Name(_)),
                ) => {
                    self.astray(host, *address, &question, &fault.to_string());
                    lead = Lead::Astray;
                }
                Err(Fault::Connect(dead)) => lead = self.silent(host, SocketAddr::new(*address, port), &dead),
            }
        }
        if matches!(lead, Lead::Here) {
            let found = format!("{}: this gateway answers there", trial.found);
            self.examination.good(Trouble::Dns, host, Trial::new(trial.tried, found));
        }
        lead
    }

    /// What the gateway answers at its own listener, and to what.
    async fn own_answer(&self, origin: &Url) -> Option<(Url, Answer)> {
        let is_issuer =
            Url::parse(&self.config.gateway.issuer).is_ok_and(|issuer| issuer.origin() == origin.origin());
        let mut question = origin.clone();
        question.set_query(None);
        question.set_path(if is_issuer { "/jwks" } else { "/.well-known/oauth-authorization-server" });
        let mut local = question.clone();
        if matches!(self.config.tls, Tls::Off) {
            local.set_scheme("http").ok()?;
        }
        let address = near(*self.config.serve.listen.first()?);
        let ask = Ask::get(&local)
            .at(address)
            .past_a_bad_certificate()
            .header("x-forwarded-proto", origin.scheme());
        let answer = self.web.ask(ask).await.ok()?;
        answer.status.is_success().then_some((question, answer))
    }

    fn astray(&self, host: &str, address: IpAddr, question: &Url, found: &str) {
        let cause = format!("{host} leads to {address}, and it is not this gateway that answers there.");
        let record = if address.is_ipv4() { "A" } else { "AAAA" };
        let fix = [
            format!(
                "At your DNS provider, change the record `{host}. {record} {address}` to this machine's public address ({}), or delete it.",
                own_address()
            ),
            "If that is a proxy in front of this gateway, have it pass this host on, with its `Host` header."
                .to_owned(),
        ];
        let trial = Trial::new(format!("GET {question} at {address}"), found);
        self.examination.bad(Trouble::Dns, host, trial, Remedy::new(cause, fix));
    }

    /// An address that takes no connection from here.
    fn silent(&self, host: &str, at: SocketAddr, dead: &[(SocketAddr, Dead)]) -> Lead {
        let why = dead.first().map_or_else(String::new, |(_, why)| why.to_string());
        let trial = Trial::new(format!("connecting to {at}"), why);
        if is_of_this_machine(at.ip()) {
            let cause = format!(
                "{host} leads to this machine, and nothing listens on port {} of {}.",
                at.port(),
                at.ip()
            );
            let fix = [format!("Have it listened on: `listen: {{ https: \":{}\" }}`.", at.port())];
            self.examination.bad(Trouble::Port443, host, trial, Remedy::new(cause, fix));
            return Lead::Astray;
        }
        let cause = format!(
            "{at} does not answer from here, though the gateway runs. Many routers do not lead a machine back to itself (hairpin NAT), so \
             this may be so from inside only."
        );
        let fix = [format!(
            "Look from another network: `portcullis doctor --from-outside https://{host}/`, with the service's whole URL."
        )];
        self.examination.remark(Trouble::Dns, host, trial, Remedy::new(cause, fix));
        Lead::Hidden
    }

    /// A service as clients meet it.
    async fn visit(&self, service: &ServiceSettings, lead: &Lead) {
        let because = match (self.inside.running, lead) {
            (Err(Silence::Stopped(_)), _) => "the gateway does not run",
            (Err(Silence::Hanging(_)), _) => "the gateway does not answer",
            (Ok(_) | Err(Silence::Unasked(_)), Lead::Astray) => "its host does not lead here",
            (Ok(_) | Err(Silence::Unasked(_)), Lead::Hidden) => "its host cannot be reached from here",
            (Ok(_) | Err(Silence::Unasked(_)), Lead::Here) => {
                let paste = format!("what to paste into MCP clients: {}", service.resource.as_str());
                self.examination.good(
                    Trouble::WrongUrl,
                    &service.name,
                    Trial::new("the configuration", paste),
                );
                let register = self.registers.swap(false, Ordering::Relaxed);
                let manner = Manner { register, ..self.inside.manner.clone() };
                return outside::examine(self.examination, &service.name, &service.url, &manner).await;
            }
        };
        self.examination.not_tried(&FROM_OUTSIDE, &service.name, because);
    }
}

fn told(answer: &Answer) -> String {
    let server = answer.header("server");
    if server.is_empty() { answer.summary() } else { format!("{} of {server}", answer.summary()) }
}

/// Whether an address is one of this machine's own: only then something can be bound to it.
fn is_of_this_machine(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// The address that this machine has towards the internet, if that is a public one. Nothing is sent for it.
fn own_address() -> String {
    let towards = |from: &str, to: &str| {
        let socket = UdpSocket::bind(from).ok()?;
        socket.connect(to).ok()?;
        socket.local_addr().ok().map(|address| address.ip())
    };
    let found = towards("0.0.0.0:0", "192.0.2.1:9").filter(|address| crate::fetch::is_public(*address));
    found.map_or_else(|| "THIS-MACHINE'S-PUBLIC-ADDRESS".to_owned(), |address| address.to_string())
}

/// Where an address that stands for all of this machine's is reached from here.
pub(super) fn near(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, address.port())
}
