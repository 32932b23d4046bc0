//! `--login`: the whole sign-in, and every step of it that can fail.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use serde_json::json;
use url::Url;

use crate::good::form;
use crate::world::{Reply, Report, Seen, URL, World, command};

/// Signs in: opens the page that doctor prints at the good server, or does what `browser` does in its place.
async fn login(
    world: &World,
    more: &[&str],
    browser: impl Fn(&World, &Url) -> Option<String> + Send + 'static,
) -> Report {
    let mut command = command(URL);
    command.arg("--login").args(more).stdout(Stdio::piped()).stderr(Stdio::piped());
    let world = world.clone();
    let run = move || {
        let mut child = command.spawn().unwrap();
        let told = BufReader::new(child.stderr.take().unwrap());
        let page = told.lines().map(Result::unwrap).find_map(|line| Url::parse(line.trim()).ok());
        if let Some(back) = page.and_then(|page| browser(&world, &page)) {
            go(&back);
        }
        Report::of(&child.wait_with_output().unwrap())
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
            if seen.path == "/token" && reply.status == 200 {
                kept.lock().unwrap().push(reply.body.clone());
            }
            reply
        });
        let report = login(&world, &[], approve).await;
        report.is_green(&[]);
        report.says("good", "redirect-dead", &["came back with a code"]);
        report.says("good", "token-401", &["2 tools"]);
        report.says("good", "exchange-failed", &["200"]).says("good", "refresh-failed", &["the new token"]);
        assert_eq!((world.good.clients(), world.good.tokens()), (0, 0));
        let told = report.json.to_string();
        let secrets = secrets.lock().unwrap();
        assert_eq!(secrets.len(), 2);
        for answer in secrets.iter() {
            let answer: serde_json::Value = serde_json::from_str(answer).unwrap();
            for name in ["access_token", "refresh_token"] {
                let token = answer[name].as_str().unwrap();
                assert!(
                    !told.contains(&format!("\"{token}\"")) && !told.contains(&format!("{token} ")),
                    "{told}"
                );
            }
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

#[test]
fn ctrl_c_takes_back_what_was_made() {
    World::of("login::ctrl_c_takes_back_what_was_made", |world| async move {
        let mut command = command(URL);
        command.arg("--login").stdout(Stdio::piped()).stderr(Stdio::piped());
        let registered = world.clone();
        let run = move || {
            let mut child = command.spawn().unwrap();
            let told = BufReader::new(child.stderr.take().unwrap());
            assert!(told.lines().map(Result::unwrap).any(|line| Url::parse(line.trim()).is_ok()));
            assert_eq!(registered.good.clients(), 1);
            let id = child.id().to_string();
            assert!(std::process::Command::new("kill").args(["-s", "INT", &id]).status().unwrap().success());
            Report::of(&child.wait_with_output().unwrap())
        };
        let report = tokio::task::spawn_blocking(run).await.unwrap();
        report.is_not_tried(&["refresh-failed"]);
        assert_eq!((report.status(), &report.json["counts"]["bad"]), (130, &0.into()));
        assert_eq!(world.good.clients(), 0);
    });
}
