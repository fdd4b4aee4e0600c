//! Kamailio as a real backend: a registrar, and a record-routing proxy.

use crate::balancer::{Balancer, Setup};
use crate::process::Process;
use crate::sipp::{FEW, Load, Part, Sipp, assert_whole};
use crate::stage::{Family, Stage, have};
use std::net::SocketAddr;

/// A call to a registered phone goes caller, balancer, registrar, and by the Path (RFC 3327 5.3)
/// through the balancer again to the phone; the caller ends it.
#[test]
fn a_registered_phone_is_called_through_its_path() {
    call_a_registered_phone("path", "caller/call", "callee/answer");
}

/// The same, and the phone ends the call.
#[test]
fn a_registered_phone_ends_the_call() {
    call_a_registered_phone("path-callee-ends", "caller/callee-ends", "callee/ends");
}

/// A call through a record-routing proxy behind the balancer; the caller ends it.
#[test]
fn a_call_passes_a_record_routing_proxy() {
    call_through_a_proxy("proxy", "caller/call", "callee/answer");
}

/// The same, and the callee behind that proxy ends the call.
#[test]
fn a_callee_behind_a_record_routing_proxy_ends_the_call() {
    call_through_a_proxy("proxy-callee-ends", "caller/callee-ends", "callee/ends");
}

fn call_a_registered_phone(name: &str, caller: &str, callee: &str) {
    if !have(&["sipp", "kamailio"]) {
        return;
    }
    for family in Family::all() {
        let stage = Stage::new(&format!("kamailio-{name}-{family:?}"));
        let registrar = family.free_address();
        let _kamailio = kamailio(&stage, ("registrar", "registrar"), registrar, None);
        let listener = family.free_address();
        let mut balancer = Balancer::start(&stage, &Setup::new(&[listener], &[registrar]), 2);

        let phone = family.free_address();
        let one = Load { calls: 1, ..FEW };
        let register = Part::new("caller/register").with("user", "phone");
        let registered = Sipp::caller(&stage, "register", &register, phone, listener, one).finish();
        assert_eq!(registered.successful, 1, "{registered:?}");

        let callee = Sipp::callee(&stage, "phone", &Part::new(callee), phone);
        let part = Part::new(caller).with("user", "phone");
        let from = family.free_address();
        let called = Sipp::caller(&stage, "caller", &part, from, listener, FEW).finish();
        assert_whole(FEW, &called, &[callee.stop()]);
        balancer.assert_alive();
    }
}

fn call_through_a_proxy(name: &str, caller: &str, callee: &str) {
    if !have(&["sipp", "kamailio"]) {
        return;
    }
    for family in Family::all() {
        let stage = Stage::new(&format!("kamailio-{name}-{family:?}"));
        let phone = family.free_address();
        let callee = Sipp::callee(&stage, "phone", &Part::new(callee), phone);
        let proxy = family.free_address();
        let _kamailio = kamailio(&stage, ("proxy", "proxy"), proxy, Some(phone));
        let listener = family.free_address();
        let mut balancer = Balancer::start(&stage, &Setup::new(&[listener], &[proxy]), 2);

        let part = Part::new(caller);
        let from = family.free_address();
        let called = Sipp::caller(&stage, "caller", &part, from, listener, FEW).finish();
        assert_whole(FEW, &called, &[callee.stop()]);
        balancer.assert_alive();
    }
}

/// Kamailio of this name with `kamailio/CONFIG.cfg` on `listen`; `next` is where the proxy sends calls to.
pub(crate) fn kamailio(
    stage: &Stage,
    (name, config): (&str, &str),
    listen: SocketAddr,
    next: Option<SocketAddr>,
) -> Process {
    let template = match config {
        "registrar" => include_str!("kamailio/registrar.cfg"),
        _ => include_str!("kamailio/proxy.cfg"),
    };
    let next = next.map(|address| address.to_string()).unwrap_or_default();
    let text = template.replace("LISTEN", &listen.to_string()).replace("NEXT", &next);
    let file = stage.write(&format!("{name}.cfg"), &text);
    let run_dir = stage.path("");
    let pid_file = stage.path(&format!("{name}.pid"));
    let command = format!(
        "kamailio -DD -E -m 32 -M 4 -f {} -Y {} -P {}",
        file.display(),
        run_dir.display(),
        pid_file.display()
    );
    let command: Vec<String> = command.split(' ').map(str::to_owned).collect();
    let mut process = Process::start(stage, name, None, &command);
    process.wait_for_udp_port(listen.port());
    process
}
