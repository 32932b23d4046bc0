//! The configuration as operators meet it: the reference file and the examples are good, every refusal has its exact
//! text, and nothing makes the reading panic.
//!
//! `tests/config/bad/NAME.yaml` is refused with what `NAME.txt` says; `UPDATE=1 cargo test --test config` writes the
//! texts anew, to be read before they are committed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use portcullis::config::{self, Checked, Problems, Surroundings};
use portcullis::{certs, cli, serve, store};
use proptest::prelude::*;

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const SECRET: &str = "0123456789abcdef0123456789abcdef01234567";
const CI_SECRET: &str = "9d1e4b7c0a35f8269d1e4b7c0a35f826";

/// An environment and files that a test makes up.
#[derive(Clone)]
struct Fake {
    variables: BTreeMap<&'static str, OsString>,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Default for Fake {
    /// No variables, and the certificates that most configurations name.
    fn default() -> Self {
        let fake = Self { variables: BTreeMap::new(), files: BTreeMap::new() };
        fake.with("c.pem", "certificate").with("k.pem", "key")
    }
}

impl Fake {
    /// What the shipped files ask for.
    fn complete() -> Self {
        let mut fake = Self::default();
        let variables = [
            ("PORTCULLIS_SECRET_KEY", KEY),
            ("REDIS_PASSWORD", "hunter2"),
            ("GITHUB_CLIENT_ID", "Ov23liABCDEFGHIJKLMN"),
            ("GITHUB_CLIENT_SECRET", SECRET),
            ("CI_SECRET", CI_SECRET),
            ("EMPTY", ""),
            ("QUOTED", "\"https://auth.example.com\""),
        ];
        fake.variables = variables.map(|(name, value)| (name, value.into())).into();
        fake.with("/run/secrets/portcullis_secret_key", format!("{KEY}\n"))
            .with("/run/secrets/github_client_secret", SECRET)
            .with("/run/secrets/empty", "\n")
            .with("/run/secrets/short", "hunter2")
            .with("/run/secrets/private.jwks.json", "{\"keys\":[{\"kty\":\"EC\",\"d\":\"hunter2\"}]}")
            .with("/run/secrets/broken.jwks.json", "{\n\"keys\": hunter2")
            .with("/etc/portcullis/tls/fullchain.pem", "certificate")
            .with("/etc/portcullis/tls/privkey.pem", "key")
    }

    fn with(mut self, path: impl Into<PathBuf>, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.into(), content.into());
        self
    }

    fn with_variable(mut self, name: &'static str, value: &str) -> Self {
        self.variables.insert(name, value.into());
        self
    }

    /// Reads `text` as `p.yaml`.
    fn read(&self, text: impl Into<Vec<u8>>) -> Result<Checked, Problems> {
        config::read(Path::new("p.yaml"), &self.clone().with("p.yaml", text))
    }
}

impl Surroundings for Fake {
    fn variable(&self, name: &str) -> Option<OsString> {
        self.variables.get(name).cloned()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files.get(path).cloned().ok_or(io::ErrorKind::NotFound.into())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let files: Vec<_> = self.files.keys().filter(|file| file.parent() == Some(folder)).cloned().collect();
        if files.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(files) }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).expect("the folder is there");
    let files = entries.map(|entry| entry.expect("it can be read").path());
    let mut files: Vec<_> = files.filter(|file| file.extension().is_some_and(|one| one == "yaml")).collect();
    files.sort();
    files
}

#[test]
fn the_reference_is_good_and_explains_every_key() {
    let text = std::fs::read_to_string(root().join("config/portcullis.yaml")).unwrap();
    let checked = Fake::complete().read(text.clone()).unwrap();
    assert_eq!(checked.config.gateway.services.len(), 2);
    let line = 1 + text.lines().position(|line| line == "  weather:").unwrap();
    let remark = format!("p.yaml:{line}:3: `weather` is public: nobody signs in, everybody gets in");
    assert_eq!(checked.remarks, [remark]);
    // Each key stands there as a key, or commented out where it excludes another one.
    for key in keys() {
        let stands = text.lines().any(|line| {
            let line = line.trim_start_matches([' ', '#', '-', '{']);
            line.starts_with(&format!("{key}:")) || line.contains(&format!("{{ {key}:"))
        });
        assert!(stands, "config/portcullis.yaml does not explain `{key}`");
    }
}

/// Every key of the raw types, from their source: whoever adds a key there has to explain it.
fn keys() -> Vec<String> {
    let source = std::fs::read_to_string(root().join("src/config/raw.rs")).expect("the source is there");
    let fields = source.lines().filter_map(|line| line.trim().strip_prefix("pub(super) ")?.split_once(": "));
    let inner = ["at", "value", "word"];
    let keys: Vec<_> =
        fields.map(|(name, _)| name.to_owned()).filter(|name| !inner.contains(&name.as_str())).collect();
    assert!(keys.len() > 40, "{keys:?}");
    keys
}

#[test]
fn the_examples_are_good_without_a_remark_that_worries() {
    let files = yaml_files("config/examples");
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        let checked =
            Fake::complete().read(std::fs::read(&file).unwrap()).unwrap_or_else(|error| panic!("{error}"));
        let expected: &[&str] = match file.file_stem().unwrap().to_str().unwrap() {
            "local-dev" => &["p.yaml:11:1: `access` lets everybody in who can sign in"],
            _ => &[],
        };
        assert_eq!(checked.remarks, expected, "{}", file.display());
    }
}

#[test]
fn the_configurations_in_the_guides_are_good() {
    let read = |file: &str| std::fs::read_to_string(root().join(file)).unwrap();
    let (readme, operations) = (read("README.md"), read("deploy/OPERATIONS.md"));
    let (_, rest) = readme.split_once("```yaml\n").expect("it shows a configuration");
    let (text, rest) = rest.split_once("```").expect("which ends");
    assert!(!rest.contains("```yaml"), "every one is to be read here");
    let (head, _) = text.split_once("services:\n").expect("with services");
    let fake = Fake::complete()
        .with("/etc/portcullis/fullchain.pem", "certificate")
        .with("/etc/portcullis/key.pem", "key");
    let whole = text;
    let checked = fake.read(whole).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(checked.remarks, [] as [&str; 0]);
    assert_eq!(checked.config.gateway.services[0].name, "fetch");
    let (_, rest) = operations.split_once("```yaml\n").expect("it shows replicas");
    let (text, rest) = rest.split_once("```").expect("which end");
    let (_, rest) = rest.split_once("```yaml\n").expect("and administrators");
    let (admins, rest) = rest.split_once("```").expect("who end");
    assert!(!rest.contains("```yaml"), "every one is to be read here");
    let checked = fake.read(format!("{admins}{whole}")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(checked.config.gateway.admins.users, ["octocat", "github:583231"]);
    let checked = fake.read(format!("{head}{text}")).unwrap_or_else(|error| panic!("{error}"));
    let upstream = &checked.config.gateway.services[0].upstream;
    assert_eq!(upstream.replicas.len(), 2);
    let shorter: Vec<_> = text.lines().filter(|line| !line.contains("health:")).collect();
    let defaults = fake.read(format!("{head}{}", shorter.join("\n"))).unwrap();
    assert_eq!(defaults.config.gateway.services[0].upstream, *upstream, "they are the defaults");
}

/// Inside braces an unquoted variable is no YAML: nobody may learn it from us.
#[test]
fn shipped_texts_quote_variables_in_braces() {
    let mut files = yaml_files("config/examples");
    files.extend(
        ["README.md", "deploy/OPERATIONS.md", "deploy/README.md", "config/portcullis.yaml"]
            .map(|file| root().join(file)),
    );
    for file in files {
        for line in std::fs::read_to_string(&file).unwrap().lines() {
            let code = line.split(" #").next().unwrap_or_default();
            let Some((_, inside)) = code.split_once(": { ").or_else(|| code.split_once(": [")) else {
                continue;
            };
            for (at, _) in inside.match_indices("${") {
                let quotes = inside[..at].matches('"').count();
                assert!(quotes % 2 == 1, "{}: {line}", file.display());
            }
        }
    }
}

// trouble: env-missing
// trouble: env-shape
// trouble: yaml-syntax
// trouble: tunnel
// trouble: secret-key-changed
#[test]
fn every_bad_file_is_refused_with_its_text() {
    let update = std::env::var_os("UPDATE").is_some();
    let files = yaml_files("tests/config/bad");
    assert!(files.len() >= 40, "{}", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let fake = Fake::complete().with(name, std::fs::read(&file).unwrap());
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let code = cli::check::check(Path::new(name), &fake, &mut out, &mut errors);
        let told = String::from_utf8(errors).unwrap();
        let expected = file.with_extension("txt");
        if update {
            std::fs::write(&expected, &told).unwrap();
        }
        // `ExitCode` can only be compared by what it prints.
        let refused = format!("{code:?}") == format!("{:?}", ExitCode::from(78)) && out.is_empty();
        if !refused || told != std::fs::read_to_string(&expected).unwrap_or_default() {
            wrong.push(format!("{name} ({code:?}):\n{told}"));
        }
        for secret in [KEY, SECRET, CI_SECRET, "hunter2"] {
            assert!(!told.contains(secret), "{name} tells a secret");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn problems_say_what_is_wrong_and_what_to_write() {
    for file in yaml_files("tests/config/bad") {
        for line in std::fs::read_to_string(file.with_extension("txt")).unwrap().lines() {
            assert!(line.contains("; ") || line.ends_with('?'), "no advice in: {line}");
            assert!(!line.contains("please report it"), "{line}");
        }
    }
}

/// The smallest good configuration, with `more` in it.
fn minimal(more: &str) -> String {
    format!(
        "issuer: https://auth.example.com\nsecret_key: {KEY}\nstore: file:/p.db\n\
         identity: {{ github: {{ client_id: Ov23liABCDEFGHIJKLMN, client_secret: {SECRET} }} }}\n\
         access: {{ users: octocat }}\n\
         services: {{ a: {{ url: https://a.example.com/mcp, upstream: http://a:1/mcp }} }}\n{more}\n"
    )
}

const FILES: &str = "tls: { files: { certificate: c.pem, key: k.pem } }";

/// A good configuration on loopback with the `dev` identity, with `more` in it.
fn local(more: &str) -> String {
    format!(
        "issuer: http://localhost:8080\nsecret_key: {KEY}\nstore: file:p.db\nidentity: {{ dev: }}\n\
         services: {{ a: {{ url: http://localhost:8080/mcp, upstream: http://127.0.0.1:3000 }} }}\n{more}\n"
    )
}

fn shown(addresses: &[std::net::SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn with_certificates_it_listens_on_443_and_redirects_80() {
    let config = Fake::default().read(minimal(FILES)).unwrap().config;
    assert_eq!(
        (shown(&config.serve.listen), shown(&config.serve.redirect)),
        ("[::]:443".into(), "[::]:80".into())
    );
    assert_eq!(config.serve.peers, serve::Peers::Anybody);
    let certs::Settings::Files(files) = config.tls else { panic!() };
    assert_eq!(files[0].certificate, Path::new("c.pem"));
    assert!(
        config.gateway.lives.access.as_secs() == 3600 && config.gateway.session_life.as_secs() == 8 * 3600
    );
}

#[test]
fn keys_are_used_for_a_quarter_unless_it_says_otherwise() {
    let read = |more: &str| Fake::complete().read(minimal(&format!("{FILES}\n{more}"))).unwrap().config;
    let days = |days: u64| Some(std::time::Duration::from_hours(24 * days));
    let plain = read("");
    assert_eq!((plain.rotate_keys, plain.secret_key_previous.is_none()), (days(90), true));
    assert_eq!(read("keys: {}").rotate_keys, days(90));
    assert_eq!(read("keys: { rotate: 7d }").rotate_keys, days(7));
    assert_eq!(read("keys: { rotate: 730d }").rotate_keys, days(730));
    assert_eq!(read("keys: { rotate: never }").rotate_keys, None);
    let other = "1f".repeat(32);
    for more in [format!("secret_key_previous: {other}"), "secret_key_previous_file: old".to_owned()] {
        let text = minimal(&format!("{FILES}\n{more}"));
        let config = Fake::default().with("old", format!("{other}\n")).read(text).unwrap().config;
        assert_eq!(config.secret_key_previous.unwrap().to_hex().expose(), other);
    }
}

#[test]
fn one_configuration_does_with_and_without_a_previous_key() {
    let text = || minimal(&format!("{FILES}\nsecret_key_previous: ${{PREVIOUS:-}}"));
    let without = Fake::complete().read(text()).unwrap().config;
    assert!(without.secret_key_previous.is_none(), "not set");
    let empty = Fake::complete().with_variable("PREVIOUS", "").read(text()).unwrap().config;
    assert!(empty.secret_key_previous.is_none(), "set to nothing, as container tools do");
    let other = "1f".repeat(32);
    let with = Fake::complete().with_variable("PREVIOUS", &other).read(text()).unwrap().config;
    assert_eq!(with.secret_key_previous.unwrap().to_hex().expose(), other);
}

#[test]
fn a_redirect_is_only_beside_port_443() {
    let listen =
        |text: &str| Fake::default().read(minimal(&format!("{FILES}\n{text}"))).unwrap().config.serve;
    let other = listen("listen: { https: 10.0.0.5:8443 }");
    assert_eq!((shown(&other.listen), shown(&other.redirect)), ("10.0.0.5:8443".into(), String::new()));
    let none = listen("listen: { http: [] }");
    assert_eq!((shown(&none.listen), shown(&none.redirect)), ("[::]:443".into(), String::new()));
}

#[test]
fn probes_are_answered_where_it_says_so_only_and_elsewhere_than_on_loopback_with_a_token() {
    let read = |listen: &str| {
        let fake = Fake::default().with("token", format!("{CI_SECRET}\n"));
        fake.read(minimal(&format!("{FILES}\n{listen}"))).unwrap().config.internal
    };
    for off in ["", "listen: { https: \":443\" }", "listen: { internal: [] }"] {
        let internal = read(off);
        assert!(internal.listen.is_empty() && internal.token.is_none(), "{off}");
    }
    let loopback = read("listen: { internal: localhost:9400 }");
    assert_eq!(shown(&loopback.listen), "127.0.0.1:9400 [::1]:9400");
    assert!(loopback.token.is_none());
    for listen in [
        format!(
            "listen: {{ internal: [\":9400\", 10.0.0.5:443], https: 10.0.0.6:443, internal_token: {CI_SECRET} }}"
        ),
        "listen: { internal: [\":9400\", 10.0.0.5:443], https: 10.0.0.6:443, internal_token_file: token }"
            .to_owned(),
    ] {
        let wide = read(&listen);
        assert_eq!(shown(&wide.listen), "[::]:9400 10.0.0.5:443");
        assert_eq!(wide.token.as_ref().map(portcullis::secret::Secret::expose), Some(CI_SECRET));
        assert!(!format!("{wide:?}").contains(CI_SECRET));
    }
    let guarded = read(&format!("listen: {{ internal: 127.0.0.1:9400, internal_token: {CI_SECRET} }}"));
    assert!(guarded.token.is_some(), "on loopback, too, if somebody wants it so");
}

#[test]
fn without_tls_only_loopback_may_connect() {
    let checked = Fake::default().read(local("tls: off")).unwrap();
    assert_eq!(shown(&checked.config.serve.listen), "127.0.0.1:8080 [::1]:8080");
    assert_eq!(checked.config.serve.peers, serve::Peers::Loopback);
    assert!(checked.config.gateway.dev_identity);
    assert_eq!(checked.remarks, ["p.yaml:5:13: `a` lets nobody in; write access: { users: [LOGIN] }"]);
}

#[test]
fn a_published_container_accepts_the_default_gateway() {
    for more in ["tls: off", "tls: { local_ca: ca }"] {
        let text = local(&format!("{more}\npublished_on_loopback: true"));
        let text =
            if more == "tls: off" { text } else { text.replace("http://localhost", "https://localhost") };
        let config = Fake::default().read(text).unwrap().config;
        assert_eq!(shown(&config.serve.listen), "[::]:8080", "{more}");
        assert_eq!(config.serve.peers, serve::Peers::LoopbackAndDefaultGateway, "{more}");
        assert!(config.gateway.published_on_loopback);
    }
}

#[test]
fn behind_a_proxy_only_the_proxy_may_connect() {
    let more = "tls: off\nlisten: { http: \":8080\" }\ntrusted_proxies: [10.1.2.3, \"fd00::/8\"]";
    let config = Fake::default().read(minimal(more)).unwrap().config;
    let networks = vec!["10.1.2.3/32".parse().unwrap(), "fd00::/8".parse().unwrap()];
    assert_eq!(config.gateway.trusted_proxies, networks);
    assert_eq!(config.serve.peers, serve::Peers::Networks(networks));
}

#[test]
fn a_local_ca_makes_certificates_for_every_host() {
    let text = minimal("tls: { local_ca: ca }").replace("https://auth.example.com", "https://[::1]");
    let checked = Fake::default().read(text).unwrap();
    let certs::Settings::LocalCa { directory } = &checked.config.tls else { panic!() };
    assert_eq!(directory, Path::new("ca"));
    assert_eq!(checked.config.hosts(), ["::1", "a.example.com"]);
}

#[test]
fn github_s_answers_hold_for_ten_minutes_and_without_it_for_a_day() {
    let freshness = |more: &str| {
        let config = Fake::default().read(minimal(&format!("{FILES}\n{more}"))).unwrap().config;
        (config.gateway.freshness.recheck.as_secs(), config.gateway.freshness.grace.as_secs())
    };
    assert_eq!(freshness(""), (600, 86_400));
    assert_eq!(freshness("access_recheck: 1m"), (60, 86_400));
    assert_eq!(freshness("access_recheck: 24h\naccess_grace: 30d"), (86_400, 2_592_000));
    assert_eq!(freshness("access_recheck: 5m\naccess_grace: 5m"), (300, 300));
}

#[test]
fn teams_are_an_organisation_and_a_slug_in_lower_case() {
    let text =
        minimal(FILES).replace("users: octocat", "teams: [Example/Core-Team_1, example/core-team_1, a/b]");
    let config = Fake::default().read(text).unwrap().config;
    assert_eq!(config.gateway.services[0].access.teams, ["example/core-team_1", "a/b"]);
}

// trouble: tunnel
#[test]
fn a_tunnel_that_the_configuration_does_not_know_of_is_remarked() {
    let remarks = |text: String| Fake::default().read(text).unwrap().remarks;
    let tunnelled = minimal(FILES).replace("auth.example.com", "abc.ngrok-free.app");
    let told = |line: usize, column: usize, host: &str| {
        format!(
            "p.yaml:{line}:{column}: {host} is a tunnel's host, which speaks TLS by itself; write tls: off, and trusted_proxies: \
             [127.0.0.1, \"::1\"] for a tunnel whose program runs on this machine [tunnel]"
        )
    };
    let first = &remarks(tunnelled.replace("a.example.com", "def.ngrok-free.app"));
    assert_eq!(*first, [told(1, 9, "abc.ngrok-free.app"), told(6, 23, "def.ngrok-free.app")]);
    let behind =
        minimal("tls: off\nlisten: { http: 'localhost:8080' }\ntrusted_proxies: [127.0.0.1, \"::1\"]");
    let behind = behind
        .replace("auth.example.com", "abc.ngrok-free.app")
        .replace("a.example.com", "def.ngrok-free.app");
    assert_eq!(remarks(behind), [] as [&str; 0], "what was told to be written is good");
    let own = minimal(FILES).replace("example.com", "myngrok-free.app");
    assert_eq!(remarks(own), [] as [&str; 0], "a domain of one's own is none");
}

#[test]
fn odd_credentials_are_remarked_but_not_told() {
    let remarks = |id: &str, secret: &str| {
        let text = minimal(FILES)
            .replace(SECRET, "SECRET")
            .replace("Ov23liABCDEFGHIJKLMN", id)
            .replace("SECRET", secret);
        Fake::default().read(text).unwrap().remarks.join("\n")
    };
    assert!(remarks(SECRET, "Ov23liABCDEFGHIJKLMN").contains("seem to be swapped"));
    assert!(remarks("my-app", SECRET).contains("does not look like a client id"));
    let token = remarks("Ov23liABCDEFGHIJKLMN", "ghp_sikrit");
    assert!(token.contains("is a token and not a client secret") && !token.contains("sikrit"), "{token}");
}

#[test]
fn secrets_come_from_files_beside_the_configuration() {
    let text = minimal(FILES)
        .replace(&format!("secret_key: {KEY}"), "secret_key_file: keys/k")
        .replace("store: file:/p.db", "store_file: keys/s");
    let fake = Fake::default().with("keys/k", format!("  {KEY}\r\n")).with("keys/s", "rediss://:pw@r/1\n");
    let config = fake.read(text).unwrap().config;
    assert_eq!(portcullis::secret::Key::from_hex(KEY).unwrap().expose(), config.secret_key.expose());
    let store::Settings::Redis { url, prefix } = &config.store else { panic!() };
    assert_eq!((url.expose(), prefix.as_str()), ("rediss://:pw@r/1", "pc:"));
    assert!(!format!("{config:?}").contains(KEY) && !format!("{config:?}").contains(":pw@"));
}

#[test]
fn services_may_stand_in_files_of_their_own() {
    let fake = Fake::default()
        .with("services.d/b.yaml", "url: https://b.example.com/mcp\nupstream: http://b:1\n")
        .with("services.d/notes.txt", "not a service");
    let config = fake.read(minimal(FILES)).unwrap().config;
    assert_eq!(config.gateway.services.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let alone =
        minimal(FILES).lines().filter(|line| !line.starts_with("services")).collect::<Vec<_>>().join("\n");
    assert_eq!(fake.read(alone).unwrap().config.gateway.services.len(), 1);

    let bad = fake
        .with("services.d/a.yaml", "url: https://a.example.com/other\nupstream: http://a:1\n")
        .with("services.d/c.yaml", "url: https://a.example.com/mcp\nupstream: [x]\nurls: 1\n");
    assert_eq!(
        bad.read(minimal(FILES)).unwrap_err().lines(),
        [
            "services.d/a.yaml:1:1: the service `a` stands in p.yaml:6 too; keep one",
            "services.d/c.yaml:2:12: `x` has no protocol; write http://x [env-shape]",
            "services.d/c.yaml:3:1: `urls` is no key here; did you mean `url`? [yaml-syntax]",
        ]
    );
}

#[test]
fn the_system_s_files_and_environment_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("portcullis.yaml");
    std::fs::write(&file, minimal(FILES)).unwrap();
    for pem in ["c.pem", "k.pem"] {
        std::fs::write(folder.path().join(pem), "beside the configuration").unwrap();
    }
    std::fs::create_dir(folder.path().join("services.d")).unwrap();
    std::fs::write(folder.path().join("services.d/b.yml"), "url: https://b.example.com\nupstream: http://b")
        .unwrap();
    let config = config::read(&file, &config::System).unwrap().config;
    assert_eq!(config.gateway.services[1].resource.as_str(), "https://b.example.com");
    let missing = config::read(&folder.path().join("none.yaml"), &config::System).unwrap_err();
    let told = "none.yaml: no such file; name one: portcullis check FILE (config/examples has some), or try portcullis demo";
    assert!(missing.lines()[0].ends_with(told), "{missing}");
    let folder = config::read(folder.path(), &config::System).unwrap_err().to_string();
    assert!(folder.contains(": this file cannot be read (Is a directory"), "{folder}");
}

#[test]
fn a_good_file_is_told_in_one_line_with_the_callback_url() {
    let fake = Fake::default().with("p.yaml", minimal(FILES));
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let code = cli::check::check(Path::new("p.yaml"), &fake, &mut out, &mut errors);
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "p.yaml: good; 1 service, issuer https://auth.example.com, callback URL for the OAuth app at GitHub: \
         https://auth.example.com/callback\n"
    );
    assert!(errors.is_empty());
}

// trouble: environments
// trouble: port-443
#[test]
fn what_may_not_be_meant_is_remarked() {
    let remarks = |text: String| Fake::default().read(text).unwrap().remarks;
    assert_eq!(
        remarks(minimal(FILES).replace("https://a.example.com", "https://a.example.org")),
        [
            "p.yaml:6:23: `a` is at example.org, the issuer at example.com: is this the right environment? [environments]"
        ]
    );
    assert_eq!(
        remarks(minimal(&format!("{FILES}\nlisten: {{ https: ':8443' }}"))),
        ["p.yaml:1:9: nothing listens on port 443 of the issuer; is it forwarded to `listen`? [port-443]"]
    );
    assert_eq!(
        remarks(minimal(FILES).replace("http://a:1/mcp", "https://a.example.com/internal")),
        ["p.yaml:6:13: the upstream of `a` is on a host of ours, so requests may go in circles"]
    );
}

#[test]
fn bytes_that_are_not_utf8_are_found() {
    let problems = Fake::default().read(&b"issuer: x\n# caf\xe9\n"[..]).unwrap_err();
    assert_eq!(problems.lines(), ["p.yaml:2:6: this byte is not UTF-8; save the file as UTF-8"]);
}

#[test]
fn no_kind_of_value_at_any_key_is_a_fault_of_ours() {
    let text = std::fs::read_to_string(root().join("config/portcullis.yaml")).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let mut read = 0;
    for (index, line) in lines.iter().enumerate() {
        let Some((key, _)) = line.split_once(':') else { continue };
        for value in ["", "x", "\"\"", "0", "{}", "[]", "[[]]", "[~]", "{ a: b }", "[{ a: b }]", "${NOPE}"] {
            let changed = format!("{key}: {value}");
            let mut lines = lines.clone();
            lines[index] = &changed;
            let told = Fake::complete().read(lines.join("\n")).err().map(|problems| problems.to_string());
            assert!(!told.as_deref().unwrap_or_default().contains("please report it"), "{changed}: {told:?}");
            read += 1;
        }
    }
    assert!(read > 500, "{read}");
}

#[test]
fn oversized_and_hostile_files_are_refused_quickly() {
    let started = std::time::Instant::now();
    let deep = "a: ".to_owned() + &"[".repeat(200_000);
    let wide = "a: 1\n".repeat(200_000);
    let keys = (0..100_000).map(|n| format!("k{n}: 1")).collect::<Vec<_>>().join("\n");
    let numbers = format!("workers: {}\ntokens: {{ access: {}d }}\n", "9".repeat(400), "9".repeat(400));
    let huge = "x".repeat(2 << 20);
    for text in [deep, wide, keys, numbers, huge] {
        let problems = Fake::default().read(text).unwrap_err();
        assert!(!problems.to_string().contains("please report it"));
    }
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let problems = Fake::complete().read(bytes).unwrap_err();
        prop_assert!(!problems.to_string().contains("please report it"));
    }

    /// YAML's own characters, in any order.
    #[test]
    fn no_yaml_makes_it_panic(text in "([a-z]{1,3}|: |- |\n|  |\\[|\\]|\\{|\\}|&a|\\*a|!|\\||>|\"|'|#|%|\\?|,|~|\t|\\$\\{A|\\}|é){0,60}") {
        let problems = Fake::complete().read(text).unwrap_err();
        prop_assert!(!problems.to_string().contains("please report it"));
    }

    /// Any one value of the reference replaced by anything is refused or accepted, and never a fault of ours.
    #[test]
    fn no_value_in_the_reference_makes_it_panic(line in 0usize..200, value in "([\\[\\]{}\"'&*!|>%@:/$a-z0-9 .~-]|é){0,20}") {
        let text = std::fs::read_to_string(root().join("config/portcullis.yaml")).unwrap();
        let replace = |(index, one): (usize, &str)| match one.split_once(": ") {
            Some((key, _)) if index == line => format!("{key}: {value}\n"),
            _ => format!("{one}\n"),
        };
        let text: String = text.lines().enumerate().map(replace).collect();
        if let Err(problems) = Fake::complete().read(text) {
            prop_assert!(!problems.lines().is_empty());
            prop_assert!(!problems.to_string().contains("please report it"));
        }
    }
}
