//! What a backup keeps, by how names begin: the one table of it. What is left out ends by itself within hours, and would do harm
//! or nothing if it came back.
//!
//! | left out | why |
//! |---|---|
//! | `flow:`, `busy:`, `turn:flows:`, `turns:flows` | open sign-ins: ten minutes long; a `state` that was used stays used |
//! | `session:`, `turn:sessions-of:`, `turns:sessions-of:` | browsers: signing in again is a click, and who signed out stays so |
//! | grants whose code is not redeemed | a minute long; a code that was redeemed after the backup stays so |
//! | `lease:` | whoever has one is another process, and not of this store |
//! | `count:` | of windows of minutes |
//! | `meta:restoring`, `meta:restored` | of the store, not of what is in it |

use std::time::Duration;

use crate::oauth::{Grant, GrantId, GrantState, ShardId, TokenLives};
use crate::seal::Sealer;
use crate::store::backend::Name;
use crate::store::grants::longest;
use crate::store::{ISSUED_KEPT, schema};

/// How what has a name is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A record. Grants go first: what they hang on is read after them.
    Grant,
    /// Any other record.
    Record,
    /// A counter without an end.
    Number,
    /// A log.
    Log(Keep),
    /// Read before everything and after everything, by hand.
    Mark,
    /// Not at all.
    Not,
}

/// How long the entries of a log are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// Until the sweep.
    Sweep,
    /// As long as the longest issued token.
    Issued,
    /// As long as the longest grant.
    Hints,
    /// For ever.
    Ever,
}

impl Keep {
    pub(super) fn duration(self, lives: &TokenLives) -> Option<Duration> {
        match self {
            Self::Sweep | Self::Ever => None,
            Self::Issued => Some(ISSUED_KEPT),
            Self::Hints => Some(longest(lives)),
        }
    }
}

/// Every kind. Of two beginnings that fit a name, the one that stands first.
const KINDS: [(&str, Form); 32] = [
    ("meta:schema", Form::Record),
    ("meta:check", Form::Record),
    ("meta:provider", Form::Record),
    ("meta:certificates", Form::Record),
    ("meta:resealing", Form::Mark),
    ("meta:restoring", Form::Not),
    ("meta:restored", Form::Not),
    ("client:", Form::Record),
    ("assertion:", Form::Record),
    ("flow:", Form::Not),
    ("busy:", Form::Not),
    ("session:", Form::Not),
    ("turns:clients", Form::Number),
    ("turns:", Form::Not),
    ("turn:clients:", Form::Record),
    ("turn:", Form::Not),
    ("grant:", Form::Grant),
    ("revoked:issued:", Form::Log(Keep::Issued)),
    ("revoked:", Form::Log(Keep::Sweep)),
    ("grants-of-user:", Form::Log(Keep::Hints)),
    ("grants-of-client:", Form::Log(Keep::Hints)),
    ("user:", Form::Record),
    ("pin:", Form::Record),
    ("pins-of:", Form::Log(Keep::Ever)),
    ("ring:", Form::Record),
    ("lease:", Form::Not),
    ("acme-account:", Form::Record),
    ("certificate:", Form::Record),
    ("acme-order:", Form::Record),
    ("challenge:", Form::Record),
    ("renewal:", Form::Record),
    ("count:", Form::Not),
];

/// How the names of a kind begin, and how they are copied; `None` if we have no such kind.
fn kind(name: &str) -> Option<(&'static str, Form)> {
    KINDS.into_iter().find(|(begins, _)| name.starts_with(begins))
}

/// How what has this name is copied.
pub(super) fn form(name: &str) -> Option<Form> {
    kind(name).map(|(_, form)| form)
}

/// The word for a kind: `client`, `grant`.
pub(super) fn word(name: &str) -> &'static str {
    kind(name).map_or("other", |(begins, _)| begins.split(':').next().unwrap_or(begins))
}

/// Whether it stands in a store that has only ever been opened: nobody signed in or registered there, and no certificate came.
pub(super) fn is_of_the_start(name: &str) -> bool {
    name.starts_with("meta:") || name.starts_with("ring:") || form(name) == Some(Form::Not)
}

/// The name with its shard; `None` if it is none of ours.
pub(super) fn placed(name: &str) -> Option<Name> {
    let form = form(name)?;
    let text = || name.to_owned();
    match form {
        Form::Grant => {
            let id = GrantId::parse(name.strip_prefix("grant:")?)?;
            Some(Name::in_shard(text(), id.shard()))
        }
        Form::Log(Keep::Sweep | Keep::Issued) => {
            let number: u8 = name.rsplit(':').next()?.parse().ok()?;
            let shard = ShardId::all().find(|shard| shard.index() == number)?;
            let found = [schema::revoked(shard), schema::revoked_issued(shard)];
            found.into_iter().find(|found| found.as_str() == name)
        }
        Form::Record | Form::Number | Form::Log(Keep::Hints | Keep::Ever) | Form::Mark | Form::Not => {
            Some(Name::new(text()))
        }
    }
}

/// Whether a grant's code is not redeemed yet. One that cannot be read is kept as it is.
pub(super) fn is_open(name: &Name, bytes: &[u8], sealer: &Sealer) -> bool {
    let grant = schema::read::<Grant>(name, bytes, sealer);
    grant.is_ok_and(|grant| matches!(grant.value.state, GrantState::Pending { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::store::schema::Queue;
    use crate::store::{OpenChallenge, Ordered, RingKind};

    #[test]
    fn every_name_of_the_schema_has_its_kind_and_finds_its_shard() {
        let (id, state) = (crate::oauth::ClientId::parse("c").unwrap(), Secret::new("s".to_owned()));
        let subject = crate::oauth::Subject::new("github", "1");
        let of = Ordered { directory: "d", host: "h" };
        let grant = GrantId::new([7; 16]);
        let kept = [
            (schema::schema(), Form::Record),
            (schema::check(), Form::Record),
            (schema::provider(), Form::Record),
            (schema::certificates(), Form::Record),
            (schema::resealing(), Form::Mark),
            (schema::client(&id), Form::Record),
            (schema::assertion(&id, "j"), Form::Record),
            (schema::turns(&Queue::Clients), Form::Number),
            (schema::place(&Queue::Clients, 3), Form::Record),
            (schema::grant(grant), Form::Grant),
            (schema::revoked(grant.shard()), Form::Log(Keep::Sweep)),
            (schema::revoked_issued(grant.shard()), Form::Log(Keep::Issued)),
            (schema::grants_of_user(&subject), Form::Log(Keep::Hints)),
            (schema::grants_of_client(&id), Form::Log(Keep::Hints)),
            (schema::user(&subject), Form::Record),
            (schema::pin("a"), Form::Record),
            (schema::pins_of(&subject), Form::Log(Keep::Ever)),
            (schema::ring(RingKind::Signing), Form::Record),
            (schema::acme_account("d", None), Form::Record),
            (schema::certificate(of), Form::Record),
            (schema::newest_certificate("h"), Form::Record),
            (schema::acme_order(of), Form::Record),
            (schema::challenge(OpenChallenge::TlsAlpn01 { host: "h" }), Form::Record),
            (schema::renewal(of), Form::Record),
        ];
        let left_out = [
            schema::restoring(),
            schema::restored(),
            schema::flow(&state),
            schema::busy(&id),
            schema::session(&state),
            schema::turns(&Queue::Flows),
            schema::place(&Queue::Flows, 3),
            schema::turns(&Queue::SessionsOf(&subject)),
            schema::place(&Queue::SessionsOf(&subject), 3),
            schema::lease("l"),
            schema::count("c", 1),
        ];
        for (name, expected) in kept.into_iter().chain(left_out.map(|name| (name, Form::Not))) {
            assert_eq!(form(name.as_str()), Some(expected), "{name}");
            assert_eq!(placed(name.as_str()), Some(name));
        }
    }

    #[test]
    fn what_is_none_of_ours_has_no_place() {
        for name in [
            "",
            "grant:x",
            "grant:",
            "revoked:32",
            "revoked:+1",
            "revoked:7",
            "else:x",
            "meta:",
            "two:client:x",
        ] {
            assert_eq!(placed(name), None, "{name}");
        }
        assert_eq!(word("client:x"), "client");
    }
}
