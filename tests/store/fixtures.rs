//! Records to store.

use std::time::Duration;

use portcullis::oauth::{
    AttemptId, Client, ClientId, CodeChallenge, Facts, Grant, GrantId, GrantState, Known, Membership,
    Resource, RevocationReason, Scopes, Subject, TokenLives, User,
};
use portcullis::seal::Sealer;
use portcullis::secret::{Digest, Key, Secret, random};
use portcullis::store::{Flow, FlowRequest, Session, StoredKey, UserRecord, UserToken};
use portcullis::time::Timestamp;
use serde_json::{from_value, json};

pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

pub(crate) fn later(seconds: u64) -> Timestamp {
    NOW.after(Duration::from_secs(seconds))
}

pub(crate) fn sealer() -> Sealer {
    Sealer::new(Key::new([9; 32]))
}

pub(crate) fn lives() -> TokenLives {
    TokenLives::default()
}

pub(crate) fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

pub(crate) fn client_id(text: &str) -> ClientId {
    ClientId::parse(text).unwrap()
}

pub(crate) fn client(id: &str, expires: Timestamp) -> Client {
    from_value(json!({
        "id": id,
        "metadata": {
            "redirect_uris": ["http://127.0.0.1/callback"],
            "client_name": "Example Client",
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        },
        "issued_at": NOW,
        "expires": expires,
    }))
    .unwrap()
}

pub(crate) fn subject(id: &str) -> Subject {
    Subject::new("github", id)
}

pub(crate) fn facts(id: &str) -> Facts {
    Facts {
        user: User { subject: subject(id), login: "octocat".to_owned(), email: None },
        pinned: Vec::new(),
        orgs: Vec::new(),
        teams: Vec::new(),
    }
}

/// A user who was an active member of `acme`, and the token of that sign-in.
pub(crate) fn user(id: &str, token: &str, expires: Timestamp) -> UserRecord {
    let answers = [("acme".to_owned(), Membership::Active)];
    let token = UserToken { access: token.to_owned(), ends: None, refresh: Some(format!("{token}-refresh")) };
    UserRecord { known: Known::learn(None, facts(id).user, answers, NOW), token: Some(token), expires }
}

pub(crate) fn challenge() -> CodeChallenge {
    from_value(json!(Digest::of(b"challenge"))).unwrap()
}

pub(crate) fn scopes() -> Scopes {
    from_value(json!(["mcp"])).unwrap()
}

pub(crate) fn flow(state: Option<&str>, verifier: &str, expires: Timestamp) -> Flow {
    Flow {
        request: Some(FlowRequest {
            client: client_id("c_one"),
            redirect_uri: "http://127.0.0.1:4000/callback".to_owned(),
            state: state.map(str::to_owned),
            challenge: challenge(),
            resource: Resource::from_canonical("https://fetch.example.com/mcp".to_owned()),
            scopes: scopes(),
        }),
        verifier: verifier.to_owned(),
        expires,
    }
}

pub(crate) fn session(expires: Timestamp) -> Session {
    Session { facts: facts("1"), expires }
}

pub(crate) fn key(id: &str, material: &str) -> StoredKey {
    from_value(json!({ "id": id, "material": material, "created": NOW })).unwrap()
}

pub(crate) fn pending(client: &str, user: &str, code: &str) -> Grant {
    Grant {
        id: GrantId::new(random()),
        client: client_id(client),
        facts: facts(user),
        resource: Resource::from_canonical("https://fetch.example.com/mcp".to_owned()),
        scopes: scopes(),
        created: NOW,
        attempt: AttemptId::new(random()),
        used: None,
        state: GrantState::Pending {
            code: secret(code).digest(),
            challenge: challenge(),
            redirect_uri: "http://127.0.0.1:4000/callback".to_owned(),
            until: later(60),
        },
    }
}

pub(crate) fn active(before: &Grant, generation: u64) -> Grant {
    let state = GrantState::Active {
        code: Digest::of(b"code"),
        salt: [3; 16],
        generation,
        reached: NOW,
        confirmed: false,
    };
    Grant { attempt: AttemptId::new(random()), state, ..before.clone() }
}

pub(crate) fn revoked(before: &Grant, at: Timestamp) -> Grant {
    let state = GrantState::Revoked { at, reason: RevocationReason::Client, until: None };
    Grant { attempt: AttemptId::new(random()), state, ..before.clone() }
}

pub(crate) fn generation(grant: &Grant) -> u64 {
    match grant.state {
        GrantState::Active { generation, .. } => generation,
        GrantState::Pending { .. }
        | GrantState::Issued { .. }
        | GrantState::Revoked { .. }
        | GrantState::Dead { .. } => 0,
    }
}
