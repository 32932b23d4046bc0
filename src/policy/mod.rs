//! Who may use which service. Pure: rules and facts in, a verdict out.

mod freshness;

use std::collections::BTreeSet;

use aws_lc_rs::digest::{Context, SHA256};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::oauth::Facts;

pub use freshness::{Freshness, Judgement};

/// A service's access rules; any one that matches lets the user in, no rule lets nobody in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRules {
    /// `"*"`, a login (compared lower-case, by its pin), or a subject such as `github:583231`.
    pub users: Vec<String>,
    /// Organisations, lower-case; membership must be `active` (F4).
    pub orgs: Vec<String>,
    /// Teams, as `organisation/team`, lower-case; likewise.
    #[serde(default)]
    pub teams: Vec<String>,
}

/// A refused user: which rules were tried (finding `not-allowed`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{login} is not let in by any rule: users {users:?}, orgs {orgs:?}, teams {teams:?}")]
pub struct NotAllowed {
    /// Who was refused.
    pub login: String,
    /// The user rules that were tried.
    pub users: Vec<String>,
    /// The organisation rules that were tried.
    pub orgs: Vec<String>,
    /// The team rules that were tried.
    pub teams: Vec<String>,
}

impl AccessRules {
    /// Whether everybody who can sign in is let in.
    #[must_use]
    pub fn lets_everybody_in(&self) -> bool {
        self.users.iter().any(|user| user == "*")
    }

    /// The logins among `users`, lower-case: what a sign-in may be pinned to.
    pub fn logins(&self) -> impl Iterator<Item = &str> {
        self.users.iter().map(String::as_str).filter(|user| *user != "*" && !user.contains(':'))
    }

    /// The organisations and teams that are named: what an identity provider must be asked about.
    pub fn memberships(&self) -> impl Iterator<Item = &str> {
        self.orgs.iter().chain(&self.teams).map(String::as_str)
    }

    /// Whether memberships decide about this user: some rule names an organisation or team, and no rule by user lets
    /// them in anyhow.
    #[must_use]
    pub fn hang_on_memberships(&self, facts: &Facts) -> bool {
        self.memberships().next().is_some() && !self.name_user(facts)
    }

    /// Tries the rules. A login is compared with the pins only, never with the login the user has now: who takes over
    /// a renamed or deleted login is somebody else (F3).
    ///
    /// # Errors
    /// [`NotAllowed`].
    pub fn admit(&self, facts: &Facts) -> Result<(), NotAllowed> {
        let by_org = |rule: &String| contains(&facts.orgs, rule);
        let by_team = |rule: &String| contains(&facts.teams, rule);
        if self.name_user(facts) || self.orgs.iter().any(by_org) || self.teams.iter().any(by_team) {
            return Ok(());
        }
        Err(NotAllowed {
            login: facts.user.login.clone(),
            users: self.users.clone(),
            orgs: self.orgs.clone(),
            teams: self.teams.clone(),
        })
    }

    /// Whether a rule by user lets this one in.
    fn name_user(&self, facts: &Facts) -> bool {
        self.users.iter().any(|rule| match rule.as_str() {
            "*" => true,
            subject if subject.contains(':') => facts.user.subject.as_str() == subject,
            login => contains(&facts.pinned, login),
        })
    }

    /// The token's `acc`: 8 base64url characters that change when the rules do, whatever their order.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut hash = Context::new(&SHA256);
        // Rules without teams have the fingerprint that they had before there were any.
        let teams = (!self.teams.is_empty()).then_some(("teams", &self.teams));
        for (label, rules) in [("users", &self.users), ("orgs", &self.orgs)].into_iter().chain(teams) {
            let rules: BTreeSet<String> = rules.iter().map(|rule| normalised(rule)).collect();
            absorb(&mut hash, label);
            hash.update(&(rules.len() as u64).to_be_bytes());
            for rule in &rules {
                absorb(&mut hash, rule);
            }
        }
        URL_SAFE_NO_PAD.encode(&hash.finish().as_ref()[..6])
    }
}

fn contains(names: &[String], rule: &str) -> bool {
    names.iter().any(|name| rule.eq_ignore_ascii_case(name))
}

/// Text preceded by its length, so that no two lists of rules look the same.
fn absorb(hash: &mut Context, text: &str) {
    hash.update(&(text.len() as u64).to_be_bytes());
    hash.update(text.as_bytes());
}

/// A rule in the spelling that equal rules share: subjects are compared as they are, names without case.
fn normalised(rule: &str) -> String {
    if rule.contains(':') { rule.to_owned() } else { rule.to_ascii_lowercase() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oauth::testing;

    fn rules(users: &[&str], orgs: &[&str]) -> AccessRules {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        AccessRules { users: owned(users), orgs: owned(orgs), teams: Vec::new() }
    }

    fn with_teams(rules: AccessRules, teams: &[&str]) -> AccessRules {
        AccessRules { teams: teams.iter().map(|team| (*team).to_owned()).collect(), ..rules }
    }

    fn facts(pinned: &[&str], orgs: &[&str]) -> Facts {
        let rules = rules(pinned, orgs);
        Facts { pinned: rules.users, orgs: rules.orgs, ..testing::facts() }
    }

    #[test]
    fn no_rule_lets_nobody_in() {
        let refusal = AccessRules::default().admit(&facts(&["octocat"], &["example"])).unwrap_err();
        assert_eq!(refusal.to_string(), "Octocat is not let in by any rule: users [], orgs [], teams []");
    }

    #[test]
    fn any_one_rule_that_matches_lets_the_user_in() {
        let user = facts(&["octocat"], &["example"]);
        for rules in [
            rules(&["*"], &[]),
            rules(&["mona", "octocat"], &["other"]),
            rules(&["Octocat"], &[]),
            rules(&["github:583231"], &[]),
            rules(&["mona"], &["other", "Example"]),
        ] {
            assert_eq!(rules.admit(&user), Ok(()), "{rules:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_rules_that_were_tried() {
        let tried = rules(&["mona", "github:1", "583231", "GitHub:583231"], &["other", "example "]);
        let refusal = tried.admit(&facts(&["octocat"], &["example"])).unwrap_err();
        assert_eq!(
            refusal,
            NotAllowed {
                login: "Octocat".to_owned(),
                users: tried.users,
                orgs: tried.orgs,
                teams: tried.teams
            }
        );
    }

    // F4
    #[test]
    fn a_team_lets_its_members_in_and_its_organisation_s_others_not() {
        let member = Facts { teams: vec!["acme/core".into()], ..facts(&[], &["acme"]) };
        assert_eq!(with_teams(rules(&[], &[]), &["acme/Core"]).admit(&member), Ok(()));
        for team in ["acme/other", "other/core", "acme", "core"] {
            let refused = with_teams(rules(&[], &[]), &[team]).admit(&member).unwrap_err();
            assert_eq!(refused.teams, [team]);
        }
        assert!(
            rules(&["acme/core"], &["acme/core"]).admit(&member).is_err(),
            "a team is no user and no organisation"
        );
    }

    #[test]
    fn memberships_decide_only_where_no_rule_names_the_user() {
        let user = facts(&["octocat"], &[]);
        for (rules, decide) in [
            (rules(&[], &[]), false),
            (rules(&["mona"], &[]), false),
            (rules(&["mona"], &["acme"]), true),
            (with_teams(rules(&[], &[]), &["acme/core"]), true),
            (rules(&["*"], &["acme"]), false),
            (rules(&["octocat"], &["acme"]), false),
            (with_teams(rules(&["github:583231"], &[]), &["acme/core"]), false),
        ] {
            assert_eq!(rules.hang_on_memberships(&user), decide, "{rules:?}");
        }
    }

    // F3: `testing::facts` is the user who is called Octocat today.
    #[test]
    fn a_login_lets_in_whom_it_is_pinned_to_and_not_who_has_it_now() {
        assert!(rules(&["octocat"], &[]).admit(&facts(&[], &[])).is_err());
        assert_eq!(rules(&["former-name"], &[]).admit(&facts(&["former-name"], &[])), Ok(()));
    }

    // F4
    #[test]
    fn a_pin_is_no_organisation_and_an_organisation_no_pin() {
        assert!(rules(&["example"], &["octocat"]).admit(&facts(&["octocat"], &["example"])).is_err());
        assert!(rules(&[], &["*"]).admit(&facts(&[], &["example"])).is_err());
    }

    #[test]
    fn logins_are_what_a_sign_in_may_be_pinned_to() {
        let rules = rules(&["*", "octocat", "github:1", "mona"], &["example"]);
        assert_eq!(rules.logins().collect::<Vec<_>>(), ["octocat", "mona"]);
        assert!(rules.lets_everybody_in());
    }

    #[test]
    fn the_fingerprint_is_pinned() {
        // It is in tokens: another value makes every client refresh at once.
        assert_eq!(AccessRules::default().fingerprint(), "RwN4Y9mm");
        assert_eq!(rules(&["octocat", "github:1"], &["example"]).fingerprint(), "QTqjB3Lp");
    }

    #[test]
    fn the_fingerprint_has_no_order_no_case_and_no_duplicates() {
        let one = rules(&["octocat", "mona"], &["a", "b"]).fingerprint();
        assert_eq!(rules(&["Mona", "octocat", "mona"], &["b", "A", "b"]).fingerprint(), one);
    }

    #[test]
    fn different_rules_have_different_fingerprints() {
        let mut seen = BTreeSet::new();
        for rules in [
            rules(&[], &[]),
            rules(&["a"], &[]),
            rules(&[], &["a"]),
            rules(&["ab"], &[]),
            rules(&["a", "b"], &[]),
            rules(&["a"], &["b"]),
            rules(&["*"], &[]),
            rules(&["orgs"], &[]),
            with_teams(rules(&[], &[]), &["a"]),
            with_teams(rules(&[], &["a"]), &["a"]),
            with_teams(rules(&[], &[]), &["a", "b"]),
        ] {
            assert!(seen.insert(rules.fingerprint()), "{rules:?}");
        }
        assert!(seen.iter().all(|fingerprint| fingerprint.len() == 8));
    }

    proptest! {
        // F3, F4: admitted if and only if a rule says so.
        #[test]
        fn a_user_is_let_in_if_and_only_if_a_rule_matches(
            users in proptest::collection::vec("(\\*|a|b|github:1|github:583231)", 0..3),
            orgs in proptest::collection::vec("(a|b|c)", 0..3),
            pinned in proptest::collection::vec("(a|b|c)", 0..3),
            member in proptest::collection::vec("(a|b|c)", 0..3),
        ) {
            let rules = AccessRules { users: users.clone(), orgs: orgs.clone(), teams: Vec::new() };
            let facts = Facts { pinned: pinned.clone(), orgs: member.clone(), ..testing::facts() };
            let let_in = users.iter().any(|user| user == "*" || user == "github:583231" || pinned.contains(user))
                || orgs.iter().any(|org| member.contains(org));
            prop_assert_eq!(rules.admit(&facts).is_ok(), let_in);
        }
    }
}
