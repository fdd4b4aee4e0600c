//! A free UDP port for each listener that asks for one; the workers open it then.

use super::Failure;
use crate::config::Listener;
use std::net::UdpSocket;

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

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(bind: &str) -> Listener {
        Listener { bind: bind.parse().expect("an address"), advertise: None, force_rport: false }
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
}
