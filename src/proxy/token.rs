//! The signed token in our Record-Route and Path: where this dialog, or this phone, is to be found.
//!
//! Bytes before base64url: head (version 2 bits, key 2, pair 2, side 1, kind 1), backend identity 4,
//! From-tag hash 4, flow socket 2, flow address 4 + 2 or 16 + 2, MAC 8. 34 or 50 characters.
//!
//! A dialog token's MAC covers the Call-ID. A Path token's cannot: the calls to the phone have other
//! Call-IDs; it covers the flow, and a stolen one leads to the phone it was made for and nowhere else.

use super::address::SocketId;
use super::base64url::{decode, encode, value};
use super::sign::{Call, Purpose, Signer, SigningKey};
use crate::pool::BackendId;
use std::net::{IpAddr, SocketAddr};

const VERSION: u8 = 1;
const MAC_SIZE: usize = 8;
const FIXED_SIZE: usize = 1 + 4 + 4 + 2;
/// With an IPv4 flow.
const SIZE_V4: usize = FIXED_SIZE + 6 + MAC_SIZE;
const SIZE_V6: usize = FIXED_SIZE + 18 + MAC_SIZE;
const TEXT_V4: usize = 34;
const TEXT_V6: usize = 50;

/// How a client is reached: from which of our sockets, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) socket: SocketId,
    pub(super) peer: SocketAddr,
}

/// Which header field the token stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Dialog,
    Path,
}

/// Which one of a double Record-Route (RFC 5658) it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pair {
    Single,
    /// What the client's side sees.
    ClientFacing,
    /// What the backends' side sees.
    BackendFacing,
}

/// The side that the party with the token's From tag is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Party {
    /// Behind the flow.
    Client,
    /// Behind the backend.
    Backend,
}

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) pair: Pair,
    pub(super) from: Party,
    pub(super) backend: BackendId,
    /// Hash of the From tag of the request that it was put into.
    pub(super) from_tag: u32,
    pub(super) flow: Flow,
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadToken {
    /// Not one of ours at all, or of another version.
    Unreadable,
    /// Readable, but its signature is not of a key alive here. It claims to be of this kind.
    Forged(Kind),
}

/// The hash of a From tag, keyed so that nobody can look for tags that collide.
pub(super) fn from_tag_hash(signer: &Signer, number: u8, tag: &[u8]) -> u32 {
    signer.key(number).map_or(0, |key| key.sign(Purpose::FromTag, tag) as u32)
}

/// Whether a token, if it is one, stands in a double Record-Route. Its head has all of its first character
/// but the side and the kind.
pub(super) fn is_of_two(text: &[u8]) -> bool {
    text.first().and_then(|first| value(*first)).is_some_and(|head| head & 3 != 0)
}

impl Token {
    /// Appends the token's text, signed with the current key.
    pub(super) fn write(&self, signer: &Signer, call: Call<'_>, out: &mut Vec<u8>) {
        match self.flow.peer.ip() {
            IpAddr::V4(ip) => {
                let bytes: [u8; SIZE_V4] = self.signed(signer, call, &ip.octets());
                out.extend_from_slice(&encode::<SIZE_V4, TEXT_V4>(&bytes));
            }
            IpAddr::V6(ip) => {
                let bytes: [u8; SIZE_V6] = self.signed(signer, call, &ip.octets());
                out.extend_from_slice(&encode::<SIZE_V6, TEXT_V6>(&bytes));
            }
        }
    }

    #[inline]
    fn signed<const SIZE: usize>(&self, signer: &Signer, call: Call<'_>, ip: &[u8]) -> [u8; SIZE] {
        let key = signer.current();
        let mut bytes = [0; SIZE];
        bytes[0] = VERSION << 6
            | (key.number & 3) << 4
            | (self.pair as u8) << 2
            | (self.from as u8) << 1
            | self.kind as u8;
        bytes[1..5].copy_from_slice(&self.backend.0.to_be_bytes());
        bytes[5..9].copy_from_slice(&self.from_tag.to_be_bytes());
        bytes[9..FIXED_SIZE].copy_from_slice(&self.flow.socket.0.to_be_bytes());
        let len = SIZE - MAC_SIZE;
        bytes[FIXED_SIZE..len - 2].copy_from_slice(ip);
        bytes[len - 2..len].copy_from_slice(&self.flow.peer.port().to_be_bytes());
        let signature = signature(key, self.kind, &bytes[..len], call);
        bytes[len..].copy_from_slice(&signature.to_be_bytes());
        bytes
    }

    /// Reads a token and believes it only with a good signature. Also gives the number of its key.
    pub(super) fn read(
        text: &[u8],
        signer: &Signer,
        call: Call<'_>,
    ) -> Result<(Self, u8), BadToken> {
        let mut bytes = [0; SIZE_V6];
        let bytes = if let Ok(text) = text.try_into() {
            let short = decode::<SIZE_V4, TEXT_V4>(text).ok_or(BadToken::Unreadable)?;
            bytes[..SIZE_V4].copy_from_slice(&short);
            &bytes[..SIZE_V4]
        } else {
            let text = text.try_into().map_err(|_| BadToken::Unreadable)?;
            bytes = decode::<SIZE_V6, TEXT_V6>(text).ok_or(BadToken::Unreadable)?;
            &bytes[..]
        };
        let (body, signed) = bytes.split_at(bytes.len() - MAC_SIZE);
        let head = body[0];
        if head >> 6 != VERSION {
            return Err(BadToken::Unreadable);
        }
        let kind = if head & 1 == 0 { Kind::Dialog } else { Kind::Path };
        let pair = match head >> 2 & 3 {
            0 => Pair::Single,
            1 => Pair::ClientFacing,
            2 => Pair::BackendFacing,
            _ => return Err(BadToken::Unreadable),
        };
        let number = head >> 4 & 3;
        let key = signer.key(number).ok_or(BadToken::Forged(kind))?;
        if signature(key, kind, body, call).to_be_bytes() != signed {
            return Err(BadToken::Forged(kind));
        }
        let from = if head >> 1 & 1 == 0 { Party::Client } else { Party::Backend };
        let word =
            |at: usize| u32::from_be_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
        let short = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
        let ip_end = body.len() - 2;
        let ip = match <[u8; 4]>::try_from(&body[FIXED_SIZE..ip_end]) {
            Ok(octets) => IpAddr::from(octets),
            Err(_) => {
                let octets: Result<[u8; 16], _> = body[FIXED_SIZE..ip_end].try_into();
                IpAddr::from(octets.map_err(|_| BadToken::Unreadable)?)
            }
        };
        let flow = Flow { socket: SocketId(short(9)), peer: SocketAddr::new(ip, short(ip_end)) };
        let backend = BackendId(word(1));
        Ok((Self { kind, pair, from, backend, from_tag: word(5), flow }, number))
    }
}

fn signature(key: &SigningKey, kind: Kind, body: &[u8], call: Call<'_>) -> u64 {
    match kind {
        Kind::Dialog => key.sign_both(Purpose::Dialog, body, &call.signature(key).to_le_bytes()),
        Kind::Path => key.sign(Purpose::Path, body),
    }
}

/// The body of the fuzz target `token`: what is written is read, and what is not ours is refused.
///
/// # Panics
/// If that does not hold.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    let key = super::Key { number: 1, bytes: [42; 16] };
    let signer = Signer::new(&super::Keys { current: key, previous: None });
    assert!(Token::read(bytes, &signer, Call::new(bytes)).is_err(), "nobody guesses a signature");
    let Some((head, rest)) = bytes.split_first_chunk::<29>() else { return };
    let number =
        |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let port = u16::from_be_bytes([head[9], head[10]]);
    let ip = match head[0] & 16 {
        0 => IpAddr::from([head[11], head[12], head[13], head[14]]),
        _ => IpAddr::from(std::array::from_fn::<u8, 16, _>(|at| head[13 + at])),
    };
    let token = Token {
        kind: if head[0] & 1 == 0 { Kind::Dialog } else { Kind::Path },
        pair: [Pair::Single, Pair::ClientFacing, Pair::BackendFacing]
            [usize::from(head[0] >> 1) % 3],
        from: if head[0] & 8 == 0 { Party::Client } else { Party::Backend },
        backend: BackendId(number(1)),
        from_tag: number(5),
        flow: Flow { socket: SocketId(port), peer: SocketAddr::new(ip, port) },
    };
    let mut text = Vec::new();
    let call = Call::new(rest);
    token.write(&signer, call, &mut text);
    assert_eq!(Token::read(&text, &signer, call), Ok((token, 1)));
    let at = usize::from(head[12]) % text.len();
    text[at] ^= 1 + head[11] % 255;
    assert!(Token::read(&text, &signer, call).is_err(), "every change is noticed");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::{Key, Keys};

    fn signer(current: u8, previous: Option<u8>) -> Signer {
        let key = |number: u8| Key { number, bytes: [number; 16] };
        Signer::new(&Keys { current: key(current), previous: previous.map(key) })
    }

    fn token(kind: Kind, peer: &str) -> Token {
        Token {
            kind,
            pair: Pair::BackendFacing,
            from: Party::Backend,
            backend: BackendId(0xdead_beef),
            from_tag: 77,
            flow: Flow { socket: SocketId(0xfffe), peer: peer.parse().unwrap() },
        }
    }

    fn text(token: &Token, signer: &Signer, call_id: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        token.write(signer, Call::new(call_id), &mut out);
        out
    }

    #[test]
    fn what_is_written_is_read() {
        let signer = signer(1, None);
        for (peer, length) in [("10.0.0.1:5060", 34), ("[2001:db8::1]:65535", 50)] {
            for kind in [Kind::Dialog, Kind::Path] {
                let token = token(kind, peer);
                let text = text(&token, &signer, b"call");
                assert_eq!(text.len(), length);
                assert_eq!(Token::read(&text, &signer, Call::new(b"call")), Ok((token, 1)));
            }
        }
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let signer = signer(0, None);
        let text = text(&token(Kind::Dialog, "10.0.0.1:5060"), &signer, b"call");
        for at in 0..text.len() {
            for other in *b"Az09-_" {
                let mut changed = text.clone();
                changed[at] = other;
                assert!(
                    changed == text || Token::read(&changed, &signer, Call::new(b"call")).is_err(),
                    "{at}"
                );
            }
        }
        for len in 0..text.len() {
            assert_eq!(
                Token::read(&text[..len], &signer, Call::new(b"call")),
                Err(BadToken::Unreadable)
            );
        }
    }

    #[test]
    fn a_dialog_token_is_of_one_call_and_a_path_token_of_one_phone() {
        let signer = signer(0, None);
        let dialog = text(&token(Kind::Dialog, "10.0.0.1:5060"), &signer, b"one");
        assert_eq!(
            Token::read(&dialog, &signer, Call::new(b"two")),
            Err(BadToken::Forged(Kind::Dialog))
        );
        let path = text(&token(Kind::Path, "10.0.0.1:5060"), &signer, b"one");
        assert!(Token::read(&path, &signer, Call::new(b"two")).is_ok());
    }

    #[test]
    fn the_previous_key_still_reads_and_a_third_does_not() {
        let old = text(&token(Kind::Path, "[::1]:5060"), &signer(1, None), b"call");
        assert!(Token::read(&old, &signer(2, Some(1)), Call::new(b"call")).is_ok());
        assert_eq!(
            Token::read(&old, &signer(2, None), Call::new(b"call")),
            Err(BadToken::Forged(Kind::Path))
        );
    }
}
