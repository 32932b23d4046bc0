//! What clients ask first, without a token: the answers tell where the MCP server is, and whether it says where to sign in.

use http::Method;
use serde_json::{Value, json};
use url::Url;

use super::View;
use crate::doctor::web::{Answer, Ask, Fault};
use crate::trouble::probes;

/// What MCP clients take.
pub(super) const ACCEPT: &str = "application/json, text/event-stream";
/// The revision with sessions.
pub(super) const LEGACY: &str = "2025-11-25";
/// The revision without.
pub(super) const MODERN: &str = "2026-07-28";

/// A request and what came of it.
pub(super) struct Probe {
    /// For people: `POST https://mcp.example.com/mcp (initialize)`.
    pub(super) tried: String,
    pub(super) outcome: Result<Answer, Fault>,
}

impl Probe {
    /// What came of it, for people.
    pub(super) fn found(&self) -> String {
        found(&self.outcome)
    }

    pub(super) fn answer(&self) -> Option<&Answer> {
        self.outcome.as_ref().ok()
    }
}

/// What came of a request, for people.
pub(super) fn found(outcome: &Result<Answer, Fault>) -> String {
    match outcome {
        Ok(answer) => answer.summary(),
        Err(fault) => fault.to_string(),
    }
}

/// Every way to begin.
pub(super) struct Asked {
    pub(super) initialize: Probe,
    pub(super) discover: Probe,
    pub(super) get: Probe,
    pub(super) head: Probe,
    pub(super) delete: Probe,
    /// With a token that nobody ever gave.
    pub(super) forged: Probe,
}

impl Asked {
    pub(super) fn each(&self) -> [&Probe; 5] {
        [&self.initialize, &self.discover, &self.get, &self.head, &self.delete]
    }
}

/// Asks in all of them, side by side.
pub(super) async fn all(view: &View<'_>) -> Asked {
    let url = view.url;
    view.examination.begins(&format!("asking {url} without a token"));
    let get = Ask::get(url).header("accept", "text/event-stream").without_body();
    // It is no secret, and says something of servers by plain http, too.
    let forged = initialize(url).header("authorization", &format!("Bearer {}", probes::FORGED_TOKEN));
    let (initialize, discover, get, head, delete, forged) = tokio::join!(
        probe(view, initialize(url), "initialize, without a token"),
        probe(view, discover(url), "server/discover, without a token"),
        probe(view, get, "event stream, without a token"),
        probe(view, Ask::new(Method::HEAD, url), "without a token"),
        probe(view, Ask::new(Method::DELETE, url), "without a token"),
        probe(view, forged, "initialize, with a token that is none"),
    );
    Asked { initialize, discover, get, head, delete, forged }
}

/// Sends `ask` as far as it goes.
pub(super) async fn probe(view: &View<'_>, ask: Ask, what: &str) -> Probe {
    let tried = if what.is_empty() { ask.shown() } else { format!("{} ({what})", ask.shown()) };
    let url = ask.url().clone();
    let outcome = view.web.ask(ask.past_a_bad_certificate()).await;
    if let Some(end) = outcome.as_ref().ok().and_then(|answer| end(&url, answer)) {
        drop(view.web.ask(end.past_a_bad_certificate()).await);
    }
    Probe { tried, outcome }
}

/// What ends the session that `answer` has begun, if it has: a server that lets everybody in begins one for us, too.
pub(super) fn end(url: &Url, answer: &Answer) -> Option<Ask> {
    let session = answer.header("mcp-session-id");
    let begun = answer.status.is_success() && !session.is_empty();
    begun.then(|| {
        let ask = Ask::new(Method::DELETE, url).header("mcp-session-id", session);
        ask.header("mcp-protocol-version", LEGACY).without_body()
    })
}

/// `initialize`, as SDKs send it.
pub(super) fn initialize(url: &Url) -> Ask {
    let client = json!({ "name": "portcullis-doctor", "version": env!("CARGO_PKG_VERSION") });
    let parameters = json!({ "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client });
    call(url, "initialize", &parameters)
}

/// `server/discover`, as clients of the revision without sessions send it.
pub(super) fn discover(url: &Url) -> Ask {
    modern(url, "server/discover")
}

/// Any method without parameters of the revision without sessions.
pub(super) fn modern(url: &Url, method: &str) -> Ask {
    let client = json!({ "name": "portcullis-doctor", "version": env!("CARGO_PKG_VERSION") });
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": client,
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    call(url, method, &json!({ "_meta": meta }))
        .header("mcp-protocol-version", MODERN)
        .header("mcp-method", method)
}

/// A call by JSON-RPC.
pub(super) fn call(url: &Url, method: &str, parameters: &Value) -> Ask {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": parameters });
    Ask::post_json(url, &body).header("accept", ACCEPT)
}
