//! Many datagrams with one call: recvmmsg, and sendmmsg with UDP_SEGMENT for neighbours of one size.

use super::{NAME_LENGTH, from_name, to_name};
use std::io::{self, ErrorKind};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;

/// Datagrams of one call.
const BATCH: usize = 64;
/// The largest datagram that is taken whole; SIP over UDP stays far below.
const DATAGRAM_SIZE_MAX: usize = 4096;
/// Segments of one send that every kernel with UDP_SEGMENT takes, and bytes of them in all.
const SEGMENTS_MAX: usize = 64;
const TRAIN_BYTES_MAX: usize = 65_000;
/// Room for one control message with a u16.
const CONTROL_WORDS: usize = 3;
/// Calls in a row that may take nothing before the rest is given up.
const REFUSALS_MAX: u32 = 16;

/// Where datagrams are received into.
pub(crate) struct Inbox {
    bytes: Box<[[u8; DATAGRAM_SIZE_MAX]]>,
    names: Box<[libc::sockaddr_in]>,
    pieces: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    count: usize,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        let piece = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        let nobody = to_name(SocketAddrV4::new([0, 0, 0, 0].into(), 0));
        Self {
            bytes: vec![[0; DATAGRAM_SIZE_MAX]; BATCH].into(),
            names: vec![nobody; BATCH].into(),
            pieces: vec![piece; BATCH].into(),
            headers: vec![empty_header(); BATCH].into(),
            count: 0,
        }
    }

    /// Takes what is there, without waiting; what was there before is forgotten. The number of
    /// datagrams: 0 if there are none, fewer than a whole batch if there are no more.
    ///
    /// # Errors
    /// What the kernel said; ECONNREFUSED on a connected socket whose peer is gone.
    pub(crate) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.count = 0;
        for place in 0..BATCH {
            self.pieces[place] = libc::iovec {
                iov_base: self.bytes[place].as_mut_ptr().cast(),
                iov_len: DATAGRAM_SIZE_MAX,
            };
            let header = &mut self.headers[place].msg_hdr;
            header.msg_name = ptr::from_mut(&mut self.names[place]).cast();
            header.msg_namelen = NAME_LENGTH;
            header.msg_iov = &raw mut self.pieces[place];
            header.msg_iovlen = 1;
        }
        // SAFETY: every header was just pointed at a name, a piece and bytes of its own in `self`,
        // which is borrowed until the call returns.
        let taken = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        match usize::try_from(taken) {
            Ok(count) => self.count = count,
            Err(_) => {
                let error = io::Error::last_os_error();
                if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) {
                    return Err(error);
                }
            }
        }
        Ok(self.count)
    }

    /// True if the last call may have left some in the socket.
    pub(crate) fn was_full(&self) -> bool {
        self.count == BATCH
    }

    /// The bytes of one datagram of the last call, and where it came from.
    pub(crate) fn datagram(&self, place: usize) -> (&[u8], SocketAddrV4) {
        let length = (self.headers[place].msg_len as usize).min(DATAGRAM_SIZE_MAX);
        (&self.bytes[place][..length], from_name(&self.names[place]))
    }
}

/// Whether neighbours of one size and one destination leave as one UDP_SEGMENT send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trains {
    Off,
    EqualSizes,
}

/// What datagrams are sent with.
pub(crate) struct Postman {
    trains: Trains,
    names: Box<[libc::sockaddr_in]>,
    pieces: Vec<libc::iovec>,
    headers: Box<[libc::mmsghdr]>,
    control: Box<[[u64; CONTROL_WORDS]]>,
    /// Calls that sent something.
    pub(crate) calls: u64,
}

impl Postman {
    pub(crate) fn new(trains: Trains) -> Self {
        let nobody = to_name(SocketAddrV4::new([0, 0, 0, 0].into(), 0));
        Self {
            trains,
            names: vec![nobody; BATCH].into(),
            pieces: Vec::new(),
            headers: vec![empty_header(); BATCH].into(),
            control: vec![[0; CONTROL_WORDS]; BATCH].into(),
            calls: 0,
        }
    }

    /// Sends datagrams in their order, without waiting; `to` is `None` on a connected socket. How
    /// many could not be sent: the kernel had no room, or a peer is gone.
    pub(crate) fn send(
        &mut self,
        socket: &UdpSocket,
        datagrams: &[(&[u8], Option<SocketAddrV4>)],
    ) -> usize {
        let mut lost = 0;
        for chunk in datagrams.chunks(BATCH) {
            lost += self.send_chunk(socket, chunk);
        }
        lost
    }

    fn send_chunk(
        &mut self,
        socket: &UdpSocket,
        mut datagrams: &[(&[u8], Option<SocketAddrV4>)],
    ) -> usize {
        let mut refusals = 0;
        while !datagrams.is_empty() {
            let count = self.load(datagrams);
            // SAFETY: `load` has pointed `count` headers at names, pieces and control messages in
            // `self`, and the pieces at `datagrams`; all are borrowed until the call returns.
            let sent = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    self.headers.as_mut_ptr(),
                    count as u32,
                    libc::MSG_DONTWAIT,
                )
            };
            match usize::try_from(sent) {
                Ok(sent) => {
                    self.calls += 1;
                    let gone = self.headers[..sent].iter().map(|h| h.msg_hdr.msg_iovlen).sum();
                    datagrams = &datagrams[gone..];
                }
                // An ICMP error of an earlier datagram: told once, and nothing of this was sent.
                Err(_) => {
                    refusals += 1;
                    if refusals == REFUSALS_MAX {
                        return datagrams.len();
                    }
                }
            }
        }
        0
    }

    /// Fills headers for all of a chunk; how many.
    fn load(&mut self, datagrams: &[(&[u8], Option<SocketAddrV4>)]) -> usize {
        self.pieces.clear();
        self.pieces.extend(datagrams.iter().map(|(bytes, _)| libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(), // sendmmsg only reads
            iov_len: bytes.len(),
        }));
        let (mut count, mut first) = (0, 0);
        while first < datagrams.len() {
            let segments = match self.trains {
                Trains::Off => 1,
                Trains::EqualSizes => train(&datagrams[first..]),
            };
            let (bytes, to) = datagrams[first];
            let mut header = empty_header().msg_hdr;
            if let Some(to) = to {
                self.names[count] = to_name(to);
                header.msg_name = ptr::from_mut(&mut self.names[count]).cast();
                header.msg_namelen = NAME_LENGTH;
            }
            header.msg_iov = &raw mut self.pieces[first];
            header.msg_iovlen = segments;
            if segments > 1 {
                self.control[count] = segment_size(bytes.len() as u16);
                header.msg_control = self.control[count].as_mut_ptr().cast();
                header.msg_controllen = size_of_val(&self.control[count]);
            }
            self.headers[count].msg_hdr = header;
            count += 1;
            first += segments;
        }
        count
    }
}

/// How many of the first datagrams may leave as one: same destination, same size, the last one
/// maybe shorter.
fn train(datagrams: &[(&[u8], Option<SocketAddrV4>)]) -> usize {
    let (first, to) = datagrams[0];
    let most = (TRAIN_BYTES_MAX / first.len().max(1)).clamp(1, SEGMENTS_MAX);
    let mut count = 1;
    for (bytes, other) in datagrams.iter().take(most).skip(1) {
        if *other != to || bytes.len() > first.len() || bytes.is_empty() {
            break;
        }
        count += 1;
        if bytes.len() < first.len() {
            break;
        }
    }
    count
}

/// A control message SOL_UDP, UDP_SEGMENT, u16: cmsghdr is a length and two ints.
pub(super) fn segment_size(size: u16) -> [u64; CONTROL_WORDS] {
    let length = (size_of::<libc::cmsghdr>() + size_of::<u16>()) as u64;
    let (level, kind) = (libc::SOL_UDP as u32, libc::UDP_SEGMENT as u32);
    let mut pair = [0; 8];
    pair[..4].copy_from_slice(&level.to_ne_bytes());
    pair[4..].copy_from_slice(&kind.to_ne_bytes());
    let mut value = [0; 8];
    value[..2].copy_from_slice(&size.to_ne_bytes());
    [length, u64::from_ne_bytes(pair), u64::from_ne_bytes(value)]
}

fn empty_header() -> libc::mmsghdr {
    // SAFETY: all zeros is a valid mmsghdr: null pointers with lengths of 0.
    unsafe { std::mem::zeroed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (UdpSocket, UdpSocket, SocketAddrV4) {
        let (a, b) = (UdpSocket::bind("127.0.0.1:0"), UdpSocket::bind("127.0.0.1:0"));
        let (a, b) = (a.unwrap(), b.unwrap());
        let std::net::SocketAddr::V4(to) = b.local_addr().unwrap() else { panic!() };
        (a, b, to)
    }

    #[test]
    fn datagrams_come_out_as_they_went_in_with_and_without_trains() {
        let bodies: Vec<Vec<u8>> =
            (0..150_usize).map(|n| vec![n as u8; 100 + (n / 7) % 3]).collect();
        for trains in [Trains::Off, Trains::EqualSizes] {
            let (a, b, to) = pair();
            let datagrams: Vec<_> = bodies.iter().map(|body| (&body[..], Some(to))).collect();
            let mut postman = Postman::new(trains);
            assert_eq!(postman.send(&a, &datagrams), 0);
            let (mut inbox, mut came) = (Inbox::new(), Vec::new());
            while inbox.receive(&b).unwrap() > 0 {
                for place in 0..inbox.count {
                    let (bytes, source) = inbox.datagram(place);
                    assert_eq!(std::net::SocketAddr::V4(source), a.local_addr().unwrap());
                    came.push(bytes.to_vec());
                }
            }
            assert_eq!(came, bodies, "{trains:?}");
        }
    }

    #[test]
    fn a_train_ends_with_another_size_or_destination() {
        let to = |port| Some(SocketAddrV4::new([127, 0, 0, 1].into(), port));
        let (long, short): (&[u8], &[u8]) = (&[0; 9], &[0; 8]);
        assert_eq!(train(&[(long, to(1))]), 1);
        assert_eq!(train(&[(long, to(1)), (long, to(1)), (long, to(2))]), 2);
        assert_eq!(train(&[(long, None), (short, None), (long, None)]), 2);
        assert_eq!(train(&[(short, None), (long, None)]), 1);
        assert_eq!(train(&vec![(long, None); 100]), SEGMENTS_MAX);
        assert_eq!(train(&vec![(&[0_u8; 4000][..], None); 100]), 16);
    }

    #[test]
    fn nobody_there_is_told_and_ends() {
        let (a, b, to) = pair();
        drop(b);
        a.connect(std::net::SocketAddr::V4(to)).unwrap();
        let mut postman = Postman::new(Trains::Off);
        let lost = postman.send(&a, &[(b"x", None), (b"y", None), (b"z", None)]);
        assert!(lost <= 3);
        assert_eq!(Inbox::new().receive(&a).unwrap_or(0), 0);
    }
}
