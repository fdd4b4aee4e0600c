//! UDP ports before the workers open them: choosing a free one, and finding out who else has one.
//!
//! The workers' sockets have SO_REUSEPORT, so the kernel lets a second balancer of the same user
//! open them too and silently gives it a share of the datagrams. A plain bind finds that out.

use super::Failure;
use crate::config::Listener;
use crate::proxy::LocalSocket;
use std::io::{Error, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// A killed predecessor: the kernel closes the sockets that its rings held a moment after its end.
const BUSY_PATIENCE: Duration = Duration::from_secs(1);
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Gives a free port to each listener that asks for port 0 (tests and the demo do).
///
/// # Errors
/// When the address cannot be bound at all.
pub(super) fn choose(listeners: &mut [Listener]) -> Result<(), Failure> {
    let mut held = Vec::new(); // until each has its own
    for listener in listeners.iter_mut().filter(|listener| listener.bind.port() == 0) {
        let bound = UdpSocket::bind(listener.bind).and_then(|socket| {
            let port = socket.local_addr()?.port();
            held.push(socket);
            Ok(port)
        });
        let refused = |error| Failure::bind(&format!("listener udp:{}", listener.bind), &error);
        let port = bound.map_err(refused)?;
        listener.bind.set_port(port);
    }
    Ok(())
}

/// Refuses addresses that another process has.
///
/// # Errors
/// The first address that is still busy after a second, or that may not be bound.
pub(super) fn refuse_busy(sockets: &[LocalSocket]) -> Result<(), Failure> {
    let deadline = Instant::now() + BUSY_PATIENCE;
    for socket in sockets {
        while let Err(error) = bind(socket.address) {
            if error.kind() != ErrorKind::AddrInUse || Instant::now() >= deadline {
                return Err(Failure::bind(&format!("udp:{}", socket.address), &error));
            }
            std::thread::sleep(BUSY_PAUSE);
        }
    }
    Ok(())
}

/// Binds and lets go. An address that is not here yet may float in later (IP_FREEBIND).
fn bind(address: SocketAddr) -> Result<(), Error> {
    match UdpSocket::bind(address) {
        Err(error) if error.kind() != ErrorKind::AddrNotAvailable => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::Role;

    fn listener(bind: &str) -> Listener {
        Listener { bind: bind.parse().expect("an address"), advertise: None }
    }

    fn local(address: SocketAddr) -> LocalSocket {
        LocalSocket { address, advertise: None, role: Role::Listener }
    }

    #[test]
    fn port_0_becomes_a_free_port_of_its_own() {
        let mut listeners = ["127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:5060"].map(listener);
        choose(&mut listeners).unwrap();
        let [one, two, fixed] = listeners.map(|listener| listener.bind.port());
        assert!(one != 0 && two != 0 && one != two, "{one} {two}");
        assert_eq!(fixed, 5060);
    }

    #[test]
    fn an_address_of_another_machine_has_no_free_port() {
        let failure = choose(&mut [listener("203.0.113.77:0")]).unwrap_err();
        assert_eq!(failure.exit, Failure::UNAVAILABLE);
        assert!(failure.text.contains("203.0.113.77:0"), "{failure}");
    }

    #[test]
    fn a_busy_port_is_refused_and_a_freed_one_is_not() {
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap();
        let failure = refuse_busy(&[local(address)]).unwrap_err();
        assert_eq!(failure.exit, Failure::UNAVAILABLE);
        assert!(failure.text.contains(&address.to_string()), "{failure}");
        drop(other);
        assert_eq!(refuse_busy(&[local(address)]), Ok(()));
    }

    #[test]
    fn a_port_that_is_freed_while_we_look_is_waited_for() {
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap();
        let holder = std::thread::spawn(move || {
            std::thread::sleep(BUSY_PAUSE);
            drop(other);
        });
        assert_eq!(refuse_busy(&[local(address)]), Ok(()));
        holder.join().unwrap();
    }

    #[test]
    fn a_floating_address_is_not_refused() {
        assert_eq!(refuse_busy(&[local("203.0.113.77:5060".parse().unwrap())]), Ok(()));
    }
}
