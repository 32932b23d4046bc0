use proptest::prelude::*;

use super::*;

/// The clock, in seconds, and a replica by it.
fn at(seconds: u64) -> Moment {
    Moment::default().after(Duration::from_secs(seconds))
}

const NO_PROBES: Duration = Duration::ZERO;
const HOLD: Duration = Duration::from_secs(8);

/// A replica that could not be reached at the beginning.
fn unreachable() -> Health {
    let mut health = Health::GOOD;
    assert_eq!(
        health.failed(Fault::Unreachable, at(0), NO_PROBES),
        Some(Change::Ejected(Fault::Unreachable))
    );
    health
}

fn out(until: u64, fault: Fault) -> Phase {
    Phase::Out { until: at(until), fault }
}

#[test]
fn one_failed_connection_ejects_for_a_second() {
    assert_eq!(unreachable().phase(), out(1, Fault::Unreachable));
}

#[test]
fn three_requests_must_be_broken_off_with_none_answered_between_them() {
    let mut health = Health::GOOD;
    for fault in [false, false, true, false, false] {
        if fault {
            assert_eq!(health.answered(at(0)), None);
        } else {
            assert_eq!(health.failed(Fault::BrokeOff, at(0), NO_PROBES), None);
        }
    }
    assert_eq!(health.phase(), Phase::Well);
    assert_eq!(health.failed(Fault::BrokeOff, at(0), HOLD), Some(Change::Ejected(Fault::BrokeOff)));
    assert_eq!(health.phase(), out(1, Fault::BrokeOff), "no probe is waited for, which would tell nothing");
    assert_eq!(health.failed(Fault::BrokeOff, at(0), HOLD), None, "the others that were under way");
    assert_eq!(health.phase(), out(1, Fault::BrokeOff));
}

#[test]
fn two_probes_in_a_row_must_go_wrong_and_requests_in_between_do_not_matter() {
    let mut health = Health::GOOD;
    assert_eq!(health.failed(Fault::Unwell, at(0), HOLD), None);
    health.probed(at(2));
    assert_eq!(health.failed(Fault::Unwell, at(4), HOLD), None);
    assert_eq!(health.answered(at(5)), None);
    assert_eq!(health.failed(Fault::Unwell, at(6), HOLD), Some(Change::Ejected(Fault::Unwell)));
    assert_eq!(health.phase(), out(14, Fault::Unwell));
    assert_eq!(health.answered(at(7)), None, "it may answer the requests of its sessions");
    assert_eq!(health.phase(), out(14, Fault::Unwell));
    assert_eq!(health.probed(at(8)), Some(Change::Returned));
}

#[test]
fn each_time_is_twice_as_long_up_to_a_minute() {
    let mut health = unreachable();
    let mut now = 1;
    for seconds in [2, 4, 8, 16, 32, 60, 60, 60] {
        assert!(health.try_out(at(now)));
        assert_eq!(health.failed(Fault::Unreachable, at(now), NO_PROBES), None, "told once");
        assert_eq!(health.phase(), out(now + seconds, Fault::Unreachable));
        now += seconds;
    }
}

#[test]
fn when_its_time_is_over_one_request_alone_tries_it_out() {
    let mut health = unreachable();
    assert!(!health.try_out(Moment(999)));
    assert!(health.try_out(at(1)));
    assert!(!health.try_out(at(1)) && !health.try_out(Moment(5_999)));
    assert!(health.try_out(at(6)), "the first one was never heard of again");
    assert_eq!(health.answered(at(7)), Some(Change::Returned));
    assert_eq!(health.phase(), Phase::Returning { since: at(7) });
    assert!(!health.try_out(at(100)));
}

#[test]
fn who_returned_gets_a_full_share_after_half_a_minute_and_then_has_no_past() {
    let shares = [0, 3, 6, 15, 29, 30, 100].map(|later| share(at(10), at(10 + later)));
    assert_eq!(shares, [102, 102, 204, 512, 989, 1024, 1024]);
    let mut health = unreachable();
    for (back, wanted) in [(1, 2), (40, 1)] {
        assert!(health.try_out(at(back)));
        health.answered(at(back));
        let again = if wanted == 2 { back + 29 } else { back + 30 };
        assert_eq!(
            health.failed(Fault::Unreachable, at(again), NO_PROBES),
            Some(Change::Ejected(Fault::Unreachable))
        );
        assert_eq!(health.phase(), out(again + wanted, Fault::Unreachable));
    }
}

#[test]
fn where_probes_tell_more_no_request_is_the_trial() {
    let mut health = Health::GOOD;
    health.failed(Fault::Unreachable, at(0), HOLD);
    assert_eq!(health.phase(), out(8, Fault::Unreachable));
    for now in [2, 4, 6] {
        assert_eq!(health.failed(Fault::Unreachable, at(now), HOLD), None);
    }
    assert_eq!(health.phase(), out(14, Fault::Unreachable), "for as long as probes go wrong");
    assert_eq!(health.probed(at(8)), Some(Change::Returned));
}

#[test]
fn a_probe_proves_nothing_of_a_server_that_breaks_requests_off() {
    let mut health = Health::GOOD;
    for _ in 0..3 {
        health.failed(Fault::BrokeOff, at(0), HOLD);
    }
    assert_eq!(health.probed(at(0)), None);
    assert_eq!(health.phase(), out(1, Fault::BrokeOff));
    assert!(health.try_out(at(1)));
    assert_eq!(health.probed(at(1)), None);
    assert_eq!(health.failed(Fault::BrokeOff, at(1), HOLD), None);
    assert_eq!(health.phase(), out(3, Fault::BrokeOff));
    // A server that was killed breaks off what it had, and is not there any more.
    health.failed(Fault::Unreachable, at(2), HOLD);
    assert_eq!(health.phase(), out(10, Fault::Unreachable));
    assert_eq!(health.probed(at(4)), Some(Change::Returned));
}

#[test]
fn sessions_are_lost_when_nobody_has_reached_their_replica_for_a_minute() {
    let mut health = unreachable();
    assert!(!health.is_lost(at(59)) && health.is_lost(at(60)));
    health.failed(Fault::Unreachable, at(50), NO_PROBES);
    assert!(health.is_lost(at(60)), "counted from the first failure");
    health.answered(at(61));
    assert!(!health.is_lost(at(500)));
    assert!(health.is_clean());
    for _ in 0..5 {
        health.failed(Fault::Unwell, at(100), NO_PROBES);
    }
    assert!(!health.is_lost(at(500)), "it was reached");
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Answered,
    Probed,
    Failed(Fault),
    Tried,
}

fn events() -> impl Strategy<Value = Vec<(Event, u64)>> {
    let event = prop_oneof![
        Just(Event::Answered),
        Just(Event::Probed),
        Just(Event::Tried),
        prop_oneof![Just(Fault::Unreachable), Just(Fault::BrokeOff), Just(Fault::Unwell)]
            .prop_map(Event::Failed),
    ];
    proptest::collection::vec((event, 0u64..70_000), 0..200)
}

proptest! {
    #[test]
    fn it_is_told_once_that_one_goes_and_once_that_it_is_back(events in events(), probed: bool) {
        let (mut health, mut now, mut away) = (Health::GOOD, Moment::default(), false);
        for (event, later) in events {
            now = now.after(Duration::from_millis(later));
            let hold = if probed { HOLD } else { NO_PROBES };
            let told = match event {
                Event::Answered => health.answered(now),
                Event::Probed => health.probed(now),
                Event::Failed(fault) => health.failed(fault, now, hold),
                Event::Tried => { health.try_out(now); None }
            };
            match told {
                Some(Change::Ejected(_)) => prop_assert!(!std::mem::replace(&mut away, true)),
                Some(Change::Returned) => prop_assert!(std::mem::replace(&mut away, false)),
                None => {}
            }
            let is_out = matches!(health.phase(), Phase::Out { .. } | Phase::Trial { .. });
            prop_assert_eq!(is_out, away);
            if let Phase::Out { until, .. } = health.phase() {
                prop_assert!(until <= now.after(Duration::from_mins(1)), "out for longer than a minute");
            }
            let packed = Packed::from(&health);
            prop_assert_eq!(packed.phase(), health.phase());
            let mut other = health;
            other.answered(now);
            let mut third = health;
            third.probed(now);
            if other != health || third != health {
                prop_assert!(packed.wants_success(), "a success would be lost on {health:?}");
            }
        }
    }
}
