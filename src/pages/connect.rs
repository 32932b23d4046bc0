//! How a person connects a client to a service: the URL to paste, and what opens or sets up each client.

use askama::Template;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

/// What RFC 3986 §2.3 leaves as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// One service, with a way to connect for each of the known clients.
#[derive(Clone, Copy, Debug, Template)]
#[template(path = "connect.html", config = ".askama.toml")]
pub struct Connect<'a> {
    /// Its name in the configuration.
    pub name: &'a str,
    /// Its URL, byte for byte.
    pub url: &'a str,
    /// Whether nobody signs in to it.
    pub public: bool,
}

impl Connect<'_> {
    /// The command that adds it to Claude Code.
    #[must_use]
    pub fn claude_code(&self) -> String {
        format!("claude mcp add --transport http {} {}", self.name, quoted(self.url))
    }

    /// The link that Cursor installs a server by: the server's part of `mcp.json`, in base64.
    #[must_use]
    pub fn cursor(&self) -> String {
        let config = STANDARD.encode(json!({ "url": self.url }).to_string());
        format!(
            "cursor://anysphere.cursor-deeplink/mcp/install?name={}&config={}",
            utf8_percent_encode(self.name, ENCODED),
            utf8_percent_encode(&config, ENCODED)
        )
    }

    /// The link that Visual Studio Code installs a server by: the server's part of `mcp.json` and its name.
    #[must_use]
    pub fn vscode(&self) -> String {
        let config = json!({ "name": self.name, "type": "http", "url": self.url }).to_string();
        format!("vscode:mcp/install?{}", utf8_percent_encode(&config, ENCODED))
    }
}

/// A word of a POSIX shell's command line.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:@%+=,".contains(&byte);
    if word.bytes().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ODD: Connect<'_> =
        Connect { name: "to-do", url: "https://todo.example.com/it's/(a)&b?x=1", public: false };

    #[test]
    fn a_link_says_what_the_client_s_own_file_would_say() {
        let plain = Connect { name: "todo", url: "https://todo.example.com/mcp", public: false };
        assert_eq!(
            plain.cursor(),
            "cursor://anysphere.cursor-deeplink/mcp/install?name=todo&config=eyJ1cmwiOiJodHRwczovL3RvZG8uZXhhbXBsZS5jb20vbWNwIn0%3D"
        );
        assert_eq!(
            plain.vscode(),
            "vscode:mcp/install?%7B%22name%22%3A%22todo%22%2C%22type%22%3A%22http%22%2C%22url%22%3A%22https%3A%2F%2Ftodo.example.com%2Fmcp%22%7D"
        );
        assert_eq!(plain.claude_code(), "claude mcp add --transport http todo https://todo.example.com/mcp");
    }

    #[test]
    fn what_a_link_carries_is_read_back_whole() {
        let decoded =
            |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
        let (_, config) =
            ODD.cursor().split_once("&config=").map(|(a, b)| (a.to_owned(), decoded(b))).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&STANDARD.decode(config).unwrap()).unwrap();
        assert_eq!(config, json!({ "url": ODD.url }));
        let (_, config) = ODD.vscode().split_once('?').map(|(a, b)| (a.to_owned(), decoded(b))).unwrap();
        let config: serde_json::Value = serde_json::from_str(&config).unwrap();
        assert_eq!(config, json!({ "name": "to-do", "type": "http", "url": ODD.url }));
    }

    #[test]
    fn a_shell_reads_the_url_as_one_word() {
        assert_eq!(quoted(ODD.url), r"'https://todo.example.com/it'\''s/(a)&b?x=1'");
        assert_eq!(quoted("http://[::1]:8080/mcp"), "'http://[::1]:8080/mcp'");
    }
}
