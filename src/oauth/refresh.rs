//! Refresh with rotation that forgives lost answers and races, and tells them from theft.
//!
//! With *p* the presented generation, *c* the current one and *t* when *c* was reached:
//! *p > c*: the store lost a write, go on from *p*. *p = c*: advance. *p = c − 1*: the same successor again while
//! *now − t* is within the grace, or within the long grace while *c* is unconfirmed. *p < c − 1* within the
//! grace of *t*: refused, nothing revoked. Everything else is theft.

use super::{
    AttemptId, ClientId, ErrorCode, Grant, GrantState, OAuthError, Resource, RevocationReason, Scopes,
    TokenLives,
};
use crate::time::Timestamp;

/// A refresh token's content, after its MAC was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presented {
    /// *p*.
    pub generation: u64,
}

/// A refresh by an authenticated client.
#[derive(Clone, Debug)]
pub struct Refresh {
    /// Who refreshes.
    pub client: ClientId,
    /// The token's content.
    pub presented: Presented,
    /// `scope`, if sent (T11).
    pub scopes: Option<Scopes>,
    /// `resource`, resolved, if sent (T6).
    pub resource: Option<Resource>,
}

/// A refresh that succeeds.
#[derive(Clone, Debug)]
pub struct RefreshOutcome {
    /// The grant as it is now.
    pub grant: Grant,
    /// The scopes of the new access token: the grant's, or fewer.
    pub scopes: Scopes,
    /// The generation of the new tokens.
    pub generation: u64,
    /// What happened: whether `grant` must be written, and what the audit log is told.
    pub fact: RefreshFact,
}

/// How a refresh succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshFact {
    /// *p = c*: the grant has gone on by one generation.
    Advanced,
    /// *p > c*: the same, from a token that is newer than the store's record.
    LostWrite,
    /// *p = c − 1*, within its grace: the same successor again.
    Replayed,
    /// The record is this attempt's own; only the store's answer to its commit was lost.
    Ours,
}

impl RefreshFact {
    /// Whether the grant has changed and must be written.
    #[must_use]
    pub const fn writes(self) -> bool {
        match self {
            Self::Advanced | Self::LostWrite => true,
            Self::Replayed | Self::Ours => false,
        }
    }
}

/// Why a refresh is refused.
#[derive(Clone, Debug)]
pub enum RefreshError {
    /// `invalid_grant`, nothing changes. The sentence says which.
    Invalid(&'static str),
    /// `invalid_scope`: wider than the grant (T11).
    Scope,
    /// `invalid_target` (T6).
    Target,
    /// `invalid_grant`; write this record, now `Revoked`, and its log entry (T9).
    Theft(Box<Grant>),
}

impl Grant {
    /// Decides on a refresh token whose MAC was checked against this grant. Order: client → this attempt's own record
    /// (then the same verdict again) → ended → too old → resource → scope → generation, so that nothing advances for a
    /// request that cannot be answered. `offline_access` asks for the token that is already there and is not looked for
    /// in the grant; a `scope` with nothing else in it is an absent one.
    ///
    /// # Errors
    /// [`RefreshError`].
    pub fn refresh(
        self,
        refresh: &Refresh,
        attempt: AttemptId,
        lives: &TokenLives,
        now: Timestamp,
    ) -> Result<RefreshOutcome, RefreshError> {
        if self.client != refresh.client {
            return Err(RefreshError::Invalid("the refresh token was issued to another client"));
        }
        let (current, reached, confirmed) = match self.state {
            GrantState::Active { generation, reached, confirmed, .. } => (generation, reached, confirmed),
            GrantState::Revoked { .. } if self.attempt == attempt => {
                return Err(RefreshError::Theft(Box::new(self)));
            }
            GrantState::Revoked { .. } => return Err(RefreshError::Invalid("the grant was revoked")),
            GrantState::Issued { .. } => {
                return Err(RefreshError::Invalid("this grant has no refresh token"));
            }
            GrantState::Pending { .. } | GrantState::Dead { .. } => {
                return Err(RefreshError::Invalid("the grant was never in use"));
            }
        };
        if now.since(self.created) > lives.absolute || now.since(reached) > lives.idle {
            return Err(RefreshError::Invalid("the refresh token has expired"));
        }
        let scopes = refresh.narrowed(&self)?;
        if self.attempt == attempt {
            return Ok(self.outcome(current, scopes, RefreshFact::Ours));
        }
        let elapsed = now.since(reached);
        let in_grace = elapsed <= lives.grace;
        let replayable = in_grace || (!confirmed && elapsed <= lives.unconfirmed_grace);
        match Age::of(refresh.presented.generation, current) {
            Age::Never => Err(RefreshError::Invalid("the refresh token is malformed")),
            Age::Ahead(next) => {
                Ok(self.advanced(next, attempt, now).outcome(next, scopes, RefreshFact::LostWrite))
            }
            Age::Current(next) => {
                Ok(self.advanced(next, attempt, now).outcome(next, scopes, RefreshFact::Advanced))
            }
            Age::Previous if replayable => Ok(self.outcome(current, scopes, RefreshFact::Replayed)),
            Age::Older if in_grace => {
                Err(RefreshError::Invalid("the refresh token was replaced; use the newest one"))
            }
            Age::Previous | Age::Older => {
                Err(RefreshError::Theft(Box::new(self.ended(RevocationReason::RefreshReused, attempt, now))))
            }
        }
    }

    /// This grant with `next` as its newest generation, reached now (never earlier than the one before).
    fn advanced(mut self, next: u64, attempt: AttemptId, now: Timestamp) -> Self {
        if let GrantState::Active { generation, reached, confirmed, .. } = &mut self.state {
            (*generation, *reached, *confirmed) = (next, now.max(*reached), false);
        }
        Self { attempt, ..self }
    }

    const fn outcome(self, generation: u64, scopes: Scopes, fact: RefreshFact) -> RefreshOutcome {
        RefreshOutcome { grant: self, scopes, generation, fact }
    }
}

/// How a presented generation stands to the current one.
enum Age {
    /// No token was ever made with it.
    Never,
    /// Newer; the generation after it.
    Ahead(u64),
    /// The current one; the generation after it.
    Current(u64),
    /// The one before.
    Previous,
    /// Older than that.
    Older,
}

impl Age {
    fn of(presented: u64, current: u64) -> Self {
        match presented.checked_add(1) {
            None => Self::Never,
            Some(_) if presented == 0 => Self::Never,
            Some(next) if presented > current => Self::Ahead(next),
            Some(next) if presented == current => Self::Current(next),
            Some(next) if next == current => Self::Previous,
            Some(_) => Self::Older,
        }
    }
}

impl Refresh {
    /// The scopes of the new access token (T6, T11).
    fn narrowed(&self, grant: &Grant) -> Result<Scopes, RefreshError> {
        if self.resource.as_ref().is_some_and(|asked| *asked != grant.resource) {
            return Err(RefreshError::Target);
        }
        let Some(asked) = &self.scopes else { return Ok(grant.scopes.clone()) };
        let asked: Scopes = asked
            .iter()
            .filter(|scope| scope.as_str() != "offline_access" || grant.scopes.contains("offline_access"))
            .cloned()
            .collect();
        if asked.is_empty() {
            Ok(grant.scopes.clone())
        } else if grant.scopes.contains_all(&asked) {
            Ok(asked)
        } else {
            Err(RefreshError::Scope)
        }
    }
}

impl From<&RefreshError> for OAuthError {
    fn from(error: &RefreshError) -> Self {
        match error {
            RefreshError::Invalid(sentence) => Self::new(ErrorCode::InvalidGrant, sentence),
            RefreshError::Scope => Self::new(ErrorCode::InvalidScope, "scope is wider than what was granted"),
            RefreshError::Target => {
                Self::new(ErrorCode::InvalidTarget, "the refresh token is for another resource")
            }
            RefreshError::Theft(_) => Self::new(
                ErrorCode::InvalidGrant,
                "the refresh token was used before; the grant is revoked, sign in again",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::testing;
    use super::super::{ClientId, GrantId};
    use super::*;
    use crate::secret::Digest;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const SALT: [u8; 16] = [7; 16];
    const HOUR: u64 = 60 * 60;
    const DAY: u64 = 24 * HOUR;

    fn later(seconds: u64) -> Timestamp {
        NOW.after(Duration::from_secs(seconds))
    }

    fn attempt(number: u64) -> AttemptId {
        AttemptId::new(number.to_be_bytes())
    }

    fn client(id: &str) -> ClientId {
        ClientId::parse(id).unwrap()
    }

    /// A grant whose generation `generation` was reached just now.
    fn grant(generation: u64, confirmed: bool) -> Grant {
        Grant {
            id: GrantId::new([1; 16]),
            client: client("c1"),
            facts: testing::facts(),
            resource: Resource::from_canonical("https://a.example/mcp".to_owned()),
            scopes: Scopes::parse("mcp:read mcp:write"),
            created: NOW,
            attempt: attempt(0),
            used: None,
            state: GrantState::Active {
                code: Digest::of(b"code"),
                salt: SALT,
                generation,
                reached: NOW,
                confirmed,
            },
        }
    }

    fn presenting(generation: u64) -> Refresh {
        Refresh { client: client("c1"), presented: Presented { generation }, scopes: None, resource: None }
    }

    fn refresh(grant: Grant, generation: u64, now: Timestamp) -> Result<RefreshOutcome, RefreshError> {
        grant.refresh(&presenting(generation), attempt(1), &TokenLives::default(), now)
    }

    fn wire(error: &RefreshError) -> (&'static str, String) {
        let error = OAuthError::from(error);
        (error.code.as_str(), error.description)
    }

    /// Generation, when it was reached, and whether it is confirmed.
    fn standing(grant: &Grant) -> (u64, Timestamp, bool) {
        match grant.state {
            GrantState::Active { generation, reached, confirmed, .. } => (generation, reached, confirmed),
            GrantState::Pending { .. }
            | GrantState::Issued { .. }
            | GrantState::Revoked { .. }
            | GrantState::Dead { .. } => {
                panic!("{:?}", grant.state)
            }
        }
    }

    // T8
    #[test]
    fn the_current_token_advances_the_grant() {
        for confirmed in [false, true] {
            let outcome = refresh(grant(4, confirmed), 4, later(89 * DAY)).unwrap();
            assert_eq!((outcome.generation, outcome.fact), (5, RefreshFact::Advanced));
            assert_eq!(standing(&outcome.grant), (5, later(89 * DAY), false));
            assert_eq!(outcome.grant.attempt, attempt(1));
            assert_eq!(outcome.grant.salt(), Some(&SALT));
            assert_eq!(outcome.scopes, outcome.grant.scopes);
        }
    }

    // T10
    #[test]
    fn the_previous_token_gives_the_same_successor_again_within_its_grace() {
        for (confirmed, seconds) in [(true, 0), (true, 60), (false, 61), (false, DAY)] {
            let outcome = refresh(grant(4, confirmed), 3, later(seconds)).unwrap();
            assert_eq!((outcome.generation, outcome.fact), (4, RefreshFact::Replayed));
            assert_eq!(outcome.grant, grant(4, confirmed), "a replay changes nothing");
        }
    }

    // T9
    #[test]
    fn a_token_outside_its_grace_revokes_the_grant() {
        for (presented, confirmed, seconds) in
            [(3, true, 61), (3, false, DAY + 1), (2, false, 61), (1, true, 61), (1, false, DAY)]
        {
            let error = refresh(grant(4, confirmed), presented, later(seconds)).unwrap_err();
            assert_eq!(
                wire(&error),
                (
                    "invalid_grant",
                    "the refresh token was used before; the grant is revoked, sign in again".to_owned()
                )
            );
            let RefreshError::Theft(revoked) = error else { panic!("{error:?}") };
            let at = later(seconds);
            assert_eq!(
                revoked.state,
                GrantState::Revoked { at, reason: RevocationReason::RefreshReused, until: None }
            );
            assert_eq!(revoked.attempt, attempt(1));
        }
    }

    #[test]
    fn an_older_token_within_a_minute_is_refused_and_revokes_nothing() {
        for (presented, seconds) in [(2, 0), (2, 60), (1, 60)] {
            let error = refresh(grant(4, false), presented, later(seconds)).unwrap_err();
            let sentence = "the refresh token was replaced; use the newest one".to_owned();
            assert_eq!(wire(&error), ("invalid_grant", sentence));
            assert!(matches!(error, RefreshError::Invalid(_)));
        }
    }

    // T15
    #[test]
    fn a_newer_token_than_the_store_knows_is_gone_on_from() {
        let outcome = refresh(grant(4, true), 7, later(5)).unwrap();
        assert_eq!((outcome.generation, outcome.fact), (8, RefreshFact::LostWrite));
        assert_eq!(standing(&outcome.grant), (8, later(5), false));
    }

    #[test]
    fn a_generation_that_was_never_made_is_refused() {
        for (current, presented) in [(1, 0), (4, 0), (4, u64::MAX), (u64::MAX, u64::MAX)] {
            let error = refresh(grant(current, false), presented, NOW).unwrap_err();
            assert_eq!(wire(&error), ("invalid_grant", "the refresh token is malformed".to_owned()));
        }
    }

    #[test]
    fn a_clock_that_goes_backwards_does_not_take_the_grant_along() {
        let outcome = refresh(grant(4, false), 4, NOW.before(Duration::from_secs(500))).unwrap();
        assert_eq!(standing(&outcome.grant), (5, NOW, false));
    }

    // T13
    #[test]
    fn another_client_is_refused_and_revokes_nothing() {
        for presented in [1, 4] {
            let theirs = Refresh { client: client("c2"), ..presenting(presented) };
            let error =
                grant(4, true).refresh(&theirs, attempt(1), &TokenLives::default(), later(DAY)).unwrap_err();
            let sentence = "the refresh token was issued to another client".to_owned();
            assert_eq!(wire(&error), ("invalid_grant", sentence));
            assert!(matches!(error, RefreshError::Invalid(_)));
        }
    }

    #[test]
    fn an_idle_and_an_old_grant_have_expired() {
        let expired = ("invalid_grant", "the refresh token has expired".to_owned());
        assert!(refresh(grant(4, true), 4, later(90 * DAY)).is_ok());
        assert_eq!(wire(&refresh(grant(4, true), 4, later(90 * DAY + 1)).unwrap_err()), expired);
        let old = |days| Grant { created: NOW.before(Duration::from_secs(days * DAY)), ..grant(4, true) };
        assert!(refresh(old(365), 4, NOW).is_ok());
        assert_eq!(wire(&refresh(old(365), 4, later(1)).unwrap_err()), expired);
        let stolen = refresh(old(365), 1, later(DAY)).unwrap_err();
        assert!(matches!(stolen, RefreshError::Invalid(_)), "there is nothing left to revoke");
    }

    #[test]
    fn an_ended_or_pending_grant_refreshes_nothing() {
        let revoked = grant(4, true).revoke(RevocationReason::Client, attempt(9), NOW).unwrap();
        let error = refresh(revoked, 4, NOW).unwrap_err();
        assert_eq!(wire(&error), ("invalid_grant", "the grant was revoked".to_owned()));
        let dead = Grant { state: GrantState::Dead { at: NOW }, ..grant(4, true) };
        let error = refresh(dead, 4, NOW).unwrap_err();
        assert_eq!(wire(&error), ("invalid_grant", "the grant was never in use".to_owned()));
    }

    // T11
    #[test]
    fn scope_may_narrow_and_never_widen() {
        for (asked, given) in [
            ("mcp:read", Some("mcp:read")),
            ("mcp:write mcp:read", Some("mcp:read mcp:write")),
            ("mcp:read offline_access", Some("mcp:read")),
            ("offline_access", Some("mcp:read mcp:write")),
            ("", Some("mcp:read mcp:write")),
            ("mcp:read admin", None),
            ("admin", None),
        ] {
            let asking = Refresh { scopes: Some(Scopes::parse(asked)), ..presenting(4) };
            let result = grant(4, true).refresh(&asking, attempt(1), &TokenLives::default(), later(1));
            match (result, given) {
                (Ok(outcome), Some(given)) => {
                    assert_eq!(outcome.scopes.to_string(), given);
                    assert_eq!(outcome.grant.scopes, grant(4, true).scopes, "the grant keeps its own");
                }
                (Err(error), None) => {
                    assert_eq!(
                        wire(&error),
                        ("invalid_scope", "scope is wider than what was granted".to_owned())
                    );
                }
                (result, _) => panic!("{asked}: {result:?}"),
            }
        }
        let with_offline = Grant { scopes: Scopes::parse("mcp offline_access"), ..grant(4, true) };
        let asking = Refresh { scopes: Some(Scopes::parse("offline_access mcp")), ..presenting(4) };
        let outcome = with_offline.refresh(&asking, attempt(1), &TokenLives::default(), NOW).unwrap();
        assert_eq!(outcome.scopes.to_string(), "mcp offline_access");
    }

    // T6; checked before anything advances or is revoked
    #[test]
    fn another_resource_is_invalid_target() {
        for presented in [1, 4] {
            let resource = Some(Resource::from_canonical("https://b.example/mcp".to_owned()));
            let asking = Refresh { resource, ..presenting(presented) };
            let error =
                grant(4, true).refresh(&asking, attempt(1), &TokenLives::default(), later(DAY)).unwrap_err();
            let sentence = "the refresh token is for another resource".to_owned();
            assert_eq!(wire(&error), ("invalid_target", sentence));
        }
        let same = Refresh { resource: Some(grant(4, true).resource), ..presenting(4) };
        assert!(grant(4, true).refresh(&same, attempt(1), &TokenLives::default(), NOW).is_ok());
    }

    // design §5: commits are recognisable
    #[test]
    fn the_same_attempt_gets_the_same_verdict_again() {
        let advanced = refresh(grant(4, true), 4, NOW).unwrap().grant;
        let again = refresh(advanced.clone(), 4, later(HOUR)).unwrap();
        assert_eq!((again.generation, again.fact, again.grant), (5, RefreshFact::Ours, advanced));
        let Err(RefreshError::Theft(revoked)) = refresh(grant(4, true), 3, later(DAY)) else { panic!() };
        assert!(matches!(
            refresh((*revoked).clone(), 3, later(DAY + 1)),
            Err(RefreshError::Theft(again)) if again == revoked
        ));
    }

    /// What happens to a client with two connections that share its tokens, as real ones do.
    #[derive(Clone, Debug)]
    enum Step {
        /// A connection refreshes with the newest token it has; the answer comes, or is lost.
        Refresh { connection: usize, lost: bool },
        /// A connection reads the newest token that the other one has got.
        Share { connection: usize },
        /// The newest access token that came is used, and the guard tells the store.
        Use,
        /// Time passes.
        Wait(u64),
        /// The store forgets its last write.
        LoseWrite,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..2_usize, any::<bool>()).prop_map(|(connection, lost)| Step::Refresh { connection, lost }),
            2 => (0..2_usize).prop_map(|connection| Step::Share { connection }),
            2 => Just(Step::Use),
            3 => (0_u64..=90).prop_map(Step::Wait),
            1 => (0..2 * DAY).prop_map(Step::Wait),
            1 => Just(Step::LoseWrite),
        ]
    }

    /// A store with one grant, and what the client's two connections hold.
    struct World {
        grant: Grant,
        before: Grant,
        now: Timestamp,
        attempts: u64,
        held: [u64; 2],
    }

    impl World {
        fn new() -> Self {
            Self { grant: grant(1, false), before: grant(1, false), now: NOW, attempts: 0, held: [1, 1] }
        }

        /// Presents a token; commits what the rules say.
        fn present(&mut self, generation: u64) -> Result<RefreshOutcome, RefreshError> {
            self.attempts += 1;
            let (attempt, lives) = (attempt(self.attempts), TokenLives::default());
            let result = self.grant.clone().refresh(&presenting(generation), attempt, &lives, self.now);
            match &result {
                Ok(outcome) if outcome.fact.writes() => self.write(outcome.grant.clone()),
                Err(RefreshError::Theft(revoked)) => self.write((**revoked).clone()),
                Ok(_) | Err(_) => {}
            }
            result
        }

        fn write(&mut self, grant: Grant) {
            self.before = std::mem::replace(&mut self.grant, grant);
        }

        fn use_newest(&mut self) {
            let newest = self.held[0].max(self.held[1]);
            if let Some(confirmed) = self.grant.clone().confirm(newest, attempt(1_000_000)) {
                self.grant = confirmed;
            }
        }

        /// Whether the store's current generation has reached nobody.
        fn unheard(&self) -> bool {
            !self.held.contains(&standing(&self.grant).0)
        }

        /// How long since the current generation was reached.
        fn age(&self) -> u64 {
            self.now.since(standing(&self.grant).1).as_secs()
        }

        /// An honest client keeps to the windows: a connection that is behind the other takes over its token instead of
        /// presenting an old one late, and a lost answer is asked for again within a day.
        fn honest(&self, connection: usize) -> bool {
            let (current, _, confirmed) = standing(&self.grant);
            let behind = current.saturating_sub(self.held[connection]);
            let window = if behind == 1 && !confirmed { DAY } else { 60 };
            behind == 0 || self.age() <= window
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        // T9, T10: races, retries and lost answers within the windows never end an honest client's grant.
        #[test]
        fn an_honest_client_is_never_revoked(steps in proptest::collection::vec(step(), 1..60)) {
            let mut world = World::new();
            for step in steps {
                let (mut generation, mut reached, _) = standing(&world.grant);
                match step {
                    Step::Refresh { connection, lost } => {
                        if !world.honest(connection) {
                            world.held[connection] = world.held[0].max(world.held[1]);
                        }
                        if !world.honest(connection) {
                            continue;
                        }
                        let held = world.held[connection];
                        match world.present(held) {
                            Ok(outcome) if !lost => world.held[connection] = outcome.generation,
                            Ok(_) => {}
                            Err(RefreshError::Invalid(_)) => prop_assert!(held + 1 < generation && world.age() <= 60),
                            Err(other) => prop_assert!(false, "{other:?}"),
                        }
                    }
                    Step::Share { connection } => world.held[connection] = world.held[0].max(world.held[1]),
                    Step::Use => world.use_newest(),
                    // Within the lives that `an_idle_and_an_old_grant_have_expired` tests.
                    Step::Wait(seconds) if !world.unheard() || world.age() + seconds <= DAY => {
                        world.now = world.now.after(Duration::from_secs(seconds));
                    }
                    Step::Wait(_) => {}
                    Step::LoseWrite => {
                        world.grant = world.before.clone();
                        (generation, reached, _) = standing(&world.grant);
                    }
                }
                let (now_generation, now_reached, _) = standing(&world.grant);
                prop_assert!(now_generation >= generation && now_reached >= reached);
                prop_assert_eq!(world.grant.salt(), Some(&SALT));
                // Whoever has the newest token can always go on.
                let mut fork = World { grant: world.grant.clone(), before: world.grant.clone(), ..world };
                prop_assert!(fork.present(now_generation).is_ok());
            }
        }

        // T9, T15: whatever happened before, a token outside its windows ends the grant, one inside never does, and a store that
        // lost a write ends nothing.
        #[test]
        fn a_token_revokes_if_and_only_if_it_is_outside_its_windows(
            steps in proptest::collection::vec((step(), 1_u64..12), 1..40),
        ) {
            let mut world = World::new();
            for (step, presented) in steps {
                match step {
                    Step::Refresh { .. } | Step::Share { .. } => {
                        let (current, _, confirmed) = standing(&world.grant);
                        let (age, salt) = (world.age(), world.grant.salt().copied());
                        let result = world.present(presented);
                        let outside = presented < current && age > 60
                            && (presented + 1 < current || confirmed || age > DAY);
                        prop_assert_eq!(matches!(result, Err(RefreshError::Theft(_))), outside);
                        match result {
                            Ok(outcome) => {
                                prop_assert_eq!(outcome.generation, (presented + 1).max(current));
                                let fact = match presented.cmp(&current) {
                                    Ordering::Less => RefreshFact::Replayed,
                                    Ordering::Equal => RefreshFact::Advanced,
                                    Ordering::Greater => RefreshFact::LostWrite,
                                };
                                prop_assert_eq!(outcome.fact, fact);
                                prop_assert_eq!(world.grant.salt().copied(), salt);
                            }
                            Err(RefreshError::Theft(_)) => {
                                for generation in [presented, current, current + 1] {
                                    prop_assert!(matches!(world.present(generation), Err(RefreshError::Invalid(_))));
                                }
                                return Ok(());
                            }
                            Err(RefreshError::Invalid(_)) => prop_assert!(presented + 1 < current && age <= 60),
                            Err(other) => prop_assert!(false, "{other:?}"),
                        }
                    }
                    Step::Use => {
                        world.held = [standing(&world.grant).0; 2];
                        world.use_newest();
                    }
                    Step::Wait(seconds) => world.now = world.now.after(Duration::from_secs(seconds)),
                    Step::LoseWrite => world.grant = world.before.clone(),
                }
            }
        }
    }
}
