//! An MCP server and an authorization server as they should be, as far as doctor looks.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use portcullis::secret::Secret;
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use crate::world::{Reply, Seen};

pub(crate) const ISSUER: &str = "https://auth.example.com";
pub(crate) const PRM: &str = "GET /.well-known/oauth-protected-resource/mcp";
pub(crate) const METADATA: &str = "GET /.well-known/oauth-authorization-server";
pub(crate) const CHALLENGE: &str =
    "Bearer resource_metadata=\"https://mcp.example.com/.well-known/oauth-protected-resource/mcp\"";

/// What it keeps.
#[derive(Default)]
pub(crate) struct Good {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    clients: HashMap<String, Value>,
    codes: HashMap<String, HashMap<String, String>>,
    access: HashSet<String>,
    refresh: HashSet<String>,
}

fn fresh(kind: &str) -> String {
    format!("{kind}-{}", Secret::random().expose())
}

impl State {
    fn tokens(&mut self) -> Reply {
        let (access, refresh) = (fresh("access"), fresh("refresh"));
        self.access.insert(access.clone());
        self.refresh.insert(refresh.clone());
        Reply::json(
            200,
            &json!({ "access_token": access, "refresh_token": refresh, "token_type": "Bearer", "expires_in": 60 }),
        )
    }
}

impl Good {
    /// The clients that are registered now.
    pub(crate) fn clients(&self) -> usize {
        self.state.lock().unwrap().clients.len()
    }

    /// The tokens that are good now.
    pub(crate) fn tokens(&self) -> usize {
        let state = self.state.lock().unwrap();
        state.access.len() + state.refresh.len()
    }

    pub(crate) fn answer(&self, seen: &Seen) -> Reply {
        let origin = seen.header("origin");
        let reply = if seen.method == "OPTIONS" {
            Reply::status(204).with("access-control-allow-methods", "GET, POST, DELETE").with(
                "access-control-allow-headers",
                "authorization, content-type, mcp-protocol-version, mcp-session-id",
            )
        } else {
            match seen.host.as_str() {
                "mcp.example.com" => self.mcp(seen),
                "auth.example.com" => self.auth(seen),
                _ => Reply::status(200),
            }
        };
        if origin.is_empty() {
            return reply;
        }
        reply
            .with("access-control-allow-origin", "*")
            .with("access-control-expose-headers", "WWW-Authenticate, Mcp-Session-Id")
    }

    fn mcp(&self, seen: &Seen) -> Reply {
        if seen.line() == PRM {
            let document = json!({ "resource": crate::world::URL, "authorization_servers": [ISSUER], "scopes_supported": ["mcp"] });
            return Reply::json(200, &document);
        }
        if seen.path != "/mcp" {
            return Reply::json(404, &json!({ "error": "not_found" }));
        }
        let token = seen.header("authorization").strip_prefix("Bearer ").unwrap_or_default().to_owned();
        if !self.state.lock().unwrap().access.contains(&token) {
            return Reply::json(401, &json!({ "error": "invalid_token" }))
                .with("www-authenticate", CHALLENGE);
        }
        let call: Value = serde_json::from_str(&seen.body).unwrap_or_default();
        let result = match call["method"].as_str().unwrap_or_default() {
            "initialize" => {
                json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": { "name": "g", "version": "1" } })
            }
            "tools/list" => json!({ "tools": [{ "name": "one" }, { "name": "two" }] }),
            "notifications/initialized" => return Reply::status(202),
            _ => {
                let error = json!({ "code": -32601, "message": "no such method" });
                return Reply::json(200, &json!({ "jsonrpc": "2.0", "id": 1, "error": error }));
            }
        };
        Reply::json(200, &json!({ "jsonrpc": "2.0", "id": 1, "result": result }))
    }

    fn auth(&self, seen: &Seen) -> Reply {
        let line = seen.line();
        if let Some(id) = line.strip_prefix("DELETE /register/") {
            let gone = self.state.lock().unwrap().clients.remove(id).is_some();
            assert_eq!(seen.header("authorization"), format!("Bearer manage-{id}"));
            return Reply::status(if gone { 204 } else { 404 });
        }
        match line.as_str() {
            METADATA => Reply::json(
                200,
                &json!({
                    "issuer": ISSUER,
                    "authorization_endpoint": format!("{ISSUER}/authorize"),
                    "token_endpoint": format!("{ISSUER}/token"),
                    "registration_endpoint": format!("{ISSUER}/register"),
                    "revocation_endpoint": format!("{ISSUER}/revoke"),
                    "response_types_supported": ["code"],
                    "code_challenge_methods_supported": ["S256"],
                    "token_endpoint_auth_methods_supported": ["none"],
                    "authorization_response_iss_parameter_supported": true,
                }),
            ),
            "POST /register" => self.register(seen),
            "GET /authorize" => self.authorize(seen),
            "POST /token" => self.token(&form(&seen.body)),
            "POST /revoke" => self.revoke(&form(&seen.body)),
            _ => Reply::json(404, &json!({ "error": "not_found" })),
        }
    }

    fn register(&self, seen: &Seen) -> Reply {
        let mut client: Value = serde_json::from_str(&seen.body).unwrap();
        let mut state = self.state.lock().unwrap();
        let id = fresh("client");
        client["client_id"] = id.clone().into();
        client["registration_client_uri"] = format!("{ISSUER}/register/{id}").into();
        client["registration_access_token"] = format!("manage-{id}").into();
        state.clients.insert(id, client.clone());
        Reply::json(201, &client)
    }

    fn authorize(&self, seen: &Seen) -> Reply {
        let asked = form(&seen.query);
        let mut state = self.state.lock().unwrap();
        let known = state.clients.get(&asked["client_id"]);
        let fits = known.is_some_and(|client| {
            client["redirect_uris"]
                .as_array()
                .unwrap()
                .iter()
                .any(|uri| *uri == asked["redirect_uri"].as_str())
        });
        if !fits {
            return Reply::html(400, "<p>nobody knows this application");
        }
        let code = fresh("code");
        let mut back = Url::parse(&asked["redirect_uri"]).unwrap();
        back.query_pairs_mut()
            .append_pair("code", &code)
            .append_pair("state", &asked["state"])
            .append_pair("iss", ISSUER);
        state.codes.insert(code, asked);
        Reply::status(302).with("location", back.as_str())
    }

    fn token(&self, asked: &HashMap<String, String>) -> Reply {
        let mut state = self.state.lock().unwrap();
        if !state.clients.contains_key(&asked["client_id"]) {
            return Reply::json(401, &json!({ "error": "invalid_client" }));
        }
        let given = match asked["grant_type"].as_str() {
            "authorization_code" => state.codes.remove(&asked["code"]).is_some_and(|begun| {
                let verifier =
                    portcullis::secret::Digest::of(asked["code_verifier"].as_bytes()).to_base64url();
                begun["code_challenge"] == verifier && begun["client_id"] == asked["client_id"]
            }),
            _ => state.refresh.remove(&asked["refresh_token"]),
        };
        if given {
            state.tokens()
        } else {
            Reply::json(400, &json!({ "error": "invalid_grant", "error_description": "it is spent" }))
        }
    }

    fn revoke(&self, asked: &HashMap<String, String>) -> Reply {
        let mut state = self.state.lock().unwrap();
        state.access.clear();
        state.refresh.remove(&asked["token"]);
        Reply::status(200)
    }
}

/// Fields of a form or query.
pub(crate) fn form(text: &str) -> HashMap<String, String> {
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}
