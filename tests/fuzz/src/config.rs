//! The configuration file: every fault of it has a place in it.

use portcullis::config::Config;

use crate::text;

pub(crate) fn config(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Err(problems) = Config::from_text(text) else { return };
    let told = problems.to_string();
    assert!(!told.is_empty() && !told.contains("a fault of Portcullis"), "{told}");
    // YAML breaks lines at a lone CR too.
    let lines = text.split(['\n', '\r']).count();
    let mut last = (0, 0);
    for problem in told.lines() {
        let rest = problem.strip_prefix("portcullis.yaml:").unwrap_or_else(|| panic!("no place: {problem}"));
        let mut parts = rest.splitn(3, ':');
        let mut number = || parts.next().and_then(|part| part.parse::<usize>().ok());
        // A file as a whole has no line.
        let Some(line) = number() else { continue };
        let column = number().unwrap_or_else(|| panic!("no column: {problem}"));
        assert!((1..=lines + 1).contains(&line) && column >= 1, "{lines} lines, and yet {problem}");
        assert!((line, column) >= last, "not in order: {told}");
        last = (line, column);
    }
}
