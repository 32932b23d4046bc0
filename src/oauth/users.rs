//! The person: who signed in, and what is known of them that access rules ask for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Subject;
use crate::time::Timestamp;

/// Who signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The stable identity: the token's `sub`.
    pub subject: Subject,
    /// The login at the identity provider: a label, which can change.
    pub login: String,
    /// The primary verified e-mail address, where the provider tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// What access rules are tried against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The user.
    pub user: User,
    /// Lower-case logins of the access rules that are pinned to this user's subject.
    #[serde(default)]
    pub pinned: Vec<String>,
    /// Lower-case names of the organisations in which the membership is `active`.
    #[serde(default)]
    pub orgs: Vec<String>,
    /// The same of teams, as `organisation/team`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub teams: Vec<String>,
}

/// What an identity provider said of a user, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The user, as they are called now.
    pub user: User,
    /// The answer for each organisation and team that was asked about.
    pub standings: Vec<Standing>,
    /// When the provider answered last.
    pub answered: Timestamp,
    /// When it was asked last; later than `answered` if there was no answer.
    pub tried: Timestamp,
}

/// A user's standing in one organisation or team.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// `organisation` or `organisation/team`, lower-case.
    pub of: String,
    /// What it is.
    pub membership: Membership,
    /// When the provider said so.
    pub at: Timestamp,
}

/// What a provider says of a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Membership {
    /// An active member.
    Active,
    /// None, or merely invited (F4).
    Absent,
    /// It shows nobody's: single sign-on, or restrictions on applications.
    Hidden,
}

impl Known {
    /// What is known after an answer of now. A membership that is hidden now and was active before stays as it was seen
    /// last: to be hidden is not to be lost.
    #[must_use]
    pub fn learn(
        before: Option<&Self>,
        user: User,
        answers: impl IntoIterator<Item = (String, Membership)>,
        now: Timestamp,
    ) -> Self {
        let standing = |(of, membership): (String, Membership)| {
            let seen = before.and_then(|before| before.standing(&of));
            let held =
                seen.filter(|seen| membership == Membership::Hidden && seen.membership == Membership::Active);
            held.cloned().unwrap_or(Standing { of, membership, at: now })
        };
        Self { user, standings: answers.into_iter().map(standing).collect(), answered: now, tried: now }
    }

    /// What is known of a user of whom nothing is recorded but the facts that a rule was once tried against.
    #[must_use]
    pub fn by_facts(facts: &Facts, at: Timestamp) -> Self {
        let active = |of: &String| Standing { of: of.to_lowercase(), membership: Membership::Active, at };
        Self {
            user: facts.user.clone(),
            standings: facts.orgs.iter().chain(&facts.teams).map(active).collect(),
            answered: at,
            tried: at,
        }
    }

    /// The standing in `of`, if it was asked about.
    #[must_use]
    pub fn standing(&self, of: &str) -> Option<&Standing> {
        self.standings.iter().find(|standing| standing.of.eq_ignore_ascii_case(of))
    }

    /// The facts for access rules: memberships count for `grace` after they were seen.
    #[must_use]
    pub fn facts(&self, pinned: Vec<String>, grace: Duration, now: Timestamp) -> Facts {
        let counts = |standing: &&Standing| {
            standing.membership == Membership::Active && now.since(standing.at) <= grace
        };
        let names = self.standings.iter().filter(counts).map(|standing| standing.of.clone());
        let (teams, orgs) = names.partition(|of| of.contains('/'));
        Facts { user: self.user.clone(), pinned, orgs, teams }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const DAY: Duration = Duration::from_hours(24);

    fn learn(before: Option<&Known>, answers: &[(&str, Membership)], now: Timestamp) -> Known {
        let answers = answers.iter().map(|(of, membership)| ((*of).to_owned(), *membership));
        Known::learn(before, testing::facts().user, answers, now)
    }

    #[test]
    fn an_active_membership_counts_until_the_grace_is_over() {
        // F4
        use Membership::{Absent, Active, Hidden};
        let known =
            learn(None, &[("acme", Active), ("acme/core", Active), ("b", Absent), ("c", Hidden)], NOW);
        let facts = |seconds| known.facts(Vec::new(), DAY, NOW.after(Duration::from_secs(seconds)));
        assert_eq!(
            (facts(86_400).orgs, facts(86_400).teams),
            (vec!["acme".into()], vec!["acme/core".into()])
        );
        assert_eq!((facts(86_401).orgs, facts(86_401).teams), (vec![], vec![]));
    }

    #[test]
    fn a_membership_that_hides_itself_stays_as_it_was_seen_last() {
        use Membership::{Absent, Active, Hidden};
        let later = NOW.after(DAY);
        let first = learn(None, &[("acme", Active), ("b", Absent)], NOW);
        let second = learn(Some(&first), &[("acme", Hidden), ("b", Hidden), ("c", Hidden)], later);
        let standing = |of: &str| second.standing(of).map(|one| (one.membership, one.at));
        assert_eq!(standing("ACME"), Some((Active, NOW)));
        assert_eq!(standing("b"), Some((Hidden, later)), "what was absent is not made active");
        assert_eq!((second.answered, second.tried), (later, later));
        let third = learn(Some(&second), &[("acme", Absent)], later);
        assert_eq!(third.standings.len(), 1, "what is asked for no longer is forgotten");
        assert_eq!(third.standings[0].membership, Absent);
    }

    #[test]
    fn facts_say_what_was_known_when_they_were_written() {
        let facts = Facts { orgs: vec!["Acme".into()], teams: vec!["acme/core".into()], ..testing::facts() };
        let known = Known::by_facts(&facts, NOW);
        assert_eq!(known.facts(vec!["octocat".into()], DAY, NOW).orgs, ["acme"]);
        assert_eq!(known.facts(Vec::new(), DAY, NOW).teams, ["acme/core"]);
        assert!(known.facts(Vec::new(), DAY, NOW.after(DAY * 2)).orgs.is_empty());
    }
}
