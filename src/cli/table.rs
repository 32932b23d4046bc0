//! Lists for people: columns that are as wide as the first page needs; lists for programs: one JSON array. Both are written as
//! they come.

use std::collections::HashSet;
use std::io::{self, Write as _};

use serde::Serialize;

use super::admin::Failure;

/// A list that is written page by page.
pub(super) struct List {
    columns: &'static [&'static str],
    widths: Vec<usize>,
    json: bool,
    seen: HashSet<String>,
    limit: usize,
}

/// The longest that a cell is shown; ids are shown whole.
const LONGEST: usize = 60;

impl List {
    /// A list of at most `limit` rows with these columns.
    pub(super) fn new(columns: &'static [&'static str], json: bool, limit: Option<usize>) -> Self {
        let limit = limit.unwrap_or(usize::MAX);
        Self { columns, widths: Vec::new(), json, seen: HashSet::new(), limit }
    }

    /// How many rows were written.
    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }

    /// Writes rows: each its id, what a person reads, and what a program does. One that came already is passed over. Whether there
    /// is room for more.
    pub(super) fn add<R: Serialize>(
        &mut self,
        rows: impl IntoIterator<Item = (String, Vec<String>, R)>,
    ) -> Result<bool, Failure> {
        let mut out = io::stdout().lock();
        let mut cells = Vec::new();
        for (id, shown, row) in rows {
            if self.seen.len() == self.limit {
                break;
            }
            if !self.seen.insert(id) {
                continue;
            }
            if self.json {
                let start = if self.seen.len() == 1 { "[\n" } else { ",\n" };
                write!(out, "{start}{}", json(&row).map_err(io::Error::from)?)?;
            } else {
                cells.push(shown.iter().map(|cell| harmless(cell)).collect::<Vec<_>>());
            }
        }
        if !self.json && !cells.is_empty() {
            self.write(&mut out, &cells)?;
        }
        Ok(self.seen.len() < self.limit)
    }

    fn write(&mut self, out: &mut impl io::Write, cells: &[Vec<String>]) -> io::Result<()> {
        if self.widths.is_empty() {
            let width = |index: usize| cells.iter().map(|row| row[index].chars().count()).max().unwrap_or(0);
            let heads = self.columns.iter().enumerate();
            self.widths = heads.map(|(index, head)| width(index).max(head.chars().count())).collect();
            let heads: Vec<_> = self.columns.iter().map(|head| (*head).to_owned()).collect();
            self.line(out, &heads)?;
        }
        cells.iter().try_for_each(|row| self.line(out, row))
    }

    fn line(&self, out: &mut impl io::Write, cells: &[String]) -> io::Result<()> {
        let padded = cells.iter().zip(&self.widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(out, "{}", padded.collect::<Vec<_>>().join("  ").trim_end())
    }

    /// The end of the list; `nothing` is what a person is told of an empty one.
    pub(super) fn end(self, nothing: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match (self.json, self.seen.is_empty()) {
            (true, true) => writeln!(out, "[]")?,
            (true, false) => writeln!(out, "\n]")?,
            (false, true) => writeln!(io::stderr(), "{nothing}")?,
            (false, false) => {}
        }
        Ok(())
    }
}

/// Text that a stranger may have chosen, such as a client's name, for a cell: short, and [`plain`].
pub(super) fn harmless(text: &str) -> String {
    let mut shown = plain(text);
    if shown.chars().count() > LONGEST && shown.contains(' ') {
        shown = shown.chars().take(LONGEST - 1).chain(['…']).collect();
    }
    shown
}

/// Text of others on a terminal: it must not move the cursor, colour the screen, or turn the direction of writing.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if is_odd(c) { '?' } else { c }).collect()
}

fn is_odd(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The JSON of an answer in one line, as harmless to a terminal as [`plain`] and of the same meaning: every `--json` is written by
/// this or by [`json_pretty`].
pub(super) fn json(answer: &impl Serialize) -> serde_json::Result<String> {
    Ok(escaped(&serde_json::to_string(answer)?))
}

/// Likewise, in many lines.
pub(super) fn json_pretty(answer: &impl Serialize) -> serde_json::Result<String> {
    Ok(escaped(&serde_json::to_string_pretty(answer)?))
}

/// JSON escapes control characters of ASCII alone; what else is odd stands in its texts as it is, and may as well be escaped there.
fn escaped(json: &str) -> String {
    let mut told = String::with_capacity(json.len());
    for c in json.chars() {
        // A line's end is none of a text's: those are escaped.
        if c == '\n' || !is_odd(c) {
            told.push(c);
        } else {
            // All of them have four digits.
            told.extend(["\\u", &format!("{:04x}", u32::from(c))]);
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_s_name_does_nothing_to_the_terminal() {
        assert_eq!(harmless("a\x1b[31mred\u{202e}\u{9b}x\r\n"), "a?[31mred??x??");
        assert_eq!(harmless(&format!("{} b", "a".repeat(100))).chars().count(), LONGEST);
        assert_eq!(harmless(&"a".repeat(100)), "a".repeat(100), "an id is shown whole");
    }

    #[test]
    fn json_does_nothing_to_the_terminal_and_means_the_same() {
        let odd = "a\x1b[31m\u{9b}2J\u{85}\u{7f}\u{202e}\u{2066}\u{61c}\u{200f}\u{feff}\u{2028}\n\"\\ä😀";
        let value = serde_json::json!({ "name": odd, (odd): [odd, 1, null] });
        for told in [json(&value).unwrap(), json_pretty(&value).unwrap()] {
            assert!(told.chars().all(|c| c == '\n' || !is_odd(c)), "{told:?}");
            assert!(
                told.contains("\\u009b2J\\u0085\\u007f\\u202e\\u2066\\u061c\\u200f\\ufeff\\u2028\\n"),
                "{told}"
            );
            assert!(told.contains("ä😀"), "{told}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&told).unwrap(), value);
        }
        assert!(!json(&value).unwrap().contains('\n'));
    }
}
