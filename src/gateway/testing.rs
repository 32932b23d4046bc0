//! A service, and claims that it accepts, for this module's tests.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Service, ServiceLimits, ServiceSettings, UserIdForm};
use crate::oauth::{ClientId, GrantId, Hierarchy, Resource, Scope, Scopes, Subject};
use crate::policy::AccessRules;
use crate::time::Timestamp;
use crate::token::Claims;
use crate::upstream;

/// The issuer of the tests.
pub(super) const ISSUER: &str = "https://auth.example.com";
/// The test service's URL.
pub(super) const RESOURCE: &str = "https://todo.example.com/mcp";
/// When the tests take place.
pub(super) const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// A service at [`RESOURCE`] whose upstream is `http://127.0.0.1:1/mcp`.
pub(super) fn service() -> Service {
    let settings = ServiceSettings {
        name: "todo".into(),
        resource: Resource::from_canonical(RESOURCE.into()),
        url: RESOURCE.parse().unwrap(),
        paths: Vec::new(),
        upstream: upstream::Settings {
            replicas: vec!["http://127.0.0.1:1/mcp".parse().unwrap()],
            connect_timeout: Duration::from_secs(2),
            first_byte_timeout: Some(Duration::from_secs(2)),
            probe: upstream::Probe { kind: upstream::ProbeKind::Off, every: Duration::from_secs(10) },
        },
        scopes: Scopes::parse("todo:read"),
        implies: Hierarchy::new(BTreeMap::from([(
            Scope::parse("todo:write").unwrap(),
            Scopes::parse("todo:read"),
        )])),
        describe: BTreeMap::new(),
        access: AccessRules::default(),
        public: false,
        forward_email: false,
        user_id: UserIdForm::Subject,
        origins: Vec::new(),
        sse_keep_alive: None,
        limits: ServiceLimits::default(),
        forward_auth: false,
    };
    Service { access: "rules-1".into(), ..Service::new(settings) }
}

/// Claims that [`service`] accepts at [`NOW`].
pub(super) fn claims() -> Claims {
    Claims {
        issuer: ISSUER.into(),
        subject: Subject::new("github", "583231"),
        resource: Resource::from_canonical(RESOURCE.into()),
        client: ClientId::issue([3; 16]),
        scopes: Scopes::parse("todo:read"),
        issued_at: NOW,
        expires: NOW.after(Duration::from_hours(1)),
        token_id: "BAQEBAQEBAQEBAQEBAQEBA".into(),
        grant: GrantId::new([5; 16]),
        generation: 7,
        access: "rules-1".into(),
        login: "octocat".into(),
        email: Some("octocat@example.com".into()),
    }
}
