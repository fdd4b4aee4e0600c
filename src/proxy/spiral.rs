//! A request that comes back: which of its Vias are ours, and which backends it has met already.

use super::address::Addresses;
use super::branch::{Branch, Transaction};
use super::sign::{Call, Signer};
use super::validate::Request;
use crate::limits::PASSAGES_MAX;
use crate::pool::{BackendSlot, Pool};
use crate::sip::{Header, Via};

/// Earlier passages of a request through this balancer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spiral {
    /// How many good Vias of ours the request bears, counted up to the bound.
    pub(super) passages: usize,
    met: [BackendSlot; PASSAGES_MAX],
    met_count: usize,
}

impl Spiral {
    /// Reads the Vias of a request. Most have one, and it is not ours: then there is nothing to read.
    pub(super) fn of(
        request: &Request<'_>,
        addresses: &Addresses,
        signer: &Signer,
        pool: &Pool,
    ) -> Self {
        let mut spiral = Self { passages: 0, met: [BackendSlot(0); PASSAGES_MAX], met_count: 0 };
        if !request.lone_via {
            spiral.follow(request, addresses, signer, pool);
        }
        spiral
    }

    #[inline(never)]
    fn follow(
        &mut self,
        request: &Request<'_>,
        addresses: &Addresses,
        signer: &Signer,
        pool: &Pool,
    ) {
        let (bytes, call, cseq) = (request.message.bytes, request.call, request.cseq);
        let mut vias = request.message.values(Header::Via).map(|(_, value)| value);
        let mut upper = vias.next().map(|_| *request.via);
        for lower in vias {
            let lower = Via::parse(bytes, lower);
            if let Some((upper, lower)) = upper.zip(lower)
                && let Some(branch) =
                    passage(bytes, (&upper, &lower), (call, cseq), addresses, signer)
            {
                self.pass(pool, branch);
            }
            upper = lower;
            if self.passages == PASSAGES_MAX {
                break;
            }
        }
    }

    fn pass(&mut self, pool: &Pool, branch: Branch) {
        self.passages += 1;
        if let Some(slot) = pool.by_id(branch.backend)
            && !self.backends().contains(&slot)
        {
            self.met[self.met_count] = slot;
            self.met_count += 1;
        }
    }

    /// The backends that it has met.
    pub(super) fn backends(&self) -> &[BackendSlot] {
        &self.met[..self.met_count]
    }
}

/// What the upper one of two Vias says, if it is a good one of ours. `call` and `cseq` are those of the
/// message.
pub(super) fn passage(
    bytes: &[u8],
    (upper, lower): (&Via, &Via),
    (call, cseq): (Call<'_>, u32),
    addresses: &Addresses,
    signer: &Signer,
) -> Option<Branch> {
    if !addresses.is_us(upper.host.of(bytes), upper.port.unwrap_or(5060)) {
        return None;
    }
    let reply_to = lower.reply_address(bytes)?;
    let transaction = Transaction::new(bytes, call, cseq, lower, reply_to);
    Branch::read(upper.branch?.of(bytes), signer, &transaction)
}
