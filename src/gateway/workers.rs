//! The workers there are, and what they have counted together.

use std::sync::{Arc, Mutex, PoisonError};

use super::route::Route;
use super::{Site, Worker};
use crate::telemetry::{Endpoint, Subject, Sum, Tally, added_up};
use crate::token::{CacheFigures, TokenCache};

/// The workers whose figures are asked for. They only come; with the process they all go.
#[derive(Default)]
pub struct Workers(Mutex<Vec<(Arc<Tally>, Arc<TokenCache>)>>);

/// What was asked of a service, or of an endpoint of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// Which.
    pub of: Asked,
    /// How much.
    pub sum: Sum,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The service of this name; it may be configured no more.
    Service(String),
    /// What we answer ourselves.
    Endpoint(Endpoint),
}

impl Workers {
    /// One more, whose figures are among the others' from now on.
    #[must_use]
    pub fn hire(&self) -> Worker {
        let worker = Worker::new();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((Arc::clone(&worker.tally), Arc::clone(&worker.tokens)));
        worker
    }

    /// What their token caches came to.
    #[must_use]
    pub fn tokens(&self) -> CacheFigures {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(_, cache)| cache.figures()).fold(CacheFigures::default(), |sum, one| CacheFigures {
            hits: sum.hits + one.hits,
            misses: sum.misses + one.misses,
            remembered: sum.remembered + one.remembered,
        })
    }

    fn tallies(&self) -> Vec<Arc<Tally>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(tally, _)| Arc::clone(tally)).collect()
    }
}

/// What all of them were asked.
pub(super) fn traffic(workers: &Workers, site: &Site) -> Vec<Traffic> {
    let names = site.numbered();
    let asked = |subject| match subject {
        // One that a reload brings this moment is told the next time.
        Subject::Service(number) => Some(Asked::Service((*names.get(&number)?).to_owned())),
        Subject::Endpoint(endpoint) => Some(Asked::Endpoint(endpoint)),
    };
    let sums = added_up(&workers.tallies()).into_iter();
    sums.filter_map(|(subject, sum)| Some(Traffic { of: asked(subject)?, sum })).collect()
}

/// What a request with this route is for.
pub(super) fn subject(route: &Route<'_>) -> Subject {
    let endpoint = match route {
        Route::Service(service) => return Subject::Service(service.number),
        Route::ServerMetadata | Route::ResourceMetadata(_) => Endpoint::Metadata,
        Route::Keys => Endpoint::Keys,
        Route::Authorize | Route::AuthorizeAtIssuer(_) => Endpoint::Authorize,
        Route::Callback => Endpoint::Callback,
        Route::Token => Endpoint::Token,
        Route::Register => Endpoint::Register,
        Route::Registration(_) => Endpoint::Registration,
        Route::Revoke => Endpoint::Revoke,
        Route::Introspect => Endpoint::Introspect,
        Route::DevLogin => Endpoint::DevLogin,
        Route::Stylesheet | Route::Help(_) | Route::Home | Route::Connections(_) => Endpoint::Pages,
        Route::NoDocument | Route::Nothing(_) => Endpoint::Elsewhere,
    };
    Subject::Endpoint(endpoint)
}
