//! Whether the gateway is ready, decided by what is known of it, and told in lines for operators.
//!
//! Not ready is for what another process would do better. A store that is away is not: it is away for all of them, and a red
//! readiness on every one would be the outage.

use serde::{Deserialize, Serialize};

use super::{CertificateFact, Facts, Stage};
use crate::upstream::ReplicaFact;

/// How often renewing must fail in a row to be worth a line: once happens, and is tried again.
const KEEPS_FAILING: u32 = 2;

/// What `/ready` tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether requests should be sent here.
    pub ready: bool,
    /// What does not work as it should.
    pub degraded: Vec<String>,
    /// What is not there yet.
    pub waiting_for: Vec<String>,
}

/// Decides; `facts` are there as soon as the store was read once.
pub(super) fn decide(stage: Stage, facts: Option<&dyn Facts>) -> Readiness {
    if stage == Stage::Stopping {
        return Readiness { waiting_for: vec!["stopping".into()], ..Readiness::default() };
    }
    let mut told = Readiness { ready: stage == Stage::Accepting && facts.is_some(), ..Readiness::default() };
    if facts.is_none() {
        told.waiting_for.push("the store has not been read yet".into());
    }
    if stage == Stage::Starting {
        told.waiting_for.push("the listeners do not accept connections yet".into());
    }
    if let Some(facts) = facts {
        tell_of_the_store(facts, &mut told);
        tell_of_certificates(&facts.certificates(), &mut told);
        tell_of_replicas(&facts.replicas(), &mut told);
    }
    told
}

fn tell_of_the_store(facts: &dyn Facts, told: &mut Readiness) {
    if facts.feed_is_stale() {
        let text =
            "the store has been away for longer than revocation_staleness: requests get 503 until it is back";
        told.degraded.push(text.into());
    } else if facts.store_is_away() {
        let text = "the store is away: nobody can sign in or refresh; tokens work until revocation_staleness has passed";
        told.degraded.push(text.into());
    }
}

fn tell_of_certificates(certificates: &[CertificateFact], told: &mut Readiness) {
    for certificate in certificates {
        let host = &certificate.host;
        let problem = certificate.problem.as_ref().map(|problem| format!("; last problem: {problem}"));
        let problem = problem.unwrap_or_default();
        let Some(end) = certificate.not_after else {
            let text = format!("{host}: the certificate authority has not issued yet{problem}");
            told.waiting_for.push(text);
            continue;
        };
        let (end, failures) = (end.to_rfc3339(), certificate.failures);
        if certificate.expired {
            told.degraded.push(format!("{host}: the certificate has expired at {end}{problem}"));
        } else if failures >= KEEPS_FAILING {
            let text = format!(
                "{host}: renewing the certificate, good until {end}, has failed {failures} times{problem}"
            );
            told.degraded.push(text);
        }
    }
    // One host without a certificate is no reason to take the others away.
    let some = certificates.iter().any(|certificate| certificate.not_after.is_some());
    told.ready &= some || certificates.is_empty();
}

/// Another process would reach no more of them.
fn tell_of_replicas(replicas: &[ReplicaFact], told: &mut Readiness) {
    for ReplicaFact { service, replica, ejected, .. } in replicas {
        if let Some(why) = ejected {
            told.degraded.push(format!("{service}: the replica {replica} is ejected: {why}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Known, expired, failed, good, none, replica};
    use super::*;

    fn told(ready: bool, degraded: &[&str], waiting_for: &[&str]) -> Readiness {
        let lines = |lines: &[&str]| lines.iter().map(ToString::to_string).collect();
        Readiness { ready, degraded: lines(degraded), waiting_for: lines(waiting_for) }
    }

    fn with(certificates: &[CertificateFact]) -> Readiness {
        let known = Known { certificates: certificates.to_vec(), ..Known::default() };
        decide(Stage::Accepting, Some(&known))
    }

    #[test]
    fn a_process_is_ready_once_the_store_was_read_and_it_accepts() {
        let (store, listeners) =
            ("the store has not been read yet", "the listeners do not accept connections yet");
        let known = Known::default();
        assert_eq!(decide(Stage::Starting, None), told(false, &[], &[store, listeners]));
        assert_eq!(decide(Stage::Starting, Some(&known)), told(false, &[], &[listeners]));
        assert_eq!(decide(Stage::Accepting, None), told(false, &[], &[store]));
        assert_eq!(decide(Stage::Accepting, Some(&known)), told(true, &[], &[]));
    }

    #[test]
    fn whoever_stops_is_not_ready_whatever_else_is_the_matter() {
        let known = Known { away: true, certificates: vec![none("a.example")], ..Known::default() };
        assert_eq!(decide(Stage::Stopping, Some(&known)), told(false, &[], &["stopping"]));
    }

    #[test]
    fn a_store_that_went_away_degrades_and_no_more() {
        let away = Known { away: true, ..Known::default() };
        assert_eq!(
            decide(Stage::Accepting, Some(&away)),
            told(
                true,
                &[
                    "the store is away: nobody can sign in or refresh; tokens work until revocation_staleness has passed"
                ],
                &[]
            )
        );
        let stale = Known { stale: true, ..away };
        assert_eq!(
            decide(Stage::Accepting, Some(&stale)),
            told(
                true,
                &[
                    "the store has been away for longer than revocation_staleness: requests get 503 until it is back"
                ],
                &[]
            )
        );
    }

    #[test]
    fn without_any_certificate_it_is_not_ready_and_says_what_is_done_about_each() {
        assert_eq!(
            with(&[none("a.example"), failed(1, none("b.example"))]),
            told(
                false,
                &[],
                &[
                    "a.example: the certificate authority has not issued yet",
                    "b.example: the certificate authority has not issued yet; last problem: no DNS record",
                ]
            )
        );
    }

    #[test]
    fn one_certificate_is_enough_and_the_others_are_still_waited_for() {
        for one in [good("a.example"), expired("a.example")] {
            let told = with(&[one, none("b.example")]);
            assert!(told.ready);
            assert_eq!(told.waiting_for, ["b.example: the certificate authority has not issued yet"]);
        }
    }

    #[test]
    fn an_expired_certificate_is_told_with_its_end_and_its_problem() {
        assert_eq!(
            with(&[expired("a.example"), failed(1, expired("b.example"))]),
            told(
                true,
                &[
                    "a.example: the certificate has expired at 2027-01-15T08:00:00Z",
                    "b.example: the certificate has expired at 2027-01-15T08:00:00Z; last problem: no DNS record",
                ],
                &[]
            )
        );
    }

    #[test]
    fn a_renewal_that_keeps_failing_is_told_long_before_the_end_and_one_that_failed_once_is_not() {
        assert_eq!(
            with(&[failed(1, good("a.example")), failed(2, good("b.example"))]),
            told(
                true,
                &[
                    "b.example: renewing the certificate, good until 2027-01-15T08:00:00Z, has failed 2 times; \
                     last problem: no DNS record"
                ],
                &[]
            )
        );
    }

    #[test]
    fn an_ejected_replica_degrades_and_no_more_even_if_it_is_the_last() {
        let why = Some("it cannot be reached");
        let replicas = vec![replica("todo-1:3002"), ReplicaFact { ejected: why, ..replica("todo-2:3002") }];
        let known = Known { replicas, ..Known::default() };
        assert_eq!(
            decide(Stage::Accepting, Some(&known)),
            told(true, &["todo: the replica todo-2:3002 is ejected: it cannot be reached"], &[])
        );
    }
}
