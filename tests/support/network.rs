//! A network and mount namespace of a test's own: every port is free in it, and names lead where the test wants.

use std::future::Future;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// Says that this process is inside, and where its files are.
const FOLDER: &str = "PORTCULLIS_TEST_NETWORK";

/// Runs `body` in this very program, started anew for the one test in namespaces of its own.
///
/// # Panics
/// If `body` does, or if there can be no namespaces.
pub fn in_a_network_of_its_own(name: &str, body: impl Future<Output = ()>) {
    if std::env::var_os(FOLDER).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        return runtime.unwrap().block_on(body);
    }
    let folder = TempDir::new().unwrap();
    let output = namespaces()
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(FOLDER, folder.path())
        // What the binary takes for the system's root certificates.
        .env("SSL_CERT_FILE", folder.path().join("ca.pem"))
        .output()
        .unwrap();
    let told =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    // A misspelt name would run nothing, and succeed.
    assert!(output.status.success() && told.contains("1 passed"), "inside: {told}");
}

/// `unshare`, in a way that this machine allows: as root, or as anybody in a user namespace.
fn namespaces() -> Command {
    let ways = [&["--net", "--mount"][..], &["--net", "--mount", "--map-root-user"]];
    let unshare = |way: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(way);
        command
    };
    let way = ways.into_iter().find(|way| {
        let tried = unshare(way).args(["ip", "link", "set", "lo", "up"]).output();
        tried.expect("unshare is missing: apt-get install util-linux").status.success()
    });
    unshare(way.expect(
        "this test needs a network namespace and `ip` (apt-get install iproute2): run it as root with CAP_SYS_ADMIN, \
         or allow user namespaces (sysctl -w kernel.unprivileged_userns_clone=1 \
         kernel.apparmor_restrict_unprivileged_userns=0)",
    ))
}

/// Inside: where the test's files are. `ca.pem` in it is what the binary takes for the system's root certificates.
pub fn folder() -> PathBuf {
    std::env::var_os(FOLDER).expect("inside").into()
}

/// Inside: `ip` with these arguments.
pub fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.expect("ip is missing: apt-get install iproute2");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Inside: nothing resolves but localhost and these lines of `/etc/hosts`, in this mount namespace only.
pub fn resolve(lines: &str) {
    let hosts = format!("127.0.0.1 localhost\n::1 localhost\n{lines}");
    for (file, text) in [("hosts", hosts.as_str()), ("nsswitch.conf", "hosts: files\n")] {
        let ours = folder().join(file);
        std::fs::write(&ours, text).unwrap();
        let mounted = Command::new("mount").arg("--bind").arg(&ours).arg(format!("/etc/{file}")).status();
        assert!(mounted.is_ok_and(|status| status.success()), "cannot mount over /etc/{file}");
    }
}
