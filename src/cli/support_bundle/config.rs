//! The configuration as it is written, without its secrets: variables stay names, comments go, and of everything that is or may be
//! secret only the place is shown. What is secret is remembered, to be taken out of everything else.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde_yaml::{Mapping, Value};

use super::redact::{is_secretive, is_variable};

/// What stands in the place of a value that is not shown.
const GONE: &str = "[redacted]";

/// A configuration that may be shown.
#[derive(Default)]
pub(super) struct Shown {
    /// The files, each with its name.
    pub(super) text: String,
    /// What must not be seen anywhere else.
    pub(super) secrets: Vec<String>,
}

impl Shown {
    /// The configuration in `file`, and the services beside it.
    pub(super) fn of(file: &Path) -> Self {
        let mut shown = Self { secrets: secretive_variables(), text: String::new() };
        for file in [vec![file.to_owned()], beside(file)].concat() {
            shown.add(&file);
        }
        shown
    }

    fn add(&mut self, file: &Path) {
        self.text.extend(["--- ", &file.display().to_string(), "\n"]);
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) => {
                self.text.extend(["(it cannot be read: ", &error.to_string(), ")\n\n"]);
                return;
            }
        };
        self.remember_variables(&text);
        match serde_yaml::from_str::<Value>(&text) {
            Ok(mut value) => {
                self.mask(&mut value, &root_of(file), file);
                self.text += &serde_yaml::to_string(&value).unwrap_or_default();
            }
            // The parser's own words may repeat what stands there; the next section says it without.
            Err(_) => self.text += "(it is no YAML; the check says where)\n",
        }
        self.text.push('\n');
    }

    fn mask(&mut self, value: &mut Value, path: &[String], file: &Path) {
        match value {
            Value::Mapping(entries) => self.mask_entries(entries, path, file),
            Value::Sequence(items) => items.iter_mut().for_each(|item| self.mask(item, path, file)),
            Value::String(text) => self.mask_text(text, path, file),
            Value::Number(number) if is_secret(path) => {
                self.secrets.push(number.to_string());
                *value = Value::String(GONE.to_owned());
            }
            // Not to be remembered: `true` stands everywhere.
            Value::Bool(_) if is_secret(path) => *value = Value::String(GONE.to_owned()),
            Value::Number(_) | Value::Bool(_) | Value::Null => {}
            Value::Tagged(tagged) => self.mask(&mut tagged.value, path, file),
        }
    }

    fn mask_entries(&mut self, entries: &mut Mapping, path: &[String], file: &Path) {
        for (key, value) in entries.iter_mut() {
            let key = key.as_str().unwrap_or_default().to_owned();
            self.mask(value, &[path, &[key]].concat(), file);
        }
    }

    fn mask_text(&mut self, text: &mut String, path: &[String], file: &Path) {
        let key = path.last().map(String::as_str).unwrap_or_default();
        if key.strip_suffix("_file").is_some_and(|name| is_secret_key(name, path)) {
            self.remember_file(&resolved(text), file);
        } else if is_secret(path) {
            self.secrets.push(resolved(text));
            if !is_variable(text) {
                GONE.clone_into(text);
            }
        } else if let Some((_, rest)) = text.split_once("://") {
            // The password of a URL, in which there may be variables; the redactor takes it out.
            let user = rest.rsplit_once('@').map(|(user, _)| user).unwrap_or_default();
            let password = user.split_once(':').map_or(user, |(_, password)| password);
            self.secrets.extend([password.to_owned(), resolved(password)]);
        }
    }

    /// What stands in a file of its own; of a URL its password, too.
    fn remember_file(&mut self, path: &str, beside: &Path) {
        let path = beside.parent().unwrap_or(Path::new(".")).join(path);
        if let Ok(content) = fs::read_to_string(path) {
            let url = content.trim().split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
            let password = url.map(|(user, _)| user.rsplit(':').next().unwrap_or_default().to_owned());
            self.secrets.extend(password);
            self.secrets.push(content.trim().to_owned());
        }
    }

    /// Values of variables whose names say what they are, and defaults of those.
    fn remember_variables(&mut self, text: &str) {
        for reference in text.split("${").skip(1).filter_map(|rest| rest.split('}').next()) {
            let (name, default) = reference.split_once(":-").unwrap_or((reference, ""));
            let name = name.split(":?").next().unwrap_or_default();
            if is_secretive_variable(name) {
                self.secrets.extend(env::var(name).ok());
                self.secrets.push(default.to_owned());
            }
        }
    }
}

/// Keys of which values are shown. Of any other, which may be a misspelt one, nobody knows what stands there.
const PLAIN: &str = "access access_grace access_recheck acme admin_socket admins allow api_url authorize body_pause ca_file callback certificate \
challenge client_id clients connect_timeout connections connections_per_address deny describe dev directory document documents drain eab email \
every files filter first_byte_timeout format forward_auth forward_email github grant_types handshake head header_bytes header_count health http \
https identity idle implies imported_secrets internal internal_token_file introspect issuer jwks_file key_file keys kid limits listen local_ca log \
max_body_bytes max_bytes max_requests max_requests_per_user max_streams max_streams_per_user name open_sign_ins orgs origins pages paths \
probe profile public published_on_loopback redirect_schemes redirect_uris refresh_absolute refresh_idle register registered revocation_staleness \
revoke rotate scopes secret_file secret_key_file secret_key_previous_file client_secret_file services session sign_in sse_keep_alive store \
store_file store_prefix streams_per_connection teams tls token tokens trusted_proxies unused_clients upstream url user_id users web_url workers";

/// Whether an operator chose the last key of the path, and a value that is shown stands there.
fn is_named(path: &[String]) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    matches!(
        path[..],
        ["services", _, "describe" | "implies" | "tools", _] | ["clients", "registered", _, "services", _]
    )
}

/// Whether `name` is the last key but one, and none that an operator chose for a service or a client.
fn is_in(path: &[String], name: &str) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let is_chosen = matches!(path[..], ["services", _, _] | ["clients", "registered", _, _]);
    !is_chosen && matches!(path[..], [.., parent, _] if parent == name)
}

fn is_secret(path: &[String]) -> bool {
    let key = path.last().map(String::as_str).unwrap_or_default();
    // A certificate's `key` is a file's name, and `limits.token` is a rate.
    let known = PLAIN.split_whitespace().any(|plain| plain == key)
        && (key != "token" || is_in(path, "limits"))
        || (key == "key" && is_in(path, "files"));
    !known && !is_named(path)
}

fn is_secret_key(name: &str, path: &[String]) -> bool {
    let named = [&path[..path.len().saturating_sub(1)], &[name.to_owned()]].concat();
    name != "ca" && name != "jwks" && (is_secret(&named) || name == "store")
}

/// `text` with its variables put in, as far as they are there.
fn resolved(text: &str) -> String {
    let mut pieces = text.split("${");
    let mut told = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (reference, rest) = piece.split_once('}').unwrap_or((piece, ""));
        let (name, default) = reference.split_once(":-").unwrap_or((reference, ""));
        let name = name.split(":?").next().unwrap_or_default();
        told += &env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned());
        told += rest;
    }
    told
}

/// Of the whole environment, for a log may have what no configuration names.
fn secretive_variables() -> Vec<String> {
    let all = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    all.filter(|(name, value)| is_secretive_variable(name) && value.len() >= 6)
        .map(|(_, value)| value)
        .collect()
}

fn is_secretive_variable(name: &str) -> bool {
    const PARTS: [&str; 7] = ["SECRET", "TOKEN", "PASSWORD", "PASSWD", "CREDENTIAL", "APIKEY", "_KEY"];
    let name = name.to_ascii_uppercase();
    // Where a shell stands is in every second line.
    if ["PWD", "OLDPWD"].contains(&name.as_str()) {
        return false;
    }
    is_secretive(&name) || PARTS.iter().any(|part| name.contains(part))
}

/// Where in the configuration the content of a file has its place: below `services.d`, in a service.
fn root_of(file: &Path) -> Vec<String> {
    let is_service = file.parent().is_some_and(|folder| folder.ends_with("services.d"));
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if is_service { vec!["services".to_owned(), name] } else { Vec::new() }
}

/// One file a service.
fn beside(file: &Path) -> Vec<PathBuf> {
    let folder = file.parent().unwrap_or(Path::new(".")).join("services.d");
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "yaml" || end == "yml")).collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(yaml: &str) -> Shown {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("portcullis.yaml");
        fs::write(&file, yaml).unwrap();
        fs::write(folder.path().join("token.txt"), "from-a-file-1\n").unwrap();
        fs::write(folder.path().join("store.txt"), "redis://:from-a-file-2@redis/0\n").unwrap();
        Shown::of(&file)
    }

    // trouble: bundle
    #[test]
    fn of_every_secret_only_its_place_is_shown_and_it_is_remembered() {
        let shown = shown(
            "# a comment with hunter0\nissuer: https://auth.example.com\nsecret_key: hunter1\nsecret_key_previous: ${PC_TEST_ABSENT_KEY:-hunter2}\n\
             identity: { github: { client_id: Iv1.abc, client_secret: hunter3 } }\n\
             tls: { acme: { email: ops@example.com, eab: { kid: kid-1, key: hunter4 } } }\n\
             listen: { internal: 0.0.0.0:9400, internal_token_file: token.txt }\nstore_file: store.txt\n\
             clients: { registered: { ci: { secret: hunter5, jwks: { keys: [{ d: hunter6 }] }, services: { fetch: [mcp] } } } }\n\
             passwrd: hunter7\nunknown: { deep: [hunter8, 12345678] }\n",
        );
        for number in 0..=8 {
            assert!(!shown.text.contains(&format!("hunter{number}")), "{number}: {}", shown.text);
        }
        assert!(!shown.text.contains("12345678"), "{}", shown.text);
        for secret in [
            "hunter1",
            "hunter2",
            "hunter3",
            "hunter4",
            "hunter5",
            "hunter6",
            "hunter7",
            "from-a-file-1",
            "from-a-file-2",
        ] {
            assert!(shown.secrets.iter().any(|known| known == secret), "{secret}: {:?}", shown.secrets);
        }
        for useful in [
            "issuer: https://auth.example.com",
            "client_id: Iv1.abc",
            "kid: kid-1",
            "internal_token_file: token.txt",
            "ci:",
        ] {
            assert!(shown.text.contains(useful), "{useful}: {}", shown.text);
        }
    }

    #[test]
    fn variables_stay_names_and_passwords_of_urls_are_remembered() {
        let path = env::var("PATH").unwrap();
        let shown = shown(
            "secret_key: ${PORTCULLIS_SECRET_KEY}\nstore: \"redis://:hunter2${PATH}@redis:6379/0\"\nservices: { a: { url: \"https://${HOST}/mcp\" } }\n",
        );
        assert!(shown.text.contains("secret_key: ${PORTCULLIS_SECRET_KEY}\n"), "{}", shown.text);
        assert!(shown.text.contains("https://${HOST}/mcp"), "{}", shown.text);
        assert!(shown.secrets.contains(&format!("hunter2{path}")), "{:?}", shown.secrets);
    }

    #[test]
    fn what_is_no_yaml_is_not_shown() {
        let shown = shown("secret_key: hunter1\n\tx: {");
        assert!(!shown.text.contains("hunter1") && shown.text.contains("(it is no YAML"), "{}", shown.text);
    }

    #[test]
    fn a_client_or_service_may_have_the_name_of_any_key() {
        for name in ["tools", "services", "describe", "implies", "registered", "limits", "files"] {
            let shown = shown(&format!(
                "clients: {{ registered: {{ {name}: {{ secret: hunter1, token: hunter2, key: hunter3, services: {{ {name}: [mcp] }} }} }} }}\n\
                 services: {{ {name}: {{ secret: hunter4, token: hunter5, key: hunter6, describe: {{ mcp: what it is }}, implies: {{ all: [mcp] }} }} }}\n"
            ));
            for number in 1..=6 {
                let secret = format!("hunter{number}");
                assert!(!shown.text.contains(&secret), "{name} {number}: {}", shown.text);
                assert!(shown.secrets.contains(&secret), "{name} {number}: {:?}", shown.secrets);
            }
            assert!(shown.text.contains("what it is") && shown.text.contains("- mcp"), "{}", shown.text);
        }
        // A secret where a client or service should be.
        let shown = shown("clients: { registered: { ci: hunter1 } }\nservices: { todo: hunter2 }\n");
        assert!(!shown.text.contains("hunter") && shown.secrets.len() >= 2, "{}", shown.text);
    }

    #[test]
    fn a_service_in_a_file_of_its_own_is_shown_like_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("portcullis.yaml");
        fs::write(&file, "issuer: https://auth.example.com\n").unwrap();
        fs::create_dir(folder.path().join("services.d")).unwrap();
        let service = "describe: { mcp: what it is }\nsecret: hunter1\naccess: { secret: hunter2 }\n";
        fs::write(folder.path().join("services.d/todo.yaml"), service).unwrap();
        let shown = Shown::of(&file);
        assert!(shown.text.contains("what it is") && !shown.text.contains("hunter"), "{}", shown.text);
    }

    #[test]
    fn a_secret_number_is_remembered() {
        let shown = shown("secret_key: 1234567890\nclients: { registered: { ci: { secret: 87654321 } } }\n");
        assert!(!shown.text.contains("1234567890") && !shown.text.contains("87654321"), "{}", shown.text);
        let told = super::super::redact::Redactor::new(shown.secrets).text("x 1234567890 y 87654321");
        assert_eq!(told, "x [redacted] y [redacted]");
    }

    const SECRET: [&str; 9] = [
        "secret_key",
        "secret_key_previous",
        "internal_token",
        "client_secret",
        "secret",
        "key",
        "jwks",
        "word",
        "at",
    ];

    /// Every key that `serve` knows is one that is shown or one that is secret, knowingly.
    #[test]
    fn every_key_of_the_configuration_is_thought_of() {
        let raw = include_str!("../../config/raw.rs");
        let fields = raw.lines().filter_map(|line| line.trim().strip_prefix("pub(super) ")?.split_once(':'));
        let mut keys: Vec<_> = fields.map(|(name, _)| name).filter(|name| !name.contains(' ')).collect();
        keys.sort_unstable();
        keys.dedup();
        assert!(keys.len() > 90, "{keys:?}");
        for key in keys {
            let plain = PLAIN.split_whitespace().any(|plain| plain == key);
            assert!(plain || SECRET.contains(&key) || key == "value", "{key} is neither in PLAIN nor secret");
            assert!(!(plain && SECRET.contains(&key)), "{key}");
        }
    }
}
