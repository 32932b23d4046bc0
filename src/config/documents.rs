//! `clients.documents`: whose Client ID Metadata Documents are accepted (M9).

use super::problem::Findings;
use super::raw::{Documents, File, Given, Texts};
use crate::oauth::{DocumentRules, HostPattern};

/// The most that `max_bytes` may be: a document is read by whoever opens a URL of ours.
const MOST: u64 = 64 * 1024;

/// The rules, the usual ones if nothing is said; `None` inside for `off`.
#[expect(clippy::option_option, reason = "outside: whether it could be read; inside: whether it is on")]
pub(super) fn check(raw: &File, findings: &mut Findings) -> Option<Option<DocumentRules>> {
    let Some(clients) = &raw.clients else { return Some(Some(DocumentRules::default())) };
    let Some(given) = &clients.value.as_ref()?.documents else { return Some(Some(DocumentRules::default())) };
    let documents = given.value.as_ref()?;
    match &documents.word {
        None => rules(documents, findings).map(Some),
        Some(word) => match word.value.as_deref()? {
            "off" | "false" => Some(None),
            other => {
                let text = format!(
                    "`{other}` is nothing that `documents` can be; write off, or {{ allow: [HOST] }}"
                );
                findings.refuse(given.at, text);
                None
            }
        },
    }
}

fn rules(raw: &Documents, findings: &mut Findings) -> Option<DocumentRules> {
    if let Some(Given { at, value: Some(list) }) = &raw.allow
        && list.is_empty()
    {
        findings
            .refuse(*at, "`allow` is empty; write documents: off, or take it away to accept every host's");
    }
    let (allow, deny) = (hosts(raw.allow.as_ref(), findings), hosts(raw.deny.as_ref(), findings));
    let max_bytes = match &raw.max_bytes {
        None => DocumentRules::default().max_bytes,
        Some(given) => {
            let number = given.value?;
            if !(1..=MOST).contains(&number) {
                findings.refuse(given.at, format!("`max_bytes` is not from 1 to {MOST}; write 5120"));
                return None;
            }
            usize::try_from(number).ok()?
        }
    };
    Some(DocumentRules { allow: allow?, deny: deny?, max_bytes })
}

/// The patterns of a list; `None` if one of them is none.
fn hosts(field: Option<&Given<Texts>>, findings: &mut Findings) -> Option<Vec<HostPattern>> {
    let given = field.into_iter().filter_map(|field| field.value.as_ref()).flatten();
    let read: Vec<_> = given.map(|given| host(given, findings)).collect();
    read.into_iter().collect()
}

fn host(given: &Given<String>, findings: &mut Findings) -> Option<HostPattern> {
    let text = given.value.as_deref()?;
    let pattern = HostPattern::parse(text);
    if pattern.is_none() {
        let text =
            format!("`{text}` is no host; write a name such as claude.ai, or *.example.com for all below it");
        findings.refuse(given.at, text);
    }
    pattern
}
