//! Another `secret_key` (finding `secret-key-changed`): sentences of the contract.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use portcullis::oauth::StoredKey;
use portcullis::seal::Sealer;
use portcullis::secret::Key;
use portcullis::store::backend::{
    Append, Backend, Cursor, Expect, Load, LogPage, Name, Prefix, Put, Reply, ScanPage, Snapshot,
};
use portcullis::store::{OpenError, Resealed, RingKind, Store, StoreError, Swap};
use portcullis::time::Timestamp;

use crate::fixtures::*;
use crate::rig::Rig;

const OLD: [u8; 32] = [9; 32];
const NEW: [u8; 32] = [10; 32];

fn new_alone() -> Sealer {
    Sealer::new(Key::new(NEW))
}

fn new_and_old() -> Sealer {
    new_alone().with_previous(Key::new(OLD))
}

fn old_and_new() -> Sealer {
    Sealer::new(Key::new(OLD)).with_previous(Key::new(NEW))
}

async fn open(rig: &Rig, sealer: Sealer) -> Result<Store, OpenError> {
    Store::with_backend(rig.backend.clone(), sealer).await
}

async fn refusal(rig: &Rig, sealer: Sealer) -> String {
    open(rig, sealer).await.err().expect("it is refused").to_string()
}

/// Everything that is sealed, of every kind: three rings, `flows` flows, and the check value that the rig's opening wrote.
async fn fill(store: &Store, flows: usize) {
    for kind in RingKind::ALL {
        store.key_ring(kind, key("k1", "material")).await.unwrap();
    }
    for index in 0..flows {
        save(store, index).await;
    }
}

async fn save(store: &Store, index: usize) {
    let state = secret(&format!("state {index}"));
    store
        .begin_flow(&state, &flow(Some("theirs"), &format!("verifier {index}"), later(600)), 1000)
        .await
        .unwrap();
}

/// Goes on until nothing is left; how many were sealed again.
async fn reseal(store: &Store) -> usize {
    let mut sealed = 0;
    loop {
        match store.reseal().await.unwrap() {
            Resealed::NoneLeft => return sealed,
            Resealed::Some(more) => sealed += more,
            Resealed::NotOurs => panic!("the store is led by another key"),
        }
    }
}

/// What `fill` wrote is there, for somebody who has the new key alone.
async fn is_whole(rig: &Rig, flows: usize) {
    let store = open(rig, new_alone()).await.unwrap();
    for kind in RingKind::ALL {
        assert_eq!(store.key_ring(kind, key("other", "other")).await.unwrap(), [key("k1", "material")]);
    }
    for index in 0..flows {
        let taken = store.take_flow(&secret(&format!("state {index}")), later(599)).await.unwrap();
        assert_eq!(taken.expect("the flow is there").verifier, format!("verifier {index}"));
    }
}

pub(crate) async fn a_new_secret_key_seals_everything_again_and_loses_nothing(rig: &Rig) {
    fill(&rig.store, 30).await;
    let store = open(rig, new_and_old()).await.unwrap();
    assert_eq!(store.left_to_reseal().await.unwrap(), 33, "all but the check value, which goes first");
    assert_eq!(store.key_ring(RingKind::Refresh, key("x", "x")).await.unwrap()[0].material, "material");
    assert_eq!(reseal(&store).await, 33);
    assert_eq!(store.left_to_reseal().await.unwrap(), 0);
    is_whole(rig, 30).await;
    let text = "secret_key is not the one this store was made with; restore the old key, or write it as secret_key_previous \
                beside the new one, or start with an empty store";
    assert_eq!(refusal(rig, sealer()).await, text);
    let text = "neither secret_key nor secret_key_previous is the one this store was made with; restore the old key as one of \
                the two, or start with an empty store";
    let others = || Sealer::new(Key::new([11; 32])).with_previous(Key::new(OLD));
    assert_eq!(refusal(rig, others()).await, text);
}

pub(crate) async fn sealing_again_goes_on_where_it_was_stopped(rig: &Rig) {
    fill(&rig.store, 30).await;
    // The check value, the mark, the mark once more, and ten records.
    let dying = Arc::new(Dying { inner: rig.backend.clone(), puts: AtomicUsize::new(13) });
    let store = Store::with_backend(dying.clone(), new_and_old()).await.unwrap();
    let stopped = store.reseal().await.unwrap_err();
    assert!(matches!(stopped, StoreError::Away(_)), "{stopped}");
    assert_eq!(dying.puts.load(Ordering::SeqCst), 0);

    let next = open(rig, new_and_old()).await.unwrap();
    assert_eq!(next.left_to_reseal().await.unwrap(), 23, "ten of 33 were done");
    assert_eq!(reseal(&next).await, 23);
    is_whole(rig, 30).await;
}

pub(crate) async fn a_record_that_changes_while_it_is_sealed_again_keeps_the_change(rig: &Rig) {
    fill(&rig.store, 0).await;
    let first = key("k1", "material");
    // One process rotates 30 times by compare-and-swap while others seal again.
    let (rotating, one, two) = (
        open(rig, new_and_old()).await.unwrap(),
        open(rig, new_and_old()).await.unwrap(),
        open(rig, new_and_old()).await.unwrap(),
    );
    let rotate = async {
        for index in 0..30 {
            loop {
                let old = rotating.load_ring(RingKind::Refresh, &first).await.unwrap();
                let new = [old.value.clone(), vec![key(&format!("n{index}"), "material")]].concat();
                if rotating.swap_ring(RingKind::Refresh, &old, new).await.unwrap() == Swap::Done {
                    break;
                }
            }
        }
    };
    let ((), one, two) = tokio::join!(rotate, one.reseal(), two.reseal());
    // Who met too many conflicts goes on later.
    for pass in [one, two] {
        assert!(matches!(pass, Ok(_) | Err(StoreError::Contended)), "{pass:?}");
    }
    reseal(&rotating).await;
    let kept: Vec<StoredKey> =
        open(rig, new_alone()).await.unwrap().key_ring(RingKind::Refresh, key("x", "x")).await.unwrap();
    assert_eq!(kept.len(), 31, "no change was overwritten");
}

pub(crate) async fn the_previous_secret_key_must_stay_until_nothing_is_left(rig: &Rig) {
    fill(&rig.store, 3).await;
    let store = open(rig, new_and_old()).await.unwrap();
    let text = "some of this store is still sealed under the secret_key of before; write that as secret_key_previous again, \
                until the log says that 0 are left";
    assert_eq!(refusal(rig, new_alone()).await, text);
    let refused = open(rig, sealer()).await.err().unwrap();
    assert!(
        matches!(refused, OpenError::SecretKey),
        "the old one alone would find half of it unreadable: {refused}"
    );
    assert!(matches!(store.reseal().await.unwrap(), Resealed::Some(6)));
    assert_eq!(refusal(rig, new_alone()).await, text, "it was not looked again");
    assert!(!store.is_resealed().await.unwrap());
    assert!(matches!(store.reseal().await.unwrap(), Resealed::NoneLeft));
    assert!(store.is_resealed().await.unwrap());
    is_whole(rig, 3).await;
}

// T15: the first of two steps gives every process both keys, the second swaps them; between the two restarts nobody meets a
// record that it cannot open.
pub(crate) async fn a_process_that_was_not_restarted_yet_is_found_out_and_its_records_follow(rig: &Rig) {
    fill(&rig.store, 3).await;
    let behind = open(rig, old_and_new()).await.unwrap();
    assert_eq!(behind.reseal().await.unwrap(), Resealed::NoneLeft, "the new key has sealed nothing yet");
    let ahead = open(rig, new_and_old()).await.unwrap();
    assert_eq!(behind.reseal().await.unwrap(), Resealed::NotOurs, "it does not undo what the other does");
    reseal(&ahead).await;
    assert_eq!(behind.reseal().await.unwrap(), Resealed::NotOurs);
    assert_eq!(behind.key_ring(RingKind::Signing, key("x", "x")).await.unwrap()[0].id.as_str(), "k1");

    save(&behind, 3).await;
    save(&ahead, 4).await;
    assert!(behind.take_flow(&secret("state 4"), NOW).await.unwrap().is_some());
    assert_eq!(ahead.left_to_reseal().await.unwrap(), 1);
    assert_eq!(reseal(&ahead).await, 1);
    is_whole(rig, 4).await;
}

pub(crate) async fn what_neither_key_opens_stays_as_it_is(rig: &Rig) {
    fill(&rig.store, 3).await;
    let name = Name::new(format!("flow:{}", secret("lost").digest().to_base64url()));
    let bytes = b"\x01nobody opens this".to_vec();
    let put =
        Put { name: name.clone(), bytes: bytes.clone(), expect: Expect::Any, expires: None, append: None };
    rig.backend.put(put).await.unwrap();
    let store = open(rig, new_and_old()).await.unwrap();
    assert_eq!(reseal(&store).await, 6);
    assert_eq!(rig.backend.get(&name).await.unwrap(), Some(bytes));
    is_whole(rig, 3).await;
}

/// A process that is killed after some writes: none after them happens.
struct Dying {
    inner: Arc<dyn Backend>,
    puts: AtomicUsize,
}

impl Backend for Dying {
    fn get<'a>(&'a self, name: &'a Name) -> Reply<'a, Option<Vec<u8>>> {
        self.inner.get(name)
    }

    fn put(&self, put: Put) -> Reply<'_, Swap> {
        let left = self.puts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_err() {
            let killed = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
            return Box::pin(async { Err(StoreError::away(killed)) });
        }
        self.inner.put(put)
    }

    fn take<'a>(&'a self, name: &'a Name) -> Reply<'a, Option<Vec<u8>>> {
        self.inner.take(name)
    }

    fn delete<'a>(&'a self, name: &'a Name) -> Reply<'a, ()> {
        self.inner.delete(name)
    }

    fn increment<'a>(&'a self, name: &'a Name, expires: Timestamp) -> Reply<'a, u64> {
        self.inner.increment(name, expires)
    }

    fn scan(&self, prefix: Prefix, cursor: Option<Cursor>) -> Reply<'_, ScanPage> {
        self.inner.scan(prefix, cursor)
    }

    fn append(&self, append: Append) -> Reply<'_, ()> {
        self.inner.append(append)
    }

    fn read_logs<'a>(&'a self, logs: &'a [Name], since: u64) -> Reply<'a, LogPage> {
        self.inner.read_logs(logs, since)
    }

    fn trim<'a>(&'a self, log: &'a Name, keep: Duration) -> Reply<'a, ()> {
        self.inner.trim(log, keep)
    }

    fn collect(&self, now: Timestamp) -> Reply<'_, bool> {
        self.inner.collect(now)
    }

    fn ping(&self) -> Reply<'_, ()> {
        self.inner.ping()
    }

    fn snapshot(&self) -> Reply<'_, Box<dyn Snapshot>> {
        self.inner.snapshot()
    }

    fn load(&self, parts: Vec<Load>) -> Reply<'_, ()> {
        self.inner.load(parts)
    }
}
