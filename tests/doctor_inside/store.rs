//! The store.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::examined::{doctor, doctor_in};
use crate::process::{Place, Process, plain};
use crate::server::{Mode, Server};
use crate::support::redis::Redis;

/// A good server behind, which is no matter here.
fn good() -> Server {
    Server::start(Mode::Good("/mcp"))
}

fn with_store(place: &Place, server: &Server, store: &str) -> PathBuf {
    let yaml = plain(server.address, "admin_socket: \"{folder}/admin.sock\"");
    place.write("p.yaml", &yaml.replace("store: file:{folder}/portcullis.db", &format!("store: \"{store}\"")))
}

/// What `redis-cli` is told, in the words of a fix or of a test.
fn cli(port: u16, words: &[&str]) {
    let told =
        Command::new("redis-cli").args(["-p", &port.to_string()]).args(words).stdout(Stdio::piped()).output();
    let told = told.expect("redis-cli is missing: apt-get install redis-tools");
    assert!(String::from_utf8_lossy(&told.stdout).starts_with("OK"), "{told:?}");
}

/// Types a line of a fix.
fn type_in(line: &str) {
    let done = Command::new("sh").args(["-c", line]).stdout(Stdio::null()).status().unwrap();
    assert!(done.success(), "{line}");
}

/// A Redis that keeps what it is told.
fn redis() -> Redis {
    let redis = Redis::start();
    cli(redis.port, &["config", "set", "save", "3600 1"]);
    redis
}

#[test]
fn a_redis_as_it_should_be_is_green() {
    let (place, server, redis) = (Place::new(), good(), redis());
    cli(redis.port, &["config", "set", "appendonly", "yes"]);
    let examined = doctor(&with_store(&place, &server, &redis.url()));
    examined.is_green();
    for id in ["redis-down", "redis-slow", "redis-forgets", "secret-key-changed"] {
        examined.only("good", id);
    }
}

// trouble: redis-down
#[test]
fn a_redis_that_does_not_run_a_wrong_host_and_a_wrong_password_are_told_apart() {
    let (place, server, mut redis) = (Place::new(), good(), redis());
    let file = with_store(&place, &server, &redis.url());
    redis.stop();
    let finding = doctor(&file).trouble("redis-down");
    finding.says("Nobody listens at 127.0.0.1");
    assert!(finding.fix().contains("systemctl start redis-server"), "{finding:?}");
    redis.start_again();
    cli(redis.port, &["config", "set", "save", "3600 1"]);
    doctor(&file).is_green();

    let finding = doctor(&with_store(&place, &server, "redis://redis.invalid:6379/0")).trouble("redis-down");
    finding.says("Nobody knows this host name");

    cli(redis.port, &["config", "set", "requirepass", "s3cret-of-redis"]);
    let file = with_store(&place, &server, &redis.url());
    let finding = doctor(&file).trouble("redis-down");
    finding.says("password");
    let line = finding.value("store:");
    assert_eq!(line, format!("redis://:${{REDIS_PASSWORD}}@127.0.0.1:{}/0", redis.port));
    assert!(finding.fix().contains("systemctl restart portcullis"), "{finding:?}");
    let cli = finding.line("redis-cli").replace("PASSWORD", "s3cret-of-redis");
    let said = Command::new("sh").args(["-c", &cli]).output().unwrap();
    assert!(String::from_utf8_lossy(&said.stdout).starts_with("PONG"), "{cli}: {said:?}");
    let file = with_store(&place, &server, &line);
    let with = |password: &str| doctor_in(&file, &[], &[("REDIS_PASSWORD", password)]);
    let wrong = with("guessed");
    wrong.trouble("redis-down").says("password");
    assert!(!wrong.report.to_string().contains("guessed"), "a password in {:#}", wrong.report);
    with("s3cret-of-redis").is_green();
}

// trouble: redis-down
#[test]
fn tls_to_a_port_without_is_told_with_the_url_that_is_right() {
    let (place, server, redis) = (Place::new(), good(), redis());
    let file = with_store(&place, &server, &redis.url().replace("redis:", "rediss:"));
    let finding = doctor(&file).trouble("redis-down");
    finding.says("speaks no TLS");
    let line = finding.value("store:");
    assert_eq!(line, redis.url());
    doctor(&with_store(&place, &server, &line)).is_green();
}

// trouble: redis-down
#[test]
fn no_tls_to_a_port_with_it_is_told_with_the_url_that_is_right() {
    let (place, server) = (Place::new(), good());
    let redis = Secure::start(&place);
    let file = with_store(&place, &server, &format!("redis://localhost:{}/0", redis.port));
    let finding = doctor(&file).trouble("redis-down");
    finding.says("This port speaks TLS");
    let line = finding.value("store:");
    assert_eq!(line, format!("rediss://localhost:{}/0", redis.port));
    let file = with_store(&place, &server, &line);
    let finding = doctor(&file).trouble("redis-down");
    finding.says("nobody here trusts who issued it");
    assert_eq!(finding.line("sudo update-ca"), "sudo update-ca-certificates");
    // What that command does for the whole machine.
    let trusted = place.folder().join("redis.pem");
    doctor_in(&file, &[], &[("SSL_CERT_FILE", trusted.to_str().unwrap())]).is_green();
}

/// A Redis that speaks TLS only, ended with the test.
struct Secure {
    child: std::process::Child,
    port: u16,
}

impl Secure {
    fn start(place: &Place) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let [certificate, key] = ["redis.pem", "redis.key"].map(|name| place.folder().join(name));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let port = place.second;
        let child = Command::new("redis-server")
            .args([
                "--port",
                "0",
                "--bind",
                "127.0.0.1",
                "--save",
                "3600 1",
                "--tls-auth-clients",
                "no",
                "--tls-port",
            ])
            .arg(port.to_string())
            .arg("--tls-cert-file")
            .arg(&certificate)
            .arg("--tls-key-file")
            .arg(&key)
            .arg("--dir")
            .arg(place.folder())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let started = std::time::Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed().as_secs() < 10, "it does not listen");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Self { child, port }
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

// trouble: redis-forgets
#[test]
fn a_redis_that_keeps_nothing_is_told_with_the_command_that_has_it_keep() {
    let (place, server, redis) = (Place::new(), good(), Redis::start());
    let file = with_store(&place, &server, &redis.url());
    let finding = doctor(&file).trouble("redis-forgets");
    finding.says("keeps nothing on disk");
    type_in(&finding.line("redis-cli"));
    doctor(&file).is_green().only("good", "redis-forgets");
    cli(redis.port, &["config", "set", "appendonly", "no"]);
    cli(redis.port, &["config", "set", "save", "3600 1"]);
    doctor(&file).is_green().only("remark", "redis-forgets").says("now and then");
}

// trouble: redis-forgets
#[test]
fn a_redis_that_throws_keys_away_is_told_with_the_command_that_forbids_it() {
    let (place, server, redis) = (Place::new(), good(), redis());
    cli(redis.port, &["config", "set", "maxmemory", "64mb"]);
    cli(redis.port, &["config", "set", "maxmemory-policy", "allkeys-lru"]);
    let file = with_store(&place, &server, &redis.url());
    let finding = doctor(&file).trouble("redis-forgets");
    finding.says("throws keys away (allkeys-lru)");
    type_in(&finding.line("redis-cli"));
    doctor(&file).is_green();
}

// trouble: redis-forgets
#[test]
fn a_user_who_may_not_read_the_settings_is_told_to_look() {
    let (place, server, redis) = (Place::new(), good(), redis());
    cli(redis.port, &["acl", "setuser", "gate", "on", ">pw", "~*", "+@all", "-config"]);
    let url = redis.url().replace("://", "://gate:pw@");
    let finding = doctor(&with_store(&place, &server, &url)).is_green().only("remark", "redis-forgets");
    finding.says("cannot be seen");
    assert!(finding.fix().contains("config get appendonly"), "{finding:?}");
}

// trouble: redis-slow
#[test]
fn a_redis_that_is_far_away_is_slow() {
    let (place, server, redis) = (Place::new(), good(), redis());
    let far = distant(redis.port);
    let examined = doctor(&with_store(&place, &server, &format!("redis://127.0.0.1:{far}/0")));
    let finding = examined.trouble("redis-slow");
    assert!(finding.fix().contains("Put it beside the gateway"), "{finding:?}");
    doctor(&with_store(&place, &server, &redis.url())).is_green();
}

/// A way to `port` on which every piece takes 120 ms there.
fn distant(port: u16) -> u16 {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for near in listener.incoming() {
            let (near, far) = (near.unwrap(), TcpStream::connect(("127.0.0.1", port)).unwrap());
            for (mut from, mut to, late) in
                [(near.try_clone().unwrap(), far.try_clone().unwrap(), 120), (far, near, 0)]
            {
                std::thread::spawn(move || {
                    let mut buffer = [0; 4096];
                    while let Ok(read @ 1..) = from.read(&mut buffer) {
                        std::thread::sleep(std::time::Duration::from_millis(late));
                        if to.write_all(&buffer[..read]).is_err() {
                            break;
                        }
                    }
                });
            }
        }
    });
    own
}

// trouble: store-file
#[test]
fn a_missing_folder_is_told_with_the_line_that_makes_it() {
    let (place, server) = (Place::new(), good());
    let file = with_store(&place, &server, "file:{folder}/state/portcullis/portcullis.db");
    let finding = doctor(&file).trouble("store-file");
    finding.says("does not exist");
    type_in(&finding.line("mkdir"));
    doctor(&file).is_green();
    assert!(!place.folder().join("state/portcullis/portcullis.db").exists(), "doctor makes nothing");
}

// trouble: store-file
#[test]
fn a_file_that_is_no_store_is_told() {
    let (place, server) = (Place::new(), good());
    std::fs::write(place.folder().join("portcullis.db"), "no database").unwrap();
    let file = with_store(&place, &server, "file:{folder}/portcullis.db");
    let finding = doctor(&file).trouble("store-file");
    finding.says("no store of Portcullis");
    type_in(&finding.line("mv"));
    doctor(&file).is_green();
}

// trouble: secret-key-changed
#[test]
fn another_key_than_the_store_s_is_found_before_the_gateway_is_started() {
    let server = good();
    let redis = redis();
    for store in ["file:{folder}/portcullis.db", &redis.url()] {
        let place = Place::new();
        let file = with_store(&place, &server, store);
        let gateway = Process::begin(&file).listening();
        gateway.signal("TERM");
        gateway.outcome();
        doctor(&file).is_green();
        let old = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, old.replace(&"5a".repeat(32), &"6b".repeat(32))).unwrap();
        let finding = doctor(&file).trouble("secret-key-changed");
        finding.says("another secret_key");
        assert!(finding.fix().contains("PORTCULLIS_SECRET_KEY="), "{finding:?}");
        std::fs::write(&file, old).unwrap();
        doctor(&file).is_green();
    }
}
