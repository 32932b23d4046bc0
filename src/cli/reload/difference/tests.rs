use std::time::Duration;

use super::*;

const YAML: &str = "issuer: https://auth.example.com
secret_key: 5a5b5a5b5a5b5a5b5a5b5a5b5a5b5a5b5a5b5a5b5a5b5a5b5a5b5a5b5a5b5a5b
store: file:/var/lib/portcullis/portcullis.db
listen: { https: \":443\", http: \":80\", internal: \"localhost:9400\" }
tls: { files: [{ certificate: a.pem, key: a.key }] }
identity: { github: { client_id: Ov1, client_secret: planted-secret-1 } }
access: { users: [octocat] }
workers: 2
trusted_proxies: [10.0.0.0/8]
clients:
  registered:
    ci: { grant_types: [client_credentials], secret: planted-secret-planted-secret-22, services: { todo: [mcp] } }
services:
  fetch: { url: https://fetch.example.com/mcp, upstream: http://fetch:3000/mcp }
  todo: { url: https://todo.example.com/mcp, upstream: http://todo:3000/mcp }
";

fn config(yaml: &str) -> Config {
    Config::from_text(yaml).unwrap_or_else(|problems| panic!("{problems}\n{yaml}"))
}

/// What comes of the configuration in which `old` was replaced by `new`.
fn changed(old: &str, new: &str) -> Result<Difference, Refused> {
    assert!(YAML.contains(old), "{old}");
    between(&config(YAML), config(&YAML.replace(old, new)))
}

/// What is said of it.
fn told(old: &str, new: &str) -> (String, Vec<&'static str>) {
    let difference = changed(old, new).unwrap();
    (difference.changes.to_string(), difference.waiting)
}

/// A line that can stand anywhere at the top.
fn with(line: &str) -> (String, Vec<&'static str>) {
    told("workers: 2\n", &format!("workers: 2\n{line}\n"))
}

#[test]
fn the_same_configuration_changes_nothing() {
    let difference = between(&config(YAML), config(YAML)).unwrap();
    assert!(difference.changes.is_none() && difference.waiting.is_empty());
    assert_eq!(difference.changes.to_string(), "");
}

#[test]
fn services_are_told_by_name_and_what_changed_by_key() {
    let todo = "  todo: { url: https://todo.example.com/mcp, upstream: http://todo:3000/mcp }\n";
    let time = "  time: { url: https://time.example.com/mcp, upstream: http://time:3000/mcp }\n";
    let (changes, waiting) = told(todo, &format!("{todo}{time}"));
    assert_eq!((changes.as_str(), waiting.len()), ("services added: time", 0));
    let fetch = "  fetch: { url: https://fetch.example.com/mcp, upstream: http://fetch:3000/mcp }\n";
    assert_eq!(told(fetch, time).0, "services added: time; services removed: fetch");
    let elsewhere = todo.replace("http://todo:", "http://other:");
    assert_eq!(told(todo, &elsewhere).0, "services changed: todo (upstream)");
    for (more, keys) in [
        ("paths: [/sse]", "paths"),
        ("scopes: [mcp, x]", "scopes"),
        ("implies: { a: [mcp] }", "implies"),
        ("describe: { mcp: All }", "describe"),
        ("access: { users: [hubot] }", "access"),
        ("forward_email: true, user_id: numeric", "forward_email, user_id"),
        ("origins: [https://app.example.com]", "origins"),
        ("health: { probe: tcp }", "health"),
        ("connect_timeout: 1s", "connect_timeout"),
        ("first_byte_timeout: off, max_body_bytes: 1", "first_byte_timeout, max_body_bytes"),
        ("sse_keep_alive: 15s", "sse_keep_alive"),
        ("forward_auth: true", "forward_auth"),
        ("max_requests: 1, max_requests_per_user: 2", "max_requests, max_requests_per_user"),
        ("max_streams: 1, max_streams_per_user: 2", "max_streams, max_streams_per_user"),
    ] {
        let (changes, waiting) =
            told("http://fetch:3000/mcp }", &format!("http://fetch:3000/mcp, {more} }}"));
        assert_eq!((changes, waiting.len()), (format!("services changed: fetch ({keys})"), 0));
    }
    assert_eq!(
        told("http://fetch:3000/mcp }", "http://fetch:3000/mcp, public: true }").0,
        "services changed: fetch (public, access)"
    );
    let (changes, _) = told("https://todo.example.com/mcp", "https://todo.example.com/other");
    assert_eq!(changes, "services changed: todo (url); clients changed: ci");
}

#[test]
fn everything_that_requests_look_up_is_put_to_work() {
    for (line, key) in [
        ("access_recheck: 5m", "access_recheck"),
        ("access_grace: 1h", "access_grace"),
        ("origins: https://app.example.com", "origins"),
        ("admins: octocat", "admins"),
        ("redirect_schemes: my-client", "redirect_schemes"),
        ("tokens: { access: 5m }", "tokens"),
        ("session: 1h", "session"),
        ("revocation_staleness: 1m", "revocation_staleness"),
        ("limits: { token: 1/m }", "limits"),
        ("limits: { connections: 9, head: 9s, body_pause: 9s }", "limits"),
        ("keys: { rotate: never }", "keys.rotate"),
        ("log: { filter: debug }", "log.filter"),
    ] {
        assert_eq!(with(line), (format!("changed: {key}"), vec![]));
    }
    assert_eq!(told("clients:\n", "clients:\n  documents: off\n").0, "changed: clients.documents");
    assert_eq!(told("users: [octocat]", "orgs: [acme]").0, "services changed: fetch (access), todo (access)");
    let difference = changed("workers: 2\n", "workers: 2\ntokens: { access: 5m }\n").unwrap();
    assert_eq!(difference.then.gateway.lives.access, Duration::from_mins(5));
    assert_eq!(difference.then.key_schedule().lives.access, Duration::from_mins(5));
}

#[test]
fn clients_and_credentials_change_without_being_shown() {
    for (old, new, told_so) in [
        ("planted-secret-planted-secret-22", "planted-secret-planted-secret-33", "clients changed: ci"),
        ("planted-secret-1", "planted-secret-2", "changed: identity"),
        ("client_id: Ov1", "client_id: Ov2", "changed: identity"),
        ("    ci:", "    cd:", "clients added: cd; clients removed: ci"),
    ] {
        let (changes, waiting) = told(old, new);
        assert_eq!((changes.as_str(), waiting.len()), (told_so, 0));
    }
}

#[test]
fn what_the_process_was_built_on_waits_for_a_restart() {
    let secret_key = &YAML[YAML.find("5a5b").unwrap()..][..64];
    let other_key = secret_key.replace("5a5b", "5a5c");
    for (old, new, keys) in [
        (secret_key, other_key.as_str(), &["secret_key"][..]),
        ("portcullis.db\n", "other.db\n", &["store"]),
        ("/var/lib/portcullis/portcullis.db", "/srv/portcullis.db", &["store", "admin_socket"]),
        ("\":443\"", "\":8443\"", &["listen"]),
        ("http: \":80\"", "http: []", &["listen"]),
        ("localhost:9400", "127.0.0.1:9400", &["listen.internal"]),
        ("{ files: [{ certificate: a.pem, key: a.key }] }", "{ local_ca: ca }", &["tls"]),
        ("workers: 2", "workers: 3", &["workers"]),
        ("workers: 2\n", "workers: 2\ndrain: 1s\n", &["drain"]),
        ("workers: 2\n", "workers: 2\nadmin_socket: off\n", &["admin_socket"]),
        ("workers: 2\n", "workers: 2\nlog: { format: json }\n", &["log.format"]),
        (
            "workers: 2\n",
            &format!("workers: 2\nsecret_key_previous: {other_key}\n"),
            &["secret_key_previous"],
        ),
    ] {
        let difference = changed(old, new).unwrap();
        assert_eq!(difference.waiting, keys);
        assert!(difference.changes.is_none(), "{keys:?}: {}", difference.changes);
        let again = between(&difference.then, config(YAML)).unwrap();
        assert!(again.waiting.is_empty() && again.changes.is_none(), "{keys:?}: nothing of it is in use");
    }
}

#[test]
fn the_rest_is_put_to_work_beside_what_waits() {
    let new = YAML.replace("workers: 2", "workers: 3\nlimits: { token: 1/m }").replace(":443", ":8443");
    let difference = between(&config(YAML), config(&new)).unwrap();
    assert_eq!(difference.changes.to_string(), "changed: limits");
    assert_eq!(difference.waiting, ["listen", "workers"]);
    assert_eq!(difference.then.serve, config(YAML).serve);
    // It is told as long as it waits.
    let again = between(&difference.then, config(&new)).unwrap();
    assert!(again.changes.is_none() && again.waiting == ["listen", "workers"]);
}

#[test]
fn proxies_are_followed_where_they_do_not_decide_who_may_connect() {
    assert_eq!(told("10.0.0.0/8", "192.0.2.0/24"), ("changed: trusted_proxies".into(), vec![]));
    let plain = |proxies: &str| {
        let yaml = YAML.replace("10.0.0.0/8", proxies).replace(
            "listen: { https: \":443\", http: \":80\", internal: \"localhost:9400\" }\ntls: { files: [{ certificate: a.pem, key: a.key }] }",
            "listen: { http: \":8080\" }\ntls: off",
        );
        config(&yaml)
    };
    let difference = between(&plain("10.0.0.0/8"), plain("192.0.2.0/24")).unwrap();
    assert!(difference.changes.is_none() && difference.waiting == ["trusted_proxies"]);
    assert_eq!(difference.then.gateway.trusted_proxies, plain("10.0.0.0/8").gateway.trusted_proxies);
}

#[test]
fn certificates_from_other_files_are_gone_over_to() {
    assert_eq!(told("a.pem", "b.pem"), ("changed: tls.files".into(), vec![]));
    assert_eq!(changed("a.pem", "b.pem").unwrap().then.tls, config(&YAML.replace("a.pem", "b.pem")).tls);
}

#[test]
fn another_issuer_refuses_everything() {
    let new = YAML.replace("https://auth.", "https://login.").replace("workers: 2", "limits: { token: 1/m }");
    let refused = between(&config(YAML), config(&new)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "`issuer` was https://auth.example.com and is https://login.example.com now, and a process knows tokens of one issuer \
         only; nothing of this configuration is put to work before a restart"
    );
}

#[test]
fn other_people_s_rules_refuse_everything() {
    let enterprise = "client_secret: planted-secret-1, web_url: https://git.example.com";
    assert_eq!(changed("client_secret: planted-secret-1", enterprise).unwrap_err(), Refused::Provider);
    let local = "issuer: http://localhost:8080
secret_key: 5a5b5a5b5a5b5a5b5a5b5a5b5a5b5a5b5a5b5a5b5a5b5a5b5a5b5a5b5a5b5a5b
store: file:/var/lib/portcullis/portcullis.db
tls: off
identity: { dev: {} }
access: { users: [\"*\"] }
services: { echo: { url: \"http://localhost:8080/mcp\", upstream: \"http://127.0.0.1:1/mcp\" } }
";
    let github = local.replace("dev: {}", "github: { client_id: Ov1, client_secret: x }");
    for (before, after) in [(local, github.as_str()), (&github, local)] {
        assert_eq!(between(&config(before), config(after)).unwrap_err(), Refused::Provider);
    }
}
