//! Which request was that? Its lines are found by its id or its trace's, wherever the log is kept; and the log says more for a while.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::admin::{Said, run};
use crate::client::{Client, call};
use crate::process::{Place, Process, plain};
use crate::recorder::Recorder;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// The command, with this on standard input, and these programs before all others.
async fn logs(arguments: &[&str], input: &str, programs: Option<&Path>) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.arg("logs").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(programs) = programs {
        command.env("PATH", programs);
    }
    let input = input.to_owned();
    let ended = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        // It may end without reading.
        drop(pipe.write_all(input.as_bytes()));
        drop(pipe);
        child.wait_with_output().unwrap()
    });
    Said::of(ended.await.unwrap())
}

/// The log of a request that fails, among those of others.
async fn a_log(form: &str) -> (String, Recorder) {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let mut process = place.start(&plain(upstream.address, &format!("log: {{ format: {form} }}")));
    let client = Client::plain(&place);
    let signed_in = client.sign_in("alice").await;
    for (id, target) in [("req-0", "/mcp"), ("req-1", "/mcp/break"), ("req-10", "/mcp")] {
        let mut asked = call("POST", target, &signed_in);
        for (name, value) in [
            ("x-request-id", id),
            ("traceparent", &format!("00-{TRACE}-b7ad6b7169203331-01")),
            ("tracestate", "vendor=t61rcWkgMzE"),
        ] {
            if name == "x-request-id" || id == "req-1" {
                asked.headers_mut().insert(name, value.parse().unwrap());
            }
        }
        client.send(asked).await;
    }
    process.signal("TERM");
    (process.ended().await.1, upstream)
}

// trouble: trace-one
#[tokio::test]
async fn every_line_of_a_request_is_found_by_its_id_and_by_its_trace() {
    for form in ["json", "text"] {
        let (log, upstream) = a_log(form).await;
        let seen = upstream.requests();
        let traced = seen.iter().find(|seen| seen.all("x-request-id") == ["req-1"]).unwrap();
        assert_eq!(traced.all("traceparent"), [format!("00-{TRACE}-b7ad6b7169203331-01")], "as it came");
        assert_eq!(traced.all("tracestate"), ["vendor=t61rcWkgMzE"]);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("portcullis.log");
        std::fs::write(&file, &log).unwrap();
        let file = file.to_str().unwrap();
        let by_id = logs(&["--request", "req-1", "--file", file, "--json"], "", None).await.good();
        let by_trace = logs(&["--trace", TRACE, "--file", file, "--json"], "", None).await.good();
        assert_eq!(by_id.out, by_trace.out, "{form}");
        let lines: Vec<Value> = by_id.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [error, access] = &lines[..] else { panic!("{form}: {by_id:?}") };
        assert_eq!(
            (&error["level"], &error["status"], &error["message"]),
            (&"ERROR".into(), &502.into(), &"the upstream broke off".into())
        );
        assert_eq!(
            (&access["target"], &access["status"], &access["reason"]),
            (&"access".into(), &502.into(), &"upstream-down".into())
        );
        for line in &lines {
            assert_eq!((&line["request_id"], &line["trace_id"]), (&"req-1".into(), &TRACE.into()), "{line}");
        }
        let people = logs(&["--request", "req-1", "--file", file], "", None).await.good().out;
        assert!(people.lines().count() == 2 && people.contains(" ERROR portcullis::gateway"), "{people}");
        let composed = format!("gateway-1  | {}", log.trim_end().replace('\n', "\ngateway-1  | "));
        let piped = logs(&["--request", "req-1", "--file", "-", "--json"], &composed, None).await.good();
        assert_eq!(piped.out, by_id.out);
        let others = logs(&["--request", "req-10", "--file", file, "--json"], "", None).await.good();
        assert_eq!(others.out.lines().count(), 1, "{others:?}");
        assert!(!others.out.contains("trace_id"), "it has none: {others:?}");
        let later = logs(&["--request", "req-1", "--file", file, "--since", "2999-01-01"], "", None).await;
        assert_eq!((later.status, later.out.as_str()), (1, ""));
        let late =
            logs(&["--request", "req-1", "--file", file, "--since", "1h", "--json"], "", None).await.good();
        assert_eq!(late.out, by_id.out);
    }
}

#[tokio::test]
async fn where_nothing_is_found_it_says_what_to_look_at() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("empty.log");
    std::fs::write(&file, "a line of another program\n").unwrap();
    let (file, gone) = (file.to_str().unwrap(), folder.path().join("gone.log"));
    let text = format!(
        "there is no line of request req-1 in {file}; look whether the id is whole (X-Request-ID of the answer), whether the log reaches back \
         that far, whether it says so much (`portcullis log-level` shows it; access lines need info), and whether another process answered"
    );
    logs(&["--request", "req-1", "--file", file], "", None).await.is_refused(1, &text);
    let text = format!("{} cannot be read: No such file or directory (os error 2)", gone.display());
    logs(&["--request", "req-1", "--file", gone.to_str().unwrap()], "", None).await.is_refused(1, &text);
    let text = "there is no journal here (no journalctl); name the log's file by --file, or with Compose: \
                docker compose logs --no-log-prefix gateway | portcullis logs --request ID --file -";
    logs(&["--request", "req-1"], "", Some(folder.path())).await.is_refused(1, text);
    for wrong in [
        &["--request", "a b"][..],
        &["--request", "$(reboot)"],
        &["--request", ""],
        &["--trace", "xyz"],
        &["--request", "a", "--trace", TRACE],
        &["--request", "a", "--unit", "-f"],
        &["--request", "a", "--unit=--vacuum-size=1"],
        &["--request", "a", "--since", "--no-pager"],
        &[],
    ] {
        assert_eq!(logs(wrong, "", None).await.status, 2, "{wrong:?}");
    }
}

#[tokio::test]
async fn the_journal_is_asked_without_a_shell_and_its_complaint_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let line = "2026-11-21T09:30:00.123456Z  INFO access: request_id=\"req-1\" path=\"/mcp\"";
    let program = folder.path().join("journalctl");
    let put = |script: &str| {
        std::fs::write(&program, format!("#!/bin/sh\n{script}")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let asked = folder.path().join("asked");
    put(&format!("for it in \"$@\"; do echo \"$it\"; done > {}\necho '{line}'\n", asked.display()));
    let arguments =
        ["--request", "req-1", "--unit", "portcullis@a\\x2db.service", "--since", "2026-11-21T09:00:00Z"];
    let said = logs(&arguments, "", Some(folder.path())).await.good();
    assert_eq!(said.out, "2026-11-21T09:30:00.123456Z  INFO access: path=\"/mcp\" request_id=\"req-1\"\n");
    assert_eq!(
        std::fs::read_to_string(&asked).unwrap(),
        "--unit=portcullis@a\\x2db.service\n--output=cat\n--no-pager\n--quiet\n--since=2026-11-21 09:00:00 UTC\n"
    );
    put("printf 'no \\033[31mpermission' >&2\nexit 1\n");
    let refused = logs(&["--request", "req-1"], "", Some(folder.path())).await;
    refused.is_refused(1, "journalctl failed: no ?[31mpermission");
}

// ---- how much the log says

async fn level(place: &Place, arguments: &[&str]) -> Said {
    let config = place.folder().join("serve.yaml");
    run(&[&["log-level"], arguments, &["--config", config.to_str().unwrap()]].concat()).await
}

async fn gateway(more: &str) -> (Place, Recorder, Process, Client) {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let process = place.start(&plain(upstream.address, more));
    let client = Client::plain(&place);
    (place, upstream, process, client)
}

/// Access lines are not in it.
const CONFIGURED: &str = "portcullis=info,warn";

#[tokio::test]
async fn the_log_says_more_for_a_while_and_then_what_is_configured() {
    let (place, _upstream, process, client) =
        gateway("log: { format: json, filter: \"portcullis=info,warn\" }").await;
    assert_eq!(level(&place, &[]).await.good().out, format!("{CONFIGURED} (configured)\n"));
    let ask = async |id: &str| drop(client.get("/mcp", &[("x-request-id", id)]).await);
    let said =
        |id: &str| process.log().lines().any(|line| line.contains(&format!("\"request_id\":\"{id}\"")));
    ask("before").await;
    let told = level(&place, &["info", "--for", "1s"]).await.good().out;
    assert!(
        told.starts_with("info (until 20") && told.ends_with(&format!("Z; configured: {CONFIGURED})\n")),
        "{told}"
    );
    ask("meanwhile").await;
    process.line(|line| line["request_id"] == "meanwhile").await;
    let who = rustix::process::getuid().as_raw();
    let set = process.line(|line| line["event"] == "log_level_changed").await;
    assert_eq!(
        (&set["target"], &set["by"], &set["reason"]),
        (
            &"audit".into(),
            &"operator".into(),
            &format!("user id {who} set `info` for 1 s; before it was `{CONFIGURED}`").into()
        )
    );
    let over = process.line(|line| line["by"] == "gateway" && line["event"] == "log_level_changed").await;
    assert_eq!(over["reason"], format!("the time that was said is over: `{CONFIGURED}` again"));
    assert_eq!(
        level(&place, &["--json"]).await.good().json(),
        serde_json::json!({ "filter": CONFIGURED, "configured": CONFIGURED, "until": null })
    );
    ask("after").await;
    // What is written later is written by now.
    level(&place, &["error"]).await.good();
    process
        .line(|line| {
            line["reason"] == format!("user id {who} set `error`; before it was `{CONFIGURED}`").as_str()
        })
        .await;
    assert!(!said("before") && !said("after"), "{}", process.log());
}

#[tokio::test]
async fn a_reload_that_is_asked_for_brings_the_configured_level_back() {
    let (place, _upstream, process, client) = gateway("log: { format: json }").await;
    assert_eq!(level(&place, &["off", "--for", "1h"]).await.good().status, 0);
    client.get("/mcp", &[("x-request-id", "unseen")]).await;
    process.signal("HUP");
    process
        .line(|line| {
            line["message"].as_str().is_some_and(|text| text.starts_with("the configuration was read again"))
        })
        .await;
    assert_eq!(level(&place, &[]).await.good().out, "info (configured)\n");
    client.get("/mcp", &[("x-request-id", "seen")]).await;
    process.line(|line| line["request_id"] == "seen").await;
    assert!(!process.log().contains("unseen"));
}

#[tokio::test]
async fn what_is_no_filter_changes_nothing_and_audit_events_are_always_written() {
    let (place, _upstream, process, client) = gateway("log: { format: json }").await;
    let text =
        "`debgu` is no log filter; write a level (error, warn, info, debug, trace, off) or `module=level`";
    level(&place, &["debgu"]).await.is_refused(1, text);
    let text = "`audit=off`: audit events are always written; leave `audit` out of the filter";
    level(&place, &["info,audit=off"]).await.is_refused(1, text);
    for wrong in [
        &["debug", "--for", "never"][..],
        &["--for", "10m"],
        &["debug", "--for", "8d"],
        &["debug", "--for", "0s"],
    ] {
        assert_eq!(level(&place, wrong).await.status, 2, "{wrong:?}");
    }
    assert_eq!(level(&place, &[]).await.good().out, "info (configured)\n");
    assert_eq!(level(&place, &["off"]).await.good().status, 0);
    client.sign_in("alice").await;
    let event = process.line(|line| line["event"] == "token_issued").await;
    assert_eq!(event["sub"], "dev:alice");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let after = process.log();
    let after = after.split_once("set `off`").unwrap().1;
    assert!(!after.contains("\"target\":\"access\""), "{after}");
}

#[tokio::test]
async fn audit_lines_carry_the_trace_of_their_request() {
    let (_place, _upstream, process, client) = gateway("log: { format: json }").await;
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    for (given, trace) in [(parent.as_str(), Value::from(TRACE)), ("00-not-a-trace-01", Value::Null)] {
        let id = format!("req-{}", given.len());
        let metadata = r#"{"redirect_uris":["http://localhost:1/cb"]}"#.to_owned();
        let headers = [("content-type", "application/json"), ("x-request-id", &id), ("traceparent", given)];
        let asked = crate::support::rig::request("POST", "/register", &headers, metadata);
        assert_eq!(client.send(asked).await.status, 201);
        for target in ["audit", "access"] {
            let line =
                process.line(|line| line["target"] == target && line["request_id"] == id.as_str()).await;
            assert_eq!(line["trace_id"], trace, "{line}");
        }
    }
}
