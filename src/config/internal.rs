//! `listen.internal` and its token: where probes and monitoring ask, apart from everybody else.

use std::net::SocketAddr;

use super::network::{Network, addresses};
use super::problem::Findings;
use super::raw::{File, Given, Listen};
use super::secrets::{Here, Pair, secret};
use crate::internal::Settings;
use crate::secret::Secret;

/// The shortest token: 32 characters of `openssl rand -hex 16` are 128 bits.
const SHORTEST_TOKEN: usize = 32;

/// The listener, if there is one; what goes wrong with the public ones is told where they are checked.
pub(super) fn check(
    raw: &File,
    network: Option<&Network>,
    here: Here<'_>,
    findings: &mut Findings,
) -> Option<Settings> {
    let Some(listen) = &raw.listen else { return Some(Settings::default()) };
    let listen = listen.value.as_ref()?;
    let token = token(listen, here, findings);
    let at = addresses(listen.internal.as_ref(), findings);
    let (Some(given), Some(addresses)) = (&listen.internal, at?.filter(|at| !at.is_empty())) else {
        let given = listen.internal_token.as_ref().or(listen.internal_token_file.as_ref());
        if let Some(given) = given {
            let text =
                "a token without `internal`; write internal: localhost:9400 beside it, or take it away";
            findings.refuse(given.at, text);
        }
        return Some(Settings::default());
    };
    if let Some(taken) = network.and_then(|network| clash(&addresses, network)) {
        let text = format!(
            "port {} is where the public listens already; write another one, such as localhost:9400",
            taken.port()
        );
        findings.refuse(given.at, text);
    }
    let is_local = addresses.iter().all(|address| address.ip().to_canonical().is_loopback());
    if !is_local && listen.internal_token.is_none() && listen.internal_token_file.is_none() {
        let text = "anybody on the network could ask here; write localhost:9400, or beside it internal_token_file: FILE \
                    with what `openssl rand -hex 32` prints";
        findings.refuse(given.at, text);
    }
    Some(Settings { listen: addresses, token: token? })
}

/// An address that one of the public listeners has.
fn clash(own: &[SocketAddr], network: &Network) -> Option<SocketAddr> {
    let clashes = |own: &&SocketAddr| {
        network.listen.iter().chain(&network.redirect).any(|public| {
            let everywhere = own.ip().is_unspecified() || public.ip().is_unspecified();
            own.port() != 0 && own.port() == public.port() && (everywhere || own.ip() == public.ip())
        })
    };
    own.iter().find(clashes).copied()
}

/// The token; `None` if it is refused, `Some(None)` if there is none.
#[expect(clippy::option_option, reason = "refused and absent are different, and no third thing")]
fn token(listen: &Listen, here: Here<'_>, findings: &mut Findings) -> Option<Option<Secret>> {
    let (value, file) = (&listen.internal_token, &listen.internal_token_file);
    let Some(Given { at, .. }) = value.as_ref().or(file.as_ref()) else { return Some(None) };
    let pair = Pair {
        name: "internal_token",
        value,
        file,
        section: *at,
        example: "internal_token: ${INTERNAL_TOKEN}",
    };
    let given = secret(&pair, here, findings)?;
    let token = given.value?;
    let length = token.expose().chars().count();
    let refused = if length < SHORTEST_TOKEN {
        format!("the token has {length} characters; write 32 at least, such as `openssl rand -hex 32` prints")
    } else if !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        "the token has spaces or other characters than ASCII; write what `openssl rand -hex 32` prints".into()
    } else {
        return Some(Some(token));
    };
    findings.refuse(given.at, refused);
    None
}
