//! The keys that the gateway works with, from the rings in the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;

use super::Shared;
use crate::mcp::SessionSealer;
use crate::oauth::{KeyId, Ring, StoredKey};
use crate::seal::Sealer;
use crate::secret::{self, Key, Secret};
use crate::store::{RingKind, Store, StoreError};
use crate::time::Timestamp;
use crate::token::{KeyError, RefreshKeys, RefreshToken, SigningKey, SigningKeys};

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
    /// A ring without a key.
    #[error("the store has no {} key", .0.as_str())]
    Empty(RingKind),
}

/// How often, at most, an unknown key's name makes us read a ring again.
const RELOAD_PAUSE: Duration = Duration::from_secs(5);

/// How old what we know of a ring may be when something is signed: a process that slept must not sign with a key that the
/// others trust no more. [`GRACE`](crate::oauth::GRACE) is longer.
const FRESH: Duration = Duration::from_mins(1);

/// When each ring was read again last.
#[derive(Default)]
pub struct LastReload {
    signing: Reading,
    refresh: Reading,
    session: Reading,
}

#[derive(Default)]
struct Reading {
    /// When an unknown key's name had the ring read. Whoever has the lock may read it; the others wait, and look again.
    asked: Arc<Mutex<Option<Timestamp>>>,
    /// Seconds since the epoch, as of the last ring in use; zero before the first.
    read: AtomicU64,
}

impl LastReload {
    const fn of(&self, kind: RingKind) -> &Reading {
        match kind {
            RingKind::Signing => &self.signing,
            RingKind::Refresh => &self.refresh,
            RingKind::Session => &self.session,
        }
    }
}

/// The keys of access tokens; the first process to ask makes one.
///
/// # Errors
/// [`KeyRingError`].
pub async fn load_signing_keys(store: &Store, now: Timestamp) -> Result<SigningKeys, KeyRingError> {
    signing(load(store, RingKind::Signing, now).await?)
}

/// The keys of refresh tokens; the first process to ask makes one.
///
/// # Errors
/// [`KeyRingError`].
pub async fn load_refresh_keys(store: &Store, now: Timestamp) -> Result<RefreshKeys, KeyRingError> {
    refresh(load(store, RingKind::Refresh, now).await?)
}

/// The keys of session ids; the first process to ask makes one.
///
/// # Errors
/// [`KeyRingError`].
pub async fn load_session_keys(store: &Store, now: Timestamp) -> Result<SessionSealer, KeyRingError> {
    session(load(store, RingKind::Session, now).await?)
}

/// Works with `ring` from now on.
///
/// # Errors
/// [`KeyRingError`]; then we go on with the keys we have.
pub(super) fn publish(
    shared: &Shared,
    kind: RingKind,
    ring: Ring,
    now: Timestamp,
) -> Result<(), KeyRingError> {
    let keys = ring.into_use(now);
    match kind {
        RingKind::Signing => shared.signing.store(Arc::new(signing(keys)?)),
        RingKind::Refresh => shared.refresh.store(Arc::new(refresh(keys)?)),
        RingKind::Session => shared.sessions.store(Arc::new(session(keys)?)),
    }
    shared.last_reload.of(kind).read.store(now.seconds(), Ordering::Release);
    Ok(())
}

/// A new key of a kind, not in any ring yet.
///
/// # Errors
/// [`KeyError`] if the cryptographic library fails.
pub(super) fn fresh(kind: RingKind, now: Timestamp) -> Result<StoredKey, KeyError> {
    let material = match kind {
        RingKind::Signing => SigningKey::generate()?.expose().to_owned(),
        RingKind::Refresh | RingKind::Session => secret::to_base64url(&secret::random::<32>()),
    };
    Ok(StoredKey {
        id: KeyId::issue(secret::random()),
        material,
        created: now,
        signs_from: None,
        needed: None,
    })
}

/// Reads a ring again: something came that was made with a key that is not here, which another process may have made. Of
/// several requests at once one reads and all wait for it; within [`RELOAD_PAUSE`] of the last reading nobody does, for a
/// stranger's tokens must not reach the store at will.
pub(super) async fn reload(shared: &Arc<Shared>, kind: RingKind) {
    let mut last = Arc::clone(&shared.last_reload.of(kind).asked).lock_owned().await;
    let now = shared.clock.now();
    if last.is_some_and(|last| (last..last.after(RELOAD_PAUSE)).contains(&now)) {
        return;
    }
    let work = Arc::clone(shared);
    // A task of its own, which ends with the pause begun, also when the request that wanted it goes away.
    let reading = shared.control.spawn(async move {
        if let Err(error) = read_again(&work, kind, now).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the {} keys could not be read again",
                kind.as_str()
            );
        }
        *last = Some(work.clock.now());
    });
    if let Err(error) = reading.await {
        tracing::error!(%error, "reading the {} keys again did not end", kind.as_str());
    }
}

/// The keys of refresh tokens; read again if `token` names one that is not here.
pub(super) async fn for_refresh_token(shared: &Arc<Shared>, token: &RefreshToken) -> Arc<RefreshKeys> {
    if !shared.refresh.load().knows(token) {
        reload(shared, RingKind::Refresh).await;
    }
    shared.refresh.load_full()
}

/// Before tokens are signed: reads the rings again if what we know of them is older than [`FRESH`]. If it cannot be read, we go on
/// with what we have: the store that the grant has just come from is there, so it is a matter of this one record.
pub(super) async fn before_signing(shared: &Arc<Shared>) {
    for kind in [RingKind::Signing, RingKind::Refresh] {
        let read = Timestamp::from_seconds(shared.last_reload.of(kind).read.load(Ordering::Acquire));
        if shared.clock.now().since(read) > FRESH {
            reload(shared, kind).await;
        }
    }
}

async fn read_again(shared: &Shared, kind: RingKind, now: Timestamp) -> Result<(), KeyRingError> {
    let ring = shared.store.key_ring(kind, fresh(kind, now)?).await?;
    publish(shared, kind, Ring::new(ring), now)
}

/// The keys of a ring as they are used at `now`.
async fn load(store: &Store, kind: RingKind, now: Timestamp) -> Result<Vec<StoredKey>, KeyRingError> {
    let ring = store.key_ring(kind, fresh(kind, now)?).await?;
    Ok(Ring::new(ring).into_use(now))
}

fn signing(keys: Vec<StoredKey>) -> Result<SigningKeys, KeyRingError> {
    let keys = keys.into_iter().map(|key| SigningKey::read(key.id, &Secret::new(key.material)));
    Ok(SigningKeys::new(keys.collect::<Result<_, _>>()?)?)
}

fn refresh(keys: Vec<StoredKey>) -> Result<RefreshKeys, KeyRingError> {
    Ok(RefreshKeys::new(symmetric(RingKind::Refresh, keys)?))
}

fn session(keys: Vec<StoredKey>) -> Result<SessionSealer, KeyRingError> {
    let keys = symmetric(RingKind::Session, keys)?;
    Ok(SessionSealer::new(keys.into_iter().map(|(_, key)| Sealer::new(key)).collect()))
}

fn symmetric(kind: RingKind, keys: Vec<StoredKey>) -> Result<Vec<(KeyId, Key)>, KeyRingError> {
    if keys.is_empty() {
        return Err(KeyRingError::Empty(kind));
    }
    let keys = keys.into_iter().map(|key| match secret::base64url(&key.material) {
        Some(bytes) => Ok((key.id, Key::new(bytes))),
        None => Err(KeyRingError::Material(key.id)),
    });
    keys.collect()
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
        reload(&world.shared, RingKind::Signing).await;
        assert!(world.knows_the_others_key());
        world.forget();
        for _ in 0..5 {
            reload(&world.shared, RingKind::Signing).await;
            assert!(!world.knows_the_others_key(), "read again too early");
            world.clock.advance(Duration::from_secs(1));
        }
        reload(&world.shared, RingKind::Signing).await;
        assert!(world.knows_the_others_key());
    }

    #[tokio::test]
    async fn a_request_that_goes_away_does_not_stop_the_reading_that_others_wait_for() {
        let world = World::new().await;
        tokio::select! {
            biased;
            () = reload(&world.shared, RingKind::Signing) => panic!("it has to wait for the store"),
            () = std::future::ready(()) => {}
        }
        reload(&world.shared, RingKind::Signing).await;
        assert!(world.knows_the_others_key());
    }

    #[tokio::test]
    async fn a_damaged_key_is_told_by_its_name() {
        let world = World::new().await;
        let damaged = StoredKey {
            id: KeyId::parse("k9").unwrap(),
            material: "AAAA".to_owned(),
            created: NOW,
            signs_from: None,
            needed: None,
        };
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
