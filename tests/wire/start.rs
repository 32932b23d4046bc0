//! What keeps a gateway from starting is said, and the exit status tells it too.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use crate::client::Client;
use crate::process::{Place, plain};

const NOBODY: ([u8; 4], u16) = ([127, 0, 0, 1], 9);

#[tokio::test]
async fn a_bad_configuration_is_told_whole_by_check_and_by_serve() {
    let place = Place::new();
    let bad = plain(NOBODY.into(), "drain: soon\nworkerz: 2")
        .replace("issuer: http://localhost:{port}", "issuer: http://localhost:{port}/")
        .replace(&"5a".repeat(32), "5a5a");
    for command in ["check", "serve"] {
        let (status, told) = place.run(command, &bad);
        assert_eq!(status, 78, "{told}");
        for line in ["1:9", "2:13", "9:8", "10:1"] {
            assert!(told.contains(&format!("run.yaml:{line}: ")), "{line}: {told}");
        }
        assert!(told.contains("an issuer has no slash at its end"), "{told}");
        assert!(told.contains("workerz"), "{told}");
        assert!(!told.contains("5a5a"), "the secret is not repeated: {told}");
    }
    let (status, told) = place.run("check", &plain(NOBODY.into(), ""));
    assert_eq!(status, 0, "{told}");
    assert!(told.contains("run.yaml: good; 1 service, issuer http://localhost:"), "{told}");
}

// trouble: port-in-use
#[test]
fn a_taken_port_is_told_with_its_address() {
    let place = Place::new();
    let _taken = TcpListener::bind(place.address()).unwrap();
    let (status, told) = place.run("serve", &plain(NOBODY.into(), ""));
    assert_eq!(status, 1, "{told}");
    let holder = format!("portcullis: port {} is taken by ", place.address().port());
    let cause = format!(
        "cannot listen on {}: Address already in use (os error 98)\nmore: portcullis doctor --explain port-in-use\n",
        place.address()
    );
    let process = format!("(process {})", std::process::id());
    assert!(told.contains(&holder) && told.contains(&process) && told.ends_with(&cause), "{told}");
    assert!(!place.folder().join("portcullis.db").exists(), "nothing is made before the port is ours");
}

#[test]
fn the_folder_of_a_store_is_made_and_check_makes_nothing() {
    let place = Place::new();
    let folder = place.folder().join("data");
    let yaml =
        plain(NOBODY.into(), "").replace("file:{folder}/portcullis.db", "file:{folder}/data/portcullis.db");
    let (status, told) = place.run("check", &yaml);
    assert_eq!((status, folder.exists()), (0, false), "{told}");
    let process = place.start(&yaml);
    assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    let told = "the folder of the store was not there, and was made";
    assert!(process.log().contains(told) && folder.join("portcullis.db").exists(), "{}", process.log());

    let deeper = yaml.replace("/data/", "/no/data/").replace("127.0.0.1:{port}", "127.0.0.1:{second}");
    let (status, told) = place.run("serve", &deeper);
    assert_eq!(status, 1, "{told}");
    let missing = place.folder().join("no/data");
    let text =
        format!("portcullis: the folder {} of the store does not exist; create it, ", missing.display());
    assert!(told.contains(&text) && !place.folder().join("no").exists(), "{told}");
}

// trouble: secret-key-changed
#[tokio::test]
async fn another_secret_key_does_not_open_the_store() {
    let place = Place::new();
    let yaml = plain(NOBODY.into(), "");
    let mut process = place.start(&yaml);
    Client::plain(&place).sign_in("alice").await;
    process.signal("TERM");
    assert_eq!(process.ended().await.0, 0);
    let (status, told) = place.run("serve", &yaml.replace(&"5a".repeat(32), &"5b".repeat(32)));
    assert_eq!(status, 1, "{told}");
    assert!(told.contains("portcullis: secret_key is not the one this store was made with"), "{told}");
    assert!(told.ends_with("\nmore: portcullis doctor --explain secret-key-changed\n"), "{told}");
    let _the_old_one = place.start(&yaml);
}

#[test]
fn a_file_that_another_process_has_open_is_told() {
    let place = Place::new();
    let yaml = plain(NOBODY.into(), "");
    let _first = place.start(&yaml);
    let second = yaml.replace("127.0.0.1:{port}", "127.0.0.1:{second}");
    let (status, told) = place.run("serve", &second);
    assert_eq!(status, 1, "{told}");
    assert!(told.contains("portcullis: another process has the store open"), "{told}");
    assert!(told.ends_with("\nmore: portcullis doctor --explain store-file\n"), "{told}");
}

#[test]
fn a_store_that_is_away_is_told_without_its_password() {
    let place = Place::new();
    let url = "redis://:hunter2-hunter2@127.0.0.1:{second}/0";
    let yaml = plain(NOBODY.into(), "").replace("file:{folder}/portcullis.db", url);
    let (status, told) = place.run("serve", &yaml);
    assert_eq!(status, 1, "{told}");
    assert!(told.contains("portcullis: the store is away: "), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
    assert!(told.ends_with("\nmore: portcullis doctor --explain redis-down\n"), "{told}");
}
