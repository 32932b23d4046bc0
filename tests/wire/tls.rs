//! TLS: what a client is shown, over which version it talks, and that one connection serves one host.

use std::io;

use rustls::AlertDescription;
use tokio::io::AsyncWriteExt;

use crate::client::{CALL, Client, call, http1_on, http2_on, piece, read_raw, tls, whole};
use crate::process::{Place, secure};
use crate::recorder::{RESULT, Recorder};
use crate::support::rig::request;

#[tokio::test]
async fn both_http_versions_are_served_to_who_trusts_the_local_ca() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&secure(upstream.address));
    let issuer = Client::secure(&place).issuer;
    let document = "/.well-known/oauth-authorization-server";
    for (offered, agreed) in
        [(&[&b"h2"[..], b"http/1.1"][..], Some(&b"h2"[..])), (&[b"http/1.1"], Some(b"http/1.1")), (&[], None)]
    {
        let stream = tls(&place, "localhost", offered).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed);
        let answer = if agreed == Some(b"h2") {
            let request = request("GET", &format!("{issuer}{document}"), &[], String::new());
            http2_on(stream).await.send_request(request.map(Into::into)).await
        } else {
            let headers = [("host", &issuer["https://".len()..])];
            http1_on(stream)
                .await
                .send_request(request("GET", document, &headers, String::new()).map(Into::into))
                .await
        };
        let answer = whole(answer.unwrap()).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["issuer"]), (200, &issuer.as_str().into()));
    }
}

fn alert(error: &io::Error) -> Option<AlertDescription> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    if let rustls::Error::AlertReceived(alert) = error { Some(*alert) } else { None }
}

#[tokio::test]
async fn a_server_name_that_is_none_of_ours_is_shown_no_certificate() {
    // P15
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&secure(upstream.address));
    for name in ["unknown.example", "sub.localhost", "127.0.0.1"] {
        let refused = tls(&place, name, &[b"h2"]).await.unwrap_err();
        assert_eq!(alert(&refused), Some(AlertDescription::UnrecognisedName), "{name}: {refused}");
    }
    tls(&place, "other.example", &[b"h2"]).await.unwrap();
    tls(&place, "LOCALHOST", &[b"h2"]).await.unwrap();
}

#[tokio::test]
async fn a_connection_made_for_one_host_serves_no_other() {
    // P15
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&secure(upstream.address));
    let (localhost, other) = (format!("localhost:{}", place.port), format!("other.example:{}", place.port));
    for (name, host, status) in [
        ("localhost", &other, 421),
        ("other.example", &localhost, 421),
        ("localhost", &"unknown.example".to_owned(), 421),
        ("localhost", &localhost, 401),
        ("other.example", &other, 401),
    ] {
        let mut http1 = http1_on(tls(&place, name, &[b"http/1.1"]).await.unwrap()).await;
        let headers = [("host", host.as_str())];
        let asked = request("POST", "/mcp", &headers, CALL.to_owned()).map(Into::into);
        let answer = whole(http1.send_request(asked).await.unwrap()).await;
        assert_eq!(answer.status, status, "{name} {host}: {answer:?}");
        let mut http2 = http2_on(tls(&place, name, &[b"h2"]).await.unwrap()).await;
        let asked = request("POST", &format!("https://{host}/mcp"), &[], CALL.to_owned()).map(Into::into);
        assert_eq!(http2.send_request(asked).await.unwrap().status(), status, "{name} {host}");
        if status == 421 {
            assert_eq!(answer.json()["error"], "unknown_host");
        }
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn an_http2_request_reaches_the_http1_server_as_one_of_its_own() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&secure(upstream.address));
    let client = Client::secure(&place);
    let bearer = client.sign_in("alice").await.bearer();
    let mut http2 = http2_on(tls(&place, "localhost", &[b"h2"]).await.unwrap()).await;
    let headers = [
        ("authorization", bearer.as_str()),
        ("cookie", "a=b"),
        ("cookie", "c=d"),
        ("te", "trailers"),
        ("mcp-protocol-version", "2025-11-25"),
    ];
    let asked = request("POST", &format!("{}/mcp/x?a=b", client.issuer), &headers, CALL.to_owned());
    let answer = whole(http2.send_request(asked.map(Into::into)).await.unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, RESULT));
    let [seen] = &upstream.requests()[..] else { panic!("{}", upstream.raw()) };
    assert_eq!((seen.line.as_str(), seen.body.as_str()), ("POST /mcp/x?a=b HTTP/1.1", CALL));
    for (name, values) in [
        ("host", &[upstream.address.to_string()][..]),
        ("mcp-protocol-version", &["2025-11-25".to_owned()]),
        ("x-user-id", &["dev:alice".to_owned()]),
        ("x-forwarded-proto", &["https".to_owned()]),
        ("x-forwarded-host", &[client.host().to_owned()]),
        ("x-forwarded-for", &["127.0.0.1".to_owned()]),
        ("authorization", &[]),
        ("cookie", &[]),
        ("te", &[]),
    ] {
        assert_eq!(seen.all(name), values, "{name}");
    }
}

#[tokio::test]
async fn an_event_stream_passes_event_by_event_over_http2() {
    // P5
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&secure(upstream.address));
    let client = Client::secure(&place);
    let signed_in = client.sign_in("alice").await;
    let mut http2 = http2_on(tls(&place, "localhost", &[b"h2"]).await.unwrap()).await;
    let mut asked = call("GET", "/mcp/stream", &signed_in);
    *asked.uri_mut() = format!("{}/mcp/stream", client.issuer).parse().unwrap();
    let mut stream = http2.send_request(asked.map(Into::into)).await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    assert_eq!(piece(&mut stream).await.unwrap().unwrap(), "data: open\n\n");
    for event in ["one", "two", "three"] {
        upstream.tell(event);
        assert_eq!(piece(&mut stream).await.unwrap().unwrap(), format!("data: {event}\n\n"));
    }
}

/// A self-signed certificate for `name`, in PEM, with its key.
fn pair(name: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// TLS from the files `a.pem` and `a.key` , beside the configuration.
fn from_files(upstream: &Recorder) -> String {
    let files = "tls: { files: [{ certificate: \"a.pem\", key: \"a.key\" }] }";
    let yaml = secure(upstream.address).replace("tls: { local_ca: \"{folder}/ca\" }", files);
    yaml.split("  other:").next().unwrap().to_owned()
}

#[tokio::test]
async fn certificates_come_from_files_too() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let (certificate, key) = pair("localhost");
    std::fs::write(place.folder().join("a.pem"), &certificate).unwrap();
    std::fs::write(place.folder().join("a.key"), key).unwrap();
    let _process = place.start(&from_files(&upstream));
    std::fs::create_dir(place.folder().join("ca")).unwrap();
    std::fs::write(place.folder().join("ca/ca.pem"), certificate).unwrap();
    let client = Client::secure(&place);
    assert_eq!(client.get("/.well-known/oauth-authorization-server", &[]).await.status, 200);
    let refused = tls(&place, "other.example", &[]).await.unwrap_err();
    assert_eq!(alert(&refused), Some(AlertDescription::UnrecognisedName));
}

#[tokio::test]
async fn replaced_certificate_files_are_shown_without_a_restart_and_bad_ones_are_not() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let file = |name: &str| place.folder().join(name);
    let replace = |(certificate, key): &(String, String)| {
        std::fs::write(file("a.pem"), certificate).unwrap();
        std::fs::write(file("a.key"), key).unwrap();
    };
    let (first, second) = (pair("localhost"), pair("localhost"));
    replace(&first);
    let process = place.start(&from_files(&upstream));
    std::fs::create_dir(file("ca")).unwrap();
    // A client that trusts one certificate and no other.
    let shows = async |(certificate, _): &(String, String)| {
        std::fs::write(file("ca/ca.pem"), certificate).unwrap();
        tls(&place, "localhost", &[]).await.is_ok()
    };
    assert!(shows(&first).await);
    let mut open = tls(&place, "localhost", &[]).await.unwrap();
    std::fs::write(file("a.key"), "cut off").unwrap();
    process.says("the certificates cannot be used; those that were read before are kept").await;
    assert!(shows(&first).await, "a bad file changes nothing");
    replace(&second);
    process.says("the certificates were replaced; new connections get the new ones").await;
    assert!(shows(&second).await);
    assert!(!shows(&first).await);
    open.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    assert!(read_raw(&mut open).await.text.starts_with("HTTP/1.1 "), "open connections live on");
}

#[tokio::test]
async fn a_missing_or_foreign_certificate_file_is_named_and_nothing_is_served() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let yaml = from_files(&upstream);
    let file = |name: &str| place.folder().join(name);
    let told = |wanted: i32, problem: &str| {
        let (status, log) = place.run("serve", &yaml);
        assert_eq!(status, wanted, "{log}");
        assert!(log.contains(problem), "{log}");
    };
    // What the configuration check sees is 78; what only loading shows is 1.
    told(78, &format!("{} cannot be read (No such file or directory", file("a.pem").display()));
    let (certificate, _) = pair("localhost");
    std::fs::write(file("a.pem"), certificate).unwrap();
    told(78, &format!("{} cannot be read (No such file or directory", file("a.key").display()));
    std::fs::write(file("a.key"), pair("localhost").1).unwrap();
    told(1, &format!("{}: this key does not belong to its certificate", file("a.key").display()));
    let (certificate, key) = pair("elsewhere.example");
    std::fs::write(file("a.pem"), certificate).unwrap();
    std::fs::write(file("a.key"), key).unwrap();
    told(1, "portcullis: TLS certificates: no certificate is for localhost");
}
