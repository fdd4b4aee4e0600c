//! The Unix socket of the admin server: for its owner and its group alone, and gone at the end.

use super::Failure;
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream};
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;

/// Owner and group may write, and so connect.
const MODE: u32 = 0o660;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// A bound control socket.
#[derive(Debug)]
pub(super) struct Control {
    listener: StdListener,
    path: Removed,
}

/// Takes the path away when it is dropped.
#[derive(Debug)]
pub(super) struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0); // whoever has taken it away has done so for us
    }
}

impl Control {
    /// Binds; a socket that a killed predecessor has left there is replaced.
    ///
    /// # Errors
    /// When another process serves there, something else is there, or the directory is not ours.
    pub(super) fn bind(path: &Path) -> Result<Self, Failure> {
        let refused = |error: io::Error| {
            let exit = match error.kind() {
                ErrorKind::PermissionDenied => Failure::PERMISSION,
                _ => Failure::UNAVAILABLE,
            };
            let text = format!(
                "control socket {}: {error}; its directory must exist and be writable, and no other \
                 process may serve there",
                path.display()
            );
            Failure { exit, text }
        };
        remove_left_over(path).map_err(refused)?;
        let listener = listen(path).map_err(refused)?;
        Ok(Self { listener, path: Removed(path.to_owned()) })
    }

    /// The listener of the runtime, and its path, which is to be dropped with it.
    ///
    /// # Errors
    /// When the runtime cannot watch the socket.
    pub(super) fn listen(self) -> io::Result<(UnixListener, Removed)> {
        Ok((UnixListener::from_std(self.listener)?, self.path))
    }
}

/// Nobody can connect before the mode is set: that takes a socket that listens.
fn listen(path: &Path) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// A socket at which nobody answers is left over.
fn remove_left_over(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => match UnixStream::connect(path) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
            Err(error) => Err(error),
            Ok(_) => Err(ErrorKind::AddrInUse.into()),
        },
        Ok(_) => Err(io::Error::new(ErrorKind::AlreadyExists, "something else is there")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_for_owner_and_group_and_goes_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let control = Control::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        assert!(UnixStream::connect(&path).is_ok());
        let failure = Control::bind(&path).unwrap_err();
        assert_eq!(failure.exit, Failure::UNAVAILABLE, "{failure}");
        drop(control);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_left_over_is_replaced_and_anything_else_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        drop(StdListener::bind(&path).unwrap());
        assert!(path.exists(), "as a killed process leaves it");
        drop(Control::bind(&path).unwrap());
        fs::write(&path, "a file").unwrap();
        assert!(Control::bind(&path).unwrap_err().text.contains("something else"));
        assert_eq!(fs::read(&path).unwrap(), b"a file");
        assert!(Control::bind(&directory.path().join("none/control.sock")).is_err());
    }
}
