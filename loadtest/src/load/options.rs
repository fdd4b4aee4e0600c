//! What `load` is asked to do.

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::time::Duration;

/// When a call or request starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// As a Poisson process of so many per second, whatever becomes of the earlier ones.
    Open { rate: f64 },
    /// So many are open at any time: the next starts when one has ended.
    Closed { in_flight: u32 },
}

/// What is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// INVITE, 100, 180, 200, ACK, BYE, 200.
    Call,
    Options,
    Message,
    Register,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Call, Self::Options, Self::Message, Self::Register];

    /// The method of its first request.
    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::Call => "INVITE",
            Self::Options => "OPTIONS",
            Self::Message => "MESSAGE",
            Self::Register => "REGISTER",
        }
    }
}

/// How many of what: weights by [`Kind::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mix(pub(crate) [u32; 4]);

impl Mix {
    pub(crate) const CALLS: Self = Self([1, 0, 0, 0]);

    /// Reads `call=7,options=1`; `None` if a name is unknown, a weight no number, or all are 0.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut weights = [0; 4];
        for part in text.split(',') {
            let (name, weight) = part.split_once('=')?;
            let place =
                ["call", "options", "message", "register"].iter().position(|n| *n == name)?;
            weights[place] = weight.parse::<u16>().ok()?.into();
        }
        (weights.iter().sum::<u32>() > 0).then_some(Self(weights))
    }

    /// The kind at a point of the weights' sum, from a number drawn evenly.
    pub(super) fn kind(&self, drawn: u64) -> Kind {
        let sum: u32 = self.0.iter().sum();
        let mut point = (drawn % u64::from(sum)) as u32;
        for (kind, weight) in Kind::ALL.into_iter().zip(self.0) {
            if point < weight {
                return kind;
            }
            point -= weight;
        }
        Kind::Call
    }
}

/// The options of a run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The balancer; `None`: straight to our own backends, to see what the generator itself can do.
    pub(crate) to: Option<SocketAddrV4>,
    /// Where our backends listen.
    pub(crate) backends: Vec<SocketAddrV4>,
    /// Ports that callers send from.
    pub(crate) sources: u32,
    pub(crate) pace: Pace,
    pub(crate) mix: Mix,
    /// Bytes of what a MESSAGE says; `None`: some words, each time others.
    pub(crate) body: Option<usize>,
    /// From ACK to BYE.
    pub(crate) hold: Duration,
    /// What happens before does not count.
    pub(crate) warm_up: Duration,
    /// What is measured.
    pub(crate) length: Duration,
    pub(crate) t1: Duration,
    pub(crate) seed: u64,
    /// UDP_SEGMENT for neighbours of one size.
    pub(crate) trains: bool,
    /// The balancer's process: its CPU and memory, with all threads and descendants, are told.
    pub(crate) watch: Option<u32>,
    /// Where a chart of the latencies goes.
    pub(crate) plot: Option<PathBuf>,
    /// The command line, for the report.
    pub(crate) command: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_drawn_in_its_proportions() {
        let mix = Mix::parse("call=2,register=1").unwrap();
        let drawn: Vec<_> = (0..6).map(|n| mix.kind(n)).collect();
        assert_eq!(drawn.iter().filter(|kind| **kind == Kind::Call).count(), 4);
        assert_eq!(drawn.iter().filter(|kind| **kind == Kind::Register).count(), 2);
        for wrong in ["", "call", "call=x", "call=0", "fax=1", "call=1,,"] {
            assert_eq!(Mix::parse(wrong), None, "{wrong}");
        }
    }
}
