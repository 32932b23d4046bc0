//! The YAML text as a tree in which everything knows its place. `serde_yaml` keeps no positions, takes the last of two
//! equal keys and stops at its first error; so `granit-parser` goes over the text, and `serde_yaml` gets what is left
//! when [`super::shape`] has taken out every fault.

use std::borrow::Cow;
use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span};

use super::problem::{Findings, Position};

/// How many nodes a file may have, those that aliases repeat counted each time: an alias bomb ends here.
const MAX_NODES: usize = 100_000;

/// How deep nodes may be nested; the deepest key of ours is at 6.
const MAX_DEPTH: usize = 64;

/// A value in the file.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// A scalar's first character; for everything else that of the key it belongs to.
    pub(super) at: Position,
    pub(super) kind: Kind,
    nodes: usize,
    depth: usize,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// Nothing, `~` or `null`.
    Null,
    /// A value that was refused already.
    Refused,
    /// Text, numbers and truth values: what they are depends on the key.
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A scalar as written, without its quotes and escapes.
#[derive(Clone, Debug)]
pub(super) struct Scalar {
    pub(super) text: String,
    /// Columns from the node's position to the first character of `text`, if `text` stands in the file letter by
    /// letter.
    lead: Option<usize>,
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: Position,
    pub(super) value: Node,
}

impl Node {
    fn new(at: Position, kind: Kind) -> Self {
        let children: &mut dyn Iterator<Item = &Self> = match &kind {
            Kind::Null | Kind::Refused | Kind::Scalar(_) => &mut std::iter::empty(),
            Kind::List(items) => &mut items.iter(),
            Kind::Map(entries) => &mut entries.iter().map(|entry| &entry.value),
        };
        let (nodes, depth) =
            children.fold((1, 0), |(nodes, depth), child| (nodes + child.nodes, depth.max(child.depth)));
        Self { at, kind, nodes, depth: depth + 1 }
    }

    /// Where the scalar's character at `offset` stands, as exactly as can be told.
    pub(super) fn at_offset(&self, offset: usize) -> Position {
        match &self.kind {
            Kind::Scalar(Scalar { lead: Some(lead), .. }) => {
                Position { column: self.at.column + lead + offset, ..self.at }
            }
            Kind::Scalar(_) | Kind::Null | Kind::Refused | Kind::List(_) | Kind::Map(_) => self.at,
        }
    }
}

/// How many variables without quotes are passed over, each at the price of another reading.
const MAX_BLANKED: usize = 100;

/// What a variable is blanked with, letter by letter: of Unicode's private use, so that YAML gives it no meaning.
const BLANK: char = '\u{e000}';

/// Reads `text`. Syntax errors, tabs, duplicate keys, tags and oversized structures become findings; `None` after a
/// fault that leaves no tree.
pub(super) fn tree(text: &str, file: usize, findings: &mut Findings) -> Option<Node> {
    let tabs = refuse_tabs(text, file, findings);
    let mut text = Cow::Borrowed(text);
    for _ in 0..MAX_BLANKED {
        let blanked = matches!(text, Cow::Owned(_));
        let error = match parse(&text, blanked, file, findings) {
            Ok(node) => return node.filter(|_| !tabs),
            Err(error) => error,
        };
        let Some((at, rest)) = without_variable(&text, &error, file) else {
            // A parser that stumbles over a tab says it in many ways; each tab was told already.
            if !tabs {
                refuse_syntax(&error, file, findings);
            }
            return None;
        };
        findings.refuse_yaml(at, "inside `{ }` and `[ ]` a variable stands in quotes; write \"${NAME}\"");
        text = Cow::Owned(rest);
    }
    None
}

/// Goes over `text` once, to its end or to its first fault of syntax. What is found twice is told once.
fn parse(text: &str, blanked: bool, file: usize, findings: &mut Findings) -> Result<Option<Node>, ScanError> {
    let options = granit_parser::options! {
        emit_comments: false,
        disallow_directives: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut builder = Builder::new(file, blanked, findings);
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event?;
        if builder.take(event, span).is_none() {
            return Ok(None);
        }
    }
    let empty = || Node::new(Position::start(file), Kind::Map(Vec::new()));
    Ok(Some(builder.root.take().unwrap_or_else(empty)))
}

/// If `error` is at the brace of a `${NAME}` without quotes inside `{ }` or `[ ]`, where YAML takes it for another map: where the
/// variable is, and `text` with it blanked, so that everything else keeps its place.
fn without_variable(text: &str, error: &ScanError, file: usize) -> Option<(Position, String)> {
    let (line, column) = (error.marker().line(), error.marker().col());
    let start: usize = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
    let (brace, _) = text[start..].char_indices().nth(column)?;
    let dollar = (start + brace).checked_sub(1)?;
    let variable = text.get(dollar..).filter(|rest| rest.starts_with("${"))?;
    let variable =
        variable.lines().next()?.split_inclusive('}').next().filter(|found| found.ends_with('}'))?;
    let blank = variable.chars().map(|_| BLANK).collect::<String>();
    let rest = [&text[..dollar], &blank, &text[dollar + variable.len()..]].concat();
    Some((Position { file, line, column }, rest))
}

/// Refuses every tab that stands where spaces indent; whether there was one.
fn refuse_tabs(text: &str, file: usize, findings: &mut Findings) -> bool {
    let mut found = false;
    for (index, line) in text.lines().enumerate() {
        let content = line.trim_start_matches([' ', '\t']);
        let indentation = &line[..line.len() - content.len()];
        if let Some(column) = indentation.find('\t')
            && !content.is_empty()
            && !content.starts_with('#')
        {
            let at = Position { file, line: index + 1, column: column + 1 };
            findings.refuse_yaml(at, "a tab; YAML is indented with spaces, write two for each level");
            found = true;
        }
    }
    found
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the parser's errors are not ours and many; the rest has its own text"
)]
fn refuse_syntax(error: &ScanError, file: usize, findings: &mut Findings) {
    let at = Position { file, line: error.marker().line(), column: error.marker().col() + 1 };
    let text = match error.kind() {
        ErrorKind::UnclosedQuotedScalar => {
            "a quote is opened here or above and never closed; close it".into()
        }
        ErrorKind::UnclosedFlowCollection { open } => format!("`{open}` is never closed; close it"),
        ErrorKind::InvalidQuotedScalarIndent => {
            "this line is inside a quote that was opened above and not closed; close it there".into()
        }
        ErrorKind::MismatchedFlowCollectionEnd { open, close } => {
            format!("`{close}` comes before the end of `{open}`; close that first")
        }
        ErrorKind::UnexpectedEofFlowSequence => "`[` is never closed; write `]`".into(),
        ErrorKind::UnexpectedEofFlowMapping | ErrorKind::UnexpectedEofImplicitFlowMapping => {
            "`{` is never closed; write `}`".into()
        }
        ErrorKind::ExpectedFlowMappingSeparator => "`,` or `}` was expected; write one".into(),
        ErrorKind::ExpectedFlowSequenceSeparator => "`,` or `]` was expected; write one".into(),
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => {
            "a line without `key:`; write `key: value`, and quote text that goes on for several lines".into()
        }
        ErrorKind::MappingValueNotAllowed => {
            "a `:` that begins no value; quote the text if `: ` belongs to it, or check the indentation"
                .into()
        }
        ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::InvalidIndentation
        | ErrorKind::MappingKeyNotAllowed => {
            "this does not fit the lines above; indent it exactly as its neighbours".into()
        }
        ErrorKind::UnknownAnchor => "an alias for an anchor that is not above; write the value".into(),
        ErrorKind::DirectiveDisallowed => "a `%` directive; take the line away, or quote the text".into(),
        ErrorKind::RecursionLimitExceeded => {
            format!("nested deeper than {MAX_DEPTH} levels; no key of ours is")
        }
        ErrorKind::UnexpectedCharacter { character } => {
            format!("text cannot begin with `{}`; put it in quotes", character.escape_default())
        }
        other => format!("this is not YAML ({other}); put text with special characters in quotes"),
    };
    findings.refuse_yaml(at, text);
}

/// A list or map whose end has not come yet.
struct Open {
    at: Position,
    anchor: usize,
    inside: Inside,
}

enum Inside {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, known: HashMap<String, Position>, key: Option<Key> },
}

/// A key that waits for its value.
struct Key {
    at: Position,
    /// `None` if it was refused; its value goes the same way.
    name: Option<String>,
}

struct Builder<'f> {
    file: usize,
    findings: &'f mut Findings,
    root: Option<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    /// Whether a variable was blanked, so that [`BLANK`] stands for something that was refused.
    blanked: bool,
}

impl<'f> Builder<'f> {
    fn new(file: usize, blanked: bool, findings: &'f mut Findings) -> Self {
        Self { file, blanked, findings, root: None, open: Vec::new(), anchors: HashMap::new(), nodes: 0 }
    }

    fn at(&self, span: Span) -> Position {
        Position { file: self.file, line: span.start.line(), column: span.start.col() + 1 }
    }

    /// Takes one event in; `None` if there is no use in going on.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the parser's enum is not ours and may grow, but not by values"
    )]
    fn take(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let at = self.at(span);
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                self.findings
                    .refuse_yaml(at, "a second document begins here; take the `---` and what follows away");
                return None;
            }
            Event::Alias(anchor) => self.repeat(anchor, at)?,
            Event::UnresolvedAlias(_) => {
                self.findings.refuse_yaml(at, "an alias for nothing; write the value");
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), at);
                let refused = self.blanked && text.contains(BLANK);
                let node = if refused {
                    Node::new(at, Kind::Refused)
                } else {
                    scalar(text.into_owned(), style, span, at)
                };
                self.place(node, anchor)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(tag.is_some(), at);
                self.open.push(Open { at, anchor, inside: Inside::List(Vec::new()) });
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(tag.is_some(), at);
                let inside = Inside::Map { entries: Vec::new(), known: HashMap::new(), key: None };
                self.open.push(Open { at, anchor, inside });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Open { at, anchor, inside } = self.open.pop()?;
                let kind = match inside {
                    Inside::List(items) => Kind::List(items),
                    Inside::Map { entries, .. } => Kind::Map(entries),
                };
                self.place(Node::new(at, kind), anchor)?;
            }
            // Beginnings, ends and comments.
            _ => {}
        }
        Some(())
    }

    fn refuse_tag(&mut self, tagged: bool, at: Position) {
        if tagged {
            self.findings.refuse_yaml(at, "a tag (`!`) has no meaning here; take it away, or quote the text");
        }
    }

    /// Puts a copy of an anchor's node here.
    fn repeat(&mut self, anchor: usize, at: Position) -> Option<()> {
        let Some(node) = self.anchors.get(&anchor) else {
            self.findings.refuse_yaml(at, "an alias inside what it stands for; write the value");
            return None;
        };
        self.nodes += node.nodes;
        if self.nodes > MAX_NODES || self.open.len() + node.depth > MAX_DEPTH {
            self.findings.refuse_yaml(at, "aliases make this file too large; write the values");
            return None;
        }
        let node = node.clone();
        self.place(node, 0)
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, mut node: Node, anchor: usize) -> Option<()> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            self.findings.refuse(node.at, "this file is too large for a configuration; split it up");
            return None;
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.inside) {
            None => self.root = Some(node),
            Some(Inside::List(items)) => items.push(node),
            Some(Inside::Map { entries, key, .. }) if key.is_some() => {
                if let Some(Key { at, name: Some(name) }) = key.take() {
                    if !matches!(node.kind, Kind::Scalar(_)) {
                        node.at = at;
                    }
                    entries.push(Entry { key: name, at, value: node });
                }
            }
            Some(Inside::Map { known, key, .. }) => *key = Some(name(node, known, self.findings)),
        }
        Some(())
    }
}

/// `node` as a map's next key.
fn name(node: Node, known: &mut HashMap<String, Position>, findings: &mut Findings) -> Key {
    let at = node.at;
    let text = match node.kind {
        Kind::Scalar(Scalar { text, .. }) => text,
        Kind::Refused => return Key { at, name: None },
        Kind::Null | Kind::List(_) | Kind::Map(_) => {
            findings.refuse_yaml(at, "a key must be a word; write `key: value`");
            return Key { at, name: None };
        }
    };
    if let Some(first) = known.get(&text) {
        findings.refuse_yaml(
            at,
            format!("`{text}` stands here a second time, after line {}; keep one", first.line),
        );
        return Key { at, name: None };
    }
    known.insert(text.clone(), at);
    Key { at, name: Some(text) }
}

fn scalar(text: String, style: ScalarStyle, span: Span, at: Position) -> Node {
    let plain = style == ScalarStyle::Plain;
    if plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL") {
        return Node::new(at, Kind::Null);
    }
    let width = span.end.index().saturating_sub(span.start.index());
    let quoted = matches!(style, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted);
    let lead = match width.checked_sub(text.chars().count()) {
        Some(0) if plain => Some(0),
        Some(2) if quoted => Some(1),
        Some(_) | None => None,
    };
    let lead = lead.filter(|_| span.start.line() == span.end.line());
    Node::new(at, Kind::Scalar(Scalar { text, lead }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Every problem is one of YAML, and says so at its end.
    // trouble: yaml-syntax
    fn read(text: &str) -> (Option<Node>, Vec<String>) {
        let mut findings = Findings::of(Path::new("p"));
        let node = tree(text, 0, &mut findings);
        let Err(problems) = findings.conclude(Some(())) else { return (node, Vec::new()) };
        let told =
            problems.lines().iter().map(|line| line.strip_suffix(" [yaml-syntax]").unwrap().to_owned());
        (node, told.collect())
    }

    /// `line:column kind` of everything, in the order of the file.
    fn places(node: &Node, out: &mut Vec<String>) {
        let Position { line, column, .. } = node.at;
        match &node.kind {
            Kind::Null => out.push(format!("{line}:{column} null")),
            Kind::Refused => out.push(format!("{line}:{column} refused")),
            Kind::Scalar(Scalar { text, .. }) => out.push(format!("{line}:{column} {text}")),
            Kind::List(items) => items.iter().for_each(|item| places(item, out)),
            Kind::Map(entries) => {
                for entry in entries {
                    out.push(format!("{}:{} {}:", entry.at.line, entry.at.column, entry.key));
                    places(&entry.value, out);
                }
            }
        }
    }

    fn shown(text: &str) -> Vec<String> {
        let mut out = Vec::new();
        places(&read(text).0.unwrap(), &mut out);
        out
    }

    #[test]
    fn everything_knows_its_place() {
        assert_eq!(
            shown("a: 1\nb:\n  - x\n  - \"y\"\nc: {d: ~, e: }\n"),
            [
                "1:1 a:",
                "1:4 1",
                "2:1 b:",
                "3:5 x",
                "4:5 y",
                "5:1 c:",
                "5:5 d:",
                "5:5 null",
                "5:11 e:",
                "5:11 null"
            ]
        );
    }

    #[test]
    fn an_alias_stands_for_its_anchor() {
        assert_eq!(shown("a: &x [1]\nb: *x\n"), ["1:1 a:", "1:8 1", "2:1 b:", "1:8 1"]);
    }

    #[test]
    fn columns_inside_a_scalar_are_exact_where_it_stands_letter_by_letter() {
        for (text, column) in
            [("k: abc", 6), ("k: \"abc\"", 7), ("k: 'abc'", 7), ("k: \"\\x61bc\"", 4), ("k: >-\n  abc", 1)]
        {
            let Kind::Map(entries) = read(text).0.unwrap().kind else { panic!("{text}") };
            let at = entries[0].value.at_offset(2);
            assert!(at.column == column || text.contains('>'), "{text}: {at:?}");
        }
    }

    #[test]
    fn duplicates_are_found_at_every_level_and_all_at_once() {
        let (_, problems) = read("a: 1\nb: {c: 1, c: 2}\na: 3\n");
        assert_eq!(
            problems,
            [
                "p:2:11: `c` stands here a second time, after line 2; keep one",
                "p:3:1: `a` stands here a second time, after line 1; keep one"
            ]
        );
    }

    #[test]
    fn every_tab_is_told() {
        let (node, problems) = read("a:\n\tb: 1\n  \tc: 2\n\t# a comment\n");
        assert!(node.is_none());
        assert_eq!(
            problems,
            [
                "p:2:1: a tab; YAML is indented with spaces, write two for each level",
                "p:3:3: a tab; YAML is indented with spaces, write two for each level"
            ]
        );
    }

    #[test]
    fn a_variable_without_quotes_in_braces_hides_nothing_that_follows() {
        let quotes = |line, column| {
            format!(
                "p:{line}:{column}: inside `{{ }}` and `[ ]` a variable stands in quotes; write \"${{NAME}}\""
            )
        };
        for (text, places) in [
            ("a: { b: ${X}, c: x${Y:-http://z}é${Z} }\n", &[(1, 9), (1, 19), (1, 34)][..]),
            ("a: [\n  ${X},\n  é${Y} ]\n", &[(2, 3), (3, 4)]),
            ("a: { ${X}: 1 }\n", &[(1, 6)]),
        ] {
            let (node, problems) = read(&format!("{text}b: 1\nb: 2\n"));
            assert!(node.is_some(), "{text}");
            let mut told: Vec<_> = places.iter().map(|(line, column)| quotes(*line, *column)).collect();
            let first = text.lines().count() + 1;
            told.push(format!(
                "p:{}:1: `b` stands here a second time, after line {first}; keep one",
                first + 1
            ));
            assert_eq!(problems, told, "{text}");
        }
        assert!(
            !read("a: { b: \"${X}\" c: d }").1[0].contains("variable"),
            "another fault beside one in quotes"
        );
        assert_eq!(shown("a: \u{e000}\n"), ["1:1 a:", "1:4 \u{e000}"], "nothing was blanked here");
        assert!(read(&format!("[{}]", "${A},".repeat(10_000))).0.is_none(), "and does not take for ever");
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for (one, next) in ('a'..'j').zip('b'..='j') {
            let nine = vec![format!("*{one}"); 9].join(",");
            text.extend([format!("{next}: &{next} [{nine}]\n")]);
        }
        let (node, problems) = read(&text);
        assert!(node.is_none());
        assert!(problems[0].ends_with("aliases make this file too large; write the values"), "{problems:?}");
    }

    #[test]
    fn deep_nesting_and_an_alias_in_itself_are_refused() {
        assert!(read(&"[".repeat(5000)).1[0].contains("nested deeper than 64 levels"));
        assert!(read(&"- ".repeat(5000)).1[0].contains("nested deeper than 64 levels"));
        assert!(read("a: &x [*x]").1[0].contains("inside what it stands for"));
    }

    #[test]
    fn tags_and_second_documents_are_refused() {
        assert_eq!(
            read("a: !x y").1,
            ["p:1:7: a tag (`!`) has no meaning here; take it away, or quote the text"]
        );
        assert_eq!(
            read("a: 1\n---\nb: 2").1,
            ["p:2:1: a second document begins here; take the `---` and what follows away"]
        );
    }
}
