//! Asks replicas whether they are well, each in its own time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::gateway::{Gateway, Service};
use crate::upstream::{Learned, Prober, Replica};

/// How often it is looked whose time has come.
const LOOK: Duration = Duration::from_secs(1);
/// Probes that are on their way at the same time.
const MOST: usize = 128;

/// A replica: the service's name, and its own.
type Name = (String, String);

/// The state of one replica's probes.
#[derive(Clone, Copy)]
struct Asked {
    at: Instant,
    learned: Learned,
    /// Whether it is being asked.
    open: bool,
}

/// Probes the replicas of all services until it is dropped. What a reload brings is probed from then on.
pub(super) async fn probe(gateway: Arc<Gateway>) {
    let prober = Arc::new(Prober::default());
    let mut asked: HashMap<Name, Asked> = HashMap::new();
    let mut open = JoinSet::new();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => {
                let services = gateway.services();
                let present: HashSet<Name> = services.iter().flat_map(|service| names(service)).collect();
                asked.retain(|name, _| present.contains(name));
                for (service, name) in due(&services, &asked).into_iter().take(MOST.saturating_sub(open.len())) {
                    let learned = asked.get(&name).map(|asked| asked.learned).unwrap_or_default();
                    asked.insert(name.clone(), Asked { at: Instant::now(), learned, open: true });
                    open.spawn(one(Arc::clone(&prober), service, name, learned));
                }
            }
            Some(done) = open.join_next() => {
                if let Ok((name, learned)) = done
                    && let Some(asked) = asked.get_mut(&name)
                {
                    (asked.learned, asked.open) = (learned, false);
                }
            }
        }
    }
}

async fn one(prober: Arc<Prober>, service: Arc<Service>, name: Name, learned: Learned) -> (Name, Learned) {
    let upstream = &service.upstream;
    let learned = match upstream.replica(&name.1) {
        Some(replica) => prober.probe(upstream, replica, learned).await,
        None => learned,
    };
    (name, learned)
}

/// The replicas of a service that are probed.
fn names(service: &Service) -> impl Iterator<Item = Name> {
    let replicas = service.upstream.probe().is_on().then(|| service.upstream.replicas());
    let name = service.settings.name.clone();
    replicas.into_iter().flatten().map(move |replica| (name.clone(), replica.name().to_owned()))
}

/// Those that should be asked now.
fn due(services: &[Arc<Service>], asked: &HashMap<Name, Asked>) -> Vec<(Arc<Service>, Name)> {
    let mut due = Vec::new();
    for service in services {
        let upstream = &service.upstream;
        let is_due = |name: &Name| {
            let Some(asked) = asked.get(name) else { return true };
            let is_ejected = upstream.replica(&name.1).is_some_and(Replica::is_ejected);
            !asked.open && asked.at.elapsed() >= asked.learned.pause(upstream.probe(), is_ejected)
        };
        due.extend(names(service).filter(is_due).map(|name| (Arc::clone(service), name)));
    }
    due
}
