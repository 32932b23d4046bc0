//! What the Redis store promises beyond the contract.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis::clock::StoppedClock;
use portcullis::secret::{Digest, Secret};
use portcullis::store::{OpenError, RingKind, Settings, Store, StoreError};
use tokio::runtime::Handle;

use crate::fixtures::*;
use crate::rig::{Rig, Server};

async fn open(settings: &Settings) -> Result<Store, OpenError> {
    Store::open(settings, sealer(), &Handle::current(), Arc::new(StoppedClock::at(NOW))).await
}

/// How long an answer may take when Redis does not give one.
const PROMPTLY: Duration = Duration::from_secs(3);

/// Every verb, when the store is away: an error within three seconds each, all asked at once.
async fn everything_is_away(store: &Store) {
    let asked = Instant::now();
    let grant = pending("c_one", "1", "code");
    let id = client_id("c_one");
    let (state, user, lives) = (secret("state"), subject("1"), lives());
    let (one, two) = (client("c_one", later(100)), flow(None, "verifier", later(600)));
    let three = session(later(600));
    let logins = async {
        tokio::join!(
            async { store.save_client(&one).await.err() },
            async { store.client(&id, NOW).await.err() },
            async { store.keep_client(&id, later(900), NOW).await.err() },
            async { store.begin_flow(&state, &two, 1000).await.err() },
            async { store.take_flow(&state, NOW).await.err() },
            async { store.save_session(&state, &three).await.err() },
            async { store.session(&state, NOW).await.err() },
            async { store.end_session(&state).await.err() },
        )
    };
    let others = async {
        tokio::join!(
            async { store.begin_grant(&grant, &lives).await.err() },
            async { store.grant(grant.id, NOW).await.err() },
            async { store.grants_of_user(&user, NOW).await.err() },
            async { store.grants_of_client(&id, NOW).await.err() },
            async { store.pin_login("octocat", &user).await.err() },
            async { store.pins(&user).await.err() },
            async { store.key_ring(RingKind::Session, key("k", "material")).await.err() },
            async { store.revocations(None).await.err() },
            async { store.sweep(Duration::from_mins(1), NOW).await.err() },
            async { store.count("name", Duration::from_mins(1), NOW).await.err() },
            async { store.ping().await.err() },
        )
    };
    let one_key = key("k", "material");
    let keys = async {
        tokio::join!(
            async { store.load_ring(RingKind::Session, &one_key).await.err() },
            async { store.reseal().await.err() },
            async { store.left_to_reseal().await.err() },
        )
    };
    let results = tokio::join!(logins, others, keys);
    assert!(asked.elapsed() < PROMPTLY, "{:?}", asked.elapsed());
    let shown = format!("{results:?}");
    assert_eq!(shown.matches("Some(Away(").count(), 22, "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_is_away_and_a_restarted_one_serves_again() {
    let mut rig = Rig::redis().await;
    let server = rig.server.as_mut().unwrap();
    server.kill();
    everything_is_away(&rig.store).await;
    everything_is_away(&rig.store).await;
    server.restart();
    rig.store.save_client(&client("c_one", later(100))).await.expect("the first write after the restart");
    assert!(rig.store.client(&client_id("c_one"), NOW).await.unwrap().is_some());
    assert_eq!(rig.store.count("name", Duration::from_mins(1), NOW).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_is_away_and_serves_when_it_speaks_again() {
    let rig = Rig::redis().await;
    let server = rig.server.as_ref().unwrap();
    server.signal("-STOP");
    everything_is_away(&rig.store).await;
    server.signal("-CONT");
    rig.store.save_client(&client("c_one", later(100))).await.unwrap();
    assert!(rig.store.client(&client_id("c_one"), NOW).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_connection_is_made_anew_without_the_caller_noticing() {
    let rig = Rig::redis().await;
    let grant = pending("c_one", "1", "code");
    let mut admin = rig.server.as_ref().unwrap().connection().await;
    let mut kill = redis::cmd("CLIENT");
    kill.arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes");
    for _ in 0..20 {
        let killed: u64 = kill.query_async(&mut admin).await.unwrap();
        assert_eq!(killed, 1);
        rig.store.begin_grant(&grant, &lives()).await.unwrap();
        let _: u64 = kill.query_async(&mut admin).await.unwrap();
        assert!(rig.store.grant(grant.id, NOW).await.unwrap().is_some());
    }
}

/// redis-rs's `ConnectionManager` keeps answering with such an error until the process ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refused_us_once_is_asked_again() {
    let rig = Rig::redis().await;
    let mut admin = rig.server.as_ref().unwrap().connection().await;
    let mut kill = redis::cmd("CLIENT");
    kill.arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes");
    let limit = |clients: u32| {
        let mut command = redis::cmd("CONFIG");
        command.arg("SET").arg("maxclients").arg(clients);
        command
    };
    limit(1).exec_async(&mut admin).await.unwrap();
    kill.exec_async(&mut admin).await.unwrap();
    for _ in 0..3 {
        let refused = rig.store.ping().await.unwrap_err();
        assert!(matches!(refused, StoreError::Away(_)), "{refused}");
    }
    limit(100).exec_async(&mut admin).await.unwrap();
    rig.store.ping().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_goes_on_when_its_caller_is_dropped() {
    let rig = Rig::redis().await;
    let server = rig.server.as_ref().unwrap();
    server.signal("-STOP");
    let saved = client("c_one", later(100));
    let given_up = tokio::time::timeout(Duration::from_millis(200), rig.store.save_client(&saved)).await;
    server.signal("-CONT");
    given_up.unwrap_err();
    for _ in 0..100 {
        if rig.store.client(&saved.id, NOW).await.unwrap().is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the write was lost with its caller");
}

/// The store's answer to opening, with all its sources.
async fn told(settings: &Settings) -> String {
    let asked = Instant::now();
    let refused = open(settings).await.err().expect("it cannot be opened");
    assert!(matches!(refused, OpenError::Store(StoreError::Away(_)) | OpenError::Url(_)), "{refused}");
    assert!(asked.elapsed() < PROMPTLY, "{:?}", asked.elapsed());
    let mut told = refused.to_string();
    let mut next = refused.source();
    while let Some(source) = next {
        told = format!("{told}: {source}");
        next = source.source();
    }
    told
}

/// A certificate that nobody has signed, as arguments for redis-server; and the folder it is in.
fn tls_files() -> (tempfile::TempDir, Vec<String>) {
    let folder = tempfile::TempDir::new().unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let mut arguments = vec!["--tls-auth-clients".to_owned(), "no".to_owned()];
    for (name, pem) in [("cert", made.cert.pem()), ("key", made.signing_key.serialize_pem())] {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        arguments.extend([format!("--tls-{name}-file"), path.to_str().unwrap().to_owned()]);
    }
    (folder, arguments)
}

fn settings(url: String) -> Settings {
    Settings::Redis { url: Secret::new(url), prefix: "pc:".to_owned() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opening_tells_refused_password_tls_and_name_apart() {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let mut plain = Server::start(&[]);
    let locked = Server::start(&["--requirepass", "right"]);

    let without_tls = told(&plain.settings("rediss://")).await;
    assert!(without_tls.contains("the port is without TLS: redis://"), "{without_tls}");
    let (folder, arguments) = tls_files();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let encrypted = Server::start_tls(&arguments);
    let unknown = told(&encrypted.settings("rediss://")).await;
    assert!(unknown.contains("TLS fails") && unknown.contains("certificate"), "{unknown}");
    let plain_text = told(&encrypted.settings("redis://")).await;
    assert!(plain_text.contains("is the port for TLS? then rediss://"), "{plain_text}");
    drop(folder);
    let no_password = told(&locked.settings("redis://")).await;
    assert!(no_password.contains("wrong user name or password, or none given"), "{no_password}");
    let wrong_password = told(&locked.settings("redis://:planted-password@")).await;
    assert!(wrong_password.contains("wrong user name or password, or none given"), "{wrong_password}");
    assert!(!wrong_password.contains("planted"), "{wrong_password}");
    let no_name = told(&settings("redis://:planted-password@portcullis.invalid:6379/".to_owned())).await;
    assert!(no_name.contains("portcullis.invalid:6379: no such host name"), "{no_name}");
    let no_url = told(&settings("planted-password".to_owned())).await;
    assert!(
        no_url.contains("the store's URL is none such as redis://") && !no_url.contains("planted"),
        "{no_url}"
    );
    plain.kill();
    let refused = told(&plain.settings("redis://")).await;
    assert!(refused.contains("connection refused; Redis is not running"), "{refused}");

    plain.restart();
    open(&plain.settings("redis://")).await.expect("the same server, running");
    open(&locked.settings("redis://:right@")).await.expect("the right password");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_live_ten_minutes_longer_than_their_records() {
    let rig = Rig::redis().await;
    rig.store.save_client(&client("c_one", later(100))).await.unwrap();
    rig.store.save_client(&client("c_past", NOW.before(Duration::from_secs(5)))).await.unwrap();
    rig.store.count("name", Duration::from_mins(1), NOW).await.unwrap();
    rig.store.key_ring(RingKind::Signing, key("k", "material")).await.unwrap();
    let mut connection = rig.server.as_ref().unwrap().connection().await;
    let mut life =
        async |key: String| -> i64 { redis::cmd("TTL").arg(key).query_async(&mut connection).await.unwrap() };
    let digest = |text: &str| Digest::of(text.as_bytes()).to_base64url();
    let one = life(format!("pc:client:{}", digest("c_one"))).await;
    assert!((695..=700).contains(&one), "{one}");
    let past = life(format!("pc:client:{}", digest("c_past"))).await;
    assert!((595..=600).contains(&past), "{past}");
    let window = NOW.seconds() / 60;
    let count = life(format!("pc:count:{}:{window}", digest("name"))).await;
    assert!((600..=660).contains(&count), "{count}");
    assert_eq!(life("pc:ring:signing".to_owned()).await, -1, "for ever");
    assert_eq!(life("pc:meta:check".to_owned()).await, -1, "for ever");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_shares_its_slot_with_its_revocation_log() {
    let rig = Rig::redis().await;
    let grant = active(&pending("c_one", "1", "code"), 1);
    rig.store.begin_grant(&grant, &lives()).await.unwrap();
    let read = rig.store.grant(grant.id, NOW).await.unwrap().unwrap();
    rig.store.swap_grant(&read, &revoked(&grant, NOW), &lives()).await.unwrap();
    let mut connection = rig.server.as_ref().unwrap().connection().await;
    let shard = grant.id.shard().index();
    for key in
        [format!("pc:{{g{shard:02}}}:grant:{}", grant.id), format!("pc:{{g{shard:02}}}:revoked:{shard:02}")]
    {
        let exists: bool = redis::cmd("EXISTS").arg(&key).query_async(&mut connection).await.unwrap();
        assert!(exists, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_prefixes_are_two_stores() {
    let rig = Rig::redis().await;
    let Settings::Redis { url, .. } = &rig.settings else { unreachable!("it is Redis") };
    let other = open(&Settings::Redis { url: url.clone(), prefix: "other:".to_owned() }).await.unwrap();
    rig.store.save_client(&client("c_one", later(100))).await.unwrap();
    assert!(other.client(&client_id("c_one"), NOW).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_another_type_is_damage_and_not_an_absence() {
    let rig = Rig::redis().await;
    let mut connection = rig.server.as_ref().unwrap().connection().await;
    let name = format!("client:{}", Digest::of(b"c_one").to_base64url());
    redis::cmd("LPUSH").arg(format!("pc:{name}")).arg("x").exec_async(&mut connection).await.unwrap();
    let error = rig.store.client(&client_id("c_one"), NOW).await.unwrap_err();
    assert!(matches!(&error, StoreError::Damaged { name: told, .. } if *told == name), "{error}");
}
