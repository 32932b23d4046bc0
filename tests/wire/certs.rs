//! `portcullis cert`, for certificates of every source; and the first start with ACME while the authority is away.

use std::io;

use rustls::AlertDescription;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::admin::run;
use crate::process::{Place, secure};
use crate::recorder::Recorder;

fn socket(place: &Place) -> String {
    place.folder().join("admin.sock").to_str().unwrap().to_owned()
}

/// A directory that nobody serves.
pub(crate) fn ordering() -> String {
    let acme = "tls: { acme: { email: ops@example.org, directory: \"http://127.0.0.1:9/dir\" } }";
    secure(([127, 0, 0, 1], 9).into())
        .replace("tls: { local_ca: \"{folder}/ca\" }", acme)
        .replace("https://localhost", "https://auth.example")
        .replace(
            "identity: { dev: {} }",
            "identity: { github: { client_id: Iv1.0123456789abcdef, client_secret: \"{key}\" } }",
        )
        .replace("{key}", &"5a".repeat(20))
}

fn without_moments(mut row: Value) -> Value {
    for moment in ["not_before", "not_after", "serial"] {
        assert!(row[moment].as_str().is_some_and(|text| text.len() > 5), "{row}");
        row[moment] = Value::Null;
    }
    row
}

#[tokio::test]
async fn certificates_of_a_local_ca_are_listed_and_shown_and_renew_themselves() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let _process = place.start(&secure(upstream.address));
    let socket = socket(&place);
    let listed = run(&["cert", "list", "--socket", &socket]).await.good().out;
    let mut lines = listed.lines();
    assert!(lines.next().unwrap().starts_with("HOST           STATE  ISSUER"), "{listed}");
    assert!(lines.next().unwrap().starts_with("localhost      valid  "), "{listed}");
    assert!(lines.next().unwrap().starts_with("other.example  valid  "), "{listed}");
    let rows = run(&["cert", "list", "--json", "--socket", &socket]).await.good().json();
    let shown = run(&["cert", "show", "other.example", "--json", "--socket", &socket]).await.good().json();
    assert_eq!(rows[1], shown);
    let issuer = shown["issuer"].clone();
    assert_eq!(
        without_moments(shown),
        json!({
            "host": "other.example", "source": "local_ca", "state": "valid", "issuer": issuer, "serial": null,
            "names": ["other.example"], "not_before": null, "not_after": null, "renews": null, "explanation": null,
            "asked": false, "problem": null, "failures": 0, "next_try": null,
        })
    );
    run(&["cert", "renew", "localhost", "--socket", &socket]).await.is_refused(
        1,
        "the certificate of localhost is made by the local CA, and made anew by itself a month before it ends",
    );
    run(&["cert", "show", "nobody.example", "--socket", &socket])
        .await
        .is_refused(1, "no certificate is kept for nobody.example; there is localhost, other.example");
}

// X3
#[tokio::test]
async fn without_a_certificate_the_gateway_is_up_and_says_what_it_waits_for() {
    let place = Place::new();
    let process = place.start(&ordering());
    process.says("no certificate: the certificate authority cannot be reached").await;
    for host in ["auth.example", "other.example", "unknown.example"] {
        let refused = tls_without_ca(&place, host).await;
        assert_eq!(alert(&refused), Some(AlertDescription::UnrecognisedName), "{host}: {refused}");
    }
    let mut plain = TcpStream::connect(("127.0.0.1", place.second)).await.unwrap();
    plain.write_all(b"GET /mcp HTTP/1.1\r\nhost: other.example\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 308 Permanent Redirect\r\n"), "{answer}");

    process.says("host=\"auth.example\" next=").await;
    let started = std::time::Instant::now();
    let row = loop {
        let said = run(&["cert", "show", "auth.example", "--json", "--socket", &socket(&place)]).await;
        let row = said.good().json();
        if row["failures"] != 0 || started.elapsed().as_secs() > 5 {
            break row;
        }
    };
    assert_eq!((&row["state"], &row["source"]), (&json!("none"), &json!("acme")));
    assert!(row["failures"].as_u64().is_some_and(|failures| failures >= 1), "{row}");
    assert!(row["next_try"].is_string(), "{row}");
    let renewed = run(&["cert", "renew", "auth.example", "--socket", &socket(&place)]).await;
    let told = "portcullis: auth.example: the certificate authority cannot be reached (no answer: ";
    assert!(renewed.status == 1 && renewed.errors.starts_with(told), "{renewed:?}");
    assert!(renewed.errors.contains("; it is tried again at 20"), "{renewed:?}");
}

/// Why a client that trusts nobody yet does not get that far.
async fn tls_without_ca(place: &Place, host: &'static str) -> io::Error {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let tcp = TcpStream::connect(place.address()).await.unwrap();
    connector.connect(host.try_into().unwrap(), tcp).await.unwrap_err()
}

fn alert(error: &io::Error) -> Option<AlertDescription> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    if let rustls::Error::AlertReceived(alert) = error { Some(*alert) } else { None }
}
