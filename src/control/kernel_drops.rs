//! Datagrams that the kernel has thrown away because a socket's receive buffer was full: read from
//! `/proc/net/udp` and `/proc/net/udp6` about once a second, since no worker ever hears of them.

use crate::metrics::SocketDrops;
use crate::proxy::{LocalSocket, Role};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The label of all ports towards the backends together.
const BACKEND_PORTS: &str = "backend_ports";

/// Follows the counts of the process's sockets: what a socket has counted stays when it is closed.
#[derive(Debug, Default)]
pub(super) struct KernelDrops {
    /// What each socket said last, by inode.
    last: HashMap<u64, u64>,
}

impl KernelDrops {
    /// Reads the counts and adds what is new to `drops`. Without `/proc` nothing is added.
    pub(super) fn look(&mut self, sockets: &[LocalSocket], drops: &SocketDrops) {
        let rows = ["/proc/self/net/udp", "/proc/self/net/udp6"].map(std::fs::read_to_string);
        self.take(rows.iter().flatten().flat_map(|text| rows_of(text)), sockets, drops);
    }

    fn take(
        &mut self,
        rows: impl Iterator<Item = Row>,
        sockets: &[LocalSocket],
        drops: &SocketDrops,
    ) {
        let labels: HashMap<_, _> =
            sockets.iter().filter_map(|one| Some((one.address, label(one)?))).collect();
        drops.keep(labels.values());
        let mut seen = HashMap::with_capacity(self.last.len());
        for row in rows {
            let Some(label) = labels.get(&row.local) else { continue };
            let before = self.last.get(&row.inode).copied().unwrap_or(0);
            drops.add(label, row.drops.saturating_sub(before));
            seen.insert(row.inode, row.drops);
        }
        self.last = seen;
    }
}

fn label(socket: &LocalSocket) -> Option<String> {
    match socket.role {
        Role::Listener | Role::Leaving => Some(format!("udp:{}", socket.address)),
        Role::BackendPort => Some(BACKEND_PORTS.to_owned()),
        Role::Gone => None,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    local: SocketAddr,
    inode: u64,
    drops: u64,
}

/// The rows of such a file; its head line is none.
fn rows_of(text: &str) -> impl Iterator<Item = Row> {
    text.lines().filter_map(|line| {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        Some(Row {
            local: address(words.get(1)?)?,
            inode: words.get(9)?.parse().ok()?,
            drops: words.get(12)?.parse().ok()?,
        })
    })
}

/// `0100007F:13C4`: an address as the words of memory that it stands in, and a port.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        host.get(8 * at..8 * (at + 1)).and_then(|word| u32::from_str_radix(word, 16).ok())
    };
    let host = match host.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?.to_ne_bytes())),
        32 => {
            let mut bytes = [0; 16];
            for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(at)?.to_ne_bytes());
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(host, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn a_socket_whose_buffer_overflows_is_found_out() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let receiver = UdpSocket::bind(host).unwrap();
            socket2::SockRef::from(&receiver).set_recv_buffer_size(4096).unwrap();
            let local = receiver.local_addr().unwrap();
            let (mut look, drops) = (KernelDrops::default(), SocketDrops::default());
            let sockets = [LocalSocket::new(local, Role::Listener)];
            look.look(&sockets, &drops);
            assert_eq!(drops.all(), [(format!("udp:{local}"), 0)]);
            let sender = UdpSocket::bind((local.ip(), 0)).unwrap();
            (0..100).for_each(|_| assert_eq!(sender.send_to(&[0; 1000], local).unwrap(), 1000));
            look.look(&sockets, &drops);
            let counted = drops.all()[0].1;
            assert!((1..100).contains(&counted), "{counted}");
            look.look(&sockets, &drops);
            assert_eq!(drops.all()[0].1, counted, "counted once");
        }
    }

    #[test]
    fn counts_stay_when_a_socket_goes_and_go_with_the_listener() {
        let [one, port] = ["127.0.0.1:5060", "127.0.0.1:15060"].map(|a| a.parse().unwrap());
        let sockets =
            [LocalSocket::new(one, Role::Listener), LocalSocket::new(port, Role::BackendPort)];
        let (mut look, drops) = (KernelDrops::default(), SocketDrops::default());
        let row = |local, inode, drops| Row { local, inode, drops };
        look.take([row(one, 1, 5), row(one, 2, 2), row(port, 3, 1)].into_iter(), &sockets, &drops);
        look.take([row(one, 1, 6), row(port, 4, 1)].into_iter(), &sockets, &drops);
        let all = [("backend_ports".to_owned(), 2), ("udp:127.0.0.1:5060".to_owned(), 8)];
        assert_eq!(drops.all(), all);
        let gone = [LocalSocket::new(one, Role::Gone), sockets[1].clone()];
        look.take([row(one, 1, 6)].into_iter(), &gone, &drops);
        assert_eq!(drops.all(), all[..1]);
    }

    #[test]
    fn what_is_no_row_is_passed_over() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   \
                    uid  timeout inode ref pointer drops\n\
                    1: 0100007F:13C4 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 \
                    77 2 0 9\n 2: 0100007F:13C4 00000000\n\u{e9}\u{e9}\u{e9}: \u{e9}:1\n";
        let row = Row { local: "127.0.0.1:5060".parse().unwrap(), inode: 77, drops: 9 };
        assert_eq!(rows_of(text).collect::<Vec<_>>(), [row]);
    }
}
