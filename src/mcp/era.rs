//! Which of the two wires a request speaks: sessions, or stateless requests.

use http::HeaderMap;

/// The protocol's eras.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// Up to 2025-11-25: `initialize`, sessions, GET streams.
    Legacy,
    /// From 2026-07-28: stateless requests; `Mcp-Session-Id` is ignored.
    Modern,
}

/// The revisions of the protocol that pass, of both eras; 2024-11-05 where a service names the `paths` of its transport.
pub const REVISIONS: [&str; 5] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", STATELESS_SINCE];

/// The first revision without sessions.
const STATELESS_SINCE: &str = "2026-07-28";

impl Era {
    /// The era that a request's `MCP-Protocol-Version` names. Absent means 2025-03-26; what is no date, or said
    /// twice, is left to the upstream to refuse, and legacy to us.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut versions = headers.get_all("mcp-protocol-version").iter();
        match (versions.next().and_then(|version| version.to_str().ok()), versions.next()) {
            (Some(version), None) if is_date(version) && version >= STATELESS_SINCE => Self::Modern,
            (Some(_) | None, _) => Self::Legacy,
        }
    }
}

/// `YYYY-MM-DD`, so that text order is the order in time.
fn is_date(version: &str) -> bool {
    version.len() == STATELESS_SINCE.len()
        && version.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn era(versions: &[&'static str]) -> Era {
        let mut headers = HeaderMap::new();
        for version in versions {
            headers.append("mcp-protocol-version", version.parse().unwrap());
        }
        Era::of(&headers)
    }

    #[test]
    fn the_version_header_names_the_era() {
        for modern in ["2026-07-28", "2026-12-01", "2030-01-01"] {
            assert_eq!(era(&[modern]), Era::Modern, "{modern}");
        }
        for legacy in ["2025-03-26", "2025-06-18", "2025-11-25", "2026-07-27"] {
            assert_eq!(era(&[legacy]), Era::Legacy, "{legacy}");
        }
    }

    #[test]
    fn the_last_revision_alone_is_of_the_new_era() {
        let modern: Vec<_> = REVISIONS.into_iter().filter(|one| era(&[one]) == Era::Modern).collect();
        assert_eq!(modern, [STATELESS_SINCE]);
        assert!(REVISIONS.is_sorted());
    }

    #[test]
    fn what_is_no_single_date_is_legacy() {
        assert_eq!(era(&[]), Era::Legacy);
        assert_eq!(era(&["2026-07-28", "2026-07-28"]), Era::Legacy);
        for odd in ["", "latest", "9999", "2026-07-28 ", "2026/07/28", "2026-07-2x"] {
            assert_eq!(era(&[odd]), Era::Legacy, "{odd:?}");
        }
    }
}
