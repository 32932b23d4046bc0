//! `portcullis rotate-secrets`: another secret key, step by step, with the real binary.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use portcullis::seal::Sealer;
use portcullis::secret::Key;

use crate::admin::{Said, run};
use crate::client::{Client, SignedIn, call};
use crate::process::{Place, Process, plain};
use crate::recorder::Recorder;
use crate::support::redis::Redis;

struct World {
    place: Place,
    upstream: Recorder,
    client: Client,
    store: String,
}

const EMBEDDED: &str = "file:{folder}/portcullis.db";
const OLD: &str = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5b";
const BOTH: &str =
    "secret_key: ${PORTCULLIS_SECRET_KEY}\nsecret_key_previous: ${PORTCULLIS_SECRET_KEY_PREVIOUS:-}\n";

impl World {
    async fn new() -> Self {
        let (place, upstream) = (Place::new(), Recorder::start().await);
        let client = Client::plain(&place);
        let world = Self { place, upstream, client, store: EMBEDDED.to_owned() };
        world.write(&format!("# Mine.\nPORTCULLIS_SECRET_KEY='{OLD}'\nREDIS_PASSWORD=secret\n# The end.\n"));
        world
    }

    fn yaml(&self, keys: &str) -> String {
        let key = format!("secret_key: {}\n", "5a".repeat(32));
        let more = "admin_socket: \"{folder}/admin.sock\"\nlog: { format: json }";
        plain(self.upstream.address, more).replace(&key, keys).replace(EMBEDDED, &self.store)
    }

    fn env(&self) -> PathBuf {
        self.place.folder().join(".env")
    }

    fn write(&self, text: &str) {
        std::fs::write(self.env(), text).unwrap();
        std::fs::set_permissions(self.env(), std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.env()).unwrap()
    }

    /// The file's variables, as whoever starts the gateway reads them.
    fn variables(&self) -> Vec<(String, String)> {
        let text = self.text();
        let pairs =
            text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect()
    }

    fn value(&self, name: &str) -> Option<String> {
        self.variables().into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    fn start(&self) -> Process {
        let variables = self.variables();
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.place.start_in(&self.yaml(BOTH), &variables)
    }

    async fn rotate(&self, more: &[&str]) -> Said {
        let (env, config) = (self.env(), self.place.folder().join("serve.yaml"));
        let (env, config) = (env.to_str().unwrap(), config.to_str().unwrap());
        run(&[&["rotate-secrets", "--env", env, "--config", config], more].concat()).await
    }

    async fn refresh(&self, signed_in: &mut SignedIn) {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", signed_in.refresh.as_str()),
            ("client_id", signed_in.client.as_str()),
        ];
        let answer = self.client.post("/token", &[], &form).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(self.client.send(call("POST", "/mcp", signed_in)).await.status, 200);
        answer.json()["refresh_token"].as_str().unwrap().clone_into(&mut signed_in.refresh);
    }
}

async fn stop(mut process: Process) {
    process.signal("TERM");
    assert_eq!(process.ended().await.0, 0);
}

// secret-key-changed
#[tokio::test]
async fn a_secret_key_is_changed_in_two_restarts_and_nobody_signs_in_again() {
    let world = World::new().await;
    let env = world.env().display().to_string();
    let process = world.start();
    let mut alice = world.client.sign_in("alice").await;

    let said = world.rotate(&[]).await.good();
    assert_eq!(
        said.out,
        format!(
            "A new secret key stands in {env}, the key of before as PORTCULLIS_SECRET_KEY_PREVIOUS.\nBackups made until now \
             open with the key of before only: copy PORTCULLIS_SECRET_KEY_PREVIOUS to where they are kept now, --finish deletes \
             it.\nNow restart the gateway, then: portcullis rotate-secrets --env {env} --finish --wait 60\nThen make a new \
             backup.\n"
        )
    );
    let new = world.value("PORTCULLIS_SECRET_KEY").unwrap();
    assert_ne!(new, OLD);
    assert_eq!(
        world.text(),
        format!(
            "# Mine.\nPORTCULLIS_SECRET_KEY='{new}'\nPORTCULLIS_SECRET_KEY_PREVIOUS={OLD}\nREDIS_PASSWORD=secret\n# The end.\n"
        )
    );
    assert_eq!(std::fs::metadata(world.env()).unwrap().permissions().mode() & 0o777, 0o600);
    let before = world.text();
    world
        .rotate(&["--finish"])
        .await
        .is_refused(1, "the gateway still has the key of before: restart it first");
    world.rotate(&[]).await.is_refused(
        1,
        &format!(
            "the last change is not over: PORTCULLIS_SECRET_KEY_PREVIOUS stands in {env}; restart the gateway, then \
             portcullis rotate-secrets --env {env} --finish"
        ),
    );
    assert_eq!(world.text(), before);
    stop(process).await;

    let process = world.start();
    world.refresh(&mut alice).await;
    let said = world.rotate(&["--finish", "--wait", "20", "--json"]).await.good();
    assert_eq!(said.json()["state"], "finished");
    assert!(process.log().contains("0 left: secret_key_previous can be removed from the configuration"));
    assert_eq!(
        world.text(),
        format!("# Mine.\nPORTCULLIS_SECRET_KEY='{new}'\nREDIS_PASSWORD=secret\n# The end.\n")
    );
    stop(process).await;

    let process = world.start();
    world.refresh(&mut alice).await;
    world.rotate(&["--finish"]).await.is_refused(
        1,
        &format!("there is no PORTCULLIS_SECRET_KEY_PREVIOUS in {env}: nothing is to be finished"),
    );
    stop(process).await;
}

#[tokio::test]
async fn a_key_that_something_is_still_sealed_under_is_not_taken_away() {
    let redis = Redis::start();
    let world = World { store: redis.url(), ..World::new().await };
    stop(world.start()).await;
    world.rotate(&[]).await.good();
    let socket = world.place.folder().join("admin.sock");
    let nobody = format!(
        "no gateway is listening on {}: start it (portcullis serve FILE), or name its socket by --socket",
        socket.display()
    );
    world.rotate(&["--finish"]).await.is_refused(69, &nobody);
    let process = world.start();
    process.says("0 left: secret_key_previous can be removed from the configuration").await;
    // What a gateway that was not restarted yet has sealed since.
    let name = "flow:planted";
    let sealed = Sealer::new(Key::from_hex(OLD).unwrap()).seal(name, b"{\"value\":1}");
    let mut connection = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let key = format!("pc:{name}");
    redis::cmd("SET").arg(&key).arg([&[1], sealed.as_slice()].concat()).exec(&mut connection).unwrap();
    let before = world.text();
    let left = "1 record is still sealed under the key of before; try again in a moment, or with --wait 60";
    world.rotate(&["--finish"]).await.is_refused(1, left);
    world.rotate(&["--finish", "--wait", "1"]).await.is_refused(1, left);
    assert_eq!(world.rotate(&[]).await.status, 1, "nor is another change begun");
    assert_eq!(world.text(), before);
    redis::cmd("DEL").arg(&key).exec(&mut connection).unwrap();
    world.rotate(&["--finish"]).await.good();
    stop(process).await;
}

#[tokio::test]
async fn a_gateway_with_other_keys_does_not_speak_for_this_file() {
    let world = World::new().await;
    let process = world.start();
    world.rotate(&[]).await.good();
    let before = world.text();
    let new = world.value("PORTCULLIS_SECRET_KEY").unwrap();
    world.write(&before.replace(OLD, &"1f".repeat(31).replacen("1f", "1f2e", 1)));
    let said = world.rotate(&["--finish"]).await;
    said.is_refused(1, "the gateway has other keys than this file: is it another gateway's?");
    stop(process).await;
    // Started with the new key alone over an empty store.
    std::fs::remove_file(world.place.folder().join("portcullis.db")).unwrap();
    world.write(&format!("PORTCULLIS_SECRET_KEY={new}\n"));
    let process = world.start();
    world.write(&before);
    let said = world.rotate(&["--finish"]).await;
    said.is_refused(1, "the gateway was started without the key of before: restart it with this file");
    stop(process).await;
    let process = world.start();
    // A change whose sweep is over is finished by the next one.
    process.says("0 left").await;
    world.rotate(&[]).await.good();
    assert_eq!(world.value("PORTCULLIS_SECRET_KEY_PREVIOUS").unwrap(), new);
    stop(process).await;
}

#[tokio::test]
async fn a_configuration_that_would_not_read_the_key_of_before_is_told_of_first() {
    let world = World::new().await;
    let before = world.text();
    let config = world.place.write("serve.yaml", &world.yaml("secret_key: ${PORTCULLIS_SECRET_KEY}\n"));
    world.rotate(&[]).await.is_refused(
        78,
        &format!(
            "{} does not take secret_key_previous from PORTCULLIS_SECRET_KEY_PREVIOUS: write secret_key_previous: \
             ${{PORTCULLIS_SECRET_KEY_PREVIOUS:-}} there; nothing was changed",
            config.display()
        ),
    );
    world.place.write("serve.yaml", &world.yaml(&format!("secret_key: {OLD}\n")));
    world.rotate(&[]).await.is_refused(
        78,
        &format!(
            "{} does not take secret_key from PORTCULLIS_SECRET_KEY: write secret_key: ${{PORTCULLIS_SECRET_KEY}} there; \
             nothing was changed",
            config.display()
        ),
    );
    assert_eq!(world.text(), before);
    world.place.write("serve.yaml", &world.yaml(BOTH));
    world.write("PORTCULLIS_SECRET_KEY=short\n");
    let env = world.env().display().to_string();
    let said = world.rotate(&[]).await;
    said.is_refused(1, &format!("PORTCULLIS_SECRET_KEY in {env} is no 64 hexadecimal digits"));
    world.write("# nothing\n");
    world.rotate(&[]).await.is_refused(1, &format!("there is no PORTCULLIS_SECRET_KEY in {env}"));
    world.write(&format!("PORTCULLIS_SECRET_KEY={OLD}\n"));
    world.rotate(&["--redis-password"]).await.is_refused(1, &format!("there is no REDIS_PASSWORD in {env}"));
    assert_eq!(world.text(), format!("PORTCULLIS_SECRET_KEY={OLD}\n"));
    std::fs::remove_file(world.env()).unwrap();
    let said = world.rotate(&[]).await;
    said.is_refused(1, &format!("cannot read {env}: No such file or directory (os error 2)"));
}

#[tokio::test]
async fn the_password_of_redis_changes_with_it_where_that_is_wanted() {
    let world = World::new().await;
    world.place.write("serve.yaml", &world.yaml(BOTH));
    world.rotate(&["--redis-password"]).await.good();
    let password = world.value("REDIS_PASSWORD").unwrap();
    assert!(password != "secret" && password.len() == 64, "{password}");
    assert_eq!(world.value("PORTCULLIS_SECRET_KEY_PREVIOUS").unwrap(), OLD);
}
