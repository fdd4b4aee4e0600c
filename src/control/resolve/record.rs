//! What is asked of DNS and what it says, without anything of the wire.

use std::fmt;
use std::net::IpAddr;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in super::super) struct Question {
    /// A name, with a dot at its end if no search list is to complete it.
    pub(in super::super) name: String,
    pub(in super::super) kind: Kind,
}

/// Kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in super::super) enum Kind {
    /// RFC 3403.
    Naptr,
    /// RFC 2782.
    Srv,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

impl Question {
    pub(in super::super) fn new(name: impl Into<String>, kind: Kind) -> Self {
        Self { name: name.into(), kind }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Naptr => "NAPTR",
            Kind::Srv => "SRV",
            Kind::A => "A",
            Kind::Aaaa => "AAAA",
        };
        write!(f, "{kind} {}", self.name.trim_end_matches('.'))
    }
}

/// One record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Record {
    /// RFC 3403 4.1. Those with a regular expression have another use than ours and do not come here.
    Naptr { order: u16, preference: u16, flags: String, service: String, replacement: String },
    /// RFC 2782.
    Srv { priority: u16, weight: u16, port: u16, target: String },
    /// A or AAAA.
    Address(IpAddr),
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Answer {
    /// Records, and for how many seconds they hold.
    Records(Vec<Record>, u32),
    /// There is no such name, or none with such records; for how many seconds that holds, if it is
    /// said (RFC 2308 5).
    Nothing(Option<u32>),
    /// No answer, or one that says nothing: why.
    Failed(String),
}
