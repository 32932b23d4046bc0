//! The way there: each trouble is made, found, mended, and gone.

use crate::good::{CHALLENGE, METADATA, PRM};
use crate::world::{Certificate, Reply, URL, World};

#[test]
fn nothing_is_wrong_with_a_server_that_is_good() {
    World::of("reaching::nothing_is_wrong_with_a_server_that_is_good", |world| async move {
        let report = world.doctor(&["--register"]).await;
        report.is_green(&[]).says("good", "redirect-invalid", &["all are registered"]);
        assert_eq!(world.good.clients(), 0, "all of them are deleted again");
        world.doctor(&[]).await.is_green(&[]).is_not_tried(&["redirect-invalid"]);
    });
}

// trouble: dns
#[test]
fn a_name_without_addresses_is_told_from_one_that_is_not_there() {
    World::of("reaching::a_name_without_addresses_is_told_from_one_that_is_not_there", |world| async move {
        world.zone.remove("mcp.example.com");
        let report = world.doctor(&[]).await;
        report.is_bad(&["dns"]).is_not_tried(&["port-443", "cert", "clock", "no-challenge", "prm-404"]);
        report.says("bad", "dns", &["NXDOMAIN", "`mcp.example.com. 300 IN A ADDRESS`"]);
        world.zone.set("mcp.example.com", &[]);
        world.doctor(&[]).await.is_bad(&["dns"]).says("bad", "dns", &["no A and no AAAA record"]);
        world.zone.set("mcp.example.com", &["127.0.0.1"]);
        world.doctor(&[]).await.is_green(&[]);
    });
}

// trouble: dns
#[test]
fn a_name_server_that_is_silent_is_not_taken_for_a_missing_record() {
    World::of(
        "reaching::a_name_server_that_is_silent_is_not_taken_for_a_missing_record",
        |world| async move {
            let report = world.doctor_at(URL, &[], &[]).await;
            report.is_green(&[]);
            let mut command = crate::world::command(URL);
            // Nobody is there: the last of two values would be refused, so the list is made anew.
            let arguments: Vec<_> = command.get_args().map(std::ffi::OsStr::to_owned).collect();
            command = std::process::Command::new(env!("CARGO_BIN_EXE_portcullis"));
            command.args(
                arguments
                    .iter()
                    .map(|one| if one == "127.0.0.1:53" { "127.0.0.1:54".into() } else { one.clone() }),
            );
            let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
            let report = crate::world::Report::of(&output);
            report.is_bad(&["dns"]).says("bad", "dns", &["does not answer", "--resolver 1.1.1.1"]);
        },
    );
}

// trouble: dns
#[test]
fn an_aaaa_record_that_leads_nowhere_is_found_though_ipv4_works() {
    World::of("reaching::an_aaaa_record_that_leads_nowhere_is_found_though_ipv4_works", |world| async move {
        world.zone.set("mcp.example.com", &["127.0.0.1", "::1"]);
        let report = world.doctor(&[]).await;
        report.is_bad(&["dns"]).says(
            "bad",
            "dns",
            &["::1: connection refused", "take the AAAA record with ::1 away"],
        );
        world.zone.set("mcp.example.com", &["127.0.0.1"]);
        world.doctor(&[]).await.is_green(&[]);
    });
}

// trouble: dns
#[test]
fn a_name_that_leads_to_another_machine_as_well_is_found() {
    World::of("reaching::a_name_that_leads_to_another_machine_as_well_is_found", |world| async move {
        world.zone.set("mcp.example.com", &["127.0.0.1", "127.0.0.2"]);
        world.listen("127.0.0.2:443", true).await;
        world.twist(
            |seen, reply| if seen.at.starts_with("127.0.0.2") { Reply::html(404, "nginx") } else { reply },
        );
        let report = world.doctor(&[]).await;
        report.says("bad", "dns", &["127.0.0.1 answers 401", "127.0.0.2 answers 404", "not the same server"]);
        world.mend();
        world.doctor(&[]).await.is_green(&[]);
    });
}

// trouble: port-443
#[test]
fn a_port_where_nobody_listens_is_found() {
    World::of("reaching::a_port_where_nobody_listens_is_found", |world| async move {
        world.zone.set("mcp.example.com", &["127.0.0.3"]);
        let report = world.doctor(&[]).await;
        report.is_bad(&["port-443"]).is_not_tried(&["cert", "clock", "wrong-url", "no-challenge"]);
        report.says(
            "bad",
            "port-443",
            &["127.0.0.3:443: connection refused", "Nothing listens on port 443", "sudo ss -ltnp"],
        );
        world.listen("127.0.0.3:443", true).await;
        world.doctor(&[]).await.is_green(&[]);
    });
}

// trouble: port-443
#[test]
fn a_url_with_another_port_is_not_one_for_claude() {
    World::of("reaching::a_url_with_another_port_is_not_one_for_claude", |world| async move {
        world.listen("127.0.0.1:8443", true).await;
        let url = "https://mcp.example.com:8443/mcp";
        world.twist(|seen, reply| match seen.host.as_str() {
            "mcp.example.com:8443" => {
                Reply::json(401, &serde_json::json!({})).with("www-authenticate", CHALLENGE)
            }
            _ => reply,
        });
        let report = world.doctor_at(url, &[], &[]).await;
        report.says(
            "bad",
            "port-443",
            &["Claude connects to port 443 only", "give clients `https://mcp.example.com/mcp`"],
        );
        world.mend();
        world.doctor(&[]).await.is_green(&[]);
    });
}

// trouble: port-443
#[test]
fn an_authorization_server_on_another_port_is_not_one_for_claude() {
    World::of(
        "reaching::an_authorization_server_on_another_port_is_not_one_for_claude",
        |world| async move {
            world.twist(|seen, reply| {
                if seen.line() != METADATA {
                    return reply;
                }
                reply
                    .but(|document| document["token_endpoint"] = "https://auth.example.com:8443/token".into())
            });
            let report = world.doctor(&[]).await;
            report.says(
                "bad",
                "port-443",
                &["token_endpoint is https://auth.example.com:8443/token", "port 443 only"],
            );
            world.mend();
            world.doctor(&[]).await.is_green(&[]);
        },
    );
}

// trouble: port-443
#[test]
fn plain_http_is_no_way_for_tokens() {
    World::of("reaching::plain_http_is_no_way_for_tokens", |world| async move {
        let report = world.doctor_at("http://mcp.example.com/mcp", &[], &[]).await;
        report.says("bad", "port-443", &["plain http", "give clients `https://mcp.example.com/mcp`"]);
        report.is_not_tried(&["cert"]);
        world.doctor(&[]).await.is_green(&[]);
    });
}

// trouble: cert
#[test]
fn what_is_wrong_with_a_certificate_is_said_with_what_to_do() {
    World::of("reaching::what_is_wrong_with_a_certificate_is_said_with_what_to_do", |world| async move {
        for (shown, words) in [
            (
                Certificate::Between(-30, -2),
                &["the certificate ended at", "`portcullis cert renew mcp.example.com`"][..],
            ),
            (Certificate::Between(2, 30), &["not valid before", "set-ntp true"]),
            (
                Certificate::For("other.example.com"),
                &["for other.example.com, not for this host", "none for mcp.example.com"],
            ),
            (
                Certificate::SelfSigned,
                &["signed by itself", "acme: { email: you@example.com, directory: letsencrypt }"],
            ),
            (
                Certificate::By("Somebody's CA"),
                &["issued by Somebody's CA, which nobody here trusts", "NODE_EXTRA_CA_CERTS=FILE"],
            ),
            (
                Certificate::Incomplete,
                &["the certificate of R11 is missing", "programs do not", "fullchain.pem, and not cert.pem"],
            ),
            (
                Certificate::By("(STAGING) Ersatz Edamame E1"),
                &["issued for tests", "`directory: letsencrypt` under tls.acme"],
            ),
        ] {
            world.show("mcp.example.com", shown);
            let report = world.doctor(&[]).await;
            // What is behind it is looked at all the same.
            report.is_bad(&["cert"]).says("bad", "cert", words).says(
                "good",
                "no-challenge",
                &["401 each time"],
            );
        }
        world.hide("mcp.example.com");
        let report = world.doctor(&[]).await;
        report.is_bad(&["cert"]).says(
            "bad",
            "cert",
            &["has no certificate for mcp.example.com yet", "`portcullis cert list`"],
        );
        report.is_not_tried(&["no-challenge", "prm-404"]);
        world.show("mcp.example.com", Certificate::Between(-80, 3));
        world.doctor(&[]).await.is_green(&["cert"]).says("remark", "cert", &["in less than a week"]);
        world.show("mcp.example.com", Certificate::Good);
        world.doctor(&[]).await.is_green(&[]);
    });
}

// trouble: cert
#[test]
fn what_keeps_a_certificate_from_coming_is_said_too() {
    World::of("reaching::what_keeps_a_certificate_from_coming_is_said_too", |world| async move {
        world.show("mcp.example.com", Certificate::Between(-30, -2));
        world.zone.issue("mcp.example.com", &["digicert.com"]);
        let report = world.doctor(&[]).await;
        let caa = "`mcp.example.com. 300 IN CAA 0 issue \"letsencrypt.org\"`";
        report.is_bad(&["cert"]).says("bad", "cert", &["A CAA record lets only digicert.com issue", caa]);
        world.zone.issue("mcp.example.com", &["letsencrypt.org"]);
        assert!(!world.doctor(&[]).await.told("bad", "cert").contains("CAA"));
        // Port 80 is closed on this one.
        world.listen("127.0.0.4:443", true).await;
        world.zone.set("mcp.example.com", &["127.0.0.4"]);
        world.doctor(&[]).await.says("bad", "cert", &["Port 80 of mcp.example.com", "sudo ufw allow 80/tcp"]);
        world.listen("127.0.0.4:80", false).await;
        assert!(!world.doctor(&[]).await.told("bad", "cert").contains("Port 80"));
        world.show("mcp.example.com", Certificate::Good);
        world.doctor(&[]).await.is_green(&[]);
    });
}

// trouble: cert
#[test]
fn plain_http_on_port_443_is_no_tls() {
    World::of("reaching::plain_http_on_port_443_is_no_tls", |world| async move {
        world.listen("127.0.0.5:443", false).await;
        world.zone.set("mcp.example.com", &["127.0.0.5"]);
        let report = world.doctor(&[]).await;
        report.is_bad(&["cert"]).says("bad", "cert", &["does not speak TLS there", "plain HTTP"]);
        world.zone.set("mcp.example.com", &["127.0.0.1"]);
        world.doctor(&[]).await.is_green(&[]);
    });
}

fn faketime(offset: &str) -> [(&str, &str); 3] {
    let library = ["x86_64", "aarch64"]
        .map(|machine| format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketimeMT.so.1"))
        .into_iter()
        .find(|file| std::path::Path::new(file).exists())
        .expect("faketime is missing: apt-get install faketime");
    [("LD_PRELOAD", library.leak()), ("FAKETIME", offset), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")]
}

// trouble: clock
#[test]
fn a_wrong_clock_is_found_and_whose_it_is() {
    World::of("reaching::a_wrong_clock_is_found_and_whose_it_is", |world| async move {
        let report = world.doctor_at(URL, &[], &faketime("-300s")).await;
        report.is_bad(&["clock"]).says(
            "bad",
            "clock",
            &["This machine's clock is wrong", "sudo timedatectl set-ntp true"],
        );
        assert!(report.told("bad", "clock").contains("s ahead"));
        world.doctor_at(URL, &[], &faketime("+20s")).await.is_green(&[]);
        // A clock that is months behind makes good certificates bad: the clock is to blame, and not they.
        let report = world.doctor_at(URL, &[], &faketime("-60d")).await;
        report.is_bad(&["clock"]).is_not_tried(&["cert"]);
        world.twist(|seen, reply| match seen.host.as_str() {
            "time.example.com" => reply,
            _ => reply.with("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
        });
        let report = world.doctor(&[]).await;
        report.is_bad(&["clock"]).says(
            "bad",
            "clock",
            &["The clock of mcp.example.com is wrong", "time.example.com: no difference"],
        );
        world.mend();
        world.doctor(&[]).await.is_green(&[]);
    });
}

type Refusal = fn(&crate::world::Seen) -> Option<Reply>;

// trouble: waf
#[test]
fn somebody_in_front_is_recognised_by_how_he_refuses() {
    World::of("reaching::somebody_in_front_is_recognised_by_how_he_refuses", |world| async move {
        let cloudflare = |reply: Reply| reply.with("server", "cloudflare").with("cf-ray", "8f0-FRA");
        let refusals: [(Refusal, &[&str]); 4] = [
            (
                |seen| {
                    (seen.method == "POST").then(|| {
                        Reply::html(403, "<title>Just a moment...</title>").with("cf-mitigated", "challenge")
                    })
                },
                &[
                    "Cloudflare answers in the MCP server's place",
                    "http.host eq \"mcp.example.com\"",
                    "DNS only",
                ],
            ),
            (
                |_| Some(Reply::html(403, "<h1>Access Denied</h1>").with("server", "AkamaiGHost")),
                &["Akamai answers", "let requests to mcp.example.com pass"],
            ),
            (
                |_| Some(Reply::html(503, "<h1>503</h1>").with("server", "awselb/2.0")),
                &["an AWS load balancer answers"],
            ),
            // Only what carries a token is refused.
            (
                |seen| {
                    (!seen.header("authorization").is_empty())
                        .then(|| Reply::html(403, "<h1>Forbidden</h1>").with("server", "nginx"))
                },
                &["something in front (Server: nginx)", "initialize, with a token that is none"],
            ),
        ];
        for (refusal, words) in refusals {
            world.twist(move |seen, reply| match seen.host.as_str() {
                "mcp.example.com" if seen.path == "/mcp" => refusal(seen).unwrap_or(reply),
                _ => reply,
            });
            world
                .doctor(&[])
                .await
                .is_bad(&["waf"])
                .says("bad", "waf", words)
                .is_not_tried(&["wrong-url", "no-challenge"]);
        }
        // In front, and not in the way.
        world.twist(move |_, reply| cloudflare(reply));
        world.doctor(&[]).await.is_green(&[]).says(
            "good",
            "waf",
            &["Cloudflare is in front, and lets it pass"],
        );
        world.mend();
        world.doctor(&[]).await.is_green(&[]);
    });
}

// trouble: tunnel
#[test]
fn a_tunnel_that_answers_itself_is_recognised() {
    World::of("reaching::a_tunnel_that_answers_itself_is_recognised", |world| async move {
        let pages = [
            (
                Reply::html(404, "<p>ngrok: endpoint is offline").with("ngrok-error-code", "ERR_NGROK_3200"),
                "ERR_NGROK_3200",
            ),
            (Reply::html(200, "<p>You are about to visit, served by ngrok.com"), "page of warning"),
            (Reply::html(530, "<p>error code: 1033"), "no cloudflared is connected"),
        ];
        for (page, word) in pages {
            world.twist(move |seen, reply| if seen.path == "/mcp" { page.clone() } else { reply });
            world.doctor(&[]).await.is_bad(&["tunnel"]).says("bad", "tunnel", &[word]);
        }
        world.mend();
        world.doctor(&[]).await.is_green(&[]);
    });
}

// trouble: tunnel
#[test]
fn a_server_that_knows_its_inner_address_only_is_recognised() {
    World::of("reaching::a_server_that_knows_its_inner_address_only_is_recognised", |world| async move {
        for inner in ["http://mcp.example.com/mcp", "http://localhost:8000/mcp", "http://app:3000/mcp"] {
            world.twist(move |seen, reply| {
                if seen.line() == PRM {
                    reply.but(|document| document["resource"] = inner.into())
                } else {
                    reply
                }
            });
            let report = world.doctor(&[]).await;
            report.is_bad(&["tunnel", "prm-resource"]);
            report.says(
                "bad",
                "tunnel",
                &[
                    "does not know of the tunnel or proxy in front of it",
                    "Tell the server its public URL: `https://mcp.example.com/mcp`",
                ],
            );
        }
        world.mend();
        world.doctor(&[]).await.is_green(&[]);
    });
}

// trouble: wrong-url
#[test]
fn the_right_url_is_found_and_printed() {
    World::of("reaching::the_right_url_is_found_and_printed", |world| async move {
        for wrong in [
            "https://mcp.example.com/",
            "https://mcp.example.com/mcp/",
            "https://mcp.example.com/sse",
            "https://mcp.example.com/api",
        ] {
            let report = world.doctor_at(wrong, &[], &[]).await;
            report.is_bad(&["wrong-url"]).says(
                "bad",
                "wrong-url",
                &["404", "Give clients `https://mcp.example.com/mcp`"],
            );
        }
        world.twist(|seen, reply| match seen.path.as_str() {
            "/mcp" => Reply::status(307).with("location", "/mcp/"),
            "/mcp/" => Reply::json(401, &serde_json::json!({})).with("www-authenticate", "Bearer"),
            _ => reply,
        });
        let report = world.doctor(&[]).await;
        report.is_bad(&["wrong-url"]).says(
            "bad",
            "wrong-url",
            &["307 to /mcp/", "Give clients `https://mcp.example.com/mcp/`"],
        );
        world.mend();
        world.doctor(&[]).await.is_green(&[]);
    });
}

// trouble: wrong-url
#[test]
fn an_old_transport_and_a_foreign_sign_in_are_no_mcp_server() {
    World::of("reaching::an_old_transport_and_a_foreign_sign_in_are_no_mcp_server", |world| async move {
        world.twist(|seen, reply| match (seen.method.as_str(), seen.path.as_str()) {
            ("GET", "/sse") => {
                Reply::status(200).with("content-type", "text/event-stream").and("event: endpoint\n\n")
            }
            (_, "/sse" | "/mcp") => Reply::status(404),
            _ => reply,
        });
        let report = world.doctor(&[]).await;
        report.is_bad(&["wrong-url"]).says(
            "bad",
            "wrong-url",
            &["https://mcp.example.com/sse is a server of the old transport", "transport=\"http\""],
        );
        world.twist(|seen, reply| {
            if seen.host == "mcp.example.com" {
                Reply::status(302).with("location", "https://sso.example.com/login")
            } else {
                reply
            }
        });
        let report = world.doctor(&[]).await;
        report.is_bad(&["wrong-url"]).says("bad", "wrong-url", &["redirects to a sign-in of its own"]);
        world.mend();
        world.doctor(&[]).await.is_green(&[]);
    });
}

// trouble: upstream-down
#[test]
fn a_server_that_is_not_well_is_not_taken_for_a_wrong_url() {
    World::of("reaching::a_server_that_is_not_well_is_not_taken_for_a_wrong_url", |world| async move {
        world.twist(
            |seen, reply| if seen.path == "/mcp" { Reply::html(502, "<h1>Bad Gateway</h1>") } else { reply },
        );
        let report = world.doctor(&[]).await;
        report
            .is_bad(&["upstream-down"])
            .says("bad", "upstream-down", &["502"])
            .is_not_tried(&["wrong-url", "prm-404"]);
        world.mend();
        world.doctor(&[]).await.is_green(&[]);
    });
}

// trouble: wrong-url
#[test]
fn a_401_alone_makes_no_mcp_server() {
    World::of("reaching::a_401_alone_makes_no_mcp_server", |world| async move {
        let locked = |challenge: &'static str| {
            world.twist(move |seen, reply| match seen.host.as_str() {
                "mcp.example.com" if seen.path == "/mcp" => {
                    Reply::status(401).with("www-authenticate", challenge)
                }
                "mcp.example.com" => Reply::status(404),
                _ => reply,
            });
        };
        locked("Basic realm=\"router\"");
        let report = world.doctor(&[]).await;
        report.says("remark", "wrong-url", &["something that wants a login", "cannot be told"]);
        locked("Bearer");
        world.doctor(&[]).await.told("good", "wrong-url");
        world.mend();
        world.doctor(&[]).await.is_green(&[]).told("good", "wrong-url");
    });
}
