//! The `dev` identity: a page of ours at `<issuer>/dev/login` that takes any name and sends it back as the code. The name
//! is the token too, so that asking again finds the same person.

use percent_encoding::utf8_percent_encode;

use super::{Asked, BoxFuture, Identity, IdentityError, Person, ProviderToken, SignInStart, SignedIn};
use crate::oauth::{RESERVED, Subject, User};
use crate::secret::Secret;
use crate::time::Timestamp;

/// Signs in anybody under any name, without a password.
pub struct Dev {
    issuer: String,
}

impl Dev {
    /// For an issuer without trailing slash.
    #[must_use]
    pub const fn new(issuer: String) -> Self {
        Self { issuer }
    }
}

impl Identity for Dev {
    fn name(&self) -> &'static str {
        "dev"
    }

    /// There is nobody to prove a verifier to, so it is empty. The page asks for a name every time.
    fn asks_for(&self, _asked: &Asked) -> Vec<&'static str> {
        Vec::new()
    }

    fn start(&self, state: &Secret, _asked: &Asked, _another_account: bool) -> SignInStart {
        let state = utf8_percent_encode(state.expose(), RESERVED);
        SignInStart {
            url: format!("{}/dev/login?state={state}", self.issuer),
            verifier: Secret::new(String::new()),
        }
    }

    fn finish<'a>(
        &'a self,
        code: &'a Secret,
        _verifier: &'a Secret,
        _asked: &'a Asked,
        _now: Timestamp,
    ) -> BoxFuture<'a, Result<SignedIn, IdentityError>> {
        let token = ProviderToken { access: code.clone(), ends: None, refresh: None };
        Box::pin(std::future::ready(person(code.expose()).map(|person| SignedIn { person, token })))
    }

    fn recheck<'a>(
        &'a self,
        token: &'a ProviderToken,
        _asked: &'a Asked,
    ) -> BoxFuture<'a, Result<Person, IdentityError>> {
        Box::pin(std::future::ready(person(token.access.expose())))
    }

    fn renew<'a>(
        &'a self,
        token: &'a ProviderToken,
        _now: Timestamp,
    ) -> BoxFuture<'a, Result<ProviderToken, IdentityError>> {
        Box::pin(std::future::ready(Ok(token.clone())))
    }

    fn refused(&self, error: &str) -> IdentityError {
        if error == "access_denied" { IdentityError::Denied } else { IdentityError::Answer }
    }
}

/// A name is 1 to 39 characters of `[A-Za-z0-9._-]`; upper and lower case are the same person.
fn person(name: &str) -> Result<Person, IdentityError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if !(1..=39).contains(&name.len()) || !name.bytes().all(allowed) {
        return Err(IdentityError::Code);
    }
    let subject = Subject::new("dev", &name.to_ascii_lowercase());
    Ok(Person {
        user: User { subject, login: name.to_owned(), email: None },
        orgs: Vec::new(),
        teams: Vec::new(),
        hidden: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_login_page_is_ours_and_gets_the_state_encoded() {
        let start = Dev::new("http://localhost:8080".into()).start(
            &Secret::new("a&b=c d+é~".into()),
            &Asked::default(),
            true,
        );
        assert_eq!(start.url, "http://localhost:8080/dev/login?state=a%26b%3Dc%20d%2B%C3%A9~");
    }

    #[tokio::test]
    async fn a_name_is_the_person_whatever_its_case() {
        let dev = Dev::new("http://localhost:8080".into());
        let asked = Asked { orgs: vec!["acme".into()], ..Asked::default() };
        let (code, now) = (Secret::new("Ada.L-1_x".into()), Timestamp::from_seconds(0));
        let signed_in = dev.finish(&code, &Secret::new(String::new()), &asked, now).await.unwrap();
        let user = User { subject: Subject::new("dev", "ada.l-1_x"), login: "Ada.L-1_x".into(), email: None };
        let person = Person { user, orgs: Vec::new(), teams: Vec::new(), hidden: Vec::new() };
        assert_eq!(signed_in.person, person);
        assert_eq!(dev.recheck(&signed_in.token, &asked).await, Ok(person));
        assert_eq!(dev.renew(&signed_in.token, now).await, Ok(signed_in.token));
    }

    #[test]
    fn a_name_has_1_to_39_plain_characters() {
        assert!(person(&"a".repeat(39)).is_ok());
        for bad in ["", &"a".repeat(40), "a b", "a:b", "a/b", "ä", "a\r\nb", "a\0"] {
            assert_eq!(person(bad), Err(IdentityError::Code), "{bad:?}");
        }
    }

    #[test]
    fn saying_no_on_the_page_is_a_denial() {
        let dev = Dev::new("http://localhost:8080".into());
        assert_eq!(dev.refused("access_denied"), IdentityError::Denied);
        assert_eq!(dev.refused("anything"), IdentityError::Answer);
    }
}
