//! A restart under load: the sockets are held by a service manager, and no request is lost or sent twice.

use std::net::TcpListener;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use http::Response;
use hyper::body::Incoming;

use crate::client::{Client, SignedIn, call, piece};
use crate::load::{Figures, Load};
use crate::passed::handed;
use crate::process::{Place, Process, secure};
use crate::recorder::Recorder;
use crate::support::redis::Redis;

/// Enough that every customer asks in each phase.
const SOME: usize = 60;

struct World {
    place: Place,
    upstream: Recorder,
    socket: TcpListener,
    yaml: String,
}

impl World {
    /// With the store at `store`, or in a file.
    async fn new(store: Option<String>) -> Self {
        let (place, upstream) = (Place::new(), Recorder::start().await);
        let socket = TcpListener::bind(place.address()).unwrap();
        let more = "workers: 2\ndrain: 15s\nadmin_socket: \"{folder}/admin.sock\"";
        let mut yaml = secure(upstream.address).replace("workers: 1", more);
        if let Some(store) = store {
            yaml = yaml.replace("file:{folder}/portcullis.db", &store);
        }
        // It redirects nobody: nothing but the passed socket is bound.
        let yaml = yaml.replace("http: \"127.0.0.1:{second}\"", "http: []");
        Self { place, upstream, socket, yaml }
    }

    /// One that is just starting.
    fn launch(&self) -> Process {
        handed(&self.place.write("serve.yaml", &self.yaml), &[self.socket.as_fd()], &[])
    }

    async fn signed_in(&self) -> SignedIn {
        Client::secure(&self.place).sign_in("alice").await
    }

    /// A stream whose first event has come.
    async fn stream(&self, signed_in: &SignedIn) -> Response<Incoming> {
        let mut stream = Client::secure(&self.place).open(call("GET", "/mcp/stream", signed_in)).await;
        assert_eq!(piece(&mut stream).await.unwrap().unwrap(), "data: open\n\n");
        stream
    }
}

fn tell(what: &str, figures: &Figures) {
    let Figures { requests, connections, longest } = figures;
    println!("{what}: {requests} requests over {connections} connections, none lost, longest {longest:?}");
}

/// How often, if somebody wants to know it better.
fn rounds(usual: usize) -> usize {
    std::env::var("PORTCULLIS_TEST_RESTARTS").map_or(usual, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_loses_no_request_and_no_stream() {
    let redis = Redis::start();
    let world = World::new(Some(redis.url())).await;
    let mut process = world.launch().listening();
    let signed_in = world.signed_in().await;
    let load = Load::start(&world.place, &signed_in, (20, 4));
    for round in 0..rounds(3) {
        load.answers(SOME).await;
        let mut streams = [world.stream(&signed_in).await, world.stream(&signed_in).await];
        let next = world.launch();
        next.says("listening").await;
        load.answers(SOME).await;
        process.signal("TERM");
        process.says("stopping: ").await;
        load.answers(2 * SOME).await;
        assert!(process.is_running(), "it has streams");
        let event = format!("round {round}");
        world.upstream.tell(&event);
        for stream in &mut streams {
            assert_eq!(piece(stream).await.unwrap().unwrap(), format!("data: {event}\n\n"));
        }
        drop(streams);
        let (status, log) = process.ended().await;
        assert_eq!(status, 0, "{log}");
        assert!(!log.contains("cut off"), "{log}");
        next.says("the admin socket is free, and ours").await;
        process = next;
    }
    tell("rolling restart", &load.end(&world.upstream).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_with_an_embedded_store_loses_no_request() {
    let world = World::new(None).await;
    let mut process = world.launch().listening();
    let signed_in = world.signed_in().await;
    let load = Load::start(&world.place, &signed_in, (20, 4));
    for _ in 0..rounds(2) {
        load.answers(SOME).await;
        let stopped = Instant::now();
        process.signal("TERM");
        let (status, log) = process.ended().await;
        let gone = stopped.elapsed();
        assert_eq!(status, 0, "{log}");
        assert!(!log.contains("cut off"), "{log}");
        process = world.launch().listening();
        println!("embedded: gone after {gone:?}, back after {:?}", stopped.elapsed());
        load.answers(SOME).await;
    }
    let figures = load.end(&world.upstream).await;
    assert!(figures.longest < Duration::from_secs(10), "{figures:?}");
    tell("embedded store", &figures);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_waits_for_an_embedded_store_that_the_one_before_still_has() {
    let world = World::new(None).await;
    let mut process = world.launch().listening();
    let signed_in = world.signed_in().await;
    let load = Load::start(&world.place, &signed_in, (20, 4));
    load.answers(SOME).await;
    let stream = world.stream(&signed_in).await;
    process.signal("TERM");
    process.says("stopping: ").await;
    let next = world.launch();
    next.says("another process has the store open; waiting until it lets go of it").await;
    assert!(process.is_running() && !next.log().contains("listening"));
    drop(stream);
    let (status, log) = process.ended().await;
    assert_eq!(status, 0, "{log}");
    let next = next.listening();
    assert!(next.log().contains("the store is free"), "{}", next.log());
    load.answers(SOME).await;
    tell("embedded store, waited for", &load.end(&world.upstream).await);
}
