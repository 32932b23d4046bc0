//! What a client says of itself: a registration, or a document on its own host.

use std::collections::BTreeMap;

use portcullis::oauth::{
    ClientId, ClientLimits, ClientMetadata, DocumentUrl, NEVER_PRIVATE, OAuthError, RedirectPolicy,
    read_document, register,
};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use url::{Host, Url};

use crate::text;

const DOCUMENT: &str = "https://client.example/oauth/metadata.json";

/// What is applied is well-formed, is what was asked for, and would be applied again as it is (G1, G3).
pub(crate) fn registration(data: &[u8]) {
    let limits = ClientLimits::default();
    let applied = match register(data, &RedirectPolicy::default(), limits) {
        Ok(applied) => applied,
        Err(error) => {
            let told = OAuthError::from(&error);
            assert!(["invalid_client_metadata", "invalid_redirect_uri"].contains(&told.code.as_str()), "G6");
            assert!(!told.wire_description().is_empty());
            return;
        }
    };
    check(&applied, &Members::of(data));
    let written = serde_json::to_vec(&applied).unwrap();
    let again = register(&written, &RedirectPolicy::default(), limits).unwrap();
    assert_eq!(again, applied);
}

/// A document speaks for its own URL alone, and for nobody with a secret (M2, M8).
pub(crate) fn document(data: &[u8]) {
    let url = DocumentUrl::parse(&ClientId::parse(DOCUMENT).unwrap()).unwrap();
    let limits = ClientLimits::default();
    let Ok(applied) = read_document(&url, data, &RedirectPolicy::default(), limits) else { return };
    let document = Members::of(data);
    assert_eq!(document.read::<String>("client_id").as_deref(), Some(DOCUMENT));
    assert!(document.read::<String>("client_name").is_some() && applied.client_name.is_some());
    for secret in ["client_secret", "client_secret_expires_at"] {
        assert!(document.0.get(secret).is_none_or(|value| value.get() == "null"), "M8");
    }
    check(&applied, &document);
    let mut written = serde_json::to_value(&applied).unwrap();
    written["client_id"] = DOCUMENT.into();
    let again = read_document(&url, written.to_string().as_bytes(), &RedirectPolicy::default(), limits);
    assert_eq!(again.unwrap(), applied);
}

/// A JSON object, its members not yet read: nobody minds what stands in those that we do not know, as long as it is JSON.
struct Members<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Members<'a> {
    fn of(data: &'a [u8]) -> Self {
        let data = text(data).expect("JSON is UTF-8 (RFC 8259 §8.1)");
        Self(serde_json::from_str(data).expect("an object"))
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        self.0.get(name).map(|value| serde_json::from_str(value.get()).unwrap())
    }
}

fn check(applied: &ClientMetadata, asked: &Members<'_>) {
    assert_eq!(applied.token_endpoint_auth_method, "none");
    assert!(!applied.grant_types.is_empty() && applied.response_types == ["code"]);
    let uris: Vec<String> = applied.redirect_uris.iter().map(|uri| uri.as_str().to_owned()).collect();
    assert_eq!(Some(uris.clone()), asked.read("redirect_uris"), "string for string (G1)");
    assert!((1..=20).contains(&uris.len()), "G8");
    for uri in uris {
        let scheme = Url::parse(&uri).unwrap().scheme().to_owned();
        assert!(["http", "https"].contains(&&*scheme) || !NEVER_PRIVATE.contains(&&*scheme), "{uri}");
    }
    for link in [&applied.client_uri, &applied.logo_uri, &applied.tos_uri, &applied.policy_uri] {
        let web = |link: &String| ["http", "https"].contains(&Url::parse(link).unwrap().scheme());
        assert!(link.as_ref().is_none_or(web), "C9: {link:?}");
    }
}

/// An id that names a document leads to a public name, and every reader reads the same in it (M1).
pub(crate) fn document_url(data: &[u8]) {
    let Some(id) = text(data).and_then(ClientId::parse) else { return };
    let Ok(read) = DocumentUrl::parse(&id) else { return };
    assert!(DocumentUrl::is_meant_by(&id));
    assert_eq!((read.id(), read.url().as_str()), (&id, id.as_str()));
    let url = Url::parse(id.as_str()).unwrap();
    assert_eq!(
        (url.scheme(), url.username(), url.password(), url.port(), url.fragment()),
        ("https", "", None, None, None)
    );
    let Some(Host::Domain(name)) = url.host() else { panic!("an address: {id}") };
    assert_eq!(read.host(), name);
    assert!(name.contains('.') && url.path().len() > 1);
    assert!(url.path_segments().unwrap().all(|segment| segment != "." && segment != ".."));
}
