use std::net::Ipv4Addr;

use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use url::Url;

use super::*;
use crate::secret::Secret;
use crate::time::Timestamp;

/// How a test's certificate is made.
#[derive(Clone, Copy)]
enum Made {
    Well,
    SelfSigned,
    For(&'static str),
    Until(i64),
    From(i64),
    By(&'static str),
}

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Issuer {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn moment(seconds: i64) -> ::time::OffsetDateTime {
    ::time::OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}

/// A server on loopback for any number of connections, and who trusts its authority.
async fn server(made: Made, answer: &'static [u8]) -> (SocketAddr, Web) {
    let trusted = authority("Trusted");
    let host = if let Made::For(host) = made { host } else { "a.example" };
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    if let Made::Until(end) = made {
        params.not_after = moment(end);
    }
    if let Made::From(begin) = made {
        params.not_before = moment(begin);
    }
    let key = KeyPair::generate().unwrap();
    let certificate = match made {
        Made::SelfSigned => params.self_signed(&key).unwrap(),
        Made::By(name) => params.signed_by(&key, &authority(name)).unwrap(),
        Made::Well | Made::For(_) | Made::Until(_) | Made::From(_) => {
            params.signed_by(&key, &trusted).unwrap()
        }
    };
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let address = serve(Some(acceptor), answer).await;
    let manner = Manner { roots: Some(trusted.pem().into_bytes()), ..Manner::default() };
    (address, Web::new(&manner))
}

async fn serve(acceptor: Option<TlsAcceptor>, answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let Some(acceptor) = acceptor else {
                    drop(stream.read(&mut head).await);
                    drop(stream.write_all(answer).await);
                    return;
                };
                let Ok(mut tls) = acceptor.accept(stream).await else { return };
                drop(tls.read(&mut head).await);
                drop(tls.write_all(answer).await);
                drop(tls.shutdown().await);
            });
        }
    });
    address
}

const OK: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 2\r\n\r\n{}";

fn url(address: SocketAddr, scheme: &str) -> Url {
    Url::parse(&format!("{scheme}://a.example:{}/x?y", address.port())).unwrap()
}

async fn fault(made: Made) -> TlsFault {
    let (address, web) = server(made, OK).await;
    let outcome = web.ask(Ask::get(&url(address, "https")).at(address)).await;
    let Err(Fault::Tls { fault, shown: Some(shown) }) = outcome else { panic!("{outcome:?}") };
    assert_eq!((shown.fault.as_ref(), shown.chain.len()), (Some(&fault), 1));
    fault
}

#[tokio::test]
async fn an_answer_over_tls_comes_with_its_certificate() {
    let (address, web) = server(Made::Well, OK).await;
    let answer = web.ask(Ask::get(&url(address, "https")).at(address)).await.unwrap();
    assert_eq!(
        (answer.summary().as_str(), answer.json()),
        ("200, application/json", Some(serde_json::json!({})))
    );
    let shown = answer.shown.unwrap();
    assert_eq!((shown.fault.clone(), shown.facts().unwrap().issuer.as_str()), (None, "Trusted"));
    assert_eq!(answer.address, address);
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_told_apart() {
    assert_eq!(
        fault(Made::Until(1_700_000_000)).await,
        TlsFault::Expired(Timestamp::from_seconds(1_700_000_000))
    );
    assert_eq!(
        fault(Made::From(4_000_000_000)).await,
        TlsFault::NotYet(Timestamp::from_seconds(4_000_000_000))
    );
    assert_eq!(fault(Made::For("b.example")).await, TlsFault::WrongName(vec!["b.example".into()]));
    assert_eq!(fault(Made::SelfSigned).await, TlsFault::SelfSigned);
    assert_eq!(fault(Made::By("Somebody")).await, TlsFault::UnknownIssuer("Somebody".into()));
    let staging = "(STAGING) Ersatz Edamame E1";
    assert_eq!(fault(Made::By(staging)).await, TlsFault::Staging(staging.into()));
}

#[tokio::test]
async fn behind_a_bad_certificate_goes_only_what_carries_no_secret() {
    let (address, web) = server(Made::SelfSigned, OK).await;
    let url = url(address, "https");
    let ask = Ask::get(&url).at(address).past_a_bad_certificate();
    let answer = web.ask(ask.clone()).await.unwrap();
    assert_eq!(answer.shown.unwrap().fault, Some(TlsFault::SelfSigned));
    let bearer = ask.bearer(&Secret::new("t".into()));
    assert!(matches!(web.ask(bearer).await, Err(Fault::Tls { .. })));
    let form = Ask::post_form(&url, &[("code", "c")]).at(address).past_a_bad_certificate();
    assert!(matches!(web.ask(form).await, Err(Fault::Tls { .. })));
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_said_to_be_no_tls() {
    let address = serve(None, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let outcome = Web::new(&Manner::default()).ask(Ask::get(&url(address, "https")).at(address)).await;
    let Err(Fault::Tls { fault, .. }) = outcome else { panic!("{outcome:?}") };
    // Without system roots nothing is even tried.
    assert!(matches!(fault, TlsFault::NotTls | TlsFault::Roots(_)), "{fault}");
}

#[tokio::test]
async fn an_event_stream_is_read_up_to_the_answer_in_it() {
    let stream = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9999\r\n\r\n\
        id: 1\ndata:\n\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"x\"}\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n";
    let address = serve(None, stream).await;
    let answer = Web::new(&Manner::default()).ask(Ask::get(&url(address, "http")).at(address)).await.unwrap();
    assert_eq!(answer.json().unwrap()["id"], 1);
}

#[test]
fn the_data_lines_of_an_event_belong_together() {
    let stream = b"data: {\"id\": 1,\r\ndata: \"result\": {}}\r\n\r\n: ping\n\ndata:[2]\n\ndata: no JSON\n\n";
    assert_eq!(messages(stream), [serde_json::json!({ "id": 1, "result": {} }), serde_json::json!([2])]);
}

#[tokio::test]
async fn a_port_where_nobody_listens_and_a_name_without_an_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let web = Web::new(&Manner::default());
    let outcome = web.ask(Ask::get(&url(address, "http")).at(address)).await;
    assert_eq!(outcome.unwrap_err(), Fault::Connect(vec![(address, Dead::Refused)]));
    assert_eq!(web.knock(address).await, Err(Dead::Refused));
    assert_eq!(web.addresses("127.0.0.1").await, Ok(vec![Ipv4Addr::LOCALHOST.into()]));
    let file = Url::parse("file:///etc/passwd").unwrap();
    assert_eq!(web.ask(Ask::get(&file)).await.unwrap_err(), Fault::Url);
}

#[tokio::test]
async fn what_is_no_http_and_a_head_without_an_end_break_off() {
    let endless: &'static [u8] = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(2 * HEAD)).leak().as_bytes();
    for answer in [&b"SSH-2.0-OpenSSH_9\r\n"[..], b"", endless] {
        let address = serve(None, answer).await;
        let ask = Ask::get(&url(address, "http")).at(address);
        let outcome = Web::new(&Manner::default()).ask(ask).await;
        assert!(matches!(outcome, Err(Fault::Broke(_))), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_body_is_cut_at_its_bound() {
    let body = "x".repeat(BODY + 1);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let address = serve(None, answer.leak().as_bytes()).await;
    let answer = Web::new(&Manner::default()).ask(Ask::get(&url(address, "http")).at(address)).await.unwrap();
    assert_eq!((answer.body.len(), answer.cut), (BODY, true));
}

#[tokio::test]
async fn a_secret_goes_by_plain_http_to_this_machine_only() {
    let address = serve(None, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    let web = Web::new(&Manner::default());
    let elsewhere = Url::parse("http://192.0.2.1/").unwrap();
    let here = Url::parse(&format!("http://127.0.0.1:{}/", address.port())).unwrap();
    for ask in [
        |url: &Url| Ask::get(url).bearer(&Secret::new("t".into())),
        |url: &Url| Ask::post_form(url, &[("code", "c")]),
    ] {
        assert_eq!(web.ask(ask(&elsewhere)).await.unwrap_err(), Fault::Plain);
        assert_eq!(web.ask(ask(&here)).await.unwrap().status, 200);
    }
    let without = Ask::get(&elsewhere).at(address);
    assert_eq!(web.ask(without).await.unwrap().status, 200);
}
