//! Our Via branch: what a response needs to find its way, signed (RFC 3261 16.11, RFC 6026 10).
//!
//! Bytes before base64url: head (version 2 bits, key 2, legacy 1), ingress socket 2, backend 4, for
//! legacy requests a distinguishing 4, MAC 8. The MAC covers Call-ID, CSeq number, and branch and
//! reply address of the Via below ours: it is equal for a retransmission, a CANCEL and a non-2xx ACK
//! (16.11) and different for every other transaction; and nobody without the key can make us send
//! a response to an address of their choice.

use super::address::SocketId;
use super::base64url::{decode, encode};
use super::sign::{Call, Purpose, Signer, SigningKey};
use super::validate;
use crate::pool::BackendId;
use crate::sip::Via;
use std::net::{IpAddr, SocketAddr};

/// What every branch begins with (RFC 3261 8.1.1.7); the rest is ours.
pub(super) const COOKIE: &str = "z9hG4bK";
const VERSION: u8 = 1;
const LEGACY: u8 = 1 << 3;
const SIZE: usize = 7;
const LEGACY_SIZE: usize = SIZE + 4;
const MAC_SIZE: usize = 8;
const ALL: usize = SIZE + MAC_SIZE;
const LEGACY_ALL: usize = LEGACY_SIZE + MAC_SIZE;
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
    pub(super) call: Call<'a>,
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
        call: Call<'a>,
        cseq: u32,
        next: &Via,
        reply_to: SocketAddr,
    ) -> Self {
        let next_branch = next.branch.map_or(&b""[..], |branch| branch.of(bytes));
        Self { call, cseq, next_branch, reply_to }
    }

    /// `body` is what the branch says, zeros behind it where it is no legacy one.
    fn mac(&self, key: &SigningKey, body: &[u8; LEGACY_SIZE]) -> u64 {
        let mut text = [0; LEGACY_SIZE + 1 + 4 + 8 + 2 + 16];
        text[..11].copy_from_slice(body);
        text[12..16].copy_from_slice(&self.cseq.to_be_bytes());
        text[16..24].copy_from_slice(&self.call.signature(key).to_le_bytes());
        text[24..26].copy_from_slice(&self.reply_to.port().to_be_bytes());
        let text = match self.reply_to.ip() {
            IpAddr::V4(ip) => {
                text[26..30].copy_from_slice(&ip.octets());
                &text[..30]
            }
            IpAddr::V6(ip) => {
                text[11] = 6;
                text[26..42].copy_from_slice(&ip.octets());
                &text[..42]
            }
        };
        key.sign_both(Purpose::Branch, text, self.next_branch)
    }
}

impl Branch {
    /// Appends the branch of a request, behind its cookie. RFC 3261 16.11: a request without an RFC
    /// 3261 branch of its own is told apart by its topmost Via, From tag and Request-URI, none of
    /// which its CANCEL and ACK change.
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
        let legacy = !(has_id && transaction.next_branch.starts_with(COOKIE.as_bytes()));
        let mut body = [0; LEGACY_SIZE];
        body[0] = VERSION << 6 | (key.number & 3) << 4 | if legacy { LEGACY } else { 0 };
        body[1..3].copy_from_slice(&self.ingress.0.to_be_bytes());
        body[3..SIZE].copy_from_slice(&self.backend.0.to_be_bytes());
        if legacy {
            return write_legacy(body, key, transaction, request, out);
        }
        let signature = transaction.mac(key, &body).to_be_bytes();
        let mut bytes = [0; ALL];
        bytes[..SIZE].copy_from_slice(&body[..SIZE]);
        bytes[SIZE..].copy_from_slice(&signature);
        out.extend_from_slice(&encode::<ALL, TEXT>(&bytes));
    }

    /// Reads a branch and believes it only with a good signature over this transaction.
    pub(super) fn read(
        text: &[u8],
        signer: &Signer,
        transaction: &Transaction<'_>,
    ) -> Option<Self> {
        let text = text.strip_prefix(COOKIE.as_bytes())?;
        let mut body = [0; LEGACY_SIZE];
        let mut signed = [0; MAC_SIZE];
        let is_legacy = if let Ok(text) = text.try_into() {
            let bytes = decode::<ALL, TEXT>(text)?;
            body[..SIZE].copy_from_slice(&bytes[..SIZE]);
            signed.copy_from_slice(&bytes[SIZE..]);
            false
        } else {
            let bytes = decode::<LEGACY_ALL, LEGACY_TEXT>(text.try_into().ok()?)?;
            body.copy_from_slice(&bytes[..LEGACY_SIZE]);
            signed.copy_from_slice(&bytes[LEGACY_SIZE..]);
            true
        };
        if body[0] >> 6 != VERSION || (body[0] & LEGACY != 0) != is_legacy {
            return None;
        }
        let key = signer.key(body[0] >> 4 & 3)?;
        if transaction.mac(key, &body).to_be_bytes() != signed {
            return None;
        }
        Some(Self {
            ingress: SocketId(u16::from_be_bytes([body[1], body[2]])),
            backend: BackendId(u32::from_be_bytes([body[3], body[4], body[5], body[6]])),
        })
    }
}

/// The branch of a request that has none of RFC 3261.
#[cold]
fn write_legacy(
    mut body: [u8; LEGACY_SIZE],
    key: &SigningKey,
    transaction: &Transaction<'_>,
    request: &validate::Request<'_>,
    out: &mut Vec<u8>,
) {
    let all = request.message.bytes;
    let parts = [request.via.value.of(all), request.from_tag, request.uri.of(all)];
    let distinct = key.sign_parts(Purpose::Legacy, &parts) as u32;
    body[SIZE..].copy_from_slice(&distinct.to_be_bytes());
    let mut bytes = [0; LEGACY_ALL];
    bytes[..LEGACY_SIZE].copy_from_slice(&body);
    bytes[LEGACY_SIZE..].copy_from_slice(&transaction.mac(key, &body).to_be_bytes());
    out.extend_from_slice(&encode::<LEGACY_ALL, LEGACY_TEXT>(&bytes));
}
