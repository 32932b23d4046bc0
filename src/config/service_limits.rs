//! What a service says of how much may be sent to it, be open at it, and how long it may take to answer.

use std::time::Duration;

use super::connections::number;
use super::problem::Findings;
use super::raw::Service;
use super::values::duration;
use crate::gateway::ServiceLimits;

/// More than any machine holds.
const MOST: u64 = 1_000_000;
/// A gigabyte: beyond it nobody means a tool call.
const MOST_BYTES: u64 = 1_000_000_000;
/// A tool call may run for minutes, and a JSON answer has no head before its end; beyond this somebody has forgotten it.
const FIRST_BYTE: Duration = Duration::from_mins(10);

/// The limits, or what of them is not at fault.
pub(super) fn check(raw: &Service, findings: &mut Findings) -> Option<ServiceLimits> {
    let defaults = ServiceLimits::default();
    let body = number("max_body_bytes", raw.max_body_bytes.as_ref(), 1..=MOST_BYTES, findings);
    let mut open = |name, field, default: usize| {
        let given = number(name, field, 1..=MOST, findings)?;
        given.map_or(Some(default), |given| given.try_into().ok())
    };
    let requests = open("max_requests", raw.max_requests.as_ref(), defaults.requests);
    let user_requests =
        open("max_requests_per_user", raw.max_requests_per_user.as_ref(), defaults.user_requests);
    let streams = open("max_streams", raw.max_streams.as_ref(), defaults.streams);
    let user_streams = open("max_streams_per_user", raw.max_streams_per_user.as_ref(), defaults.user_streams);
    Some(ServiceLimits {
        body: body?.unwrap_or(defaults.body),
        requests: requests?,
        user_requests: user_requests?,
        streams: streams?,
        user_streams: user_streams?,
    })
}

/// `first_byte_timeout`; `Some(None)` is `off`, `None` is refused.
#[expect(clippy::option_option, reason = "refused, off, or a time")]
pub(super) fn first_byte(raw: &Service, findings: &mut Findings) -> Option<Option<Duration>> {
    let field = raw.first_byte_timeout.as_ref();
    if field.is_some_and(|given| given.value.as_deref() == Some("off")) {
        return Some(None);
    }
    let time = duration(field, FIRST_BYTE, findings)?;
    if let (Some(given), true) = (field, time.is_zero()) {
        findings.refuse(given.at, "`first_byte_timeout` is no time at all; write 10m, or off");
        return None;
    }
    Some(Some(time))
}

/// `sse_keep_alive`; `Some(None)` is `off`, `None` is refused.
#[expect(clippy::option_option, reason = "refused, off, or a time")]
pub(super) fn sse_keep_alive(raw: &Service, findings: &mut Findings) -> Option<Option<Duration>> {
    let Some(given) = &raw.sse_keep_alive else { return Some(None) };
    if given.value.as_deref() == Some("off") {
        return Some(None);
    }
    let time = duration(Some(given), Duration::ZERO, findings)?;
    if time.is_zero() {
        findings.refuse(given.at, "`sse_keep_alive` is no time at all; write 15s, or off");
        return None;
    }
    Some(Some(time))
}
