//! What the embedded store promises beyond the contract.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis::clock::StoppedClock;
use portcullis::store::backend::Prefix;
use portcullis::store::{OpenError, Settings, Store};
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::contract::save_clients;
use crate::fixtures::*;
use crate::rig::Rig;

/// Tells the child where the store is.
const CHILD_PATH: &str = "PORTCULLIS_TEST_CHILD_STORE";

async fn open(path: &Path) -> Result<Store, OpenError> {
    let settings = Settings::Embedded { path: path.to_owned() };
    Store::open(&settings, sealer(), &Handle::current(), Arc::new(StoppedClock::at(NOW))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_write_survives_sigkill() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    for round in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "embedded::a_child_that_writes_until_it_is_killed"])
            .args(["--ignored", "--nocapture"])
            .env(CHILD_PATH, &path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let mut acknowledged = Vec::new();
        while acknowledged.len() < 300 {
            let line = lines.next().expect("the child writes until it is killed");
            acknowledged.extend(line.strip_prefix("written ").map(str::to_owned));
        }
        if round == 0 {
            let refused = open(&path).await.err().unwrap();
            assert!(matches!(refused, OpenError::InUse), "{refused}");
        }
        child.kill().unwrap();
        // What was told before the signal arrived counts too.
        acknowledged.extend(lines.filter_map(|line| line.strip_prefix("written ").map(str::to_owned)));
        child.wait().unwrap();

        let store = open(&path).await.unwrap();
        for id in &acknowledged {
            assert!(
                store.client(&client_id(id), NOW).await.unwrap().is_some(),
                "round {round}: {id} is lost"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "every_acknowledged_write_survives_sigkill starts it as a process of its own"]
async fn a_child_that_writes_until_it_is_killed() {
    let path = std::env::var_os(CHILD_PATH).expect("started by the test above");
    let store = open(Path::new(&path)).await.unwrap();
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let store = store.clone();
        writers.spawn(async move {
            for number in 0.. {
                let id = format!("c_{}_{writer}_{number}", std::process::id());
                store.save_client(&client(&id, later(1000))).await.unwrap();
                // One write of less than a pipe's buffer: whole, or not there.
                std::io::stderr().write_all(format!("written {id}\n").as_bytes()).unwrap();
            }
        });
    }
    writers.join_all().await;
}

#[tokio::test]
async fn a_second_opening_is_refused_until_the_first_is_gone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let first = open(&path).await.unwrap();
    let refused = open(&path).await.err().unwrap();
    assert!(matches!(refused, OpenError::InUse), "{refused}");
    first.save_client(&client("c_one", later(100))).await.unwrap();
    drop(first);
    let second = open(&path).await.unwrap();
    assert!(second.client(&client_id("c_one"), NOW).await.unwrap().is_some());
}

#[tokio::test]
async fn the_file_is_for_its_owner_only() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    drop(open(&path).await.unwrap());
    assert_eq!(mode(), 0o600);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    drop(open(&path).await.unwrap());
    assert_eq!(mode(), 0o600, "a copy that others could read");
}

#[tokio::test]
async fn what_cannot_be_opened_says_why() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("missing/store.db");
    let refused = open(&missing).await.err().unwrap();
    assert_eq!(
        refused.to_string(),
        format!(
            "the folder {} of the store does not exist; create it, owned by the user that runs portcullis",
            folder.path().join("missing").display()
        )
    );
    assert!(refused.source().is_none(), "said once");

    let file = folder.path().join("file");
    std::fs::write(&file, "this is no database, but something that somebody wrote").unwrap();
    let refused = open(&file.join("store.db")).await.err().unwrap();
    assert!(matches!(&refused, OpenError::NotAFolder(found) if *found == file), "{refused}");
    let refused = open(&file).await.err().unwrap();
    assert!(matches!(&refused, OpenError::NoStore { path, .. } if *path == file), "{refused}");
    // Root may write whatever it likes, but not a folder.
    let refused = open(folder.path()).await.err().unwrap();
    assert!(matches!(&refused, OpenError::File { path, .. } if path == folder.path()), "{refused}");
    assert!(!refused.to_string().contains(&refused.source().unwrap().to_string()), "the cause is said once");
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept.starts_with("this is no database"), "and is not overwritten");
}

#[tokio::test]
async fn the_sweep_collects_what_has_ended_ten_minutes_ago() {
    let rig = Rig::embedded().await;
    save_clients(&rig.store, 2500).await;
    rig.store.save_client(&client("c_moved", later(100))).await.unwrap();
    rig.store.keep_client(&client_id("c_moved"), later(5000), NOW).await.unwrap();
    rig.store.count("name", Duration::from_mins(1), NOW).await.unwrap();
    rig.store.sweep(Duration::from_mins(1), later(699)).await.unwrap();
    assert_eq!(names(&rig, "client:").await, 1000, "a first page of them");
    assert_eq!(names(&rig, "count:").await, 0);
    rig.store.sweep(Duration::from_mins(1), later(700)).await.unwrap();
    assert_eq!(names(&rig, "client:").await, 1);
    assert!(rig.store.client(&client_id("c_moved"), later(700)).await.unwrap().is_some());
}

async fn names(rig: &Rig, prefix: &'static str) -> usize {
    rig.backend.scan(Prefix { text: prefix, sharded: false }, None).await.unwrap().names.len()
}

#[tokio::test]
async fn an_entry_two_minutes_older_than_the_position_is_not_read_again() {
    let rig = Rig::embedded().await;
    let grant = active(&pending("c_one", "1", "code"), 1);
    rig.store.begin_grant(&grant, &lives()).await.unwrap();
    let read = rig.store.grant(grant.id, NOW).await.unwrap().unwrap();
    rig.store.swap_grant(&read, &revoked(&grant, NOW), &lives()).await.unwrap();
    rig.clock.advance(Duration::from_mins(2));
    let (_, position) = rig.store.revocations(None).await.unwrap();
    assert_eq!(rig.store.revocations(Some(position)).await.unwrap().0.len(), 1);
    rig.clock.advance(Duration::from_secs(1));
    let (_, position) = rig.store.revocations(None).await.unwrap();
    assert_eq!(rig.store.revocations(Some(position)).await.unwrap().0.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_wait_together_share_a_commit() {
    let rig = Rig::embedded().await;
    let alone = Instant::now();
    for index in 0..64 {
        rig.store.save_client(&client(&format!("c_{index}"), later(100))).await.unwrap();
    }
    let alone = alone.elapsed();
    let together = Instant::now();
    let mut writers = JoinSet::new();
    for index in 0..64 {
        let store = rig.store.clone();
        writers.spawn(async move { store.save_client(&client(&format!("d_{index}"), later(100))).await });
    }
    for written in writers.join_all().await {
        written.unwrap();
    }
    assert!(together.elapsed() < alone, "{:?} against {alone:?}", together.elapsed());
}
