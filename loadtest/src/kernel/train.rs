//! A train: several datagrams of one destination as one UDP_SEGMENT send, gathered from where they lie.
//! All but the last are padded to the longest: bytes beyond Content-Length are to be discarded (RFC 3261 18.3).

use super::{NAME_LENGTH, to_name};
use std::net::SocketAddrV4;
use std::ops::Range;
use std::ptr;

/// Segments of one send that every kernel with UDP_SEGMENT takes.
pub(crate) const SEGMENTS_MAX: usize = 64;
/// The longest segment: Ethernet's 1500 bytes without the headers of IPv4 and UDP.
pub(crate) const SEGMENT_SIZE_MAX: u32 = 1472;

static PADDING: [u8; SEGMENT_SIZE_MAX as usize] = [b'\n'; SEGMENT_SIZE_MAX as usize];

/// What the kernel reads of a train until it has left, and what `D` it carries.
pub(super) struct Train<D> {
    pub(super) file: u32,
    pub(super) to: Option<SocketAddrV4>,
    pub(super) carried: Vec<D>,
    name: libc::sockaddr_in,
    pieces: Vec<libc::iovec>,
    control: [u64; 3],
    header: libc::msghdr,
}

impl<D> Default for Train<D> {
    fn default() -> Self {
        Self {
            file: 0,
            to: None,
            carried: Vec::with_capacity(SEGMENTS_MAX),
            name: to_name(SocketAddrV4::new([0, 0, 0, 0].into(), 0)),
            pieces: Vec::with_capacity(2 * SEGMENTS_MAX),
            control: [0; 3],
            // SAFETY: all zeros is a valid msghdr.
            header: unsafe { std::mem::zeroed() },
        }
    }
}

impl<D> Train<D> {
    /// Takes what is to be carried, and gives what to send it with: valid as long as the train stays
    /// where it is and nothing else is loaded.
    pub(super) fn load(
        &mut self,
        file: u32,
        to: Option<SocketAddrV4>,
        cargo: &mut Vec<D>,
        bytes: impl Fn(&D) -> Range<*const u8>,
    ) -> *const libc::msghdr {
        assert!(cargo.len() <= SEGMENTS_MAX);
        self.carried.append(cargo);
        (self.file, self.to) = (file, to);
        self.pieces.clear();
        let length = |range: &Range<*const u8>| range.end as usize - range.start as usize;
        let longest = self.carried.iter().map(|one| length(&bytes(one))).max().unwrap_or(0);
        for (place, one) in self.carried.iter().enumerate() {
            let range = bytes(one);
            let missing = longest - length(&range);
            self.pieces.push(piece(range.start, length(&range)));
            if missing > 0 && place + 1 < self.carried.len() {
                self.pieces.push(piece(PADDING[..missing].as_ptr(), missing));
            }
        }
        self.control = super::mmsg::segment_size(longest as u16);
        self.header.msg_iov = self.pieces.as_mut_ptr();
        self.header.msg_iovlen = self.pieces.len();
        self.header.msg_control = self.control.as_mut_ptr().cast();
        self.header.msg_controllen = size_of_val(&self.control);
        (self.header.msg_name, self.header.msg_namelen) = match to {
            None => (ptr::null_mut(), 0),
            Some(to) => {
                self.name = to_name(to);
                ((&raw mut self.name).cast(), NAME_LENGTH)
            }
        };
        &raw const self.header
    }
}

fn piece(start: *const u8, len: usize) -> libc::iovec {
    libc::iovec { iov_base: start.cast_mut().cast(), iov_len: len } // a send only reads
}
