//! `access`: who may come in.

use super::problem::{Findings, Position};
use super::raw::{Access, Given, Texts};
use crate::policy::AccessRules;

/// The identity provider, as far as rules depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provider {
    GitHub,
    Dev,
}

/// Rules and where they stand.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) at: Position,
    pub(super) rules: AccessRules,
}

/// Checks one `access` section.
pub(super) fn rules(given: &Given<Access>, provider: Option<Provider>, findings: &mut Findings) -> Rules {
    let mut rules = AccessRules::default();
    let Some(access) = &given.value else { return Rules { at: given.at, rules } };
    for entry in entries(access.users.as_ref()) {
        collect(user(entry, provider, findings), &mut rules.users);
    }
    for entry in entries(access.orgs.as_ref()) {
        if provider == Some(Provider::Dev) {
            findings.refuse(
                entry.at,
                "the dev identity knows no organisations; write `users`, such as users: \"*\"",
            );
        } else {
            collect(name(entry, "organisation", findings), &mut rules.orgs);
        }
    }
    for entry in entries(access.teams.as_ref()) {
        if provider == Some(Provider::Dev) {
            findings.refuse(entry.at, "the dev identity knows no teams; write `users`, such as users: \"*\"");
        } else {
            collect(team(entry, findings), &mut rules.teams);
        }
    }
    Rules { at: given.at, rules }
}

/// Checks `admins`: users as under `access.users`, by name; everybody is nobody's administrator.
pub(super) fn admins(
    field: Option<&Given<Texts>>,
    provider: Option<Provider>,
    findings: &mut Findings,
) -> AccessRules {
    let mut rules = AccessRules::default();
    for entry in entries(field) {
        if entry.value.as_deref() == Some("*") {
            let text = "administrators see who fails and why, so not everybody can be one; write logins, or github: and numbers";
            findings.refuse(entry.at, text);
        } else {
            collect(user(entry, provider, findings), &mut rules.users);
        }
    }
    rules
}

fn entries(field: Option<&Given<Texts>>) -> impl Iterator<Item = &Given<String>> {
    field.and_then(|field| field.value.as_ref()).into_iter().flatten()
}

fn collect(rule: Option<String>, rules: &mut Vec<String>) {
    if let Some(rule) = rule.filter(|rule| !rules.contains(rule)) {
        rules.push(rule);
    }
}

/// `*`, a subject, or a login.
pub(super) fn user(
    given: &Given<String>,
    provider: Option<Provider>,
    findings: &mut Findings,
) -> Option<String> {
    let text = given.value.as_deref()?;
    if text == "*" {
        return Some(text.into());
    }
    let Some((prefix, id)) = text.split_once(':') else {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            findings.remark(
                given.at,
                format!("`{text}` is taken for a login; a numeric id is written github:{text}"),
            );
        }
        return name(given, "login", findings);
    };
    let (known, refused) = match prefix {
        "github" if is_number(id) => (Provider::GitHub, None),
        "github" => {
            let text =
                format!("`{text}` has no numeric id; write the login alone, or github: and the number");
            (Provider::GitHub, Some(text))
        }
        "dev" if !id.is_empty() && !id.contains(|c: char| c.is_whitespace() || c.is_control()) => {
            (Provider::Dev, None)
        }
        _ => {
            let text = format!("`{text}` names nobody; write a login, github:583231, dev:NAME or \"*\"");
            (Provider::Dev, Some(text))
        }
    };
    if let Some(refused) = refused {
        findings.refuse(given.at, refused);
        return None;
    }
    if provider.is_some_and(|provider| provider != known) {
        findings.remark(given.at, format!("`{text}` is nobody that this identity provider signs in"));
    }
    Some(text.into())
}

fn is_number(text: &str) -> bool {
    text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit()) && text.starts_with(|c| c != '0')
}

/// A login or an organisation's name by GitHub's rules, in lower case: letters, digits and single hyphens inside, at
/// most 39; and the underscore of managed accounts.
pub(super) fn name(given: &Given<String>, what: &str, findings: &mut Findings) -> Option<String> {
    let text = given.value.as_deref()?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let refused = if let Some(bare) = text.strip_prefix('@') {
        format!("`{text}` is no {what}; write {bare} without the @")
    } else if text.contains('@') {
        format!("an e-mail address is no {what}; write the {what}")
    } else if text.contains('/') {
        format!("`{text}` is no {what}; write the {what} alone")
    } else if text.len() > 39
        || !text.bytes().all(allowed)
        || text.starts_with('-')
        || text.ends_with('-')
        || text.contains("--")
    {
        format!(
            "`{text}` is no {what} that GitHub allows; write letters, digits and single hyphens, at most 39"
        )
    } else {
        return Some(text.to_ascii_lowercase());
    };
    findings.refuse(given.at, refused);
    None
}

/// `organisation/team` in lower case; the team by its slug, as in its URL at GitHub.
pub(super) fn team(given: &Given<String>, findings: &mut Findings) -> Option<String> {
    let text = given.value.as_deref()?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let refused = match text.split_once('/') {
        _ if text.starts_with('@') => {
            format!("`{text}` is no team; write {} without the @", text.trim_start_matches('@'))
        }
        Some((org, slug)) if !org.is_empty() && !slug.is_empty() && !slug.contains('/') => {
            let org = Given { at: given.at, value: Some(org.to_owned()) };
            let org = name(&org, "organisation", findings)?;
            if slug.len() <= 100 && slug.bytes().all(allowed) {
                return Some(format!("{org}/{}", slug.to_ascii_lowercase()));
            }
            format!(
                "`{slug}` is no team's name in a URL; write it as GitHub does there, in letters, digits and hyphens"
            )
        }
        Some(_) | None => {
            format!("`{text}` is no team; write ORGANISATION/TEAM, such as example/platform")
        }
    };
    findings.refuse(given.at, refused);
    None
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn told(text: &str, provider: Provider) -> Result<String, Vec<String>> {
        let mut findings = Findings::of(Path::new("p"));
        let given = Given { at: Position::start(0), value: Some(text.into()) };
        let rule = user(&given, Some(provider), &mut findings);
        let ((), lines) = findings.conclude(Some(())).map_err(|problems| problems.lines().to_vec())?;
        if lines.is_empty() { Ok(rule.unwrap()) } else { Err(lines) }
    }

    #[test]
    fn logins_are_lower_case_and_subjects_stay() {
        for (text, rule) in
            [("Octocat", "octocat"), ("a-b_c", "a-b_c"), ("*", "*"), ("github:583231", "github:583231")]
        {
            assert_eq!(told(text, Provider::GitHub).as_deref(), Ok(rule));
        }
        assert_eq!(told("dev:Ada", Provider::Dev).as_deref(), Ok("dev:Ada"));
    }

    #[test]
    fn what_names_nobody_is_told() {
        for text in [
            "-a",
            "a-",
            "a--b",
            "a b",
            "@a",
            "a@b.c",
            "github:",
            "github:a",
            "github:007",
            "gitlab:1",
            "dev:",
            "é",
            "",
        ] {
            assert!(told(text, Provider::GitHub).is_err(), "{text}");
        }
        assert!(told(&"a".repeat(40), Provider::GitHub).is_err());
        assert!(told(&"a".repeat(39), Provider::GitHub).is_ok());
    }

    #[test]
    fn a_subject_of_the_other_provider_is_remarked() {
        assert!(
            told("github:1", Provider::Dev).unwrap_err()[0].contains("nobody that this identity provider")
        );
        assert!(
            told("dev:ada", Provider::GitHub).unwrap_err()[0].contains("nobody that this identity provider")
        );
        assert!(told("583231", Provider::GitHub).unwrap_err()[0].contains("github:583231"));
    }
}
