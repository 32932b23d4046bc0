//! Backups: between stores of either kind, while others write, and whatever may be wrong with the file.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use portcullis::oauth::{AttemptId, GrantState, RevocationReason, ShardId};
use portcullis::seal::Sealer;
use portcullis::secret::{Key, random};
use portcullis::store::backend::{Backend, Copied, Load, Name, Of};
use portcullis::store::backup::{
    Counts, FormatError, Piece, Reader, RestoreError, Restored, Summary, Target, TargetError, Terms, fill,
    is_unused, verify,
};
use portcullis::store::{
    AcmeAccount, AcmeOrder, GrantsOf, OpenChallenge, OpenError, Ordered, Renewal, RingKind, Settings, Store,
    StoredCertificate, open_backend,
};
use portcullis::time::Timestamp;
use tokio::runtime::Handle;

use crate::fixtures::*;
use crate::rig::Rig;

const OF: Ordered<'_> = Ordered { directory: "https://acme.example/directory", host: "mcp.example.com" };

static SEALER: LazyLock<Sealer> = LazyLock::new(sealer);

fn terms(now: u64) -> Terms<'static> {
    Terms { now: later(now), lives: lives(), sealer: &SEALER }
}

/// The whole backup of a store.
async fn back_up(store: &Store) -> Vec<u8> {
    let mut pieces = store.back_up(NOW);
    let mut whole = Vec::new();
    while let Some(piece) = pieces.recv().await {
        whole.extend(piece.unwrap());
    }
    whole
}

fn reader(backup: &[u8]) -> Reader<&[u8]> {
    Reader::begin(backup).unwrap()
}

fn pieces(backup: &[u8]) -> Vec<Piece> {
    let mut reader = reader(backup);
    std::iter::from_fn(|| reader.piece().unwrap()).collect()
}

async fn restore(backup: &[u8], into: &dyn Backend) -> Restored {
    verify(reader(backup), &sealer(), |_| {}).unwrap();
    fill(into, reader(backup), &terms(0), |_| {}).await.unwrap()
}

/// One or more of every kind that there is.
async fn fill_with_everything(store: &Store) {
    store.bind_provider("https://github.com").await.unwrap();
    for kind in RingKind::ALL {
        store.key_ring(kind, key("k1", kind.as_str())).await.unwrap();
    }
    for index in 0..3 {
        let client = client(&format!("c_{index}"), later(86_400));
        store.add_client(&client, 100, NOW).await.unwrap();
    }
    for index in 0..40 {
        let pending = pending("c_1", "1", &format!("code {index}"));
        store.begin_grant(&pending, &lives()).await.unwrap();
        if index == 0 {
            continue;
        }
        let found = store.grant(pending.id, NOW).await.unwrap().unwrap();
        store.swap_grant(&found, &active(&pending, 4), &lives()).await.unwrap();
        if index % 4 == 0 {
            let found = store.grant(pending.id, NOW).await.unwrap().unwrap();
            let mut ended = revoked(&pending, later(1));
            if index == 8 {
                let until = Some(later(80 * 86_400));
                ended.state = GrantState::Revoked { at: later(1), reason: RevocationReason::Client, until };
            }
            store.swap_grant(&found, &ended, &lives()).await.unwrap();
        }
    }
    let attempt = AttemptId::new(random());
    assert!(store.use_assertion((&client_id("c_1"), "jti"), attempt, later(300)).await.unwrap());
    store.save_user(&user("1", "a-token", later(8000))).await.unwrap();
    store.pin_login("octocat", &subject("1")).await.unwrap();
    let account = AcmeAccount { credentials: "{}".to_owned(), email: "ops@example.com".to_owned() };
    store.save_acme_account(OF.directory, None, &account).await.unwrap();
    let certificate = StoredCertificate {
        host: OF.host.to_owned(),
        directory: OF.directory.to_owned(),
        chain: "chain".to_owned(),
        key: "key".to_owned(),
        issued: NOW,
    };
    store.save_certificate(&certificate, later(9000)).await.unwrap();
    let order = AcmeOrder { url: "u".to_owned(), key: "k".to_owned(), challenge: "c".to_owned() };
    store.save_acme_order(OF, &order, later(7000)).await.unwrap();
    store.swap_renewal(OF, None, &Renewal::default(), later(9000)).await.unwrap();
    let challenge = OpenChallenge::TlsAlpn01 { host: OF.host };
    store.open_challenge(challenge, "answer", later(3600)).await.unwrap();
    // Of the kinds that are left out.
    store.begin_flow(&secret("state"), &flow(Some("s"), "verifier", later(600)), 10).await.unwrap();
    store.save_session(&secret("cookie"), &session(later(8 * 3600))).await.unwrap();
    assert!(store.lease("work", later(60), NOW).await.unwrap());
    store.count("registrations", Duration::from_mins(10), NOW).await.unwrap();
}

/// Everything in a store, through the primitives: bytes, ends, scores. But what belongs to the store and not to what is in it.
async fn content(backend: &dyn Backend) -> BTreeMap<String, (Vec<u8>, u64)> {
    let snapshot = backend.snapshot().await.unwrap();
    let mut content = BTreeMap::new();
    for of in [Of::Records, Of::Logs] {
        let mut cursor = None;
        loop {
            let page = snapshot.names(of, cursor).await.unwrap();
            for text in page.names.iter().filter(|text| !text.starts_with("meta:restored")) {
                let name = placed(text);
                match of {
                    Of::Records => {
                        let Some(Some(Copied { bytes, ends })) =
                            snapshot.records(&[name]).await.unwrap().pop()
                        else {
                            panic!("{text} is not there")
                        };
                        // A counter is written otherwise by each backend.
                        let bytes = if text.starts_with("turns:") {
                            snapshot.number(&bytes).unwrap().to_be_bytes().to_vec()
                        } else {
                            bytes
                        };
                        content.insert(text.clone(), (bytes, ends.map_or(u64::MAX, Timestamp::seconds)));
                    }
                    Of::Logs => {
                        for (score, entry) in snapshot.entries(&name).await.unwrap() {
                            content.insert(
                                format!("{text} {}", String::from_utf8_lossy(&entry)),
                                (vec![], score),
                            );
                        }
                    }
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
    }
    content
}

/// Where a name lies, found out by trying.
fn placed(text: &str) -> Name {
    let shard = if let Some(id) = text.strip_prefix("grant:") {
        portcullis::oauth::GrantId::parse(id).map(|id| id.shard())
    } else if text.starts_with("revoked:") {
        let number = text.rsplit(':').next().unwrap();
        ShardId::all().find(|shard| format!("{:02}", shard.index()) == number)
    } else {
        None
    };
    let text = text.to_owned();
    shard.map_or_else(|| Name::new(text.clone()), |shard| Name::in_shard(text.clone(), shard))
}

/// The same without what a backup leaves out.
fn kept(content: &BTreeMap<String, (Vec<u8>, u64)>, open: &str) -> BTreeMap<String, (Vec<u8>, u64)> {
    let out = [
        "flow:",
        "busy:",
        "session:",
        "lease:",
        "count:",
        "turn:flows",
        "turns:flows",
        "turn:sessions",
        "turns:sessions",
    ];
    let stays = |name: &&String| !out.iter().any(|kind| name.starts_with(kind)) && *name != open;
    content
        .iter()
        .filter(|(name, _)| stays(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// The name of the one grant whose code is not redeemed.
async fn open_grant(rig: &Rig) -> String {
    let page = rig.store.page_of_grants(&GrantsOf::All, None, NOW).await.unwrap();
    let open = page.found.iter().find(|grant| matches!(grant.state, GrantState::Pending { .. }));
    format!("grant:{}", open.unwrap().id)
}

/// Redis counts what is left in its own milliseconds.
fn is_the_same(one: &BTreeMap<String, (Vec<u8>, u64)>, other: &BTreeMap<String, (Vec<u8>, u64)>) {
    let names = |content: &BTreeMap<String, (Vec<u8>, u64)>| content.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(one), names(other));
    for (name, (bytes, ends)) in one {
        let (others, theirs) = &other[name];
        assert_eq!(bytes, others, "{name}");
        assert!(ends.abs_diff(*theirs) <= 2, "{name} ends at {ends} and at {theirs}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_goes_from_store_to_store_byte_for_byte() {
    let (first, redis, last) = (Rig::embedded().await, Rig::redis().await, Rig::embedded().await);
    let again = Rig::redis().await;
    fill_with_everything(&first.store).await;
    let open = open_grant(&first).await;
    let before = content(first.backend.as_ref()).await;
    let expected = kept(&before, &open);
    let kinds: std::collections::BTreeSet<_> =
        expected.keys().map(|name| name.split(':').next().unwrap()).collect();
    let all = [
        "acme-account",
        "acme-order",
        "assertion",
        "certificate",
        "challenge",
        "client",
        "grant",
        "grants-of-client",
        "grants-of-user",
        "meta",
        "pin",
        "pins-of",
        "renewal",
        "revoked",
        "ring",
        "turn",
        "turns",
        "user",
    ];
    assert_eq!(kinds, all.into(), "all kinds that are kept");

    let mut from = &first;
    for to in [&redis, &again, &last] {
        let backup = back_up(&from.store).await;
        let restored = restore(&backup, to.backend.as_ref()).await;
        assert_eq!(restored.expired, 0);
        assert_eq!(restored.counts, reader_counts(&backup));
        is_the_same(&expected, &content(to.backend.as_ref()).await);
        from = to;
    }
    assert_eq!(content(first.backend.as_ref()).await, before, "a backup changes nothing");
}

fn reader_counts(backup: &[u8]) -> Counts {
    Summary::of(&mut reader(backup), |_| {}).unwrap().counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_store_does_what_the_first_did() {
    for rig in [Rig::embedded().await, Rig::redis().await] {
        let from = Rig::embedded().await;
        fill_with_everything(&from.store).await;
        restore(&back_up(&from.store).await, rig.backend.as_ref()).await;
        let store = Store::with_backend(rig.backend.clone(), sealer()).await.unwrap();
        let (revocations, _) = store.revocations(None).await.unwrap();
        assert_eq!(revocations.len(), 9);
        assert_eq!(revocations.iter().filter(|revocation| revocation.until.is_some()).count(), 1);
        assert_eq!(store.grants_of_user(&subject("1"), NOW).await.unwrap().len(), 30);
        assert_eq!(store.pins(&subject("1")).await.unwrap(), ["octocat"]);
        let attempt = AttemptId::new(random());
        assert!(
            !store.use_assertion((&client_id("c_1"), "jti"), attempt, later(300)).await.unwrap(),
            "an assertion that was used stays so"
        );
        assert!(store.take_flow(&secret("state"), NOW).await.unwrap().is_none());
        assert!(store.session(&secret("cookie"), NOW).await.unwrap().is_none());
        let ring = store.key_ring(RingKind::Signing, key("other", "other")).await.unwrap();
        assert_eq!(ring, [key("k1", "signing")]);
        // The queue goes on behind those that stand in it.
        let gone = store.add_client(&client("c_new", later(86_400)), 3, NOW).await.unwrap();
        assert_eq!(gone, [client_id("c_0")]);
    }
}

#[tokio::test]
async fn what_has_ended_meanwhile_is_passed_over() {
    let (from, to) = (Rig::embedded().await, Rig::embedded().await);
    from.store.save_client(&client("c_short", later(100))).await.unwrap();
    from.store.save_client(&client("c_long", later(10_000))).await.unwrap();
    let backup = back_up(&from.store).await;
    let restored = fill(to.backend.as_ref(), reader(&backup), &terms(100), |_| {}).await.unwrap();
    assert_eq!(restored.expired, 1);
    assert!(to.store.client(&client_id("c_long"), NOW).await.unwrap().is_some());
    assert!(to.store.client(&client_id("c_short"), NOW).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_takes_away_everything_that_was_there_and_nothing_of_others() {
    for to in [Rig::embedded().await, Rig::redis().await] {
        let from = Rig::embedded().await;
        fill_with_everything(&to.store).await;
        assert!(!is_unused(to.backend.as_ref()).await.unwrap());
        if let Some(server) = &to.server {
            let mut connection = server.connection().await;
            for key in ["other:client:x", "pc:two:client:x"] {
                let set: String =
                    redis::cmd("SET").arg(key).arg("theirs").query_async(&mut connection).await.unwrap();
                assert_eq!(set, "OK");
            }
        }
        from.store.save_client(&client("c_only", later(1000))).await.unwrap();
        let backup = back_up(&from.store).await;
        restore(&backup, to.backend.as_ref()).await;
        let mut there = content(to.backend.as_ref()).await;
        if let Some(server) = &to.server {
            assert!(there.remove("two:client:x").is_some(), "another gateway's");
            let mut connection = server.connection().await;
            let theirs: String =
                redis::cmd("GET").arg("other:client:x").query_async(&mut connection).await.unwrap();
            assert_eq!(theirs, "theirs");
        }
        is_the_same(&content(from.backend.as_ref()).await, &there);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_which_nobody_has_signed_in_is_unused() {
    for rig in [Rig::embedded().await, Rig::redis().await] {
        rig.store.bind_provider("https://github.com").await.unwrap();
        rig.store.key_ring(RingKind::Signing, key("k1", "material")).await.unwrap();
        rig.store.lease("work", later(60), NOW).await.unwrap();
        assert!(is_unused(rig.backend.as_ref()).await.unwrap(), "{:?}", rig.settings);
        rig.store.save_client(&client("c_one", later(100))).await.unwrap();
        assert!(!is_unused(rig.backend.as_ref()).await.unwrap(), "{:?}", rig.settings);
    }
}

/// A writer that signs people in and revokes grants for as long as it may.
struct Writer {
    stop: Arc<AtomicBool>,
    written: tokio::sync::watch::Receiver<usize>,
    task: tokio::task::JoinHandle<()>,
}

impl Writer {
    fn start(store: &Store, grants: Vec<portcullis::oauth::Grant>) -> Self {
        let (stop, store) = (Arc::new(AtomicBool::new(false)), store.clone());
        let (stopped, (tell, written)) = (Arc::clone(&stop), tokio::sync::watch::channel(0));
        let task = tokio::spawn(async move {
            for (index, old) in grants.iter().enumerate() {
                let id = format!("c_new{index}");
                store.save_client(&client(&id, later(1000))).await.unwrap();
                let grant = pending(&id, "2", &format!("new {index}"));
                store.begin_grant(&grant, &lives()).await.unwrap();
                let found = store.grant(grant.id, NOW).await.unwrap().unwrap();
                store.swap_grant(&found, &active(&grant, 1), &lives()).await.unwrap();
                let found = store.grant(old.id, NOW).await.unwrap().unwrap();
                store.swap_grant(&found, &revoked(old, later(1)), &lives()).await.unwrap();
                tell.send_replace(index + 1);
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
            }
        });
        Self { stop, written, task }
    }

    /// Waits until it has written something more.
    async fn writes(&mut self) {
        self.written.changed().await.unwrap();
    }

    async fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.unwrap();
    }
}

/// Whatever others write meanwhile: no grant of a backup is alive in its record and revoked in the feed, or the other way round;
/// and each that lives is found by its user and by its client.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_made_while_others_write_holds_together() {
    for rig in [Rig::embedded().await, Rig::redis().await] {
        let grants: Vec<_> = (0..1500).map(|_| active(&pending("c_1", "1", "code"), 1)).collect();
        let record = |grant: &portcullis::oauth::Grant| {
            let json = serde_json::json!({ "exp": later(90_000), "value": grant });
            Load::Record {
                name: placed(&format!("grant:{}", grant.id)),
                bytes: [&[1], serde_json::to_vec(&json).unwrap().as_slice()].concat(),
                ends: Some(later(90_000)),
            }
        };
        rig.backend.load(grants.iter().map(record).collect()).await.unwrap();
        let mut writer = Writer::start(&rig.store, grants);
        let mut whole = Vec::new();
        let mut coming = rig.store.back_up(NOW);
        while let Some(piece) = coming.recv().await {
            whole.extend(piece.unwrap());
            // Much is left to be read while this is written: no more than a few pieces wait to be taken.
            if whole.len() < 500_000 {
                writer.writes().await;
            }
        }
        writer.end().await;
        let to = Rig::embedded().await;
        restore(&whole, to.backend.as_ref()).await;
        let store = Store::with_backend(to.backend.clone(), sealer()).await.unwrap();
        let (revocations, _) = store.revocations(None).await.unwrap();
        let told: std::collections::BTreeSet<_> =
            revocations.iter().map(|revocation| revocation.grant).collect();
        let mut ended = std::collections::BTreeSet::new();
        let found = content(to.backend.as_ref()).await;
        for name in found.keys().filter_map(|name| name.strip_prefix("grant:")) {
            let id = portcullis::oauth::GrantId::parse(name).unwrap();
            let grant = store.grant(id, NOW).await.unwrap().unwrap().value;
            match grant.state {
                GrantState::Revoked { .. } => drop(ended.insert(id)),
                GrantState::Pending { .. }
                | GrantState::Active { .. }
                | GrantState::Issued { .. }
                | GrantState::Dead { .. } => assert!(
                    grant.facts.user.subject == subject("1")
                        || found.contains_key(&format!(
                            "grants-of-user:{} {id}",
                            portcullis::secret::Digest::of(grant.facts.user.subject.as_str().as_bytes())
                                .to_base64url()
                        )),
                    "nobody finds {id}"
                ),
            }
        }
        assert_eq!(ended, told, "{:?}", rig.settings);
        if rig.server.is_some() {
            assert!(!told.is_empty(), "some were revoked meanwhile, and the backup knows it");
        }
    }
}

#[tokio::test]
async fn another_secret_key_is_told_from_the_right_one_before_anything_is_written() {
    let from = Rig::embedded().await;
    from.store.key_ring(RingKind::Signing, key("k1", "material")).await.unwrap();
    let backup = back_up(&from.store).await;
    let refused = |sealer: Sealer| verify(reader(&backup), &sealer, |_| {}).unwrap_err().to_string();
    let new = || Sealer::new(Key::new([10; 32]));
    assert_eq!(
        refused(new()),
        "it was made under another secret_key; write the one of then as secret_key, or beside the new one as \
         secret_key_previous"
    );
    verify(reader(&backup), &new().with_previous(Key::new([9; 32])), |_| {}).unwrap();
    let key = reader(&backup).about().key.clone();
    assert!(!String::from_utf8_lossy(&backup).contains(&portcullis::secret::to_base64url(&[9; 32])));
    assert_eq!(key.len(), 43);

    // Made while the key is changed: what is still under the old one needs it.
    let both = new().with_previous(Key::new([9; 32]));
    let store = Store::with_backend(from.backend.clone(), both.clone()).await.unwrap();
    let backup = back_up(&store).await;
    let refused = verify(reader(&backup), &new(), |_| {}).unwrap_err();
    assert!(matches!(refused, RestoreError::PreviousKey), "{refused}");
    verify(reader(&backup), &both, |_| {}).unwrap();
    let to = Rig::embedded().await;
    let terms = Terms { sealer: &both, ..terms(0) };
    fill(to.backend.as_ref(), reader(&backup), &terms, |_| {}).await.unwrap();
    let refused = Store::with_backend(to.backend.clone(), new()).await.err().unwrap();
    assert!(matches!(refused, OpenError::StillSealed), "{refused}");
    let store = Store::with_backend(to.backend.clone(), both).await.unwrap();
    assert_eq!(store.left_to_reseal().await.unwrap(), 1);
}

#[tokio::test]
async fn a_backup_during_which_the_secret_key_changes_is_none() {
    let rig = Rig::redis().await;
    fill_with_everything(&rig.store).await;
    for index in 0..600 {
        let long = "x".repeat(2000);
        let mut more = client(&format!("c_more{index}"), later(1000));
        more.metadata.client_name = Some(long);
        rig.store.save_client(&more).await.unwrap();
    }
    let mut pieces = rig.store.back_up(NOW);
    pieces.recv().await.unwrap().unwrap();
    let both = Sealer::new(Key::new([10; 32])).with_previous(Key::new([9; 32]));
    Store::with_backend(rig.backend.clone(), both).await.unwrap();
    let mut last = None;
    while let Some(piece) = pieces.recv().await {
        last = Some(piece);
    }
    assert_eq!(
        last.unwrap().unwrap_err().to_string(),
        "secret_key was changed while the backup was made; make it again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_is_broken_off_leaves_a_store_that_nobody_opens_until_it_is_done_again() {
    for rig in [Rig::embedded().await, Rig::redis().await] {
        let from = Rig::embedded().await;
        fill_with_everything(&from.store).await;
        for index in 0..600 {
            from.store.save_client(&client(&format!("c_more{index}"), later(1000))).await.unwrap();
        }
        let backup = back_up(&from.store).await;
        // The file goes away under its reader.
        let cut = &backup[..backup.len() - 40];
        let error = fill(rig.backend.as_ref(), reader(cut), &terms(0), |_| {}).await.unwrap_err();
        assert!(matches!(error, RestoreError::Format(FormatError::Cut(_))), "{error}");
        let refused = Store::with_backend(rig.backend.clone(), sealer()).await.err().unwrap();
        assert_eq!(
            refused.to_string(),
            "what is in this store is not whole: a restore into it is under way, or was broken off; then run portcullis restore FILE again"
        );
        let refused = Store::to_be_read(rig.backend.clone(), sealer()).await.err().unwrap();
        assert!(matches!(refused, OpenError::HalfRestored), "{refused}");
        assert!(is_unused(rig.backend.as_ref()).await.unwrap(), "nothing of worth is there");
        assert!(rig.store.was_restored().await.unwrap(), "whoever has the store open notices");
        restore(&backup, rig.backend.as_ref()).await;
        assert!(rig.store.was_restored().await.unwrap());
        let opened = Store::with_backend(rig.backend.clone(), sealer()).await.unwrap();
        assert!(!opened.was_restored().await.unwrap());
        restore(&backup, rig.backend.as_ref()).await;
        assert!(opened.was_restored().await.unwrap(), "once more");
    }
}

#[tokio::test]
async fn an_embedded_store_is_replaced_as_a_whole_or_stays_as_it_was() {
    let (from, folder) = (Rig::embedded().await, tempfile::TempDir::new().unwrap());
    fill_with_everything(&from.store).await;
    let backup = back_up(&from.store).await;
    let path = folder.path().join("store.db");
    let settings = Settings::Embedded { path: path.clone() };
    let clock = || Arc::new(portcullis::clock::StoppedClock::at(NOW));
    let held = open_backend(&settings, &Handle::current(), clock()).await.unwrap();
    let refused = Target::open(&settings, clock()).await.err().unwrap();
    assert!(matches!(refused, OpenError::InUse), "{refused}");
    Store::with_backend(held.clone(), sealer())
        .await
        .unwrap()
        .save_client(&client("c_old", later(9000)))
        .await
        .unwrap();
    drop(held);

    let target = Target::open(&settings, clock()).await.unwrap();
    assert!(!target.is_unused().await.unwrap());
    let cut = reader(&backup[..backup.len() - 40]);
    let error = target.fill(cut, &terms(0), |_| {}).await.unwrap_err();
    assert!(matches!(error, TargetError::Restore(_)), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    let backend = open_backend(&settings, &Handle::current(), clock()).await.unwrap();
    let store = Store::with_backend(backend, sealer()).await.unwrap();
    assert!(store.client(&client_id("c_old"), NOW).await.unwrap().is_some(), "it is as it was");
    drop(store);

    // Even a file that is no store any more.
    std::fs::write(&path, "rubbish").unwrap();
    let target = Target::open(&settings, clock()).await.unwrap();
    assert!(!target.is_unused().await.unwrap());
    target.fill(reader(&backup), &terms(0), |_| {}).await.unwrap();
    let backend = open_backend(&settings, &Handle::current(), clock()).await.unwrap();
    let store = Store::with_backend(backend, sealer()).await.unwrap();
    assert!(store.client(&client_id("c_1"), NOW).await.unwrap().is_some());
    assert!(store.client(&client_id("c_old"), NOW).await.unwrap().is_none());
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_store_that_is_only_read_is_checked_and_not_begun() {
    for rig in [Rig::embedded().await, Rig::redis().await] {
        let empty = [placed("meta:schema"), placed("meta:check")].map(Load::Gone).to_vec();
        rig.backend.load(empty).await.unwrap();
        let refused = Store::to_be_read(rig.backend.clone(), sealer()).await.err().unwrap();
        assert!(matches!(refused, OpenError::Nothing), "{refused}");
        assert!(content(rig.backend.as_ref()).await.is_empty(), "nothing was written");
        Store::with_backend(rig.backend.clone(), sealer()).await.unwrap();
        let other = Sealer::new(Key::new([10; 32]));
        let refused = Store::to_be_read(rig.backend.clone(), other.clone()).await.err().unwrap();
        assert!(matches!(refused, OpenError::SecretKey), "{refused}");
        let neither = other.clone().with_previous(Key::new([11; 32]));
        let refused = Store::to_be_read(rig.backend.clone(), neither).await.err().unwrap();
        assert!(matches!(refused, OpenError::NeitherKey), "{refused}");
        let before = content(rig.backend.as_ref()).await;
        let both = other.with_previous(Key::new([9; 32]));
        Store::to_be_read(rig.backend.clone(), both).await.unwrap();
        assert_eq!(content(rig.backend.as_ref()).await, before, "it does not begin to change the key either");
    }
}

#[tokio::test]
async fn a_backup_that_nobody_takes_ends() {
    let rig = Rig::embedded().await;
    for index in 0..300 {
        let mut large = client(&format!("c_{index}"), later(1000));
        large.metadata.client_name = Some("x".repeat(4000));
        rig.store.save_client(&large).await.unwrap();
    }
    let mut pieces = rig.store.back_up(NOW);
    pieces.recv().await.unwrap().unwrap();
    drop(pieces);
    // Its thread lets go of the store: else this would not come to an end.
    let weak = Arc::downgrade(&rig.backend);
    drop(rig);
    for _ in 0..500 {
        if weak.upgrade().is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the backup goes on");
}

#[tokio::test]
async fn what_another_version_wrote_is_refused_by_name() {
    let rig = Rig::embedded().await;
    let backup = back_up(&rig.store).await;
    // The checksum is right: somebody else's program wrote it so.
    let odd = rewritten(&backup, |text| text.replacen("\"schema\":1", "\"schema\":2", 1), None);
    let refused = verify(reader(&odd), &sealer(), |_| {}).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "its records have schema 2, and this version knows 1; upgrade portcullis"
    );
    let unknown = Piece::Record { name: "novelty:x".to_owned(), bytes: vec![1], ends: None };
    let odd = rewritten(&backup, str::to_owned, Some(&unknown));
    let refused = verify(reader(&odd), &sealer(), |_| {}).unwrap_err();
    let text = format!(
        "it holds records that this version does not know (it was made by {}); upgrade portcullis",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(refused.to_string(), text);
    // A counter where a record should be is nothing that we write either.
    let number = Piece::Number { name: "client:x".to_owned(), number: 1 };
    let odd = rewritten(&backup, str::to_owned, Some(&number));
    assert!(matches!(verify(reader(&odd), &sealer(), |_| {}), Err(RestoreError::Unknown(_))));
}

/// A backup with another header, or one more piece before its end.
fn rewritten(backup: &[u8], header: impl Fn(&str) -> String, more: Option<&Piece>) -> Vec<u8> {
    let second = backup.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(1).unwrap().0 + 1;
    let mut text = header(std::str::from_utf8(&backup[..second]).unwrap()).into_bytes();
    text.extend(&backup[second..backup.len() - 81]);
    let mut counts = reader_counts(backup);
    match more {
        Some(Piece::Record { name, bytes, .. }) => {
            part(&mut text, b'R', name, u64::MAX, bytes);
            counts.records += 1;
        }
        Some(Piece::Number { name, number }) => {
            part(&mut text, b'N', name, *number, &[]);
            counts.records += 1;
        }
        Some(Piece::Entry { .. }) | None => {}
    }
    text.push(b'Z');
    text.extend(counts.records.to_be_bytes());
    text.extend(counts.entries.to_be_bytes());
    seal(text, &sealer())
}

/// What is said, with its checksum and the seal of such a key.
fn seal(mut text: Vec<u8>, sealer: &Sealer) -> Vec<u8> {
    let digest = portcullis::secret::Digest::of(&text);
    let mac = portcullis::seal::mac(&sealer.derive("backup seal"), &[digest.as_bytes()]);
    text.extend(digest.as_bytes());
    text.extend(portcullis::secret::base64url::<32>(mac.expose()).unwrap());
    text
}

/// Whoever may write where backups lie is nobody else after a restore.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_somebody_has_changed_is_not_restored_though_its_checksum_fits() {
    let from = Rig::embedded().await;
    fill_with_everything(&from.store).await;
    let backup = back_up(&from.store).await;
    let mut text = backup[..backup.len() - 64].to_vec();
    // The login is in the record of who may use it, and nothing seals that.
    let places = text.windows(7).filter(|word| *word == b"octocat").count();
    assert!(places > 0, "there is something to change");
    while let Some(at) = text.windows(7).position(|word| word == b"octocat") {
        text[at..at + 7].copy_from_slice(b"mallory");
    }
    let forged = seal(text, &Sealer::new(Key::new([10; 32])));
    let refused = verify(reader(&forged), &sealer(), |_| {}).unwrap_err();
    assert_eq!(refused.to_string(), "it is forged or damaged: its seal is none of secret_key");

    // Nor if it is changed after it was verified: a file stays as it was, and a Redis is opened by nobody.
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    std::fs::write(&path, "as it was").unwrap();
    let settings = Settings::Embedded { path: path.clone() };
    let clock = Arc::new(portcullis::clock::StoppedClock::at(NOW));
    let target = Target::open(&settings, clock).await.unwrap();
    let error = target.fill(reader(&forged), &terms(0), |_| {}).await.unwrap_err();
    assert!(matches!(error, TargetError::Restore(RestoreError::Format(FormatError::Forged))), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"as it was");
    let redis = Rig::redis().await;
    let error = fill(redis.backend.as_ref(), reader(&forged), &terms(0), |_| {}).await.unwrap_err();
    assert!(matches!(error, RestoreError::Format(FormatError::Forged)), "{error}");
    let refused = Store::with_backend(redis.backend.clone(), sealer()).await.err().unwrap();
    assert!(matches!(refused, OpenError::HalfRestored), "{refused}");

    // One that names another key is not even begun with.
    let other = Sealer::new(Key::new([10; 32]));
    let terms = Terms { sealer: &other, ..terms(0) };
    let to = Rig::embedded().await;
    let before = content(to.backend.as_ref()).await;
    let error = fill(to.backend.as_ref(), reader(&backup), &terms, |_| {}).await.unwrap_err();
    assert!(matches!(error, RestoreError::SecretKey), "{error}");
    assert_eq!(content(to.backend.as_ref()).await, before);
}

/// The folder is the gateway's user's; the restore may be root's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_planted_while_a_file_is_filled_leads_the_restore_nowhere() {
    let (from, folder) = (Rig::embedded().await, tempfile::TempDir::new().unwrap());
    for index in 0..600 {
        from.store.save_client(&client(&format!("c_{index}"), later(1000))).await.unwrap();
    }
    let backup = back_up(&from.store).await;
    let (path, victim) = (folder.path().join("store.db"), folder.path().join("victim"));
    let new = folder.path().join("store.db.restoring");
    std::fs::write(&victim, "theirs").unwrap();
    std::os::unix::fs::symlink(folder.path().join("nowhere"), &new).unwrap();
    let settings = Settings::Embedded { path: path.clone() };
    let clock = Arc::new(portcullis::clock::StoppedClock::at(NOW));
    let target = Target::open(&settings, clock.clone()).await.unwrap();
    let mut planted = 0;
    let plant = |_: Counts| {
        planted += 1;
        std::fs::remove_file(&new).unwrap();
        std::os::unix::fs::symlink(&victim, &new).unwrap();
    };
    let error = target.fill(reader(&backup), &terms(0), plant).await.unwrap_err();
    assert!(planted > 0);
    let TargetError::Place { source, .. } = &error else { panic!("{error}") };
    assert_eq!(source.to_string(), "somebody has put another file in the place of the restored one");
    assert_eq!(std::fs::read(&victim).unwrap(), b"theirs");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was made, at nowhere either");

    let target = Target::open(&settings, clock).await.unwrap();
    target.fill(reader(&backup), &terms(0), |_| {}).await.unwrap();
    assert!(std::fs::symlink_metadata(&path).unwrap().is_file());
}

fn part(text: &mut Vec<u8>, kind: u8, name: &str, number: u64, bytes: &[u8]) {
    text.push(kind);
    text.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
    text.extend(name.as_bytes());
    text.extend(number.to_be_bytes());
    text.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
    text.extend(bytes);
}

#[tokio::test]
async fn nothing_secret_is_readable_in_a_backup() {
    let rig = Rig::embedded().await;
    fill_with_everything(&rig.store).await;
    let backup = back_up(&rig.store).await;
    let text = String::from_utf8_lossy(&backup);
    for secret in ["a-token", "a-token-refresh", "ops@example.com", "\"signing\"", "code 3", "answer"] {
        assert!(!text.contains(secret), "{secret}");
    }
    assert_eq!(pieces(&backup).len() as u64, {
        let counts = reader_counts(&backup);
        counts.records + counts.entries
    });
}
