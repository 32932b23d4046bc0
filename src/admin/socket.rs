//! The socket file: there for its owner alone from its first moment, gone when the gateway has ended.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

/// How many commands may wait to be accepted.
const BACKLOG: i32 = 64;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process answers there.
    #[error("another process{} listens at the admin socket {path}; stop it, or write another path under `admin_socket`", by(*.process))]
    Taken {
        /// Which socket.
        path: PathBuf,
        /// Whose, where the system tells it.
        process: Option<i32>,
    },
    /// Something that is no socket has its name.
    #[error("{0} is no socket; take it away, or write another path under `admin_socket`")]
    NoSocket(PathBuf),
    /// It cannot be made.
    #[error(
        "cannot make the admin socket {path}; write a path under `admin_socket` in a folder that this user may write, or off"
    )]
    Make {
        /// Which socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn by(process: Option<i32>) -> String {
    process.map(|process| format!(" (process {process})")).unwrap_or_default()
}

/// The file of a listening socket, removed when this is dropped.
pub(super) struct File {
    path: PathBuf,
    /// Which file it is: after a start of the next gateway there is another of the same name.
    inode: (u64, u64),
    /// Whose it is: the user that runs this process.
    pub(super) owner: u32,
}

/// Listens at `path`. What a dead process has left there is replaced.
pub(super) fn listen(path: &Path) -> Result<(UnixListener, File), SocketError> {
    make_room(path)?;
    bind(path).map_err(|source| SocketError::Make { path: path.to_owned(), source })
}

fn bind(path: &Path) -> io::Result<(UnixListener, File)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let about = fs::symlink_metadata(path)?;
    let file = File { path: path.to_owned(), inode: (about.dev(), about.ino()), owner: about.uid() };
    // Before it listens: until then nobody can connect, whatever the mode.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok((UnixListener::from_std(socket.into())?, file))
}

fn make_room(path: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::Make { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(there) if !there.file_type().is_socket() => return Err(SocketError::NoSocket(path.to_owned())),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(stream) => {
            let process = peer(stream);
            Err(SocketError::Taken { path: path.to_owned(), process })
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// The process at the other end.
fn peer(stream: UnixStream) -> Option<i32> {
    stream.set_nonblocking(true).ok()?;
    tokio::net::UnixStream::from_std(stream).ok()?.peer_cred().ok()?.pid()
}

impl Drop for File {
    fn drop(&mut self) {
        let ours =
            fs::symlink_metadata(&self.path).is_ok_and(|there| (there.dev(), there.ino()) == self.inode);
        if ours {
            drop(fs::remove_file(&self.path));
        }
    }
}
