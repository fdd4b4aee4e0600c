//! Our Via branch: what a response needs to find its way, signed (RFC 3261 16.11, RFC 6026 10).
//!
//! Bytes before base64url: head (version 2 bits, key 2, legacy 1), ingress socket 2, backend 4, for
//! legacy requests a distinguishing 4, MAC 8. The MAC covers Call-ID, CSeq number, and branch and
//! reply address of the Via below ours: it is equal for a retransmission, a CANCEL and a non-2xx ACK
//! (16.11) and different for every other transaction; and nobody without the key can make us send
//! a response to an address of their choice.

use super::address::SocketId;
use super::sign::{Purpose, Signer, mac};
use super::{Key, validate};
use crate::pool::BackendId;
use crate::sip::Via;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::net::{IpAddr, SocketAddr};

const COOKIE: &[u8] = b"z9hG4bK";
const VERSION: u8 = 1;
const LEGACY: u8 = 1 << 3;
const SIZE: usize = 7;
const LEGACY_SIZE: usize = SIZE + 4;
const MAC_SIZE: usize = 8;
const TEXT: usize = 20;
const LEGACY_TEXT: usize = 26;

/// What a branch says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Branch {
    /// The socket that the request came in on: the response leaves from it.
    pub(super) ingress: SocketId,
    /// The backend that the request went to or came from.
    pub(super) backend: BackendId,
}

/// What of the message the MAC covers: the same in a request, its CANCEL, its ACK and its responses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transaction<'a> {
    pub(super) call_id: &'a [u8],
    pub(super) cseq: u32,
    /// The branch of the Via below ours; empty where it has none.
    pub(super) next_branch: &'a [u8],
    /// Where that Via sends the response.
    pub(super) reply_to: SocketAddr,
}

impl<'a> Transaction<'a> {
    /// Over the Via that stands below ours. `reply_to` is what we made of it, or read from it.
    pub(super) fn new(
        bytes: &'a [u8],
        call_id: &'a [u8],
        cseq: u32,
        next: &Via,
        reply_to: SocketAddr,
    ) -> Self {
        let next_branch = next.branch.map_or(&b""[..], |branch| branch.of(bytes));
        Self { call_id, cseq, next_branch, reply_to }
    }

    fn mac(&self, key: &Key, body: &[u8]) -> u64 {
        let mut address = [0; 18];
        let len = match self.reply_to.ip() {
            IpAddr::V4(ip) => put(&mut address, &ip.octets()),
            IpAddr::V6(ip) => put(&mut address, &ip.octets()),
        };
        address[len..len + 2].copy_from_slice(&self.reply_to.port().to_be_bytes());
        let cseq = self.cseq.to_be_bytes();
        let parts = [body, self.call_id, &cseq, self.next_branch, &address[..len + 2]];
        mac(key, Purpose::Branch, &parts)
    }
}

fn put(to: &mut [u8], from: &[u8]) -> usize {
    to[..from.len()].copy_from_slice(from);
    from.len()
}

impl Branch {
    /// Appends the branch of a request. RFC 3261 16.11: a request without an RFC 3261 branch of its
    /// own is told apart by its topmost Via, From tag and Request-URI, none of which its CANCEL and
    /// ACK change.
    pub(super) fn write(
        &self,
        signer: &Signer,
        transaction: &Transaction<'_>,
        request: &validate::Request<'_>,
        out: &mut Vec<u8>,
    ) {
        let key = signer.current();
        // The cookie alone tells nothing apart (RFC 4475 3.2.1).
        let has_id = transaction.next_branch.len() > COOKIE.len();
        let legacy = !(has_id && transaction.next_branch.starts_with(COOKIE));
        let mut bytes = [0; LEGACY_SIZE + MAC_SIZE];
        bytes[0] = VERSION << 6 | (key.number & 3) << 4 | if legacy { LEGACY } else { 0 };
        bytes[1..3].copy_from_slice(&self.ingress.0.to_be_bytes());
        bytes[3..SIZE].copy_from_slice(&self.backend.0.to_be_bytes());
        let mut len = SIZE;
        if legacy {
            let all = request.message.bytes;
            let parts = [request.via.value.of(all), request.from_tag, request.uri.of(all)];
            let distinct = mac(key, Purpose::Legacy, &parts) as u32;
            bytes[SIZE..LEGACY_SIZE].copy_from_slice(&distinct.to_be_bytes());
            len = LEGACY_SIZE;
        }
        let signature = transaction.mac(key, &bytes[..len]);
        bytes[len..len + MAC_SIZE].copy_from_slice(&signature.to_be_bytes());
        let mut text = [0; LEGACY_TEXT];
        let written = URL_SAFE_NO_PAD.encode_slice(&bytes[..len + MAC_SIZE], &mut text);
        out.extend_from_slice(COOKIE);
        out.extend_from_slice(&text[..written.unwrap_or(0)]);
    }

    /// Reads a branch and believes it only with a good signature over this transaction.
    pub(super) fn read(
        text: &[u8],
        signer: &Signer,
        transaction: &Transaction<'_>,
    ) -> Option<Self> {
        let text = text.strip_prefix(COOKIE)?;
        if text.len() != TEXT && text.len() != LEGACY_TEXT {
            return None;
        }
        let mut bytes = [0; LEGACY_SIZE + MAC_SIZE + 2];
        let len = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        let (body, signed) = bytes[..len].split_at(len - MAC_SIZE);
        let legacy = body[0] & LEGACY != 0;
        if body[0] >> 6 != VERSION || body.len() != if legacy { LEGACY_SIZE } else { SIZE } {
            return None;
        }
        let key = signer.key(body[0] >> 4 & 3)?;
        if transaction.mac(key, body).to_be_bytes() != signed {
            return None;
        }
        Some(Self {
            ingress: SocketId(u16::from_be_bytes([body[1], body[2]])),
            backend: BackendId(u32::from_be_bytes([body[3], body[4], body[5], body[6]])),
        })
    }
}
