//! The double behaves as RFC 8555 and RFC 9773 have it, driven by the library that the gateway uses.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{
    Account, BodyWrapper, BytesResponse, CertificateIdentifier, ChallengeType, Error, ExternalAccountKey,
    HttpClient, Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use portcullis::certs::Facts;
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::double::{AcmeDouble, Failure, Proof, Resource, Suggestion};

const NOW: u64 = 1_800_000_000;
const QUICKLY: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(10)).timeout(Duration::from_secs(5));

struct Http(Client<HttpConnector, Full<Bytes>>);

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.0.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = Full::new(body.collect().await.unwrap().to_bytes());
            let answer = client.request(Request::from_parts(parts, body)).await;
            let (parts, body) = answer.map_err(|error| Error::Other(Box::new(error)))?.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            Ok(BytesResponse { parts, body: Box::new(body) })
        })
    }
}

async fn account(double: &AcmeDouble, binding: Option<&ExternalAccountKey>) -> Result<Account, Error> {
    let http = Box::new(Http(Client::builder(TokioExecutor::new()).build_http()));
    let new = NewAccount {
        contact: &["mailto:ops@example.org"],
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let made = Account::builder_with_http(http).create(&new, double.directory(), binding).await?;
    Ok(made.0)
}

async fn prove(order: &mut Order) -> Result<OrderStatus, Error> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        authorization.challenge(ChallengeType::Http01).unwrap().set_ready().await?;
    }
    order.poll_ready(&QUICKLY).await
}

async fn finish(order: &mut Order, host: &str) -> Result<String, Error> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([host.to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    order.finalize_csr(params.serialize_request(&key).unwrap().der()).await?;
    order.poll_certificate(&QUICKLY).await
}

fn leaf(chain: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()
}

fn kind(error: Error) -> String {
    let Error::Api(problem) = error else { panic!("{error:?}") };
    problem.r#type.unwrap().rsplit(':').next().unwrap().to_owned()
}

#[tokio::test]
async fn an_order_comes_to_a_certificate_by_the_test_s_clock() {
    let double = AcmeDouble::start(|| NOW).await;
    double.processing(2, None);
    double.profiles(&["short"]);
    let account = account(&double, None).await.unwrap();
    let identifiers = [Identifier::Dns("a.example".into())];
    let mut order = account.new_order(&NewOrder::new(&identifiers).profile("short")).await.unwrap();
    assert_eq!(prove(&mut order).await.unwrap(), OrderStatus::Ready);
    let leaf = leaf(&finish(&mut order, "a.example").await.unwrap());
    let facts = Facts::of(std::slice::from_ref(&leaf)).unwrap();
    assert_eq!((facts.not_before.seconds(), facts.not_after.seconds()), (NOW, NOW + 90 * 86_400));
    assert_eq!(facts.issuer, "The double's intermediate");
    let [known] = &double.orders()[..] else { panic!("{:?}", double.orders()) };
    assert_eq!((known.profile.as_deref(), known.status), (Some("short"), "valid"));
    assert_eq!(known.serial.as_ref(), Some(&facts.serial));
    assert_eq!(double.issued()[0].serial, facts.serial);

    // RFC 9773: what is said of it, and what replaces it.
    let id = CertificateIdentifier::try_from(&leaf).unwrap();
    let said = Suggestion {
        window: (NOW - 200, NOW - 100),
        retry_after: 77,
        explanation: Some("https://ca.example/why".into()),
    };
    double.suggest_for(&facts.serial, said);
    let (info, again) = account.renewal_info(&id).await.unwrap();
    assert_eq!(info.suggested_window.end.unix_timestamp(), 1_799_999_900);
    assert_eq!(info.explanation_url.as_deref(), Some("https://ca.example/why"));
    assert!(again > Duration::from_secs(75) && again <= Duration::from_secs(77), "{again:?}");
    let replacing = NewOrder::new(&identifiers).replaces(id.clone());
    account.new_order(&replacing).await.unwrap();
    assert_eq!(double.orders()[1].replaces, Some(id.to_string()));
    assert_eq!(kind(account.new_order(&replacing).await.err().unwrap()), "alreadyReplaced");
    let unknown = NewOrder::new(&identifiers).profile("long");
    assert_eq!(kind(account.new_order(&unknown).await.err().unwrap()), "invalidProfile");
}

#[tokio::test]
async fn what_a_test_wants_to_go_wrong_does() {
    let double = AcmeDouble::start(|| NOW).await;
    double.require_binding("kid-1");
    assert_eq!(kind(account(&double, None).await.err().unwrap()), "externalAccountRequired");
    let wrong = ExternalAccountKey::new("kid-2".into(), b"key");
    assert_eq!(kind(account(&double, Some(&wrong)).await.err().unwrap()), "unauthorized");
    let good = ExternalAccountKey::new("kid-1".into(), b"key");
    let account = account(&double, Some(&good)).await.unwrap();
    let identifiers = [Identifier::Dns("a.example".into())];
    let new = NewOrder::new(&identifiers);

    // The library tries a bad nonce three times.
    double.fail(Resource::NewOrder, Failure::Problem(400, "badNonce", None), 2);
    account.new_order(&new).await.unwrap();
    double.fail(Resource::NewOrder, Failure::rate_limited(60), 1);
    assert_eq!(kind(account.new_order(&new).await.err().unwrap()), "rateLimited");
    double.fail(Resource::NewOrder, Failure::Garbage, 1);
    assert!(matches!(account.new_order(&new).await.err().unwrap(), Error::Json(_)));
    for failure in [Failure::HangUp, Failure::LostAnswer] {
        double.fail(Resource::NewOrder, failure, 1);
        assert!(matches!(account.new_order(&new).await.err().unwrap(), Error::Other(_)));
    }
    assert_eq!(double.orders().len(), 2, "the one whose answer was lost is there");
    let statuses: Vec<_> = double.requests_to(Resource::NewOrder).iter().map(|seen| seen.status).collect();
    assert_eq!(statuses, [400, 400, 201, 429, 200, 0, 0]);

    double.prove(Proof::Fails("dns", "no such name"));
    let mut order = account.new_order(&new).await.unwrap();
    assert_eq!(prove(&mut order).await.unwrap(), OrderStatus::Invalid);
    double.prove(Proof::Known);
    double.turn_invalid("caa", "not here");
    let mut order = account.new_order(&new).await.unwrap();
    assert_eq!(order.state().status, OrderStatus::Ready);
    assert_eq!(kind(finish(&mut order, "a.example").await.err().unwrap()), "caa");
    let mut order = account.new_order(&new).await.unwrap();
    assert_eq!(kind(finish(&mut order, "b.example").await.err().unwrap()), "badCSR");
    double.forget_everything();
    assert_eq!(kind(account.new_order(&new).await.err().unwrap()), "accountDoesNotExist");
}
