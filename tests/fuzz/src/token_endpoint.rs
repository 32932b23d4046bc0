//! `POST /token` of a whole gateway, with an `Authorization` header from anywhere.

use std::cell::RefCell;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use tokio::runtime::{Builder, Runtime};

use crate::rig::{Rig, encode, request};

struct World {
    rig: Rig,
    client: String,
    asked: u32,
    runtime: Runtime,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World::new());
}

impl World {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (rig, client) = runtime.block_on(async {
            let rig = Rig::dev().await;
            let client = rig.register().await;
            (rig, client)
        });
        Self { rig, client, asked: 0, runtime }
    }

    /// The answer's status, error and challenge.
    fn ask(&mut self, authorization: HeaderValue) -> (u16, String, String) {
        let Self { rig, client, asked, runtime } = self;
        *asked += 1;
        runtime.block_on(async {
            // No limit is reached, and a client that nobody uses ends after a day.
            if asked.is_multiple_of(100) {
                rig.clock.advance(Duration::from_secs(60));
            }
            if asked.is_multiple_of(100_000) {
                *client = rig.register().await;
            }
            let form = encode(&[("grant_type", "refresh_token"), ("refresh_token", "x")]);
            let mut asked =
                request("POST", "/token", &[("content-type", "application/x-www-form-urlencoded")], form);
            asked.headers_mut().insert("authorization", authorization);
            let answer = rig.send(asked).await;
            let error = answer.json()["error"].as_str().unwrap_or_default().to_owned();
            (answer.status.as_u16(), error, answer.header("www-authenticate").to_owned())
        })
    }
}

/// The input is a header as it is, and the credentials of a well-formed one, in which `{client}` is a client that is known
/// here. It is believed who it says it is if and only if it says so (T5), and is told how to say it if not (T4).
pub(crate) fn basic(data: &[u8]) {
    WORLD.with_borrow_mut(|world| {
        let credentials = String::from_utf8_lossy(data).replace("{client}", &world.client);
        let (status, error, challenge) =
            world.ask(format!("Basic {}", STANDARD.encode(&credentials)).parse().unwrap());
        if named(&credentials, &world.client) {
            assert_eq!((status, error.as_str()), (400, "invalid_grant"), "{credentials:?}");
        } else {
            assert_eq!((status, error.as_str()), (401, "invalid_client"), "{credentials:?}");
            assert!(challenge.starts_with("Basic"), "{challenge}");
        }
        let Ok(raw) = HeaderValue::from_bytes(data) else { return };
        let (status, error, _) = world.ask(raw);
        assert!(
            matches!((status, &*error), (401, "invalid_client") | (400, "invalid_grant")),
            "{status} {error}"
        );
    });
}

/// Whether credentials name the client and have no password, raw or form-encoded.
fn named(credentials: &str, client: &str) -> bool {
    let Some((name, password)) = credentials.split_once(':') else { return false };
    let decoded = url::form_urlencoded::parse(format!("={}", name.replace('&', "%26")).as_bytes())
        .next()
        .is_some_and(|(_, value)| value == client);
    password.is_empty() && (name == client || decoded)
}
