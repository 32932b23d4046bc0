//! A sign-in begins: the flow is stored, and the browser goes to the identity provider.

use std::time::Duration;

use http::Response;

use super::authorize::Refused;
use super::cookies::Kind;
use super::exchange::Exchange;
use super::limits::{self, Limit};
use super::{Body, reply};
use crate::secret::Secret;
use crate::store::{Flow, FlowRequest};
use crate::telemetry::{Audit, Event};

/// How long a sign-in at the identity provider may take (C7).
const LIFE: Duration = Duration::from_mins(10);

/// Stores the flow and sends the browser to the identity provider; the flow's cookie is set on this answer only (C7).
/// Without a `request` the person signs in to our own pages.
///
/// # Errors
/// [`Refused::Limit`] and [`Refused::Store`].
pub(super) async fn begin(
    exchange: &Exchange<'_>,
    request: Option<FlowRequest>,
    other_account: bool,
) -> Result<Response<Body>, Refused> {
    limits::take(exchange, Limit::SignIn)?;
    limits::count(exchange, Limit::SignIn).await??;
    let (state, cookie) = (Secret::random(), Secret::random());
    let start = exchange.shared.identity().start(&state, &exchange.site.asked, other_account);
    let flow =
        Flow { request, verifier: start.verifier.expose().to_owned(), expires: exchange.now.after(LIFE) };
    let most = exchange.site.settings.limits.open_sign_ins;
    exchange.shared.store.begin_flow(&name(&state, &cookie), &flow, most).await?;
    let request = flow.request.as_ref();
    exchange.audit(&Audit {
        client: request.map(|request| request.client.as_str()),
        resource: request.map(|request| request.resource.as_str()),
        ..Audit::of(Event::LoginStarted)
    });
    let mut reply = reply::see_other(&start.url);
    let line = exchange.jar().set(Kind::Flow, &part(&state), &cookie, LIFE);
    reply::add_cookie(reply.headers_mut(), &line);
    Ok(reply)
}

/// What a flow is stored under: `state` and the browser's cookie together, so that whoever has the one without the other finds
/// nothing, and takes nothing (C7, C8).
pub(super) fn name(state: &Secret, cookie: &Secret) -> Secret {
    Secret::new(format!("{}.{}", state.expose(), cookie.expose()))
}

/// What tells one flow's cookie from another's, so that two logins in two tabs do not disturb each other.
pub(super) fn part(state: &Secret) -> String {
    state.digest().to_base64url().chars().take(8).collect()
}
