//! Takes out of a text what nobody else may see: secrets that are known, and whatever looks like one. It rather takes too much.

use super::super::table::plain;

/// What stands in the place of a secret.
const GONE: &str = "[redacted]";

/// The shortest text that counts as a known secret: a shorter one would tear holes into words.
const SHORTEST: usize = 4;

/// A run of characters that nobody types is as long as this.
const RANDOM: usize = 40;

/// Reads a text line by line.
pub(super) struct Redactor {
    /// The longest first: one may be a part of another.
    known: Vec<String>,
    /// Inside of a PEM block.
    pem: bool,
}

impl Redactor {
    /// One that knows these secrets, also as URLs write them.
    pub(super) fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let lines = secrets
            .into_iter()
            .flat_map(|secret| secret.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>());
        let mut known: Vec<_> = lines
            .filter(|secret| secret.len() >= SHORTEST)
            .flat_map(|secret| [in_url(&secret), out_of_url(&secret), in_json(&secret), secret])
            .collect();
        known.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        known.dedup();
        Self { known, pem: false }
    }

    /// All lines of a text.
    pub(super) fn text(&mut self, text: &str) -> String {
        self.pem = false;
        let lines: Vec<_> = text.lines().filter_map(|line| self.line(line)).collect();
        lines.join("\n")
    }

    /// A line; none if it is in a PEM block.
    pub(super) fn line(&mut self, line: &str) -> Option<String> {
        // What is known before anything is cut that it may be a part of, and once more, for a URL may have hidden it.
        let line = self.without_pem(line)?;
        let line = self.without_known(&line);
        let line = self.without_known(&urls(&line));
        let line = without_headers(&line);
        let line = without_named(&line);
        let line = without_addresses(&line);
        Some(plain(&words(&line)))
    }

    fn without_known(&self, line: &str) -> String {
        let here = self.known.iter().filter(|secret| line.contains(secret.as_str()));
        here.fold(line.to_owned(), |line, secret| line.replace(secret.as_str(), GONE))
    }

    fn without_pem(&mut self, line: &str) -> Option<String> {
        const BEGIN: &str = "-----BEGIN ";
        const END: &str = "-----END ";
        if self.pem {
            self.pem = !line.contains(END) && is_base64(line);
            return (!self.pem && !line.contains(END)).then(|| line.to_owned());
        }
        let Some((before, block)) = line.split_once(BEGIN) else { return Some(line.to_owned()) };
        let rest =
            block.split_once(END).map(|(_, rest)| rest.split_once("-----").map_or("", |(_, rest)| rest));
        self.pem = rest.is_none();
        Some(format!("{before}{GONE}{}", rest.unwrap_or_default()))
    }
}

/// The rest of a block that is broken off must not take the whole log with it.
fn is_base64(line: &str) -> bool {
    let line = line.rsplit("| ").next().unwrap_or_default().trim();
    line.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
}

fn in_url(secret: &str) -> String {
    percent_encoding::utf8_percent_encode(secret, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn out_of_url(secret: &str) -> String {
    percent_encoding::percent_decode_str(secret).decode_utf8_lossy().into_owned()
}

fn in_json(secret: &str) -> String {
    let quoted = serde_json::to_string(secret).unwrap_or_default();
    quoted.trim_matches('"').to_owned()
}

/// Headers whose whole value is secret, and what comes behind a scheme of `Authorization`.
fn without_headers(line: &str) -> String {
    const HEADERS: [&str; 5] = ["proxy-authorization", "authorization", "set-cookie", "cookie", "x-api-key"];
    const SCHEMES: [&str; 4] = ["bearer ", "basic ", "dpop ", "digest "];
    let mut line = line.to_owned();
    for header in HEADERS {
        line = each(&line, header, |rest| {
            let value = rest.trim_start_matches(['"', '\'', '\\', ' ']);
            let value = value.strip_prefix([':', '='])?.trim_start();
            let (start, quote) = match value.strip_prefix("\\\"").or(value.strip_prefix('"')) {
                Some(inner) => (inner, true),
                None => (value, false),
            };
            let length = if quote { quoted_length(start, '"') } else { start.len() };
            Some((rest.len() - start.len(), length))
        });
    }
    for scheme in SCHEMES {
        line = each(&line, scheme, |rest| {
            let length =
                rest.find(|c: char| c.is_whitespace() || "\"',;\\".contains(c)).unwrap_or(rest.len());
            (!is_no_credential(scheme, &rest[..length])).then_some((0, length))
        });
    }
    line
}

/// `Bearer realm="…"` is a challenge, and English is no credential.
fn is_no_credential(scheme: &str, value: &str) -> bool {
    const WORDS: [&str; 8] = [
        "authentication",
        "authorization",
        "challenge",
        "challenges",
        "credential",
        "credentials",
        "protected",
        "requests",
    ];
    let word = value.trim_end_matches(['.', ':', '!', '?', ')', '`']);
    let is_short = word.len() < 8 && !word.bytes().any(|byte| byte.is_ascii_digit());
    // What follows these two is base64 or has `=` in it.
    let is_prose =
        ["basic ", "digest "].contains(&scheme) && word.bytes().all(|byte| byte.is_ascii_lowercase());
    is_short || is_prose || value.starts_with("realm=") || WORDS.contains(&word.to_ascii_lowercase().as_str())
}

/// Replaces what `found` says (from where on behind a name, and how many bytes) behind each `name`, in any case.
fn each(line: &str, name: &str, found: impl Fn(&str) -> Option<(usize, usize)>) -> String {
    let lower = line.to_ascii_lowercase();
    let mut told = String::new();
    let mut from = 0;
    while let Some(at) = lower[from..].find(name) {
        let behind = from + at + name.len();
        let Some((offset, length)) = found(&line[behind..]).filter(|(_, length)| *length > 0) else {
            told += &line[from..behind];
            from = behind;
            continue;
        };
        told += &line[from..behind + offset];
        told += GONE;
        from = behind + offset + length;
    }
    told + &line[from..]
}

/// Up to the quote that ends a text.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if c == quote && !escaped => return at,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// Values of names that say what they are: `client_secret=…`, `"refresh_token": "…"`, `PASSWORD: …`, `'pwd' => '…'`.
fn without_named(line: &str) -> String {
    let mut told = String::new();
    let mut from = 0;
    for (at, separator) in line.char_indices().filter(|(_, c)| *c == '=' || *c == ':') {
        let name = line[..at].trim_end_matches(['"', '\\', '\'', ' ', '\t']);
        let name = name.rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-')).next();
        let Some(name) = name.filter(|name| at >= from && is_secretive(name)) else { continue };
        let rest = &line[at + separator.len_utf8()..];
        let is_value = separator == '=' || rest.starts_with([' ', '\t', '"', '\'', '\\', '[', '{']);
        let (value, length) = value_of(rest);
        let is_value = is_value || (is_password(name) && !rest.starts_with(':'));
        if !is_value || is_harmless(name, value, &value[..length]) {
            continue;
        }
        let start = line.len() - value.len();
        told += &line[from..start];
        told += GONE;
        from = start + length;
    }
    told + &line[from..]
}

/// Where a value begins behind its separator, and how long it is: one in quotes, a list, an object, or a word.
fn value_of(rest: &str) -> (&str, usize) {
    let value = rest.trim_start_matches([' ', '\t', '=', '>']);
    if let Some(inner) = value.strip_prefix("\\\"") {
        let mut ends = inner.match_indices("\\\"").map(|(at, _)| at);
        return (inner, ends.find(|at| !inner[..*at].ends_with('\\')).unwrap_or(inner.len()));
    }
    if let Some(inner) = value.strip_prefix('"') {
        return (inner, quoted_length(inner, '"'));
    }
    if let Some(inner) = value.strip_prefix('\'') {
        return (inner, quoted_length(inner, '\''));
    }
    if value.starts_with(['[', '{']) && !value.starts_with(GONE) {
        return (value, list_length(value));
    }
    (value, word_length(value))
}

/// Up to the end of what its first bracket opens.
fn list_length(text: &str) -> usize {
    let (mut depth, mut quote) = (0_usize, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') if depth == 1 => return at + 1,
            (None, ']' | '}') => depth -= 1,
            (None | Some(_), _) => {}
        }
    }
    text.len()
}

/// What is no value, `${NAME}`, a rate of `limits.token`, and the code of an error are no secrets.
fn is_harmless(name: &str, value: &str, shown: &str) -> bool {
    let nothing = ["", "null", "true", "false", "none", "[", "{", "[]", "{}", GONE];
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_rate = shown.split_once('/').is_some_and(|(count, unit)| is_number(count) && unit.len() == 1);
    let is_status = name.eq_ignore_ascii_case("code") && shown.len() <= 3 && is_number(shown);
    nothing.contains(&shown.trim().to_lowercase().as_str())
        || value.starts_with(GONE)
        || is_variable(shown)
        || is_rate
        || is_status
}

/// Up to the end of a value without quotes.
fn word_length(value: &str) -> usize {
    // The brace of a variable ends nothing else.
    let from = if value.starts_with("${") { value.find('}').map_or(0, |at| at + 1) } else { 0 };
    let is_end = |(at, c): &(usize, char)| {
        c.is_whitespace()
            || "\"',;})]".contains(*c)
            || (*c == '&' && begins_parameter(&value[from + at + 1..]))
    };
    value[from..].char_indices().find(is_end).map_or(value.len(), |(at, _)| from + at)
}

/// Whether `NAME=` comes; any other `&` may be a part of a password.
fn begins_parameter(text: &str) -> bool {
    let name =
        text.find(|c: char| !(c.is_ascii_alphanumeric() || "_-.%[]".contains(c))).unwrap_or(text.len());
    name > 0 && text[name..].starts_with('=')
}

/// `${NAME}` without a default, and nothing else.
pub(super) fn is_variable(text: &str) -> bool {
    let name = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    name.map(|name| name.split(":?").next().unwrap_or_default()).is_some_and(|name| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

/// Whether a name is that of something secret.
pub(super) fn is_secretive(name: &str) -> bool {
    const ENDS: [&str; 15] = [
        "token",
        "verifier",
        "api_key",
        "apikey",
        "access_key",
        "accesskey",
        "private_key",
        "privatekey",
        "_secret_key",
        "_secret_key_previous",
        "assertion",
        "credential",
        "sessionid",
        "session_id",
        "sessid",
    ];
    const WHOLE: [&str; 7] =
        ["code", "secret_key", "secretkey", "secret_key_previous", "requirepass", "pass", "cookie"];
    let name = name.to_ascii_lowercase().replace('-', "_");
    is_password(&name) || ENDS.iter().any(|end| name.ends_with(end)) || WHOLE.contains(&name.as_str())
}

/// Whether nothing else than a secret stands behind such a name, however it is separated.
fn is_password(name: &str) -> bool {
    const ENDS: [&str; 5] = ["secret", "password", "passwd", "passphrase", "pwd"];
    let name = name.to_ascii_lowercase();
    ENDS.iter().any(|end| name.ends_with(end))
}

/// URLs and paths lose user, password and query.
fn urls(line: &str) -> String {
    let is_edge = |c: char| c.is_whitespace() || "\"'<>`|".contains(c);
    split(line, is_edge, |word| without_query(&without_user(word)))
}

/// Long random texts go.
fn words(line: &str) -> String {
    let is_edge = |c: char| c.is_whitespace() || "\"'<>(){}[],;`|".contains(c);
    split(line, is_edge, without_random)
}

fn split(line: &str, is_edge: impl Fn(char) -> bool, change: impl Fn(&str) -> String) -> String {
    let mut told = String::new();
    for piece in line.split_inclusive(&is_edge) {
        let word = piece.strip_suffix(&is_edge).unwrap_or(piece);
        told += &if word.len() < SHORTEST { word.to_owned() } else { change(word) };
        told += &piece[word.len()..];
    }
    told
}

/// A URL or a path without what is asked of it.
fn without_query(word: &str) -> String {
    match word.split_once('?') {
        Some((path, query)) if path.contains('/') && !query.is_empty() => format!("{path}?{GONE}"),
        Some(_) | None => word.to_owned(),
    }
}

/// A URL without its user and password, which end at the last `@`: one with a slash or a question mark in it is no URL's, and is gone
/// all the same.
fn without_user(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else { return word.to_owned() };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // Pages have an `@` in what is asked of them.
    let is_page = scheme.ends_with("http") || scheme.ends_with("https");
    let end = match host.rfind('@') {
        Some(at) if is_page => Some(at),
        None if is_page && is_host(host) && rest[host.len()..].starts_with('/') => {
            rest.split('?').next().unwrap_or_default().rfind('@')
        }
        Some(_) | None => rest.rfind('@'),
    };
    end.map_or_else(|| word.to_owned(), |at| format!("{scheme}://{GONE}@{}", without_user(&rest[at + 1..])))
}

/// Whether it is a host's name and port, and nothing of a password.
fn is_host(text: &str) -> bool {
    let (name, port) = text.rsplit_once(':').unwrap_or((text, ""));
    !name.is_empty()
        && name.chars().all(|c| c.is_alphanumeric() || "-.[:]".contains(c))
        && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Addresses go: of each `@`, as it is or as URLs and JSON write it, what stands before and behind it.
fn without_addresses(line: &str) -> String {
    const AT: [&str; 4] = ["@", "%40", "%2540", "\\u0040"];
    let mut told = String::new();
    let (mut from, mut next) = (0, 0);
    while let Some(at) = line[next..].find(['@', '%', '\\']).map(|at| next + at) {
        let mark = AT.iter().find(|mark| line[at..].starts_with(**mark));
        next = at + mark.map_or(1, |mark| mark.len());
        // Most have no host behind them, and what stands before those is not looked at: lines may be long.
        let behind = mark.map(|_| mail_host(&line[next..])).filter(|behind| !behind.is_empty());
        let Some((behind, before)) = behind.map(|behind| (behind, local(&line[from..at]))) else { continue };
        if !before.is_empty() {
            told += &line[from..at - before.len()];
            told += "[e-mail]";
            next += behind.len();
            from = next;
        }
    }
    told + &line[from..]
}

/// What stands before the `@`, as far as people have such names.
fn local(before: &str) -> &str {
    let is_inside = |c: char| c.is_alphanumeric() || "._+-%".contains(c);
    let start = before
        .rfind(|c| !is_inside(c))
        .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    let local = &before[start..];
    // The letter of `\n` is none of the name's.
    let is_escape = before[..start].ends_with('\\') && local.starts_with(['n', 'r', 't']);
    if is_escape { &local[1..] } else { local }
}

/// The host at the start, if it may be one of mail: `portcullis@1.service` and `name@version` are none.
fn mail_host(behind: &str) -> &str {
    let end = behind.find(|c: char| !(c.is_alphanumeric() || c == '-' || c == '.')).unwrap_or(behind.len());
    let host = behind[..end].trim_end_matches(['.', '-']);
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_name = host.contains('.')
        && last != "service"
        && last.chars().count() > 1
        && (last.chars().all(char::is_alphabetic) || last.starts_with("xn--"));
    let is_ours = host == "localhost" || host.parse::<std::net::Ipv4Addr>().is_ok();
    if is_name || is_ours { host } else { "" }
}

/// Runs of characters that only a program makes: tokens, keys, MACs, cookies, JWTs. What has 22 characters (ids of requests, grants
/// and clients) or 32 digits (a trace's) stays: those are what somebody who helps asks for.
fn without_random(word: &str) -> String {
    let is_inside = |c: char| c.is_ascii_alphanumeric() || "-_.~+/%".contains(c);
    let mut told = String::new();
    let mut rest = word;
    while !rest.is_empty() {
        let length = rest.find(|c| !is_inside(c)).unwrap_or(rest.len());
        let (run, behind) = rest.split_at(length);
        told += if is_random(run) { GONE } else { run };
        let next = behind.find(is_inside).unwrap_or(behind.len());
        // The padding of what is gone goes, too.
        told += if is_random(run) { behind[..next].trim_start_matches('=') } else { &behind[..next] };
        rest = &behind[next..];
    }
    told
}

fn is_random(run: &str) -> bool {
    const PREFIXES: [&str; 7] = ["gho_", "ghp_", "ghu_", "ghs_", "ghr_", "github_pat_", "eyJ"];
    if run.len() > 16 && PREFIXES.iter().any(|prefix| run.starts_with(prefix)) {
        return true;
    }
    // A path's segments are looked at each for itself, a token's parts together.
    run.split('/').any(|part| {
        let has = |kind: fn(&u8) -> bool| part.as_bytes().iter().any(kind);
        let mixed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase);
        let mixed = mixed && (has(u8::is_ascii_digit) || is_no_word(part));
        let hexadecimal = part.bytes().all(|byte| byte.is_ascii_hexdigit());
        part.len() >= RANDOM && (mixed || hexadecimal)
    }) || is_base64_key(run)
}

/// Whether capitals stand together, and behind small letters, more often than in names of many words.
fn is_no_word(text: &str) -> bool {
    let count = |is: fn(&[u8]) -> bool| text.as_bytes().windows(2).filter(|pair| is(pair)).count();
    count(|pair| pair.iter().all(u8::is_ascii_uppercase)) > 2
        && count(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase()) > 2
}

/// Base64 with slashes in it, of 32 bytes or more.
fn is_base64_key(run: &str) -> bool {
    let has = |kind: fn(&u8) -> bool| run.as_bytes().iter().filter(|byte| kind(byte)).count() > 3;
    let plain = run.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte));
    plain
        && run.len() >= RANDOM
        && !run.starts_with('/')
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JWT: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJkZXY6YWxpY2UifQ.c2lnbmF0dXJlLXNpZ25hdHVyZQ";
    const REFRESH: &str =
        "AQIDBAUGBwgJCgsMDQ4PEA.kX3bq0Rr1m2c0sYpR1m9xQ.12.q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA";
    const CODE: &str = "kX3bq0Rr1m2c0sYpR1m9xQ.q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA";
    const COOKIE: &str = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA";

    fn redacted(text: &str) -> String {
        Redactor::new(["planted/secret 1".to_owned(), "hunter2%2Dhunter2".to_owned()]).text(text)
    }

    // trouble: bundle
    #[test]
    fn whatever_is_secret_is_gone_wherever_it_stands() {
        let hex = "5a".repeat(32);
        for secret in [
            JWT,
            REFRESH,
            CODE,
            COOKIE,
            hex.as_str(),
            "gho_16C7e42F292c6912E7710c838347Ae178B4a",
            "q83vEjRWeJCrze8/NFZ4kKvN7xI0VniQq83vEjRWeJA=",
        ] {
            for line in [
                secret.to_owned(),
                format!("it said {secret}, and more"),
                format!("x=\"{secret}\" y=1"),
                format!("{{\"x\":\"{secret}\",\"y\":1}}"),
                format!("Authorization: Bearer {secret}"),
                format!("headers={{\"authorization\": \"Bearer {secret}\", \"accept\": \"*/*\"}}"),
                format!("https://a.example/callback?code={secret}&state=x"),
                format!("/callback?code={secret}"),
                format!("grant_type=authorization_code&code={secret}"),
                format!("https://a.example/{secret}/x"),
            ] {
                // Slashes that stand in a path are taken for the path's.
                if secret.contains('/') && line.starts_with("https://a.example/q") {
                    continue;
                }
                let told = redacted(&line);
                assert!(!told.contains(secret.trim_end_matches('=')), "{line}: {told}");
                assert!(told.contains(GONE), "{told}");
            }
        }
    }

    #[test]
    fn short_secrets_go_by_what_stands_before_them() {
        for (line, told) in [
            ("redis://:hunter3@redis:6379/0", "redis://[redacted]@redis:6379/0"),
            ("rediss://user:hun/ter3@[::1]:6380/", "rediss://[redacted]@[::1]:6380/"),
            ("url=redis://:hun@ter3@redis/0 x", "url=redis://[redacted]@redis/0 x"),
            ("Cookie: a=hunter3; b=hunter3", "Cookie: [redacted]"),
            ("\"set-cookie\": \"a=hunter3; Path=/\", \"x\": 1", "\"set-cookie\": \"[redacted]\", \"x\": 1"),
            ("authorization: hunter3", "authorization: [redacted]"),
            ("Bearer hunter3-hunter3 was refused", "Bearer [redacted] was refused"),
            ("client_secret=hunter3&x=1", "client_secret=[redacted]&x=1"),
            ("{\"refresh_token\":\"hunter3\",\"x\":1}", "{\"refresh_token\":\"[redacted]\",\"x\":1}"),
            ("PASSWORD: hunter3", "PASSWORD: [redacted]"),
            ("REDIS_PASSWORD=hunter3", "REDIS_PASSWORD=[redacted]"),
            (
                "body=\"{\\\"client_secret\\\":\\\"hunter3\\\"}\" n=1",
                "body=\"{\\\"client_secret\\\":\\\"[redacted]\\\"}\" n=1",
            ),
            ("to ops@example.com, now", "to [e-mail], now"),
            ("mailto:ops+a@example.com", "mailto:[e-mail]"),
            ("https://a.example/x?token=hunter3#x", "https://a.example/x?[redacted]"),
            ("planted%2Fsecret%201 planted/secret 1 hunter2-hunter2", "[redacted] [redacted] [redacted]"),
        ] {
            let shown = redacted(line);
            assert_eq!(shown, told);
            assert!(!shown.contains("hunter3"), "{shown}");
        }
    }

    #[test]
    fn a_password_with_a_question_mark_in_it_goes_whole() {
        for (line, told) in [
            ("store: redis://:SuperPw?restofit@redis:6379/0", "store: redis://[redacted]@redis:6379/0"),
            ("redis://:Super@Pw/rest?ofit@redis:6379/0", "redis://[redacted]@redis:6379/0"),
            ("redis://:planted/secret?x@redis/0", "redis://[redacted]@redis/0"),
            ("https://user:12?SuperPw@a.example/x", "https://[redacted]@a.example/x"),
            ("http://u:SuperPw@a/,http://u:SuperPw@b/", "http://[redacted]@a/,http://[redacted]@b/"),
            ("https://a.example:8443/x?mail=SuperPw@b.example", "https://a.example:8443/x?[redacted]"),
        ] {
            assert_eq!(redacted(line), told);
        }
        // What is known goes even where a URL would be cut in the middle of it, and where one had hidden it.
        let mut known = Redactor::new(["half?other half".to_owned(), "whole".to_owned()]);
        assert_eq!(known.text("/a/half?other half x"), "/a/[redacted] x");
        assert_eq!(known.text("redis://:x@whole"), "redis://[redacted]@[redacted]");
    }

    #[test]
    fn however_a_secret_is_written_it_goes_by_its_name() {
        for (line, told) in [
            ("{'password': 'hunter01'}", "{'password': '[redacted]'}"),
            ("password = hunter02", "password = [redacted]"),
            ("{\"password\" : \"hunter03\"}", "{\"password\" : \"[redacted]\"}"),
            ("password:hunter04", "password:[redacted]"),
            (r#"{"password":"x\"hunter04"}"#, r#"{"password":"[redacted]"}"#),
            (r#""{\"password\":\"x\\\"hunter04\"}""#, r#""{\"password\":\"[redacted]\"}""#),
            ("password=&hunter05", "password=[redacted]"),
            ("password=hunter&05&x=1", "password=[redacted]&x=1"),
            ("client_secret=&x=1", "client_secret=&x=1"),
            ("{\"password\":[\"hunter06\"]}", "{\"password\":[redacted]}"),
            ("{\"password\":{\"is\":[\"hunter]06\"]},\"x\":1}", "{\"password\":[redacted],\"x\":1}"),
            ("'pwd' => 'hunter07'", "'pwd' => '[redacted]'"),
            ("pwd=hunter07", "pwd=[redacted]"),
            ("access_key=hunter08", "access_key=[redacted]"),
            ("aws_secret_access_key = hunter09", "aws_secret_access_key = [redacted]"),
            ("sessionid=hunter10; x", "sessionid=[redacted]; x"),
            ("PHPSESSID=hunter10", "PHPSESSID=[redacted]"),
            ("Bearer abcdefghijklm", "Bearer [redacted]"),
            ("it sent bearer hunt3r", "it sent bearer [redacted]"),
            ("qkXbqRrHmAcJsYpRKmLxQBqWvEjRWeJCrzeSNFZkKvN x", "[redacted] x"),
            ("at https://a.example/qkXbqRrHmAcJsYpRKmLxQBqWvEjRWeJCrzeSNFZkKvN", "at [redacted]"),
        ] {
            let shown = redacted(line);
            // A URL's host may go with its path.
            let told = if line.starts_with("at ") { shown.as_str() } else { told };
            assert_eq!(shown, told);
            assert!(!shown.contains("hunt") && !shown.contains("qkXb"), "{shown}");
        }
    }

    #[test]
    fn an_address_goes_whatever_stands_around_it() {
        for (line, told) in [
            ("alice1@example.com!", "[e-mail]!"),
            ("alice7@example.com&x", "[e-mail]&x"),
            (r#""alice2@example.com\nfoo""#, r#""[e-mail]\nfoo""#),
            (r#""x\nalice2@example.com""#, r#""x\n[e-mail]""#),
            ("alice3%40example.com", "[e-mail]"),
            ("alice3%2540example.com%20x", "[e-mail]%20x"),
            (r"alice3\u0040example.com", "[e-mail]"),
            ("alice4@localhost", "[e-mail]"),
            ("to=alice5@example.com,alice6@example.com.", "to=[e-mail],[e-mail]."),
            ("<älice8@exämple.com>", "<[e-mail]>"),
            ("alice9@192.0.2.1:25", "[e-mail]:25"),
        ] {
            assert_eq!(redacted(line), told);
        }
    }

    #[test]
    fn a_pem_block_goes_in_one_line_and_in_many() {
        let block = "before\n-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\nAgEGCCqGSM49AwEHBG0w\n-----END PRIVATE KEY-----\nafter";
        assert_eq!(redacted(block), "before\n[redacted]\nafter");
        assert_eq!(redacted(&block.replace('\n', "\\n")), "before\\n[redacted]\\nafter");
        let broken = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n2026-11-21T09:30:00Z INFO goes on";
        assert_eq!(redacted(broken), "[redacted]\n2026-11-21T09:30:00Z INFO goes on");
    }

    #[test]
    fn what_helps_stays() {
        for line in [
            "2026-11-21T09:30:00.123456Z  INFO access: request_id=\"kX3bq0Rr1m2c0sYpR1m9xQ\" trace_id=\"0af7651916cd43dd8448eb211c80319c\" method=\"POST\" host=\"fetch.example.com\" path=\"/mcp\" status=401 client=\"c_4Xb0cY0ZQm2mPqY8r3y1eA\" peer=192.0.2.1 reason=\"invalid_token\"",
            "{\"event\":\"token_refused\",\"reason\":\"limits.token = 20/m\",\"sub\":\"github:583231\"}",
            "portcullis_token_cache_lookups_total{result=\"hit\"} 5",
            "portcullis_certificate_expiry_timestamp_seconds{host=\"a.example\"} 1800000000",
            "# HELP portcullis_token_cache_tokens Verified tokens that are remembered, in all workers together.",
            "secret_key: ${PORTCULLIS_SECRET_KEY}",
            "portcullis.yaml:3:13: `secret_key` is missing; write secret_key: ${PORTCULLIS_SECRET_KEY} (64 hexadecimal digits)",
            "client_secret_file: /run/secrets/github",
            "the journal of portcullis@blue.service",
            "https://fetch.example.com/mcp: 0 requests, 1 stream",
            "Linux 6.1.0-18-cloud-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1",
            "tokens: { access: 1h, refresh_idle: 90d }",
            "\"token\": null, \"code\": \"\"",
            "a basic question, and a bearer of news",
            "Bearer authentication is needed; a basic understanding helps",
            "the header Cross-Origin-Embedder-Policy-Report-Only, and access-control-request-private-network-access",
            "/usr/local/share/ca-certificates/Some-Company-Internal-Root-Certificate-Authority.crt: 3 lines",
            "TheQuickBrownFoxJumpsOverTheLazyDogAndSleepsThen of AbstractSingletonProxyFactoryBeanHttpServer",
            "donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
            "npx mcp-remote@0.1.29, @modelcontextprotocol/inspector@1.2.3-beta.1, actions/checkout@v4.1 and 1.2.3+build.45",
            "kid=\"2026-11-21-kX3bq0Rr\" kid=q83vEjRWeJCrze8SNFZ4kA code: 403, exit code = 1",
            "portcullis::secret::random is what makes it",
            "curl 'https://a.example/.well-known/oauth-protected-resource' if token == null",
        ] {
            assert_eq!(redacted(line), line);
        }
    }

    #[test]
    fn nothing_does_anything_to_the_terminal() {
        assert_eq!(redacted("a\x1b[31mred\u{202e}"), "a?[31mred?");
    }
}
