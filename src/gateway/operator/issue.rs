//! Tokens for programs that cannot sign in: one access token, whose grant is listed and revoked like any other.

use std::time::Duration;

use super::{Operator, Unknown};
use crate::gateway::grants::{deadline, patiently};
use crate::gateway::{KeyRingError, Service, key_rings, keys};
use crate::oauth::{AttemptId, ClientId, Grant, GrantId, Issuance, LONGEST_ISSUED, Scopes, Subject};
use crate::policy::{Judgement, NotAllowed};
use crate::secret::{self, Secret};
use crate::store::StoreError;
use crate::telemetry::{Audit, Event};
use crate::token::{Claims, KeyError};

/// The client of tokens that were issued on the command line.
pub(super) const CLIENT: &str = "portcullis-cli";
/// The shortest life that is worth a token.
const SHORTEST: Duration = Duration::from_mins(1);

/// What an operator asks for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// `github:583231` or a login.
    pub user: String,
    /// The service's name.
    pub service: String,
    /// Space-separated; the service's own always come along.
    pub scope: String,
    /// How long it is to live.
    pub ttl: Duration,
}

/// A token, to be shown once.
#[derive(Debug)]
pub struct Issued {
    /// The token.
    pub token: Secret,
    /// Its grant.
    pub grant: Grant,
    /// When it ends.
    pub until: crate::time::Timestamp,
}

/// Why no token is issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// No such user or service.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// The access rules do not let the user in.
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    /// Nobody that the identity provider could sign in.
    #[error("{0} is no user that can sign in here; write an id such as github:583231, or a login")]
    NoUser(Subject),
    /// A membership might, and nobody has said so lately.
    #[error(
        "whether the access rules let {0} in is not known: their memberships were not seen lately; let them sign in once more"
    )]
    NotKnown(Subject),
    /// The service takes requests without a token.
    #[error("{0} is public: it needs no token")]
    Public(String),
    /// Not a scope of the service; those that it has.
    #[error("{0} is no scope of this service; it has {1}")]
    Scope(Scopes, Scopes),
    /// Outside of what a token may live.
    #[error("a token lives for 1m at least and 90d at most")]
    Life,
    /// The store is away.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The token cannot be signed.
    #[error("the token cannot be signed")]
    Key(#[from] KeyError),
    /// The keys cannot be had.
    #[error("the signing keys cannot be read or written")]
    Keys(#[from] KeyRingError),
    /// The key that was to sign was given away just now.
    #[error("the signing key was replaced at this moment; ask once more")]
    KeyGone,
}

impl Operator {
    /// Issues a token.
    ///
    /// # Errors
    /// [`IssueError`].
    pub async fn issue(&self, wanted: &Wanted) -> Result<Issued, IssueError> {
        if !(SHORTEST..=LONGEST_ISSUED).contains(&wanted.ttl) {
            return Err(IssueError::Life);
        }
        let service = self.service(&wanted.service)?;
        if service.settings.public {
            return Err(IssueError::Public(wanted.service.clone()));
        }
        let scopes = scopes(service, &wanted.scope)?;
        let subject = self.user(&wanted.user).await??;
        if !self.is_user(&subject) {
            return Err(IssueError::NoUser(subject));
        }
        let facts = match self.judge(&service.settings.access, &subject).await? {
            Judgement::Admitted(facts) => facts,
            Judgement::Lost(refused) => return Err(refused.into()),
            Judgement::Hidden(_) | Judgement::Unknown => return Err(IssueError::NotKnown(subject)),
        };
        let (now, until) = (self.now(), self.now().after(wanted.ttl));
        let issuance = Issuance {
            id: GrantId::new(secret::random()),
            client: ClientId::parse(CLIENT).ok_or(IssueError::KeyGone)?,
            facts,
            resource: service.settings.resource.clone(),
            scopes,
        };
        let grant = Grant::issue(issuance, AttemptId::new(secret::random()), now, until);
        let token = self.sign(service, &grant, until).await?;
        Audit { by: Some("operator"), ..Audit::of_grant(Event::TokenIssued, &grant) }.write_alone();
        Ok(Issued { token, grant, until })
    }

    /// Whether a subject has the form of this identity provider's, so that no rule such as `"*"` lets in somebody made up.
    fn is_user(&self, subject: &Subject) -> bool {
        match subject.as_str().split_once(':') {
            Some(("dev", name)) => self.site.settings.dev_identity && !name.is_empty(),
            Some(("github", id)) => {
                let digits = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
                !self.site.settings.dev_identity && digits
            }
            Some(_) | None => false,
        }
    }

    /// The key is kept, then the grant is written, then the token exists: none can be without what it needs.
    async fn sign(
        &self,
        service: &Service,
        grant: &Grant,
        until: crate::time::Timestamp,
    ) -> Result<Secret, IssueError> {
        let shared = self.shared();
        keys::before_signing(shared).await;
        let signing = shared.signing.load_full();
        let id = signing.signing().ok_or(KeyError::None)?;
        if !key_rings::keep_signing_key(shared, id, until).await? {
            return Err(IssueError::KeyGone);
        }
        patiently(deadline(), || shared.store.begin_grant(grant, self.lives())).await?;
        let user = &grant.facts.user;
        let claims = Claims {
            issuer: self.site.settings.issuer.clone(),
            subject: user.subject.clone(),
            resource: grant.resource.clone(),
            client: grant.client.clone(),
            scopes: grant.scopes.clone(),
            issued_at: grant.created,
            expires: until,
            token_id: secret::to_base64url(&secret::random::<16>()),
            grant: grant.id,
            generation: 0,
            access: service.access.clone(),
            login: user.login.clone(),
            email: user.email.clone().filter(|_| service.settings.forward_email),
        };
        Ok(signing.mint(&claims)?)
    }
}

/// What was asked for, all of which the service must know, and what the service always grants.
fn scopes(service: &Service, asked: &str) -> Result<Scopes, IssueError> {
    let (asked, known) = (Scopes::parse(asked), service.known_scopes());
    let unknown: Scopes = asked.iter().filter(|scope| !known.contains(scope.as_str())).cloned().collect();
    if unknown.is_empty() { Ok(service.grantable(&asked)) } else { Err(IssueError::Scope(unknown, known)) }
}
