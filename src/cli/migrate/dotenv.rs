//! A `.env` as compose reads it: names, values in quotes or bare with a comment behind, `${NAME}` for what stands above.

use std::collections::BTreeMap;

/// What was read.
#[derive(Debug, Default)]
pub(super) struct DotEnv {
    values: BTreeMap<String, String>,
    /// Lines that are none of `NAME=VALUE`, by their numbers: what stands in them may be secret.
    pub(super) odd: Vec<usize>,
    /// Names that stand there more than once; the last one counts.
    pub(super) repeated: Vec<String>,
}

impl DotEnv {
    /// Reads the file's text.
    pub(super) fn parse(text: &str) -> Self {
        let mut read = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
            let named = line.split_once('=').map(|(name, value)| (name.trim_end(), value));
            let value = named.and_then(|(_, value)| read.value(value.trim()));
            match (named, value) {
                (Some((name, _)), Some(value)) if is_name(name) => {
                    if read.values.insert(name.to_owned(), value).is_some() {
                        read.repeated.push(name.to_owned());
                    }
                }
                _ => read.odd.push(index + 1),
            }
        }
        read
    }

    /// A variable that is there and not empty.
    pub(super) fn value_of(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Every name.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    fn value(&self, text: &str) -> Option<String> {
        if let Some(rest) = text.strip_prefix('\'') {
            let (value, behind) = rest.split_once('\'')?;
            return is_comment(behind).then(|| value.to_owned());
        }
        if let Some(rest) = text.strip_prefix('"') {
            return self.double_quoted(rest);
        }
        let comment =
            text.char_indices().find(|(at, c)| *c == '#' && text[..*at].ends_with(char::is_whitespace));
        let bare = comment.map_or(text, |(at, _)| &text[..at]);
        let bare = if bare.starts_with('#') { "" } else { bare };
        Some(self.expanded(bare.trim_end()))
    }

    fn double_quoted(&self, rest: &str) -> Option<String> {
        let (mut value, mut characters) = (String::new(), rest.char_indices());
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => return is_comment(&rest[at + 1..]).then(|| self.expanded(&value)),
                '\\' => match characters.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                other => value.push(other),
            }
        }
        None
    }

    /// `${NAME}` by what stands above; an unknown one stays as it is.
    fn expanded(&self, text: &str) -> String {
        let (mut out, mut rest) = (String::new(), text);
        while let Some((before, after)) = rest.split_once("${") {
            out.push_str(before);
            let known =
                after.split_once('}').and_then(|(name, behind)| Some((self.values.get(name)?, behind)));
            let (value, behind) = known.map_or(("${", after), |(value, behind)| (value.as_str(), behind));
            out.push_str(value);
            rest = behind;
        }
        out + rest
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_comment(text: &str) -> bool {
    let text = text.trim();
    text.is_empty() || text.starts_with('#')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_read_as_compose_reads_them() {
        let read = DotEnv::parse(
            "# no\n\nA=plain\nB=a b   # comment\nC=a#b\nD='x # y' # z\nE=\"q \\\"r\\\" # s\"\nexport F=${A}-${NONE}\nG=\nH= # only\n\
             I=\"${A}\"\nJ='${A}'\n  K = 1 \n",
        );
        for (name, value) in [
            ("A", "plain"),
            ("B", "a b"),
            ("C", "a#b"),
            ("D", "x # y"),
            ("E", "q \"r\" # s"),
            ("F", "plain-${NONE}"),
            ("I", "plain"),
            ("J", "${A}"),
            ("K", "1"),
        ] {
            assert_eq!(read.value_of(name), Some(value), "{name}");
        }
        assert_eq!((read.value_of("G"), read.value_of("H")), (None, None));
        assert!(read.odd.is_empty() && read.repeated.is_empty());
    }

    #[test]
    fn what_is_no_variable_is_told_by_its_line() {
        let read = DotEnv::parse("A=1\nnonsense\n1A=2\nB='open\nC=\"open\nD='a'b\nA=2\n");
        assert_eq!(read.odd, [2, 3, 4, 5, 6]);
        assert_eq!((read.repeated.as_slice(), read.value_of("A")), (["A".to_owned()].as_slice(), Some("2")));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[A-Z=$\"'{}# \\\\\n]{0,40}|.*") {
            let _ = DotEnv::parse(&text);
        }
    }
}
