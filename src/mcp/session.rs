//! Session ids of legacy upstreams, sealed: nobody but the user who got one can use it (P11), and any process finds the replica it
//! belongs to.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::seal::Sealer;
use crate::secret;

/// No id that we made is longer, unless an upstream's own id has kilobytes.
const LONGEST: usize = 4096;

/// Seals the session ids of legacy upstreams (P11), so that nobody but the user who got one can use it, and any
/// process finds the replica it belongs to.
pub struct SessionSealer {
    keys: Vec<Sealer>,
}

/// What a sealed session id is bound to.
#[derive(Clone, Copy, Debug)]
pub struct SessionOwner<'a> {
    /// The service's name.
    pub service: &'a str,
    /// The user's subject; empty for a public service.
    pub subject: &'a str,
}

/// A session id opened again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSession {
    /// The upstream's own id.
    pub id: String,
    /// The replica it lives on.
    pub replica: String,
}

impl SessionSealer {
    /// `keys[0]` seals, all open.
    #[must_use]
    pub const fn new(keys: Vec<Sealer>) -> Self {
        Self { keys }
    }

    /// The id the client sees: visible ASCII, at most 1 KB for an upstream id of up to 512 bytes.
    ///
    /// # Panics
    /// If there is no key: [`Self::new`] was given none.
    #[must_use]
    pub fn seal(&self, session: &UpstreamSession, owner: SessionOwner<'_>) -> String {
        let sealer = self.keys.first().expect("a session sealer has a key");
        let plain = format!("{}\n{}", session.replica, session.id);
        secret::to_base64url(&sealer.seal(&owner.name(), plain.as_bytes()))
    }

    /// The upstream's session of an id that a client sent; `None` for a foreign or invented one: 404, as for a session that has
    /// ended.
    #[must_use]
    pub fn open(&self, id: &str, owner: SessionOwner<'_>) -> Option<UpstreamSession> {
        if id.len() > LONGEST {
            return None;
        }
        let sealed = URL_SAFE_NO_PAD.decode(id).ok()?;
        let name = owner.name();
        let plain = self.keys.iter().find_map(|key| key.open(&name, &sealed).ok())?;
        let plain = String::from_utf8(plain).ok()?;
        let (replica, id) = plain.split_once('\n')?;
        Some(UpstreamSession { id: id.to_owned(), replica: replica.to_owned() })
    }
}

impl SessionOwner<'_> {
    /// The associated data. The length keeps one owner's name from being spelt as another's.
    fn name(self) -> String {
        format!("session {} {}{}", self.service.len(), self.service, self.subject)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::secret::Key;

    const ANNA: SessionOwner<'_> = SessionOwner { service: "todo", subject: "github:1" };

    fn sealer(keys: &[u8]) -> SessionSealer {
        SessionSealer::new(keys.iter().map(|byte| Sealer::new(Key::new([*byte; 32]))).collect())
    }

    fn session(id: &str) -> UpstreamSession {
        UpstreamSession { id: id.into(), replica: "todo-1:3002".into() }
    }

    // P11
    #[test]
    fn a_session_opens_for_its_owner_only() {
        let sealed = sealer(&[1]).seal(&session("abc"), ANNA);
        assert_eq!(sealer(&[1]).open(&sealed, ANNA), Some(session("abc")));
        let other_user = SessionOwner { subject: "github:2", ..ANNA };
        let other_service = SessionOwner { service: "fetch", ..ANNA };
        assert_eq!(sealer(&[1]).open(&sealed, other_user), None);
        assert_eq!(sealer(&[1]).open(&sealed, other_service), None);
        assert_eq!(sealer(&[2]).open(&sealed, ANNA), None, "another key");
    }

    #[test]
    fn a_previous_key_still_opens() {
        let sealed = sealer(&[1]).seal(&session("abc"), ANNA);
        assert_eq!(sealer(&[2, 1]).open(&sealed, ANNA), Some(session("abc")));
    }

    #[test]
    fn no_owner_can_be_spelt_as_another() {
        let sealed = sealer(&[1]).seal(&session("abc"), SessionOwner { service: "to", subject: "do" });
        assert_eq!(sealer(&[1]).open(&sealed, SessionOwner { service: "todo", subject: "" }), None);
        assert_eq!(sealer(&[1]).open(&sealed, SessionOwner { service: "t", subject: "odo" }), None);
    }

    #[test]
    fn an_invented_id_does_not_open() {
        for invented in ["", "abc", "not base64!", &"A".repeat(60), &"A".repeat(5000), "AQ=="] {
            assert_eq!(sealer(&[1]).open(invented, ANNA), None, "{invented}");
        }
    }

    #[test]
    fn a_sealed_id_is_short_visible_ascii_that_hides_the_upstreams_own() {
        let sealed = sealer(&[1]).seal(&session(&"7".repeat(512)), ANNA);
        assert!(sealed.len() <= 1024, "{}", sealed.len());
        assert!(sealed.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(!sealed.contains("777"));
    }

    proptest! {
        #[test]
        fn whatever_the_upstream_calls_it_comes_back(id in "[!-~]{1,200}", subject in ".{0,40}", other in ".{0,40}") {
            let owner = SessionOwner { service: "todo", subject: &subject };
            let sealed = sealer(&[1]).seal(&session(&id), owner);
            prop_assert_eq!(sealer(&[1]).open(&sealed, owner), Some(session(&id)));
            if other != subject {
                let other = SessionOwner { service: "todo", subject: &other };
                prop_assert_eq!(sealer(&[1]).open(&sealed, other), None);
            }
        }
    }
}
