//! Where log lines go, what the access line and an audit event carry, and what must be cut out before a line is written.

mod access;
mod audit;
mod lately;
mod level;
mod output;
pub mod redact;
mod refusals;
mod request_id;
mod trace;
mod traffic;

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing::Subscriber;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, Layered, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use output::Output;

pub use access::{AccessLine, Note};
pub use audit::{Audit, Event};
pub use lately::{Count, Failure, Lately, Remembered, TWINS, Told};
pub use level::{Level, LevelError, Override, level, override_level, refilter};
pub use output::flush;
pub use refusals::{ConnectionRefusal, Refusals, RequestRefusal};
pub use request_id::{RequestId, RequestIds};
pub use trace::TraceId;
pub use traffic::{Endpoint, MethodClass, Subject, Sum, Tally, added_up};

/// How logs are written.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Text for people, or one JSON object a line.
    pub format: Format,
    /// A filter such as `info` or `portcullis=debug,info`; empty means `info`.
    pub filter: String,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people; colour only on a terminal.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// A filter that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{directive}` is no log filter; write a level (error, warn, info, debug, trace, off) or `module=level`"
)]
pub struct FilterError {
    /// The part between commas that is wrong.
    pub directive: String,
}

/// Lines, before the filter.
type Lines = Layered<Box<dyn Layer<Registry> + Send + Sync>, Registry>;

/// The process's filter, which can be replaced.
static FILTER: OnceLock<reload::Handle<EnvFilter, Lines>> = OnceLock::new();

/// Starts logging to standard error. Once a process; a filter that cannot be understood counts as `info` and is said.
pub fn start(settings: &Settings) {
    let (filter, refused) = match filter(&settings.filter) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(with_audit(DEFAULT_FILTER)), Some(error)),
    };
    let lines = layer(settings.format, colour(), Output::start());
    let (filter, handle) = reload::Layer::new(filter);
    let started = tracing_subscriber::registry().with(lines).with(filter).try_init();
    if started.is_err() || FILTER.set(handle).is_err() {
        tracing::warn!("logging had been started before");
    }
    level::begin(&settings.filter);
    if let Some(error) = refused {
        tracing::warn!(%error, "logging with the filter `{DEFAULT_FILTER}` instead");
    }
}

/// Whether `text` can be a [`Settings::filter`], for the configuration check.
///
/// # Errors
/// [`FilterError`] with the first part that is wrong.
pub fn check_filter(text: &str) -> Result<(), FilterError> {
    filter(text).map(drop)
}

const DEFAULT_FILTER: &str = "info";

fn filter(text: &str) -> Result<EnvFilter, FilterError> {
    let mut directives: Vec<_> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    for directive in &directives {
        if !has_a_level(directive) || EnvFilter::builder().parse(directive).is_err() {
            return Err(FilterError { directive: (*directive).to_owned() });
        }
    }
    if directives.is_empty() {
        directives.push(DEFAULT_FILTER);
    }
    let all = with_audit(&directives.join(","));
    EnvFilter::builder().parse(&all).map_err(|_| FilterError { directive: all })
}

/// `EnvFilter` takes a misspelt level, and one that is missing after `=`, for the name of a module, and turns everything else off.
fn has_a_level(directive: &str) -> bool {
    let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level);
    // tracing takes no level at all for `error`.
    directive.contains('[') || (!level.is_empty() && level.parse::<LevelFilter>().is_ok())
}

/// Audit events are written whatever the level, unless the filter names them. rmcp, the library of the diagnostic server,
/// writes what its tools answer at debug, which is whatever people send them: only if the filter names it.
fn with_audit(filter: &str) -> String {
    format!("{}=info,rmcp=warn,{filter}", audit::TARGET)
}

fn colour() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !unwanted
}

fn layer<S, W>(format: Format, colour: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colour);
    match format {
        Format::Text => lines.boxed(),
        Format::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
    }
}

#[cfg(test)]
pub(crate) mod capture {
    //! What a piece of code logs, as text.

    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::{Format, filter, layer};

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Everything that `work` logs on this thread under `directives`.
    pub(crate) fn logged(format: Format, directives: &str, work: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = tracing_subscriber::registry()
            .with(layer(format, false, move || writer.clone()))
            .with(filter(directives).unwrap());
        tracing::subscriber::with_default(subscriber, work);
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::capture::logged;
    use super::*;

    #[test]
    fn a_misspelt_level_is_refused_by_name() {
        for (text, wrong) in [
            ("debgu", "debgu"),
            ("info, hyper", "hyper"),
            ("portcullis=loud", "portcullis=loud"),
            ("a=b=c", "a=b=c"),
            ("info,portcullis=", "portcullis="),
        ] {
            assert_eq!(check_filter(text), Err(FilterError { directive: wrong.into() }), "{text}");
        }
        assert_eq!(
            check_filter("debgu").unwrap_err().to_string(),
            "`debgu` is no log filter; write a level (error, warn, info, debug, trace, off) or `module=level`"
        );
    }

    #[test]
    fn levels_modules_and_nothing_are_filters() {
        for text in
            ["", " ", "info", "WARN", "off", "portcullis=debug,info", "portcullis::serve=trace , warn,"]
        {
            assert_eq!(check_filter(text), Ok(()), "{text:?}");
        }
    }

    /// The child of the next test: logging is started once a process.
    #[test]
    #[ignore = "run by the next test"]
    fn started_with_an_invalid_filter() {
        start(&Settings { format: Format::Text, filter: "[[".into() });
        tracing::info!("an ordinary line");
        tracing::info!(target: access::TARGET, "an access line");
        flush();
        start(&Settings { format: Format::Json, filter: "info".into() });
        flush();
    }

    #[test]
    fn logging_starts_on_standard_error_even_with_an_invalid_filter() {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "telemetry::tests::started_with_an_invalid_filter", "--ignored", "--nocapture"])
            .output()
            .unwrap();
        let lines = String::from_utf8(child.stderr).unwrap();
        assert!(child.status.success(), "{lines}");
        for told in [
            "WARN portcullis::telemetry: logging with the filter `info` instead error=`[[` is no log filter; write",
            " INFO portcullis::telemetry::tests: an ordinary line\n",
            " INFO access: an access line\n",
            " WARN portcullis::telemetry: logging had been started before\n",
        ] {
            assert!(lines.contains(told), "{told}: {lines}");
        }
    }

    #[test]
    fn nothing_configured_means_info() {
        let lines = logged(Format::Text, "", || {
            tracing::info!("seen");
            tracing::debug!("unseen");
        });
        assert!(lines.contains("seen") && !lines.contains("unseen"), "{lines}");
    }

    #[test]
    fn audit_events_outlive_a_high_level_but_can_be_turned_off() {
        let event = || Audit::of(Event::LoginSucceeded).write([192, 0, 2, 1].into(), "r-1", None);
        assert!(logged(Format::Text, "error", event).contains("login_succeeded"));
        assert_eq!(logged(Format::Text, "error,audit=off", event), "");
    }

    #[test]
    fn a_json_line_is_one_flat_object() {
        let line = logged(Format::Json, "info", || tracing::info!(answer = 42, "said"));
        let value: serde_json::Value = serde_json::from_str(line.trim_end()).unwrap();
        assert_eq!(value["answer"], 42);
        assert_eq!(value["message"], "said");
        assert_eq!(value["level"], "INFO");
        assert_eq!(line.matches('\n').count(), 1);
    }

    #[test]
    fn a_line_break_in_a_field_stays_in_its_line() {
        let line = logged(Format::Text, "info", || {
            tracing::info!(host = "evil\n2026-01-01 INFO forged\u{1b}[31m", "said");
        });
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(!line.contains('\u{1b}'), "{line:?}");
    }
}
