//! What every store promises of certificates, and of leases that are kept.

use portcullis::store::{
    AcmeAccount, AcmeOrder, OpenChallenge, Ordered, Renewal, Store, StoredCertificate, Swap,
};

use crate::fixtures::*;
use crate::rig::Rig;

const OF: Ordered<'static> = Ordered { directory: "https://ca.example/dir", host: "a.example" };
const ELSEWHERE: Ordered<'static> = Ordered { directory: "https://staging.example/dir", host: "a.example" };

fn certificate(of: Ordered<'_>, chain: &str) -> StoredCertificate {
    StoredCertificate {
        host: of.host.to_owned(),
        directory: of.directory.to_owned(),
        chain: chain.to_owned(),
        key: "key".to_owned(),
        issued: NOW,
    }
}

pub(crate) async fn a_lease_is_kept_while_its_holder_lives_and_free_once_released(rig: &Rig) {
    let held = rig.store.hold("one", later(30), NOW).await.unwrap().unwrap();
    let held = rig.store.keep(&held, later(60)).await.unwrap().unwrap();
    assert!(rig.another().await.hold("one", later(90), later(59)).await.unwrap().is_none(), "it was kept");
    rig.store.release(held, later(40)).await.unwrap();
    let next = rig.another().await.hold("one", later(90), later(40)).await.unwrap();
    assert!(next.is_some(), "it was given back");
}

pub(crate) async fn a_lease_that_ended_is_neither_kept_nor_released_by_its_former_holder(rig: &Rig) {
    let late = rig.store.hold("one", later(30), NOW).await.unwrap().unwrap();
    let next = rig.another().await.hold("one", later(90), later(30)).await.unwrap().unwrap();
    assert!(rig.store.keep(&late, later(120)).await.unwrap().is_none(), "it is another's");
    rig.store.release(late, later(31)).await.unwrap();
    assert!(rig.store.hold("one", later(120), later(32)).await.unwrap().is_none(), "and stays another's");
    assert!(rig.store.keep(&next, later(120)).await.unwrap().is_some());
}

pub(crate) async fn a_certificate_belongs_to_its_directory_and_the_newest_is_found(rig: &Rig) {
    let mark = rig.store.certificates_changed(NOW).await.unwrap();
    assert_eq!(mark, None);
    rig.store.save_certificate(&certificate(OF, "one"), later(100)).await.unwrap();
    let first = rig.another().await.certificates_changed(NOW).await.unwrap();
    assert!(first.is_some());
    assert_eq!(rig.another().await.certificate(OF, NOW).await.unwrap(), Some(certificate(OF, "one")));
    assert_eq!(rig.store.certificate(ELSEWHERE, NOW).await.unwrap(), None);
    rig.store.save_certificate(&certificate(ELSEWHERE, "two"), later(100)).await.unwrap();
    assert_ne!(rig.store.certificates_changed(NOW).await.unwrap(), first);
    assert_eq!(rig.store.certificate(OF, NOW).await.unwrap(), Some(certificate(OF, "one")));
    let newest = rig.store.newest_certificate(OF.host, NOW).await.unwrap();
    assert_eq!(newest, Some(certificate(ELSEWHERE, "two")));
    assert_eq!(rig.store.newest_certificate("b.example", NOW).await.unwrap(), None);
    assert_eq!(rig.store.certificate(OF, later(100)).await.unwrap(), None, "it is kept no longer");
}

pub(crate) async fn an_order_and_an_account_are_remembered_until_they_are_forgotten(rig: &Rig) {
    let order =
        AcmeOrder { url: "https://ca.example/1".into(), key: "key".into(), challenge: "http-01".into() };
    rig.store.save_acme_order(OF, &order, later(100)).await.unwrap();
    assert_eq!(rig.another().await.acme_order(OF, NOW).await.unwrap(), Some(order));
    assert_eq!(rig.store.acme_order(ELSEWHERE, NOW).await.unwrap(), None);
    rig.store.forget_acme_order(OF).await.unwrap();
    assert_eq!(rig.store.acme_order(OF, NOW).await.unwrap(), None);

    let account = AcmeAccount { credentials: "secret".into(), email: "ops@example.com".into() };
    rig.store.save_acme_account(OF.directory, None, &account).await.unwrap();
    assert_eq!(rig.store.acme_account(OF.directory, None, NOW).await.unwrap(), Some(account));
    assert_eq!(rig.store.acme_account(OF.directory, Some("kid"), NOW).await.unwrap(), None, "another's");
    let forget =
        |credentials: &'static str| rig.store.forget_acme_account(OF.directory, None, credentials, NOW);
    assert!(!forget("another's").await.unwrap());
    assert!(rig.store.acme_account(OF.directory, None, NOW).await.unwrap().is_some());
    assert!(forget("secret").await.unwrap());
    assert_eq!(rig.store.acme_account(OF.directory, None, NOW).await.unwrap(), None);
    assert!(!forget("secret").await.unwrap(), "once");
}

pub(crate) async fn how_a_renewal_goes_is_swapped_and_told_to_all(rig: &Rig) {
    let failed = Renewal { failures: 1, problem: Some("no".into()), ..Renewal::default() };
    assert_eq!(rig.store.swap_renewal(OF, None, &failed, later(100)).await.unwrap(), Swap::Done);
    let mark = rig.store.certificates_changed(NOW).await.unwrap();
    let loaded = rig.store.renewal(OF, NOW).await.unwrap().unwrap();
    assert_eq!(loaded.value, failed);
    let asked = Renewal { asked: true, ..failed.clone() };
    let another = rig.another().await;
    assert_eq!(another.swap_renewal(OF, Some(&loaded), &asked, later(100)).await.unwrap(), Swap::Done);
    assert_ne!(rig.store.certificates_changed(NOW).await.unwrap(), mark, "told");
    let late = Renewal { failures: 2, ..failed };
    let swapped = rig.store.swap_renewal(OF, Some(&loaded), &late, later(100)).await.unwrap();
    assert_eq!(swapped, Swap::Conflict, "an operator asked meanwhile");
    assert_eq!(rig.store.renewal(OF, NOW).await.unwrap().unwrap().value, asked);
}

pub(crate) async fn a_challenge_is_answered_by_all_while_it_is_open(rig: &Rig) {
    let http = OpenChallenge::Http01 { host: "a.example", token: "t" };
    let tls = OpenChallenge::TlsAlpn01 { host: "a.example" };
    rig.store.open_challenge(http, "t.thumb", later(100)).await.unwrap();
    rig.store.open_challenge(tls, "digest", later(100)).await.unwrap();
    let another = rig.another().await;
    assert_eq!(another.challenge(http, later(99)).await.unwrap().as_deref(), Some("t.thumb"));
    assert_eq!(another.challenge(tls, NOW).await.unwrap().as_deref(), Some("digest"));
    for not_open in [
        OpenChallenge::Http01 { host: "a.example", token: "u" },
        OpenChallenge::Http01 { host: "b.example", token: "t" },
        OpenChallenge::TlsAlpn01 { host: "b.example" },
    ] {
        assert_eq!(another.challenge(not_open, NOW).await.unwrap(), None, "{not_open:?}");
    }
    assert_eq!(another.challenge(http, later(100)).await.unwrap(), None, "it has ended");
    rig.store.close_challenge(tls).await.unwrap();
    assert_eq!(another.challenge(tls, NOW).await.unwrap(), None);
}

/// What [`plant_acme`] hides in a store.
pub(crate) const ACME_SECRETS: [&str; 4] =
    ["planted-account", "planted-certificate-key", "planted-order-key", "planted-answer"];

pub(crate) async fn plant_acme(store: &Store) {
    let [account, key, order_key, answer] = ACME_SECRETS.map(str::to_owned);
    let account = AcmeAccount { credentials: account, email: "ops@example.com".into() };
    store.save_acme_account(OF.directory, None, &account).await.unwrap();
    store.save_certificate(&StoredCertificate { key, ..certificate(OF, "chain") }, later(600)).await.unwrap();
    let order = AcmeOrder { url: "https://ca.example/1".into(), key: order_key, challenge: "http-01".into() };
    store.save_acme_order(OF, &order, later(600)).await.unwrap();
    store.open_challenge(OpenChallenge::TlsAlpn01 { host: OF.host }, &answer, later(600)).await.unwrap();
}
