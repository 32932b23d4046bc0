//! The commands that administer a running gateway, with the real binary on both ends of the socket.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::{Client, SignedIn, call, piece};
use crate::process::{Place, Process, plain};
use crate::recorder::Recorder;
use crate::support::redis::Redis;

/// A gateway, and the commands that administer it.
struct Rig {
    place: Place,
    upstream: Recorder,
    process: Process,
    client: Client,
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) errors: String,
}

impl Said {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { status: output.status.code().unwrap(), out: text(output.stdout), errors: text(output.stderr) }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Ended well, with nothing on standard error.
    pub(crate) fn good(self) -> Self {
        assert_eq!((self.status, self.errors.as_str()), (0, ""), "{self:?}");
        self
    }

    /// Refused with exactly this.
    pub(crate) fn is_refused(&self, status: i32, error: &str) {
        assert_eq!((self.status, self.out.as_str()), (status, ""), "{self:?}");
        assert_eq!(self.errors, format!("portcullis: {error}\n"));
    }
}

/// The binary, without anything of the developer's environment.
fn portcullis(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(arguments).env_remove("PORTCULLIS_CONFIG").stdin(Stdio::null());
    command
}

/// Runs a command to its end while the gateway, whose answers it waits for, has this thread too.
pub(crate) async fn run(arguments: &[&str]) -> Said {
    let mut command = portcullis(arguments);
    Said::of(tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap())
}

impl Rig {
    async fn start() -> Self {
        Self::with("").await
    }

    async fn with(more: &str) -> Self {
        Self::of(|yaml| format!("{yaml}{more}")).await
    }

    async fn of(change: impl Fn(String) -> String) -> Self {
        let (place, upstream) = (Place::new(), Recorder::start().await);
        let process = place.start(&change(plain(upstream.address, "log: { format: json }")));
        let client = Client::plain(&place);
        Self { place, upstream, process, client }
    }

    fn socket(&self) -> PathBuf {
        self.place.folder().join("admin.sock")
    }

    /// Runs a command, which finds the socket by itself in the configuration.
    async fn run(&self, arguments: &[&str]) -> Said {
        let config = self.place.folder().join("serve.yaml");
        run(&[arguments, &["--config", config.to_str().unwrap()]].concat()).await
    }

    async fn grants(&self, more: &[&str]) -> Vec<Value> {
        let list = self.run(&[&["grant", "list", "--json"], more].concat()).await;
        assert_eq!(list.status, 0, "{list:?}");
        list.json().as_array().unwrap().clone()
    }

    async fn status_of(&self, token: &str) -> u16 {
        let signed_in = SignedIn {
            client: String::new(),
            access: token.to_owned(),
            refresh: String::new(),
            secrets: vec![],
        };
        self.client.send(call("POST", "/mcp", &signed_in)).await.status.as_u16()
    }

    async fn inspect(&self, token: &str, more: &[&str]) -> Said {
        self.run(&[&["token", "inspect", token], more].concat()).await
    }
}

// ---- the socket

#[tokio::test]
async fn the_socket_is_its_owners_alone_and_goes_with_the_gateway() {
    let mut rig = Rig::start().await;
    let mode = std::fs::metadata(rig.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    rig.process.signal("TERM");
    assert_eq!(rig.process.ended().await.0, 0);
    assert!(!rig.socket().exists());
}

#[tokio::test]
async fn another_user_of_the_machine_is_refused_by_the_mode_and_by_its_id() {
    let rig = Rig::start().await;
    if std::fs::metadata("/proc/self").map(|me| std::os::unix::fs::MetadataExt::uid(&me)).unwrap() != 0 {
        // Only root can be somebody else.
        return;
    }
    let everybody = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(rig.place.folder(), everybody.clone()).unwrap();
    let binary = rig.place.folder().join("portcullis");
    std::fs::copy(env!("CARGO_BIN_EXE_portcullis"), &binary).unwrap();
    let socket = rig.socket();
    let as_nobody = || {
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&binary)
            .args(["grant", "list", "--socket", socket.to_str().unwrap()])
            .output();
        Said::of(output.expect("setpriv is missing: apt-get install util-linux"))
    };
    let refused = format!(
        "{} is not to be used by this user; run this as root, or as the user that runs portcullis",
        socket.display()
    );
    as_nobody().is_refused(77, &refused);
    // Even if somebody opened it to all, the system says who connects.
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666)).unwrap();
    as_nobody().is_refused(77, &refused);
    let line = rig.process.line(|line| line["user"] == 65534).await;
    assert_eq!(line["message"], "the admin socket was asked by somebody who may not");
}

#[tokio::test]
async fn a_socket_that_a_dead_process_left_is_replaced_and_a_living_ones_is_not() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let socket = place.folder().join("admin.sock");
    drop(UnixListener::bind(&socket).unwrap());
    assert!(socket.exists(), "as after kill -9");
    let process = place.start(&plain(upstream.address, ""));
    run(&["grant", "list", "--socket", socket.to_str().unwrap()]).await;
    drop(process);

    std::fs::remove_file(&socket).unwrap();
    let _living = UnixListener::bind(&socket).unwrap();
    let (status, told) = place.run("serve", &plain(upstream.address, ""));
    let wanted = format!(
        "portcullis: another process (process {}) listens at the admin socket {}; stop it, or write another path under \
         `admin_socket`\n",
        std::process::id(),
        socket.display()
    );
    assert_eq!(status, 1, "{told}");
    assert!(told.ends_with(&wanted), "{told}");
    assert!(UnixStream::connect(&socket).is_ok(), "it is still theirs");

    std::fs::remove_file(&socket).unwrap();
    std::fs::write(&socket, "text").unwrap();
    let (status, told) = place.run("serve", &plain(upstream.address, ""));
    assert_eq!(status, 1, "{told}");
    assert!(
        told.contains("is no socket; take it away, or write another path under `admin_socket`\n"),
        "{told}"
    );
    assert_eq!(std::fs::read(&socket).unwrap(), b"text");
}

#[tokio::test]
async fn without_a_gateway_or_a_socket_it_is_said_what_to_do() {
    let place = Place::new();
    let socket = place.folder().join("admin.sock");
    let nobody = format!(
        "no gateway is listening on {}: start it (portcullis serve FILE), or name its socket by --socket",
        socket.display()
    );
    run(&["key", "list", "--socket", socket.to_str().unwrap()]).await.is_refused(69, &nobody);
    let config = place.write("p.yaml", &plain(([127, 0, 0, 1], 9).into(), ""));
    let config = config.to_str().unwrap();
    run(&["key", "list", "--config", config]).await.is_refused(69, &nobody);
    let off = place.write("off.yaml", &plain(([127, 0, 0, 1], 9).into(), "admin_socket: off"));
    let off = off.to_str().unwrap();
    let told = format!("{off} says admin_socket: off; name the gateway's socket by --socket");
    run(&["key", "list", "--config", off]).await.is_refused(78, &told);
    let nowhere = run(&["key", "list", "--config", "/nowhere/p.yaml"]).await;
    assert_eq!(nowhere.status, 78, "{nowhere:?}");
    assert!(nowhere.errors.contains("no such file") && nowhere.errors.contains("--socket"), "{nowhere:?}");
    // A service's variables are not in the operator's shell.
    let yaml = plain(([127, 0, 0, 1], 9).into(), "").replace(&"5a".repeat(32), "${NOT_IN_THIS_SHELL}");
    let config = place.write("v.yaml", &yaml);
    run(&["key", "list", "--config", config.to_str().unwrap()]).await.is_refused(69, &nobody);
}

#[tokio::test]
async fn broken_clients_hold_nobody_up() {
    let rig = Rig::start().await;
    let mut broken = Vec::new();
    for bytes in [
        b"".as_slice(),
        b"POST /v1/grants/li",
        b"\xff\xfe\0",
        b"POST /v1/keys/list HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{",
    ] {
        let mut stream = UnixStream::connect(rig.socket()).unwrap();
        drop(stream.write_all(bytes));
        broken.push(stream);
    }
    let asked = Instant::now();
    rig.run(&["key", "list"]).await.good();
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    let huge = "a".repeat(70_000);
    let refused = rig.inspect(&huge, &[]).await;
    assert_eq!(refused.status, 1, "{refused:?}");
    assert!(
        refused
            .errors
            .ends_with("the request did not come whole: it is too large, too slow, or was broken off\n"),
        "{refused:?}"
    );
}

// ---- clients and grants

#[tokio::test]
async fn clients_are_listed_shown_and_deleted_with_their_grants() {
    let rig = Rig::start().await;
    assert_eq!(rig.run(&["client", "list"]).await.errors, "There are no such clients.\n");
    assert_eq!(rig.run(&["client", "list", "--json"]).await.good().out, "[]\n");
    let alice = rig.client.sign_in("alice").await;
    let bob = rig.client.sign_in("bob").await;
    let list = rig.run(&["client", "list"]).await.good().out;
    assert!(list.starts_with("CLIENT ") && list.lines().count() == 3 && list.contains(" Wire "), "{list}");
    let used = rig.run(&["client", "list", "--used", "--json"]).await.good().json();
    assert_eq!(used.as_array().unwrap().len(), 2, "{used}");
    assert_eq!(rig.run(&["client", "list", "--unused", "--json"]).await.good().json(), serde_json::json!([]));
    let one = rig.run(&["client", "list", "--limit", "1", "--json"]).await.good().json();
    assert_eq!(one.as_array().unwrap().len(), 1);

    let shown = rig.run(&["client", "show", &alice.client, "--json"]).await.good().json();
    assert_eq!((&shown["client"]["id"], &shown["grants"]), (&alice.client.as_str().into(), &1.into()));
    let shown = rig.run(&["client", "show", &alice.client]).await.good().out;
    assert!(
        shown.contains(&format!("client    {}\nname      Wire\nused      yes\n", alice.client)),
        "{shown}"
    );
    assert!(shown.contains("\ngrants    1\n"), "{shown}");

    let unasked = rig.run(&["client", "delete", &alice.client]).await;
    unasked.is_refused(2, "nobody is here to confirm this; write --yes");
    assert_eq!(rig.status_of(&alice.access).await, 200, "nothing happened");
    let deleted = rig.run(&["client", "delete", &alice.client, "--yes"]).await.good().out;
    assert_eq!(deleted, format!("Deleted {}; 1 of its grants ended.\n", alice.client));
    assert_eq!((rig.status_of(&alice.access).await, rig.status_of(&bob.access).await), (401, 200));
    let event = rig.process.line(|line| line["event"] == "client_deleted").await;
    assert_eq!((&event["by"], &event["client"]), (&"operator".into(), &alice.client.as_str().into()));
    let no_client = format!("there is no client {}", alice.client);
    rig.run(&["client", "show", &alice.client]).await.is_refused(1, &no_client);
    rig.run(&["client", "delete", &alice.client, "--yes"]).await.is_refused(1, &no_client);
    rig.run(&["client", "show", "a b"]).await.is_refused(1, "a b cannot be the id of a client");
}

#[tokio::test]
async fn grants_are_listed_by_user_client_and_service() {
    let rig = Rig::start().await;
    let (alice, bob) = (rig.client.sign_in("Alice").await, rig.client.sign_in("bob").await);
    assert_eq!(rig.grants(&[]).await.len(), 2);
    for named in [["--user", "alice"], ["--user", "dev:alice"], ["--client", &alice.client]] {
        let grants = rig.grants(&named).await;
        assert_eq!(grants.len(), 1, "{named:?}: {grants:?}");
        assert_eq!(grants[0]["user"], "dev:alice");
        assert_eq!((&grants[0]["login"], &grants[0]["service"]), (&"Alice".into(), &"echo".into()));
        assert_eq!((&grants[0]["state"], &grants[0]["scopes"]), (&"active".into(), &"mcp".into()));
    }
    assert_eq!(rig.grants(&["--service", "echo"]).await.len(), 2);
    assert_eq!(rig.grants(&["--user", "bob", "--client", &alice.client]).await.len(), 0, "all must fit");
    let table = rig.run(&["grant", "list", "--user", "bob"]).await.good().out;
    assert!(
        table.starts_with("GRANT ") && table.lines().count() == 2 && table.contains(&bob.client),
        "{table}"
    );

    rig.run(&["grant", "list", "--service", "nope"])
        .await
        .is_refused(1, "there is no service nope; there is echo");
    rig.run(&["grant", "list", "--user", "carol"]).await.is_refused(
        1,
        "nobody with the login carol has a grant here; write the user's id, such as github:583231",
    );
}

// R14
#[tokio::test]
async fn a_grant_that_the_operator_revokes_ends_at_once_with_its_streams() {
    let rig = Rig::start().await;
    let (alice, bob) = (rig.client.sign_in("alice").await, rig.client.sign_in("bob").await);
    let mut stream = rig.client.open(call("GET", "/mcp/stream", &alice)).await;
    assert_eq!(piece(&mut stream).await.unwrap().unwrap(), "data: open\n\n");
    let id = rig.grants(&["--user", "alice"]).await[0]["id"].as_str().unwrap().to_owned();

    let dry = rig.run(&["grant", "revoke", "--service", "echo", "--dry-run"]).await;
    assert_eq!((dry.status, dry.errors.as_str()), (0, "2 grants would be revoked.\n"));
    assert_eq!(rig.status_of(&alice.access).await, 200, "nothing happened");

    let revoked = rig.run(&["grant", "revoke", &id]).await;
    assert_eq!((revoked.status, revoked.errors.as_str()), (0, "1 grant revoked.\n"), "{revoked:?}");
    assert!(revoked.out.contains(&id), "{revoked:?}");
    assert_eq!(rig.status_of(&alice.access).await, 401, "on the next request");
    assert!(piece(&mut stream).await.unwrap().is_err());
    assert_eq!(rig.status_of(&bob.access).await, 200);
    let event = rig.process.line(|line| line["event"] == "grant_revoked").await;
    assert_eq!(
        (&event["by"], &event["sub"], &event["grant"]),
        (&"operator".into(), &"dev:alice".into(), &id.as_str().into())
    );

    rig.run(&["grant", "revoke", &id])
        .await
        .is_refused(1, &format!("there is no grant {id} that has not ended"));
    rig.run(&["grant", "revoke", "x"]).await.is_refused(1, "x cannot be the id of a grant");
    let nothing = rig.run(&["grant", "revoke"]).await;
    assert_eq!(nothing.status, 2, "{nothing:?}");
    let json = rig.run(&["grant", "revoke", "--user", "bob", "--json"]).await;
    assert_eq!(json.json()[0]["user"], "dev:bob");
    assert_eq!(rig.status_of(&bob.access).await, 401);
    rig.upstream.closed(1).await;
}

// ---- tokens

#[tokio::test]
async fn a_token_is_taken_apart_claim_by_claim() {
    let rig = Rig::start().await;
    let alice = rig.client.sign_in("alice").await;
    let good = rig.inspect(&alice.access, &["--service", "echo"]).await.good().out;
    assert!(good.ends_with("\necho accepts it\n"), "{good}");
    for check in [
        "form",
        "alg",
        "typ",
        "kid",
        "signature",
        "iss",
        "exp",
        "iat",
        "aud",
        "acc",
        "sid",
        "scope",
        "sub",
        "client_id",
    ] {
        assert!(
            good.lines().any(|line| line.starts_with(&format!("ok    {check} "))),
            "{check} is not in {good}"
        );
    }
    assert!(!good.contains(&alice.access), "the token is not repeated");

    // From standard input, with the line break that files have.
    let mut command = portcullis(&["token", "inspect", "-", "--socket", rig.socket().to_str().unwrap()]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{}\n", alice.access).as_bytes()).unwrap();
    let piped =
        tokio::task::spawn_blocking(move || Said::of(child.wait_with_output().unwrap())).await.unwrap();
    assert!(piped.good().out.ends_with("\necho accepts it\n"));

    let tampered = format!("{}AAAA", &alice.access[..alice.access.len() - 4]);
    let refused = rig.inspect(&tampered, &["--service", "echo", "--json"]).await;
    assert_eq!(refused.status, 1);
    let told = refused.json();
    assert_eq!((&told["kind"], &told["accepted"]), (&"access_token".into(), &false.into()));
    assert_eq!(told["verdict"], "echo refuses it with 401: the token's signature is wrong");
    let wrong: Vec<_> =
        told["checks"].as_array().unwrap().iter().filter(|one| one["finding"] == "refused").collect();
    assert_eq!((wrong.len(), &wrong[0]["of"]), (1, &"signature".into()), "{told}");

    for secret in [&alice.access, &tampered] {
        assert!(!rig.process.log().contains(secret.as_str()), "a token is in the log");
    }
}

#[tokio::test]
async fn a_revoked_token_is_told_as_such_and_wrong_arguments_too() {
    let rig = Rig::start().await;
    let alice = rig.client.sign_in("alice").await;
    rig.run(&["grant", "revoke", "--user", "alice"]).await;
    let refused = rig.inspect(&alice.access, &[]).await;
    assert_eq!(refused.status, 1);
    assert!(
        refused.out.contains("NO    sid ")
            && refused.out.contains(", revoked; expected: a grant that was not revoked\n"),
        "{refused:?}"
    );
    assert!(refused.out.ends_with("\necho refuses it with 401: the grant was revoked\n"), "{refused:?}");

    let tool = rig.inspect(&alice.access, &["--service", "echo", "--tool", "add"]).await;
    assert!(tool.errors.starts_with("Scopes of tools are not configured"), "{tool:?}");
    rig.inspect(&alice.access, &["--service", "nope"])
        .await
        .is_refused(1, "there is no service nope; there is echo");
    rig.inspect(" ", &[])
        .await
        .is_refused(2, "there is no token; write one, or - and give it on standard input");
    for secret in [&alice.access, &alice.refresh] {
        assert!(!rig.process.log().contains(secret.as_str()), "a token is in the log");
    }
}

#[tokio::test]
async fn refresh_tokens_codes_and_strangers_are_told_for_what_they_are() {
    let rig = Rig::start().await;
    let alice = rig.client.sign_in("alice").await;
    let refresh = rig.inspect(&alice.refresh, &[]).await.good().out;
    assert!(refresh.ends_with("\nthis is a refresh token: /token would accept it\n"), "{refresh}");
    assert!(refresh.contains("ok    generation  1\n"), "{refresh}");
    let at_service = rig.inspect(&alice.refresh, &["--service", "echo"]).await;
    assert_eq!(at_service.status, 1);
    assert!(
        at_service.out.ends_with("\nthis is a refresh token, for /token only: echo refuses it\n"),
        "{at_service:?}"
    );
    let mac = alice.refresh.rsplit('.').next().unwrap();
    assert!(!refresh.contains(mac) && !at_service.out.contains(mac), "nothing secret is told");

    // Looking changes nothing: it still refreshes, and then is the one before.
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", alice.client.as_str()),
        ("refresh_token", &alice.refresh),
    ];
    assert_eq!(rig.client.post("/token", &[], &form).await.status, 200);
    let before = rig.inspect(&alice.refresh, &[]).await.good().out;
    assert!(before.contains("note  generation  1; expected: 2\n"), "{before}");
    assert!(before.contains("yields the newest tokens again"), "{before}");

    let code = rig.client.code(&alice.client, "alice", &mut Vec::new()).await;
    let told = rig.inspect(&code, &[]).await.good().out;
    assert!(told.ends_with("\nthis is a code: /token would accept it\n"), "{told}");
    let (grant, _) = code.split_once('.').unwrap();
    let other = rig.inspect(&format!("{grant}.{}", "A".repeat(43)), &[]).await;
    assert_eq!(other.status, 1);
    assert!(other.out.contains("/token refuses it"), "{other:?}");

    let opaque = rig.inspect("gho_16C7e42F292c6912E7710c838347Ae178B4a", &[]).await;
    assert_eq!(opaque.status, 1);
    assert!(
        opaque
            .out
            .ends_with("\nthis is a token of GitHub; services here accept only tokens of this gateway\n"),
        "{opaque:?}"
    );
    let nothing = rig.inspect("hello", &[]).await;
    assert!(
        nothing
            .out
            .ends_with("\nthis is neither an access token nor a refresh token nor a code of this gateway\n"),
        "{nothing:?}"
    );
}

#[tokio::test]
async fn an_issued_token_is_a_grant_like_any_other() {
    let rig = Rig::start().await;
    let issued = rig.run(&["token", "issue", "--user", "dev:ci", "--service", "echo", "--ttl", "30d"]).await;
    assert_eq!(issued.status, 0, "{issued:?}");
    let token = issued.out.strip_suffix('\n').unwrap();
    assert!(!token.contains('\n') && token.split('.').count() == 3, "only the token: {issued:?}");
    assert!(issued.errors.starts_with("For dev:ci at echo, scope mcp, until 20"), "{issued:?}");
    assert_eq!(rig.status_of(token).await, 200);
    let grants = rig.grants(&["--user", "dev:ci"]).await;
    assert_eq!((&grants[0]["state"], &grants[0]["client"]), (&"issued".into(), &"portcullis-cli".into()));
    let event = rig.process.line(|line| line["event"] == "token_issued" && line["by"] == "operator").await;
    assert_eq!(event["sub"], "dev:ci");
    assert!(rig.inspect(token, &[]).await.good().out.ends_with("\necho accepts it\n"));
    assert!(!rig.process.log().contains(token));

    let id = grants[0]["id"].as_str().unwrap();
    assert!(issued.errors.ends_with(&format!("portcullis grant revoke {id}\n")), "{issued:?}");
    rig.run(&["grant", "revoke", id]).await;
    assert_eq!(rig.status_of(token).await, 401);
    assert!(rig.grants(&["--user", "dev:ci"]).await.is_empty());

    let json =
        rig.run(&["token", "issue", "--user", "dev:ci", "--service", "echo", "--json"]).await.good().json();
    assert_eq!(rig.status_of(json["token"].as_str().unwrap()).await, 200);
    assert_eq!(json["grant"]["user"], "dev:ci");
}

// R14: an issued token lives for longer than revocations of others are remembered.
#[tokio::test]
async fn a_long_token_that_was_revoked_stays_so_after_a_restart_and_the_keys_rotation() {
    let mut rig = Rig::start().await;
    let issue = async |rig: &Rig| {
        let issued =
            rig.run(&["token", "issue", "--user", "dev:ci", "--service", "echo", "--ttl", "90d"]).await;
        issued.out.trim().to_owned()
    };
    let (revoked, kept) = (issue(&rig).await, issue(&rig).await);
    let sid = rig.grants(&["--user", "dev:ci"]).await;
    let ids: Vec<_> = sid.iter().map(|grant| grant["id"].as_str().unwrap().to_owned()).collect();
    let told = rig.inspect(&revoked, &["--json"]).await.json();
    let of = |id: &String| {
        told["checks"].as_array().unwrap().iter().any(|one| one["of"] == "sid" && one["found"] == id.as_str())
    };
    let id = ids.iter().find(|id| of(id)).unwrap();
    rig.run(&["grant", "revoke", id]).await;
    rig.run(&["key", "rotate", "signing", "--at-once"]).await.good();
    assert_eq!((rig.status_of(&revoked).await, rig.status_of(&kept).await), (401, 200));

    rig.process.signal("TERM");
    rig.process.ended().await;
    // Ten days later, when ordinary revocations and retired keys are long forgotten.
    let later = Later::start(&rig.place, "+10d");
    assert_eq!((rig.status_of(&revoked).await, rig.status_of(&kept).await), (401, 200), "{}", later.log());
}

/// A gateway whose clock is ahead.
struct Later {
    child: std::process::Child,
    log: PathBuf,
}

impl Later {
    fn start(place: &Place, ahead: &str) -> Self {
        let log = place.folder().join("later.log");
        let file = std::fs::File::create(&log).unwrap();
        // Not by the `faketime` command: killing that would leave the gateway behind.
        let child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .arg("serve")
            .arg(place.folder().join("serve.yaml"))
            .env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1")
            .env("FAKETIME", ahead)
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        let later = Self { child, log };
        let started = Instant::now();
        while !later.log().contains("\"listening\"") {
            assert!(started.elapsed() < Duration::from_secs(20), "{}", later.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        later
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        // What libfaketime leaves behind of a process that was killed.
        for left in ["sem.faketime_sem", "faketime_shm"] {
            drop(std::fs::remove_file(format!("/dev/shm/{left}_{}", self.child.id())));
        }
    }
}

#[tokio::test]
async fn a_token_is_issued_only_within_the_rules() {
    let rig = Rig::of(|yaml| {
        yaml.replace("access: { users: [\"*\"] }", "access: { users: [alice, \"dev:ci\"] }")
            + "  open: { url: \"http://localhost:{port}/open\", upstream: \"http://127.0.0.1:9/mcp\", public: true }\n"
    })
    .await;
    let issue = async |more: &[&str]| rig.run(&[&["token", "issue"], more].concat()).await;
    issue(&["--user", "dev:eve", "--service", "echo"])
        .await
        .is_refused(1, "eve is not let in by any rule: users [\"alice\", \"dev:ci\"], orgs [], teams []");
    for nobody in ["github:1", "client:ci", "dev:"] {
        issue(&["--user", nobody, "--service", "echo"]).await.is_refused(
            1,
            &format!(
                "{nobody} is no user that can sign in here; write an id such as github:583231, or a login"
            ),
        );
    }
    issue(&["--user", "alice", "--service", "echo"]).await.is_refused(
        1,
        "nobody with the login alice has a grant here; write the user's id, such as github:583231",
    );
    issue(&["--user", "dev:ci", "--service", "nope"])
        .await
        .is_refused(1, "there is no service nope; there is echo, open");
    issue(&["--user", "dev:ci", "--service", "open"])
        .await
        .is_refused(1, "open is public: it needs no token");
    issue(&["--user", "dev:ci", "--service", "echo", "--scope", "mcp admin"])
        .await
        .is_refused(1, "admin is no scope of this service; it has mcp");
    for ttl in ["91d", "59s", "0s"] {
        issue(&["--user", "dev:ci", "--service", "echo", "--ttl", ttl])
            .await
            .is_refused(1, "a token lives for 1m at least and 90d at most");
    }
    let wrong = issue(&["--user", "dev:ci", "--service", "echo", "--ttl", "soon"]).await;
    assert_eq!(wrong.status, 2, "{wrong:?}");
    assert!(
        wrong.errors.contains("soon is no length of time; write a number and s, m, h or d, such as 1h"),
        "{wrong:?}"
    );
    rig.client.sign_in("alice").await;
    assert_eq!(issue(&["--user", "Alice", "--service", "echo"]).await.status, 0, "by the pinned login");
}

// R14: over Redis, what one gateway is told holds at the other.
#[tokio::test]
async fn over_redis_a_revocation_here_holds_elsewhere_within_two_seconds() {
    let redis = Redis::start();
    let (place, there, upstream) = (Place::new(), Place::new(), Recorder::start().await);
    let store = format!("store: redis://127.0.0.1:{}/0\nadmin_socket: admin.sock", redis.port);
    let yaml = plain(upstream.address, "log: { format: json }")
        .replace("store: file:{folder}/portcullis.db", &store);
    let process = place.start(&yaml);
    let listen = format!("listen: {{ http: \"127.0.0.1:{}\" }}", there.port);
    let yaml = yaml
        .replace("listen: { http: \"127.0.0.1:{port}\" }", &listen)
        .replace("{port}", &place.port.to_string());
    let _there = there.start(&yaml.replace("admin_socket: admin.sock", "admin_socket: off"));
    let client = Client::plain(&place);
    let elsewhere = client.at(there.address());
    let rig = Rig { place, upstream, process, client };

    let alice = rig.client.sign_in("alice").await;
    let issued = rig.run(&["token", "issue", "--user", "dev:ci", "--service", "echo", "--ttl", "10d"]).await;
    let issued = SignedIn {
        client: String::new(),
        access: issued.out.trim().to_owned(),
        refresh: String::new(),
        secrets: vec![],
    };
    for token in [&alice, &issued] {
        assert_eq!(elsewhere.send(call("POST", "/mcp", token)).await.status, 200);
    }
    assert_eq!(rig.grants(&[]).await.len(), 2);
    assert_eq!(rig.grants(&["--client", "portcullis-cli"]).await.len(), 1);
    let clients = rig.run(&["client", "list", "--json"]).await.good().json();
    assert_eq!(clients.as_array().unwrap().len(), 1);
    let revoked = rig.run(&["grant", "revoke", "--service", "echo"]).await;
    assert_eq!(revoked.errors, "2 grants revoked.\n", "{revoked:?}");
    let since = Instant::now();
    for token in [&alice, &issued] {
        assert_eq!(rig.status_of(&token.access).await, 401, "here at once");
        while elsewhere.send(call("POST", "/mcp", token)).await.status != 401 {
            assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn a_usual_socket_that_cannot_be_is_a_warning_with_what_to_write() {
    if Path::new("/run/portcullis").exists() {
        return;
    }
    let redis = Redis::start();
    let store = format!("store: redis://127.0.0.1:{}/0", redis.port);
    let rig = Rig::of(|yaml| yaml.replace("store: file:{folder}/portcullis.db", &store)).await;
    let line = rig.process.line(|line| line["level"] == "WARN").await;
    assert_eq!(line["message"], "the command line cannot administer this gateway");
    assert_eq!(
        line["error"],
        "cannot make the admin socket /run/portcullis/admin.sock; write a path under `admin_socket` in a folder that this user \
         may write, or off"
    );
    rig.run(&["key", "list"]).await.is_refused(
        69,
        "no gateway is listening on /run/portcullis/admin.sock: start it (portcullis serve FILE), or name its socket by --socket",
    );
}

#[tokio::test]
async fn an_option_that_there_is_not_is_no_grant_s_id() {
    for odd in ["--yes", "--all", "-y"] {
        let said = run(&["grant", "revoke", "--client", "c_x", odd]).await;
        assert_eq!((said.status, said.out.as_str()), (2, ""), "{said:?}");
        let told =
            format!("error: invalid value '{odd}' for '[GRANT]': no such option, and no id of a grant");
        assert!(said.errors.starts_with(&told), "{said:?}");
    }
}

// ---- users and keys

// F3
#[tokio::test]
async fn a_login_is_forgotten() {
    let rig = Rig::of(|yaml| yaml.replace("users: [\"*\"]", "users: [alice]")).await;
    rig.client.sign_in("alice").await;
    let forgotten = rig.run(&["user", "forget", "Alice"]).await.good().out;
    assert!(
        forgotten.starts_with("alice was dev:alice's; it is the next one's who signs in with it."),
        "{forgotten}"
    );
    let event = rig.process.line(|line| line["event"] == "login_unpinned").await;
    assert_eq!((event["sub"].as_str(), event["by"].as_str()), (Some("dev:alice"), Some("operator")));
    rig.run(&["user", "forget", "alice"]).await.is_refused(1, "the login alice is not pinned to anybody");
    rig.client.sign_in("alice").await;
    let json = rig.run(&["user", "forget", "alice", "--json"]).await.good().json();
    assert_eq!(json, serde_json::json!({ "login": "alice", "user": "dev:alice" }));
}

// V3
#[tokio::test]
async fn keys_are_listed_and_rotated() {
    let rig = Rig::start().await;
    let alice = rig.client.sign_in("alice").await;
    let table = rig.run(&["key", "list"]).await.good().out;
    assert!(table.starts_with("KIND ") && table.lines().count() == 4, "{table}");
    let rotated = rig.run(&["key", "rotate", "signing", "--json"]).await.good().json();
    assert_eq!((&rotated["kind"], &rotated["state"]), (&"signing".into(), &"next".into()));
    let keys = rig.run(&["key", "list", "--json"]).await.good().json();
    let states: Vec<_> = keys
        .as_array()
        .unwrap()
        .iter()
        .filter(|key| key["kind"] == "signing")
        .map(|key| &key["state"])
        .collect();
    assert_eq!(states, ["next", "active"]);
    let event = rig.process.line(|line| line["event"] == "key_rotated").await;
    assert_eq!(event["by"], "operator");
    let told = rig.run(&["key", "rotate", "signing", "--compromised"]).await.good().out;
    assert!(told.starts_with("The signing key ") && told.contains(" signs from 20"), "{told}");
    assert_eq!(rig.status_of(&alice.access).await, 401, "what the old key signed is worth nothing");
    let wrong = rig.run(&["key", "rotate", "tls"]).await;
    assert_eq!(wrong.status, 2, "{wrong:?}");
}

// A grant's id is random base64url: one in 64 begins with a hyphen, and was taken for an option.
#[tokio::test]
async fn an_id_that_looks_like_an_option_is_an_id() {
    for id in [
        "-hFqVnYy2m1c0sYpR1m9xQ",
        "--FqVnYy2m1c0sYpR1m9xQ",
        "-3FqVnYy2m1c0sYpR1m9xQ",
        "_3FqVnYy2m1c0sYpR1m9xQ",
    ] {
        let revoke = run(&["grant", "revoke", id, "--dry-run", "--socket", "/nowhere/admin.sock"]).await;
        assert_eq!(revoke.status, 69, "{id}: {revoke:?}");
        let inspect = run(&["token", "inspect", id, "--socket", "/nowhere/admin.sock"]).await;
        assert_eq!(inspect.status, 69, "{id}: {inspect:?}");
    }
}

// ---- help

#[test]
fn every_command_has_examples_and_says_its_exit_status() {
    for family in ["cert", "client", "grant", "token", "user", "key"] {
        let help = Said::of(portcullis(&[family, "--help"]).output().unwrap()).good().out;
        assert!(
            help.contains(&format!("Examples:\n  portcullis {family} "))
                || help.contains("  portcullis token"),
            "{help}"
        );
        assert!(help.contains("Exit status: 0 done;") && help.contains("69 no gateway"), "{help}");
    }
}

#[test]
fn the_guide_s_commands_are_commands() {
    let guide =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/OPERATIONS.md")).unwrap();
    let (_, section) = guide.split_once("\n## Administration\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let commands: Vec<_> = section.lines().filter_map(|line| line.strip_prefix("$ portcullis ")).collect();
    assert!(commands.len() >= 9, "{commands:?}");
    for command in commands {
        let words: Vec<_> =
            command.split(" #").next().unwrap().split('<').next().unwrap().split_whitespace().collect();
        let said = Said::of(
            portcullis(&[&words[..], &["--socket", "/nowhere/admin.sock"]].concat()).output().unwrap(),
        );
        // Understood, and then nobody answers; or nothing came on standard input.
        assert!(said.status == 69 || said.errors.contains("there is no token"), "{command}: {said:?}");
    }
}
