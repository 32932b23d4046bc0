//! What is said where little is known: a port that speaks something else, a server's own words, and what clients show for it.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use url::Url;

use crate::good::{ISSUER, METADATA, PRM};
use crate::world::{Reply, Report, Seen, URL, World, command};

/// Says `answer` to everybody and hangs up; without one, waits.
async fn odd(address: &str, answer: Option<&'static [u8]>) {
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            match answer {
                Some(answer) => {
                    let mut request = [0; 1024];
                    drop(stream.read(&mut request).await);
                    drop(stream.write_all(answer).await);
                }
                None => kept.push(stream),
            }
        }
    });
}

/// Twists what the MCP server answers at its path.
fn at_mcp(change: impl Fn(Reply) -> Reply + Send + Sync) -> impl Fn(&Seen, Reply) -> Reply + Send + Sync {
    move |seen, reply| if seen.path == "/mcp" && seen.method != "OPTIONS" { change(reply) } else { reply }
}

fn at(
    line: &'static str,
    change: impl Fn(&mut Value) + Send + Sync,
) -> impl Fn(&Seen, Reply) -> Reply + Send + Sync {
    move |seen, reply| if seen.line() == line { reply.but(&change) } else { reply }
}

/// What clients show for what is wrong, by the report.
fn shown(report: &Report, id: &str) -> Vec<String> {
    let findings = report.json["findings"].as_array().unwrap();
    let finding = findings.iter().find(|one| one["id"] == id && one["verdict"] == "bad").unwrap();
    let clients = finding["clients"].as_array().cloned().unwrap_or_default();
    clients.iter().map(|one| format!("{}: {}", one["client"], one["shows"]).replace('"', "")).collect()
}

// trouble: port-443
#[test]
fn a_port_without_http_is_found_and_not_green() {
    World::of("verdicts::a_port_without_http_is_found_and_not_green", |world| async move {
        world.listen("127.0.0.1:24443", true).await;
        odd("127.0.0.1:24444", Some(b"")).await;
        odd("127.0.0.1:24445", Some(b"-ERR unknown command 'GET'\r\n")).await;
        odd("127.0.0.1:24446", None).await;
        for (port, words) in [
            (24443, &["speaks TLS", "give clients `https://127.0.0.1:24443/mcp`"][..]),
            (24444, &["is no HTTP server, or drops the connection"]),
            (24445, &["is no HTTP server, or drops the connection"]),
            (24446, &["accepts connections and says nothing for 10 s"]),
        ] {
            let report = world.doctor_at(&format!("http://127.0.0.1:{port}/mcp"), &[], &[]).await;
            report.is_bad(&["port-443"]).says("bad", "port-443", words);
            report.is_not_tried(&["wrong-url", "no-challenge", "prm-404"]);
        }
        // Nobody is there at all: no firewall is to blame on this machine.
        let report = world.doctor_at("http://127.0.0.1:24447/mcp", &[], &[]).await;
        assert!(!report.is_bad(&["port-443"]).told("bad", "port-443").contains("ufw"));
    });
}

// trouble: cert
#[test]
fn https_at_a_port_of_plain_http_is_told_from_a_bad_certificate() {
    World::of("verdicts::https_at_a_port_of_plain_http_is_told_from_a_bad_certificate", |world| async move {
        world.listen("127.0.0.1:24080", false).await;
        let report = world.doctor_at("https://127.0.0.1:24080/mcp", &[], &[]).await;
        report.is_bad(&["cert"]).says(
            "bad",
            "cert",
            &["http:// answers there: give clients `http://127.0.0.1:24080/mcp`"],
        );
        assert!(shown(&report, "cert").is_empty());
        world.listen("127.0.0.5:443", false).await;
        world.zone.set("mcp.example.com", &["127.0.0.5"]);
        let report = world.doctor(&[]).await;
        report.is_bad(&["cert"]).says("bad", "cert", &["TLS is missing there, and clients want https"]);
        assert!(shown(&report, "cert").is_empty());
    });
}

// trouble: wrong-url
#[test]
fn the_server_s_own_words_are_heard() {
    World::of("verdicts::the_server_s_own_words_are_heard", |world| async move {
        let told = "nothing is at this address; the MCP server's URL is https://mcp.example.com/t/mcp";
        world.twist(move |seen, reply| match seen.method.as_str() {
            "POST" => Reply::json(404, &json!({ "error": "not_found", "error_description": told })),
            _ => reply,
        });
        let report = world.doctor(&[]).await;
        report.is_bad(&["wrong-url"]).says(
            "bad",
            "wrong-url",
            &[told, "Give clients `https://mcp.example.com/t/mcp`"],
        );
        let told = "no service has this host; it is reached at https://public.example.com";
        world.twist(at_mcp(move |_| {
            let help = "https://public.example.com/help/tunnel";
            Reply::json(
                421,
                &json!({ "error": "unknown_host", "error_description": told, "error_uri": help }),
            )
        }));
        let report = world.doctor(&[]).await;
        report.is_bad(&["wrong-url"]).says(
            "bad",
            "wrong-url",
            &["it is the host that it does not know, and not the path", "`https://public.example.com/`"],
        );
        // Without a word, the metadata at the root of the host tells.
        world.twist(|seen, reply| match seen.line().as_str() {
            "GET /.well-known/oauth-protected-resource" => {
                let resource = "https://mcp.example.com/deep/mcp";
                Reply::json(200, &json!({ "resource": resource, "authorization_servers": [ISSUER] }))
            }
            _ if seen.path.starts_with("/.well-known") => reply,
            _ => Reply::status(404),
        });
        world.doctor(&[]).await.is_bad(&["wrong-url"]).says(
            "bad",
            "wrong-url",
            &["Give clients `https://mcp.example.com/deep/mcp`"],
        );
        world.mend();
        world.doctor(&[]).await.is_green(&[]);
    });
}

// trouble: prm-404
#[test]
fn a_challenge_that_points_to_another_host_and_a_document_that_lacks_something() {
    World::of(
        "verdicts::a_challenge_that_points_to_another_host_and_a_document_that_lacks_something",
        |world| async move {
            world.twist(at_mcp(|reply| {
                let inner = "http://inner.example.com:8000/.well-known/oauth-protected-resource/mcp";
                let challenge = format!("Bearer resource_metadata=\"{inner}\"");
                reply.without("www-authenticate").with("www-authenticate", &challenge)
            }));
            let report = world.doctor(&[]).await;
            report.is_bad(&["prm-404"]).says(
                "bad",
                "prm-404",
                &[
                    "The document is at https://mcp.example.com/.well-known/oauth-protected-resource/mcp",
                    "points to another host, inner.example.com",
                    "FastMCP `base_url=\"https://mcp.example.com\"`",
                ],
            );
            assert!(!report.told("bad", "prm-404").contains("must answer 200"));
            for (document, lacks) in [
                (json!({}), "it lacks resource and authorization_servers"),
                (json!({ "resource": URL }), "it lacks authorization_servers"),
            ] {
                world.twist(at(PRM, move |there| *there = document.clone()));
                let report = world.doctor(&[]).await;
                report.is_bad(&["prm-404"]).says("bad", "prm-404", &["the document is there", lacks]);
            }
            world.mend();
            world.doctor(&[]).await.is_green(&[]);
        },
    );
}

// trouble: no-challenge
#[test]
fn a_403_in_place_of_401_and_a_page_of_maintenance() {
    World::of("verdicts::a_403_in_place_of_401_and_a_page_of_maintenance", |world| async move {
        world.twist(at_mcp(|reply| {
            Reply { status: 403, ..reply.without("www-authenticate") }.and("{\"error\":\"forbidden\"}")
        }));
        let report = world.doctor(&[]).await;
        report.is_bad(&["no-challenge"]).says(
            "bad",
            "no-challenge",
            &["403 where a 401 with a challenge must be"],
        );
        assert!(!world.doctor(&["--as", "cursor"]).await.json["steps"][0]["ok"].as_bool().unwrap());
        world.twist(at_mcp(|_| Reply::html(503, "<h1>Down for maintenance</h1>")));
        world.doctor(&[]).await.is_bad(&["upstream-down"]).says(
            "bad",
            "upstream-down",
            &["Something in front says that the server is not there (503)"],
        );
        world.mend();
        world.doctor(&[]).await.is_green(&[]);
    });
}

#[test]
fn what_clients_show_is_what_the_cause_says() {
    World::of("verdicts::what_clients_show_is_what_the_cause_says", |world| async move {
        world.twist(at(METADATA, |document| document["issuer"] = format!("{ISSUER}/").into()));
        let report = world.doctor(&[]).await;
        assert_eq!(shown(&report, "issuer-mismatch"), ["Python SDK: stops with an issuer mismatch"]);
        world.twist(at(PRM, |document| document["resource"] = format!("{URL}/").into()));
        let report = world.doctor(&[]).await;
        assert_eq!(
            shown(&report, "prm-resource"),
            ["VS Code, Gemini CLI, Claude: compare exactly, and stop"]
        );
        world.twist(at(METADATA, |document| document["code_challenge_methods_supported"] = json!([])));
        let report = world.doctor(&[]).await;
        assert_eq!(
            shown(&report, "no-registration")[0],
            "TypeScript SDK: Incompatible auth server: does not support code challenge method S256"
        );
    });
}

#[test]
fn a_client_that_stops_is_no_success_and_the_rest_is_looked_at() {
    World::of("verdicts::a_client_that_stops_is_no_success_and_the_rest_is_looked_at", |world| async move {
        world.listen("127.0.0.1:24081", false).await;
        world.twist(|seen, reply| match seen.host.as_str() {
            "127.0.0.1:24081" => Reply::json(200, &json!({ "jsonrpc": "2.0", "id": 1, "result": {} })),
            _ => reply,
        });
        let report = world.doctor_at("http://127.0.0.1:24081/mcp", &["--as", "claude"], &[]).await;
        assert_eq!(report.status(), 1, "{:#}", report.json);
        assert_eq!(report.json["counts"]["bad"], 0);
        let step = |at: usize| report.json["steps"][at].clone();
        assert_eq!((&step(0)["ok"], &step(0)["reached"]), (&json!(false), &json!(true)));
        assert_eq!((&step(1)["ok"], &step(1)["reached"]), (&json!(true), &json!(false)));
        assert_eq!(step(1)["answer"], "it is let in, and needs no sign-in (were it reached)");
        // Where there is no way on, what is left is named.
        world.twist(at_mcp(|_| Reply::status(404)));
        let report = world.doctor(&["--as", "cursor"]).await;
        let last = report.json["steps"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(
            (last["request"].as_str(), last["answer"].as_str()),
            (Some("opens the browser"), Some("not reached"))
        );
    });
}

#[test]
fn ctrl_c_at_a_sign_in_is_130_and_no_walk_points_to_itself() {
    World::of("verdicts::ctrl_c_at_a_sign_in_is_130_and_no_walk_points_to_itself", |_world| async move {
        let run = || {
            let mut command = command(URL);
            command.args(["--login", "--as", "cursor"]).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let told = BufReader::new(child.stderr.take().unwrap());
            assert!(told.lines().map(Result::unwrap).any(|line| Url::parse(line.trim()).is_ok()));
            let id = child.id().to_string();
            assert!(std::process::Command::new("kill").args(["-s", "INT", &id]).status().unwrap().success());
            Report::of(&child.wait_with_output().unwrap())
        };
        let report = tokio::task::spawn_blocking(run).await.unwrap();
        assert_eq!(report.status(), 130, "{:#}", report.json);
        let last = report.json["steps"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(last["ok"], true);
        assert!(!last["answer"].as_str().unwrap().contains("`--login`"), "{last}");
    });
}

// trouble: port-443
#[test]
fn an_authorization_server_that_is_down_is_introduced() {
    World::of("verdicts::an_authorization_server_that_is_down_is_introduced", |world| async move {
        world.zone.set("auth.example.com", &["127.0.0.9"]);
        world.doctor(&[]).await.is_bad(&["port-443"]).says(
            "bad",
            "port-443",
            &["auth.example.com/ is named by the protected resource metadata as authorization server", "ufw"],
        );
        world.zone.set("auth.example.com", &["127.0.0.1"]);
        world.doctor(&[]).await.is_green(&[]);
    });
}
