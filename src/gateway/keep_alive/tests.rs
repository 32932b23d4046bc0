use std::task::Waker;

use http::Response;
use proptest::prelude::*;

use super::*;

const PAUSE: Duration = Duration::from_secs(15);
const ALMOST: Duration = Duration::from_millis(14_998);

fn answer(status: u16, headers: &[(&str, &str)]) -> Parts {
    let mut answer = Response::builder().status(status);
    for (name, value) in headers {
        answer = answer.header(*name, *value);
    }
    answer.body(()).unwrap().into_parts().0
}

fn keep_alive() -> KeepAlive {
    *KeepAlive::of(Some(PAUSE), &answer(200, &[("content-type", "text/event-stream")])).unwrap()
}

/// What is written now, if anything.
fn poll(keep_alive: &mut KeepAlive) -> Option<Bytes> {
    match keep_alive.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(frame) => Some(frame.into_data().unwrap()),
        Poll::Pending => None,
    }
}

fn pass(keep_alive: &mut KeepAlive, text: &'static str) {
    let passed = keep_alive.pass(Frame::data(Bytes::from_static(text.as_bytes())));
    assert_eq!(passed.into_data().unwrap(), text);
}

#[test]
fn only_an_open_stream_of_plain_events_is_kept_alive() {
    const EVENTS: (&str, &str) = ("content-type", "text/event-stream");
    for (status, headers) in [
        (200, &[EVENTS][..]),
        (200, &[("content-type", "Text/Event-Stream; charset=utf-8")]),
        (200, &[EVENTS, ("content-encoding", "identity")]),
        (200, &[EVENTS, ("cache-control", "no-cache, no-transform")]),
    ] {
        assert!(KeepAlive::of(Some(PAUSE), &answer(status, headers)).is_some(), "{headers:?}");
        assert!(KeepAlive::of(None, &answer(status, headers)).is_none(), "it is not configured");
    }
    for (status, headers) in [
        (200, &[][..]),
        (200, &[("content-type", "application/json")]),
        (200, &[("content-type", "text/event-streams")]),
        (200, &[EVENTS, ("content-encoding", "gzip")]),
        (200, &[EVENTS, ("content-encoding", "identity"), ("content-encoding", "gzip")]),
        (200, &[EVENTS, ("content-encoding", "g\u{fc}")]),
        (200, &[EVENTS, ("content-length", "100")]),
        (202, &[EVENTS]),
        (206, &[EVENTS]),
        (404, &[EVENTS]),
        (500, &[EVENTS]),
    ] {
        assert!(KeepAlive::of(Some(PAUSE), &answer(status, headers)).is_none(), "{status} {headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_comment_comes_after_each_pause_and_no_sooner() {
    let mut quiet = keep_alive();
    for _ in 0..3 {
        assert_eq!(poll(&mut quiet), None);
        tokio::time::advance(ALMOST).await;
        assert_eq!(poll(&mut quiet), None);
        tokio::time::advance(Duration::from_millis(4)).await;
        assert_eq!(poll(&mut quiet).unwrap(), ":\n\n");
    }
    tokio::time::advance(ALMOST).await;
    pass(&mut quiet, "data: 1\n\n");
    assert_eq!(poll(&mut quiet), None);
    tokio::time::advance(ALMOST).await;
    assert_eq!(poll(&mut quiet), None, "an event begins the pause anew");
    tokio::time::advance(Duration::from_millis(4)).await;
    assert!(poll(&mut quiet).is_some());
}

#[tokio::test(start_paused = true)]
async fn no_comment_comes_into_an_event_however_long_it_takes() {
    let mut quiet = keep_alive();
    for part in ["d", "ata: 1", "\n", "data: 2\r", "\n", "id: 7\r\n", ": theirs\n"] {
        pass(&mut quiet, part);
        assert_eq!(poll(&mut quiet), None, "after {part:?}");
        tokio::time::advance(PAUSE * 10).await;
        assert_eq!(poll(&mut quiet), None, "after {part:?}");
        assert!(quiet.due.is_none(), "there is nothing to wait for");
    }
    pass(&mut quiet, "\n");
    assert_eq!(poll(&mut quiet), None);
    tokio::time::advance(PAUSE + Duration::from_millis(2)).await;
    assert!(poll(&mut quiet).is_some());
}

#[test]
fn every_kind_of_line_may_end_an_event() {
    for (stream, expected) in [
        ("", true),
        ("\n", true),
        ("data: 1", false),
        ("data: 1\n", false),
        ("data: 1\n\n", true),
        ("data: 1\r\n", false),
        ("data: 1\r\n\r\n", true),
        ("data: 1\r\n\r", true),
        ("data: 1\r", false),
        ("data: 1\r\r", true),
        ("data: 1\n\r", true),
        ("data: 1\r\n\n", true),
        ("data: 1\n\ndata", false),
        ("data: 1\n\n\n\n", true),
        ("\u{feff}", false),
    ] {
        let mut events = Events::default();
        for byte in stream.bytes() {
            events.pass(Bytes::copy_from_slice(&[byte]));
        }
        assert_eq!(events.are_apart(), expected, "{stream:?}, byte by byte");
        let mut events = Events::default();
        events.pass(Bytes::copy_from_slice(stream.as_bytes()));
        assert_eq!(events.are_apart(), expected, "{stream:?}, at once");
    }
}

/// What a client makes of a stream: its events with type, data and last id, and the times it says to wait.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parsed {
    events: Vec<(String, String, String)>,
    retry: Vec<String>,
}

/// WHATWG HTML §9.2.6, by the letter and not by [`Events`].
fn parse(bytes: &[u8]) -> Parsed {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut parsed = Parsed::default();
    let (mut kind, mut data, mut id) = (String::new(), String::new(), String::new());
    // What stands after the last end of line is no line.
    let (lines, _) = text.rsplit_once('\n').unwrap_or_default();
    let lines = if text.contains('\n') { lines.split('\n').collect() } else { Vec::new() };
    for line in lines {
        if line.is_empty() {
            let (kind, data) = (std::mem::take(&mut kind), std::mem::take(&mut data));
            if let Some(data) = data.strip_suffix('\n') {
                parsed.events.push((kind, data.to_owned(), id.clone()));
            }
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut kind),
            "data" => data.extend([value, "\n"]),
            "id" => value.clone_into(&mut id),
            "retry" => parsed.retry.push(value.to_owned()),
            _ => {}
        }
    }
    parsed
}

fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "data: 1", "data:2", "data", "event: e", "id: 7", "id", "retry: 9", ":", ": hm", "x", "\u{20ac}",
        "\u{f123}", "\u{feff}", "\n", "\r", "\r\n", "\n\n", "\r\r", "\r\n\r\n", "\n", "\r\n",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    // P5
    #[test]
    fn a_client_reads_the_same_events_wherever_comments_may_stand(
        pieces in prop::collection::vec(piece(), 0..24),
        frames in prop::collection::vec((1_usize..12, 0_u8..3), 1..60),
    ) {
        let stream = pieces.concat().into_bytes();
        let (mut rest, mut written) = (&stream[..], Vec::new());
        let mut events = Events::default();
        for (length, comments) in frames.iter().cycle().take(stream.len() + 1) {
            for _ in 0..*comments {
                if events.are_apart() {
                    written.extend(events.comment());
                }
            }
            let (frame, after) = rest.split_at((*length).min(rest.len()));
            written.extend(events.pass(Bytes::copy_from_slice(frame)));
            rest = after;
        }
        prop_assert_eq!(parse(&written), parse(&stream), "{:?}", String::from_utf8_lossy(&written));
    }

    // Else the test above would prove little.
    #[test]
    fn comments_elsewhere_are_another_stream(before in "(data: 1|data)", after in "(a|: b)") {
        let stream = format!("{before}{after}\n\n");
        let broken = format!("{before}:\n\n{after}\n\n");
        prop_assert_ne!(parse(broken.as_bytes()), parse(stream.as_bytes()));
    }

    #[test]
    fn nothing_is_changed_where_nothing_is_written(pieces in prop::collection::vec(piece(), 0..24)) {
        let stream = Bytes::from(pieces.concat());
        prop_assert_eq!(Events::default().pass(stream.clone()), stream);
    }
}
