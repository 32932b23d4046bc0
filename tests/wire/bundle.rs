//! "Please send diagnostics": one text file that says what is needed, and nothing that is secret, wherever it was planted.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};

use crate::client::{Client, SignedIn, call};
use crate::process::{Place, plain};
use crate::recorder::Recorder;
use crate::support::redis::Redis;

const SECRET_KEY: &str = "1f2e3d4c5b6a79880f1e2d3c4b5a69781f2e3d4c5b6a79880f1e2d3c4b5a6978";
const PASSWORD: &str = "redis-Pa55/w0rd";
const TOKEN: &str = "internal-token-internal-token-42";
const CLIENT_SECRET: &str = "client-secret-client-secret-4242";
const FROM_A_FILE: &str = "client-secret-from-a-file-424242";
const OF_ANOTHER: &str = "sk-of-another-program";
const MAIL: &str = "planted.person@example.com";

/// What somebody's log may have, though ours never does.
const ODD_LINES: &str = r#"
request: POST /token HTTP/1.1, Authorization: Basic cGxhbnRlZDpwYXNzd29yZA==
headers={"cookie": "__Host-session=planted-cookie-value; other=planted-cookie-two", "accept": "*/*"}
GET https://auth.example.com/callback?code=planted-code-in-query&state=planted-state HTTP/1.1
body: grant_type=refresh_token&refresh_token=planted-refresh&client_secret=planted-short
{"id_token":"eyJhbGciOiJSUzI1NiJ9.eyJwbGFudGVkIjoxfQ.cGxhbnRlZA","password":"planted-json"}
connecting to rediss://someone:planted-redis@redis.example:6380/0 for planted.person@example.com
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgplantedplanted0
-----END PRIVATE KEY-----
"#;

fn yaml(upstream: &Recorder, redis: &Redis) -> String {
    let more = format!(
        "admin_socket: \"{{folder}}/admin.sock\"\n# planted-comment, ask {MAIL}\nclients:\n  registered:\n    ci: {{ grant_types: [client_credentials], secret: {CLIENT_SECRET}, services: {{ echo: [mcp] }} }}\n    \
         file: {{ grant_types: [client_credentials], secret_file: secret.txt, services: {{ echo: [mcp] }} }}\nlog: {{ format: json, filter: trace }}"
    );
    plain(upstream.address, &more)
        .replace(&"5a".repeat(32), "${PC_TEST_KEY}")
        .replace("file:{folder}/portcullis.db", &format!("\"redis://:${{PC_TEST_REDIS}}@127.0.0.1:{}/0\"", redis.port))
        .replace(
            "{ http: \"127.0.0.1:{port}\" }",
            &format!("{{ http: \"127.0.0.1:{{port}}\", internal: \"0.0.0.0:{{second}}\", internal_token: {TOKEN} }}"),
        )
}

fn environment() -> [(&'static str, String); 3] {
    let in_url = PASSWORD.replace('/', "%2F");
    [("PC_TEST_KEY", SECRET_KEY.into()), ("PC_TEST_REDIS", in_url), ("OTHER_API_TOKEN", OF_ANOTHER.into())]
}

async fn bundle(place: &Place, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.arg("support-bundle").args(arguments).envs(environment()).stdin(Stdio::null());
    command.args(["--config", place.folder().join("serve.yaml").to_str().unwrap()]);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn has_what_is_useful(place: &Place, signed_in: &SignedIn, bundle_text: &str) {
    let version = format!("portcullis {} (", env!("CARGO_PKG_VERSION"));
    let issuer = format!("issuer: http://localhost:{}", place.port);
    for useful in [
        "Portcullis support bundle, made 20",
        "======== 1. Versions ========",
        version.as_str(),
        "kernel Linux ",
        "Max open files",
        "disk of ",
        issuer.as_str(),
        "secret_key: ${PC_TEST_KEY}",
        "secret: '[redacted]'",
        "secret_file: secret.txt",
        "good; 1 service, issuer http://localhost:",
        "$ portcullis doctor --json",
        "\"state\": \"serving\"",
        "portcullis_requests_total{service=\"echo\",method=\"write\",status=\"200\"} 1",
        "\"request_id\":\"req-42\"",
        "\"event\":\"token_issued\"",
        "dev:alice",
        signed_in.client.as_str(),
    ] {
        assert!(bundle_text.contains(useful), "{useful} is missing: {bundle_text}");
    }
}

// trouble: bundle
#[tokio::test]
async fn nothing_secret_is_in_a_bundle_and_everything_useful_is() {
    let (place, upstream, redis) = (Place::new(), Recorder::start().await, Redis::start());
    let port = redis.port.to_string();
    let set = Command::new("redis-cli")
        .args(["-p", &port, "config", "set", "requirepass", PASSWORD])
        .output()
        .unwrap();
    assert!(set.status.success(), "{set:?}");
    std::fs::write(place.folder().join("secret.txt"), FROM_A_FILE).unwrap();
    let environment = environment();
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    let process = place.start_in(&yaml(&upstream, &redis), &environment);
    let client = Client::plain(&place);
    let mut signed_in = client.sign_in("alice").await;
    assert_eq!(client.send(call("POST", "/mcp", &signed_in)).await.status, 200);
    let marked = client.get("/mcp?access_token=planted-in-query", &[("x-request-id", "req-42")]).await;
    assert_eq!(marked.status, 401);
    process.line(|line| line["target"] == "access" && line["request_id"] == "req-42").await;
    // As if something had gone wrong: everything that a login has, in the log.
    let leaked = format!("it was {}\n", signed_in.secrets.join("\nit was "));
    let literals = [SECRET_KEY, PASSWORD, TOKEN, CLIENT_SECRET, FROM_A_FILE, OF_ANOTHER, MAIL]
        .map(|it| format!("x={it}, y\n"));
    let log = place.folder().join("gateway.log");
    std::fs::write(&log, format!("{}{ODD_LINES}{leaked}{}", process.log(), literals.concat())).unwrap();
    let file = place.folder().join("bundle.txt");
    let (file_name, log_name) = (file.to_str().unwrap(), log.to_str().unwrap());
    let said = bundle(&place, &[file_name, "--log", log_name]).await;
    assert!(said.status.success(), "{said:?}");
    let bundle_text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(
        text(&said.stdout),
        format!("{file_name} ({} bytes). Read it before you send it; it is plain text.\n", bundle_text.len())
    );
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    // The client's `state` and the PKCE verifier are words of the tests', which nobody could tell from others.
    signed_in.secrets.drain(..2);
    let in_url = PASSWORD.replace('/', "%2F");
    let planted = [
        SECRET_KEY,
        PASSWORD,
        &in_url,
        TOKEN,
        CLIENT_SECRET,
        FROM_A_FILE,
        OF_ANOTHER,
        MAIL,
        "planted",
        "cGxhbnRlZ",
    ];
    for secret in planted.into_iter().chain(signed_in.secrets.iter().map(String::as_str)) {
        let line = bundle_text.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{secret} is in the bundle: {line:?}");
    }
    has_what_is_useful(&place, &signed_in, &bundle_text);
}

#[tokio::test]
async fn a_file_that_is_there_is_left_and_no_link_is_followed() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    place.write("serve.yaml", &plain(upstream.address, ""));
    let [file, other, log] = ["bundle.txt", "other.txt", "gateway.log"].map(|name| place.folder().join(name));
    std::fs::write(&other, "another's").unwrap();
    std::fs::write(&log, "").unwrap();
    std::os::unix::fs::symlink(&other, &file).unwrap();
    let (name, log) = (file.to_str().unwrap(), log.to_str().unwrap());
    let said = bundle(&place, &[name, "--log", log]).await;
    assert_eq!(said.status.code(), Some(1));
    let told =
        format!("portcullis: {name} is there already; name another file, or write over it with --force\n");
    assert_eq!(text(&said.stderr), told);
    assert!(bundle(&place, &[name, "--log", log, "--force"]).await.status.success());
    assert_eq!(std::fs::read_to_string(&other).unwrap(), "another's");
    assert!(std::fs::symlink_metadata(&file).unwrap().is_file());
    // A gateway that does not run is told as such, and the rest is there.
    let said = bundle(&place, &["-", "--log", log]).await;
    assert!(said.status.success(), "{said:?}");
    let told = text(&said.stdout);
    for useful in ["no gateway is listening on ", "good; 1 service", "(there is nothing in "] {
        assert!(told.contains(useful), "{useful}: {told}");
    }
    let said = bundle(&place, &["/nowhere/at/all/x", "--log", log]).await;
    assert_eq!(said.status.code(), Some(1));
    assert_eq!(
        text(&said.stderr),
        "portcullis: /nowhere/at/all/x cannot be written: No such file or directory (os error 2)\n"
    );
    assert_eq!(bundle(&place, &[]).await.status.code(), Some(2));
}
