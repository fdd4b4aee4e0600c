//! The catalogue: name, kind, labels and help of every metric, each said once and for ever.
//!
//! Names begin with `sipring_`, carry a base unit (seconds, bytes) where there is one, and counters
//! end in `_total`. Labels take their values from fixed lists or from the config; never a Call-ID, a
//! user or a source address. `worker` stands on saturation metrics only: what a worker did for the
//! callers is summed, how busy it is matters one by one.

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from 0 at start.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts in buckets of [`super::cells::BUCKETS_NS`] or [`super::times`], with sum and count.
    Histogram,
}

/// One metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The name as it is scraped.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// Label names, in the order of the values.
    pub labels: &'static [&'static str],
    /// What it counts, in one sentence.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($id:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)+) => {
        $(#[doc = $help] pub const $id: Metric = Metric {
            name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help,
        };)+

        /// Every metric, in the order of this file.
        pub const ALL: &[Metric] = &[$($id),+];
    };
}

metrics! {
    BUILD_INFO = Gauge "sipring_build_info" ["version"]
        "Always 1; the label says which version runs.";
    START_TIME = Gauge "process_start_time_seconds" []
        "Unix time at which the balancer started.";
    WORKERS = Gauge "sipring_workers" []
        "Worker threads.";
    STEERING_ENABLED = Gauge "sipring_steering_enabled" []
        "1 while the kernel gives what comes in at a listener to the worker that owns its Call-ID, 0 else.";

    CONFIG_GENERATION = Gauge "sipring_config_generation" []
        "1 for the configuration of the start, and 1 more with each reload that changed something.";
    CONFIG_RELOADS = Counter "sipring_config_reloads_total" ["result"]
        "Reloads, by result: success, or failure, after which everything stayed as it was.";
    CONFIG_LAST_RELOAD_SUCCESSFUL = Gauge "sipring_config_last_reload_successful" []
        "1 if the last attempt to load a configuration succeeded, else 0.";
    CONFIG_LAST_RELOAD_TIMESTAMP = Gauge "sipring_config_last_reload_timestamp_seconds" []
        "Unix time at which a configuration was last loaded with success.";

    CONFIG_HASH = Gauge "sipring_config_hash" []
        "Equal on nodes with the same pools, rules, seed and keys; addresses and limits of a node do not count.";
    CONFIG_DRIFT = Gauge "sipring_config_drift" []
        "Things set at run time against the configuration: states, weights, additions and removals of backends.";
    DNS_LOOKUPS = Counter "sipring_dns_lookups_total" ["result"]
        "Questions to DNS for backends by name, by result: records, nothing (there is none), failure.";
    DNS_NAMES = Gauge "sipring_dns_names" ["state"]
        "Names of backends, by state: fresh, kept (DNS fails: what it said before holds), unresolved.";
    DNS_LAST_SUCCESS_TIMESTAMP = Gauge "sipring_dns_last_success_timestamp_seconds" []
        "Unix time of the last good look-up of the name for which that is longest ago; 0: never.";

    DATAGRAMS_RECEIVED = Counter "sipring_datagrams_received_total" []
        "Datagrams received, whatever they hold.";
    BYTES_RECEIVED = Counter "sipring_received_bytes_total" []
        "Bytes of the datagrams received.";
    DATAGRAMS_SENT = Counter "sipring_datagrams_sent_total" []
        "Datagrams that the kernel took for sending.";
    BYTES_SENT = Counter "sipring_sent_bytes_total" []
        "Bytes of the datagrams sent.";

    REQUESTS = Counter "sipring_requests_total" ["method", "dir"]
        "Requests forwarded, by method: to_backend into the pool, to_client from the backends' side.";
    RESPONSES = Counter "sipring_responses_total" ["class"]
        "Responses forwarded, by class of the status code.";
    RESPONSE_CODES = Counter "sipring_response_codes_total" ["code"]
        "Responses forwarded, by status code; unusual codes share the label other.";
    ANSWERS = Counter "sipring_answers_total" ["reason"]
        "Answers that the balancer gave itself, by reason.";
    ABSORBED = Counter "sipring_absorbed_messages_total" ["reason"]
        "Messages that ended here as the protocol wants it, by reason.";
    DROPPED = Counter "sipring_dropped_messages_total" ["reason"]
        "Messages thrown away, by reason.";

    ROUTED = Counter "sipring_requests_routed_total" ["by"]
        "Requests forwarded, by what chose their way; new calls are those by policy.";
    TOKENS = Counter "sipring_route_token_total" ["result"]
        "Tokens found in our own Route values, by what they were worth.";

    MESSAGE_LOG_DROPPED = Counter "sipring_message_log_dropped_total" []
        "Lines of the message log that were lost, since nobody wrote or read them in time.";

    FAILOVERS = Counter "sipring_failovers_total" ["cause"]
        "Further attempts of a request at another backend, by what the one before did.";
    FAILOVER_NOT_KEPT = Counter "sipring_failover_not_kept_total" []
        "Requests that went without failover: longer than 4 KiB, or too many at once.";
    RETRANSMISSIONS = Counter "sipring_retransmissions_total" ["dir"]
        "Requests that came again before their final response or right after it, by direction.";
    NOT_TRACKED = Counter "sipring_transactions_not_tracked_total" []
        "Requests that no count of load knows: too many at once, or without an RFC 3261 branch.";
    SETUP_SECONDS = Histogram "sipring_setup_seconds" []
        "From the INVITE of a call to its first 18x or 2xx, over all attempts.";
    OWN_REQUESTS = Counter "sipring_own_requests_total" []
        "ACKs and CANCELs made for attempts that were given up for another backend.";
    CALL_ATTEMPTS = Counter "sipring_call_attempts_total" []
        "Calls begun: first INVITEs of a Call-ID, without retransmissions and repeats after 401 or 407.";
    CALL_RESULTS = Counter "sipring_call_results_total" ["result"]
        "Begun calls that a backend answered finally, by result; repeated responses do not count.";
    REGISTRATIONS = Counter "sipring_registrations_total" ["result"]
        "Final responses of backends to REGISTER, by result; 401_407 asks for credentials and fails nothing.";

    FORWARD_SECONDS = Histogram "sipring_forward_seconds" []
        "How long a worker had forwarded messages in hand: the turn to their submit, and a wait for more before it.";

    BACKEND_REQUESTS = Counter "sipring_backend_requests_total" ["backend"]
        "Requests forwarded to each backend.";
    BACKEND_RESPONSES = Counter "sipring_backend_responses_total" ["backend", "class"]
        "Responses of each backend, by class of the status code.";
    BACKEND_DIALOGS = Gauge "sipring_backend_dialogs" ["backend"]
        "Confirmed dialogs on each backend; what remains of one that is drained.";
    BACKEND_CALLS = Gauge "sipring_backend_calls" ["backend"]
        "Calls on each backend, confirmed or still being set up.";
    BACKEND_TRANSACTIONS = Gauge "sipring_backend_transactions" ["backend"]
        "Requests that wait for the final response of each backend.";
    BACKEND_FIRST_RESPONSE = Histogram "sipring_backend_first_response_seconds" ["backend"]
        "From a request to the first response of its backend, whatever that says.";
    BACKEND_FINAL_RESPONSE = Histogram "sipring_backend_final_response_seconds" ["backend"]
        "From a request to the final response of its backend; for an INVITE the ringing is in it.";
    BACKEND_STATE = Gauge "sipring_backend_state" ["backend", "state"]
        "1 for the state that the backend is in, 0 for the others.";
    BACKEND_WEIGHT = Gauge "sipring_backend_weight" ["backend"]
        "Share of new calls that the backend is to get, relative to the others.";

    BACKEND_OUTCOMES = Counter "sipring_backend_outcomes_total" ["backend", "outcome"]
        "What requests met: answered (a final response but 503), refused (503), unreachable (ICMP), silent \
         (where another backend answered, or nobody else was asked).";
    BACKEND_UP = Gauge "sipring_backend_up" ["backend"]
        "1 if probes and traffic say that the backend answers, 0 if not.";
    PROBE_SUCCESS = Gauge "sipring_probe_success" ["backend"]
        "1 if the last probe was good, 0 if it was not or none has ended yet.";
    PROBE_DURATION = Gauge "sipring_probe_duration_seconds" ["backend"]
        "How long the last probe took, from its first datagram to its end.";
    PROBE_TRANSITIONS = Counter "sipring_probe_transitions_total" ["backend", "to"]
        "Times that the backend came up and went down, by probes or traffic.";
    POOL_BACKENDS = Gauge "sipring_pool_backends" ["pool", "state"]
        "Backends of each pool in each state, those on their way out among the drained.";
    POOL_WEIGHT = Gauge "sipring_pool_weight" ["pool", "state"]
        "Weight of each pool's backends in each state; what is ready gets the new calls.";
    POOL_PANIC = Gauge "sipring_pool_panic" ["pool"]
        "1 while so little of a pool's weight is up that health is ignored, 0 else.";

    PINS = Gauge "sipring_pins" []
        "Call-IDs that are remembered with their backend.";
    PINS_MAX = Gauge "sipring_pins_max" []
        "Call-IDs that can be remembered; beyond it new calls go unpinned.";
    DIALOGS = Gauge "sipring_dialogs" []
        "Confirmed dialogs.";
    CALLS = Gauge "sipring_calls" []
        "Calls, confirmed or still being set up.";

    RECEIVE_ERRORS = Counter "sipring_receive_errors_total" []
        "Receives that ended with an error, without ICMP errors and exhausted buffers.";
    ICMP_ERRORS = Counter "sipring_icmp_errors_total" []
        "ICMP errors (refused, unreachable) that came back on a socket.";

    WORKER_CPU = Counter "sipring_worker_cpu_seconds_total" ["worker"]
        "CPU time of each worker, refreshed about once a second.";
    URING_ENTERS = Counter "sipring_uring_enters_total" ["worker"]
        "Calls of io_uring_enter.";
    URING_GATHERS = Counter "sipring_uring_gathers_total" ["worker"]
        "Waits of each worker for more messages than one, within the latency budget.";
    URING_GATHER_SECONDS = Counter "sipring_uring_gather_seconds_total" ["worker"]
        "How long those waits of each worker kept messages, at most.";
    URING_CQ_OVERFLOW = Counter "sipring_uring_cq_overflow_total" ["worker"]
        "Times that the completion queue overflowed.";
    URING_BUFRING_EXHAUSTED = Counter "sipring_uring_bufring_exhausted_total" ["worker"]
        "Receives that ended because the ring of receive buffers was empty.";
    URING_SQ_FULL = Counter "sipring_uring_sq_full_total" ["worker"]
        "Times that the submission queue was full in the middle of a turn: one more enter each.";
    HANDOFFS = Counter "sipring_handoffs_total" ["worker"]
        "Messages that each worker gave to the worker that owns their Call-ID.";
    HANDOFFS_SPARED = Counter "sipring_handoffs_spared_total" ["worker"]
        "Messages that came in at a listener and at the worker that owns their Call-ID: not handed over.";
    DOORBELLS = Counter "sipring_handoff_doorbells_total" ["worker"]
        "Doorbells that each worker rang at others, one for a batch of messages.";
    HANDOFF_QUEUE = Gauge "sipring_handoff_queue_bytes" ["worker"]
        "Bytes that waited in the hand-off rings to each worker, looked at about once a second.";
    SOCKET_DROPS = Counter "sipring_socket_rcvbuf_drops_total" ["socket"]
        "Datagrams that the kernel threw away because the receive buffer of a socket was full.";
}

/// Reasons of [`DROPPED`] beside those of [`crate::proxy::Drop`]: met before or after the core.
pub mod dropped {
    /// Longer than a receive slot.
    pub const TRUNCATED: &str = "truncated";
    /// The hand-off ring of the owner was full.
    pub const HANDOFF_FULL: &str = "handoff_full";
    /// The socket's send buffer was full.
    pub const SEND_FULL: &str = "send_full";
    /// The kernel refused the send.
    pub const SEND_ERROR: &str = "send_error";
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNITS_TO_AVOID: [&str; 8] =
        ["_ms", "_us", "_ns", "milliseconds", "nanoseconds", "_kb", "kilobytes", "percent"];

    #[test]
    fn names_follow_the_convention() {
        for metric in ALL {
            let name = metric.name;
            assert!(name.starts_with("sipring_") || name == "process_start_time_seconds", "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            assert!(!UNITS_TO_AVOID.iter().any(|unit| name.contains(unit)), "{name}");
        }
    }

    #[test]
    fn no_two_metrics_share_a_name() {
        let mut names: Vec<_> = ALL.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn a_help_text_is_one_sentence() {
        for Metric { name, help, .. } in ALL {
            assert!(help.ends_with('.') && help.len() > 10, "{name}: {help}");
            assert!(!help.contains('\n'), "{name}: {help}");
        }
    }

    #[test]
    fn worker_stands_on_saturation_metrics_only() {
        for metric in ALL.iter().filter(|metric| metric.labels.contains(&"worker")) {
            let saturation = ["_cpu_", "_uring_", "_handoff"];
            assert!(saturation.iter().any(|part| metric.name.contains(part)), "{}", metric.name);
        }
    }

    #[test]
    fn the_drop_reasons_of_core_and_shell_differ() {
        let shell =
            [dropped::TRUNCATED, dropped::HANDOFF_FULL, dropped::SEND_FULL, dropped::SEND_ERROR];
        for reason in crate::proxy::Drop::ALL {
            assert!(!shell.contains(&reason.label()), "{}", reason.label());
        }
    }
}
