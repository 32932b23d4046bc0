//! Where `expose` keeps what belongs to one URL: the store, the secret key, and what was asked for.

use std::path::{Path, PathBuf};

use url::Url;

use crate::cli::state;

/// The folder, which nobody else can look into.
#[derive(Clone, Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// The folder of a host and port, which it is another gateway at; or the one that was asked for.
    ///
    /// # Errors
    /// If it cannot be made, or others can look into it.
    pub(super) fn of(url: &Url, asked: Option<&Path>) -> anyhow::Result<Self> {
        let folder = match asked {
            Some(folder) => folder.to_owned(),
            None => state::of_machine()?.join("portcullis").join(name(url)),
        };
        // The store's path is shown, and is to be found from elsewhere.
        let folder = std::path::absolute(&folder)?;
        state::open_private(&folder)?;
        Ok(Self(folder))
    }

    /// A file in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The folder itself.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

/// `mcp.example.com`, or `localhost-8080`.
fn name(url: &Url) -> String {
    let host: String = url.host_str().unwrap_or_default().chars().filter(|c| !"[]".contains(*c)).collect();
    let host = host.replace(':', "_");
    url.port().map_or(host.clone(), |port| format!("{host}-{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_origin_has_a_folder_of_its_own() {
        let name = |text: &str| name(&Url::parse(text).unwrap());
        assert_eq!(name("https://mcp.example.com/mcp"), "mcp.example.com");
        assert_eq!(name("https://mcp.example.com:443/mcp"), "mcp.example.com");
        assert_eq!(name("http://localhost:8080/mcp"), "localhost-8080");
        assert_eq!(name("http://[::1]:8080/mcp"), "__1-8080");
    }
}
