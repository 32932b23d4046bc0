//! "Your connections", the issuer's root: the services, and for who is signed in the clients that are connected.

use askama::Template;

use super::{Connect, Page, Said};
use crate::trouble::Trouble;

/// What the issuer's root shows.
#[derive(Debug, Template)]
#[template(path = "home.html", config = ".askama.toml")]
pub struct Home<'a> {
    /// `host[:port]` of the issuer.
    pub host: &'a str,
    /// Where people sign in.
    pub provider: &'a str,
    /// All services for a stranger; for who is signed in, those that let them in.
    pub services: &'a [Connect<'a>],
    /// Who is signed in.
    pub person: Option<Person<'a>>,
    /// For an administrator: what went wrong lately.
    pub wrong: Option<Wrong>,
    /// Ties the forms to the browser and the person.
    pub form_token: &'a str,
}

/// What went wrong lately, for an administrator.
#[derive(Debug, Default)]
pub struct Wrong {
    /// Every trouble that was met since the start.
    pub counts: Vec<WrongCount>,
    /// The last failures of each kind, under its heading, the newest first; kinds without any are left out.
    pub kinds: Vec<(&'static str, Vec<Trace>)>,
}

/// How often a trouble was met.
#[derive(Debug)]
pub struct WrongCount {
    /// Which.
    pub trouble: Trouble,
    /// How often.
    pub times: u64,
    /// When for the last time.
    pub last: Moment,
}

/// A request that failed.
#[derive(Debug)]
pub struct Trace {
    /// When.
    pub at: Moment,
    /// Why.
    pub trouble: Trouble,
    /// The HTTP status.
    pub status: u16,
    /// How often the like was seen.
    pub times: u64,
    /// What is known of it, as name and value: service, user, client, network, request.
    pub facts: Vec<(&'static str, String)>,
}

/// Who is signed in, and what they have allowed.
#[derive(Debug)]
pub struct Person<'a> {
    /// Their login.
    pub login: &'a str,
    /// What is connected, the newest first.
    pub connections: Vec<Connection<'a>>,
}

/// One client that may use one service on the person's behalf.
#[derive(Debug)]
pub struct Connection<'a> {
    /// The grant's id.
    pub id: String,
    /// As the client says of itself, or its id.
    pub client: String,
    /// The domain that vouches for the client.
    pub verified: Option<String>,
    /// The service's name, or its URL if it is not configured any more.
    pub service: &'a str,
    /// What was granted.
    pub scopes: Vec<Said<'a>>,
    /// When.
    pub since: Moment,
    /// When and from where tokens were last asked for.
    pub used: Option<(Moment, &'a str)>,
    /// Whether another client came to the same service within a minute of it (trouble `two-clients`).
    pub has_twin: bool,
}

/// A point in time, as people read it: UTC, to the minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(time::OffsetDateTime);

impl Moment {
    /// `seconds` since 1970.
    #[must_use]
    pub fn of(seconds: u64) -> Self {
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        Self(time::OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::OffsetDateTime::UNIX_EPOCH))
    }

    /// For machines: `2027-01-15T08:00Z`.
    #[must_use]
    pub fn machine(&self) -> String {
        let (year, month, day) = self.0.to_calendar_date();
        let (hour, minute) = (self.0.hour(), self.0.minute());
        format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}Z", u8::from(month))
    }

    /// For people: `15 January 2027, 08:00 UTC`.
    #[must_use]
    pub fn words(&self) -> String {
        let (year, month, day) = self.0.to_calendar_date();
        format!("{day} {month} {year}, {:02}:{:02} UTC", self.0.hour(), self.0.minute())
    }
}

/// The issuer's root.
#[must_use]
pub fn home(home: &Home<'_>) -> Page {
    Page::of(home)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_went_wrong_becomes_more_than_text() {
        // C9
        let odd = "<img src=x onerror=alert(1)>\"'";
        let trace = Trace {
            at: Moment::of(0),
            trouble: Trouble::NotAllowed,
            status: 403,
            times: 1,
            facts: ["service", "user", "client", "request"].map(|name| (name, odd.to_owned())).to_vec(),
        };
        let wrong = Some(Wrong { counts: Vec::new(), kinds: vec![("Sign-ins", vec![trace])] });
        let page = home(&Home {
            host: "a",
            provider: "GitHub",
            services: &[],
            person: None,
            wrong,
            form_token: "t",
        });
        assert!(!page.html().contains("<img"), "{}", page.html());
        assert_eq!(page.html().matches("&#60;img src=x onerror=alert(1)&#62;&#34;&#39;").count(), 4);
    }

    #[test]
    fn a_moment_is_told_to_the_minute_in_utc() {
        let moment = Moment::of(1_800_000_059);
        assert_eq!(
            (moment.machine().as_str(), moment.words().as_str()),
            ("2027-01-15T08:00Z", "15 January 2027, 08:00 UTC")
        );
        assert_eq!(Moment::of(u64::MAX).machine(), "1970-01-01T00:00Z");
    }
}
