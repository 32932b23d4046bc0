use serde_json::{from_value, json};

use super::*;
use crate::oauth::{
    AttemptId, CodeChallenge, Facts, GrantState, Known, Membership, Resource, RevocationReason, Standing,
    User,
};
use crate::secret::Key;
use crate::store::{FlowRequest, Suggested, UserToken};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn sealer() -> Sealer {
    Sealer::new(Key::new([0x42; 32]))
}

fn client_value() -> Client {
    from_value(json!({
        "id": "c_one",
        "metadata": {
            "redirect_uris": ["http://127.0.0.1/callback"],
            "client_name": "Example",
            "grant_types": ["authorization_code"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        },
        "issued_at": 1_800_000_000,
        "expires": 1_800_086_400,
    }))
    .unwrap()
}

fn facts() -> Facts {
    let email = Some("octocat@example.com".to_owned());
    Facts {
        user: User { subject: Subject::new("github", "583231"), login: "Octocat".to_owned(), email },
        pinned: vec!["octocat".to_owned()],
        orgs: vec!["example".to_owned()],
        teams: Vec::new(),
    }
}

fn challenge() -> CodeChallenge {
    from_value(json!(Digest::of(b"challenge"))).unwrap()
}

fn grant_value(state: GrantState) -> Grant {
    Grant {
        id: GrantId::new([7; 16]),
        client: ClientId::parse("c_one").unwrap(),
        facts: facts(),
        resource: Resource::from_canonical("https://fetch.example.com/mcp".to_owned()),
        scopes: from_value(json!(["mcp"])).unwrap(),
        created: NOW,
        attempt: AttemptId::new([1; 8]),
        used: None,
        state,
    }
}

fn flow_value() -> Flow {
    Flow {
        request: Some(FlowRequest {
            client: ClientId::parse("c_one").unwrap(),
            redirect_uri: "http://127.0.0.1:4000/callback".to_owned(),
            state: Some("theirs".to_owned()),
            challenge: challenge(),
            resource: Resource::from_canonical("https://fetch.example.com/mcp".to_owned()),
            scopes: from_value(json!(["mcp"])).unwrap(),
        }),
        verifier: "verifier".to_owned(),
        expires: NOW,
    }
}

fn user_value() -> UserRecord {
    let standing = |of: &str, membership| Standing { of: of.to_owned(), membership, at: NOW };
    let standings = vec![
        standing("example", Membership::Active),
        standing("example/core", Membership::Absent),
        standing("other", Membership::Hidden),
    ];
    let tried = Timestamp::from_seconds(1_800_000_060);
    let ends = Some(Timestamp::from_seconds(1_800_028_800));
    let refresh = Some("ghr_one".to_owned());
    UserRecord {
        known: Known { user: facts().user, standings, answered: NOW, tried },
        token: Some(UserToken { access: "ghu_one".to_owned(), ends, refresh }),
        expires: NOW,
    }
}

/// Writes `value`, compares it with `golden`, and reads `golden` back.
fn is_written_as<T: Record + std::fmt::Debug>(value: &T, exp: Option<Timestamp>, golden: &str) {
    let name = Name::new("name".to_owned());
    let bytes = write(&name, value, exp, &sealer());
    let (version, json) = bytes.split_first().unwrap();
    assert_eq!((*version, std::str::from_utf8(json).unwrap()), (1, golden));
    let again = read::<T>(&name, &bytes, &sealer()).unwrap();
    assert_eq!((format!("{:?}", again.value), again.exp), (format!("{value:?}"), exp));
}

#[test]
fn open_records_are_written_as_ever() {
    is_written_as(&SCHEMA, None, r#"{"value":1}"#);
    is_written_as(&RESEALING, None, r#"{"value":1}"#);
    is_written_as(
        &client_value(),
        Some(Timestamp::from_seconds(1_800_086_400)),
        r#"{"exp":1800086400,"value":{"id":"c_one","metadata":{"redirect_uris":["http://127.0.0.1/callback"],"client_name":"Example","grant_types":["authorization_code"],"response_types":["code"],"token_endpoint_auth_method":"none"},"issued_at":1800000000,"expires":1800086400}}"#,
    );
    is_written_as(
        &Client { registration_token: Some(Digest::of(b"token")), ..client_value() },
        Some(Timestamp::from_seconds(1_800_086_400)),
        r#"{"exp":1800086400,"value":{"id":"c_one","metadata":{"redirect_uris":["http://127.0.0.1/callback"],"client_name":"Example","grant_types":["authorization_code"],"response_types":["code"],"token_endpoint_auth_method":"none"},"issued_at":1800000000,"expires":1800086400,"registration_token":"PEaenWxYddN6Q_NT1PiOYfz4EsZu7jRXRlpAsNpBU-A"}}"#,
    );
    is_written_as(
        &Client { secret: Some(Digest::of(b"token")), ..client_value() },
        Some(Timestamp::from_seconds(1_800_086_400)),
        r#"{"exp":1800086400,"value":{"id":"c_one","metadata":{"redirect_uris":["http://127.0.0.1/callback"],"client_name":"Example","grant_types":["authorization_code"],"response_types":["code"],"token_endpoint_auth_method":"none"},"issued_at":1800000000,"expires":1800086400,"secret":"PEaenWxYddN6Q_NT1PiOYfz4EsZu7jRXRlpAsNpBU-A"}}"#,
    );
    is_written_as(&AttemptId::new([1; 8]), Some(NOW), r#"{"exp":1800000000,"value":72340172838076673}"#);
    is_written_as(
        &Session { facts: facts(), expires: NOW },
        Some(NOW),
        r#"{"exp":1800000000,"value":{"facts":{"user":{"subject":"github:583231","login":"Octocat","email":"octocat@example.com"},"pinned":["octocat"],"orgs":["example"]},"expires":1800000000}}"#,
    );
    let pin = Pin { login: "octocat".to_owned(), subject: Subject::new("github", "583231") };
    is_written_as(&pin, None, r#"{"value":{"login":"octocat","subject":"github:583231"}}"#);
    let alone = Place { name: "client:x".to_owned(), beside: None };
    is_written_as(&alone, Some(NOW), r#"{"exp":1800000000,"value":{"name":"client:x"}}"#);
    let two = Place { name: "flow:x".to_owned(), beside: Some("busy:y".to_owned()) };
    is_written_as(&two, Some(NOW), r#"{"exp":1800000000,"value":{"name":"flow:x","beside":"busy:y"}}"#);
    let provider = Provider { origin: "https://github.com".to_owned() };
    is_written_as(&provider, None, r#"{"value":{"origin":"https://github.com"}}"#);
    let lease = Lease { holder: "AAAA".to_owned() };
    is_written_as(&lease, Some(NOW), r#"{"exp":1800000000,"value":{"holder":"AAAA"}}"#);
    let in_team = Facts { teams: vec!["example/core".to_owned()], ..facts() };
    is_written_as(
        &Session { facts: in_team, expires: NOW },
        Some(NOW),
        r#"{"exp":1800000000,"value":{"facts":{"user":{"subject":"github:583231","login":"Octocat","email":"octocat@example.com"},"pinned":["octocat"],"orgs":["example"],"teams":["example/core"]},"expires":1800000000}}"#,
    );
}

#[test]
fn what_is_kept_of_acme_is_written_as_ever() {
    let account = AcmeAccount { credentials: "{}".to_owned(), email: "ops@example.com".to_owned() };
    is_written_as(&account, None, r#"{"value":{"credentials":"{}","email":"ops@example.com"}}"#);
    let certificate = StoredCertificate {
        host: "a.example".to_owned(),
        directory: "https://ca.example/dir".to_owned(),
        chain: "CHAIN".to_owned(),
        key: "KEY".to_owned(),
        issued: NOW,
    };
    is_written_as(
        &certificate,
        Some(NOW),
        r#"{"exp":1800000000,"value":{"host":"a.example","directory":"https://ca.example/dir","chain":"CHAIN","key":"KEY","issued":1800000000}}"#,
    );
    let order = AcmeOrder {
        url: "https://ca.example/order/1".to_owned(),
        key: "KEY".to_owned(),
        challenge: "http-01".to_owned(),
    };
    is_written_as(
        &order,
        Some(NOW),
        r#"{"exp":1800000000,"value":{"url":"https://ca.example/order/1","key":"KEY","challenge":"http-01"}}"#,
    );
    is_written_as(&Renewal::default(), Some(NOW), r#"{"exp":1800000000,"value":{}}"#);
    let suggested = Suggested {
        serial: "01:02".to_owned(),
        window: Some((NOW, Timestamp::from_seconds(1_800_086_400))),
        again: NOW,
        explanation: Some("https://ca.example/why".to_owned()),
        failures: 0,
    };
    let renewal = Renewal {
        failures: 2,
        problem: Some("P".to_owned()),
        next: Some(NOW),
        challenge: Some("http-01".to_owned()),
        asked: true,
        suggested: Some(suggested),
    };
    is_written_as(
        &renewal,
        None,
        r#"{"value":{"failures":2,"problem":"P","next":1800000000,"challenge":"http-01","asked":true,"suggested":{"serial":"01:02","window":[1800000000,1800086400],"again":1800000000,"explanation":"https://ca.example/why"}}}"#,
    );
}

#[test]
fn flows_are_written_as_ever() {
    is_written_as(
        &flow_value(),
        Some(NOW),
        r#"{"exp":1800000000,"value":{"client":"c_one","redirect_uri":"http://127.0.0.1:4000/callback","state":"theirs","challenge":"LdAL134CIs7YgmZUganB2fkHMJ0W4F7QB6HqY5KEd6k","resource":"https://fetch.example.com/mcp","scopes":["mcp"],"verifier":"verifier","expires":1800000000}}"#,
    );
    let to_our_pages = Flow { request: None, ..flow_value() };
    let golden = r#"{"exp":1800000000,"value":{"verifier":"verifier","expires":1800000000}}"#;
    is_written_as(&to_our_pages, Some(NOW), golden);
}

#[test]
fn grants_are_written_as_ever() {
    let states = [
        (
            GrantState::Pending {
                code: Digest::of(b"code"),
                challenge: challenge(),
                redirect_uri: "http://127.0.0.1:4000/callback".to_owned(),
                until: NOW,
            },
            r#"{"pending":{"code":"VpTQii5T_8rgwxA-Wtb2B2q9lg6x-KVldwQLwQKPcCs","challenge":"LdAL134CIs7YgmZUganB2fkHMJ0W4F7QB6HqY5KEd6k","redirect_uri":"http://127.0.0.1:4000/callback","until":1800000000}}"#,
        ),
        (
            GrantState::Active {
                code: Digest::of(b"code"),
                salt: [3; 16],
                generation: 2,
                reached: NOW,
                confirmed: true,
            },
            r#"{"active":{"code":"VpTQii5T_8rgwxA-Wtb2B2q9lg6x-KVldwQLwQKPcCs","salt":[3,3,3,3,3,3,3,3,3,3,3,3,3,3,3,3],"generation":2,"reached":1800000000,"confirmed":true}}"#,
        ),
        (
            GrantState::Revoked { at: NOW, reason: RevocationReason::RefreshReused, until: None },
            r#"{"revoked":{"at":1800000000,"reason":"refresh_reused"}}"#,
        ),
        (
            GrantState::Revoked {
                at: NOW,
                reason: RevocationReason::Operator,
                until: Some(Timestamp::from_seconds(1_800_086_400)),
            },
            r#"{"revoked":{"at":1800000000,"reason":"operator","until":1800086400}}"#,
        ),
        (GrantState::Dead { at: NOW }, r#"{"dead":{"at":1800000000}}"#),
    ];
    for (state, golden) in states {
        let before = r#"{"exp":1800000000,"value":{"id":"BwcHBwcHBwcHBwcHBwcHBw","client":"c_one","facts":{"user":{"subject":"github:583231","login":"Octocat","email":"octocat@example.com"},"pinned":["octocat"],"orgs":["example"]},"resource":"https://fetch.example.com/mcp","scopes":["mcp"],"created":1800000000,"attempt":72340172838076673,"state":"#;
        is_written_as(&grant_value(state), Some(NOW), &format!("{before}{golden}}}}}"));
    }
}

/// Sealed by an independent implementation (Python's `cryptography`), with the nonce 000102…0b.
#[test]
fn sealed_records_are_read_as_ever() {
    let flow = opened::<Flow>(
        &flow(&Secret::new("state".to_owned())),
        "AQEAAQIDBAUGBwgJCgvGb0nuOl4zs2NUz+oTmguEsakd/nKGa9A/cLl+IF7B6H/rAQvSPuYf/cCJJVBBPjfh0gWYQp3Xb6rhyBgZS92SrmJtcxtTi75iVXYc6ByVr3JTfrFrzQfK5RpxtXCXZSbpCQPTbdBcEeJ+ZS9qlf0hNf22HG4EXaXwBTKvNb/M0hXXCQI5dMIvd+C2Q8VRCDBK099K0K63KzYkMyWPxfJ6tuq4UBlBIj0IsKolRVXYfwSZJER70Fbe9kSBVmWFaca1YUgnRHmWxbBZJmrshVbyCN2or56xSVnxkMHYEUkXRZqa181DTAhdwxLr1/TziYthyTOKZWDzJ8tzvXJUbGIVGmssu4vARDC86yRHmZidpx3Y9jWto3+d6nAl5uWt6Q==",
    );
    assert_eq!(format!("{:?}", flow.value), format!("{:?}", flow_value()));
    assert_eq!(flow.exp, Some(NOW));
    let user = opened::<UserRecord>(
        &user(&Subject::new("github", "583231")),
        "AQEAAQIDBAUGBwgJCgvGb0nuOl4zs2NUz+oTmguEsakd/nKGa9A/cLl+KFzH+n+9GUrSKMoV4YeRclBALjHixQOPFPiAeqq3mk8TBZzap39xcwtIh+IjAjFD8BKH0CEIcrNm1UeHpBQ++DuIM32/A0KdIMdVAMtpbmwrx/IsevK1FCIeFKW5Ux+lEJqThlK2eip1D8okD4/zR9NyVyZN/rAswpTmAGMQA2Cv3dttx429BQYKeHpY+fsrRAWBKx6TNhw/lBad/BaCSyKebIyhJlU+SGSKzPsVKmixjReuCJzvsZ+7S0/q24uhCQYVV8uilZsXBVhV0Vm0lO75m800i2rcPHitfsU+vigeJ38EASxkqJ/SGWXhuXEF2o2JSrL8jgLNYyDOW2G0H7O4OB+Jn8U4qrSBe9D/dLt/LAY11QyVEDqbCYqmp3K1VXJsiJ7QMhxKGnDf4G88AMzwPMnWR5NpROEPX8+fOuuG/4rIO7GO/Sqh4ZwrwmiPGJSZZwHBYvsZlEj0Owx8pyf1V0WCi/n6BTnr8wpX5cT8wrvM1QE2Ug+92Yakn/NGXBHfXNFjZe6x/FWB/QsYPY+jhR67C0gh8x+EypWZ9Le+3sfz",
    );
    assert_eq!((user.value, user.exp), (user_value(), Some(NOW)));
    let ring = opened::<Vec<StoredKey>>(&ring(RingKind::Signing), "AQEAAQIDBAUGBwgJCgvGb1r3JglsoGE/hPhKzhmOo+4Oqj/Ic9RpL7A1Il6KtzPyQkWVL9AR/4eHKxFBPjL8xQTZDPOaLfPzwgpBD5mfyTBO4A7F0nlwIXpQxSaD2PW3").value;
    assert_eq!((ring[0].id.as_str(), ring[0].material.as_str(), ring[0].created), ("k1", "material", NOW));
    let two = ring_of_two();
    let next = opened::<Vec<StoredKey>>(&super::ring(RingKind::Refresh), "AQEAAQIDBAUGBwgJCgvGb1r3JglsoGE/hPhKzhmOo+4Nqj/Ic9RpL7A1Il6KtzPsRlKfM91Sv4fIexdSLzbsglrKDvKSLfPzwgpBE4uR/SosMXYC1+EhR2Ic6hiVr3pKKeA33EnQpBg3u2jGena/QAOELtBRBuJtei98lfggJuKuWyxBW/WvRgquENHH0BatckM8GZVyHciMX2fP93m2m6CpK9fTxrnJV8w=").value;
    assert_eq!(next, two, "with a key to come");
    assert_eq!(
        opened::<String>(
            &check(),
            "AQEAAQIDBAUGBwgJCgvGb1r3JglsoGFGj7VR3ljB7elW+zGXAUt3lXeWkx+Rn5DhXh+sAw=="
        )
        .value,
        CHECK
    );
}

/// A key to come, and the one of a store of before that still signs.
fn ring_of_two() -> Vec<StoredKey> {
    let key = |id: &str, material: &str, created, signs_from| StoredKey {
        id: crate::oauth::KeyId::parse(id).unwrap(),
        material: material.to_owned(),
        created: Timestamp::from_seconds(created),
        signs_from,
        needed: None,
    };
    let begins = Timestamp::from_seconds(1_800_086_400);
    vec![key("k2", "second", 1_800_000_000, Some(begins)), key("k1", "first", 1_792_224_000, None)]
}

// secret-key-changed
#[test]
fn a_record_sealed_again_says_the_same_and_ends_when_it_did() {
    let new = Sealer::new(Key::new([0x43; 32])).with_previous(Key::new([0x42; 32]));
    let (name, secret) = (flow(&Secret::new("state".to_owned())), flow_value());
    let before = write(&name, &secret, Some(NOW), &sealer());
    let SealedAgain { bytes: after, exp } = reseal(&name, &before, &new).unwrap().unwrap();
    assert_eq!(exp, Some(NOW));
    let only_new = Sealer::new(Key::new([0x43; 32]));
    let read_again = read::<Flow>(&name, &after, &only_new).unwrap();
    assert_eq!((format!("{:?}", read_again.value), read_again.exp), (format!("{secret:?}"), Some(NOW)));
    assert!(reseal(&name, &after, &new).unwrap().is_none(), "once is enough");
    let other = Sealer::new(Key::new([0x44; 32])).with_previous(Key::new([0x45; 32]));
    assert!(matches!(reseal(&name, &before, &other), Err(StoreError::Damaged { .. })));
    for wrong in [b"".as_slice(), b"\x02", &before[..before.len() - 1]] {
        assert!(matches!(reseal(&name, wrong, &new), Err(StoreError::Damaged { .. })));
    }
}

/// Reads the golden bytes, and what is written now.
fn opened<T: Record>(name: &Name, golden: &str) -> Read<T> {
    let bytes: Vec<u8> = base64(golden);
    let opened = read::<T>(name, &bytes, &sealer()).unwrap();
    let rewritten = write(name, &opened.value, opened.exp, &sealer());
    assert_eq!((rewritten[0], rewritten[1], rewritten.len()), (bytes[0], bytes[1], bytes.len()));
    let plain = |bytes: &[u8]| sealer().open(name.as_str(), &bytes[1..]).unwrap();
    assert_eq!(plain(&rewritten), plain(&bytes), "the same inside");
    opened
}

fn base64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

#[test]
fn names_are_digests_and_stay_as_they_are() {
    let (id, user) = (ClientId::parse("c_one").unwrap(), Subject::new("github", "583231"));
    let secret = Secret::new("planted".to_owned());
    let grant_id = GrantId::new([7; 16]);
    let names = [
        (schema(), "meta:schema"),
        (check(), "meta:check"),
        (resealing(), "meta:resealing"),
        (client(&id), "client:ImiMe3elhNsReS57iopprrFJPcsLLcxbAVWGsV9PrJU"),
        (
            assertion(&ClientId::parse("ci").unwrap(), "one"),
            "assertion:VQ3xpR9rZXWdm3FUFoCE7eGFKet-HcEonQvCjl4BWoI",
        ),
        (flow(&secret), "flow:Ny6zd0gCqNl7rdDzr9q796F--KH5ALOU25mkYLiTQGw"),
        (busy(&id), "busy:ImiMe3elhNsReS57iopprrFJPcsLLcxbAVWGsV9PrJU"),
        (turns(&Queue::Clients), "turns:clients"),
        (place(&Queue::Flows, 12), "turn:flows:12"),
        (
            place(&Queue::SessionsOf(&user), 1),
            "turn:sessions-of:T8xoK0yOVleX3HPfpiIF9zHJpo-9px7B-fhvX-YFG58:1",
        ),
        (session(&secret), "session:Ny6zd0gCqNl7rdDzr9q796F--KH5ALOU25mkYLiTQGw"),
        (grant(grant_id), "grant:BwcHBwcHBwcHBwcHBwcHBw"),
        (revoked(grant_id.shard()), "revoked:07"),
        (revoked_issued(grant_id.shard()), "revoked:issued:07"),
        (grants_of_user(&user), "grants-of-user:T8xoK0yOVleX3HPfpiIF9zHJpo-9px7B-fhvX-YFG58"),
        (grants_of_client(&id), "grants-of-client:ImiMe3elhNsReS57iopprrFJPcsLLcxbAVWGsV9PrJU"),
        (provider(), "meta:provider"),
        (super::user(&user), "user:T8xoK0yOVleX3HPfpiIF9zHJpo-9px7B-fhvX-YFG58"),
        (lease("planted"), "lease:Ny6zd0gCqNl7rdDzr9q796F--KH5ALOU25mkYLiTQGw"),
        (pin("octocat"), "pin:pmWBV_Dfg5AKbI87NKfHOcZkVdNLFChGyW3tys2gijw"),
        (pins_of(&user), "pins-of:T8xoK0yOVleX3HPfpiIF9zHJpo-9px7B-fhvX-YFG58"),
        (ring(RingKind::Signing), "ring:signing"),
        (ring(RingKind::Refresh), "ring:refresh"),
        (ring(RingKind::Session), "ring:session"),
        (count("planted", 12), "count:Ny6zd0gCqNl7rdDzr9q796F--KH5ALOU25mkYLiTQGw:12"),
    ];
    for (name, golden) in names {
        assert_eq!(name.as_str(), golden);
    }
    assert_eq!(grant(grant_id).shard(), revoked(grant_id.shard()).shard(), "one slot");
}

#[test]
fn names_of_what_is_kept_of_acme_stay_as_they_are() {
    let of = Ordered { directory: "https://ca.example/dir", host: "a.example" };
    let names = [
        (
            acme_account("https://ca.example/dir", None),
            "acme-account:sDHyXik5yayqJREl5ZfB46s2B8js4ZkSxRtOh6mGFMw",
        ),
        (
            acme_account("https://ca.example/dir", Some("kid-1")),
            "acme-account:lJjQujeMbn9vhB7clbD8Ag1AkJLyhB9JXTPPCpwxvrw",
        ),
        (certificate(of), "certificate:Vvmb2UnkUTJqoHMtEq2gA5l6RIgzFpHVMyKChIXwMmM"),
        (newest_certificate("a.example"), "certificate:uOdFM3GgJNquBvMWRJLAr83hNMd0fBVbPYPCDeNB6FU"),
        (acme_order(of), "acme-order:Vvmb2UnkUTJqoHMtEq2gA5l6RIgzFpHVMyKChIXwMmM"),
        (renewal(of), "renewal:Vvmb2UnkUTJqoHMtEq2gA5l6RIgzFpHVMyKChIXwMmM"),
        (certificates(), "meta:certificates"),
        (
            super::challenge(OpenChallenge::Http01 { host: "a.example", token: "t" }),
            "challenge:wbRd0zdmFGCeUFDpAMUDlOI9S1KIX1r1P5OACNf8F38",
        ),
        (
            super::challenge(OpenChallenge::TlsAlpn01 { host: "a.example" }),
            "challenge:WVSNZ9vTwSmMEiM_Le8pp-iG1cAydtZSXIgSFarBsiQ",
        ),
    ];
    for (name, golden) in names {
        assert_eq!(name.as_str(), golden);
    }
}

#[test]
fn a_log_entry_is_written_as_ever_and_nothing_else_is_read() {
    let revocation = Revocation { grant: GrantId::new([7; 16]), at: NOW, until: None };
    assert_eq!(write_revocation(revocation), b"BwcHBwcHBwcHBwcHBwcHBw 1800000000");
    assert_eq!(read_revocation(b"BwcHBwcHBwcHBwcHBwcHBw 1800000000").unwrap(), revocation);
    let long = Revocation { until: Some(Timestamp::from_seconds(1_800_086_400)), ..revocation };
    assert_eq!(write_revocation(long), b"BwcHBwcHBwcHBwcHBwcHBw 1800000000 1800086400");
    assert_eq!(read_revocation(b"BwcHBwcHBwcHBwcHBwcHBw 1800000000 1800086400").unwrap(), long);
    for wrong in [
        b"".as_slice(),
        b"BwcHBwcHBwcHBwcHBwcHBw",
        b"x 1",
        b"BwcHBwcHBwcHBwcHBwcHBw x",
        b"\xff 1",
        b"BwcHBwcHBwcHBwcHBwcHBw 1 x",
        b"BwcHBwcHBwcHBwcHBwcHBw 1 2 3",
    ] {
        assert!(matches!(read_revocation(wrong), Err(StoreError::Damaged { .. })), "{wrong:?}");
    }
}

#[test]
fn a_record_ends_at_its_moment() {
    let read = |exp| Read { value: (), exp };
    assert_eq!(read(Some(NOW)).at(Timestamp::from_seconds(1_799_999_999)), Some(()));
    assert_eq!(read(Some(NOW)).at(NOW), None);
    assert_eq!(read(None).at(Timestamp::from_seconds(u64::MAX)), Some(()));
}
