//! What a person reads: findings by group, what is wrong at length; and the long form of one finding.

use crate::cli::table::plain;
use crate::doctor::{Counts, Finding, Report, Step, Verdict};
use crate::trouble::{Explanation, Group, Trouble};

/// How wide ids are.
const IDS: usize = 20;
/// Where the text of a finding begins.
const INDENT: &str = "       ";

struct Paint(bool);

impl Paint {
    fn text(&self, text: &str, colour: &str) -> String {
        if self.0 { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// All findings, with colours or without.
pub(super) fn report(report: &Report, colours: bool) -> String {
    let paint = Paint(colours);
    let mut lines = Vec::new();
    for group in Group::ALL {
        let of_group = report.findings.iter().filter(|finding| finding.group == group.title());
        let told = findings(&of_group.collect::<Vec<_>>(), &paint);
        if !told.is_empty() {
            lines.push(paint.text(group.title(), "1"));
            lines.extend(told);
            lines.push(String::new());
        }
    }
    lines.extend(steps(&report.steps, &paint));
    lines.push(summary(&report.counts, &paint));
    joined(&lines)
}

/// What the client did that was played, and where it stopped.
fn steps(steps: &[Step], paint: &Paint) -> Vec<String> {
    let Some(first) = steps.first() else { return Vec::new() };
    let mut lines = vec![paint.text(&format!("As {}", plain(&first.client)), "1")];
    for (at, step) in steps.iter().enumerate() {
        let (mark, colour) = match (step.reached, step.ok) {
            (true, true) => ("ok", "32"),
            (true, false) => ("STOP", "31"),
            (false, true | false) => ("-", "2"),
        };
        let mark = paint.text(&format!("{mark:5}"), colour);
        lines.push(format!("  {mark}{}. {}: {}", at + 1, plain(&step.request), plain(&step.answer)));
        if step.reached && !step.ok {
            lines.push(format!("{INDENT}stops here, and shows: {}", plain(&step.shows)));
        }
    }
    lines.push(String::new());
    lines
}

fn joined(lines: &[String]) -> String {
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

/// Those of a group; what was not tried for the same reason stands in one line.
fn findings(all: &[&Finding], paint: &Paint) -> Vec<String> {
    let mut lines = Vec::new();
    let mut folded: Vec<(&str, &str)> = Vec::new();
    for one in all {
        let reason = (one.subject.as_str(), one.found.as_str());
        if one.verdict != Verdict::NotTried {
            lines.extend(finding(one, paint));
        } else if !folded.contains(&reason) {
            folded.push(reason);
            let alike = all.iter().filter(|other| {
                other.verdict == Verdict::NotTried && (other.subject.as_str(), other.found.as_str()) == reason
            });
            let mut ids: Vec<_> = alike.map(|other| other.id.as_str()).collect();
            ids.dedup();
            match ids.as_slice() {
                [_] => lines.extend(finding(one, paint)),
                several => {
                    let mark = paint.text(&format!("{:5}", "-"), "2");
                    let ids = several.join(", ");
                    lines.push(format!(
                        "  {mark}{ids}: {}not tried, because {}",
                        about(one),
                        plain(&one.found)
                    ));
                }
            }
        }
    }
    lines
}

/// Whom it is about, unless what was found says so itself.
fn about(finding: &Finding) -> String {
    let about = format!("{}: ", plain(&finding.subject));
    if finding.subject.is_empty() || plain(&finding.found).starts_with(&about) {
        String::new()
    } else {
        about
    }
}

fn finding(finding: &Finding, paint: &Paint) -> Vec<String> {
    let (mark, colour) = match finding.verdict {
        Verdict::Good => ("ok", "32"),
        Verdict::Remark => ("note", "33"),
        Verdict::Bad => ("BAD", "31"),
        Verdict::NotTried => ("-", "2"),
    };
    let mark = paint.text(&format!("{mark:5}"), colour);
    let about = about(finding);
    let because = if finding.verdict == Verdict::NotTried { "not tried, because " } else { "" };
    let mut lines = vec![format!("  {mark}{:IDS$}  {about}{because}{}", finding.id, plain(&finding.found))];
    if matches!(finding.verdict, Verdict::Good | Verdict::NotTried) {
        return lines;
    }
    let mut part = |name: &str, values: &[String]| {
        let names = std::iter::once(name).chain(std::iter::repeat(""));
        let values = values.iter().filter(|value| !value.is_empty());
        lines.extend(names.zip(values).map(|(name, value)| format!("{INDENT}{name:7} {}", plain(value))));
    };
    part("tried", std::slice::from_ref(&finding.tried));
    part("cause", std::slice::from_ref(&finding.cause));
    part("fix", &finding.fix);
    let shown = finding.clients.iter().map(|one| format!("{}: {}", one.client, one.shows));
    part("shown", &shown.collect::<Vec<_>>());
    lines
}

fn summary(counts: &Counts, paint: &Paint) -> String {
    let Counts { good, remark, bad, not_tried } = *counts;
    let mut parts = vec![format!("{good} good")];
    if remark > 0 {
        parts.push(paint.text(&format!("{remark} worth knowing"), "33"));
    }
    if bad > 0 {
        parts.push(paint.text(&format!("{bad} wrong"), "31"));
    }
    if not_tried > 0 {
        parts.push(format!("{not_tried} not tried"));
    }
    let more = if bad + remark > 0 { "; more of each: portcullis doctor --explain ID" } else { "" };
    format!("{}{more}", parts.join(", "))
}

/// Every finding's id, by group.
pub(super) fn index() -> String {
    let of = |group: Group| {
        let troubles = Trouble::ALL.iter().filter(move |trouble| trouble.group() == group);
        let line = |trouble: &Trouble| format!("  {:IDS$}  {}", trouble.id(), trouble.explanation().symptom);
        std::iter::once(group.title().to_owned()).chain(troubles.map(line))
    };
    joined(&Group::ALL.into_iter().flat_map(of).collect::<Vec<_>>())
}

/// All that there is to say of one.
pub(super) fn explanation(trouble: Trouble, colours: bool) -> String {
    let Explanation { symptom, cause, fix, portcullis, clients } = trouble.explanation();
    let paint = Paint(colours);
    let mut lines = vec![format!("{}  ({})", paint.text(trouble.id(), "1"), trouble.group().title())];
    let mut part = |name: &str, told: &[String]| {
        if !told.is_empty() {
            lines.extend([String::new(), paint.text(name, "1")]);
            lines.extend(told.iter().map(|line| format!("  {line}")));
        }
    };
    part("What is seen", &[(*symptom).to_owned()]);
    part("Why", &[(*cause).to_owned()]);
    let steps: Vec<_> = fix.iter().enumerate().map(|(at, step)| format!("{}. {step}", at + 1)).collect();
    part("What to do", &steps);
    part("What Portcullis does", &[(*portcullis).to_owned()]);
    let shown: Vec<_> = clients.iter().map(|(client, shows)| format!("{client}: {shows}")).collect();
    part("What clients show", &shown);
    joined(&lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{Examination, Remedy, Trial};

    #[test]
    fn a_person_reads_what_is_wrong_and_what_to_do() {
        let examination = Examination::new(&());
        examination.good(Trouble::Dns, "a.example", Trial::new("A and AAAA", "192.0.2.1 answers\x1b[2J"));
        let trial = Trial::new("GET https://a.example/.well-known/oauth-protected-resource/mcp", "404");
        examination.bad(
            Trouble::PrmMissing,
            "fetch",
            trial,
            Remedy::new("A proxy.", ["Pass it.", "Reload it."]),
        );
        examination.not_tried(&[Trouble::PrmResource], "fetch", "there is no document");
        let expected = "\
Reaching it
  ok   dns                   a.example: 192.0.2.1 answers?[2J

Discovery
  BAD  prm-404               fetch: 404
       tried   GET https://a.example/.well-known/oauth-protected-resource/mcp
       cause   A proxy.
       fix     Pass it.
               Reload it.
       shown   TypeScript SDK: Resource server does not implement OAuth 2.0 Protected Resource Metadata.
               Claude: Couldn't reach the MCP server
  -    prm-resource          fetch: not tried, because there is no document

1 good, 1 wrong, 1 not tried; more of each: portcullis doctor --explain ID
";
        assert_eq!(report(&examination.conclude(""), false), expected);
    }

    #[test]
    fn what_was_not_tried_for_one_reason_stands_in_one_line_and_no_name_stands_twice() {
        let examination = Examination::new(&());
        let discovery = [Trouble::PrmMissing, Trouble::PrmResource, Trouble::Cors];
        examination.not_tried(&discovery, "", "the configuration is not good");
        examination.not_tried(&[Trouble::Cert], "", "the configuration is not good");
        examination.bad(
            Trouble::Dns,
            "a:1",
            Trial::new("A", "a:1: refused"),
            Remedy::new("Nobody.", ["Start it."]),
        );
        let expected = "\
Reaching it
  BAD  dns                   a:1: refused
       tried   A
       cause   Nobody.
       fix     Start it.
       shown   Claude: Couldn't reach the MCP server
  -    cert                  not tried, because the configuration is not good

Discovery
  -    prm-404, prm-resource, cors: not tried, because the configuration is not good

0 good, 1 wrong, 4 not tried; more of each: portcullis doctor --explain ID
";
        assert_eq!(report(&examination.conclude(""), false), expected);
    }

    #[test]
    fn a_client_s_steps_are_numbered_and_end_where_it_stops() {
        let examination = Examination::new(&());
        for (request, answer, ok) in [
            ("POST https://a.example/mcp", "401", true),
            ("GET https://a.example/x", "404", false),
            ("the browser", "not reached", false),
        ] {
            let shows = if ok { "" } else { "Failed" }.to_owned();
            examination.step(Step {
                client: "Claude".into(),
                request: request.into(),
                answer: answer.into(),
                ok,
                reached: request != "the browser",
                shows,
            });
        }
        let expected = "\
As Claude
  ok   1. POST https://a.example/mcp: 401
  STOP 2. GET https://a.example/x: 404
       stops here, and shows: Failed
  -    3. the browser: not reached

0 good
";
        assert_eq!(report(&examination.conclude(""), false), expected);
    }

    #[test]
    fn every_finding_has_a_long_form_and_a_line_in_the_index() {
        let index = index();
        for trouble in Trouble::ALL {
            assert!(index.contains(&format!("  {:IDS$}  ", trouble.id())), "{trouble}");
            let text = explanation(*trouble, false);
            assert!(text.starts_with(trouble.id()) && text.contains("\nWhat to do\n  1. "), "{text}");
        }
    }
}
