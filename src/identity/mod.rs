//! Who signs people in: GitHub, or the `dev` page that takes any name.

mod dev;
mod github;

use std::future::Future;
use std::pin::Pin;

use crate::oauth::User;
use crate::secret::Secret;

pub use dev::Dev;
pub use github::{GitHub, GitHubSettings};

/// Which identity provider is used.
#[derive(Clone, Debug)]
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

/// Who came back from the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedIn {
    /// The user.
    pub user: User,
    /// Which of the organisations asked for the user is an active member of; lower-case.
    pub orgs: Vec<String>,
    /// Why the membership in another one could not be seen. Worth telling only to a user whom nothing else lets in.
    pub hidden: Option<IdentityError>,
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
    fn asks_for(&self) -> Vec<&'static str>;

    /// Begins a sign-in that comes back to `<issuer>/callback` with `state`. With `another_account` the provider is asked to
    /// offer a choice of accounts.
    fn start(&self, state: &Secret, another_account: bool) -> SignInStart;

    /// Finishes a sign-in with the `code` that came back, and asks for the membership in `orgs`.
    fn finish<'a>(
        &'a self,
        code: &'a Secret,
        verifier: &'a Secret,
        orgs: &'a [String],
    ) -> BoxFuture<'a, Result<SignedIn, IdentityError>>;

    /// What a provider's `error` parameter at the callback means.
    fn refused(&self, error: &str) -> IdentityError;
}
