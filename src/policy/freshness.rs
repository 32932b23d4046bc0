//! How long an answer of the identity provider holds, and what follows from one that is too old (T12).

use std::time::Duration;

use super::{AccessRules, NotAllowed};
use crate::oauth::{Facts, Known, Membership};
use crate::time::Timestamp;

/// How long an answer of the identity provider holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// So long it is not asked again: 10 minutes.
    pub recheck: Duration,
    /// So long a membership holds that was seen, while the provider does not answer or the organisation hides it: 24 hours.
    pub grace: Duration,
}

impl Default for Freshness {
    fn default() -> Self {
        Self { recheck: Duration::from_mins(10), grace: Duration::from_hours(24) }
    }
}

/// What access rules say of a user, by what is known of them now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// They let the user in, on these facts.
    Admitted(Facts),
    /// They do not, and the provider's answer is fresh: access is lost.
    Lost(NotAllowed),
    /// An organisation or team might, and hides it for longer than the grace, or always did.
    Hidden(String),
    /// A membership might, and the provider has not said so lately.
    Unknown,
}

impl Freshness {
    /// Whether the provider was asked lately about everything that `rules` name.
    #[must_use]
    pub fn is_fresh(&self, rules: &AccessRules, known: &Known, now: Timestamp) -> bool {
        let asked = |name| known.standing(name).is_some();
        now.since(known.answered) < self.recheck && rules.memberships().all(asked)
    }

    /// Tries the rules. Access counts as lost by a fresh answer only, and never by one that was withheld.
    #[must_use]
    pub fn judge(
        &self,
        rules: &AccessRules,
        known: &Known,
        pinned: Vec<String>,
        now: Timestamp,
    ) -> Judgement {
        let facts = known.facts(pinned, self.grace, now);
        let Err(refused) = rules.admit(&facts) else { return Judgement::Admitted(facts) };
        if rules.memberships().next().is_none() {
            return Judgement::Lost(refused);
        }
        if !self.is_fresh(rules, known, now) {
            return Judgement::Unknown;
        }
        // What is active and yet does not count was seen too long ago: it is hidden now.
        let withheld = |name: &&str| match known.standing(name).map(|standing| standing.membership) {
            Some(Membership::Active | Membership::Hidden) => true,
            Some(Membership::Absent) | None => false,
        };
        match rules.memberships().find(withheld) {
            Some(name) => Judgement::Hidden(name.to_owned()),
            None => Judgement::Lost(refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oauth::testing;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn rules(users: &[&str], orgs: &[&str]) -> AccessRules {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        AccessRules { users: owned(users), orgs: owned(orgs), teams: Vec::new() }
    }

    fn learned(before: Option<&Known>, answers: &[(&str, Membership)], at: Timestamp) -> Known {
        let answers = answers.iter().map(|(of, membership)| ((*of).to_owned(), *membership));
        Known::learn(before, testing::facts().user, answers, at)
    }

    fn judged(rules: &AccessRules, known: &Known, seconds: u64) -> Judgement {
        Freshness::default().judge(rules, known, Vec::new(), NOW.after(Duration::from_secs(seconds)))
    }

    fn is_admitted(judgement: &Judgement) -> bool {
        matches!(judgement, Judgement::Admitted(_))
    }

    // T12
    #[test]
    fn the_last_answer_holds_for_the_grace_and_then_nobody_knows() {
        let acme = rules(&[], &["acme"]);
        let known = learned(None, &[("acme", Membership::Active)], NOW);
        assert!(is_admitted(&judged(&acme, &known, 0)) && is_admitted(&judged(&acme, &known, 86_400)));
        assert_eq!(judged(&acme, &known, 86_401), Judgement::Unknown);
    }

    // T12, F4
    #[test]
    fn access_is_lost_by_a_fresh_answer_only() {
        let acme = rules(&["mona"], &["acme"]);
        let known = learned(None, &[("acme", Membership::Absent)], NOW);
        assert!(matches!(judged(&acme, &known, 599), Judgement::Lost(_)));
        assert_eq!(judged(&acme, &known, 600), Judgement::Unknown);
        assert_eq!(judged(&rules(&[], &["acme", "new"]), &known, 0), Judgement::Unknown, "never asked about");
    }

    // F4
    #[test]
    fn an_organisation_that_hides_itself_ends_nothing() {
        let acme = rules(&[], &["acme", "b"]);
        let seen = learned(None, &[("acme", Membership::Active), ("b", Membership::Absent)], NOW);
        let late = NOW.after(Duration::from_secs(86_401));
        let hidden = learned(Some(&seen), &[("acme", Membership::Hidden), ("b", Membership::Absent)], late);
        assert_eq!(judged(&acme, &hidden, 86_401), Judgement::Hidden("acme".into()));
        assert_eq!(judged(&acme, &hidden, 88_000), Judgement::Unknown);
        let at_once = learned(Some(&seen), &[("acme", Membership::Hidden), ("b", Membership::Absent)], NOW);
        assert!(is_admitted(&judged(&acme, &at_once, 86_400)));
        let always = learned(None, &[("acme", Membership::Hidden), ("b", Membership::Absent)], NOW);
        assert_eq!(judged(&acme, &always, 0), Judgement::Hidden("acme".into()));
    }

    #[test]
    fn rules_by_user_need_no_answer() {
        let known = learned(None, &[], NOW);
        let freshness = Freshness::default();
        let late = NOW.after(Duration::from_hours(10_000));
        assert!(is_admitted(&freshness.judge(&rules(&["*"], &["acme"]), &known, Vec::new(), late)));
        let pinned = vec!["octocat".to_owned()];
        assert!(is_admitted(&freshness.judge(&rules(&["octocat"], &[]), &known, pinned, late)));
        let lost = freshness.judge(&rules(&["octocat"], &[]), &known, Vec::new(), late);
        assert!(matches!(lost, Judgement::Lost(_)));
    }

    fn membership() -> impl Strategy<Value = Membership> {
        prop_oneof![Just(Membership::Active), Just(Membership::Absent), Just(Membership::Hidden)]
    }

    proptest! {
        // T12: whatever was answered when, access is lost only if a fresh answer says "no" to everything that is asked.
        #[test]
        fn access_is_lost_if_and_only_if_every_answer_is_a_fresh_no(
            first in proptest::collection::vec(membership(), 3),
            second in proptest::collection::vec(membership(), 2),
            gap in 0_u64..200_000,
            age in 0_u64..1_200,
        ) {
            let answers = |given: &[Membership]| {
                ["a", "b", "c"].into_iter().zip(given.to_vec()).collect::<Vec<_>>()
            };
            let then = NOW.before(Duration::from_secs(gap));
            let before = learned(None, &answers(&first), then);
            let known = learned(Some(&before), &answers(&second), NOW);
            let wanted = rules(&[], &["a", "b"]);
            let judgement = judged(&wanted, &known, age);
            let all_no = second.iter().all(|one| *one == Membership::Absent);
            prop_assert_eq!(matches!(judgement, Judgement::Lost(_)), all_no && age < 600);
            let seen = |one: usize| match second[one] {
                Membership::Active => true,
                Membership::Hidden => first[one] == Membership::Active && gap + age <= 86_400,
                Membership::Absent => false,
            };
            prop_assert_eq!(is_admitted(&judgement), seen(0) || seen(1));
        }
    }
}
