//! Scopes (RFC 6749 §3.3) and the one hierarchy there is: a service's `implies`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

/// One scope-token: visible ASCII without quotes and backslash.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scope(String);

impl Scope {
    /// Reads one scope-token; `None` if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
        (!text.is_empty() && text.bytes().all(allowed)).then(|| Self(text.to_owned()))
    }

    /// The scope as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A set of scopes, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scopes(BTreeSet<Scope>);

impl Scopes {
    /// Reads a `scope` parameter. White space may lead, trail and repeat (a real client sends it so);
    /// what is no scope-token is left out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        text.split_ascii_whitespace().filter_map(Scope::parse).collect()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every scope of `other` is in this set.
    #[must_use]
    pub fn contains_all(&self, other: &Self) -> bool {
        other.0.is_subset(&self.0)
    }

    /// Whether `scope` is in this set.
    #[must_use]
    pub fn contains(&self, scope: &str) -> bool {
        self.0.iter().any(|one| one.as_str() == scope)
    }

    /// The scopes in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }

    /// All but `offline_access`, which a client may ask for and no challenge may (D5).
    #[must_use]
    pub fn without_offline_access(&self) -> Self {
        self.iter().filter(|scope| scope.as_str() != "offline_access").cloned().collect()
    }

    /// The scopes in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).cloned().collect())
    }

    /// The scopes in order.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Self {
        Self(scopes.into_iter().collect())
    }
}

impl fmt::Display for Scopes {
    /// Space-separated, as in `scope`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

/// Which scopes contain which: `todo:write` implies `todo:read`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchy(BTreeMap<Scope, Scopes>);

impl Hierarchy {
    /// A hierarchy from a service's `implies`.
    #[must_use]
    pub const fn new(implies: BTreeMap<Scope, Scopes>) -> Self {
        Self(implies)
    }

    /// `scopes` and everything they imply, transitively; cycles are harmless.
    #[must_use]
    pub fn expand(&self, scopes: &Scopes) -> Scopes {
        let mut all = scopes.clone();
        let mut pending: Vec<&Scope> = scopes.iter().collect();
        while let Some(scope) = pending.pop() {
            let implied = self.0.get(scope).into_iter().flat_map(Scopes::iter);
            pending.extend(implied.filter(|scope| all.0.insert((*scope).clone())));
        }
        all
    }

    /// Every scope the hierarchy speaks of.
    #[must_use]
    pub fn mentioned(&self) -> Scopes {
        self.0.iter().fold(Scopes::default(), |all, (scope, implied)| {
            all.union(implied).union(&std::iter::once(scope.clone()).collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hierarchy(implies: &[(&str, &str)]) -> Hierarchy {
        let pair = |(scope, implied): &(&str, &str)| (Scope::parse(scope).unwrap(), Scopes::parse(implied));
        Hierarchy::new(implies.iter().map(pair).collect())
    }

    // A7
    #[test]
    fn white_space_may_lead_trail_and_repeat() {
        assert_eq!(Scopes::parse(" offline_access  mcp\t").to_string(), "mcp offline_access");
        assert_eq!(Scopes::parse(" "), Scopes::default());
    }

    #[test]
    fn what_is_no_scope_token_is_left_out() {
        assert_eq!(Scopes::parse("mcp:read \"quoted\" back\\slash müll a\x7fb").to_string(), "mcp:read");
        assert_eq!(Scope::parse(""), None);
        assert_eq!(Scope::parse("two words"), None);
        assert_eq!(Scope::parse("https://x/!#[]~").unwrap().as_str(), "https://x/!#[]~");
    }

    // R9
    #[test]
    fn a_hierarchy_is_followed_to_its_end() {
        let hierarchy = hierarchy(&[("admin", "write"), ("write", "read list"), ("other", "more")]);
        assert_eq!(hierarchy.expand(&Scopes::parse("admin x")).to_string(), "admin list read write x");
        assert_eq!(hierarchy.expand(&Scopes::parse("x y")).to_string(), "x y");
        assert_eq!(hierarchy.mentioned().to_string(), "admin list more other read write");
    }

    #[test]
    fn a_cycle_in_the_hierarchy_is_harmless() {
        let hierarchy = hierarchy(&[("a", "b"), ("b", "c a"), ("c", "c")]);
        assert_eq!(hierarchy.expand(&Scopes::parse("b")).to_string(), "a b c");
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(text in any::<String>()) {
            let scopes = Scopes::parse(&text);
            prop_assert_eq!(Scopes::parse(&scopes.to_string()), scopes);
        }
    }
}
