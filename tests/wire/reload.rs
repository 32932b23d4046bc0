//! The configuration is read again: at SIGHUP, and when one of its files was replaced.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::admin::run;
use crate::certs::ordering;
use crate::client::{CALL, Client, SignedIn, call, http1_on, piece, tls, whole};
use crate::process::{Place, Process, plain, secure};
use crate::recorder::{RESULT, Recorder};
use crate::support::rig::request;

const IN_USE: &str = "the configuration was read again and is in use: ";
const AS_BEFORE: &str = "the configuration of before stays in use";

/// Replaces the configuration and sends SIGHUP; waits until the log says `told`.
async fn reload(place: &Place, process: &Process, yaml: &str, told: &str) {
    place.write("serve.yaml", yaml);
    process.signal("HUP");
    process.says(told).await;
}

async fn refresh(client: &Client, signed_in: &SignedIn) -> (u16, serde_json::Value) {
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", &signed_in.client),
        ("refresh_token", &signed_in.refresh),
    ];
    let answer = client.post("/token", &[], &form).await;
    (answer.status.as_u16(), answer.json())
}

async fn status(client: &Client, target: &str, signed_in: &SignedIn) -> u16 {
    client.send(call("POST", target, signed_in)).await.status.as_u16()
}

/// The lines that say something, without time.
fn said(process: &Process, words: &str) -> Vec<String> {
    let log = process.log();
    let lines = log.lines().filter_map(|line| line.split_once("portcullis::cli::reload: "));
    let lines = lines.filter(|(_, line)| line.contains(words));
    lines.map(|(head, line)| format!("{} {line}", head.split_whitespace().last().unwrap())).collect()
}

#[tokio::test]
async fn a_service_comes_with_its_host_and_its_certificate_and_another_goes() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let yaml = secure(upstream.address);
    let process = place.start(&yaml);
    let other = format!("other.example:{}", place.port);
    let new = format!("new.example:{}", place.port);
    let mut open = http1_on(tls(&place, "other.example", &[b"http/1.1"]).await.unwrap()).await;
    let mut ask_open = async || {
        let asked = request("POST", "/mcp", &[("host", other.as_str())], CALL.to_owned()).map(Into::into);
        whole(open.send_request(asked).await.unwrap()).await.status.as_u16()
    };
    assert_eq!(ask_open().await, 401);
    assert!(tls(&place, "new.example", &[]).await.is_err());
    let told = format!("{IN_USE}services added: new; services removed: other");
    reload(&place, &process, &yaml.replace("other", "new"), &told).await;
    let mut http1 = http1_on(tls(&place, "new.example", &[b"http/1.1"]).await.unwrap()).await;
    let asked = request("POST", "/mcp", &[("host", new.as_str())], CALL.to_owned()).map(Into::into);
    let answer = whole(http1.send_request(asked).await.unwrap()).await;
    assert_eq!(answer.status, 401);
    assert!(answer.header("www-authenticate").contains(&format!("https://{new}/.well-known/")), "{answer:?}");
    assert!(tls(&place, "other.example", &[]).await.is_err(), "it is shown no certificate any more");
    assert_eq!(ask_open().await, 421, "on a connection that was made before");
}

#[tokio::test]
async fn a_service_that_is_gone_answers_nobody_and_one_that_comes_back_knows_its_tokens() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let yaml = plain(upstream.address, "");
    let process = place.start(&yaml);
    let client = Client::plain(&place);
    let signed_in = client.sign_in("alice").await;
    let gone = yaml.replace("echo:", "time:").replace("/mcp\", upstream", "/time\", upstream");
    let told = format!("{IN_USE}services added: time; services removed: echo");
    reload(&place, &process, &gone, &told).await;
    assert_eq!(status(&client, "/mcp", &signed_in).await, 404);
    assert_eq!(status(&client, "/time", &signed_in).await, 401, "the token is for another service");
    assert_eq!(refresh(&client, &signed_in).await.1["error"], "invalid_target");
    let told = format!("{IN_USE}services added: echo; services removed: time");
    reload(&place, &process, &yaml, &told).await;
    assert_eq!(status(&client, "/mcp", &signed_in).await, 200);
    assert_eq!(refresh(&client, &signed_in).await.0, 200);
}

// T12
#[tokio::test]
async fn who_is_let_in_no_more_loses_the_grant_at_the_next_refresh_and_the_others_do_not() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let yaml = plain(upstream.address, "").replace("[\"*\"]", "[alice, bob]");
    let process = place.start(&yaml);
    let client = Client::plain(&place);
    let (alice, bob) = (client.sign_in("alice").await, client.sign_in("bob").await);
    let told = format!("{IN_USE}services changed: echo (access)");
    reload(&place, &process, &yaml.replace("[alice, bob]", "[bob]"), &told).await;
    for signed_in in [&alice, &bob] {
        let refused = client.send(call("POST", "/mcp", signed_in)).await;
        assert_eq!(refused.status, 401);
        let challenge = refused.header("www-authenticate");
        assert!(challenge.contains("error_description=\"the access rules have changed\""), "{challenge}");
    }
    let (status, lost) = refresh(&client, &alice).await;
    assert_eq!((status, &lost["error"]), (400, &"invalid_grant".into()));
    assert_eq!(
        lost["error_description"],
        "the access rules no longer let this user in; the grant is revoked"
    );
    let (status, tokens) = refresh(&client, &bob).await;
    assert_eq!(status, 200);
    let bob = SignedIn { access: tokens["access_token"].as_str().unwrap().to_owned(), ..bob };
    assert_eq!(client.send(call("POST", "/mcp", &bob)).await.body, RESULT);
}

#[tokio::test]
async fn limits_lives_and_the_log_s_filter_change() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let yaml = plain(upstream.address, "log: { filter: warn }");
    let process = place.start(&plain(upstream.address, ""));
    let client = Client::plain(&place);
    place.write("serve.yaml", &yaml);
    process.signal("HUP");
    // The first line that is not written any more is the reload's own, so that it is waited for by asking.
    let started = Instant::now();
    let mut number = 0;
    loop {
        number += 1;
        client.get(&format!("/asked-{number}"), &[]).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
        if !process.log().contains(&format!("/asked-{number}")) {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(5), "{}", process.log());
    }
    let more = "limits: { token: 1/h }\ntokens: { access: 5m }";
    let told = format!("{IN_USE}changed: tokens, limits, log.filter");
    reload(&place, &process, &plain(upstream.address, more), &told).await;
    let signed_in = client.sign_in("alice").await;
    let claims = signed_in.access.split('.').nth(1).unwrap();
    let claims = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 300);
    assert_eq!(refresh(&client, &signed_in).await.0, 429, "redeeming the code was the one");
    assert!(process.log().contains("path=\"/register\""), "{}", process.log());
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_says_all_that_is_wrong_with_it() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let yaml = plain(upstream.address, "");
    let process = place.start(&yaml);
    let client = Client::plain(&place);
    let signed_in = client.sign_in("alice").await;
    let bad =
        plain(upstream.address, "drain: soon\nlimits: { token: often }").replace("/mcp\", up", "/x\", up");
    reload(&place, &process, &bad, AS_BEFORE).await;
    let file = place.folder().join("serve.yaml");
    let (_, checked) = place.run("check", &bad);
    let checked = checked.replace("run.yaml", "serve.yaml");
    assert_eq!(checked.lines().count(), 2, "{checked}");
    assert!(checked.starts_with(&format!("{}:9:8: ", file.display())), "{checked}");
    let mut wanted: Vec<_> = checked.lines().map(|line| format!("ERROR {line}")).collect();
    wanted.push(format!("ERROR {AS_BEFORE}"));
    assert_eq!(said(&process, ""), wanted);
    assert_eq!(status(&client, "/mcp", &signed_in).await, 200);
    assert_eq!(status(&client, "/x", &signed_in).await, 404);
    place.write("serve.yaml", "services: [");
    process.signal("HUP");
    process.says("serve.yaml:1:11: ").await;
    std::fs::remove_file(&file).unwrap();
    process.signal("HUP");
    process.says("serve.yaml: no such file").await;
    assert_eq!(status(&client, "/mcp", &signed_in).await, 200);
    reload(&place, &process, &yaml, "the configuration was read again: nothing else is in use than before")
        .await;
    assert_eq!(status(&client, "/mcp", &signed_in).await, 200);
}

/// A certificate for `names` and its key, as `<file>.pem` and `<file>.key`.
fn certificate(place: &Place, file: &str, names: &[&str]) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    std::fs::write(place.folder().join(format!("{file}.key")), key.serialize_pem()).unwrap();
    std::fs::write(place.folder().join(format!("{file}.pem")), certificate.pem()).unwrap();
    certificate.pem()
}

/// A gateway with a certificate in `a.pem` for localhost alone, which refuses a configuration that has `other`, too; that
/// configuration.
async fn refused_for_a_certificate(place: &Place, upstream: &Recorder) -> (Process, String) {
    certificate(place, "a", &["localhost"]);
    let both = secure(upstream.address)
        .replace("{ local_ca: \"{folder}/ca\" }", "{ files: [{ certificate: \"a.pem\", key: \"a.key\" }] }");
    let process = place.start(both.split("  other:").next().unwrap());
    reload(place, &process, &both, AS_BEFORE).await;
    let wanted =
        ["ERROR TLS certificates: no certificate is for other.example", &format!("ERROR {AS_BEFORE}")];
    assert_eq!(said(&process, ""), wanted);
    (process, both)
}

/// Whether a client that trusts this certificate is shown it for `other`.
async fn is_shown(place: &Place, certificate: String) -> bool {
    std::fs::create_dir_all(place.folder().join("ca")).unwrap();
    std::fs::write(place.folder().join("ca/ca.pem"), certificate).unwrap();
    tls(place, "other.example", &[]).await.is_ok()
}

#[tokio::test]
async fn a_host_without_a_certificate_is_refused_and_comes_with_another_file() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let (process, both) = refused_for_a_certificate(&place, &upstream).await;
    let other = certificate(&place, "b", &["other.example"]);
    assert!(!is_shown(&place, other.clone()).await);
    let files =
        both.replace("key: \"a.key\" }", "key: \"a.key\" }, { certificate: \"b.pem\", key: \"b.key\" }");
    reload(&place, &process, &files, &format!("{IN_USE}services added: other; changed: tls.files")).await;
    assert!(is_shown(&place, other).await);
}

#[tokio::test]
async fn a_host_without_a_certificate_comes_as_soon_as_its_certificate_does() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let (process, _) = refused_for_a_certificate(&place, &upstream).await;
    let both = certificate(&place, "a", &["localhost", "other.example"]);
    process.says(&format!("{IN_USE}services added: other")).await;
    assert!(is_shown(&place, both).await);
}

#[tokio::test]
async fn the_certificate_of_a_new_host_is_ordered_without_a_restart() {
    let place = Place::new();
    let yaml = ordering();
    let process = place.start(&yaml);
    let tried = |host: &str| {
        let about = format!("host=\"{host}\"");
        process
            .log()
            .lines()
            .filter(|line| line.contains(&about) && line.contains("no certificate: "))
            .count()
    };
    process.says("no certificate: the certificate authority cannot be reached").await;
    let more = "  new: { url: \"https://new.example:{port}/mcp\", upstream: \"http://127.0.0.1:9/mcp\" }\n";
    let told = format!("{IN_USE}services added: new");
    reload(&place, &process, &format!("{yaml}{more}"), &told).await;
    let started = Instant::now();
    while tried("new.example") == 0 {
        assert!(started.elapsed() < Duration::from_secs(10), "{}", process.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let socket = place.folder().join("admin.sock");
    let listed = run(&["cert", "list", "--socket", socket.to_str().unwrap()]).await.good().out;
    let hosts: Vec<_> = listed.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(hosts, ["auth.example", "new.example", "other.example"]);
}

#[tokio::test]
async fn what_was_built_on_waits_for_a_restart_and_the_rest_does_not() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let yaml = plain(upstream.address, "");
    let process = place.start(&yaml);
    let client = Client::plain(&place);
    let new = plain(upstream.address, "drain: 1s\nlimits: { register: 1/h }")
        .replace("listen: { http: \"127.0.0.1:{port}\" }", "listen: { http: \"127.0.0.1:{second}\" }")
        .replace("workers: 1", "workers: 2");
    reload(&place, &process, &new, "needs a restart: listen, drain, workers").await;
    assert_eq!(said(&process, IN_USE), [format!("INFO {IN_USE}changed: limits")]);
    assert!(TcpStream::connect(("127.0.0.1", place.second)).await.is_err());
    let json = [("content-type", "application/json")];
    let register = async || {
        let body = "{\"redirect_uris\":[\"http://localhost/x\"]}".to_owned();
        client.send(request("POST", "/register", &json, body)).await.status.as_u16()
    };
    assert_eq!((register().await, register().await), (201, 429));
}

#[tokio::test]
async fn another_issuer_is_refused_whole() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let yaml = plain(upstream.address, "");
    let process = place.start(&yaml);
    let new = plain(upstream.address, "limits: { register: 1/h }")
        .replace("http://localhost:{port}\n", "http://127.0.0.1:{port}\n");
    reload(&place, &process, &new, AS_BEFORE).await;
    let port = place.port;
    assert_eq!(
        said(&process, ""),
        [
            format!(
                "ERROR `issuer` was http://localhost:{port} and is http://127.0.0.1:{port} now, and a process knows tokens of one \
                 issuer only; nothing of this configuration is put to work before a restart"
            ),
            format!("ERROR {AS_BEFORE}"),
        ]
    );
    let document = Client::plain(&place).get("/.well-known/oauth-authorization-server", &[]).await.json();
    assert_eq!(document["issuer"], format!("http://localhost:{port}"));
}

#[tokio::test]
async fn an_event_stream_lives_through_three_reloads() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let yaml = plain(upstream.address, "");
    let process = place.start(&yaml);
    let client = Client::plain(&place);
    let signed_in = client.sign_in("alice").await;
    let mut stream = client.open(call("GET", "/mcp/stream", &signed_in)).await;
    assert_eq!(piece(&mut stream).await.unwrap().unwrap(), "data: open\n\n");
    for (number, (more, told)) in [
        ("origins: https://a.example", "changed: origins"),
        ("origins: https://a.example\nsession: 1h", "changed: session"),
        ("limits: { token: 99/m }", "changed: origins, session, limits"),
    ]
    .into_iter()
    .enumerate()
    {
        let told = format!("{IN_USE}{told}");
        reload(&place, &process, &plain(upstream.address, more), &told).await;
        upstream.tell(&format!("{number}"));
        assert_eq!(piece(&mut stream).await.unwrap().unwrap(), format!("data: {number}\n\n"));
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn files_that_are_replaced_are_seen_without_a_signal() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let more = "clients: { registered: { ci: { grant_types: [client_credentials], secret_file: ci.secret, services: { echo: [mcp] } } } }";
    let (old, new) = ("o".repeat(32), "n".repeat(32));
    place.write("ci.secret", &old);
    let process = place.start(&plain(upstream.address, more));
    let client = Client::plain(&place);
    let token = async |secret: &str| {
        let form = [("grant_type", "client_credentials"), ("client_id", "ci"), ("client_secret", secret)];
        client.post("/token", &[], &form).await.status.as_u16()
    };
    assert_eq!((token(&old).await, token(&new).await), (200, 401));
    place.write("ci.secret", &new);
    std::fs::create_dir(place.folder().join("services.d")).unwrap();
    let time =
        format!("{{ url: \"http://localhost:{{port}}/time\", upstream: \"http://{}\" }}", upstream.address);
    place.write("services.d/time.yaml", &time);
    process.says(&format!("{IN_USE}services added: time; clients changed: ci")).await;
    assert_eq!((token(&old).await, token(&new).await), (401, 200));
    assert_eq!(client.get("/time", &[]).await.status, 401);
    assert!(!process.log().contains(&new), "{}", process.log());
}

#[tokio::test]
async fn a_signal_ends_no_gateway_that_starts_or_stops() {
    let place = Place::new();
    let mute = TcpListener::bind(("127.0.0.1", place.second)).unwrap();
    let recorder = Recorder::start().await;
    let yaml = plain(recorder.address, "drain: 20s");
    let waiting = yaml.replace("file:{folder}/portcullis.db", "redis://127.0.0.1:{second}/0");
    let mut process = Process::begin(&place.write("serve.yaml", &waiting));
    let _connection = tokio::task::spawn_blocking(move || mute.accept().unwrap()).await.unwrap();
    process.signal("HUP");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(process.is_running(), "{}", process.log());
    drop(process);

    let mut process = place.start(&yaml);
    let client = Client::plain(&place);
    let signed_in = client.sign_in("alice").await;
    let open = tokio::spawn({
        let (client, request) = (client.clone(), call("POST", "/mcp/slow", &signed_in));
        async move { client.send(request).await }
    });
    recorder.asked(1).await;
    process.signal("TERM");
    process.says("stopping: no new connections").await;
    process.signal("HUP");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(process.is_running(), "{}", process.log());
    recorder.release();
    assert_eq!(open.await.unwrap().body, RESULT);
    assert_eq!(process.ended().await.0, 0);
}

#[tokio::test]
async fn signals_in_a_row_end_with_the_newest_file_in_use() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let process = place.start(&plain(upstream.address, ""));
    for number in 1..=20 {
        // In one step: a file that is half written may be read.
        let new =
            place.write("new.yaml", &plain(upstream.address, &format!("limits: {{ token: {number}/h }}")));
        std::fs::rename(new, place.folder().join("serve.yaml")).unwrap();
        process.signal("HUP");
    }
    let client = Client::plain(&place);
    let started = Instant::now();
    let form = [("grant_type", "refresh_token"), ("client_id", "x"), ("refresh_token", "x")];
    loop {
        let reads = said(&process, IN_USE).len();
        tokio::time::sleep(Duration::from_millis(100)).await;
        if reads > 0 && said(&process, IN_USE).len() == reads {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(5), "{}", process.log());
    }
    let mut answers = Vec::new();
    for _ in 0..21 {
        answers.push(client.post("/token", &[], &form).await.status.as_u16());
    }
    assert_eq!(answers.iter().filter(|status| **status == 429).count(), 1, "{answers:?}");
    assert!(said(&process, "ERROR").is_empty(), "{}", process.log());
}
