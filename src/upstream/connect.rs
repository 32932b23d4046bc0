//! Making connections: TCP, TLS where the URL says so, and a socket that can be asked whether it is still open.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::Body;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_rustls::ConfigBuilderExt;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Position, Url};

use super::UpstreamError;
use super::pool::Connection;

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
    pub(super) async fn connect(&self, url: &Url, patience: Duration) -> Result<Connection, UpstreamError> {
        let (sender, suspect) = self.open(url, patience).await?;
        Ok(Connection { upstream: url[..Position::BeforePath].into(), sender, suspect })
    }

    /// A fresh connection for requests of any body, and what makes its socket ask whether it is still open.
    pub(super) async fn open<B>(
        &self,
        url: &Url,
        patience: Duration,
    ) -> Result<(SendRequest<B>, Arc<AtomicBool>), UpstreamError>
    where
        B: Body<Data: Send, Error: Into<Cause>> + Send + 'static,
    {
        match tokio::time::timeout(patience, self.make(url, patience)).await {
            Ok(connection) => connection.map_err(UpstreamError::Unreachable),
            Err(_) => Err(UpstreamError::ConnectTimeout),
        }
    }

    async fn make<B>(&self, url: &Url, patience: Duration) -> Result<(SendRequest<B>, Arc<AtomicBool>), Cause>
    where
        B: Body<Data: Send, Error: Into<Cause>> + Send + 'static,
    {
        let suspect = Arc::new(AtomicBool::new(false));
        let socket = Socket { tcp: dial(url, patience).await?, suspect: Arc::clone(&suspect) };
        let sender = if url.scheme() == "https" {
            let name = server_name(url)?;
            speak(self.tls()?.connect(name, socket).await?).await?
        } else {
            speak(socket).await?
        };
        Ok((sender, suspect))
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

/// Starts HTTP/1.1 on a connection; its task ends when the sender and the last body are gone.
async fn speak<T, B>(io: T) -> Result<SendRequest<B>, Cause>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body<Data: Send, Error: Into<Cause>> + Send + 'static,
{
    let (mut sender, connection) = http1::Builder::new().handshake(TokioIo::new(io)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an upstream connection ended");
        }
    });
    sender.ready().await?;
    Ok(sender)
}

/// A TCP connection that, when suspected, asks the system whether the other end has closed it. The runtime only knows what
/// the last poll told it: a connection closed since then would swallow the next request, which must not be sent twice.
struct Socket {
    tcp: TcpStream,
    suspect: Arc<AtomicBool>,
}

impl Socket {
    /// Nothing may be readable before a request is sent: not an end, not a late 408.
    fn probe(&self) -> io::Result<()> {
        match SockRef::from(&self.tcp).peek(&mut [MaybeUninit::uninit()]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
}

impl AsyncRead for Socket {
    // hyper reads before it takes the next request from its queue, so what fails here comes back unsent.
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.tcp).poll_read(cx, buf);
        if read.is_pending() && self.suspect.swap(false, Ordering::Relaxed) {
            self.probe()?;
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
