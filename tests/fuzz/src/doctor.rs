//! What doctor reads of servers that it knows nothing of.

use portcullis::doctor::outside::challenge::{Challenge, read};

/// Whatever is read can be written and read again; nothing is read that is not there.
pub(crate) fn challenge(data: &[u8]) {
    let fields: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let Ok(challenges) = read(fields.iter().copied()) else { return };
    let length: usize = challenges.iter().map(size).sum();
    assert!(length <= data.len() * 3, "more was read than is there");
    assert!(challenges.iter().all(|one| !one.scheme.is_empty()));
    assert!(challenges.iter().all(|one| one.token68.is_none() || one.parameters.is_empty()));
    let written: Vec<String> = challenges.iter().map(written).collect();
    assert_eq!(read(written.iter().map(String::as_bytes)).unwrap(), challenges);
}

fn size(challenge: &Challenge) -> usize {
    let parameters: usize = challenge.parameters.iter().map(|(name, value)| name.len() + value.len()).sum();
    challenge.scheme.len() + challenge.token68.as_ref().map_or(0, String::len) + parameters
}

fn written(challenge: &Challenge) -> String {
    let quoted = |(name, value): &(String, String)| {
        format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
    };
    let parameters: Vec<String> = challenge.parameters.iter().map(quoted).collect();
    let rest = challenge.token68.clone().unwrap_or_else(|| parameters.join(", "));
    format!("{} {rest}", challenge.scheme)
}
