//! One line of ours, in either form: the text for people, or a JSON object; also with colours, and behind what Compose puts before it.

use serde_json::{Map, Value};

use super::super::table::json;

/// A line of the log.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    /// When, as the line says it.
    pub(super) time: String,
    level: String,
    target: String,
    message: String,
    fields: Map<String, Value>,
}

impl Entry {
    /// Reads a line; `None` if it is none of ours.
    pub(super) fn read(line: &str) -> Option<Self> {
        let line = without_colours(line);
        // `docker compose logs` puts the container's name before it.
        let candidates = [Some(line.as_str()), line.split_once("| ").map(|(_, rest)| rest)];
        candidates.into_iter().flatten().find_map(|line| {
            let line = line.trim();
            if line.starts_with('{') { Self::of_json(line) } else { Self::of_text(line) }
        })
    }

    fn of_json(line: &str) -> Option<Self> {
        let mut fields: Map<String, Value> = serde_json::from_str(line).ok()?;
        let mut text = |name: &str| match fields.remove(name) {
            Some(Value::String(text)) => Some(text),
            Some(_) | None => None,
        };
        let (time, level, target) = (text("timestamp")?, text("level")?, text("target")?);
        Some(Self { time, level, target, message: text("message").unwrap_or_default(), fields })
    }

    fn of_text(line: &str) -> Option<Self> {
        let (time, rest) = line.split_once(' ')?;
        let is_time = time.len() >= 20 && time.ends_with('Z') && time.as_bytes()[10] == b'T';
        let (level, rest) = rest.trim_start().split_once(' ').filter(|_| is_time)?;
        let (target, said) = rest.split_once(": ").or_else(|| Some((rest.strip_suffix(':')?, "")))?;
        let (message, fields) = fields_of(said);
        let [time, level, target, message] = [time, level, target, message].map(str::to_owned);
        Some(Self { time, level, target, message, fields })
    }

    /// What a field says, if that is text.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(Value::as_str)
    }

    /// About how much memory it takes.
    pub(super) fn length(&self) -> usize {
        self.message.len()
            + self.fields.iter().map(|(name, value)| name.len() + value.to_string().len()).sum::<usize>()
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let Self { time, level, target, message, fields } = self;
        let mut text = format!("{time} {level:>5} {target}:");
        if !message.is_empty() {
            text.extend([" ", message]);
        }
        for (name, value) in fields {
            text.extend([" ", name, "=", &value.to_string()]);
        }
        text
    }

    /// For programs; nothing in it does anything to a terminal.
    pub(super) fn json(&self) -> String {
        let Self { time, level, target, message, fields } = self;
        let mut object = Map::new();
        for (name, value) in [("timestamp", time), ("level", level), ("target", target), ("message", message)]
        {
            if !value.is_empty() {
                object.insert(name.to_owned(), Value::String(value.clone()));
            }
        }
        object.extend(fields.clone());
        // A map of texts: writing it cannot fail.
        json(&object).unwrap_or_default()
    }
}

/// A message, and the fields behind it. What stands in quotes is nobody's field: strangers choose it.
fn fields_of(said: &str) -> (&str, Map<String, Value>) {
    let starts = field_starts(said);
    let message = said[..starts.first().copied().unwrap_or(said.len())].trim();
    let ends = starts.iter().skip(1).copied().chain([said.len()]);
    let mut fields = Map::new();
    for (start, end) in starts.iter().zip(ends) {
        // Of two with one name the last is ours: a message, which may have anything in it, comes first.
        if let Some((name, value)) = said[*start..end].trim().split_once('=') {
            fields.insert(name.to_owned(), value_of(value));
        }
    }
    (message, fields)
}

/// Where fields begin: at a word and `=`, outside of quotes.
fn field_starts(said: &str) -> Vec<usize> {
    let mut starts = Vec::new();
    let (mut quoted, mut escaped, mut at_word) = (false, false, true);
    for (at, c) in said.char_indices() {
        if quoted {
            quoted = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if c == '"' {
            quoted = true;
        } else if at_word && begins_field(&said[at..]) {
            starts.push(at);
        }
        at_word = !quoted && c == ' ';
    }
    starts
}

fn begins_field(rest: &str) -> bool {
    let name = rest.split(['=', ' ']).next().unwrap_or_default();
    let is_name = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    !name.is_empty() && is_name && rest[name.len()..].starts_with('=')
}

fn value_of(written: &str) -> Value {
    let quoted = written.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match quoted {
        Some(inner) => Value::String(unescaped(inner)),
        // Numbers and truth values as they are; anything else is text.
        None => serde_json::from_str(written)
            .ok()
            .filter(|value: &Value| value.is_number() || value.is_boolean())
            .unwrap_or_else(|| Value::String(written.to_owned())),
    }
}

/// Takes back what `Debug` of a text does.
fn unescaped(text: &str) -> String {
    let mut read = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            read.push(c);
            continue;
        }
        match rest.next() {
            Some('n') => read.push('\n'),
            Some('r') => read.push('\r'),
            Some('t') => read.push('\t'),
            Some('0') => read.push('\0'),
            Some('u') => {
                let digits: String = rest.by_ref().skip(1).take_while(|c| *c != '}').collect();
                read.extend(u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32));
            }
            Some(other) => read.push(other),
            None => {}
        }
    }
    read
}

/// Without the sequences by which a terminal is coloured.
fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain += before;
        rest = after.find(|c: char| c.is_ascii_alphabetic()).map_or("", |end| &after[end + 1..]);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"2026-11-21T09:30:00.123456Z  INFO access: request_id="r-1" trace_id="0af7651916cd43dd8448eb211c80319c" path="/mcp" status=200 duration_ms=1.25 peer=192.0.2.1"#;
    const JSON: &str = r#"{"timestamp":"2026-11-21T09:30:00.123456Z","level":"INFO","target":"access","request_id":"r-1","trace_id":"0af7651916cd43dd8448eb211c80319c","path":"/mcp","status":200,"duration_ms":1.25,"peer":"192.0.2.1"}"#;

    // trouble: trace-one
    #[test]
    fn both_forms_of_a_line_are_the_same_line() {
        let (text, json) = (Entry::read(TEXT).unwrap(), Entry::read(JSON).unwrap());
        assert_eq!(text, json);
        assert_eq!(
            (text.field("request_id"), text.time.as_str()),
            (Some("r-1"), "2026-11-21T09:30:00.123456Z")
        );
        let told = r#"2026-11-21T09:30:00.123456Z  INFO access: duration_ms=1.25 path="/mcp" peer="192.0.2.1" request_id="r-1" status=200 trace_id="0af7651916cd43dd8448eb211c80319c""#;
        assert_eq!(text.text(), told);
        assert_eq!(
            serde_json::from_str::<Value>(&json.json()).unwrap(),
            serde_json::from_str::<Value>(JSON).unwrap()
        );
    }

    #[test]
    fn colours_and_what_compose_puts_before_it_are_no_part_of_it() {
        let plain = Entry::read(TEXT);
        assert_eq!(Entry::read(&format!("gateway-1  | {TEXT}")), plain);
        assert_eq!(Entry::read(&format!("portcullis-gateway-1  | {JSON}\r")), plain);
        let coloured = TEXT.replace("  INFO access", " \x1b[32m INFO\x1b[0m \x1b[2maccess\x1b[0m");
        assert_eq!(Entry::read(&coloured), plain);
    }

    #[test]
    fn a_stranger_cannot_put_his_line_among_anothers() {
        let forged = r#"2026-11-21T09:30:00.1Z  INFO access: request_id="r-2" host="x request_id=\"r-1\" y" path="/a request_id=r-1""#;
        let entry = Entry::read(forged).unwrap();
        assert_eq!(entry.field("request_id"), Some("r-2"));
        assert_eq!(entry.field("host"), Some(r#"x request_id="r-1" y"#));
        let message = r#"2026-11-21T09:30:00.1Z ERROR portcullis::gateway: it said request_id="r-1" here request_id="r-2" status=502"#;
        assert_eq!(Entry::read(message).unwrap().field("request_id"), Some("r-2"), "messages come first");
    }

    #[test]
    fn messages_values_with_spaces_and_escapes_are_read() {
        let line = r#"2026-11-21T09:30:00.1Z  WARN portcullis::telemetry: logging with `info` instead error=no such level, it said n=3 odd="a\"\\\n\u{1b}b\u{9b}\u{202e}""#;
        let entry = Entry::read(line).unwrap();
        assert_eq!(entry.message, "logging with `info` instead");
        assert_eq!(entry.field("error"), Some("no such level, it said"));
        assert_eq!(
            (entry.fields["n"].as_u64(), entry.field("odd")),
            (Some(3), Some("a\"\\\n\u{1b}b\u{9b}\u{202e}"))
        );
        assert!(!entry.text().contains('\x1b') && !entry.json().contains(['\x1b', '\u{9b}', '\u{202e}']));
    }

    #[test]
    fn lines_of_others_are_none_of_ours() {
        for line in [
            "",
            "-- Logs begin at Sat --",
            "{}",
            "{\"timestamp\":1}",
            "{\"timestamp\":\"x\"",
            "request_id=\"r-1\"",
            "Nov 21 09:30:00 host portcullis[1]: request_id=\"r-1\"",
            "2026-11-21T09:30:00.1Z",
            "2026-11-21T09:30:00.1Z INFO",
        ] {
            assert_eq!(Entry::read(line), None, "{line}");
        }
    }
}
