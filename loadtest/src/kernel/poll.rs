//! Waiting until one of several sockets has something.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// One socket that is waited for.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Interest(libc::pollfd);

impl Interest {
    /// Waits for datagrams on this socket, as long as that is open.
    pub(crate) fn in_socket(socket: &UdpSocket) -> Self {
        Self(libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 })
    }

    /// True if the last wait found something (a datagram, or an error to be read).
    pub(crate) fn is_ready(&self) -> bool {
        self.0.revents != 0
    }
}

/// Waits until a socket can be read from, or the time is over; zero: only looks.
///
/// # Errors
/// What the kernel said; a signal is none.
pub(crate) fn wait_readable(interests: &mut [Interest], patience: Duration) -> io::Result<()> {
    let patience = libc::timespec {
        tv_sec: patience.as_secs() as libc::time_t,
        tv_nsec: patience.subsec_nanos().into(),
    };
    // SAFETY: `Interest` is a pollfd and nothing else; list and time live until the call returns.
    let ready = unsafe {
        libc::ppoll(
            interests.as_mut_ptr().cast(),
            interests.len() as libc::nfds_t,
            &raw const patience,
            std::ptr::null(),
        )
    };
    if ready < 0 {
        interests.iter_mut().for_each(|interest| interest.0.revents = 0);
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_socket_with_a_datagram_is_ready() {
        let (a, b) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let mut interests = [Interest::in_socket(&a), Interest::in_socket(&b)];
        wait_readable(&mut interests, Duration::ZERO).unwrap();
        assert!(!interests.iter().any(Interest::is_ready));
        a.send_to(b"x", b.local_addr().unwrap()).unwrap();
        wait_readable(&mut interests, Duration::from_secs(5)).unwrap();
        assert_eq!(interests.map(|interest| interest.is_ready()), [false, true]);
    }
}
