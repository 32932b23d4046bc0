//! The TLS handshake: the hello is read before anything is answered, so that a client that names none of our hosts gets
//! `unrecognized_name` and sees no certificate (rustls by itself would send `access_denied`).

use std::io;
use std::sync::Arc;

use rustls::server::{Acceptor, ClientHello};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use crate::certs::{Challenges, Tls};

/// The protocol of the challenge `tls-alpn-01` (RFC 8737 §6.2).
const ACME_TLS: &[u8] = b"acme-tls/1";

/// A finished handshake.
pub(super) struct Secured<I> {
    pub(super) stream: TlsStream<I>,
    /// Lower-case; absent if the client connected to an address.
    pub(super) server_name: Option<String>,
    /// Whether HTTP/2 was agreed on; else it is HTTP/1.1.
    pub(super) http2: bool,
}

/// Why there is no TLS connection. The peer has been told.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    /// RFC 6066 §3.
    #[error("no certificate for {0:?}")]
    UnrecognizedName(Option<String>),
    /// It was a certificate authority's, which has seen what it wanted.
    #[error("answered the ACME challenge tls-alpn-01 for {0:?}")]
    Proven(Option<String>),
    #[error("the TLS handshake failed: {0}")]
    Failed(#[from] io::Error),
}

/// Shakes hands. Has no time limit of its own.
pub(super) async fn handshake<I>(io: I, tls: &Tls) -> Result<Secured<I>, HandshakeError>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let mut start = LazyConfigAcceptor::new(Acceptor::default(), io).await?;
    let server_name = start.client_hello().server_name().map(str::to_ascii_lowercase);
    if let (Some(challenges), true) = (&tls.challenges, is_challenge(&start.client_hello())) {
        return prove(start, challenges.as_ref(), server_name).await;
    }
    if tls.config.cert_resolver.resolve(start.client_hello()).is_none() {
        refuse(&mut start.io).await?;
        return Err(HandshakeError::UnrecognizedName(server_name));
    }
    let stream = start.into_stream(Arc::clone(&tls.config)).await?;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok(Secured { stream, server_name, http2 })
}

/// RFC 8737 §3: a certificate authority offers this protocol, and nothing else.
fn is_challenge(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut offered| offered.next() == Some(ACME_TLS) && offered.next().is_none())
}

/// Shows a certificate authority what it looks for. No data is exchanged on such a connection.
async fn prove<I>(
    mut start: StartHandshake<I>,
    challenges: &dyn Challenges,
    server_name: Option<String>,
) -> Result<Secured<I>, HandshakeError>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let asked = server_name.as_deref().unwrap_or_default();
    let Some(config) = challenges.tls_alpn01(asked).await else {
        refuse(&mut start.io).await?;
        return Err(HandshakeError::UnrecognizedName(server_name));
    };
    let mut stream = start.into_stream(config).await?;
    stream.shutdown().await?;
    Err(HandshakeError::Proven(server_name))
}

/// A record of type alert (21), version TLS 1.2 as all before the version is agreed on, two bytes long: fatal (2),
/// `unrecognized_name` (112). RFC 8446 §5.1, §6.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
/// What is read of a peer that goes on talking: closing with bytes unread would send RST, which can overtake the alert.
const LEFT_UNREAD: u64 = 16 * 1024;

async fn refuse<I: AsyncRead + AsyncWrite + Unpin>(io: &mut I) -> io::Result<()> {
    io.write_all(&UNRECOGNIZED_NAME).await?;
    io.shutdown().await?;
    tokio::io::copy(&mut io.take(LEFT_UNREAD), &mut tokio::io::sink()).await?;
    Ok(())
}
