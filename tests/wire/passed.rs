//! Socket activation: the sockets that a service manager holds and passes on are used, and what is wrong with them is said.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use socket2::SockRef;

use crate::client::{Client, call};
use crate::process::{Place, Process, plain, secure};
use crate::recorder::{RESULT, Recorder};

const NOBODY: ([u8; 4], u16) = ([127, 0, 0, 1], 9);

/// Becomes the gateway with the sockets from descriptor 3 on, as `sd_listen_fds(3)` has it.
const MANAGER: &str = r#"
to=103
for from in $SOCKETS; do eval "exec $to<&$from"; to=$((to + 1)); done
for at in {3..99}; do eval "exec $at<&-"; done
for at in $(seq 103 $((to - 1))); do eval "exec $((at - 100))<&$at $at<&-"; done
export LISTEN_PID=${LISTEN_PID:-$$} LISTEN_FDS=${LISTEN_FDS:-$((to - 103))}
unset SOCKETS
exec "$0" serve "$1"
"#;

/// A gateway that is handed sockets; `environment` goes before what the manager would write.
pub(crate) fn handed(file: &Path, sockets: &[BorrowedFd<'_>], environment: &[(&str, &str)]) -> Process {
    let numbers: Vec<_> = sockets.iter().map(|socket| socket.as_raw_fd().to_string()).collect();
    let inheritable = |is: bool| {
        for socket in sockets {
            SockRef::from(socket).set_cloexec(!is).unwrap();
        }
    };
    inheritable(true);
    let mut program = Command::new("bash");
    program.args(["-c", MANAGER, env!("CARGO_BIN_EXE_portcullis")]).arg(file);
    let process = Process::of(program.env("SOCKETS", numbers.join(" ")).envs(environment.iter().copied()));
    inheritable(false);
    process
}

fn listener(port: u16) -> TcpListener {
    TcpListener::bind(("127.0.0.1", port)).unwrap()
}

/// What is said to a configuration of one plain listener if it is handed `socket`.
fn refused(place: &Place, socket: BorrowedFd<'_>, environment: &[(&str, &str)]) -> String {
    let file = place.write("serve.yaml", &plain(NOBODY.into(), ""));
    let (status, told) = handed(&file, &[socket], environment).outcome();
    assert_eq!(status, 1, "{told}");
    assert!(!place.folder().join("portcullis.db").exists(), "nothing is made before that");
    told.lines().last().unwrap().to_owned()
}

#[tokio::test]
async fn sockets_are_found_by_their_addresses_and_what_was_not_passed_is_bound() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let (internal, https) = (TcpListener::bind("127.0.0.1:0").unwrap(), listener(place.port));
    let probes = internal.local_addr().unwrap();
    let yaml =
        secure(upstream.address).replace("listen: { ", &format!("listen: {{ internal: \"{probes}\", "));
    let file = place.write("serve.yaml", &yaml);
    let process = handed(&file, &[internal.as_fd(), https.as_fd()], &[]).listening();
    for address in [place.address(), probes] {
        process.says(&format!("the service manager has passed address={address}")).await;
    }
    let client = Client::secure(&place);
    let signed_in = client.sign_in("alice").await;
    let answer = client.send(call("POST", "/mcp", &signed_in)).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, RESULT));
    TcpStream::connect(("127.0.0.1", place.second)).expect("the redirect port is bound");
    TcpStream::connect(probes).unwrap();
    let variables = std::fs::read(format!("/proc/{}/environ", process.id())).unwrap();
    assert!(
        String::from_utf8_lossy(&variables).contains("LISTEN_PID="),
        "it was handed them by the protocol"
    );
}

#[tokio::test]
async fn who_waits_in_a_passed_socket_is_the_next_processs() {
    let (place, upstream) = (Place::new(), Recorder::start().await);
    let socket = listener(place.port);
    let file = place.write("serve.yaml", &plain(upstream.address, ""));
    // Before there is a gateway at all.
    let client = Client::plain(&place);
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.get("/.well-known/oauth-authorization-server", &[]).await }
    });
    let mut first = handed(&file, &[socket.as_fd()], &[]).listening();
    assert_eq!(waiting.await.unwrap().status, 200);
    first.signal("TERM");
    assert_eq!(first.ended().await.0, 0);
    let waiting =
        tokio::spawn(async move { client.get("/.well-known/oauth-authorization-server", &[]).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished(), "nobody answers, and nobody refuses");
    let _second = handed(&file, &[socket.as_fd()], &[]).listening();
    assert_eq!(waiting.await.unwrap().status, 200);
}

#[test]
fn a_socket_at_an_address_that_is_not_configured_is_told_with_what_to_do() {
    let place = Place::new();
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let told = refused(&place, elsewhere.as_fd(), &[("LISTEN_FDNAMES", "portcullis.socket")]);
    let address = elsewhere.local_addr().unwrap();
    assert_eq!(
        told,
        format!(
            "portcullis: the service manager has passed a socket that listens at {address} (portcullis.socket), and nothing \
             under `listen` is at this address; write it there as `https`, `http` or `internal`, or take `ListenStream=` \
             with it out of the socket unit"
        )
    );
    // The right port, and another address.
    let everywhere = TcpListener::bind(("0.0.0.0", place.port)).unwrap();
    let told = refused(&place, everywhere.as_fd(), &[]);
    assert!(told.contains(&format!("listens at 0.0.0.0:{}, and nothing", place.port)), "{told}");
}

#[test]
fn what_is_no_listening_tcp_socket_is_told() {
    let place = Place::new();
    let listener = listener(place.port);
    let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let local = UnixDatagram::unbound().unwrap();
    for (what, socket) in
        [("connected", connected.as_fd()), ("udp", datagrams.as_fd()), ("unix", local.as_fd())]
    {
        assert_eq!(
            refused(&place, socket, &[("LISTEN_FDNAMES", what)]),
            format!(
                "portcullis: file descriptor 3 ({what}), which the service manager has passed, is no listening TCP socket; \
                 write `ListenStream=ADDRESS:PORT` and no `Accept=yes` in the socket unit"
            )
        );
    }
    // Fewer than the number says.
    let told = refused(&place, listener.as_fd(), &[("LISTEN_FDS", "2")]);
    assert!(told.starts_with("portcullis: file descriptor 4, which the service manager"), "{told}");
    assert_eq!(
        refused(&place, listener.as_fd(), &[("LISTEN_FDS", "some")]),
        "portcullis: LISTEN_FDS is `some`, which is no number of sockets; whatever starts portcullis must write how many it passes"
    );
}

#[test]
fn what_is_meant_for_another_process_is_left_alone() {
    let place = Place::new();
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let file = place.write("serve.yaml", &plain(NOBODY.into(), ""));
    let _process = handed(&file, &[elsewhere.as_fd()], &[("LISTEN_PID", "1")]).listening();
    TcpStream::connect(place.address()).unwrap();
}

/// The next thing that the service manager is told.
fn told(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 1000];
    let read = manager.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..read].to_vec()).unwrap()
}

#[tokio::test]
async fn the_service_manager_is_told_of_start_reload_and_stop() {
    let place = Place::new();
    let path = place.folder().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let yaml = plain(NOBODY.into(), "");
    let mut process = place.start_in(&yaml, &[("NOTIFY_SOCKET", path.to_str().unwrap())]);
    let ready = format!("READY=1\nSTATUS=serving 1 service, issuer http://localhost:{}", place.port);
    assert_eq!(told(&manager), ready);
    let reloaded = || {
        process.signal("HUP");
        let told = told(&manager);
        let micros = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{told}"));
        assert!(micros.parse::<u64>().unwrap() > 0, "{told}");
    };
    reloaded();
    assert_eq!(told(&manager), ready);
    place.write("serve.yaml", &yaml.replace("workers: 1", "workers: many"));
    reloaded();
    assert_eq!(told(&manager), format!("{ready}; the newest configuration was refused, see the log"));
    process.signal("TERM");
    assert_eq!(told(&manager), "STOPPING=1\nSTATUS=stopping: open requests may finish");
    assert_eq!(process.ended().await.0, 0);
}

#[tokio::test]
async fn as_many_files_may_be_open_as_the_hard_limit_allows() {
    let place = Place::new();
    let file = place.write("serve.yaml", &plain(NOBODY.into(), ""));
    let mut program = Command::new("bash");
    program.args(["-c", "ulimit -Sn 128; ulimit -Hn 4000; exec \"$0\" serve \"$1\""]);
    let process = Process::of(program.arg(env!("CARGO_BIN_EXE_portcullis")).arg(file)).listening();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>()[3..5], ["4000", "4000"], "{line}");
}
