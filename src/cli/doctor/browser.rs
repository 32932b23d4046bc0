//! The browser of the person at the terminal.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::{Command, Stdio};

use url::Url;

use crate::doctor::outside::{Browser, is_page};

/// Prints the URL, and opens it where a person looks.
pub(super) struct Opener;

/// What opens a URL, by system.
const OPENERS: &[&str] = if cfg!(target_os = "macos") { &["open"] } else { &["xdg-open"] };

impl Browser for Opener {
    fn open(&self, url: &Url) {
        // What opens pages starts programs, too: whoever gave the URL, it must be a page.
        if !is_page(url) {
            return;
        }
        // A terminal that is gone needs no URL.
        drop(writeln!(io::stderr(), "\r\x1b[KOpen this page, and sign in:\n  {url}"));
        if !io::stderr().is_terminal() || !io::stdin().is_terminal() {
            return;
        }
        for opener in OPENERS {
            let mut command = Command::new(opener);
            command.arg(url.as_str()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            if command.spawn().is_ok() {
                return;
            }
        }
    }
}
