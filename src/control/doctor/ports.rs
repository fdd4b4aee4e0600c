//! May the ports be opened, and are those towards the backends safe from other programs?

use super::facts::CAP_NET_BIND_SERVICE;
use super::{Facts, Finding, failure, ok, warning};
use crate::config::{BackendPorts, Config};

/// Judges listeners and `backend_ports`.
pub(super) fn judged(facts: &Facts, config: &Config) -> Vec<Finding> {
    let mut findings = listeners(facts, config);
    if let (BackendPorts::Range(first, last), Some(ephemeral)) =
        (config.backend_ports, facts.ephemeral_ports)
    {
        findings.push(towards_backends((first, last), ephemeral, &facts.reserved_ports));
    }
    findings
}

fn listeners(facts: &Facts, config: &Config) -> Vec<Finding> {
    let may_bind_low = facts.has(CAP_NET_BIND_SERVICE);
    let is_low = |port: u16| port != 0 && port < facts.unprivileged_port && !may_bind_low;
    let low = config.listeners.iter().filter(|listener| is_low(listener.bind.port()));
    let finding = |bind| {
        failure(
            "listener port",
            format!("udp:{bind}"),
            format!(
                "ports below {} need CAP_NET_BIND_SERVICE: AmbientCapabilities=CAP_NET_BIND_SERVICE \
                 in the unit, or another port",
                facts.unprivileged_port
            ),
        )
    };
    low.map(|listener| finding(listener.bind)).collect()
}

fn towards_backends(
    (first, last): (u16, u16),
    (low, high): (u16, u16),
    reserved: &[(u16, u16)],
) -> Finding {
    let what = "backend_ports";
    let found = format!("{first}-{last}, ephemeral ones are {low}-{high}");
    let is_reserved = |port: &u16| reserved.iter().any(|(from, to)| (*from..=*to).contains(port));
    if (first.max(low)..=last.min(high)).all(|port| is_reserved(&port)) {
        return ok(what, found);
    }
    let before: String = reserved.iter().map(|(from, to)| format!("{from}-{to},")).collect();
    warning(
        what,
        found,
        format!(
            "another program may be given one of them before the balancer starts: choose a range \
             outside, or `sysctl -w net.ipv4.ip_local_reserved_ports={before}{first}-{last}`"
        ),
    )
}

/// Reads `8080,9000-9010`.
pub(super) fn ranges(text: &str) -> Vec<(u16, u16)> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    text.trim().split(',').filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Level::{Ok as Fine, Warning};
    use super::*;

    #[test]
    fn lists_of_ports_are_read_as_the_kernel_writes_them() {
        assert_eq!(ranges("8080,9000-9010\n"), [(8080, 8080), (9000, 9010)]);
        assert_eq!(ranges("\n"), []);
    }

    #[test]
    fn ephemeral_ports_must_not_meet_ours_but_where_they_are_reserved() {
        let of = |low, high, reserved: &[_]| {
            towards_backends((15_060, 15_091), (low, high), reserved).level
        };
        assert_eq!(of(15_092, 60_999, &[]), Fine);
        assert_eq!(of(15_091, 60_999, &[]), Warning);
        assert_eq!(of(1024, 15_060, &[]), Warning);
        assert_eq!(of(1024, 15_059, &[]), Fine);
        assert_eq!(of(1024, 60_999, &[(15_060, 15_091)]), Fine);
        assert_eq!(of(1024, 60_999, &[(15_000, 15_070), (15_071, 16_000)]), Fine);
        assert_eq!(of(1024, 60_999, &[(15_060, 15_090)]), Warning);
        assert_eq!(of(1024, 60_999, &[(15_061, 15_091)]), Warning);
        assert_eq!(of(1024, 60_999, &[(8080, 8080)]), Warning, "others are reserved");
        assert_eq!(of(15_080, 60_999, &[(15_080, 15_091)]), Fine, "below they are not ephemeral");
    }

    #[test]
    fn what_is_reserved_already_stays_so() {
        let finding = towards_backends((15_060, 15_091), (1024, 60_999), &[(8080, 8080)]);
        let advice = finding.advice.unwrap();
        assert!(advice.contains("reserved_ports=8080-8080,15060-15091`"), "{advice}");
    }
}
