//! Names and their addresses: by the system's resolver, as every program here sees them, or by one name server, as the world does.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{ResolverBuilder, TokioResolver};

/// How long one question may take.
const QUESTION: Duration = Duration::from_secs(3);
/// How often it is asked.
const ATTEMPTS: usize = 2;

/// Why a name has no addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// NXDOMAIN.
    #[error("there is no such name (NXDOMAIN)")]
    NoSuchName,
    /// The name is there, and has no A nor AAAA record.
    #[error("the name has no A and no AAAA record")]
    NoAddress,
    /// Nobody answered.
    #[error("the name server does not answer")]
    Timeout,
    /// The name server cannot tell; what it said.
    #[error("the name server cannot tell ({0})")]
    Failed(String),
}

/// Looks names up, each once.
pub(super) struct Names {
    server: Option<SocketAddr>,
    known: Mutex<HashMap<String, Result<Vec<IpAddr>, NameFault>>>,
}

impl Names {
    /// By `server`, or by the system.
    pub(super) fn new(server: Option<SocketAddr>) -> Self {
        Self { server, known: Mutex::default() }
    }

    /// All addresses of `host`, which is a name, or an address itself.
    pub(super) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, NameFault> {
        if let Ok(address) = host.trim_matches(['[', ']']).parse() {
            return Ok(vec![address]);
        }
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(host) {
            return known.clone();
        }
        let found = match self.server {
            // RFC 6761 §6.3: no name server is asked for it.
            Some(_) if host.eq_ignore_ascii_case("localhost") => {
                Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
            }
            Some(server) => by_server(server, host).await,
            None => by_system(host).await,
        };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(host.to_owned(), found.clone());
        found
    }

    /// Who may issue certificates for `host` (RFC 8659 §3: the records nearest to it up the tree); `None` if everybody may.
    pub(super) async fn issuers(&self, host: &str) -> Result<Option<Vec<String>>, NameFault> {
        let resolver = match self.server {
            Some(server) => asking(server)?,
            None => TokioResolver::builder_tokio()
                .and_then(ResolverBuilder::build)
                .map_err(|error| fault(&error))?,
        };
        let mut name = host;
        loop {
            match resolver.lookup(absolute(name), RecordType::CAA).await {
                Ok(lookup) => {
                    let records = lookup.answers().iter().filter_map(|record| {
                        let RData::CAA(caa) = &record.data else { return None };
                        caa.tag.eq_ignore_ascii_case("issue").then(|| issuer(&caa.value))
                    });
                    let records: BTreeSet<_> = records.collect();
                    if !records.is_empty() {
                        return Ok(Some(records.into_iter().collect()));
                    }
                }
                Err(error) if error.is_no_records_found() => {}
                Err(error) => return Err(fault(&error)),
            }
            match name.split_once('.') {
                Some((_, parent)) if parent.contains('.') => name = parent,
                Some(_) | None => return Ok(None),
            }
        }
    }
}

/// Of `letsencrypt.org; validationmethods=dns-01`; a value without a name forbids everybody (RFC 8659 §4.2).
fn issuer(value: &[u8]) -> String {
    let value = String::from_utf8_lossy(value);
    let name = value.split(';').next().unwrap_or_default().trim();
    if name.is_empty() { "nobody".to_owned() } else { name.to_owned() }
}

/// Without the search list.
fn absolute(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.'))
}

fn asking(server: SocketAddr) -> Result<TokioResolver, NameFault> {
    let port = |mut connection: ConnectionConfig| {
        connection.port = server.port();
        connection
    };
    let connections = vec![port(ConnectionConfig::udp()), port(ConnectionConfig::tcp())];
    let server = NameServerConfig::new(server.ip(), true, connections);
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options: &mut ResolverOpts = builder.options_mut();
    options.timeout = QUESTION;
    options.attempts = ATTEMPTS;
    options.use_hosts_file = ResolveHosts::Never;
    builder.build().map_err(|error| fault(&error))
}

async fn by_server(server: SocketAddr, host: &str) -> Result<Vec<IpAddr>, NameFault> {
    let resolver = asking(server)?;
    let name = absolute(host);
    let (four, six) = tokio::join!(resolver.ipv4_lookup(name.clone()), resolver.ipv6_lookup(name));
    let mut addresses = Vec::new();
    let mut faults = Vec::new();
    for lookup in [four, six] {
        match lookup {
            Ok(lookup) => {
                addresses.extend(lookup.answers().iter().filter_map(|record| address(&record.data)));
            }
            Err(error) => faults.push(fault(&error)),
        }
    }
    if !addresses.is_empty() {
        return Ok(addresses);
    }
    // A name server that failed for one of the two kinds has not said that there is no address.
    let worst = faults.iter().find(|fault| !matches!(fault, NameFault::NoAddress));
    Err(worst.cloned().unwrap_or(NameFault::NoAddress))
}

fn fault(error: &NetError) -> NameFault {
    if error.is_nx_domain() {
        return NameFault::NoSuchName;
    }
    if error.is_no_records_found() {
        return NameFault::NoAddress;
    }
    if matches!(error, NetError::Timeout | NetError::NoConnections | NetError::Io(_)) {
        return NameFault::Timeout;
    }
    if let NetError::Dns(DnsError::ResponseCode(code)) = error {
        return NameFault::Failed(code.to_string());
    }
    NameFault::Failed(error.to_string())
}

fn address(data: &RData) -> Option<IpAddr> {
    if let RData::A(address) = data {
        return Some(address.0.into());
    }
    let RData::AAAA(address) = data else { return None };
    Some(address.0.into())
}

async fn by_system(host: &str) -> Result<Vec<IpAddr>, NameFault> {
    let looked_up = tokio::time::timeout(2 * QUESTION, tokio::net::lookup_host((host, 0))).await;
    match looked_up {
        Err(_) => Err(NameFault::Timeout),
        Ok(Ok(found)) => {
            let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
            addresses.dedup();
            if addresses.is_empty() { Err(NameFault::NoAddress) } else { Ok(addresses) }
        }
        // The C library's words are all that there is: EAI_NODATA and EAI_AGAIN tell themselves apart by nothing else.
        Ok(Err(error)) => Err(match error.to_string() {
            text if text.contains("No address associated") => NameFault::NoAddress,
            text if text.contains("Temporary failure") => NameFault::Timeout,
            text if text.contains("not known") => NameFault::NoSuchName,
            text => NameFault::Failed(text),
        }),
    }
}
