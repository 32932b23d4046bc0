//! Backups and restores with the real binary, while clients are signed in.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::admin::{Said, run};
use crate::client::{Client, SignedIn, call};
use crate::process::{Place, Process, plain};
use crate::recorder::Recorder;
use crate::support::redis::Redis;
use crate::support::rig::{REDIRECT, VERIFIER};

/// A gateway's place, and which store it has.
struct World {
    place: Place,
    upstream: Recorder,
    client: Client,
    store: String,
    more: String,
}

const EMBEDDED: &str = "file:{folder}/portcullis.db";

impl World {
    async fn over(store: &str) -> Self {
        let (place, upstream) = (Place::new(), Recorder::start().await);
        let client = Client::plain(&place);
        let more = "admin_socket: \"{folder}/admin.sock\"\nlog: { format: json }".to_owned();
        Self { place, upstream, client, store: store.to_owned(), more }
    }

    fn yaml(&self) -> String {
        plain(self.upstream.address, &self.more).replace(EMBEDDED, &self.store)
    }

    fn start(&self) -> Process {
        self.place.start(&self.yaml())
    }

    fn config(&self) -> PathBuf {
        self.place.write("serve.yaml", &self.yaml())
    }

    fn file(&self, name: &str) -> String {
        self.place.folder().join(name).display().to_string()
    }

    async fn run(&self, arguments: &[&str]) -> Said {
        let config = self.config();
        run(&[arguments, &["--config", config.to_str().unwrap()]].concat()).await
    }

    /// A backup that must succeed.
    async fn back_up(&self, name: &str) -> serde_json::Value {
        let said = self.run(&["backup", "--json", &self.file(name)]).await;
        assert_eq!(said.status, 0, "{said:?}");
        said.json()
    }

    async fn restore(&self, name: &str) -> serde_json::Value {
        let said = self.run(&["restore", "--json", &self.file(name)]).await;
        assert_eq!((said.status, said.errors.as_str()), (0, ""), "{said:?}");
        said.json()
    }

    /// The status of a refresh, and the tokens after it.
    async fn refresh(&self, signed_in: &SignedIn) -> (u16, serde_json::Value) {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", signed_in.refresh.as_str()),
            ("client_id", signed_in.client.as_str()),
        ];
        let answer = self.client.post("/token", &[], &form).await;
        (answer.status.as_u16(), answer.json())
    }

    async fn redeem(&self, client: &str, code: &str) -> (u16, serde_json::Value) {
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", client),
            ("code", code),
            ("redirect_uri", REDIRECT),
            ("code_verifier", VERIFIER),
        ];
        let answer = self.client.post("/token", &[], &form).await;
        (answer.status.as_u16(), answer.json())
    }

    async fn calls(&self, signed_in: &SignedIn) -> u16 {
        self.client.send(call("POST", "/mcp", signed_in)).await.status.as_u16()
    }
}

async fn stop(mut process: Process) {
    process.signal("TERM");
    assert_eq!(process.ended().await.0, 0);
}

/// What must be so after a restore, whatever the store was and is.
struct Story {
    alice: SignedIn,
    revoked: SignedIn,
    code_used: (String, String),
    code_open: (String, String),
}

impl Story {
    /// Alice is signed in, Bob was and is revoked, Carol's code is used, Dan's is not.
    async fn begin(world: &World) -> Self {
        let client = &world.client;
        let (alice, revoked) = (client.sign_in("alice").await, client.sign_in("bob").await);
        let said = world.run(&["grant", "revoke", "--client", &revoked.client]).await;
        assert_eq!(said.status, 0, "{said:?}");
        assert_eq!(world.calls(&revoked).await, 401);
        let carol = client.sign_in("carol").await;
        let used = client.code(&carol.client, "carol", &mut vec![]).await;
        assert_eq!(world.redeem(&carol.client, &used).await.0, 200);
        let open = client.code(&carol.client, "dan", &mut vec![]).await;
        Self { alice, revoked, code_used: (carol.client.clone(), used), code_open: (carol.client, open) }
    }

    async fn goes_on(&mut self, world: &World) {
        assert_eq!(world.calls(&self.alice).await, 200, "her access token verifies");
        let (status, tokens) = world.refresh(&self.alice).await;
        assert_eq!(status, 200, "{tokens}");
        tokens["refresh_token"].as_str().unwrap().clone_into(&mut self.alice.refresh);
        assert_eq!(world.calls(&self.revoked).await, 401, "the revoked stays revoked");
        let (status, refused) = world.refresh(&self.revoked).await;
        assert_eq!((status, refused["error"].as_str()), (400, Some("invalid_grant")));
        for (client, code) in [&self.code_used, &self.code_open] {
            let (status, refused) = world.redeem(client, code).await;
            assert_eq!((status, refused["error"].as_str()), (400, Some("invalid_grant")), "{refused}");
        }
    }
}

#[tokio::test]
async fn an_embedded_store_is_backed_up_while_it_serves_and_restored_after_it_was_lost() {
    let world = World::over(EMBEDDED).await;
    let process = world.start();
    let mut story = Story::begin(&world).await;
    let told = world.back_up("one.backup").await;
    assert_eq!((told["through"].as_str(), told["from"].as_str()), (Some("gateway"), Some("embedded")));
    assert_eq!(told["kinds"]["grant"], 4, "but for the one whose code is not redeemed");
    let mode = std::fs::metadata(world.file("one.backup")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // What happens after the backup: tokens that are newer than the restored store, and a code that is used.
    let (_, tokens) = world.refresh(&story.alice).await;
    tokens["refresh_token"].as_str().unwrap().clone_into(&mut story.alice.refresh);
    assert_eq!(world.redeem(&story.code_open.0, &story.code_open.1).await.0, 200);

    let said = world.run(&["restore", &world.file("one.backup")]).await;
    let socket = world.file("admin.sock");
    said.is_refused(
        1,
        &format!(
            "a gateway is running: it listens at {socket}; stop it first: systemctl stop portcullis.socket portcullis, or \
             docker compose stop gateway"
        ),
    );
    stop(process).await;
    let said = world.run(&["restore", &world.file("one.backup")]).await;
    said.is_refused(1, "the store is not empty; restore --replace takes away what is in it");
    let said = world.run(&["restore", "--replace", &world.file("one.backup")]).await;
    said.is_refused(2, "nobody can be asked here; write --yes beside --replace");

    std::fs::remove_file(world.file("portcullis.db")).unwrap();
    let told = world.restore("one.backup").await;
    assert_eq!((told["to"].as_str(), told["expired"].as_u64()), (Some("embedded"), Some(0)));
    let process = world.start();
    story.goes_on(&world).await;
    let again = world.client.sign_in("alice").await;
    assert_eq!(world.calls(&again).await, 200);
    stop(process).await;
}

#[tokio::test]
async fn who_outgrows_one_machine_moves_to_redis_and_back_and_nobody_signs_in_again() {
    let redis = Redis::start();
    let mut world = World::over(EMBEDDED).await;
    let process = world.start();
    let mut story = Story::begin(&world).await;
    stop(process).await;
    let told = world.back_up("one.backup").await;
    assert_eq!(told["through"], "store", "nobody serves, so the file itself is read");

    world.store = redis.url();
    let told = world.restore("one.backup").await;
    assert_eq!((told["from"].as_str(), told["to"].as_str()), (Some("embedded"), Some("redis")));
    let process = world.start();
    story.goes_on(&world).await;
    let told = world.back_up("two.backup").await;
    assert_eq!((told["through"].as_str(), told["from"].as_str()), (Some("gateway"), Some("redis")));
    stop(process).await;
    world.back_up("three.backup").await;

    std::fs::remove_file(world.file("portcullis.db")).unwrap();
    world.store = EMBEDDED.to_owned();
    world.restore("three.backup").await;
    let process = world.start();
    story.goes_on(&world).await;
    stop(process).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_goes_through_pipes_and_tells_of_it_beside() {
    let world = World::over(EMBEDDED).await;
    let process = world.start();
    let alice = world.client.sign_in("alice").await;
    let config = world.config();
    let piped = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(["backup", "-", "--config"]).arg(&config).stdin(Stdio::null()).output().unwrap()
    };
    let piped = tokio::task::block_in_place(piped);
    let errors = String::from_utf8(piped.stderr).unwrap();
    assert!(piped.status.success(), "{errors}");
    let mut lines = errors.lines();
    assert_eq!(lines.next().unwrap(), format!("Through the gateway at {}.", world.file("admin.sock")));
    let told = format!("{} bytes.", piped.stdout.len());
    assert!(
        lines.next().is_some_and(|line| line.starts_with("The backup: ") && line.ends_with(&told)),
        "{errors}"
    );
    stop(process).await;

    std::fs::remove_file(world.file("portcullis.db")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["restore", "-", "--config"])
        .arg(&config)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&piped.stdout).unwrap();
    let said = child.wait_with_output().unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(said.status.success(), "{text}");
    assert!(
        text.starts_with("Restored the embedded store as of ") && text.ends_with(" Start the gateway.\n"),
        "{text}"
    );
    let left: Vec<_> =
        std::fs::read_dir(world.place.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".rest")), "{left:?}");
    let process = world.start();
    assert_eq!(world.calls(&alice).await, 200);
    stop(process).await;
}

#[tokio::test]
async fn no_backup_is_overwritten_and_none_that_is_not_whole_is_left() {
    let world = World::over(EMBEDDED).await;
    let file = world.file("one.backup");
    let said = world.run(&["backup", &file]).await;
    let store = world.file("portcullis.db");
    said.is_refused(1, &format!("there is nothing in the store {store} to back up"));
    assert!(!std::path::Path::new(&store).exists());
    stop(world.start()).await;
    std::fs::write(&file, "mine").unwrap();
    world.run(&["backup", &file]).await.is_refused(1, &format!("{file} is there already; name another file"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    let nowhere = world.file("nowhere/one.backup");
    let said = world.run(&["backup", &nowhere]).await;
    assert_eq!(said.status, 1);
    assert!(
        said.errors.ends_with(&format!(
            "portcullis: cannot write {nowhere}: No such file or directory (os error 2)\n"
        ))
    );
}

#[tokio::test]
async fn every_unfit_file_is_told_and_the_store_stays_as_it_was() {
    let mut world = World::over(EMBEDDED).await;
    stop(world.start()).await;
    world.back_up("good.backup").await;
    let before = std::fs::read(world.file("portcullis.db")).unwrap();
    let good = std::fs::read(world.file("good.backup")).unwrap();
    let flipped: Vec<u8> = good
        .iter()
        .enumerate()
        .map(|(at, byte)| if at == good.len() - 92 { byte ^ 1 } else { *byte })
        .collect();
    // Whoever has no key can make its checksum right, and not its seal.
    let text: Vec<u8> = flipped[..good.len() - 64].to_vec();
    let digest = portcullis::secret::Digest::of(&text);
    let forged = [&text, digest.as_bytes().as_slice(), &good[good.len() - 32..]].concat();
    let cut = &good[..good.len() - 7];
    for (name, bytes, why) in [
        ("empty", b"".as_slice(), "it is empty".to_owned()),
        ("other", b"redis-dump\n", "it is no backup of portcullis".to_owned()),
        ("flipped", &flipped, "it is damaged: its checksum does not fit".to_owned()),
        ("forged", &forged, "it is forged or damaged: its seal is none of secret_key".to_owned()),
        ("cut", cut, format!("it ends too early, at byte {}: it was cut, or never written whole", cut.len())),
    ] {
        std::fs::write(world.file(name), bytes).unwrap();
        let said = world.run(&["restore", &world.file(name)]).await;
        said.is_refused(1, &format!("{}: {why}; nothing was changed", world.file(name)));
    }
    let absent = world.file("absent");
    let said = world.run(&["restore", &absent]).await;
    said.is_refused(1, &format!("cannot read {absent}: No such file or directory (os error 2)"));
    world.more += "\nworkers: nonsense";
    assert_eq!(world.run(&["restore", &world.file("good.backup")]).await.status, 78);
    world.more = world.more.replace("\nworkers: nonsense", "");
    assert_eq!(std::fs::read(world.file("portcullis.db")).unwrap(), before);
}

#[tokio::test]
async fn gateways_over_a_redis_that_is_restored_notice_and_end() {
    let redis = Redis::start();
    let world = World::over(&redis.url()).await;
    let mut process = world.start();
    let alice = world.client.sign_in("alice").await;
    world.back_up("one.backup").await;
    let bob = world.client.sign_in("bob").await;
    let file = world.file("one.backup");
    let said = world.run(&["restore", "--replace", "--yes", &file]).await;
    assert_eq!(said.status, 1, "{said:?}");
    let said = world.run(&["restore", "--replace", "--yes", "--while-running", &file]).await;
    assert_eq!(said.status, 0, "{said:?}");
    let (status, log) = process.ended().await;
    assert_eq!(status, 1, "{log}");
    assert!(log.contains("a backup was restored into the store; start again"), "{log}");
    let process = world.start();
    assert_eq!(world.calls(&alice).await, 200);
    assert_eq!(world.refresh(&bob).await.0, 401, "what came after the backup has not happened");
    stop(process).await;
}
