//! Configured clients for the tests: what the configuration says of them, and how they prove who they are.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::support::rig::{Answer, ISSUER, REDIRECT, Rig, dev_yaml};

pub(crate) const SECRET: &str = "9d1e4b7c0a35f826+9d1e%2F7c0a35f826";
pub(crate) const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A key that the tests' `deploy` signs with.
pub(crate) struct Signer(Ed25519KeyPair);

impl Signer {
    pub(crate) fn new() -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap())
    }

    pub(crate) fn jwk(&self) -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(self.0.public_key().as_ref()) })
    }

    /// An assertion of `deploy` that is good, after a change.
    pub(crate) fn assertion(&self, token_id: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = json!({
            "iss": "deploy", "sub": "deploy", "aud": ISSUER, "exp": 1_800_000_060, "jti": token_id,
        });
        change(&mut claims);
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({ "alg": "EdDSA" })), part(&claims));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(self.0.sign(signed.as_bytes())))
    }
}

/// Two services, and a client of every kind.
pub(crate) fn yaml() -> String {
    dev_yaml(([127, 0, 0, 1], 9).into())
        + &format!(
            "  todo:
    url: http://localhost:8080/todo/mcp
    upstream: http://127.0.0.1:9/mcp
    scopes: [todo:read]
    implies: {{ todo:write: [todo:read] }}
clients:
  registered:
    ci:
      name: Nightly CI
      grant_types: [client_credentials]
      secret: \"{SECRET}\"
      services: {{ todo: [todo:read] }}
    deploy:
      grant_types: [client_credentials]
      jwks: {{ keys: [{jwk}] }}
      services: {{ echo: [mcp], todo: [todo:write] }}
    web:
      redirect_uris: [\"{REDIRECT}\"]
      secret: \"{SECRET}\"
    app:
      redirect_uris: [\"{REDIRECT}\"]
    server:
      grant_types: [client_credentials]
      secret: \"{SECRET}\"
      services: {{ todo: [todo:read] }}
      introspect: true
",
            jwk = Signer::new().jwk(),
        )
}

pub(crate) async fn rig() -> Rig {
    Rig::with(&yaml()).await
}

pub(crate) fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// Asks for a token with `client_credentials`, by HTTP Basic.
pub(crate) async fn credentials(rig: &Rig, id: &str, more: &[(&str, &str)]) -> Answer {
    let mut form = vec![("grant_type", "client_credentials")];
    form.extend_from_slice(more);
    rig.post("/token", &[("authorization", &basic(id, SECRET))], &form).await
}

pub(crate) fn refusal(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.json()["error"].as_str().unwrap().to_owned())
}
