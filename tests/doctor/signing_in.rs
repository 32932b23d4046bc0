//! Registration as clients do it, and sign-ins that could end elsewhere.

use serde_json::json;

use crate::good::form;
use crate::world::{Reply, World};

// trouble: client-unknown
#[test]
fn an_unknown_client_must_be_told_so_or_it_never_registers_anew() {
    World::of(
        "signing_in::an_unknown_client_must_be_told_so_or_it_never_registers_anew",
        |world| async move {
            world.twist(|seen, reply| {
                if seen.line() == "POST /token" {
                    return Reply::json(400, &json!({ "error": "invalid_grant" }));
                }
                reply
            });
            let report = world.doctor(&["--register"]).await;
            report.is_green(&["client-unknown"]);
            report.says(
                "remark",
                "client-unknown",
                &[
                    "400 invalid_grant",
                    "goes on with an id that nobody knows",
                    "401 with `{\"error\": \"invalid_client\"}`",
                ],
            );
            world.mend();
            world.doctor(&["--register"]).await.is_green(&[]).says(
                "good",
                "client-unknown",
                &["401 invalid_client"],
            );
            for status in [429, 500, 503] {
                world.twist(move |seen, reply| {
                    if seen.line() == "POST /token" { Reply::json(status, &json!({})) } else { reply }
                });
                let report = world.doctor(&["--register"]).await;
                report.is_green(&[]).is_not_tried(&["client-unknown"]);
            }
        },
    );
}

// trouble: rate-limited
#[test]
fn too_many_requests_are_not_taken_for_something_else() {
    World::of("signing_in::too_many_requests_are_not_taken_for_something_else", |world| async move {
        let limited = || Reply::json(429, &json!({ "error": "slow_down" })).with("retry-after", "7");
        world.twist(move |seen, reply| if seen.path == "/mcp" { limited() } else { reply });
        let report = world.doctor(&[]).await;
        report.is_bad(&["rate-limited"]).is_not_tried(&["wrong-url", "prm-404"]);
        report.says("bad", "rate-limited", &["429", "Wait 7 seconds"]);
        world.twist(move |seen, reply| if seen.line() == "POST /register" { limited() } else { reply });
        let report = world.doctor(&["--register"]).await;
        report.is_green(&["rate-limited"]).is_not_tried(&["redirect-invalid"]);
        world.mend();
        world.doctor(&["--register"]).await.is_green(&[]);
    });
}

// trouble: redirect-invalid
#[test]
fn a_client_whose_redirect_uris_are_not_taken_is_named() {
    World::of("signing_in::a_client_whose_redirect_uris_are_not_taken_is_named", |world| async move {
        world.twist(|seen, reply| {
            if seen.line() == "POST /register" && seen.body.contains("cursor://") {
                return Reply::json(
                    400,
                    &json!({ "error": "invalid_redirect_uri", "error_description": "https only" }),
                );
            }
            reply
        });
        let report = world.doctor(&["--register"]).await;
        report.is_bad(&["redirect-invalid"]);
        report.says(
            "bad",
            "redirect-invalid",
            &[
                "Cursor: 400 invalid_redirect_uri: https only",
                "redirect URIs of Cursor",
                "`redirect_schemes`",
            ],
        );
        world.mend();
        world.doctor(&["--register"]).await.is_green(&[]);
    });
}

// trouble: login-hijacked
#[test]
fn an_authorization_server_that_redirects_for_strangers_is_found() {
    World::of(
        "signing_in::an_authorization_server_that_redirects_for_strangers_is_found",
        |world| async move {
            world.twist(|seen, reply| {
                if seen.path != "/authorize" {
                    return reply;
                }
                let to = form(&seen.query)["redirect_uri"].clone() + "?error=unauthorized_client";
                Reply::status(302).with("location", &to)
            });
            let report = world.doctor(&[]).await;
            report.is_bad(&["login-hijacked"]);
            report.says(
                "bad",
                "login-hijacked",
                &[
                    "302 to https://portcullis-doctor.invalid/callback",
                    "an open redirector",
                    "Show an error page",
                ],
            );
            world.mend();
            world.doctor(&[]).await.is_green(&[]);
        },
    );
}

// trouble: login-hijacked
#[test]
fn only_an_error_is_a_good_answer_to_a_client_that_nobody_knows() {
    World::of(
        "signing_in::only_an_error_is_a_good_answer_to_a_client_that_nobody_knows",
        |world| async move {
            let answers = |reply: Reply| {
                world.twist(move |seen, good| if seen.path == "/authorize" { reply.clone() } else { good });
            };
            let to = |place: &str| Reply::status(302).with("location", place);
            for refusal in [
                Reply::json(400, &json!({ "error": "invalid_client" })),
                Reply::status(403),
                Reply::html(200, "<h1>Error</h1>"),
                to("https://auth.example.com/error?code=1"),
            ] {
                answers(refusal);
                world.doctor(&[]).await.is_green(&[]).told("good", "login-hijacked");
            }
            for sign_in in [
                to("https://auth.example.com/sign-in?continue=1"),
                Reply::html(200, "<form>invalid? <input type=\"password\"></form>"),
            ] {
                answers(sign_in);
                let report = world.doctor(&[]).await;
                report.is_green(&["login-hijacked"]);
                report.says("remark", "login-hijacked", &["asked to sign in before"]);
            }
            for status in [404, 405, 429, 500, 503] {
                answers(Reply::status(status));
                world.doctor(&[]).await.is_green(&[]).is_not_tried(&["login-hijacked"]);
            }
        },
    );
}
