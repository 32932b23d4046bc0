//! The trace that a request is a part of, as its `traceparent` says (W3C Trace Context, level 1). It passes to the server behind as it
//! came; here it is only named in the log.

use std::fmt;

use http::{HeaderMap, HeaderName};

/// Once: reading the name costs more than looking for it.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A trace's id: 32 lower-case hexadecimal digits, not all of them zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceId([u8; 32]);

impl TraceId {
    /// That of a request: of its one `traceparent`, if it is a good one. Any other is passed on and not believed.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(&TRACEPARENT).iter();
        let one = all.next()?;
        all.next().is_none().then(|| Self::parse(one.as_bytes())).flatten()
    }

    /// That of a `traceparent`: version, trace id, parent id, and flags. A later version may have more behind them (§3.2.4).
    #[must_use]
    pub fn parse(traceparent: &[u8]) -> Option<Self> {
        let (known, more) = traceparent.split_at_checked(55)?;
        let (version, trace) = (&known[..2], &known[3..35]);
        let (parent, flags) = (&known[36..52], &known[53..]);
        let dashes = [2, 35, 52].iter().all(|at| known[*at] == b'-');
        let hexadecimal = [version, trace, parent, flags].into_iter().flatten().all(|byte| is_digit(*byte));
        let whole = match version {
            b"00" => more.is_empty(),
            b"ff" => false,
            _ => more.first().is_none_or(|byte| *byte == b'-'),
        };
        let names_something = [trace, parent].iter().all(|id| id.iter().any(|digit| *digit != b'0'));
        if !(dashes && hexadecimal && whole && names_something) {
            return None;
        }
        trace.try_into().ok().map(Self)
    }

    /// An id by itself, as people paste it.
    #[must_use]
    pub fn from_text(id: &str) -> Option<Self> {
        let digits: [u8; 32] = id.as_bytes().try_into().ok()?;
        let good = digits.iter().all(|byte| is_digit(*byte)) && digits.iter().any(|digit| *digit != b'0');
        good.then_some(Self(digits))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Upper-case digits are none (§3.2.2.3).
const fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const ID: &str = "0af7651916cd43dd8448eb211c80319c";

    fn parsed(traceparent: &str) -> Option<String> {
        TraceId::parse(traceparent.as_bytes()).map(|id| id.as_str().to_owned())
    }

    // trouble: trace-one
    #[test]
    fn the_trace_id_of_a_good_traceparent_is_read() {
        for good in [
            format!("00-{ID}-b7ad6b7169203331-01"),
            format!("00-{ID}-b7ad6b7169203331-00"),
            // A later version, as it is and with more behind.
            format!("01-{ID}-b7ad6b7169203331-ff"),
            format!("cc-{ID}-b7ad6b7169203331-01-what-the-future-brings"),
            format!("fe-{ID}-0000000000000001-01-"),
        ] {
            assert_eq!(parsed(&good).as_deref(), Some(ID), "{good}");
        }
        assert_eq!(TraceId::from_text(ID).map(|id| id.as_str().to_owned()).as_deref(), Some(ID));
    }

    #[test]
    fn nothing_else_is_believed() {
        for bad in [
            String::new(),
            ID.to_owned(),
            format!("00-{ID}-b7ad6b7169203331"),
            format!("00-{ID}-b7ad6b7169203331-"),
            format!("00-{ID}-b7ad6b7169203331-1"),
            format!("00-{ID}-b7ad6b7169203331-01-"),
            format!("00-{ID}-b7ad6b7169203331-01-more"),
            format!("00-{ID}-b7ad6b7169203331-01 "),
            format!(" 00-{ID}-b7ad6b7169203331-01"),
            format!("00-{ID}-b7ad6b7169203331-0g"),
            format!("00-{ID}-b7ad6b716920333g-01"),
            format!("00-{}-b7ad6b7169203331-01", ID.to_uppercase()),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            format!("00-{ID}-{}-01", "0".repeat(16)),
            format!("00_{ID}-b7ad6b7169203331-01"),
            format!("00-{ID}_b7ad6b7169203331-01"),
            format!("00-{ID}-b7ad6b7169203331_01"),
            format!("0-{ID}-b7ad6b7169203331-011"),
            format!("0x-{ID}-b7ad6b7169203331-01"),
            format!("FF-{ID}-b7ad6b7169203331-01"),
            format!("ff-{ID}-b7ad6b7169203331-01"),
            format!("01-{ID}-b7ad6b7169203331-01.more"),
            format!("00-{}é-b7ad6b7169203331-01", &ID[..30]),
            format!("00-{}\n-b7ad6b7169203331-01", &ID[..31]),
            "x".repeat(10_000),
        ] {
            assert_eq!(parsed(&bad), None, "{bad:?}");
        }
        for bad in ["", &ID[1..], &format!("{ID}0"), &ID.to_uppercase(), &"0".repeat(32)] {
            assert_eq!(TraceId::from_text(bad), None, "{bad}");
        }
    }

    #[test]
    fn of_two_traceparents_neither_is_believed() {
        let one = HeaderValue::try_from(format!("00-{ID}-b7ad6b7169203331-01")).unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(TraceId::of(&headers), None);
        headers.append("traceparent", one.clone());
        assert_eq!(TraceId::of(&headers).map(|id| id.as_str().to_owned()).as_deref(), Some(ID));
        headers.append("traceparent", one);
        assert_eq!(TraceId::of(&headers), None);
    }
}
