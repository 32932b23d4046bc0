//! What a client meets that knows nothing but a URL.

use std::net::SocketAddr;

use url::Url;

use super::Examination;

/// A client, as it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// claude.ai and Claude Desktop.
    Claude,
    /// `ChatGPT`.
    ChatGpt,
    /// Visual Studio Code.
    VsCode,
    /// Cursor.
    Cursor,
    /// The MCP Inspector.
    Inspector,
}

/// How an MCP server is looked at from outside.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// As which client; as all of them if none is named.
    pub client: Option<Client>,
    /// Who is asked for addresses; the system if nobody is named.
    pub resolver: Option<SocketAddr>,
    /// Further certificate authorities that are trusted, in PEM.
    pub roots: Option<Vec<u8>>,
}

/// Looks at the MCP server at `url` as clients do. What is known of it is told under the name `subject`.
pub async fn examine(examination: &Examination<'_>, subject: &str, url: &Url, manner: &Manner) {
    let (_, _, _, _) = (examination, subject, url, manner);
}
