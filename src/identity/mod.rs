//! Who signs people in: GitHub, or the `dev` page that takes any name.

mod dev;
mod github;

use std::future::Future;
use std::pin::Pin;

use crate::oauth::User;
use crate::secret::Secret;
use crate::time::Timestamp;

pub use dev::Dev;
pub use github::{GitHub, GitHubSettings};

/// Which identity provider is used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one of these in a process")]
pub enum Settings {
    /// GitHub, or a GitHub Enterprise Server.
    GitHub(GitHubSettings),
    /// Any name, no password; the configuration check allows it on loopback only.
    Dev,
}

/// Where to send the browser, and what must be remembered until it comes back.
#[derive(Debug)]
pub struct SignInStart {
    /// The provider's URL with everything in it.
    pub url: String,
    /// Our PKCE verifier, for [`Identity::finish`].
    pub verifier: Secret,
}

/// What a provider is asked about a person: no more than the services need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Organisations that some access rule names, lower-case.
    pub orgs: Vec<String>,
    /// Teams likewise, as `organisation/team`.
    pub teams: Vec<String>,
    /// An e-mail address: some service forwards it.
    pub email: bool,
}

impl Asked {
    /// Whether memberships are asked about: some access rule names an organisation or team.
    #[must_use]
    pub const fn memberships(&self) -> bool {
        !self.orgs.is_empty() || !self.teams.is_empty()
    }

    /// Organisations and teams alike.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.orgs.iter().chain(&self.teams)
    }
}

/// What the provider tells of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The user.
    pub user: User,
    /// Which of the organisations asked about the user is an active member of; lower-case.
    pub orgs: Vec<String>,
    /// Likewise of the teams.
    pub teams: Vec<String>,
    /// Those that do not show whether. Worth telling only to a user whom nothing else lets in.
    pub hidden: Vec<Hidden>,
}

/// An organisation or team that does not show its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// `organisation` or `organisation/team`, lower-case.
    pub of: String,
    /// Why: [`IdentityError::SingleSignOn`] or [`IdentityError::Restricted`].
    pub why: IdentityError,
}

/// With what the provider is asked in a person's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderToken {
    /// Goes along with every question.
    pub access: Secret,
    /// When that ends; `None` if it does not.
    pub ends: Option<Timestamp>,
    /// What it can be renewed with, once.
    pub refresh: Option<Secret>,
}

/// Who came back from the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedIn {
    /// Who.
    pub person: Person,
    /// To ask again with.
    pub token: ProviderToken,
}

/// Why a sign-in failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The person said no at the provider: `access_denied`.
    #[error("the person declined at the identity provider")]
    Denied,
    /// The provider does not answer, or with a 5xx (finding `github-unreachable`).
    #[error("the identity provider does not answer")]
    Unreachable,
    /// Wrong client id or secret (finding `github-credentials`).
    #[error("the identity provider does not accept our client id and secret")]
    Credentials,
    /// The callback URL registered there is another one (finding `github-callback`).
    #[error("the identity provider does not know our callback URL")]
    Callback,
    /// The person's token works no more: they took this application's access away, or it has ended (401).
    #[error("the identity provider no longer accepts the person's token")]
    TokenRejected,
    /// The provider's code is used up, expired or foreign.
    #[error("the identity provider's code is not valid (any more)")]
    Code,
    /// The application is suspended.
    #[error("the identity provider has suspended this application")]
    Suspended,
    /// The primary e-mail is not verified, and the provider insists.
    #[error("the person's e-mail address is not verified at the identity provider")]
    UnverifiedEmail,
    /// Too many requests.
    #[error("the identity provider limits our requests")]
    RateLimited,
    /// An organisation hides its members until the person authorises SSO (403 with `X-GitHub-SSO`).
    #[error("an organisation wants single sign-on first")]
    SingleSignOn {
        /// The organisation.
        org: String,
        /// Where to authorise, if the provider says (https only).
        url: Option<String>,
    },
    /// An organisation does not let this application see its members (GitHub's third-party application restrictions, an IP
    /// allow list): one of its owners must approve it.
    #[error("an organisation does not let this application see its members")]
    Restricted {
        /// The organisation.
        org: String,
    },
    /// An answer that makes no sense.
    #[error("the identity provider's answer cannot be understood")]
    Answer,
}

/// A boxed future, as trait objects need it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An identity provider.
pub trait Identity: Send + Sync {
    /// `GitHub`, or `dev`: for people.
    fn name(&self) -> &'static str;

    /// What the provider is asked to tell of a person, in words for the consent page (C2).
    fn asks_for(&self, asked: &Asked) -> Vec<&'static str>;

    /// Begins a sign-in that comes back to `<issuer>/callback` with `state`, and lets `asked` be asked about. With
    /// `another_account` the provider is asked to offer a choice of accounts.
    fn start(&self, state: &Secret, asked: &Asked, another_account: bool) -> SignInStart;

    /// Finishes a sign-in with the `code` that came back, and asks what is to be known.
    fn finish<'a>(
        &'a self,
        code: &'a Secret,
        verifier: &'a Secret,
        asked: &'a Asked,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<SignedIn, IdentityError>>;

    /// Asks again about somebody who signed in before: [`IdentityError::TokenRejected`] if their token works no more,
    /// any other error if there is no answer just now.
    fn recheck<'a>(
        &'a self,
        token: &'a ProviderToken,
        asked: &'a Asked,
    ) -> BoxFuture<'a, Result<Person, IdentityError>>;

    /// Another token in the place of one that ends. The old one is used up, so no two may try at once:
    /// [`IdentityError::TokenRejected`] if it was used up before, or if there is nothing to renew it with.
    fn renew<'a>(
        &'a self,
        token: &'a ProviderToken,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<ProviderToken, IdentityError>>;

    /// What a provider's `error` parameter at the callback means.
    fn refused(&self, error: &str) -> IdentityError;
}
