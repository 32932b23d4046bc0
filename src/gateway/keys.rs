//! The keys that the gateway works with, from the rings in the store.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::Shared;
use crate::mcp::SessionSealer;
use crate::oauth::KeyId;
use crate::seal::Sealer;
use crate::secret::{self, Key, Secret};
use crate::store::{RingKind, Store, StoreError, StoredKey};
use crate::time::Timestamp;
use crate::token::{KeyError, RefreshKeys, SigningKey, SigningKeys};

/// Why keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    /// The store is away.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A signing key cannot be read or made.
    #[error(transparent)]
    Signing(#[from] KeyError),
    /// A key of refresh tokens or session ids is not 32 bytes in base64url.
    #[error("the key {0} in the store is not 32 bytes in base64url")]
    Material(KeyId),
}

/// How often, at most, an unknown key's name makes us read the signing keys again.
const RELOAD_PAUSE: Duration = Duration::from_secs(5);

/// When the signing keys were read again last. Whoever has the lock may read them; the others wait, and look again.
#[derive(Default)]
pub struct LastReload(Arc<Mutex<Option<Timestamp>>>);

/// The keys of access tokens; the first process to ask makes one.
///
/// # Errors
/// [`KeyRingError`].
pub async fn load_signing_keys(store: &Store, now: Timestamp) -> Result<SigningKeys, KeyRingError> {
    let fresh = fresh(SigningKey::generate()?.expose().to_owned(), now);
    let ring = store.key_ring(RingKind::Signing, fresh).await?;
    let keys = ring.into_iter().map(|key| SigningKey::read(key.id, &Secret::new(key.material)));
    Ok(SigningKeys::new(keys.collect::<Result<_, _>>()?)?)
}

/// The keys of refresh tokens; the first process to ask makes one.
///
/// # Errors
/// [`KeyRingError`].
pub async fn load_refresh_keys(store: &Store, now: Timestamp) -> Result<RefreshKeys, KeyRingError> {
    Ok(RefreshKeys::new(symmetric(store, RingKind::Refresh, now).await?))
}

/// The keys of session ids; the first process to ask makes one.
///
/// # Errors
/// [`KeyRingError`].
pub async fn load_session_keys(store: &Store, now: Timestamp) -> Result<SessionSealer, KeyRingError> {
    let keys = symmetric(store, RingKind::Session, now).await?;
    Ok(SessionSealer::new(keys.into_iter().map(|(_, key)| Sealer::new(key)).collect()))
}

/// Reads the signing keys again: a token named one that is not here, which another process may have made. Of several
/// requests at once one reads and all wait for it; within [`RELOAD_PAUSE`] of the last reading nobody does, for a
/// stranger's tokens must not reach the store at will.
pub(super) async fn reload_signing_keys(shared: &Arc<Shared>) {
    let mut last = Arc::clone(&shared.last_reload.0).lock_owned().await;
    let now = shared.clock.now();
    if last.is_some_and(|last| (last..last.after(RELOAD_PAUSE)).contains(&now)) {
        return;
    }
    let work = Arc::clone(shared);
    // A task of its own, which ends with the pause begun, also when the request that wanted it goes away.
    let reading = shared.control.spawn(async move {
        match load_signing_keys(&work.store, now).await {
            Ok(keys) => work.signing.store(Arc::new(keys)),
            Err(error) => tracing::warn!(%error, "the signing keys could not be read again"),
        }
        *last = Some(work.clock.now());
    });
    if let Err(error) = reading.await {
        tracing::error!(%error, "reading the signing keys again did not end");
    }
}

async fn symmetric(store: &Store, kind: RingKind, now: Timestamp) -> Result<Vec<(KeyId, Key)>, KeyRingError> {
    let ring = store.key_ring(kind, fresh(secret::to_base64url(&secret::random::<32>()), now)).await?;
    let keys = ring.into_iter().map(|key| match secret::base64url(&key.material) {
        Some(bytes) => Ok((key.id, Key::new(bytes))),
        None => Err(KeyRingError::Material(key.id)),
    });
    keys.collect()
}

fn fresh(material: String, now: Timestamp) -> StoredKey {
    StoredKey { id: KeyId::issue(secret::random()), material, created: now }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http::{Request, StatusCode};
    use http_body_util::Empty;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;

    use super::super::testing::{self, NOW};
    use super::super::{Arrival, Gateway, Site, Worker};
    use super::*;
    use crate::cli;
    use crate::clock::StoppedClock;
    use crate::config::Config;
    use crate::oauth::{Resource, Scopes};

    /// A process that has not seen the key with which another one of the same store signs.
    struct World {
        config: Config,
        shared: Arc<Shared>,
        clock: Arc<StoppedClock>,
        other_process: SigningKeys,
        _folder: tempfile::TempDir,
    }

    impl World {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let yaml = format!(
                "issuer: http://localhost:8080
secret_key: {}
store: file:{}/portcullis.db
listen: {{ http: \"localhost:8080\" }}
tls: off
identity: {{ dev: {{}} }}
access: {{ users: [\"*\"] }}
services:
  todo: {{ url: \"http://localhost:8080/mcp\", upstream: \"http://127.0.0.1:1/mcp\" }}
",
                "5a".repeat(32),
                folder.path().display()
            );
            let config = Config::from_text(&yaml).unwrap_or_else(|problems| panic!("{problems}"));
            let clock = Arc::new(StoppedClock::at(NOW));
            let shared = cli::serve::share(&config, clock.clone()).await.unwrap();
            shared.revocations.update(&[], Duration::from_hours(1), NOW);
            let other_process = load_signing_keys(&shared.store, NOW).await.unwrap();
            let world = Self { config, shared: Arc::new(shared), clock, other_process, _folder: folder };
            world.forget();
            world
        }

        /// Leaves this process with a key of its own only, which is not in the store.
        fn forget(&self) {
            let own = SigningKey::read(KeyId::parse("own").unwrap(), &SigningKey::generate().unwrap());
            self.shared.signing.store(Arc::new(SigningKeys::new(vec![own.unwrap()]).unwrap()));
        }

        fn token(&self) -> Secret {
            let service = &self.config.gateway.services[0];
            let mut claims = testing::claims();
            claims.issuer.clone_from(&self.config.gateway.issuer);
            claims.resource = Resource::from_canonical("http://localhost:8080/mcp".to_owned());
            claims.access = service.access.fingerprint();
            claims.scopes = Scopes::parse("mcp");
            self.other_process.mint(&claims).unwrap()
        }

        fn knows_the_others_key(&self) -> bool {
            let (keys, token) = (self.shared.signing.load(), self.token());
            crate::token::verify(token.expose(), &keys, &self.config.gateway.issuer, NOW).is_ok()
        }

        async fn ask(&self, gateway: &Arc<Gateway>, token: &str) -> StatusCode {
            let (near, far) = tokio::io::duplex(64 * 1024);
            let (gateway, worker) = (Arc::clone(gateway), Arc::new(Worker::new()));
            let service = service_fn(move |request| {
                let (gateway, worker) = (Arc::clone(&gateway), Arc::clone(&worker));
                let peer = ([127, 0, 0, 1], 50_000).into();
                let arrival = Arrival { peer, tls: false, server_name: None };
                async move { Ok::<_, Infallible>(gateway.handle(&worker, &arrival, request).await) }
            });
            let server = hyper::server::conn::http1::Builder::new();
            tokio::spawn(server.serve_connection(TokioIo::new(far), service));
            let (mut client, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(near)).await.unwrap();
            tokio::spawn(connection);
            let request = Request::post("/mcp")
                .header("host", "localhost:8080")
                .header("authorization", format!("Bearer {token}"))
                .body(Empty::<Bytes>::new());
            client.send_request(request.unwrap()).await.unwrap().status()
        }
    }

    // R12. Those that did not read themselves once answered 401 to a good token.
    #[tokio::test]
    async fn every_token_of_a_key_that_only_the_store_knows_is_accepted_at_once() {
        let world = World::new().await;
        let gateway =
            Arc::new(Gateway::new(Site::new(world.config.gateway.clone()), Arc::clone(&world.shared)));
        let token = world.token();
        let ask = || world.ask(&gateway, token.expose());
        let answers: [StatusCode; 4] = tokio::join!(ask(), ask(), ask(), ask()).into();
        assert_eq!(answers, [StatusCode::BAD_GATEWAY; 4], "admitted, and nothing listens behind");
    }

    // R12
    #[tokio::test]
    async fn unknown_keys_reach_the_store_once_in_five_seconds() {
        let world = World::new().await;
        reload_signing_keys(&world.shared).await;
        assert!(world.knows_the_others_key());
        world.forget();
        for _ in 0..5 {
            reload_signing_keys(&world.shared).await;
            assert!(!world.knows_the_others_key(), "read again too early");
            world.clock.advance(Duration::from_secs(1));
        }
        reload_signing_keys(&world.shared).await;
        assert!(world.knows_the_others_key());
    }

    #[tokio::test]
    async fn a_request_that_goes_away_does_not_stop_the_reading_that_others_wait_for() {
        let world = World::new().await;
        tokio::select! {
            biased;
            () = reload_signing_keys(&world.shared) => panic!("it has to wait for the store"),
            () = std::future::ready(()) => {}
        }
        reload_signing_keys(&world.shared).await;
        assert!(world.knows_the_others_key());
    }

    #[tokio::test]
    async fn a_damaged_key_is_told_by_its_name() {
        let world = World::new().await;
        let damaged =
            StoredKey { id: KeyId::parse("k9").unwrap(), material: "AAAA".to_owned(), created: NOW };
        let folder = tempfile::tempdir().unwrap();
        let settings = crate::store::Settings::Embedded { path: folder.path().join("other.db") };
        let control = tokio::runtime::Handle::current();
        let sealer = Sealer::new(world.config.secret_key.clone());
        let store = Store::open(&settings, sealer, &control, world.clock.clone()).await.unwrap();
        store.key_ring(RingKind::Refresh, damaged).await.unwrap();
        let error = load_refresh_keys(&store, NOW).await.err().unwrap();
        assert_eq!(error.to_string(), "the key k9 in the store is not 32 bytes in base64url");
    }
}
