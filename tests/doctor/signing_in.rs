//! Registration as clients do it, and sign-ins that could end elsewhere.

use serde_json::json;

use crate::world::{Reply, World};

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

// trouble: redirect-mismatch
#[test]
fn an_authorization_server_that_redirects_for_strangers_is_found() {
    World::of(
        "signing_in::an_authorization_server_that_redirects_for_strangers_is_found",
        |world| async move {
            world.twist(|seen, reply| {
                if seen.path != "/authorize" {
                    return reply;
                }
                let to =
                    crate::good::form(&seen.query)["redirect_uri"].clone() + "?error=unauthorized_client";
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
