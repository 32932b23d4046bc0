//! Which keys there are and what they hold: finds every unknown key and every value of a wrong kind, puts variables
//! in, and hands the rest to `serde_yaml` as a value that the raw type cannot refuse.

use std::ffi::OsString;

use serde::de::DeserializeOwned;
use serde_yaml::{Mapping, Value};

use super::expand::expand;
use super::position::{Entry, Kind, Node, Scalar};
use super::problem::{Findings, Position};
use super::raw::Given;
use crate::trouble::Trouble;

/// What a key holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    Text,
    /// A text that may be empty, as a variable that is set only at times.
    TextOrNothing,
    Flag,
    Number,
    /// One or a list of them.
    Several(&'static Shape),
    Section(&'static [Key]),
    /// A section, or a single word, which becomes the key `word`.
    WordOr(&'static [Key]),
    /// Keys of the operator's choice.
    Named(&'static Shape),
    /// A JSON object of a form that others define, of texts, lists and objects.
    Json,
    /// A key that exists and cannot be used yet: what to write instead.
    Later(&'static str),
}

/// A key and what it holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
}

const fn key(name: &'static str, shape: Shape) -> Key {
    Key { name, shape }
}

const TEXTS: Shape = Shape::Several(&Shape::Text);

/// The file's keys.
pub(super) const FILE: &[Key] = &[
    key("issuer", Shape::Text),
    key("secret_key", Shape::Text),
    key("secret_key_file", Shape::Text),
    key("secret_key_previous", Shape::TextOrNothing),
    key("secret_key_previous_file", Shape::Text),
    key("store", Shape::Text),
    key("store_file", Shape::Text),
    key("store_prefix", Shape::Text),
    key("admin_socket", Shape::Text),
    key("listen", Shape::Section(LISTEN)),
    key("tls", Shape::WordOr(TLS)),
    key("trusted_proxies", TEXTS),
    key("published_on_loopback", Shape::Flag),
    key(
        "identity",
        Shape::Section(&[key("github", Shape::Section(GITHUB)), key("dev", Shape::Section(&[]))]),
    ),
    key("access", Shape::Section(ACCESS)),
    key("admins", TEXTS),
    key("access_recheck", Shape::Text),
    key("access_grace", Shape::Text),
    key("origins", TEXTS),
    key("redirect_schemes", TEXTS),
    key("tokens", Shape::Section(TOKENS)),
    key("keys", Shape::Section(&[key("rotate", Shape::Text)])),
    key("session", Shape::Text),
    key("revocation_staleness", Shape::Text),
    key("log", Shape::Section(&[key("format", Shape::Text), key("filter", Shape::Text)])),
    key("drain", Shape::Text),
    key("limits", Shape::Section(LIMITS)),
    key("clients", Shape::Section(CLIENTS)),
    key("workers", Shape::Number),
    key("services", Shape::Named(&Shape::Section(SERVICE))),
];

const LISTEN: &[Key] = &[
    key("https", TEXTS),
    key("http", TEXTS),
    key("internal", TEXTS),
    key("internal_token", Shape::Text),
    key("internal_token_file", Shape::Text),
];

const TLS: &[Key] = &[
    key(
        "files",
        Shape::Several(&Shape::Section(&[key("certificate", Shape::Text), key("key", Shape::Text)])),
    ),
    key("local_ca", Shape::Text),
    key("acme", Shape::Section(ACME)),
];

const ACME: &[Key] = &[
    key("email", Shape::Text),
    key("directory", Shape::Text),
    key("ca_file", Shape::Text),
    key(
        "eab",
        Shape::Section(&[key("kid", Shape::Text), key("key", Shape::Text), key("key_file", Shape::Text)]),
    ),
    key("profile", Shape::Text),
    key("challenge", Shape::Text),
];

const GITHUB: &[Key] = &[
    key("client_id", Shape::Text),
    key("client_secret", Shape::Text),
    key("client_secret_file", Shape::Text),
    key("web_url", Shape::Text),
    key("api_url", Shape::Text),
];

const ACCESS: &[Key] = &[key("users", TEXTS), key("orgs", TEXTS), key("teams", TEXTS)];

const TOKENS: &[Key] =
    &[key("access", Shape::Text), key("refresh_idle", Shape::Text), key("refresh_absolute", Shape::Text)];

const LIMITS: &[Key] = &[
    key("register", Shape::Text),
    key("authorize", Shape::Text),
    key("sign_in", Shape::Text),
    key("callback", Shape::Text),
    key("token", Shape::Text),
    key("revoke", Shape::Text),
    key("document", Shape::Text),
    key("introspect", Shape::Text),
    key("pages", Shape::Text),
    key("unused_clients", Shape::Number),
    key("open_sign_ins", Shape::Number),
    key("connections", Shape::Number),
    key("connections_per_address", Shape::Number),
    key("handshake", Shape::Text),
    key("head", Shape::Text),
    key("idle", Shape::Text),
    key("body_pause", Shape::Text),
    key("header_bytes", Shape::Number),
    key("header_count", Shape::Number),
    key("streams_per_connection", Shape::Number),
];

const CLIENTS: &[Key] = &[
    key("documents", Shape::WordOr(DOCUMENTS)),
    key("registered", Shape::Named(&Shape::Section(CLIENT))),
    key("imported_secrets", Shape::Flag),
];

const DOCUMENTS: &[Key] = &[key("allow", TEXTS), key("deny", TEXTS), key("max_bytes", Shape::Number)];

/// The keys of one of `clients.registered`.
const CLIENT: &[Key] = &[
    key("name", Shape::Text),
    key("redirect_uris", TEXTS),
    key("grant_types", TEXTS),
    key("secret", Shape::Text),
    key("secret_file", Shape::Text),
    key("jwks", Shape::Json),
    key("jwks_file", Shape::Text),
    key("services", Shape::Named(&TEXTS)),
    key("introspect", Shape::Flag),
];

/// A service's keys.
pub(super) const SERVICE: &[Key] = &[
    key("url", Shape::Text),
    key("upstream", TEXTS),
    key("paths", TEXTS),
    key("scopes", TEXTS),
    key("implies", Shape::Named(&TEXTS)),
    key("describe", Shape::Named(&Shape::Text)),
    key("public", Shape::Flag),
    key("access", Shape::Section(ACCESS)),
    key("forward_email", Shape::Flag),
    key("user_id", Shape::Text),
    key("origins", TEXTS),
    key("health", Shape::WordOr(HEALTH)),
    key("connect_timeout", Shape::Text),
    key("first_byte_timeout", Shape::Text),
    key("sse_keep_alive", Shape::Text),
    key("forward_auth", Shape::Flag),
    key("max_body_bytes", Shape::Number),
    key("max_requests", Shape::Number),
    key("max_requests_per_user", Shape::Number),
    key("max_streams", Shape::Number),
    key("max_streams_per_user", Shape::Number),
    key("tools", Shape::Later("write `scopes` for the whole service")),
    key("command", Shape::Later("start the server with its HTTP transport and write its URL as `upstream`")),
];

const HEALTH: &[Key] = &[key("probe", Shape::Text), key("every", Shape::Text)];

/// Fills a raw type from `node`, or what of it is not at fault.
pub(super) fn fill<T: DeserializeOwned>(
    keys: &'static [Key],
    node: &Node,
    variable: &dyn Fn(&str) -> Option<OsString>,
    findings: &mut Findings,
) -> Option<Given<T>> {
    let mut reader = Reader { variable, findings };
    let value = reader.given("this file", Shape::Section(keys), node);
    match serde_path_to_error::deserialize(value) {
        Ok(given) => Some(given),
        Err(error) => {
            let text =
                format!("this cannot be read ({error}); please report it, it is a fault of Portcullis");
            findings.refuse(node.at, text);
            None
        }
    }
}

struct Reader<'a> {
    variable: &'a dyn Fn(&str) -> Option<OsString>,
    findings: &'a mut Findings,
}

impl Reader<'_> {
    /// `node`, which belongs to the key `name`, in the form of [`Given`].
    fn given(&mut self, name: &str, shape: Shape, node: &Node) -> Value {
        let value = match (shape, &node.kind) {
            (Shape::Later(instead), _) => {
                self.findings.refuse(node.at, format!("`{name}` is not there yet; {instead}"));
                Value::Null
            }
            (_, Kind::Refused) => Value::Null,
            // `dev:` has nothing to say.
            (Shape::Section([]), Kind::Null) => Value::Mapping(Mapping::new()),
            (Shape::Section(keys) | Shape::WordOr(keys), Kind::Map(entries)) => self.section(keys, entries),
            (Shape::WordOr(_), Kind::Scalar(_)) => {
                let word = self.given(name, Shape::Text, node);
                Value::Mapping(std::iter::once(("word".into(), word)).collect())
            }
            (Shape::Named(shape), Kind::Map(entries)) => self.named(*shape, entries),
            (Shape::Json, Kind::Map(_)) => self.json(name, node).unwrap_or(Value::Null),
            (Shape::Several(shape), Kind::List(items)) => {
                Value::Sequence(items.iter().map(|item| self.given(name, *shape, item)).collect())
            }
            (Shape::Several(shape @ Shape::Text), Kind::Scalar(_))
            | (Shape::Several(shape @ Shape::Section(_)), Kind::Map(_)) => {
                Value::Sequence(vec![self.given(name, *shape, node)])
            }
            (Shape::Text | Shape::TextOrNothing | Shape::Flag | Shape::Number, Kind::Scalar(scalar)) => {
                self.scalar(name, shape, scalar, node).unwrap_or(Value::Null)
            }
            (_, Kind::Null) => {
                let text = format!("`{name}` has no value; write {}, or take the key away", wanted(shape));
                self.findings.refuse_yaml(node.at, text);
                Value::Null
            }
            (_, Kind::Scalar(_) | Kind::List(_) | Kind::Map(_)) => {
                let text = format!("`{name}` is {}; write {}", kind(&node.kind), wanted(shape));
                self.findings.refuse_yaml(node.at, text);
                Value::Null
            }
        };
        place(node.at, value)
    }

    fn section(&mut self, keys: &'static [Key], entries: &[Entry]) -> Value {
        let mut section = Mapping::new();
        for entry in entries {
            match keys.iter().find(|key| key.name == entry.key) {
                Some(key) => {
                    let value = self.given(key.name, key.shape, &entry.value);
                    if !matches!(key.shape, Shape::Later(_)) {
                        section.insert(key.name.into(), value);
                    }
                }
                None => self.findings.refuse_yaml(entry.at, unknown(&entry.key, keys)),
            }
        }
        // Of a section where every key was refused, nothing more is said.
        if section.is_empty() && !entries.is_empty() { Value::Null } else { Value::Mapping(section) }
    }

    fn named(&mut self, shape: Shape, entries: &[Entry]) -> Value {
        let given = |entry: &Entry| (entry.key.clone().into(), self.given(&entry.key, shape, &entry.value));
        Value::Mapping(entries.iter().map(given).collect())
    }

    /// `node` as JSON has it: every scalar is a text. `None` if something in it was refused, so that nothing more is said of it.
    fn json(&mut self, name: &str, node: &Node) -> Option<Value> {
        match &node.kind {
            Kind::Null => Some(Value::Null),
            Kind::Refused => None,
            Kind::Scalar(scalar) => self.scalar(name, Shape::Text, scalar, node),
            Kind::List(items) => {
                let items: Vec<_> = items.iter().map(|item| self.json(name, item)).collect();
                items.into_iter().collect()
            }
            Kind::Map(entries) => {
                let pair =
                    |entry: &Entry| Some((entry.key.clone().into(), self.json(&entry.key, &entry.value)?));
                let pairs: Vec<_> = entries.iter().map(pair).collect();
                pairs.into_iter().collect::<Option<Mapping>>().map(Value::Mapping)
            }
        }
    }

    /// A scalar with its variables in, as what its key holds.
    fn scalar(&mut self, name: &str, shape: Shape, scalar: &Scalar, node: &Node) -> Option<Value> {
        let text = match expand(&scalar.text, self.variable) {
            Ok(text) => self.unquoted(text, name, node.at),
            Err(faults) => {
                for fault in faults {
                    self.findings.refuse_as(fault.trouble, node.at_offset(fault.offset), fault.text);
                }
                return None;
            }
        };
        let value = match shape {
            Shape::Flag => text.parse().ok().map(Value::Bool),
            Shape::Number => text.parse::<u64>().ok().map(|number| Value::Number(number.into())),
            Shape::TextOrNothing => Some(Value::String(text)),
            Shape::Text
            | Shape::Several(_)
            | Shape::Section(_)
            | Shape::WordOr(_)
            | Shape::Named(_)
            | Shape::Json
            | Shape::Later(_) => (!text.is_empty()).then(|| Value::String(text)),
        };
        if value.is_none() {
            let what = match shape {
                Shape::Flag => "neither true nor false",
                Shape::Number => "no whole number",
                Shape::Text
                | Shape::TextOrNothing
                | Shape::Several(_)
                | Shape::Section(_)
                | Shape::WordOr(_)
                | Shape::Named(_)
                | Shape::Json => "empty",
                Shape::Later(_) => "not there yet",
            };
            self.findings.refuse_yaml(node.at, format!("`{name}` is {what}; write {}", wanted(shape)));
        }
        value
    }

    /// Takes quotes and spaces away that came along with a value, and says so: env files keep both.
    fn unquoted(&mut self, text: String, name: &str, at: Position) -> String {
        let trimmed = text.trim();
        let inner = ['"', '\''].iter().find_map(|quote| trimmed.strip_prefix(*quote)?.strip_suffix(*quote));
        let inner = inner.unwrap_or(trimmed);
        if inner.len() == text.len() {
            return text;
        }
        let text =
            format!("`{name}` has quotes or spaces around its value; take them away (env files keep quotes)");
        self.findings.refuse_as(Trouble::EnvShape, at, text);
        inner.to_owned()
    }
}

/// `value` in the form of [`Given`].
fn place(at: Position, value: Value) -> Value {
    let number = |number: usize| Value::Number(number.into());
    let at = [("file", at.file), ("line", at.line), ("column", at.column)];
    let at = at.into_iter().map(|(name, value)| (name.into(), number(value))).collect();
    Value::Mapping([("at".into(), Value::Mapping(at)), ("value".into(), value)].into_iter().collect())
}

const fn kind(kind: &Kind) -> &'static str {
    match kind {
        Kind::Null => "empty",
        Kind::Refused => "refused",
        Kind::Scalar(_) => "a single value",
        Kind::List(_) => "a list",
        Kind::Map(_) => "a section with keys",
    }
}

fn wanted(shape: Shape) -> String {
    match shape {
        Shape::Text | Shape::TextOrNothing => "one text".into(),
        Shape::Flag => "true or false".into(),
        Shape::Number => "one such as 4".into(),
        Shape::Several(Shape::Section(keys)) => format!("a list with the keys {}", names(keys)),
        Shape::Several(_) => "one text or a list".into(),
        Shape::Section([]) => "`{}`".into(),
        Shape::Section(keys) => format!("keys below it: {}", names(keys)),
        Shape::WordOr(keys) => format!("`off`, or keys below it: {}", names(keys)),
        Shape::Named(_) => "keys below it, `NAME: ...`".into(),
        Shape::Json => "a JSON object, such as { keys: [...] }".into(),
        Shape::Later(instead) => instead.into(),
    }
}

fn names(keys: &[Key]) -> String {
    let usable = keys.iter().filter(|key| !matches!(key.shape, Shape::Later(_)));
    usable.map(|key| key.name).collect::<Vec<_>>().join(", ")
}

fn unknown(name: &str, keys: &[Key]) -> String {
    if name == "<<" {
        return "merge keys (`<<`) are not read; write the keys, or an alias for the whole section".into();
    }
    let shown: String = name.chars().take(60).collect();
    let usable = keys.iter().filter(|key| !matches!(key.shape, Shape::Later(_)));
    let nearest = usable.map(|key| (distance(&shown.to_lowercase(), key.name), key.name)).min();
    match nearest {
        None => format!("`{shown}` is no key here; take it away, nothing is configured here"),
        Some((distance, nearest)) if distance <= 1 + shown.chars().count() / 4 => {
            format!("`{shown}` is no key here; did you mean `{nearest}`?")
        }
        Some(_) => format!("`{shown}` is no key here; write one of {}", names(keys)),
    }
}

/// How many letters must be changed, added or taken away to get from one word to the other; `-` is as good as `_`.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().map(|c| if c == '-' { '_' } else { c }).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{position, raw};
    use super::*;

    fn read<T: DeserializeOwned>(keys: &'static [Key], text: &str) -> (Option<Given<T>>, Vec<String>) {
        let mut findings = Findings::of(Path::new("p"));
        let variable = |name: &str| (name == "QUOTED").then(|| OsString::from("\"x\""));
        let given = position::tree(text, 0, &mut findings)
            .and_then(|node| fill(keys, &node, &variable, &mut findings));
        (given, findings.conclude(Some(())).map_or_else(|problems| problems.lines().to_vec(), |_| Vec::new()))
    }

    fn file(text: &str) -> (raw::File, Vec<String>) {
        let (given, problems) = read::<raw::File>(FILE, text);
        (given.unwrap().value.unwrap(), problems)
    }

    /// The names `serde` knows of a raw type: it lists them when it meets a key that is none of them.
    fn fields<T: DeserializeOwned>() -> Vec<String> {
        let odd = Value::Mapping(std::iter::once(("?".into(), Value::Null)).collect());
        let error = serde_yaml::from_value::<T>(odd).err().unwrap().to_string();
        error.split('`').skip(3).step_by(2).map(str::to_owned).collect()
    }

    fn usable(keys: &[Key]) -> Vec<&'static str> {
        keys.iter().filter(|key| !matches!(key.shape, Shape::Later(_))).map(|key| key.name).collect()
    }

    #[test]
    fn the_raw_types_and_the_shapes_have_the_same_keys() {
        assert_eq!(fields::<raw::File>(), usable(FILE));
        assert_eq!(fields::<raw::Service>(), usable(SERVICE));
        assert_eq!(fields::<raw::Listen>(), usable(LISTEN));
        assert_eq!(fields::<raw::GitHub>(), usable(GITHUB));
        assert_eq!(fields::<raw::Access>(), usable(ACCESS));
        assert_eq!(fields::<raw::Tokens>(), usable(TOKENS));
        assert_eq!(fields::<raw::Limits>(), usable(LIMITS));
        assert_eq!(fields::<raw::RegisteredClient>(), usable(CLIENT));
        assert_eq!(fields::<raw::Tls>()[1..], usable(TLS)[..]);
    }

    #[test]
    fn scalars_stay_as_written_whatever_they_look_like() {
        for text in ["0123", "1e5", "0x10", "no", "12345678901234567890123", "1_000", "2001-01-01"] {
            let (file, problems) = file(&format!("secret_key: {text}"));
            assert_eq!((file.secret_key.unwrap().value.as_deref(), problems), (Some(text), vec![]));
        }
    }

    #[test]
    fn one_fault_does_not_hide_the_next() {
        let (file, problems) = file("isuer: x\nworkers: many\nlisten: { https: { a: 1 } }\nsession: 1h\n");
        assert_eq!(
            problems,
            [
                "p:1:1: `isuer` is no key here; did you mean `issuer`? [yaml-syntax]",
                "p:2:10: `workers` is no whole number; write one such as 4 [yaml-syntax]",
                "p:3:11: `https` is a section with keys; write one text or a list [yaml-syntax]"
            ]
        );
        assert_eq!(file.session.unwrap().value.as_deref(), Some("1h"));
        assert!(file.workers.unwrap().value.is_none(), "refused, not absent");
    }

    #[test]
    fn a_word_may_stand_for_a_section() {
        for (text, word) in [("tls: off", "off"), ("tls: false", "false"), ("tls: \"off\"", "off")] {
            let tls = file(text).0.tls.unwrap().value.unwrap();
            assert_eq!(tls.word.unwrap().value.as_deref(), Some(word));
        }
    }

    #[test]
    fn quotes_from_an_env_file_are_told_and_taken_away() {
        let (file, problems) = file("issuer: ${QUOTED}");
        assert_eq!(file.issuer.unwrap().value.as_deref(), Some("x"));
        assert_eq!(
            problems,
            [
                "p:1:9: `issuer` has quotes or spaces around its value; take them away (env files keep quotes) [env-shape]"
            ]
        );
    }

    #[test]
    fn suggestions_come_only_for_near_words() {
        let told = |name| unknown(name, FILE);
        assert!(told("Trusted-Proxy").ends_with("did you mean `trusted_proxies`?"));
        assert!(told("service").ends_with("did you mean `services`?"));
        assert!(told("middleware").contains("write one of issuer, secret_key"));
    }
}
