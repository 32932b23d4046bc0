//! `portcullis migrate`: the old gateway's `.env` and its registered clients, with the real binary and a real Redis.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::client::Client;
use crate::process::{Place, free_port, plain};
use crate::support::redis::Redis;
use crate::support::rig::{Answer, REDIRECT, VERIFIER};

const SECRET: &str = "0123456789abcdef0123456789abcdef01234567";

/// An `.env` as people have it.
const OLD: &str = "# mine
BASE_DOMAIN=example.com
ACME_EMAIL=you@example.com
GITHUB_CLIENT_ID=Ov23liABCDEFGHIJKLMN
GITHUB_CLIENT_SECRET=0123456789abcdef0123456789abcdef01234567
GATEWAY_JWT_SECRET=do-not-tell-anybody
JWT_ALGORITHM=RS256
JWT_PRIVATE_KEY_B64=do-not-tell-anybody
REDIS_PASSWORD='pass word'
ALLOWED_GITHUB_USERS=Octocat,hubot
MCP_CORS_ORIGINS=https://claude.ai
ACCESS_TOKEN_LIFETIME=86400      # 24 hours
REFRESH_TOKEN_LIFETIME=2592000   # 30 days
SESSION_TIMEOUT=3600             # 1 hour
CLIENT_LIFETIME=0
MCP_PROTOCOL_VERSION=2025-06-18
MCP_FETCH_ENABLED=true   # on
MCP_FETCH_TESTS_ENABLED=false
MCP_FETCH_URLS=https://fetch.example.com/mcp
MCP_ECHO_STATEFUL_ENABLED=true
MCP_ECHO_STATEFUL_URLS=https://echo.example.com/mcp
MCP_TMUX_ENABLED=false
MCP_TMUX_URLS=https://tmux.example.com/mcp
TEST_CLIENT_NAME=test-client
MY_OWN=thing
what is this
";

/// What is said of it.
const REPORT: &str = "Taken over:
  MCP_ECHO_STATEFUL_ENABLED  services.echo-stateful: https://echo-stateful.example.com/mcp, at http://mcp-echo-stateful:3000/mcp
  MCP_FETCH_ENABLED          services.fetch: https://fetch.example.com/mcp, at http://mcp-fetch:3000/mcp
  MCP_FETCH_URLS             the same as services.fetch.url
  MCP_CORS_ORIGINS           origins: https://claude.ai
  ACCESS_TOKEN_LIFETIME      tokens.access: 1d
  REFRESH_TOKEN_LIFETIME     tokens.refresh_idle: 30d, anew with every use
  SESSION_TIMEOUT            session: 1h, for how long a browser is remembered
  BASE_DOMAIN                issuer: https://auth.example.com, and the hosts of the services
  ACME_EMAIL                 tls.acme.email
  GITHUB_CLIENT_ID           GITHUB_CLIENT_ID in .env
  GITHUB_CLIENT_SECRET       GITHUB_CLIENT_SECRET in .env
  ALLOWED_GITHUB_USERS       access.users: Octocat hubot

Without a counterpart:
  MCP_ECHO_STATEFUL_URLS   the URL follows from BASE_DOMAIN, as its Traefik rule did
  MCP_FETCH_TESTS_ENABLED  of the tests there
  MCP_TMUX_ENABLED         it is off there
  CLIENT_LIFETIME          an unused registration lives for a day, a used one outlives its grants; imported clients keep their time
  GATEWAY_JWT_SECRET       signing keys are made by the gateway and replace themselves; tokens of before are not accepted
  JWT_ALGORITHM            signing keys are made by the gateway and replace themselves; tokens of before are not accepted
  JWT_PRIVATE_KEY_B64      signing keys are made by the gateway and replace themselves; tokens of before are not accepted
  MCP_PROTOCOL_VERSION     client and server agree on it between themselves; every revision passes
  MCP_TMUX_URLS            that service is off there
  REDIS_PASSWORD           the store is written under `store`, in one URL; see --store
  TEST_CLIENT_NAME         of the tests there

Unknown here, and not taken over:
  MY_OWN

Look at:
  MCP_ECHO_STATEFUL_URLS names https://echo.example.com/mcp beside https://echo-stateful.example.com/mcp; is \
services.echo-stateful.url right?
  services that are not named by MCP_..._ENABLED are on there by default: add those you use under `services`
  line 26 is none of NAME=VALUE; it was not read

Written:
  portcullis/portcullis.yaml
  portcullis/.env (for its owner only)

To do:
  GitHub: the callback URL of the OAuth app is https://auth.example.com/callback, as before; nothing to change if it is that.
  DNS: the records stay as they are: auth.example.com, echo-stateful.example.com, fetch.example.com.
  Ports 443 and 80 are Portcullis's: stop Traefik and the auth service; the servers behind stay. It must reach them by the \
names under `upstream`, so run it in their network, or write where they are.
  Tokens and grants are not taken over, since for which server they were was never checked: each client finds its token refused and \
opens the browser once; then it is connected again.

Check and start it:
     set -a; . portcullis/.env; set +a
     portcullis check portcullis/portcullis.yaml
     portcullis serve portcullis/portcullis.yaml
   A service manager brings the variables itself:
     systemd   EnvironmentFile={folder}/portcullis/.env
               (with the unit in deploy/systemd: install -m 600 portcullis/.env /etc/portcullis/.env)
     compose   env_file: portcullis/.env
";

fn migrate(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.arg("migrate").args(arguments).current_dir(folder).stdin(Stdio::null());
    for name in ["PORTCULLIS_CONFIG", "REDIS_PASSWORD", "PORTCULLIS_SECRET_KEY"] {
        command.env_remove(name);
    }
    command
}

fn told(command: &mut Command) -> (String, String, i32) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap())
}

fn refused(command: &mut Command) -> (String, i32) {
    let (out, errors, code) = told(command);
    assert_eq!(out, "");
    (errors, code)
}

#[test]
fn every_variable_is_accounted_for_and_what_is_written_is_good() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".env"), OLD).unwrap();
    let (out, errors, code) = told(&mut migrate(folder.path(), &["--from-env", ".env"]));
    assert_eq!((errors.as_str(), code), ("", 0));
    let here = fs::canonicalize(folder.path()).unwrap().display().to_string();
    assert_eq!(out, REPORT.replace("{folder}", &here));
    let yaml = fs::read_to_string(folder.path().join("portcullis/portcullis.yaml")).unwrap();
    for line in [
        "  users: [Octocat, hubot]",
        "origins: [https://claude.ai]",
        "  access: \"1d\"",
        "  refresh_idle: \"30d\"",
        "session: \"1h\"",
        "    user_id: numeric",
        "secret_key_previous: ${PORTCULLIS_SECRET_KEY_PREVIOUS:-}",
        if rustix::process::geteuid().is_root() {
            "store: file:/var/lib/portcullis/portcullis.db"
        } else {
            "store: file:portcullis.db"
        },
    ] {
        assert!(yaml.lines().any(|one| one == line), "{line} is not in {yaml}");
    }
    assert!(!yaml.contains(SECRET), "{yaml}");
    let path = Path::new(env!("CARGO_BIN_EXE_portcullis")).display().to_string();
    let line = format!("set -a; . ./.env; {path} check portcullis.yaml");
    let checked = Command::new("sh")
        .args(["-c", &line])
        .current_dir(folder.path().join("portcullis"))
        .output()
        .unwrap();
    assert!(
        checked.status.success() && checked.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );

    let (errors, code) = refused(&mut migrate(folder.path(), &["--from-env", ".env"]));
    let there = "portcullis: portcullis/portcullis.yaml is there already, and nothing is overwritten; move it away, or choose another \
                 folder with --dir\n";
    assert_eq!((errors.as_str(), code), (there, 1));
}

#[test]
fn everything_that_is_wrong_in_the_old_file_is_told_at_once_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = "BASE_DOMAIN=https://x\nACME_EMAIL=you\nGITHUB_CLIENT_ID=\nALLOWED_GITHUB_USERS=,\nMCP_A_ENABLED=maybe\n\
                 ACCESS_TOKEN_LIFETIME=0\nSESSION_TIMEOUT=1h\n";
    fs::write(folder.path().join("old"), wrong).unwrap();
    let (errors, code) = refused(&mut migrate(folder.path(), &["--from-env", "old"]));
    assert_eq!(
        errors,
        "portcullis: old: BASE_DOMAIN: `https://x` is not a domain; write the name alone, such as example.com
portcullis: old: ACME_EMAIL: `you` is no e-mail address; write one, such as you@YOUR-DOMAIN
portcullis: old: GITHUB_CLIENT_ID is missing
portcullis: old: GITHUB_CLIENT_SECRET is missing
portcullis: old: ALLOWED_GITHUB_USERS: it names nobody, so nobody would come in
portcullis: old: MCP_A_ENABLED is neither true nor false
portcullis: old: no service is on: none of MCP_..._ENABLED is true
portcullis: old: ACCESS_TOKEN_LIFETIME is no number of seconds from 1 to 315360000
portcullis: old: SESSION_TIMEOUT is no number of seconds from 1 to 315360000
"
    );
    assert_eq!(code, 2);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    for (arguments, told, code) in [
        (&[][..], "migrate needs --from-env FILE, --redis URL, or both", 2),
        (&["--from-env", "none"], "cannot read none: No such file or directory (os error 2)", 1),
        (
            &["--redis", "redis://:${NOT_SET}@h/0"],
            "--redis: it names ${NOT_SET}, which is neither in the old .env nor in the environment; set it",
            2,
        ),
        (
            &["--redis", "redis://:hunter2@h/0"],
            "--redis: there is a password in it, which everybody on this machine sees; write ${REDIS_PASSWORD} in its place, in single \
             quotes, and set REDIS_PASSWORD",
            2,
        ),
        (
            &["--redis", "http://h/0"],
            "--redis: it is of an unknown kind; write redis://, rediss:// (with TLS) or file:/PATH",
            2,
        ),
        (
            &["--redis", "redis://127.0.0.1:9/0"],
            "the old gateway's Redis cannot be reached: Connection refused (os error 111)",
            1,
        ),
    ] {
        assert_eq!(refused(&mut migrate(folder.path(), arguments)), (format!("portcullis: {told}\n"), code));
    }
}

#[test]
fn a_dry_run_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let old = OLD
        .replace("ALLOWED_GITHUB_USERS=Octocat,hubot", "ALLOWED_GITHUB_USERS=*")
        .replace("MCP_CORS_ORIGINS=https://claude.ai", "MCP_CORS_ORIGINS=*");
    fs::write(folder.path().join(".env"), old).unwrap();
    let (out, errors, code) =
        told(&mut migrate(folder.path(), &["--from-env", ".env", "--dry-run", "--json"]));
    assert_eq!((errors.as_str(), code), ("", 0));
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&report["dry_run"], &report["unknown"]), (&json!(true), &json!(["MY_OWN"])));
    let told = |part: &str, name: &str| {
        let lines = report[part].as_array().unwrap();
        lines.iter().find(|line| line["name"] == name).map(|line| line["told"].as_str().unwrap().to_owned())
    };
    assert_eq!(told("taken", "ALLOWED_GITHUB_USERS").as_deref(), Some("access.users: *"));
    let origins = "`*` let every web page call; programs need no origin, and web pages are listed one by one under `origins`";
    assert_eq!(told("left", "MCP_CORS_ORIGINS").as_deref(), Some(origins));
    assert!(
        !out.contains("do-not-tell-anybody") && !out.contains("pass word") && !out.contains(SECRET),
        "{out}"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// Sets a key of the old gateway.
fn set(redis: &Redis, key: &str, value: &str) {
    let mut command = Command::new("redis-cli");
    command.args(["-p", &redis.port.to_string(), "SET", key, value]).stdout(Stdio::null());
    assert!(command.status().expect("redis-cli is missing: apt-get install redis-tools").success());
}

/// A record as the old gateway keeps it.
fn record(id: &str, more: &Value) -> String {
    let mut record = json!({
        "client_id": id, "client_secret": format!("secret-of-{id}"), "client_secret_expires_at": 0,
        "client_id_issued_at": 1_750_000_000, "redirect_uris": format!("[\"{REDIRECT}\"]"), "client_name": "Old",
        "scope": "mcp", "created_at": 1_750_000_000, "response_types": "[\"code\"]",
        "grant_types": "[\"authorization_code\",\"refresh_token\"]",
        "registration_access_token": format!("token-of-{id}"),
    });
    for (name, value) in more.as_object().unwrap() {
        record[name] = value.clone();
    }
    record.to_string()
}

fn fill(redis: &Redis) {
    let client = |id: &str, more: &Value| set(redis, &format!("oauth:client:{id}"), &record(id, more));
    client("client_confidential", &json!({ "client_secret_expires_at": 4_000_000_000_u64 }));
    client("client_public", &json!({ "client_secret": null, "redirect_uris": [REDIRECT] }));
    client(
        "partly",
        &json!({ "redirect_uris": "[\"javascript:alert(1)\", \"https://a.example/cb\", \"http://a.example/cb\"]" }),
    );
    client("expired", &json!({ "client_secret_expires_at": 1_760_000_000 }));
    client("nowhere", &json!({ "redirect_uris": "[\"http://a.example/cb\"]" }));
    client("none", &json!({ "redirect_uris": "[]" }));
    client("odd-list", &json!({ "redirect_uris": "secret nonsense" }));
    client("odd-grants", &json!({ "grant_types": "[\"password\"]" }));
    client("odd-time", &json!({ "client_id_issued_at": "secret-yesterday" }));
    client("https://a.example/client", &json!({}));
    client("c_AAAAAAAAAAAAAAAAAAAAAA", &json!({}));
    client("a b", &json!({}));
    set(redis, "oauth:client:other", &record("another", &json!({})));
    set(redis, "oauth:client:broken", "{\"client_secret\": \"secret-text\", ");
    set(redis, "oauth:client:array", "[1]");
    set(redis, "oauth:client:large", &"x".repeat(70_000));
    let port = redis.port.to_string();
    let pushed =
        Command::new("redis-cli").args(["-p", &port, "RPUSH", "oauth:client:list", "x"]).output().unwrap();
    assert!(pushed.status.success());
    // Neither of these is a client's.
    set(redis, "oauth:token:x", "{}");
    set(redis, "oauth:user_tokens:x", "{}");
}

/// How a client says who it is: headers, and what it adds to the form.
type Proof<'a> = (&'a [(&'a str, &'a str)], &'a [(&'a str, &'a str)]);

/// Redeems a code of a client, as `proof` says who it is.
async fn redeem(client: &Client, id: &str, proof: Proof<'_>) -> Answer {
    let code = client.code(id, "alice", &mut Vec::new()).await;
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("client_id", id),
        ("code", &code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
    ];
    form.extend_from_slice(proof.1);
    client.post("/token", proof.0, &form).await
}

/// The configuration of a gateway without a server, for clients with secrets.
fn yaml() -> String {
    plain(([127, 0, 0, 1], free_port()).into(), "clients: { imported_secrets: true }")
}

/// Imports what is in a Redis into the store of `p.yaml`; the report.
fn import(redis: &Redis, place: &Place) -> Value {
    let url = redis.url();
    let arguments = ["--redis", url.as_str(), "--config", "p.yaml", "--json"];
    let (out, errors, code) = told(&mut migrate(place.folder(), &arguments));
    assert_eq!((errors.as_str(), code), ("", 0), "{out}");
    assert!(!out.contains("secret-") && !out.contains("token-of-"), "no secret is repeated: {out}");
    serde_json::from_str(&out).unwrap()
}

fn counts<const N: usize>(report: &Value, names: [&str; N]) -> [u64; N] {
    names.map(|name| report["clients"][name].as_u64().unwrap())
}

#[test]
fn what_is_wrong_in_a_record_is_told_and_stops_nothing_and_nothing_comes_twice() {
    let (redis, place) = (Redis::start(), Place::new());
    fill(&redis);
    place.write("p.yaml", &yaml());
    let report = import(&redis, &place);
    let http = "http is for loopback (127.0.0.1, [::1], localhost) only; use https";
    let fault = |id: &str, why: String| json!({ "key": format!("oauth:client:{id}"), "why": why });
    let refused = &report["clients"]["refused"];
    assert_eq!(
        *refused,
        json!([
            fault("a b", "its client_id is none: 1 to 512 visible ASCII characters".into()),
            fault("array", "it is no JSON object".into()),
            fault("broken", "it is no JSON (line 1, column 33)".into()),
            fault("c_AAAAAAAAAAAAAAAAAAAAAA", "its client_id has the form of those that register here".into()),
            fault(
                "https://a.example/client",
                "its client_id is a URL, as of a client with a metadata document, which needs no import".into()
            ),
            fault("large", "the record has more than 65536 bytes".into()),
            fault("list", "it is no text".into()),
            fault("none", "none of its redirect_uris can be used: there is none".into()),
            fault("nowhere", format!("none of its redirect_uris can be used: redirect_uris[0] was left out: {http}")),
            fault("odd-grants", "grant_types has none of authorization_code, refresh_token".into()),
            fault("odd-list", "its redirect_uris is no list of texts".into()),
            fault(
                "odd-time",
                "it has not the members of a client: client_id and redirect_uris, texts as texts and times in seconds".into()
            ),
            fault("other", "its client_id is another one than the key's".into()),
        ])
    );
    let without = report["clients"]["without"].as_array().unwrap();
    assert_eq!(without.len(), 2, "{without:?}");
    assert_eq!(without[1], fault("partly", format!("redirect_uris[2] was left out: {http}")));
    assert_eq!(counts(&report, ["found", "good", "imported", "already_there", "expired"]), [17, 3, 3, 0, 1]);
    let again = import(&redis, &place);
    assert_eq!(counts(&again, ["imported", "already_there"]), [0, 3]);
}

#[tokio::test]
async fn imported_clients_sign_in_by_their_old_ids_and_secrets() {
    let (redis, place, yaml) = (Redis::start(), Place::new(), yaml());
    fill(&redis);
    place.write("p.yaml", &yaml);
    import(&redis, &place);
    let _gateway = place.start(&yaml);
    let client = Client::plain(&place);
    let public = redeem(&client, "client_public", (&[], &[])).await;
    assert!(public.status == 200 && public.json()["refresh_token"].is_string(), "{public:?}");
    let id = "client_confidential";
    let secret = format!("secret-of-{id}");
    let posted = redeem(&client, id, (&[], &[("client_secret", &secret)])).await;
    assert_eq!(posted.status, 200, "{posted:?}");
    let basic = |secret: &str| format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    let (right, wrong) = (basic(&secret), basic("wrong"));
    assert_eq!(redeem(&client, id, (&[("authorization", &right)], &[])).await.status, 200);
    let answer = redeem(&client, id, (&[("authorization", &wrong)], &[])).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["error"]), (401, &json!("invalid_client")));
    assert_eq!(answer.json()["error_description"], "the client secret is wrong");
    let answer = redeem(&client, id, (&[], &[])).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["error"]), (401, &json!("invalid_client")));
    assert_eq!(
        answer.json()["error_description"],
        "this client must authenticate by client_secret_basic or client_secret_post"
    );
    let metadata = client.get("/.well-known/oauth-authorization-server", &[]).await.json();
    let methods = json!(["none", "client_secret_basic", "client_secret_post"]);
    assert_eq!(metadata["token_endpoint_auth_methods_supported"], methods);

    // RFC 7592 goes on by the old token.
    let bearer = format!("Bearer token-of-{id}");
    let shown = client.get(&format!("/register/{id}"), &[("authorization", &bearer)]).await;
    assert_eq!((shown.status.as_u16(), &shown.json()["client_name"]), (200, &json!("Old")), "{shown:?}");
    assert_eq!(shown.json()["token_endpoint_auth_method"], "client_secret_basic");
    let other =
        client.get(&format!("/register/{id}"), &[("authorization", "Bearer token-of-client_public")]).await;
    assert_eq!(other.status, 401);
}

#[test]
fn a_store_that_a_gateway_has_open_is_told() {
    let (redis, place, yaml) = (Redis::start(), Place::new(), yaml());
    place.write("p.yaml", &yaml);
    let _gateway = place.start(&yaml);
    let url = redis.url();
    let arguments = ["--redis", url.as_str(), "--config", "p.yaml"];
    let (errors, code) = refused(&mut migrate(place.folder(), &arguments));
    let locked = "portcullis: an embedded store belongs to one process, so stop the gateway for this: another process has the store open; \
                  stop the other portcullis\nmore: portcullis doctor --explain store-file\n";
    assert_eq!((errors.as_str(), code), (locked, 1));
}

#[test]
fn settings_and_clients_come_in_one_go() {
    let (redis, folder) = (Redis::start(), tempfile::tempdir().unwrap());
    fs::write(folder.path().join(".env"), OLD).unwrap();
    set(&redis, "oauth:client:one", &record("one", &json!({})));
    let url = redis.url();
    let arguments = ["--from-env", ".env", "--redis", &url, "--store", "file:data/portcullis.db"];
    let (out, errors, code) = told(&mut migrate(folder.path(), &arguments));
    assert_eq!((errors.as_str(), code), ("", 0));
    assert!(out.contains("\nClients: 1 found, 1 imported, 0 there already, 0 expired, 0 refused\n"), "{out}");
    let yaml = fs::read_to_string(folder.path().join("portcullis/portcullis.yaml")).unwrap();
    assert!(yaml.contains("\nclients: { imported_secrets: true }\n"), "{yaml}");
    assert!(folder.path().join("portcullis/data/portcullis.db").exists());
}
