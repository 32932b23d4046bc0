//! Two gateways on one Redis, with one issuer and one clock.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portcullis::clock::SystemClock;
use portcullis::oauth::{Grant, GrantId};
use portcullis::seal::Sealer;
use portcullis::secret::{Key, Secret};
use portcullis::store::{Settings, Store};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::client::Client;
use crate::faketime::{self, FakeTime};
use crate::http1::{self, Heard};
use crate::process::{Place, Process, plain};
use crate::recorder::Recorder;
use crate::support::redis::Redis;

pub(crate) struct Pair {
    pub(crate) time: FakeTime,
    pub(crate) redis: Redis,
    store: Store,
    _upstream: Recorder,
    places: [Place; 2],
    yaml: [String; 2],
    running: [Mutex<Option<Process>>; 2],
    /// What the processes said that have ended.
    said: Mutex<String>,
    /// How many refreshes were answered with tokens.
    pub(crate) refreshed: watch::Sender<usize>,
}

/// Access tokens live long enough to be refused an hour later; nothing is refused because the clock was moved on.
const LIVES: &str = "tokens: { access: 2h }
revocation_staleness: 24h
log: { format: json, filter: \"info,access=warn\" }";

impl Pair {
    pub(crate) async fn start() -> Arc<Self> {
        let (time, redis, upstream) = (FakeTime::new(), Redis::start(), Recorder::start().await);
        let places = [Place::new(), Place::new()];
        let here = plain(upstream.address, LIVES)
            .replace("store: file:{folder}/portcullis.db", &format!("store: {}", redis.url()))
            .replace("http: \"127.0.0.1:{port}\"", "http: \"127.0.0.1:{listen}\"")
            .replace("{port}", &places[0].port.to_string());
        let yaml = places.each_ref().map(|place| here.replace("{listen}", &place.port.to_string()));
        let store = Settings::Redis { url: Secret::new(redis.url()), prefix: "pc:".to_owned() };
        let sealer = Sealer::new(Key::new([0x5a; 32]));
        let pair = Self {
            store: Store::open(&store, sealer, &Handle::current(), Arc::new(SystemClock)).await.unwrap(),
            time,
            redis,
            _upstream: upstream,
            places,
            yaml,
            running: [Mutex::new(None), Mutex::new(None)],
            said: Mutex::default(),
            refreshed: watch::Sender::new(0),
        };
        let pair = Arc::new(pair);
        for which in [0, 1] {
            pair.run(which).await;
        }
        pair
    }

    /// Starts a process on its ports, which it has to itself.
    async fn run(self: &Arc<Self>, which: usize) {
        let pair = Arc::clone(self);
        let started = tokio::task::spawn_blocking(move || {
            let environment = pair.time.environment();
            let environment: Vec<_> =
                environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let process = pair.places[which].start_in(&pair.yaml[which], &environment);
            // It has them open; a process that is killed takes no names away.
            faketime::sweep(process.id());
            *pair.running[which].lock().unwrap() = Some(process);
        });
        started.await.unwrap();
    }

    /// `kill -9`, and the same again at once.
    pub(crate) async fn kill(self: &Arc<Self>, which: usize) {
        self.end(which, "KILL").await;
        self.run(which).await;
    }

    /// Ends both and gives all that they ever said.
    pub(crate) async fn stop(&self) -> String {
        for which in [0, 1] {
            self.end(which, "TERM").await;
        }
        self.said.lock().unwrap().clone()
    }

    async fn end(&self, which: usize, signal: &str) {
        let mut process = self.running[which].lock().unwrap().take().unwrap();
        process.signal(signal);
        let (_, log) = process.ended().await;
        self.said.lock().unwrap().push_str(&log);
    }

    /// Moves both clocks on, and sees to it that they have moved.
    pub(crate) async fn sleep(&self, seconds: u64) {
        self.time.advance(seconds);
        for which in [0, 1] {
            let date = self.metadata(which).await.date;
            let clock = date.split(' ').nth(4).unwrap_or_else(|| panic!("no date: {date}"));
            let [hours, minutes, seconds] = [0, 3, 6].map(|at| clock[at..at + 2].parse::<u64>().unwrap());
            let shown = (hours * 60 + minutes) * 60 + seconds;
            let ahead = (self.time.now() + 86_400 - shown) % 86_400;
            assert!(ahead <= 5 || ahead >= 86_395, "process {which} shows {date}, {ahead} s behind");
        }
    }

    /// A request that touches nothing.
    pub(crate) async fn metadata(&self, which: usize) -> Heard {
        let target = "/.well-known/oauth-authorization-server";
        let request = http1::request(&self.host(), ("GET", target), "", "");
        http1::send(self.address(which), &request).await.unwrap()
    }

    pub(crate) fn address(&self, which: usize) -> SocketAddr {
        self.places[which].address()
    }

    /// The issuer's `Host`.
    pub(crate) fn host(&self) -> String {
        format!("localhost:{}", self.places[0].port)
    }

    /// A client of the issuer, at the first process.
    pub(crate) fn client(&self) -> Client {
        Client::plain(&self.places[0])
    }

    /// The grant as the store has it.
    pub(crate) async fn grant(&self, id: GrantId) -> Grant {
        let loaded = self.store.grant(id, self.time.timestamp()).await.unwrap();
        loaded.unwrap_or_else(|| panic!("the store has no grant {id}")).value
    }

    /// Waits for something that the processes do beside their answers.
    pub(crate) async fn within<T>(&self, limit: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(started.elapsed() < limit, "not within {limit:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
