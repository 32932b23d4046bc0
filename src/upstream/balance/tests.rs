use std::time::Duration;

use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_000_000;

fn seconds(later: i64) -> Moment {
    let millis = NOW.checked_add_signed(later * 1000).unwrap();
    Moment::default().after(Duration::from_millis(millis))
}

fn chosen(candidates: &[(u64, Phase)], chance: u32) -> Option<Choice> {
    let candidates = candidates.iter().enumerate();
    let candidates = candidates.map(|(at, (open, phase))| Candidate { at, open: *open, phase: *phase });
    choose(candidates, seconds(0), chance)
}

fn out(until: i64, fault: Fault) -> Phase {
    Phase::Out { until: seconds(until), fault }
}

const WELL: Phase = Phase::Well;

/// A chance that is spread as a pool's is.
fn chance(number: u32) -> u32 {
    number.wrapping_mul(0x9E37_79B9)
}

#[test]
fn the_one_with_the_fewest_requests_is_next() {
    for number in 0..100 {
        let taken = chosen(&[(3, WELL), (1, WELL), (2, WELL)], chance(number));
        assert_eq!(taken, Some(Choice::Take(1)));
    }
    assert_eq!(chosen(&[], 0), None);
}

#[test]
fn equals_take_turns_whichever_of_them_are_there() {
    let gone = out(9, Fault::Unreachable);
    for (candidates, equals) in [
        (&[(0, WELL), (0, WELL)][..], &[0, 1][..]),
        (&[(0, WELL), (0, WELL), (0, WELL)], &[0, 1, 2]),
        (&[(0, WELL), (0, gone), (0, WELL)], &[0, 2]),
        (&[(5, WELL), (2, WELL), (2, WELL), (7, WELL)], &[1, 2]),
    ] {
        // Also for a service that gets every second or third request of a worker.
        for stride in 1..=3 {
            let mut counts = vec![0; candidates.len()];
            for number in 0..1000 {
                match chosen(candidates, chance(number * stride)) {
                    Some(Choice::Take(at)) => counts[at] += 1,
                    other => panic!("{other:?}"),
                }
            }
            let fair = 1000 / equals.len();
            for (at, count) in counts.iter().enumerate() {
                let wanted = if equals.contains(&at) { fair - 20..=fair + 20 } else { 0..=0 };
                assert!(wanted.contains(count), "{candidates:?} in steps of {stride}: {counts:?}");
            }
        }
    }
}

#[test]
fn who_returns_gets_few_at_first() {
    let after = |seconds_ago: i64, open| (open, Phase::Returning { since: seconds(-seconds_ago) });
    assert_eq!(chosen(&[(8, WELL), after(1, 0)], 0), Some(Choice::Take(0)), "one tenth: 10 for its one");
    assert_eq!(chosen(&[(10, WELL), after(1, 0)], 0), Some(Choice::Take(1)));
    assert_eq!(chosen(&[(2, WELL), after(15, 1)], 0), Some(Choice::Take(0)), "half: 4 for its two");
    assert_eq!(chosen(&[(4, WELL), after(15, 1)], 0), Some(Choice::Take(1)));
    assert_eq!(chosen(&[(2, WELL), after(30, 1)], 0), Some(Choice::Take(1)), "all of it");
    assert_eq!(chosen(&[(9, out(9, Fault::BrokeOff)), after(0, 9)], 0), Some(Choice::Take(1)));
}

#[test]
fn one_whose_time_is_over_is_tried_out_and_then_left_alone_until_that_is_known() {
    let due = out(0, Fault::Unreachable);
    assert_eq!(chosen(&[(0, WELL), (0, due)], 0), Some(Choice::Try(1)));
    assert_eq!(chosen(&[(9, WELL), (0, Phase::Trial { until: seconds(5) })], 0), Some(Choice::Take(0)));
    assert_eq!(chosen(&[(9, WELL), (0, Phase::Trial { until: seconds(0) })], 0), Some(Choice::Try(1)));
}

#[test]
fn if_all_are_out_those_that_only_answer_probes_wrong_share_the_requests() {
    let (gone, unwell) = (out(1, Fault::Unreachable), out(9, Fault::Unwell));
    assert_eq!(chosen(&[(0, gone), (2, unwell), (1, unwell)], 0), Some(Choice::Take(2)));
}

#[test]
fn if_none_can_be_reached_the_one_is_asked_whose_time_is_over_first() {
    let gone = |until| (0, out(until, Fault::Unreachable));
    assert_eq!(chosen(&[gone(9), gone(3), gone(5)], 0), Some(Choice::Take(1)));
}

fn phases() -> impl Strategy<Value = Phase> {
    let fault = prop_oneof![Just(Fault::Unreachable), Just(Fault::BrokeOff), Just(Fault::Unwell)];
    prop_oneof![
        Just(WELL),
        (1i64..60, fault).prop_map(|(until, fault)| out(until, fault)),
        (1i64..60).prop_map(|until| Phase::Trial { until: seconds(until) }),
        (0i64..60).prop_map(|ago| Phase::Returning { since: seconds(-ago) }),
    ]
}

proptest! {
    #[test]
    fn an_ejected_one_is_never_taken_while_another_is_there(
        candidates in proptest::collection::vec((0u64..50, phases()), 1..20),
        chance: u32,
    ) {
        let is_in = |phase: &Phase| matches!(phase, Phase::Well | Phase::Returning { .. });
        let Some(Choice::Take(at)) = chosen(&candidates, chance) else { panic!("somebody must take it") };
        prop_assert!(is_in(&candidates[at].1) || !candidates.iter().any(|(_, phase)| is_in(phase)));
    }

    #[test]
    fn of_those_that_are_well_none_has_fewer(
        open in proptest::collection::vec(0u64..50, 1..20),
        chance: u32,
    ) {
        let candidates: Vec<_> = open.iter().map(|open| (*open, WELL)).collect();
        let Some(Choice::Take(at)) = chosen(&candidates, chance) else { panic!("somebody must take it") };
        prop_assert_eq!(Some(&open[at]), open.iter().min());
    }
}
