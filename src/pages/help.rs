//! What there is to say of a trouble, as a page: the words that `portcullis doctor --explain` prints.

use askama::Template;

use super::{Page, Problem};
use crate::trouble::{Explanation, Group, Trouble};

#[derive(Template)]
#[template(path = "help.html", config = ".askama.toml")]
struct Help {
    trouble: Trouble,
    explanation: &'static Explanation,
}

#[derive(Template)]
#[template(path = "help_all.html", config = ".askama.toml")]
struct All {
    groups: Vec<(Group, Vec<Trouble>)>,
}

impl Problem {
    /// There is no help of that name. `all` is where the list is.
    #[must_use]
    pub fn no_help(all: &str) -> Self {
        let problem = Self::new(
            Trouble::WrongUrl,
            "There is no page about a trouble of that name.",
            &["Every trouble that is explained here stands in the list."],
        );
        problem.with_link("All troubles", all)
    }
}

/// The page about one trouble.
#[must_use]
pub fn help(trouble: Trouble) -> Page {
    Page::of(&Help { trouble, explanation: trouble.explanation() })
}

/// The list of all troubles.
#[must_use]
pub fn all_help() -> Page {
    Page::of(&All { groups: by_group() })
}

/// All troubles, in the order in which they are met.
#[must_use]
pub fn by_group() -> Vec<(Group, Vec<Trouble>)> {
    let of = |group: Group| Trouble::ALL.iter().copied().filter(|trouble| trouble.group() == group).collect();
    Group::ALL.into_iter().map(|group| (group, of(group))).collect()
}

/// A text in parts; every second one stood in backquotes, and is to be typed or pasted.
pub(super) fn parts(text: &str) -> impl Iterator<Item = (bool, &str)> {
    text.split('`')
        .enumerate()
        .map(|(index, part)| (index % 2 == 1, part))
        .filter(|(_, part)| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_everything_there_is_to_say_of_its_trouble() {
        for trouble in Trouble::ALL {
            let page = help(*trouble);
            let Explanation { symptom, cause, fix, portcullis, clients } = trouble.explanation();
            let texts = [symptom, cause, portcullis].into_iter().chain(fix.iter());
            let told = clients.iter().map(|(_, shows)| shows);
            for part in texts.flat_map(|text| parts(text)).map(|(_, part)| part).chain(told.copied()) {
                let part = part.replace('&', "&#38;").replace('"', "&#34;").replace('\'', "&#39;");
                let part = part.replace('<', "&#60;").replace('>', "&#62;");
                assert!(page.html().contains(&part), "{trouble}: {part} is missing in {}", page.html());
            }
            assert!(page.html().contains(&format!("portcullis doctor --explain {trouble}<")));
            assert!(!page.html().contains('`') && !page.html().contains("<script"), "{trouble}");
            assert!(all_help().html().contains(&format!("<a href=\"/help/{trouble}\">{trouble}</a>")));
        }
    }

    #[test]
    fn what_stands_in_backquotes_is_code() {
        let split: Vec<_> = parts("Run `a b`, then `c`.").collect();
        assert_eq!(split, [(false, "Run "), (true, "a b"), (false, ", then "), (true, "c"), (false, ".")]);
        assert_eq!(parts("`a`").collect::<Vec<_>>(), [(true, "a")]);
    }
}
