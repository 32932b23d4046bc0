//! Clients that name themselves by the URL of a metadata document: the documents as they were fetched, for as long as
//! they are fresh, and the fetching of others. What is kept is the text; what it means is read out of it on each use, so
//! that a changed configuration holds at once. Only `/authorize` fetches.

mod fault;
mod freshness;
mod turns;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use quick_cache::sync::Cache;
use url::Url;

use super::authorize::Refused;
use super::exchange::Exchange;
use super::limits::{self, Limit};
use super::{Shared, Site};
use crate::fetch::{Bounds, PublicError, PublicFetcher};
use crate::oauth::{
    ClientId, ClientLimits, ClientMetadata, DocumentRules, DocumentUrl, RedirectPolicy, read_document,
};
use crate::time::Timestamp;

use turns::{Turn, Turns};

pub(super) use fault::{Fault, refuse};

/// Documents that are kept: 5 KB each at most, unless configured.
const KEPT: usize = 1000;
/// How long a fetch may take, from the name's resolution to the last byte.
const TIME: Duration = Duration::from_secs(5);
/// How long a document is used after it went stale, while nothing is heard of it.
const GRACE: Duration = Duration::from_hours(24);
/// How long a document in its grace is not asked for again.
const RETRY: Duration = Duration::from_mins(1);

/// Where documents come from: the public internet, or a test.
pub trait DocumentSource: Send + Sync {
    /// The JSON at a URL, with the headers that say how long it may be kept.
    fn get<'a>(
        &'a self,
        url: &'a Url,
        bounds: Bounds,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, PublicError>> + Send + 'a>>;
}

impl DocumentSource for PublicFetcher {
    fn get<'a>(
        &'a self,
        url: &'a Url,
        bounds: Bounds,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, PublicError>> + Send + 'a>> {
        Box::pin(Self::get(self, url, bounds))
    }
}

/// The documents of this process.
pub struct Documents {
    source: Arc<dyn DocumentSource>,
    kept: Cache<ClientId, Kept>,
    turns: Turns,
}

/// A good document, as it came.
#[derive(Clone)]
struct Kept {
    body: Bytes,
    /// Until when nobody is asked.
    fresh_until: Timestamp,
    /// Until when it is used if nothing is heard of it.
    used_until: Timestamp,
}

/// What a fetch has to know, apart from the request that wants it.
struct Errand {
    url: DocumentUrl,
    redirects: RedirectPolicy,
    bounds: Bounds,
}

/// Whether ids that are URLs of documents are anybody's here, and this one in particular (M9).
pub(super) fn admits(site: &Site, id: &ClientId) -> bool {
    let host = DocumentUrl::parse(id).map(|url| url.host().to_owned());
    site.settings.documents.as_ref().is_some_and(|rules| host.is_ok_and(|host| rules.admit(&host)))
}

/// What the document at `id` says now, or said lately, and whose it is.
///
/// # Errors
/// [`Refused`]; [`Refused::UnknownClient`] where documents are not read at all.
pub(super) async fn find(
    exchange: &Exchange<'_>,
    id: &ClientId,
) -> Result<(ClientMetadata, DocumentUrl), Refused> {
    let refused = |fault| Refused::Document { id: id.clone(), fault };
    let rules = exchange.site.settings.documents.as_ref().ok_or(Refused::UnknownClient)?;
    let url = fetchable(exchange.site, rules, id).map_err(|fault| refused(Arc::new(fault)))?;
    let errand = Errand {
        url,
        redirects: exchange.site.settings.redirects.clone(),
        bounds: Bounds { body: rules.max_bytes, time: TIME },
    };
    let documents = &exchange.shared.documents;
    let body = match documents.fresh(id, exchange.now) {
        Some(body) => Ok(body),
        None => match limits::take(exchange, Limit::Document) {
            Ok(()) => errand.send(exchange.shared).await,
            Err(hit) => documents.instead(id, Arc::new(Fault::TooMany(hit)), exchange.now),
        },
    };
    let metadata = body.and_then(|body| Ok(errand.read(&body)?)).map_err(refused)?;
    Ok((metadata, errand.url))
}

/// The URL of a document that may be asked for at all.
fn fetchable(site: &Site, rules: &DocumentRules, id: &ClientId) -> Result<DocumentUrl, Fault> {
    let url = DocumentUrl::parse(id)?;
    if !rules.admit(url.host()) {
        return Err(Fault::NotAdmitted);
    }
    if site.is_ours(url.host()) {
        return Err(Fault::OwnHost);
    }
    Ok(url)
}

impl Errand {
    /// On the control runtime, and to its end even if the request that wants it goes away: others wait for it.
    async fn send(&self, shared: &Arc<Shared>) -> Result<Bytes, Arc<Fault>> {
        let work = Arc::clone(shared);
        let errand = Self { url: self.url.clone(), redirects: self.redirects.clone(), bounds: self.bounds };
        let task = shared.control.spawn(async move { work.documents.fetch(&errand, &work).await });
        task.await.unwrap_or_else(|_| Err(Arc::new(Fault::Ended)))
    }

    fn read(&self, body: &[u8]) -> Result<ClientMetadata, Fault> {
        Ok(read_document(&self.url, body, &self.redirects, ClientLimits::default())?)
    }
}

impl Documents {
    /// No documents yet.
    #[must_use]
    pub fn new(source: Arc<dyn DocumentSource>) -> Self {
        Self { source, kept: Cache::new(KEPT), turns: Turns::new() }
    }

    fn fresh(&self, id: &ClientId, now: Timestamp) -> Option<Bytes> {
        self.kept.get(id).filter(|kept| now < kept.fresh_until).map(|kept| kept.body)
    }

    /// The document that was good a while ago instead of `fault`, if that says nothing against it.
    fn instead(&self, id: &ClientId, fault: Arc<Fault>, now: Timestamp) -> Result<Bytes, Arc<Fault>> {
        if !fault.says_nothing() {
            self.kept.remove(id);
            return Err(fault);
        }
        let kept = self.kept.get(id).filter(|kept| now < kept.used_until).ok_or(fault)?;
        let fresh_until = now.after(RETRY).min(kept.used_until);
        self.kept.insert(id.clone(), Kept { fresh_until, ..kept.clone() });
        Ok(kept.body)
    }

    /// Fetches a document when its host's turn has come, if by then nobody else has.
    async fn fetch(&self, errand: &Errand, shared: &Shared) -> Result<Bytes, Arc<Fault>> {
        let id = errand.url.id();
        let outcome = match self.turns.enter(errand.url.host()).await {
            None => Err(Arc::new(Fault::Busy)),
            Some(turn) => match (self.fresh(id, shared.clock.now()), turn.shared_failure(id)) {
                (Some(body), _) => Ok(body),
                (None, Some(fault)) => Err(fault),
                (None, None) => self.ask(errand, turn, shared).await,
            },
        };
        outcome.or_else(|fault| self.instead(id, fault, shared.clock.now()))
    }

    async fn ask(&self, errand: &Errand, turn: Turn<'_>, shared: &Shared) -> Result<Bytes, Arc<Fault>> {
        let Some(_place) = turn.place().await else { return Err(Arc::new(Fault::Busy)) };
        match self.get(errand, shared).await {
            Ok(kept) => {
                self.kept.insert(errand.url.id().clone(), kept.clone());
                turn.succeeded();
                Ok(kept.body)
            }
            Err(fault) => Err(turn.failed(errand.url.id(), fault)),
        }
    }

    /// Only what can be used is kept (M6: errors are not).
    async fn get(&self, errand: &Errand, shared: &Shared) -> Result<Kept, Fault> {
        let response = self.source.get(errand.url.url(), errand.bounds).await?;
        errand.read(response.body())?;
        let now = shared.clock.now();
        let fresh_until = now.after(freshness::life(response.headers(), now));
        Ok(Kept { body: response.into_body(), fresh_until, used_until: fresh_until.after(GRACE) })
    }
}
