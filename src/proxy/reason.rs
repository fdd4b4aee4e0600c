//! Why a message ended here: the core returns a reason, the worker counts it.

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident => $label:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// Every reason, in the order of its number.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The label of the metric.
            pub const fn label(self) -> &'static str {
                match self { $($name::$variant => $label,)+ }
            }
        }
    };
}

reasons! {
    /// Why a datagram was thrown away.
    Drop {
        /// The first line is neither a SIP request nor a SIP status line.
        NotSip => "not_sip",
        /// No Call-ID, so no owner and no answer.
        NoCallId => "no_call_id",
        /// A request so broken that no answer can be made from it (no Via, From, To or CSeq).
        Unanswerable => "unanswerable",
        /// A response that breaks the grammar (RFC 3261 18.3, 16.7).
        BadResponse => "bad_response",
        /// An ACK that breaks the grammar: an ACK is never answered (RFC 3261 17).
        BadAck => "bad_ack",
        /// The topmost Via of a response is not ours (RFC 3261 16.11, 18.1.2).
        ViaNotOurs => "via_not_ours",
        /// The topmost Via of a response is ours but its branch is not signed by us (RFC 6026 10).
        BranchForged => "branch_forged",
        /// A response with no Via under ours.
        NoNextVia => "no_next_via",
        /// The next Via of a response names no address.
        NextViaUnusable => "next_via_unusable",
        /// An ACK with nowhere to go (no backend, a spiral, Max-Forwards used up).
        AckNowhere => "ack_nowhere",
        /// The message outgrew a UDP datagram on the way (response or ACK; a request gets 513).
        TooLarge => "too_large",
        /// The way out has another address family than any of our sockets.
        NoEgress => "no_egress",
    }
}

reasons! {
    /// Why a message was taken in and ended here.
    Absorb {
        /// CRLF keep-alive (RFC 5626 4.4.1) or another keep-alive without content.
        KeepAlive => "keep_alive",
        /// The ACK of an answer that we gave ourselves (RFC 3261 17.1.1.3).
        OwnAck => "own_ack",
        /// STUN that is not a binding request.
        Stun => "stun",
        /// A response of an attempt that was given up for another backend.
        Abandoned => "abandoned",
        /// The response to a CANCEL of ours.
        OwnCancel => "own_cancel",
    }
}

reasons! {
    /// An answer of our own. The label is the reason, not the code: one code has many causes.
    Answer {
        /// 200 to an OPTIONS addressed to us (RFC 3261 11.2).
        Options => "options",
        /// A CRLF answering a double CRLF.
        Pong => "pong",
        /// A STUN binding response (RFC 5389).
        StunBinding => "stun_binding",
        /// 400, the message breaks the grammar.
        BadRequest => "bad_request",
        /// 403, a forged flow token (RFC 5626 5.3.1).
        FlowForged => "flow_forged",
        /// 420, an unknown option in Proxy-Require (RFC 3261 16.3 item 5).
        BadExtension => "bad_extension",
        /// 430, a flow that is gone (RFC 5626 5.3.1).
        FlowGone => "flow_gone",
        /// 480, the pool has no backend for a new call.
        NoBackend => "no_backend",
        /// 482, a spiral without an end (RFC 3261 16.3 item 4).
        Loop => "loop",
        /// 483, Max-Forwards is 0 (RFC 3261 16.3 item 3).
        TooManyHops => "too_many_hops",
        /// 500, a backend's request to a name: this balancer resolves no names on the data path.
        Unresolvable => "unresolvable",
        /// 500, every backend that was tried has failed (RFC 3261 16.7 item 6).
        BackendFailed => "backend_failed",
        /// 503, the backends have failed and nobody else takes calls (RFC 3261 21.5.4).
        NoBackendLeft => "no_backend_left",
        /// 503, whoever takes this call has reached a cap (RFC 3261 21.5.4).
        Overloaded => "overloaded",
        /// 503, nothing new is taken: this balancer is on its way out (RFC 3261 21.5.4).
        Draining => "draining",
        /// 505, a version that is not SIP/2.0 (RFC 3261 21.5.6).
        BadVersion => "bad_version",
        /// 513, larger than `max_message` or than a datagram (RFC 3261 21.5.7).
        TooLarge => "too_large",
    }
}

reasons! {
    /// What chose the way of a forwarded request.
    Routed {
        /// A good token in our Route, towards its backend.
        Token => "token",
        /// A token, over the client's flow.
        Flow => "flow",
        /// A To tag, and the next Route or the Request-URI named a backend.
        Named => "named",
        /// The pin of the dialog in Replaces, Join or Target-Dialog.
        Replaced => "replaced",
        /// The pin of this Call-ID.
        Pin => "pin",
        /// The pool's policy: a new call.
        Policy => "policy",
        /// The hash: the request belongs to a dialog of which neither a token nor a pin was left.
        Hash => "hash",
        /// The hash, because the pin table is full.
        Unpinned => "unpinned",
        /// The hash over the backends that a spiral has not met yet.
        Spiral => "spiral",
        /// A backend said where to.
        Backend => "backend",
        /// Another backend, because one failed.
        Failover => "failover",
    }
}

reasons! {
    /// What a token in our Route was worth.
    TokenResult {
        /// Signed with a live key.
        Good => "good",
        /// None of ours, or of another version.
        Unreadable => "unreadable",
        /// Signed with no key that is alive here.
        Forged => "forged",
    }
}

reasons! {
    /// Why another backend was tried.
    FailoverCause {
        /// It said nothing at all.
        Silence => "silence",
        /// It said 503.
        Refused => "refused",
        /// It cannot be reached.
        Unreachable => "unreachable",
    }
}

reasons! {
    /// The methods that are told apart; all others are alike (RFC 3261 16.3 item 1: an unknown
    /// method is no error).
    Method {
        /// RFC 3261 17.1.1.3.
        Ack => "ACK",
        /// RFC 3261 15.
        Bye => "BYE",
        /// RFC 3261 9.
        Cancel => "CANCEL",
        /// RFC 3261 13.
        Invite => "INVITE",
        /// RFC 3428.
        Message => "MESSAGE",
        /// RFC 6665.
        Notify => "NOTIFY",
        /// RFC 3261 11.
        Options => "OPTIONS",
        /// RFC 3903.
        Publish => "PUBLISH",
        /// RFC 3515.
        Refer => "REFER",
        /// RFC 3261 10.
        Register => "REGISTER",
        /// RFC 6665.
        Subscribe => "SUBSCRIBE",
        /// Any other.
        Other => "other",
    }
}

reasons! {
    /// How an attempted call was answered: the classes that the ratios of RFC 6076 4 are made of.
    CallResult {
        /// 2xx: the session is there.
        Ok => "2xx",
        /// 3xx: SER and SEER leave the attempt out (RFC 6076 4.6, 4.7).
        Redirected => "3xx",
        /// 401, 407: the caller is to repeat the INVITE with credentials, which is the same attempt.
        Challenged => "401_407",
        /// 408: ineffective (RFC 6076 4.8).
        Timeout => "408",
        /// 480: effective, as the four below that are named so (RFC 6076 4.7).
        Unavailable => "480",
        /// 486: effective.
        Busy => "486",
        /// Any other 4xx.
        OtherClient => "other_4xx",
        /// 500: ineffective.
        ServerError => "500",
        /// 503: ineffective.
        ServiceUnavailable => "503",
        /// 504: ineffective.
        ServerTimeout => "504",
        /// Any other 5xx.
        OtherServer => "other_5xx",
        /// 600: effective.
        BusyEverywhere => "600",
        /// 603: effective.
        Declined => "603",
        /// Any other 6xx.
        OtherGlobal => "other_6xx",
    }
}

impl CallResult {
    /// The class of a final response to an INVITE, 200 to 699.
    pub const fn of(status: u16) -> Self {
        match status {
            ..=299 => Self::Ok,
            300..=399 => Self::Redirected,
            401 | 407 => Self::Challenged,
            408 => Self::Timeout,
            480 => Self::Unavailable,
            486 => Self::Busy,
            400..=499 => Self::OtherClient,
            500 => Self::ServerError,
            503 => Self::ServiceUnavailable,
            504 => Self::ServerTimeout,
            501..=599 => Self::OtherServer,
            600 => Self::BusyEverywhere,
            603 => Self::Declined,
            601.. => Self::OtherGlobal,
        }
    }
}

reasons! {
    /// How a REGISTER was answered.
    RegistrationResult {
        /// 2xx.
        Ok => "2xx",
        /// 3xx.
        Redirected => "3xx",
        /// 401, 407: the phone is to repeat it with credentials; no failure (RFC 6076 4.2).
        Challenged => "401_407",
        /// Any other 4xx.
        Client => "4xx",
        /// 5xx.
        Server => "5xx",
        /// 6xx.
        Global => "6xx",
    }
}

impl RegistrationResult {
    /// The class of a final response to a REGISTER, 200 to 699.
    pub const fn of(status: u16) -> Self {
        match status {
            ..=299 => Self::Ok,
            300..=399 => Self::Redirected,
            401 | 407 => Self::Challenged,
            400..=499 => Self::Client,
            500..=599 => Self::Server,
            600.. => Self::Global,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_final_status_has_the_class_of_its_hundred_or_its_own() {
        for status in 200..700 {
            let (call, registration) = (CallResult::of(status), RegistrationResult::of(status));
            let hundred = format!("{}xx", status / 100);
            let own = [401, 407, 408, 480, 486, 500, 503, 504, 600, 603].contains(&status);
            assert_eq!(call.label().ends_with(&hundred), !own, "{status}: {}", call.label());
            let challenge = [401, 407].contains(&status);
            assert_eq!(registration.label() == hundred, !challenge, "{status}");
            if own {
                assert!(call.label().contains(&status.to_string()), "{status}: {}", call.label());
            }
        }
    }

    #[test]
    fn challenges_are_told_apart_from_failures() {
        for status in [401, 407] {
            assert_eq!(CallResult::of(status), CallResult::Challenged);
            assert_eq!(RegistrationResult::of(status), RegistrationResult::Challenged);
        }
    }
}
