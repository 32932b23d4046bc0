//! `--login`: the whole sign-in, and every step of it that can fail.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::json;
use url::Url;

use crate::good::form;
use crate::world::{Reply, Report, Seen, URL, World, command};

/// A doctor that signs in, as far as the page that it prints; all that it writes to stderr comes at its end.
struct Running {
    child: Child,
    page: Option<Url>,
    told: JoinHandle<String>,
}

impl Running {
    fn begin(more: &[&str]) -> Self {
        let mut command = command(URL);
        command.arg("--login").args(more).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let (say, hear) = mpsc::channel();
        let told = thread::spawn(move || {
            let mut all = String::new();
            let mut begin = 0;
            while lines.read_line(&mut all).unwrap() > 0 {
                if let Ok(page) = Url::parse(all[begin..].trim()) {
                    say.send(page).unwrap();
                }
                begin = all.len();
            }
            all
        });
        Self { child, page: hear.recv().ok(), told }
    }

    /// What it says, as a report and as all of its text.
    fn end(self) -> (Report, String) {
        let output = self.child.wait_with_output().unwrap();
        let told = self.told.join().unwrap() + &String::from_utf8_lossy(&output.stdout);
        (Report::of(&output), told)
    }
}

/// Signs in: opens the page that doctor prints at the good server, or does what `browser` does in its place.
async fn login(
    world: &World,
    more: &[&str],
    browser: impl Fn(&World, &Url) -> Option<String> + Send + 'static,
) -> Report {
    login_and_listen(world, more, browser).await.0
}

/// The same, and all that was written.
async fn login_and_listen(
    world: &World,
    more: &[&str],
    browser: impl Fn(&World, &Url) -> Option<String> + Send + 'static,
) -> (Report, String) {
    let world = world.clone();
    let more: Vec<String> = more.iter().map(|&one| one.to_owned()).collect();
    let run = move || {
        let running = Running::begin(&more.iter().map(String::as_str).collect::<Vec<_>>());
        if let Some(back) = running.page.as_ref().and_then(|page| browser(&world, page)) {
            go(&back);
        }
        running.end()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// The good server's own answer.
fn approve(world: &World, page: &Url) -> Option<String> {
    let seen = Seen {
        host: page.host_str().unwrap().to_owned(),
        method: "GET".into(),
        path: page.path().to_owned(),
        query: page.query().unwrap().to_owned(),
        headers: HashMap::new(),
        body: String::new(),
        at: String::new(),
    };
    let asked = form(&seen.query);
    assert_eq!((asked["resource"].as_str(), asked["scope"].as_str()), (URL, "mcp"));
    let reply = world.good.answer(&seen);
    reply.headers.into_iter().find(|(name, _)| name == "location").map(|(_, value)| value)
}

fn go(back: &str) {
    let back = Url::parse(back).unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", back.port().unwrap())).unwrap();
    let target = &back[url::Position::BeforePath..];
    write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
}

#[test]
fn a_sign_in_goes_all_the_way_and_leaves_nothing_behind() {
    World::of("login::a_sign_in_goes_all_the_way_and_leaves_nothing_behind", |world| async move {
        let secrets = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&secrets);
        world.twist(move |seen, reply| {
            let mut secrets = kept.lock().unwrap();
            if matches!(seen.path.as_str(), "/token" | "/register") {
                let answer: serde_json::Value = serde_json::from_str(&reply.body).unwrap_or_default();
                for name in ["access_token", "refresh_token", "registration_access_token"] {
                    secrets.extend(answer[name].as_str().map(|value| (name, value.to_owned())));
                }
            }
            if seen.path == "/token" {
                let asked = form(&seen.body);
                for name in ["code", "code_verifier"] {
                    secrets.extend(asked.get(name).map(|value| (name, value.clone())));
                }
            }
            drop(secrets);
            reply
        });
        let (report, told) = login_and_listen(&world, &[], approve).await;
        report.is_green(&[]);
        report.says("good", "redirect-dead", &["came back with a code"]);
        report.says("good", "token-401", &["2 tools"]);
        report.says("good", "exchange-failed", &["200"]).says("good", "refresh-failed", &["the new token"]);
        report.told("good", "client-unknown");
        assert_eq!((world.good.clients(), world.good.tokens()), (0, 0));
        let secrets = secrets.lock().unwrap();
        let names: Vec<_> = secrets.iter().map(|(name, _)| *name).collect();
        let pair = ["access_token", "refresh_token"];
        let expected =
            [&["registration_access_token"][..], &pair, &["code", "code_verifier"], &pair].concat();
        assert_eq!(names, expected);
        assert!(told.contains("Open this page") && told.contains("exchange-failed"), "{told}");
        for (name, secret) in secrets.iter() {
            assert!(secret.len() > 40 && !told.contains(secret.as_str()), "{name}: {told}");
        }
    });
}

// trouble: redirect-dead
#[test]
fn a_browser_that_does_not_come_back_is_waited_for_and_then_said() {
    World::of("login::a_browser_that_does_not_come_back_is_waited_for_and_then_said", |world| async move {
        let report = login(&world, &["--timeout", "1"], |_, _| None).await;
        report.is_bad(&["redirect-dead"]).says(
            "bad",
            "redirect-dead",
            &["nothing within 1 s", "did not come back", "ssh -L"],
        );
        report.is_not_tried(&["exchange-failed", "token-401", "refresh-failed"]);
        assert_eq!(world.good.clients(), 0);
        login(&world, &[], approve).await.is_green(&[]);
    });
}

// trouble: sign-in-refused
// trouble: login-hijacked
#[test]
fn answers_of_others_and_refusals_are_told_apart() {
    World::of("login::answers_of_others_and_refusals_are_told_apart", |world| async move {
        let changed = |name: &'static str, value: &'static str| {
            move |world: &World, page: &Url| {
                let mut back = Url::parse(&approve(world, page)?).unwrap();
                let pairs: Vec<(String, String)> =
                    back.query_pairs().into_owned().filter(|(key, _)| key != name).collect();
                back.query_pairs_mut().clear().extend_pairs(pairs);
                if !value.is_empty() {
                    back.query_pairs_mut().append_pair(name, value);
                }
                Some(back.into())
            }
        };
        for (name, value, words) in [
            ("state", "another", "another `state` than was sent"),
            ("iss", "https://evil.example.com", "comes from another issuer"),
            ("iss", "", "The metadata promises `iss`"),
        ] {
            let report = login(&world, &[], changed(name, value)).await;
            report.is_bad(&["login-hijacked"]).says("bad", "login-hijacked", &[words]);
        }
        let report = login(&world, &[], changed("error", "access_denied")).await;
        report.is_bad(&["sign-in-refused"]).says("bad", "sign-in-refused", &["access_denied"]);
        login(&world, &[], approve).await.is_green(&[]);
    });
}

// trouble: exchange-failed
// trouble: refresh-failed
// trouble: token-401
// trouble: scope-403
// trouble: upstream-down
#[test]
fn each_later_step_that_fails_is_the_one_that_is_named() {
    World::of("login::each_later_step_that_fails_is_the_one_that_is_named", |world| async move {
        let with_a_token = |seen: &Seen| seen.header("authorization").starts_with("Bearer access-");
        let grant = |kind: &'static str| {
            move |seen: &Seen, reply: Reply| {
                if seen.path == "/token"
                    && form(&seen.body).get("grant_type").is_some_and(|given| given == kind)
                {
                    return Reply::json(
                        400,
                        &json!({ "error": "invalid_grant", "error_description": "it is spent" }),
                    );
                }
                reply
            }
        };
        world.twist(grant("authorization_code"));
        let report = login(&world, &[], approve).await;
        report.is_bad(&["exchange-failed"]).says(
            "bad",
            "exchange-failed",
            &["400 invalid_grant: it is spent"],
        );
        world.twist(grant("refresh_token"));
        login(&world, &[], approve).await.is_bad(&["refresh-failed"]).says(
            "bad",
            "refresh-failed",
            &["invalid_grant"],
        );
        for (status, id, words) in [
            (401, "token-401", "does not believe the token that its own authorization server has just given"),
            (403, "scope-403", "lacks a scope"),
            (502, "upstream-down", "the server behind is not: 502"),
            (504, "upstream-slow", "does not answer in time"),
        ] {
            world.twist(move |seen, reply| {
                if with_a_token(seen) {
                    Reply::json(status, &json!({})).with("www-authenticate", crate::good::CHALLENGE)
                } else {
                    reply
                }
            });
            login(&world, &[], approve).await.is_bad(&[id]).says("bad", id, &[words]);
        }
        world.twist(|seen, reply| {
            if seen.path == "/revoke" {
                Reply::json(400, &json!({ "error": "invalid_request" }))
            } else {
                reply
            }
        });
        let report = login(&world, &[], approve).await;
        report.is_green(&["token-401"]).says(
            "remark",
            "token-401",
            &["400 invalid_request", "does not revoke a token for a public client"],
        );
        world.mend();
        login(&world, &[], approve).await.is_green(&[]);
        assert_eq!(world.good.clients(), 0);
    });
}

fn signal(name: &str, process: u32) {
    let sent = Command::new("kill").args(["-s", name, &process.to_string()]).status();
    assert!(sent.unwrap().success());
}

#[test]
fn ctrl_c_takes_back_what_was_made() {
    World::of("login::ctrl_c_takes_back_what_was_made", |world| async move {
        for name in ["INT", "TERM", "HUP"] {
            let registered = world.clone();
            let run = move || {
                let running = Running::begin(&[]);
                assert!(running.page.is_some() && registered.good.clients() == 1);
                signal(name, running.child.id());
                running.end().0
            };
            let report = tokio::task::spawn_blocking(run).await.unwrap();
            report.is_not_tried(&["refresh-failed"]);
            assert_eq!((report.status(), &report.json["counts"]["bad"]), (130, &0.into()), "{name}");
            assert_eq!(world.good.clients(), 0, "{name}");
        }
    });
}

#[test]
fn a_token_that_is_on_its_way_when_the_signal_comes_is_taken_back() {
    World::of("login::a_token_that_is_on_its_way_when_the_signal_comes_is_taken_back", |world| async move {
        for name in ["INT", "TERM", "HUP"] {
            let process = Arc::new(Mutex::new(0));
            let target = Arc::clone(&process);
            world.twist(move |seen, reply| {
                if seen.path == "/token" && reply.status == 200 {
                    // The token is issued, and its answer not sent yet.
                    signal(name, *target.lock().unwrap());
                    thread::sleep(Duration::from_millis(300));
                }
                reply
            });
            let browser = world.clone();
            let run = move || {
                let running = Running::begin(&[]);
                *process.lock().unwrap() = running.child.id();
                go(&approve(&browser, running.page.as_ref().unwrap()).unwrap());
                running.end().0
            };
            let report = tokio::task::spawn_blocking(run).await.unwrap();
            report.is_not_tried(&["refresh-failed"]).told("good", "exchange-failed");
            assert_eq!((report.status(), &report.json["counts"]["bad"]), (130, &0.into()), "{name}");
            assert_eq!((world.good.clients(), world.good.tokens()), (0, 0), "{name}");
        }
    });
}

#[test]
fn a_token_that_is_not_good_is_taken_back_too() {
    World::of("login::a_token_that_is_not_good_is_taken_back_too", |world| async move {
        world.twist(|seen, reply| {
            let issued = seen.path == "/token" && reply.status == 200;
            if issued { reply.but(|answer| answer["token_type"] = "mac".into()) } else { reply }
        });
        login(&world, &[], approve).await.is_bad(&["exchange-failed"]);
        assert_eq!((world.good.clients(), world.good.tokens()), (0, 0));
    });
}

#[test]
fn what_stays_behind_is_told() {
    World::of("login::what_stays_behind_is_told", |world| async move {
        world.twist(|seen, reply| {
            let drop = |reply: Reply, name: &'static str| {
                reply.but(move |document| drop(document.as_object_mut().unwrap().remove(name)))
            };
            match seen.line().as_str() {
                crate::good::METADATA => drop(reply, "revocation_endpoint"),
                "POST /register" => drop(reply, "registration_client_uri"),
                _ => reply,
            }
        });
        let report = login(&world, &[], approve).await;
        report.is_green(&["no-registration", "token-401"]);
        report.says("remark", "no-registration", &["the client client-", "stays registered"]);
        report.says("remark", "token-401", &["no revocation_endpoint", "stay good until they end"]);
    });
}

// trouble: no-registration
#[test]
fn a_sign_in_that_cannot_be_tried_is_no_good_sign_in() {
    World::of("login::a_sign_in_that_cannot_be_tried_is_no_good_sign_in", |world| async move {
        world.twist(|seen, reply| {
            if seen.line() != crate::good::METADATA {
                return reply;
            }
            reply.but(|document| {
                document.as_object_mut().unwrap().remove("registration_endpoint");
                document["client_id_metadata_document_supported"] = true.into();
            })
        });
        let report = login(&world, &[], approve).await;
        report.is_bad(&["no-registration"]).is_not_tried(&["exchange-failed", "refresh-failed", "token-401"]);
        report.says("bad", "no-registration", &["no registration_endpoint", "nothing was tried"]);
        world.mend();
        login(&world, &[], approve).await.is_green(&[]);
    });
}
