//! Making connections: TCP, and TLS where the URL says so.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper_rustls::ConfigBuilderExt;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::http1::{Connection, Io, Origin};
use super::{Replica, UpstreamError};

pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Makes connections to upstreams.
#[derive(Default)]
pub(super) struct Connector {
    tls: OnceLock<TlsConnector>,
}

impl Connector {
    /// A connector with a TLS configuration of its own instead of the system's roots.
    #[cfg(test)]
    pub(super) fn with_tls(config: ClientConfig) -> Self {
        Self { tls: OnceLock::from(TlsConnector::from(Arc::new(config))) }
    }

    /// A fresh connection, ready for a request.
    pub(super) async fn connect(
        &self,
        replica: &Replica,
        patience: Duration,
    ) -> Result<Connection, UpstreamError> {
        match tokio::time::timeout(patience, self.open(replica, patience)).await {
            Ok(connection) => connection.map_err(UpstreamError::Unreachable),
            Err(_) => Err(UpstreamError::ConnectTimeout),
        }
    }

    async fn open(&self, replica: &Replica, patience: Duration) -> Result<Connection, Cause> {
        let url = &replica.url;
        let tcp = dial(url, patience).await?;
        let io = if url.scheme() == "https" {
            Io::Tls(Box::new(self.tls()?.connect(server_name(url)?, tcp).await?))
        } else {
            Io::Tcp(tcp)
        };
        let origin = Origin { name: replica.origin().into(), host: replica.host.clone() };
        Ok(Connection::new(origin, io))
    }

    fn tls(&self) -> Result<&TlsConnector, Cause> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls);
        }
        let mut config =
            ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
                .with_safe_default_protocol_versions()?
                .try_with_platform_verifier()?
                .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(self.tls.get_or_init(|| TlsConnector::from(Arc::new(config))))
    }
}

/// Connects to the first of the host's addresses that answers. Each has its share of the time, so that a dead one leaves some
/// to those after it.
pub(super) async fn dial(url: &Url, patience: Duration) -> Result<TcpStream, Cause> {
    let addresses = addresses(url).await?;
    let share = patience / u32::try_from(addresses.len())?.max(1);
    let (last, others) = addresses.split_last().ok_or("the name has no address")?;
    for address in others {
        if let Ok(Ok(tcp)) = tokio::time::timeout(share, TcpStream::connect(address)).await {
            tcp.set_nodelay(true)?;
            return Ok(tcp);
        }
    }
    let tcp = TcpStream::connect(last).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

async fn addresses(url: &Url) -> Result<Vec<SocketAddr>, Cause> {
    let port = url.port_or_known_default().ok_or("the URL has no port")?;
    Ok(match url.host().ok_or("the URL has no host")? {
        Host::Ipv4(ip) => vec![(ip, port).into()],
        Host::Ipv6(ip) => vec![(ip, port).into()],
        Host::Domain(name) => tokio::net::lookup_host((name, port)).await?.collect(),
    })
}

fn server_name(url: &Url) -> Result<ServerName<'static>, Cause> {
    Ok(match url.host().ok_or("the URL has no host")? {
        Host::Ipv4(ip) => ServerName::IpAddress(ip.into()),
        Host::Ipv6(ip) => ServerName::IpAddress(ip.into()),
        Host::Domain(name) => ServerName::try_from(name.to_owned())?,
    })
}
