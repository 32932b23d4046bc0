use http::header::AUTHORIZATION;
use proptest::prelude::*;

use super::super::testing::{self, ISSUER, NOW};
use super::*;
use crate::oauth::{ClientId, KeyId, Resource, Subject};
use crate::store::Revocation;
use crate::token::SigningKey;

const STALENESS: Duration = Duration::from_mins(5);

/// An admission for `claims`, made as every other: by a token.
pub(in crate::gateway) fn admission(service: &Service, claims: &Claims) -> Admission {
    let world = World::new();
    Admission::Token(world.admit(&world.mint(claims), service).unwrap())
}

/// An admission to a public service.
pub(in crate::gateway) fn public() -> Admission {
    Admission::Public(PublicAdmission { _made_by_the_guard: () })
}

fn keys(name: &str) -> SigningKeys {
    let key = SigningKey::read(KeyId::parse(name).unwrap(), &SigningKey::generate().unwrap()).unwrap();
    SigningKeys::new(vec![key]).unwrap()
}

struct World {
    keys: SigningKeys,
    cache: TokenCache,
    revocations: Revocations,
    now: Timestamp,
}

impl World {
    fn new() -> Self {
        let revocations = Revocations::new();
        revocations.update(&[], STALENESS, NOW);
        Self { keys: keys("one"), cache: TokenCache::new(10), revocations, now: NOW }
    }

    fn mint(&self, claims: &Claims) -> String {
        self.keys.mint(claims).unwrap().expose().to_owned()
    }

    fn admit(&self, token: &str, service: &Service) -> Result<TokenAdmission, Refusal> {
        let checks =
            Checks { issuer: ISSUER, staleness: STALENESS, revocations: &self.revocations, now: self.now };
        let admitted = checks.admit(token, &self.keys, &self.cache, service);
        // What an operator is told of the token is what happens to it, in all of these tests.
        let (told, verdict) = checks.inspect(token, &self.keys, service);
        assert_eq!(verdict, admitted.as_ref().map(|_| ()).map_err(Clone::clone), "{told:?}");
        let is_passed = told.iter().all(|check| check.finding != Finding::Refused);
        assert_eq!(is_passed, admitted.is_ok(), "{told:?}");
        admitted
    }

    /// What becomes of a token with these claims: the same on a cache miss and on a hit.
    fn verdict(&self, claims: &Claims, service: &Service) -> Result<(), Refusal> {
        let token = self.mint(claims);
        let miss = self.admit(&token, service).map(|_| ());
        assert_eq!(self.admit(&token, service).map(|_| ()), miss, "the cache changes the verdict");
        miss
    }
}

#[test]
fn a_token_for_this_service_is_admitted_and_confirms_its_generation_once() {
    let (world, service) = (World::new(), testing::service());
    let token = world.mint(&testing::claims());
    let first = world.admit(&token, &service).unwrap();
    assert_eq!(first.claims(), &testing::claims());
    assert_eq!(first.confirms(), Some((testing::claims().grant, 7)));
    assert_eq!(world.admit(&token, &service).unwrap().confirms(), None, "seen before");
}

// A refused first request once left its generation unconfirmed for good.
#[test]
fn a_token_that_was_refused_at_first_still_confirms_its_generation_once() {
    let (mut world, service) = (World::new(), testing::service());
    let token = world.mint(&testing::claims());
    world.now = NOW.after(STALENESS).after(Duration::from_secs(1));
    assert_eq!(world.admit(&token, &service).unwrap_err(), Refusal::Stale);
    world.revocations.update(&[], STALENESS, world.now);
    let mut narrow = testing::service();
    narrow.settings.scopes = Scopes::parse("todo:delete");
    assert!(matches!(world.admit(&token, &narrow), Err(Refusal::Scope { .. })));
    let confirmed = Some((testing::claims().grant, 7));
    assert_eq!(world.admit(&token, &service).unwrap().confirms(), confirmed);
    assert_eq!(world.admit(&token, &service).unwrap().confirms(), None, "seen before");
}

// R5
#[test]
fn a_token_for_another_service_is_refused() {
    for other in
        ["https://fetch.example.com/mcp", "https://todo.example.com/mcp/", "https://todo.example.com"]
    {
        let mut claims = testing::claims();
        claims.resource = Resource::from_canonical(other.into());
        assert_eq!(World::new().verdict(&claims, &testing::service()), Err(Refusal::Audience), "{other}");
    }
}

// R4
#[test]
fn another_issuers_token_is_refused_even_when_it_was_cached_before_a_reload() {
    let (world, service) = (World::new(), testing::service());
    let token = world.mint(&testing::claims());
    world.admit(&token, &service).unwrap();
    let checks = Checks {
        issuer: "https://new.example.com",
        staleness: STALENESS,
        revocations: &world.revocations,
        now: NOW,
    };
    let refusal = checks.admit(&token, &world.keys, &world.cache, &service).unwrap_err();
    assert_eq!(refusal, Refusal::Token(TokenError::Issuer));
}

// R4
#[test]
fn a_cached_token_expires_to_the_second() {
    let mut world = World::new();
    let (claims, service) = (testing::claims(), testing::service());
    let token = world.mint(&claims);
    world.now = claims.expires.before(Duration::from_secs(1));
    world.revocations.update(&[], STALENESS, world.now);
    assert!(world.admit(&token, &service).is_ok());
    world.now = claims.expires;
    assert_eq!(world.admit(&token, &service).unwrap_err(), Refusal::Token(TokenError::Expired));
}

// V3
#[test]
fn a_key_that_was_given_away_ends_a_cached_token() {
    let (mut world, service) = (World::new(), testing::service());
    let token = world.mint(&testing::claims());
    world.admit(&token, &service).unwrap();
    world.keys = crate::token::testing::keys(&["another"]);
    let refusal = world.admit(&token, &service).unwrap_err();
    assert!(matches!(refusal, Refusal::Token(TokenError::UnknownKey(Some(_)))), "{refusal}");
}

#[test]
fn changed_access_rules_end_a_cached_token() {
    let (world, mut service) = (World::new(), testing::service());
    let token = world.mint(&testing::claims());
    world.admit(&token, &service).unwrap();
    service.access = "rules-2".into();
    assert_eq!(world.admit(&token, &service).unwrap_err(), Refusal::AccessChanged);
}

// R14
#[test]
fn a_revoked_grant_ends_a_cached_token_at_once() {
    let (world, service) = (World::new(), testing::service());
    let token = world.mint(&testing::claims());
    world.admit(&token, &service).unwrap();
    world.revocations.insert(Revocation { grant: testing::claims().grant, at: NOW, until: None });
    assert_eq!(world.admit(&token, &service).unwrap_err(), Refusal::Revoked);
}

#[test]
fn while_revocations_are_not_known_nothing_is_admitted() {
    let (mut world, service) = (World::new(), testing::service());
    let token = world.mint(&testing::claims());
    world.now = NOW.after(STALENESS);
    assert!(world.admit(&token, &service).is_ok());
    world.now = world.now.after(Duration::from_secs(1));
    assert_eq!(world.admit(&token, &service).unwrap_err(), Refusal::Stale);
}

// R7, R8, D5: what was granted may have `offline_access` in it, which belongs in no challenge.
#[test]
fn a_missing_scope_asks_for_granted_and_needed_together() {
    let mut claims = testing::claims();
    claims.scopes = Scopes::parse("todo:list mcp offline_access");
    let refusal = World::new().verdict(&claims, &testing::service()).unwrap_err();
    assert_eq!(refusal, Refusal::Scope { union: Scopes::parse("mcp todo:list todo:read") });
    assert_eq!(refusal.status(), StatusCode::FORBIDDEN);
    assert_eq!(
        refusal.challenge(&testing::service()).unwrap(),
        "Bearer resource_metadata=\"https://todo.example.com/.well-known/oauth-protected-resource/mcp\", \
         scope=\"mcp todo:list todo:read\", error=\"insufficient_scope\", \
         error_description=\"the token lacks a scope\""
    );
}

// R9
#[test]
fn a_scope_that_implies_the_needed_one_is_enough() {
    let mut claims = testing::claims();
    claims.scopes = Scopes::parse("todo:write");
    assert_eq!(World::new().verdict(&claims, &testing::service()), Ok(()));
}

// R12
#[test]
fn a_token_of_an_unknown_key_says_so_and_is_good_once_the_key_is_loaded() {
    let (mut world, service) = (World::new(), testing::service());
    let rotated = keys("two");
    let token = rotated.mint(&testing::claims()).unwrap().expose().to_owned();
    let refusal = world.admit(&token, &service).unwrap_err();
    assert!(matches!(refusal, Refusal::Token(TokenError::UnknownKey(_))), "{refusal:?}");
    world.keys = rotated;
    assert!(world.admit(&token, &service).is_ok());
}

// R1, R2
#[test]
fn the_first_challenge_has_no_error() {
    let service = testing::service();
    assert_eq!(Refusal::NoToken.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(
        Refusal::NoToken.challenge(&service).unwrap(),
        "Bearer resource_metadata=\"https://todo.example.com/.well-known/oauth-protected-resource/mcp\", \
         scope=\"todo:read\""
    );
}

// R4
#[test]
fn every_refused_token_is_401_invalid_token() {
    let refusals = [
        Refusal::Token(TokenError::Malformed),
        Refusal::Token(TokenError::Signature),
        Refusal::Audience,
        Refusal::AccessChanged,
        Refusal::Revoked,
    ];
    for refusal in refusals {
        assert_eq!(refusal.status(), StatusCode::UNAUTHORIZED);
        let challenge = refusal.challenge(&testing::service()).unwrap();
        let error = format!(", error=\"invalid_token\", error_description=\"{refusal}\"");
        assert!(challenge.starts_with("Bearer resource_metadata=\""), "{challenge}");
        assert!(challenge.ends_with(&error), "{challenge}");
    }
}

// R6
#[test]
fn two_methods_are_400_and_staleness_is_503() {
    assert_eq!(Refusal::TwoMethods.status(), StatusCode::BAD_REQUEST);
    assert_eq!(Refusal::TwoMethods.code(), Some("invalid_request"));
    assert_eq!(Refusal::Stale.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(Refusal::Stale.challenge(&testing::service()), None);
}

// R13
#[test]
fn no_authorization_header_makes_the_guard_panic() {
    let world = World::new();
    for value in ["Bearer a.b.c", "Bearer ..", "Bearer eyJhbGciOiJub25lIn0.e30.", "Bearer \u{1f600}"] {
        let headers: HeaderMap =
            [(AUTHORIZATION, http::HeaderValue::from_bytes(value.as_bytes()).unwrap())].into_iter().collect();
        let refusal = bearer::token(&headers, None)
            .and_then(|token| world.admit(token, &testing::service()).map(|_| ()))
            .unwrap_err();
        assert_eq!(refusal.code(), Some("invalid_token"), "{value}");
    }
}

// A client that acts on its own is let in by the configuration, and no longer than that says so.
#[test]
fn a_client_s_own_token_ends_with_what_the_configuration_gives_it() {
    let client = ClientId::parse("ci").unwrap();
    let claims = Claims { subject: Subject::of_client(&client), client, ..testing::claims() };
    let allowed = |scopes: &str| Service {
        clients: [(claims.subject.clone(), Scopes::parse(scopes))].into(),
        ..testing::service()
    };
    let world = World::new();
    assert_eq!(world.verdict(&claims, &allowed("todo:read todo:write")), Ok(()));
    assert_eq!(world.verdict(&claims, &allowed("todo:write")), Err(Refusal::AccessChanged));
    assert_eq!(world.verdict(&claims, &testing::service()), Err(Refusal::AccessChanged), "no client here");
    let person = testing::claims();
    assert_eq!(world.verdict(&person, &testing::service()), Ok(()), "of people the access rules decide");
}

proptest! {
    // `portcullis token inspect` says "accepted" if and only if the guard admits: `World::admit` compares the two.
    #[test]
    fn an_operator_is_told_what_happens(
        (skewed, stale, revoked) in (-7200_i64..7200, any::<bool>(), any::<bool>()),
        scopes in prop::sample::select(vec!["todo:read", "todo:write", "mcp", "", "todo:read offline_access"]),
        (resource, access, issuer) in (
            prop::sample::select(vec![testing::RESOURCE, "https://other.example.com/mcp", ""]),
            prop::sample::select(vec!["rules-1", "rules-2"]),
            prop::sample::select(vec![ISSUER, "https://evil.example"]),
        ),
        broken in prop::option::of((any::<prop::sample::Index>(), "[A-Za-z0-9_.-]{0,2}")),
    ) {
        let mut world = World::new();
        world.now = Timestamp::from_seconds(NOW.seconds().saturating_add_signed(skewed));
        world.revocations.update(&[], STALENESS, if stale { NOW.before(STALENESS * 30) } else { world.now });
        let claims = Claims {
            scopes: Scopes::parse(scopes),
            resource: Resource::from_canonical(resource.to_owned()),
            access: access.to_owned(),
            issuer: issuer.to_owned(),
            ..testing::claims()
        };
        if revoked {
            world.revocations.insert(Revocation { grant: claims.grant, at: NOW, until: None });
        }
        let mut token = world.mint(&claims);
        if let Some((at, text)) = broken {
            let at = at.index(token.len());
            token.replace_range(at..=at, &text);
        }
        let admitted = world.admit(&token, &testing::service()).is_ok();
        let good = !stale && !revoked && scopes.starts_with("todo") && resource == testing::RESOURCE
            && access == "rules-1" && issuer == ISSUER && (-30..3600).contains(&skewed);
        prop_assert!(!admitted || good);
    }
}
