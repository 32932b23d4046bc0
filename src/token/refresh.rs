//! Refresh tokens: `key id . grant id . generation . MAC`. The MAC covers a label, the grant id, the client id, the
//! generation and the grant's salt, so a token can be made again and need not be stored.

use std::fmt;

use crate::oauth::{ClientId, GrantId, KeyId, Presented};
use crate::seal;
use crate::secret::{self, Key, Secret};

/// What the MAC is for, so that no MAC made for something else is ever a refresh token.
const LABEL: &[u8] = b"portcullis refresh v1";

/// The longest a token can be: its parts at their longest, and three dots.
const MAX_LENGTH: usize = 32 + 22 + 20 + 43 + 3;

/// The MAC keys: the first mints, all check.
pub struct RefreshKeys {
    keys: Vec<(KeyId, Key)>,
}

/// A refresh token as presented: well-formed, and not yet believed.
#[derive(Clone)]
pub struct RefreshToken {
    key: KeyId,
    grant: GrantId,
    generation: u64,
    mac: [u8; 32],
}

impl RefreshKeys {
    /// `keys[0]` mints.
    #[must_use]
    pub const fn new(keys: Vec<(KeyId, Key)>) -> Self {
        Self { keys }
    }

    /// The token of `generation` of a grant. The same arguments give the same token while the minting key is the same.
    ///
    /// # Panics
    /// If there is no key: [`Self::new`] was given none.
    #[must_use]
    pub fn mint(&self, grant: GrantId, client: &ClientId, generation: u64, salt: &[u8; 16]) -> Secret {
        let (id, key) = self.keys.first().expect("there is a refresh key");
        let tag = seal::mac(key, &parts(&grant, client, &generation.to_be_bytes(), salt));
        Secret::new(format!("{id}.{grant}.{generation}.{}", tag.expose()))
    }

    /// Whether the key that `token` names is here.
    #[must_use]
    pub fn knows(&self, token: &RefreshToken) -> bool {
        self.keys.iter().any(|(id, _)| *id == token.key)
    }

    /// Believes `token` if its MAC is right for this client and salt.
    #[must_use]
    pub fn check(&self, token: &RefreshToken, client: &ClientId, salt: &[u8; 16]) -> Option<Presented> {
        let (_, key) = self.keys.iter().find(|(id, _)| *id == token.key)?;
        let generation = token.generation.to_be_bytes();
        seal::is_mac(&token.mac, key, &parts(&token.grant, client, &generation, salt))
            .then_some(Presented { generation: token.generation })
    }
}

/// What the MAC is over.
fn parts<'a>(
    grant: &'a GrantId,
    client: &'a ClientId,
    generation: &'a [u8; 8],
    salt: &'a [u8; 16],
) -> [&'a [u8]; 5] {
    [LABEL, grant.as_bytes(), client.as_str().as_bytes(), generation, salt]
}

impl RefreshToken {
    /// Reads a token from a request; `None` if it cannot be one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_LENGTH {
            return None;
        }
        let mut parts = text.split('.');
        let (key, grant) = (KeyId::parse(parts.next()?)?, GrantId::parse(parts.next()?)?);
        let (generation, mac) = (parse_generation(parts.next()?)?, secret::base64url(parts.next()?)?);
        parts.next().is_none().then_some(Self { key, grant, generation, mac })
    }

    /// The grant it claims to belong to.
    #[must_use]
    pub const fn grant(&self) -> GrantId {
        self.grant
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshToken").field("grant", &self.grant).finish_non_exhaustive()
    }
}

/// A decimal number from 1 in its one spelling: no sign, no leading zero.
fn parse_generation(text: &str) -> Option<u64> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    if canonical { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SALT: [u8; 16] = [7; 16];
    const GRANT: GrantId = GrantId::new([1; 16]);

    fn keys(keys: &[(&str, u8)]) -> RefreshKeys {
        RefreshKeys::new(
            keys.iter().map(|(id, byte)| (KeyId::parse(id).unwrap(), Key::new([*byte; 32]))).collect(),
        )
    }

    fn client(id: &str) -> ClientId {
        ClientId::parse(id).unwrap()
    }

    fn minted() -> String {
        keys(&[("k1", 9)]).mint(GRANT, &client("c1"), 3, &SALT).expose().to_owned()
    }

    fn check(keys: &RefreshKeys, token: &str, id: &str, salt: &[u8; 16]) -> Option<u64> {
        keys.check(&RefreshToken::parse(token)?, &client(id), salt).map(|presented| presented.generation)
    }

    #[test]
    fn a_token_is_pinned() {
        // Another value signs everybody out: the tokens of all grants would be believed no more.
        assert_eq!(minted(), "k1.AQEBAQEBAQEBAQEBAQEBAQ.3.WvDWenmMne760Z-QFGviywOHcahMRu8L6yfe6c0nXTI");
    }

    // T10: a retry gets the same successor, byte for byte.
    #[test]
    fn a_token_can_be_made_again_and_is_believed() {
        assert_eq!(minted(), minted());
        assert_eq!(RefreshToken::parse(&minted()).unwrap().grant(), GRANT);
        assert_eq!(check(&keys(&[("k1", 9)]), &minted(), "c1", &SALT), Some(3));
        assert_eq!(
            check(&keys(&[("k2", 8), ("k1", 9)]), &minted(), "c1", &SALT),
            Some(3),
            "an older key checks"
        );
    }

    // T13
    #[test]
    fn a_token_is_believed_for_its_own_grant_client_generation_salt_and_key_only() {
        let keys_of = |id, byte| keys(&[(id, byte)]);
        let good = keys_of("k1", 9);
        assert_eq!(check(&good, &minted(), "c2", &SALT), None);
        assert_eq!(check(&good, &minted(), "c1", &[8; 16]), None);
        assert_eq!(check(&good, &minted().replace(".3.", ".4."), "c1", &SALT), None);
        assert_eq!(
            check(&good, &minted().replace("AQEBAQEBAQEBAQEBAQEBAQ", "AgICAgICAgICAgICAgICAg"), "c1", &SALT),
            None
        );
        assert_eq!(check(&keys_of("k1", 8), &minted(), "c1", &SALT), None);
        assert_eq!(check(&keys_of("k2", 9), &minted(), "c1", &SALT), None);
        assert_eq!(check(&good, &minted().replace("k1.", "k2."), "c1", &SALT), None);
    }

    #[test]
    fn what_cannot_be_a_token_is_none() {
        let good = minted();
        let (rest, mac) = good.rsplit_once('.').unwrap();
        for wrong in [
            "",
            "...",
            &good[1..3],
            &format!("{good}."),
            &format!("{good}="),
            &format!("{good} "),
            &good.replace("k1.", "."),
            &good.replace("k1.", "k 1."),
            &good.replace(".3.", "."),
            &good.replace(".3.", "..3."),
            &good.replace(".3.", ".03."),
            &good.replace(".3.", ".+3."),
            &good.replace(".3.", ".-3."),
            &good.replace(".3.", ".0."),
            &good.replace(".3.", ".3.0."),
            &good.replace(".3.", ".٣."),
            &good.replace(".3.", ".18446744073709551616."),
            &format!("{rest}.{}", &mac[1..]),
            &format!("{rest}.{}", mac.replace(&mac[42..], "B")),
            &format!("{}{good}", "k".repeat(31)),
        ] {
            assert!(RefreshToken::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn the_longest_token_is_read() {
        let keys = RefreshKeys::new(vec![(KeyId::parse(&"k".repeat(32)).unwrap(), Key::new([9; 32]))]);
        let token = keys.mint(GRANT, &client("c1"), u64::MAX, &SALT);
        assert_eq!(token.expose().len(), MAX_LENGTH);
        assert_eq!(check(&keys, token.expose(), "c1", &SALT), Some(u64::MAX));
    }

    #[test]
    fn debug_does_not_print_the_mac() {
        let shown = format!("{:?}", RefreshToken::parse(&minted()).unwrap());
        assert_eq!(shown, "RefreshToken { grant: GrantId(AQEBAQEBAQEBAQEBAQEBAQ), .. }");
    }

    proptest! {
        #[test]
        fn what_was_minted_is_believed(grant: [u8; 16], generation in 1_u64.., salt: [u8; 16], id in "[!-~]{1,40}") {
            let keys = keys(&[("k1", 9), ("k0", 1)]);
            let token = keys.mint(GrantId::new(grant), &client(&id), generation, &salt);
            prop_assert_eq!(check(&keys, token.expose(), &id, &salt), Some(generation));
        }

        #[test]
        fn a_changed_byte_is_noticed(at in any::<prop::sample::Index>(), byte in "[A-Za-z0-9_.-]") {
            let token = minted();
            let at = at.index(token.len());
            let changed = format!("{}{byte}{}", &token[..at], &token[at + 1..]);
            let keys = keys(&[("k1", 9)]);
            prop_assert_eq!(check(&keys, &changed, "c1", &SALT).is_some(), changed == token);
        }

        #[test]
        fn any_text_is_a_token_or_none(text in "\\PC{0,130}", dotted in "[a-z]{0,3}\\.[A-Za-z0-9_-]{22}\\.[0-9+]{0,21}\\.[A-Za-z0-9_-]{43}") {
            for text in [&text, &dotted] {
                prop_assert_eq!(check(&keys(&[("k1", 9)]), text, "c1", &SALT), None);
            }
        }
    }
}
