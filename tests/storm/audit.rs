//! What the processes' audit log must be, whatever the weather.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// The audit lines of a log, each held against the operators' table (deploy/OPERATIONS.md).
pub(crate) fn events(log: &str) -> Vec<Value> {
    let table = table();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let events: Vec<Value> = lines.filter(|line| line["target"] == "audit").collect();
    for event in &events {
        let always = ["timestamp", "level", "target", "event", "address", "request_id"];
        let fields = &table[event["event"].as_str().unwrap()];
        for field in event.as_object().unwrap().keys() {
            let known = always.contains(&field.as_str()) || fields.contains(field);
            assert!(known, "deploy/OPERATIONS.md does not have {field} of {event}");
        }
    }
    events
}

/// How often an event was told of each grant.
pub(crate) fn by_grant(events: &[Value], name: &str) -> BTreeMap<String, usize> {
    let mut grants = BTreeMap::new();
    for event in events.iter().filter(|event| event["event"] == name) {
        *grants.entry(event["grant"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    grants
}

/// The fields of each event, by deploy/OPERATIONS.md.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let readme = include_str!("../../deploy/OPERATIONS.md");
    let section = readme.split_once("\n## Audit events\n").unwrap().1.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let fields = |row: &str| {
        let fields = row.split('|').nth(2).unwrap().split_whitespace();
        fields.map(|field| field.trim_matches('`').to_owned()).collect()
    };
    rows.map(|(name, rest)| (name.to_owned(), fields(rest))).collect()
}
