//! STUN binding (RFC 5389 7.3, RFC 5626 8): phones keep their NAT binding open with it and learn
//! their address as we see it.

use std::net::{IpAddr, SocketAddr};

const HEADER: usize = 20;
const MAGIC: [u8; 4] = 0x2112_a442u32.to_be_bytes();

/// Writes the binding response to `request` into `out` and returns its length, 32 or 44 bytes;
/// `None` if it is not a binding request.
pub(super) fn respond(request: &[u8], source: SocketAddr, out: &mut [u8]) -> Option<usize> {
    let header: &[u8; HEADER] = request.first_chunk()?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[..2] != [0, 1] || header[4..8] != MAGIC || request.len() != HEADER + length {
        return None;
    }
    let (octets, family, size) = match source.ip() {
        IpAddr::V4(ip) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&ip.octets());
            (octets, 1, 4)
        }
        IpAddr::V6(ip) => (ip.octets(), 2, 16),
    };
    let len = HEADER + 8 + size;
    let out = out.get_mut(..len)?;
    out[..2].copy_from_slice(&[1, 1]);
    out[2..4].copy_from_slice(&(8 + size as u16).to_be_bytes());
    out[4..HEADER].copy_from_slice(&header[4..]);
    // XOR-MAPPED-ADDRESS (15.2): port and address, each XORed with magic cookie and transaction id.
    out[20..22].copy_from_slice(&[0x00, 0x20]);
    out[22..24].copy_from_slice(&(4 + size as u16).to_be_bytes());
    out[24..26].copy_from_slice(&[0, family]);
    let port = source.port().to_be_bytes();
    out[26..28].copy_from_slice(&[port[0] ^ MAGIC[0], port[1] ^ MAGIC[1]]);
    for (place, octet) in octets[..size].iter().enumerate() {
        out[28 + place] = octet ^ header[4 + place];
    }
    Some(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Vec<u8> {
        let mut request = vec![0, 1, 0, 0];
        request.extend_from_slice(&MAGIC);
        request.extend_from_slice(b"transaction!");
        request
    }

    #[test]
    fn the_source_comes_back_xored() {
        let mut out = [0; 64];
        let len = respond(&request(), "192.0.2.1:32853".parse().unwrap(), &mut out).unwrap();
        assert_eq!(len, 32);
        assert_eq!(out[..4], [1, 1, 0, 12]);
        assert_eq!(out[8..20], *b"transaction!");
        // RFC 5769 2.2 has this address and its XORed form.
        assert_eq!(out[20..32], [0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
        let v6 = respond(&request(), "[2001:db8::1]:5060".parse().unwrap(), &mut out);
        assert_eq!(v6, Some(44));
    }

    #[test]
    fn all_else_is_no_binding_request() {
        let source = "192.0.2.1:5060".parse().unwrap();
        let mut out = [0; 64];
        for (at, byte) in [(0, 1), (1, 2), (3, 4), (4, 0)] {
            let mut changed = request();
            changed[at] = byte;
            assert_eq!(respond(&changed, source, &mut out), None, "byte {at}");
        }
        assert_eq!(respond(&request()[..19], source, &mut out), None);
        assert_eq!(respond(&request(), source, &mut out[..31]), None);
    }
}
