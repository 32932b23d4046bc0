//! What the doctor does not even begin with.

use std::process::Command;

/// The exit status, and what was said of it.
fn refused(arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    let output = command.arg("doctor").args(arguments).env_remove("PORTCULLIS_CONFIG").output().unwrap();
    assert!(output.stdout.is_empty());
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn what_cannot_be_looked_at_ends_with_2_and_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    let (empty, absent) = (empty.to_str().unwrap(), folder.path().join("absent.pem"));
    let at = ["--from-outside", "https://mcp.example.com/mcp"];
    for (arguments, said) in [
        (
            &["--from-outside", "mcp.example.com/mcp"][..],
            "write the whole URL, such as https://mcp.example.com/mcp",
        ),
        (
            &["--from-outside", "https://u:p@mcp.example.com/"],
            "leave out what is before the @ and after the #",
        ),
        (&[at[0], at[1], "--ca", empty], "there is no certificate (BEGIN CERTIFICATE) in it"),
        (&[at[0], at[1], "--ca", absent.to_str().unwrap()], "No such file or directory"),
        (&[at[0], at[1], "--timeout", "5"], "--login"),
        (&[at[0], at[1], "--service", "todo"], "cannot be used with"),
        (&[at[0], at[1], "--resolver", "resolver.example"], "write the address of a DNS server"),
        (&["--login"], "--from-outside"),
        (&["--register"], "--from-outside"),
    ] {
        let (status, told) = refused(arguments);
        assert!(status == 2 && told.contains(said), "{arguments:?}: {status} {told}");
    }
}
