//! The part of `limits` that is about connections.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::problem::Findings;
use super::raw::{Given, Limits};
use super::values::duration;
use crate::gateway::ConnectionLimits;

/// Beyond it no machine holds the connections, and no one has so many requests on one.
const MOST: u64 = 1_000_000;
/// hyper needs 8 KB; nobody needs a megabyte.
const HEADER_BYTES: RangeInclusive<u64> = 8192..=1_048_576;
/// Browsers send about 20.
const HEADER_COUNT: RangeInclusive<u64> = 32..=1000;
const STREAMS: RangeInclusive<u64> = 1..=10_000;
/// Longer is no limit.
const LONGEST: Duration = Duration::from_hours(1);

/// The limits of connections, or what of them is not at fault.
pub(super) fn check(keys: &Limits, findings: &mut Findings) -> Option<ConnectionLimits> {
    let defaults = ConnectionLimits::default();
    let total = number("connections", keys.connections.as_ref(), 1..=MOST, findings);
    let per_address =
        number("connections_per_address", keys.connections_per_address.as_ref(), 1..=MOST, findings);
    let handshake = time("handshake", keys.handshake.as_ref(), defaults.handshake, findings);
    let head = time("head", keys.head.as_ref(), defaults.head, findings);
    let idle = time("idle", keys.idle.as_ref(), defaults.idle, findings);
    let bytes = number("header_bytes", keys.header_bytes.as_ref(), HEADER_BYTES, findings);
    let count = number("header_count", keys.header_count.as_ref(), HEADER_COUNT, findings);
    let streams = number("streams_per_connection", keys.streams_per_connection.as_ref(), STREAMS, findings);
    Some(ConnectionLimits {
        total: total?.map_or(Some(defaults.total), |given| given.try_into().ok())?,
        per_address: per_address?.map_or(Some(defaults.per_address), |given| given.try_into().ok())?,
        handshake: handshake?,
        head: head?,
        idle: idle?,
        header_bytes: bytes?.map_or(Some(defaults.header_bytes), |given| given.try_into().ok())?,
        header_count: count?.map_or(Some(defaults.header_count), |given| given.try_into().ok())?,
        streams: streams?.map_or(Some(defaults.streams), |given| given.try_into().ok())?,
    })
}

/// A number within its range; `Some(None)` if it is not given, `None` if it is refused.
#[expect(clippy::option_option, reason = "refused, left out, or a number")]
pub(super) fn number(
    name: &str,
    field: Option<&Given<u64>>,
    range: RangeInclusive<u64>,
    findings: &mut Findings,
) -> Option<Option<u64>> {
    let Some(given) = field else { return Some(None) };
    let number = given.value?;
    if !range.contains(&number) {
        let text = format!("`{name}` is {number}; write a number from {} to {}", range.start(), range.end());
        findings.refuse(given.at, text);
        return None;
    }
    Some(Some(number))
}

/// A time that a peer gets, or `default`; `None` if it is refused.
pub(super) fn time(
    name: &str,
    field: Option<&Given<String>>,
    default: Duration,
    findings: &mut Findings,
) -> Option<Duration> {
    let read = duration(field, default, findings)?;
    if let (Some(given), false) = (field, (Duration::from_secs(1)..=LONGEST).contains(&read)) {
        findings.refuse(given.at, format!("`{name}` is out of bounds; write 1s at least and 1h at most"));
        return None;
    }
    Some(read)
}
