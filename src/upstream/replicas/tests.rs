use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use http::uri::PathAndQuery;
use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::super::testing::{incoming, read_request};
use super::super::{Answer, Outgoing, Pool, ProbeKind, UpstreamError};
use super::*;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The upstream of these replicas, which are not probed.
fn of(urls: &[&str], before: Option<&Upstream>) -> Upstream {
    let settings = Settings {
        replicas: urls.iter().map(|url| url.parse().unwrap()).collect(),
        connect_timeout: Duration::from_millis(200),
        first_byte_timeout: None,
        probe: Probe { kind: ProbeKind::Off, every: Duration::from_secs(10) },
    };
    Upstream::new("todo", &settings, before)
}

/// A server that counts what it reads, answers it, or breaks it off.
async fn server(answers: bool) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let counter = Arc::clone(&counter);
            tokio::spawn(async move {
                while read_request(&mut tcp).await.is_some() {
                    counter.fetch_add(1, Ordering::SeqCst);
                    if !answers {
                        return;
                    }
                    tcp.write_all(OK).await.unwrap();
                }
            });
        }
    });
    (url, seen)
}

/// Where nobody listens.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}/mcp", listener.local_addr().unwrap())
}

async fn post() -> Box<Outgoing> {
    Outgoing::new(Method::POST, PathAndQuery::from_static("/mcp"), incoming("{}").await)
}

async fn read(answer: Answer<'_>) -> String {
    let name = answer.replica.name().to_owned();
    assert_eq!(answer.response.into_body().collect().await.unwrap().to_bytes(), "ok");
    name
}

fn fact(upstream: &Upstream, at: usize) -> ReplicaFact {
    upstream.facts().nth(at).unwrap()
}

// P7
#[tokio::test]
async fn a_post_that_could_not_be_sent_goes_to_another_replica_and_nobody_asks_the_first_for_a_while() {
    let ((there, seen), gone) = (server(true).await, nobody().await);
    let upstream = of(&[&gone, &there], None);
    let pool = Pool::new();
    for sent in 1..=20 {
        let name = read(pool.send(&upstream, None, post().await).await.unwrap()).await;
        assert_eq!(name, upstream.replicas[1].name());
        assert_eq!(seen.load(Ordering::SeqCst), sent);
    }
    let (gone, there) = (fact(&upstream, 0), fact(&upstream, 1));
    assert_eq!((gone.ejected, gone.ejections, gone.open), (Some("it cannot be reached"), 1, 0));
    assert_eq!((there.ejected, there.ejections, there.open), (None, 0, 0));
}

// P7
#[tokio::test]
async fn a_post_that_was_sent_is_not_sent_to_another_replica_and_three_of_them_eject() {
    let ((there, seen), (breaks, broken)) = (server(true).await, server(false).await);
    let upstream = of(&[&breaks, &there], None);
    let pool = Pool::new();
    let mut failed = 0;
    for _ in 0..30 {
        match pool.send(&upstream, None, post().await).await {
            Ok(answer) => assert_eq!(read(answer).await, upstream.replicas[1].name()),
            Err(UpstreamError::BrokeOff(_)) => failed += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(failed, 3);
    assert_eq!((broken.load(Ordering::SeqCst), seen.load(Ordering::SeqCst)), (3, 27));
    assert_eq!(fact(&upstream, 0).ejected, Some("it broke requests off"));
}

#[tokio::test]
async fn what_is_bound_to_a_replica_goes_nowhere_else() {
    let ((there, seen), gone) = (server(true).await, nobody().await);
    let upstream = of(&[&gone, &there], None);
    let pool = Pool::new();
    for _ in 0..3 {
        let error = pool.send(&upstream, Some(&upstream.replicas[0]), post().await).await.err().unwrap();
        assert!(matches!(error, UpstreamError::Unreachable(_)), "{error:?}");
    }
    assert_eq!(seen.load(Ordering::SeqCst), 0);
    for _ in 0..3 {
        let answer = pool.send(&upstream, Some(&upstream.replicas[1]), post().await).await.unwrap();
        assert_eq!(read(answer).await, upstream.replicas[1].name());
    }
}

#[tokio::test]
async fn if_nobody_is_there_each_is_tried_once() {
    let (one, two) = (nobody().await, nobody().await);
    let upstream = of(&[&one, &two], None);
    let pool = Pool::new();
    for _ in 0..3 {
        let error = pool.send(&upstream, None, post().await).await.err().unwrap();
        assert!(matches!(error, UpstreamError::Unreachable(_)), "{error:?}");
    }
    assert_eq!([fact(&upstream, 0).ejections, fact(&upstream, 1).ejections], [1, 1]);
}

#[tokio::test]
async fn all_are_out_and_one_comes_back_and_is_asked_at_once() {
    let gone = nobody().await;
    let (there, seen) = server(true).await;
    let upstream = of(&[&gone, &there], None);
    for replica in &upstream.replicas {
        let standing = replica.standing.as_ref().unwrap();
        standing.failed(super::super::health::Fault::Unreachable, Duration::from_mins(1));
    }
    let answer = Pool::new().send(&upstream, None, post().await).await.unwrap();
    assert_eq!(read(answer).await, upstream.replicas[1].name());
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    assert_eq!(fact(&upstream, 1).ejected, None);
}

#[tokio::test]
async fn a_request_is_open_at_its_replica_until_its_answer_has_ended() {
    let ((one, _), (two, _)) = (server(true).await, server(true).await);
    let upstream = of(&[&one, &two], None);
    let pool = Pool::new();
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(pool.send(&upstream, None, post().await).await.unwrap());
    }
    let counts = || [fact(&upstream, 0).open, fact(&upstream, 1).open];
    assert_eq!(counts(), [2, 2]);
    let first = open.remove(0);
    let at = usize::from(first.replica.name() == upstream.replicas[1].name());
    read(first).await;
    assert_eq!(counts()[at], 1);
    let next = pool.send(&upstream, None, post().await).await.unwrap();
    assert_eq!(next.replica.name(), upstream.replicas[at].name(), "it has the fewest");
    drop((open, next));
    assert_eq!(counts(), [0, 0]);
}

#[test]
fn replicas_that_stay_stand_as_they_stood_wherever_they_are_now() {
    let before = of(&["http://a:1/mcp", "http://b:1/mcp"], None);
    let standing = |upstream: &Upstream, name: &str| {
        Arc::clone(upstream.replica(name).unwrap().standing.as_ref().unwrap())
    };
    let open = standing(&before, "b:1").open();
    let after = of(&["http://c:1/mcp", "http://b:1/mcp", "http://a:1/mcp"], Some(&before));
    assert!(Arc::ptr_eq(&standing(&before, "a:1"), &standing(&after, "a:1")));
    assert_eq!(after.facts().map(|fact| fact.open).collect::<Vec<_>>(), [0, 1, 0]);
    drop(open);
    assert_eq!(after.facts().map(|fact| fact.open).collect::<Vec<_>>(), [0, 0, 0]);
    let fewer = of(&["http://c:1/mcp", "http://a:1/mcp"], Some(&after));
    assert!(fewer.replica("b:1").is_none());
}

#[test]
fn of_one_replica_alone_nothing_is_counted() {
    let upstream = of(&["http://a:1/mcp"], None);
    assert_eq!(upstream.facts().count(), 0);
    assert!(upstream.choose(Tried::default(), || 7).unwrap().open.is_none());
    let mut tried = Tried::default();
    tried.add(0);
    assert!(upstream.choose(tried, || 7).is_none());
}

#[test]
fn names_are_host_and_port_as_sessions_know_them() {
    for (url, name) in [
        ("http://todo:3002/mcp", "todo:3002"),
        ("http://todo/mcp", "todo"),
        ("https://todo:443/mcp", "todo"),
        ("http://[::1]:1/", "[::1]:1"),
    ] {
        assert_eq!(name_of(&url.parse().unwrap()), name);
    }
}

#[test]
fn each_user_has_a_replica_and_the_others_keep_theirs_when_one_goes() {
    let urls = ["http://a:1/mcp", "http://b:1/mcp", "http://c:1/mcp"];
    let upstream = of(&urls, None);
    let users: Vec<_> = (0..300).map(|number| format!("github:{number}")).collect();
    let home = |upstream: &Upstream, user: &str| upstream.home(user).unwrap().name().to_owned();
    let homes: Vec<_> = users.iter().map(|user| home(&upstream, user)).collect();
    for name in ["a:1", "b:1", "c:1"] {
        let count = homes.iter().filter(|home| *home == name).count();
        assert!((70..130).contains(&count), "{name} has {count} of 300");
    }
    let other_process = of(&[urls[2], urls[0], urls[1]], None);
    let standing = upstream.replica("b:1").unwrap().standing.as_ref().unwrap();
    standing.failed(super::super::health::Fault::Unreachable, Duration::from_mins(1));
    for (user, before) in users.iter().zip(&homes) {
        assert_eq!(home(&other_process, user), *before);
        let now = home(&upstream, user);
        assert!(if before == "b:1" { now != "b:1" } else { now == *before }, "{user}: {before}, {now}");
    }
    for replica in &upstream.replicas {
        let standing = replica.standing.as_ref().unwrap();
        standing.failed(super::super::health::Fault::Unreachable, Duration::from_mins(1));
    }
    assert_eq!(users.iter().map(|user| home(&upstream, user)).collect::<Vec<_>>(), homes, "all are away");
    assert!(of(&urls[..1], None).home("github:1").is_none(), "there is nothing to choose");
}
