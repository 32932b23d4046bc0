//! Where to sign in: each trouble is made, found, mended, and gone.

use serde_json::json;

use crate::good::{ISSUER, METADATA, PRM};
use crate::world::{Reply, Seen, World};

/// Twists `reply` where `line` is asked.
fn at(
    line: &'static str,
    change: impl Fn(Reply) -> Reply + Send + Sync + 'static,
) -> impl Fn(&Seen, Reply) -> Reply + Send + Sync {
    move |seen, reply| if seen.line() == line { change(reply) } else { reply }
}

// trouble: no-challenge
#[test]
fn a_proxy_that_takes_the_challenge_away_is_found() {
    World::of("discovery::a_proxy_that_takes_the_challenge_away_is_found", |world| async move {
        world.twist(|_, reply| reply.without("www-authenticate"));
        let report = world.doctor(&[]).await;
        report.is_bad(&["no-challenge"]);
        report.says("bad", "no-challenge", &[
            "POST: 401 without `WWW-Authenticate: Bearer`",
            "a proxy in front takes it away",
            "WWW-Authenticate: Bearer resource_metadata=\"https://mcp.example.com/.well-known/oauth-protected-resource/mcp\"",
            "proxy_intercept_errors off;",
        ]);
        world.mend();
        world.doctor(&[]).await.is_green(&[]);
    });
}

// trouble: no-challenge
#[test]
fn every_method_and_every_token_is_tried() {
    World::of("discovery::every_method_and_every_token_is_tried", |world| async move {
        let challenge = |value: &'static str| {
            at("POST /mcp", move |reply| reply.without("www-authenticate").with("www-authenticate", value))
        };
        world.twist(challenge("Bearer resource_metadata=\"https://mcp.example.com"));
        world.doctor(&[]).await.is_bad(&["no-challenge"]).says(
            "bad",
            "no-challenge",
            &["does not parse", "no closing quote"],
        );
        world.twist(challenge("Bearer resource_metadata=\"/.well-known/oauth-protected-resource/mcp\""));
        world.doctor(&[]).await.is_bad(&["no-challenge"]).says(
            "bad",
            "no-challenge",
            &["resource_metadata is no URL"],
        );
        world.twist(at("HEAD /mcp", |_| Reply::status(200)));
        world.doctor(&[]).await.is_bad(&["no-challenge"]).says(
            "bad",
            "no-challenge",
            &["HEAD: 200 in place of 401", "Gemini CLI: HEAD"],
        );
        world.twist(|seen, reply| {
            if seen.header("authorization").is_empty() {
                reply
            } else {
                Reply::json(400, &json!({ "error": "bad token" }))
            }
        });
        world.doctor(&[]).await.is_bad(&["no-challenge"]).says(
            "bad",
            "no-challenge",
            &["400 in place of 401", "only then do clients refresh it"],
        );
        // These are borne.
        world.twist(|seen, reply| {
            if seen.path == "/mcp" && seen.method != "POST" && seen.method != "OPTIONS" {
                Reply::status(405)
            } else {
                reply
            }
        });
        world.doctor(&[]).await.is_green(&["no-challenge"]);
        world.twist(|_, reply| {
            if reply.status == 401 {
                reply.without("www-authenticate").with("www-authenticate", "Basic realm=\"x\", Bearer")
            } else {
                reply
            }
        });
        world.doctor(&[]).await.is_green(&["no-challenge"]).says(
            "remark",
            "no-challenge",
            &["has no resource_metadata"],
        );
        world.mend();
        world.doctor(&[]).await.is_green(&[]);
    });
}

// trouble: no-challenge
#[test]
fn a_server_that_is_open_is_said_to_be() {
    World::of("discovery::a_server_that_is_open_is_said_to_be", |world| async move {
        world.twist(at("POST /mcp", |_| {
            Reply::json(200, &json!({ "jsonrpc": "2.0", "id": 1, "result": {} }))
        }));
        let report = world.doctor(&[]).await;
        report.is_green(&["no-challenge"]).says(
            "remark",
            "no-challenge",
            &["Whoever knows the URL can use the server"],
        );
        report.is_not_tried(&["prm-404", "prm-resource", "issuer-mismatch", "no-registration", "cors"]);
    });
}

// trouble: prm-404
#[test]
fn metadata_that_is_not_there_is_found_in_all_its_kinds() {
    World::of("discovery::metadata_that_is_not_there_is_found_in_all_its_kinds", |world| async move {
        let kinds: [(Reply, &str); 5] = [
            (Reply::status(404), "404"),
            (Reply::status(500), "500"),
            (Reply::json(200, &json!({})), "an empty document, {}"),
            (Reply::html(200, "<!doctype html><div id=root>"), "no JSON object"),
            (
                Reply::json(200, &json!({ "resource": crate::world::URL })),
                "a document without authorization_servers",
            ),
        ];
        for (reply, found) in kinds {
            world.twist(at(PRM, move |_| reply.clone()));
            let report = world.doctor(&[]).await;
            report.is_bad(&["prm-404"]).is_not_tried(&[
                "prm-resource",
                "issuer-mismatch",
                "no-registration",
                "cors",
            ]);
            report.says(
                "bad",
                "prm-404",
                &[
                    found,
                    "The challenge names https://mcp.example.com/.well-known/oauth-protected-resource/mcp",
                    "must answer 200, Content-Type application/json",
                ],
            );
        }
        // Without a challenge that names it, clients go on to the root after 404, and stop at 500.
        let moved = |status: u16| {
            move |seen: &Seen, reply: Reply| match seen.line().as_str() {
                PRM => Reply::status(status),
                "GET /.well-known/oauth-protected-resource" => Reply::json(
                    200,
                    &json!({ "resource": crate::world::URL, "authorization_servers": [ISSUER] }),
                ),
                _ if reply.status == 401 => {
                    reply.without("www-authenticate").with("www-authenticate", "Bearer")
                }
                _ => reply,
            }
        };
        world.twist(moved(404));
        world.doctor(&[]).await.is_green(&["prm-404", "no-challenge", "cors"]);
        world.twist(moved(500));
        world.doctor(&[]).await.is_bad(&["prm-404"]).says(
            "bad",
            "prm-404",
            &["fails (500), and clients stop there"],
        );
        world.mend();
        world.doctor(&[]).await.is_green(&[]);
    });
}

// trouble: prm-resource
#[test]
fn a_resource_that_is_not_the_typed_url_is_found_with_what_differs() {
    World::of(
        "discovery::a_resource_that_is_not_the_typed_url_is_found_with_what_differs",
        |world| async move {
            for (resource, what) in [
                (
                    "https://mcp.example.com/mcp/",
                    "they differ by a slash at the end; VS Code and Gemini CLI compare exactly",
                ),
                ("https://mcp.example.com", "they differ by the path; VS Code and Gemini CLI"),
                ("https://MCP.example.com/mcp", "the spelling: small and capital letters"),
                ("https://mcp.example.com:8443/mcp", "they differ by the port; every client stops"),
                ("https://other.example.com/mcp", "they differ by the host; every client stops"),
                ("https://mcp.example.com/MCP", "small and capital letters in the path"),
            ] {
                world.twist(at(PRM, move |reply| {
                    reply.but(|document| document["resource"] = resource.into())
                }));
                let report = world.doctor(&[]).await;
                report.is_bad(&["prm-resource"]).says(
                    "bad",
                    "prm-resource",
                    &[what, resource, "Let the document say `\"resource\": \"https://mcp.example.com/mcp\"`"],
                );
            }
            world.mend();
            world.doctor(&[]).await.is_green(&[]);
        },
    );
}

// trouble: issuer-mismatch
#[test]
fn an_issuer_that_is_another_is_found_and_a_missing_one_too() {
    World::of("discovery::an_issuer_that_is_another_is_found_and_a_missing_one_too", |world| async move {
        world.twist(at(METADATA, |reply| {
            reply.but(|document| document["issuer"] = "https://auth.example.com/".into())
        }));
        let report = world.doctor(&[]).await;
        report.is_bad(&["issuer-mismatch"]).says(
            "bad",
            "issuer-mismatch",
            &[
                "they differ by a slash at the end; the Python SDK stops",
                "`\"issuer\": \"https://auth.example.com\"` in the metadata",
                "inserted, OAuth",
            ],
        );
        world.twist(at(METADATA, |reply| {
            reply.but(|document| document["issuer"] = "https://evil.example.com".into())
        }));
        world.doctor(&[]).await.is_bad(&["issuer-mismatch"]).says(
            "bad",
            "issuer-mismatch",
            &["more than a slash", "RFC 8414"],
        );
        world.twist(at(METADATA, |_| Reply::status(404)));
        let report = world.doctor(&[]).await;
        report.is_bad(&["issuer-mismatch"]).says(
            "bad",
            "issuer-mismatch",
            &[
                "has no metadata",
                "`https://auth.example.com/.well-known/oauth-authorization-server` must answer 200",
            ],
        );
        report.is_not_tried(&["no-registration", "cors"]);
        world.twist(at(METADATA, |reply| {
            reply.but(|document| document["authorization_response_iss_parameter_supported"] = false.into())
        }));
        world.doctor(&[]).await.is_green(&["issuer-mismatch"]).says(
            "remark",
            "issuer-mismatch",
            &["RFC 9207"],
        );
        world.mend();
        world.doctor(&[]).await.is_green(&[]);
    });
}

// trouble: issuer-mismatch
#[test]
fn an_authorization_server_that_cannot_be_reached_is_looked_at_like_the_other() {
    World::of(
        "discovery::an_authorization_server_that_cannot_be_reached_is_looked_at_like_the_other",
        |world| async move {
            world.zone.remove("auth.example.com");
            let report = world.doctor(&[]).await;
            report
                .is_bad(&["dns"])
                .says("bad", "dns", &["auth.example.com has no A"])
                .is_not_tried(&["issuer-mismatch"]);
            world.zone.set("auth.example.com", &["127.0.0.1"]);
            world.doctor(&[]).await.is_green(&[]);
        },
    );
}

// trouble: no-registration
#[test]
fn clients_that_cannot_register_are_found() {
    World::of("discovery::clients_that_cannot_register_are_found", |world| async move {
        let without = |name: &'static str| {
            at(METADATA, move |reply| {
                reply.but(|document| drop(document.as_object_mut().unwrap().remove(name)))
            })
        };
        world.twist(without("registration_endpoint"));
        let report = world.doctor(&["--register"]).await;
        report.is_bad(&["no-registration"]).says(
            "bad",
            "no-registration",
            &["lets no client register", "Turn on dynamic client registration (RFC 7591)"],
        );
        world.twist(without("code_challenge_methods_supported"));
        world.doctor(&[]).await.is_bad(&["no-registration"]).says(
            "bad",
            "no-registration",
            &["PKCE with S256", "Claude and the TypeScript SDK stop there"],
        );
        world.twist(at(METADATA, |reply| {
            reply.but(|document| {
                document.as_object_mut().unwrap().remove("registration_endpoint");
                document["client_id_metadata_document_supported"] = true.into();
                document["token_endpoint_auth_methods_supported"] = json!(["private_key_jwt"]);
            })
        }));
        world.doctor(&[]).await.is_bad(&["no-registration"]).says(
            "bad",
            "no-registration",
            &["Claude does not begin where `none` is not listed"],
        );
        world.twist(without("token_endpoint_auth_methods_supported"));
        world.doctor(&[]).await.is_green(&["no-registration"]);
        world.twist(at("POST /register", |_| Reply::json(401, &json!({ "error": "invalid_token" }))));
        let report = world.doctor(&["--register"]).await;
        report.is_bad(&["no-registration"]).says(
            "bad",
            "no-registration",
            &["lets nobody register without more", "Claude: 401 invalid_token"],
        );
        world.mend();
        world.doctor(&["--register"]).await.is_green(&[]);
    });
}

// trouble: cors
#[test]
fn what_a_browser_is_refused_is_worth_a_remark_and_wrong_for_those_in_one() {
    World::of(
        "discovery::what_a_browser_is_refused_is_worth_a_remark_and_wrong_for_those_in_one",
        |world| async move {
            world.twist(|_, reply| reply.without("access-control-allow-origin"));
            let report = world.doctor(&[]).await;
            report.is_green(&["cors"]).says(
                "remark",
                "cors",
                &[
                    "without Access-Control-Allow-Origin",
                    "the Inspector and other clients in a browser fail",
                    "`origins: [\"http://localhost:6274\"]`",
                ],
            );
            world.doctor(&["--as", "inspector"]).await.is_bad(&["cors"]);
            world.twist(|_, reply| if reply.status == 204 { Reply::status(405) } else { reply });
            world.doctor(&["--as", "inspector"]).await.is_bad(&["cors"]).says("bad", "cors", &["405"]);
            world.twist(|_, reply| reply.without("access-control-expose-headers"));
            world.doctor(&["--as", "inspector"]).await.is_bad(&["cors"]).says(
                "bad",
                "cors",
                &["Expose-Headers lacks WWW-Authenticate"],
            );
            world.twist(|seen, reply| {
                if seen.header("origin").is_empty() {
                    reply
                } else {
                    reply.with("access-control-allow-origin", "*")
                }
            });
            world.doctor(&[]).await.is_bad(&["cors"]).says(
                "bad",
                "cors",
                &["comes twice, which browsers refuse", "add_header Access-Control-Allow-Origin"],
            );
            world.mend();
            world.doctor(&["--as", "inspector"]).await.is_green(&[]);
        },
    );
}
