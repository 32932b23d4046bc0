//! The grant: what one user allowed one client at one service. One record, moved by compare-and-swap:
//! `Pending → Active → Revoked`, or `Pending → Dead`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    AttemptId, ClientId, CodeChallenge, CodeVerifier, ErrorCode, Facts, GrantId, OAuthError, RedirectUri,
    Resource, Scopes,
};
use crate::secret::{self, Digest, Secret};
use crate::time::Timestamp;

/// A grant's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The tokens' `sid`.
    pub id: GrantId,
    /// Who may use it.
    pub client: ClientId,
    /// Who gave it, with what the access rules were tried against.
    pub facts: Facts,
    /// The service it is for.
    pub resource: Resource,
    /// What was granted; a refresh may narrow an access token, never this.
    pub scopes: Scopes,
    /// When it was approved.
    pub created: Timestamp,
    /// The commit that wrote this record.
    pub attempt: AttemptId,
    /// When and from where tokens were last asked for; absent before the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Use>,
    /// Where it stands.
    pub state: GrantState,
}

/// The last time that tokens of a grant were asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// When.
    pub at: Timestamp,
    /// The client's address, an IPv6 one as its /64.
    pub from: String,
}

/// Where a grant stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantState {
    /// Approved; the code is not redeemed yet.
    Pending {
        /// SHA-256 of the code.
        code: Digest,
        /// Its S256 challenge.
        challenge: CodeChallenge,
        /// The redirect URI the code was sent to, as requested.
        redirect_uri: String,
        /// When the code stops working.
        until: Timestamp,
    },
    /// In use.
    Active {
        /// SHA-256 of the code that was redeemed, so that its second use is recognised.
        code: Digest,
        /// Goes into every refresh token's MAC.
        salt: [u8; 16],
        /// *c*: the generation of the newest refresh token, from 1.
        generation: u64,
        /// *t*: when *c* was reached. Never moved by a replay, never backwards.
        reached: Timestamp,
        /// Whether an access token of generation *c* was seen, so that its answer cannot have been lost.
        confirmed: bool,
    },
    /// One access token and nothing to refresh it with: `client_credentials`, and `portcullis token issue`.
    Issued {
        /// When the token ends, and the grant with it.
        until: Timestamp,
    },
    /// Ended; kept as a tombstone for the longest life of an access token, or until `until`.
    Revoked {
        /// When.
        at: Timestamp,
        /// Why.
        reason: RevocationReason,
        /// When a token of [`GrantState::Issued`] would have ended, which may be long after any other's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// A wrong verifier burned the code before it was redeemed.
    Dead {
        /// When.
        at: Timestamp,
    },
}

/// Why a grant was revoked, for the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevocationReason {
    /// RFC 7009, by the client.
    Client,
    /// The code came a second time (RFC 6749 §4.1.2).
    CodeReused,
    /// An old refresh token came after its grace (RFC 9700 §4.14.2).
    RefreshReused,
    /// The user is no longer let in by the access rules.
    AccessLost,
    /// The person disconnected the client on the connections page.
    Person,
    /// The operator, by `portcullis grant revoke`.
    Operator,
    /// The client's registration was deleted (RFC 7592 §2.3).
    ClientDeleted,
}

/// The longest that a token of [`GrantState::Issued`] lives. Nothing refreshes it, so nothing asks again on its way whether the
/// user is still let in.
pub const LONGEST_ISSUED: Duration = Duration::from_hours(90 * 24);

impl RevocationReason {
    /// Who ended the grant, in the audit log's words.
    #[must_use]
    pub const fn by(self) -> &'static str {
        match self {
            Self::Client | Self::ClientDeleted => "client",
            Self::CodeReused | Self::RefreshReused => "gateway",
            Self::AccessLost => "access rules",
            Self::Person => "person",
            Self::Operator => "operator",
        }
    }
}

/// How long things live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenLives {
    /// A code: 60 s.
    pub code: Duration,
    /// An access token: an hour.
    pub access: Duration,
    /// A grant that nobody refreshes: 90 days.
    pub idle: Duration,
    /// A grant at all: 365 days.
    pub absolute: Duration,
    /// How long the previous refresh token yields the same successor again: 60 s.
    pub grace: Duration,
    /// The same while the successor is not confirmed: 24 h.
    pub unconfirmed_grace: Duration,
}

/// How much longer than a token what speaks against it is kept: clocks differ.
const MARGIN: Duration = Duration::from_mins(1);

impl TokenLives {
    /// The longest that an access token may be made to live.
    pub const LONGEST_ACCESS: Duration = Duration::from_hours(24);

    /// How long it must be known that a grant was revoked. Not by what is configured now: tokens live as long as was configured
    /// when they were made, perhaps by another process.
    pub const REVOCATIONS_MATTER: Duration = Self::LONGEST_ACCESS.saturating_add(MARGIN);

    /// How long the end of a grant matters whose tokens are refreshed: an access token's life, and a minute.
    #[must_use]
    pub const fn tombstone(&self) -> Duration {
        self.access.saturating_add(MARGIN)
    }
}

impl Default for TokenLives {
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self {
            code: Duration::from_mins(1),
            access: Duration::from_hours(1),
            idle: Duration::from_secs(90 * DAY),
            absolute: Duration::from_secs(365 * DAY),
            grace: Duration::from_mins(1),
            unconfirmed_grace: Duration::from_secs(DAY),
        }
    }
}

/// A code: `grant id . 32 random bytes`, 66 characters.
#[derive(Clone, Debug)]
pub struct Code {
    grant: GrantId,
    text: Secret,
}

/// What a person approved.
#[derive(Clone, Debug)]
pub struct Approval {
    /// Who asked.
    pub client: ClientId,
    /// Where the code goes.
    pub redirect: RedirectUri,
    /// The request's challenge.
    pub challenge: CodeChallenge,
    /// The service.
    pub resource: Resource,
    /// What is granted.
    pub scopes: Scopes,
    /// By whom.
    pub facts: Facts,
}

/// What [`Grant::issue`] makes a grant of.
#[derive(Clone, Debug)]
pub struct Issuance {
    /// The new grant's id: the token's `sid`.
    pub id: GrantId,
    /// Who may use it.
    pub client: ClientId,
    /// On whose behalf.
    pub facts: Facts,
    /// The service.
    pub resource: Resource,
    /// What is granted.
    pub scopes: Scopes,
}

/// A code on its way to be redeemed, by an authenticated client.
#[derive(Clone, Debug)]
pub struct Redemption {
    /// Who redeems.
    pub client: ClientId,
    /// The code as presented.
    pub code: Code,
    /// The verifier as presented, well-formed.
    pub verifier: CodeVerifier,
    /// `redirect_uri`, if sent; must then be the one the code went to.
    pub redirect_uri: Option<String>,
    /// `resource`, resolved; must then be the grant's (T6).
    pub resource: Option<Resource>,
}

/// What becomes of a grant when a code is presented.
#[derive(Clone, Debug)]
pub enum Redeemed {
    /// Write this record, now `Active(generation 1)`, and answer with tokens.
    Active(Grant),
    /// This very attempt has already won (its answer from the store was lost): answer from the record.
    AlreadyOurs(Grant),
}

/// Why a code is not redeemed.
#[derive(Clone, Debug)]
pub enum RedemptionError {
    /// `invalid_grant`, nothing changes: no such code for this client (unknown, another client's, expired, or its
    /// grant has ended). The sentence says which.
    Invalid(&'static str),
    /// `invalid_target`, nothing changes (T6).
    Target,
    /// `invalid_grant`; write this record, now `Dead` (T2).
    WrongVerifier(Box<Grant>),
    /// `invalid_grant`; write this record, now `Revoked`, and its log entry (T3).
    Reused(Box<Grant>),
}

impl Code {
    /// A new grant's code.
    #[must_use]
    pub fn issue(grant: GrantId, random: [u8; 32]) -> Self {
        let text = format!("{grant}.{}", crate::secret::to_base64url(&random));
        Self { grant, text: Secret::new(text) }
    }

    /// Reads a code from a request; `None` if it cannot be one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (grant, random) = text.split_once('.')?;
        let grant = GrantId::parse(grant)?;
        secret::base64url::<32>(random)?;
        Some(Self { grant, text: Secret::new(text.to_owned()) })
    }

    /// The grant it belongs to.
    #[must_use]
    pub const fn grant(&self) -> GrantId {
        self.grant
    }

    /// The code itself.
    #[must_use]
    pub const fn text(&self) -> &Secret {
        &self.text
    }
}

impl Grant {
    /// The grant that an approval begins: `Pending`, for `lives.code`.
    #[must_use]
    pub fn begin(
        approval: Approval,
        code: &Code,
        attempt: AttemptId,
        lives: &TokenLives,
        now: Timestamp,
    ) -> Self {
        Self {
            id: code.grant,
            client: approval.client,
            facts: approval.facts,
            resource: approval.resource,
            scopes: approval.scopes,
            created: now,
            attempt,
            used: None,
            state: GrantState::Pending {
                code: code.text.digest(),
                challenge: approval.challenge,
                redirect_uri: approval.redirect.as_str().to_owned(),
                until: now.after(lives.code),
            },
        }
    }

    /// A grant that is one access token until `until`, by nobody's code.
    #[must_use]
    pub fn issue(issuance: Issuance, attempt: AttemptId, now: Timestamp, until: Timestamp) -> Self {
        Self {
            id: issuance.id,
            client: issuance.client,
            facts: issuance.facts,
            resource: issuance.resource,
            scopes: issuance.scopes,
            created: now,
            attempt,
            used: None,
            state: GrantState::Issued { until },
        }
    }

    /// Decides on a code. `salt` is for the grant that becomes active, `attempt` marks the commit. Order: is it
    /// this attempt's own record (then the same verdict again) → client → ended → code's digest → spent → expired →
    /// redirect URI → resource (`Target`, code untouched) → verifier (wrong: `Dead`).
    ///
    /// # Errors
    /// [`RedemptionError`].
    pub fn redeem(
        self,
        redemption: &Redemption,
        salt: [u8; 16],
        attempt: AttemptId,
        now: Timestamp,
    ) -> Result<Redeemed, RedemptionError> {
        if self.attempt == attempt {
            return self.verdict_of_attempt();
        }
        if self.client != redemption.client {
            return Err(RedemptionError::Invalid("the code was issued to another client"));
        }
        let presented = redemption.code.text.digest();
        match &self.state {
            GrantState::Revoked { .. } => Err(RedemptionError::Invalid("the grant of this code was revoked")),
            GrantState::Issued { .. } => Err(RedemptionError::Invalid("there is no such code")),
            GrantState::Dead { .. } => {
                Err(RedemptionError::Invalid("the code was presented with a wrong code_verifier before"))
            }
            GrantState::Pending { code, .. } | GrantState::Active { code, .. } if *code != presented => {
                Err(RedemptionError::Invalid("there is no such code"))
            }
            GrantState::Active { .. } => {
                Err(RedemptionError::Reused(Box::new(self.ended(RevocationReason::CodeReused, attempt, now))))
            }
            GrantState::Pending { challenge, redirect_uri, until, .. } => {
                redemption.fits(redirect_uri, *until, &self.resource, now)?;
                if challenge.verify(&redemption.verifier) {
                    let state = GrantState::Active {
                        code: presented,
                        salt,
                        generation: 1,
                        reached: now,
                        confirmed: false,
                    };
                    Ok(Redeemed::Active(Self { attempt, state, ..self }))
                } else {
                    let state = GrantState::Dead { at: now };
                    Err(RedemptionError::WrongVerifier(Box::new(Self { attempt, state, ..self })))
                }
            }
        }
    }

    /// What the commit that wrote this record had decided, when its answer from the store was lost.
    fn verdict_of_attempt(self) -> Result<Redeemed, RedemptionError> {
        match self.state {
            GrantState::Active { .. } => Ok(Redeemed::AlreadyOurs(self)),
            GrantState::Revoked { .. } => Err(RedemptionError::Reused(Box::new(self))),
            GrantState::Dead { .. } => Err(RedemptionError::WrongVerifier(Box::new(self))),
            GrantState::Pending { .. } | GrantState::Issued { .. } => {
                Err(RedemptionError::Invalid("the code is not approved yet"))
            }
        }
    }

    /// This grant, ended. `None` if it has ended already.
    #[must_use]
    pub fn revoke(self, reason: RevocationReason, attempt: AttemptId, now: Timestamp) -> Option<Self> {
        match self.state {
            GrantState::Pending { .. } | GrantState::Active { .. } | GrantState::Issued { .. } => {
                Some(self.ended(reason, attempt, now))
            }
            GrantState::Revoked { .. } | GrantState::Dead { .. } => None,
        }
    }

    pub(super) fn ended(self, reason: RevocationReason, attempt: AttemptId, now: Timestamp) -> Self {
        let until = match self.state {
            GrantState::Issued { until } => Some(until),
            GrantState::Pending { .. }
            | GrantState::Active { .. }
            | GrantState::Revoked { .. }
            | GrantState::Dead { .. } => None,
        };
        Self { attempt, state: GrantState::Revoked { at: now, reason, until }, ..self }
    }

    /// This grant with its newest generation confirmed; `None` if there is nothing to write.
    #[must_use]
    pub fn confirm(mut self, generation: u64, attempt: AttemptId) -> Option<Self> {
        match &mut self.state {
            GrantState::Active { generation: current, confirmed: confirmed @ false, .. }
                if *current == generation =>
            {
                *confirmed = true;
            }
            GrantState::Active { .. }
            | GrantState::Pending { .. }
            | GrantState::Issued { .. }
            | GrantState::Revoked { .. }
            | GrantState::Dead { .. } => return None,
        }
        Some(Self { attempt, ..self })
    }

    /// The salt of this grant's refresh tokens; `None` unless it is active.
    #[must_use]
    pub const fn salt(&self) -> Option<&[u8; 16]> {
        match &self.state {
            GrantState::Active { salt, .. } => Some(salt),
            GrantState::Pending { .. }
            | GrantState::Issued { .. }
            | GrantState::Revoked { .. }
            | GrantState::Dead { .. } => None,
        }
    }

    /// When the record may be forgotten: the code's end while pending (a tombstone's life later, so that the same code
    /// is told "expired" and not "unknown"); the idle or the absolute end while active; and `lives.access` and a
    /// minute after its end, or a minute after a longer token's.
    #[must_use]
    pub fn expires(&self, lives: &TokenLives) -> Timestamp {
        let tombstone = lives.tombstone();
        match self.state {
            GrantState::Pending { until, .. } => until.after(tombstone),
            GrantState::Issued { until } => until,
            GrantState::Active { reached, .. } => {
                reached.after(lives.idle).min(self.created.after(lives.absolute))
            }
            GrantState::Revoked { at, until, .. } => {
                at.after(tombstone).max(until.map_or(at, |until| until.after(MARGIN)))
            }
            GrantState::Dead { at } => at.after(tombstone),
        }
    }
}

impl Redemption {
    /// Whether everything but the verifier is right.
    fn fits(
        &self,
        redirect_uri: &str,
        until: Timestamp,
        resource: &Resource,
        now: Timestamp,
    ) -> Result<(), RedemptionError> {
        if now >= until {
            return Err(RedemptionError::Invalid("the code has expired"));
        }
        if self.redirect_uri.as_ref().is_some_and(|uri| uri != redirect_uri) {
            return Err(RedemptionError::Invalid("redirect_uri is not the one the code was sent to"));
        }
        if self.resource.as_ref().is_some_and(|asked| asked != resource) {
            return Err(RedemptionError::Target);
        }
        Ok(())
    }
}

impl From<&RedemptionError> for OAuthError {
    fn from(error: &RedemptionError) -> Self {
        let grant = |sentence| Self::new(ErrorCode::InvalidGrant, sentence);
        match error {
            RedemptionError::Invalid(sentence) => grant(*sentence),
            RedemptionError::Target => {
                Self::new(ErrorCode::InvalidTarget, "the code is for another resource")
            }
            RedemptionError::WrongVerifier(_) => {
                grant("code_verifier does not fit; the code cannot be used any more")
            }
            RedemptionError::Reused(_) => grant("the code was used before; everything it gave is revoked"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{self, CALLBACK, CHALLENGE, VERIFIER};
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const SALT: [u8; 16] = [7; 16];

    fn later(seconds: u64) -> Timestamp {
        NOW.after(Duration::from_secs(seconds))
    }

    fn attempt(number: u8) -> AttemptId {
        AttemptId::new([number; 8])
    }

    fn code() -> Code {
        Code::issue(GrantId::new([1; 16]), [2; 32])
    }

    fn resource(url: &str) -> Resource {
        Resource::from_canonical(url.to_owned())
    }

    fn pending() -> Grant {
        let approval = Approval {
            client: ClientId::parse("c1").unwrap(),
            redirect: testing::client_with(&[CALLBACK]).redirect(CALLBACK).unwrap(),
            challenge: CodeChallenge::parse(CHALLENGE).unwrap(),
            resource: resource("https://a.example/mcp"),
            scopes: Scopes::parse("mcp"),
            facts: testing::facts(),
        };
        Grant::begin(approval, &code(), attempt(1), &TokenLives::default(), NOW)
    }

    fn redemption() -> Redemption {
        Redemption {
            client: ClientId::parse("c1").unwrap(),
            code: code(),
            verifier: CodeVerifier::parse(VERIFIER).unwrap(),
            redirect_uri: Some(CALLBACK.to_owned()),
            resource: Some(resource("https://a.example/mcp")),
        }
    }

    fn active() -> Grant {
        match pending().redeem(&redemption(), SALT, attempt(2), NOW) {
            Ok(Redeemed::Active(grant)) => grant,
            other => panic!("{other:?}"),
        }
    }

    fn wire(error: &RedemptionError) -> (&'static str, String) {
        let error = OAuthError::from(error);
        (error.code.as_str(), error.description)
    }

    fn invalid(sentence: &str) -> (&'static str, String) {
        ("invalid_grant", sentence.to_owned())
    }

    #[test]
    fn a_code_is_the_grant_and_32_random_bytes() {
        let code = code();
        assert_eq!(
            code.text().expose(),
            "AQEBAQEBAQEBAQEBAQEBAQ.AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI"
        );
        assert_eq!(code.text().expose().len(), 66);
        let read = Code::parse(code.text().expose()).unwrap();
        assert_eq!((read.grant(), read.text()), (code.grant(), code.text()));
        assert!(!format!("{code:?}").contains("AgIC"));
    }

    #[test]
    fn what_cannot_be_a_code_is_none() {
        let text = code().text().expose().to_owned();
        let padded = format!("{text}=");
        let twice = format!("{text}.");
        for wrong in ["", ".", "a.b", &text[1..], &text[..65], &padded, &twice, &text.replace('.', "-")] {
            assert!(Code::parse(wrong).is_none(), "{wrong}");
        }
        assert!(Code::parse(&format!("{}J", &text[..65])).is_none(), "trailing bits");
    }

    // A11
    #[test]
    fn an_approval_begins_a_pending_grant_for_a_minute() {
        let grant = pending();
        assert_eq!((grant.id, grant.created, grant.attempt), (GrantId::new([1; 16]), NOW, attempt(1)));
        assert_eq!(
            grant.state,
            GrantState::Pending {
                code: code().text().digest(),
                challenge: CodeChallenge::parse(CHALLENGE).unwrap(),
                redirect_uri: CALLBACK.to_owned(),
                until: later(60),
            }
        );
        assert_eq!(grant.salt(), None);
    }

    // A11, T2
    #[test]
    fn the_right_code_makes_the_grant_active() {
        let grant = active();
        assert_eq!(grant.attempt, attempt(2));
        assert_eq!(grant.salt(), Some(&SALT));
        assert_eq!(
            grant.state,
            GrantState::Active {
                code: code().text().digest(),
                salt: SALT,
                generation: 1,
                reached: NOW,
                confirmed: false
            }
        );
    }

    // requirements §2 item 5, OAuth 2.1 §4.1.3
    #[test]
    fn redirect_uri_and_resource_need_not_be_sent_again() {
        let redemption = Redemption { redirect_uri: None, resource: None, ..redemption() };
        assert!(matches!(
            pending().redeem(&redemption, SALT, attempt(2), later(59)),
            Ok(Redeemed::Active(_))
        ));
    }

    // A11, T6: nothing changes
    #[test]
    fn a_redemption_that_does_not_fit_leaves_the_code_untouched() {
        let fitting = redemption();
        let other_client = Redemption { client: ClientId::parse("c2").unwrap(), ..fitting.clone() };
        let other_code = Redemption { code: Code::issue(GrantId::new([1; 16]), [3; 32]), ..fitting.clone() };
        let other_redirect =
            Redemption { redirect_uri: Some("http://localhost:1/callback".into()), ..fitting.clone() };
        let other_resource =
            Redemption { resource: Some(resource("https://b.example/mcp")), ..fitting.clone() };
        for (redemption, now, answer) in [
            (other_client, NOW, invalid("the code was issued to another client")),
            (other_code, NOW, invalid("there is no such code")),
            (fitting, later(60), invalid("the code has expired")),
            (other_redirect, NOW, invalid("redirect_uri is not the one the code was sent to")),
            (other_resource, NOW, ("invalid_target", "the code is for another resource".to_owned())),
        ] {
            let error = pending().redeem(&redemption, SALT, attempt(2), now).unwrap_err();
            assert!(matches!(error, RedemptionError::Invalid(_) | RedemptionError::Target));
            assert_eq!(wire(&error), answer);
        }
    }

    // T2
    #[test]
    fn a_wrong_verifier_burns_the_code() {
        let wrong = Redemption { verifier: CodeVerifier::parse(CHALLENGE).unwrap(), ..redemption() };
        let error = pending().redeem(&wrong, SALT, attempt(2), later(5)).unwrap_err();
        assert_eq!(wire(&error), invalid("code_verifier does not fit; the code cannot be used any more"));
        let RedemptionError::WrongVerifier(dead) = error else { panic!("{error:?}") };
        assert_eq!((&dead.state, dead.attempt), (&GrantState::Dead { at: later(5) }, attempt(2)));
        let again = dead.redeem(&redemption(), SALT, attempt(3), later(6)).unwrap_err();
        assert_eq!(wire(&again), invalid("the code was presented with a wrong code_verifier before"));
        assert!(matches!(again, RedemptionError::Invalid(_)));
    }

    // T3
    #[test]
    fn a_spent_code_revokes_its_grant() {
        let error = active().redeem(&redemption(), SALT, attempt(3), later(9)).unwrap_err();
        assert_eq!(wire(&error), invalid("the code was used before; everything it gave is revoked"));
        let RedemptionError::Reused(grant) = error else { panic!("{error:?}") };
        assert_eq!(
            grant.state,
            GrantState::Revoked { at: later(9), reason: RevocationReason::CodeReused, until: None }
        );
        let again = grant.redeem(&redemption(), SALT, attempt(4), later(10)).unwrap_err();
        assert_eq!(wire(&again), invalid("the grant of this code was revoked"));
        assert!(matches!(again, RedemptionError::Invalid(_)));
    }

    #[test]
    fn a_spent_code_of_another_client_or_grant_revokes_nothing() {
        let other_client = Redemption { client: ClientId::parse("c2").unwrap(), ..redemption() };
        let other_code = Redemption { code: Code::issue(GrantId::new([1; 16]), [3; 32]), ..redemption() };
        for redemption in [other_client, other_code] {
            let error = active().redeem(&redemption, SALT, attempt(3), NOW).unwrap_err();
            assert!(matches!(error, RedemptionError::Invalid(_)), "{error:?}");
        }
    }

    // design §5: commits are recognisable
    #[test]
    fn the_same_attempt_gets_the_same_verdict_again() {
        assert!(matches!(
            active().redeem(&redemption(), [9; 16], attempt(2), later(1)),
            Ok(Redeemed::AlreadyOurs(grant)) if grant == active()
        ));
        let reused = active().ended(RevocationReason::CodeReused, attempt(3), NOW);
        assert!(matches!(
            reused.redeem(&redemption(), SALT, attempt(3), later(1)),
            Err(RedemptionError::Reused(grant)) if grant.attempt == attempt(3)
        ));
        let dead = Grant { attempt: attempt(2), state: GrantState::Dead { at: NOW }, ..pending() };
        assert!(matches!(
            dead.redeem(&redemption(), SALT, attempt(2), later(1)),
            Err(RedemptionError::WrongVerifier(_))
        ));
    }

    #[test]
    fn a_grant_is_revoked_once() {
        for grant in [pending(), active()] {
            let revoked = grant.revoke(RevocationReason::Client, attempt(5), later(7)).unwrap();
            assert_eq!(
                revoked.state,
                GrantState::Revoked { at: later(7), reason: RevocationReason::Client, until: None }
            );
            assert_eq!(revoked.attempt, attempt(5));
            assert_eq!(revoked.revoke(RevocationReason::AccessLost, attempt(6), later(8)), None);
        }
        let dead = Grant { state: GrantState::Dead { at: NOW }, ..pending() };
        assert_eq!(dead.revoke(RevocationReason::Client, attempt(5), NOW), None);
    }

    #[test]
    fn only_the_newest_generation_is_confirmed_and_once() {
        let confirmed = active().confirm(1, attempt(5)).unwrap();
        assert!(matches!(
            confirmed.state,
            GrantState::Active { confirmed: true, generation: 1, reached: NOW, .. }
        ));
        assert_eq!(confirmed.attempt, attempt(5));
        assert_eq!(confirmed.confirm(1, attempt(6)), None);
        assert_eq!(active().confirm(0, attempt(5)), None);
        assert_eq!(active().confirm(2, attempt(5)), None);
        assert_eq!(pending().confirm(1, attempt(5)), None);
    }

    #[test]
    fn a_record_outlives_every_access_token_of_an_ended_grant() {
        const DAY: u64 = 24 * 60 * 60;
        let lives = TokenLives::default();
        assert_eq!(pending().expires(&lives), later(60 + 3660));
        assert_eq!(active().expires(&lives), later(90 * DAY));
        let old = Grant { created: NOW.before(Duration::from_secs(300 * DAY)), ..active() };
        assert_eq!(old.expires(&lives), later(65 * DAY));
        let revoked = active().revoke(RevocationReason::Client, attempt(5), later(10)).unwrap();
        assert_eq!(revoked.expires(&lives), later(10 + 3660));
        let dead = Grant { state: GrantState::Dead { at: later(20) }, ..pending() };
        assert_eq!(dead.expires(&lives), later(20 + 3660));
        let issued = Grant { state: GrantState::Issued { until: later(30 * DAY) }, ..pending() };
        assert_eq!(issued.expires(&lives), later(30 * DAY));
        let revoked = issued.revoke(RevocationReason::Operator, attempt(5), later(10)).unwrap();
        assert_eq!(revoked.expires(&lives), later(30 * DAY + 60), "as long as its token would have lived");
        let short = Grant { state: GrantState::Issued { until: later(20) }, ..pending() };
        let revoked = short.revoke(RevocationReason::Operator, attempt(5), later(10)).unwrap();
        assert_eq!(revoked.expires(&lives), later(10 + 3660));
    }

    #[test]
    fn a_stored_grant_reads_back_equal() {
        let revoked = active().ended(RevocationReason::RefreshReused, attempt(9), later(1));
        let dead = Grant { state: GrantState::Dead { at: NOW }, ..pending() };
        for grant in [pending(), active(), revoked, dead] {
            let stored = serde_json::to_vec(&grant).unwrap();
            assert_eq!(serde_json::from_slice::<Grant>(&stored).unwrap(), grant);
        }
    }

    /// A part of a redemption: left out, right, or wrong.
    fn part() -> impl Strategy<Value = Option<bool>> {
        prop_oneof![Just(None), Just(Some(true)), Just(Some(false))]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        // A11, T2, T3, T6: redeems if and only if everything is right.
        #[test]
        fn a_code_redeems_if_and_only_if_everything_is_right(
            (client, code_right, verifier) in (any::<bool>(), any::<bool>(), any::<bool>()),
            (redirect, target) in (part(), part()),
            state in 0_u8..4,
            passed in 0_u64..120,
        ) {
            let redemption = Redemption {
                client: ClientId::parse(if client { "c1" } else { "c2" }).unwrap(),
                code: if code_right { code() } else { Code::issue(GrantId::new([1; 16]), [3; 32]) },
                verifier: CodeVerifier::parse(if verifier { VERIFIER } else { CHALLENGE }).unwrap(),
                redirect_uri: redirect.map(|right| if right { CALLBACK } else { "http://localhost:1/" }.to_owned()),
                resource: target.map(|right| resource(if right { "https://a.example/mcp" } else { "https://b.example/" })),
            };
            let grant = match state {
                0 => pending(),
                1 => active(),
                2 => active().ended(RevocationReason::Client, attempt(3), NOW),
                _ => Grant { state: GrantState::Dead { at: NOW }, ..pending() },
            };
            let parts = redirect != Some(false) && target != Some(false);
            let ours = client && code_right;
            let untouched = parts && ours && state == 0 && passed < 60;
            match grant.redeem(&redemption, SALT, attempt(4), later(passed)) {
                Ok(Redeemed::Active(grant)) => {
                    prop_assert!(untouched && verifier);
                    prop_assert_eq!(grant.salt(), Some(&SALT));
                }
                Ok(Redeemed::AlreadyOurs(_)) => prop_assert!(false, "no attempt is made twice here"),
                Err(RedemptionError::WrongVerifier(_)) => prop_assert!(untouched && !verifier),
                Err(RedemptionError::Reused(_)) => prop_assert!(ours && state == 1),
                Err(RedemptionError::Target) => prop_assert!(target == Some(false) && !untouched),
                Err(RedemptionError::Invalid(_)) => prop_assert!(!(untouched || ours && state == 1)),
            }
        }

        #[test]
        fn any_text_is_a_code_or_none(text in "\\PC{0,80}", dotted in "[A-Za-z0-9_-]{22}\\.[A-Za-z0-9_-]{43}") {
            for text in [&text, &dotted] {
                if let Some(code) = Code::parse(text) {
                    prop_assert_eq!(code.text().expose(), text);
                    prop_assert_eq!(Code::parse(text).map(|again| again.grant()), Some(code.grant()));
                }
            }
        }
    }
}
