//! The latency budget in a running worker.

use super::*;

/// So much that eight messages in it are never a matter of the machine.
const BUDGET: Duration = Duration::from_millis(10);

/// One after the other: each has its answer before the next is sent.
fn alone(rig: &Rig, client: &UdpSocket) {
    (0..50).for_each(|number| assert_eq!(rig.ask(client, &format!("{number}\nwho")), "0"));
}

/// Eight at once, and their answers.
fn together(rig: &Rig, client: &UdpSocket) {
    (0..8).for_each(|number| {
        client.send_to(format!("{number}\nwho").as_bytes(), rig.listener).unwrap();
    });
    (0..8).for_each(|_| assert_eq!(receive(client).0, "0"));
}

fn gathers(rig: &Rig) -> u64 {
    rig.sum(|cells| &cells.gathers)
}

#[test]
fn under_load_a_worker_waits_for_more_and_else_it_does_not() {
    let rig = rig(1, host());
    let client = rig.client();
    together(&rig, &client);
    assert_eq!(gathers(&rig), 0, "without a budget");
    rig.workers.as_ref().unwrap().gather_within(BUDGET);
    rig.wait_until("it waits for more", |rig| {
        together(rig, &client);
        gathers(rig) > 0
    });
    alone(&rig, &client);
    let before = gathers(&rig);
    alone(&rig, &client);
    assert_eq!(gathers(&rig), before, "a message alone");
    assert!(rig.sum(|cells| &cells.gather_ns) <= gathers(&rig) * BUDGET.as_nanos() as u64);
}

#[test]
fn a_budget_that_is_taken_back_ends_the_waiting() {
    let host = host();
    let backend = client(SocketAddr::new(host, 0));
    let plan =
        Plan { latency_budget: BUDGET, ..plan(1, host, 5060, backend.local_addr().unwrap()) };
    let (roster, cells) = (Arc::clone(&plan.roster), plan.cells.clone());
    let workers = Some(start::start(plan, Script::new).unwrap());
    let rig = Rig { workers, listener: SocketAddr::new(host, 5060), backend, roster, cells };
    let client = rig.client();
    rig.wait_until("it waits for more", |rig| {
        together(rig, &client);
        gathers(rig) > 0
    });
    rig.workers.as_ref().unwrap().gather_within(Duration::ZERO);
    alone(&rig, &client); // it has heard of it then
    let before = gathers(&rig);
    (0..50).for_each(|_| together(&rig, &client));
    assert_eq!(gathers(&rig), before);
}

#[test]
fn what_is_handed_over_and_what_is_ordered_comes_through_the_waits() {
    let rig = rig(2, host());
    rig.workers.as_ref().unwrap().gather_within(BUDGET);
    let client = rig.client();
    rig.wait_until("both wait for more, and hand over", |rig| {
        (0..32).for_each(|number| {
            client.send_to(format!("{number}\nwho").as_bytes(), rig.listener).unwrap();
        });
        let owners: HashSet<_> = (0..32).map(|_| receive(&client).0).collect();
        assert_eq!(owners.len(), 2);
        rig.cells.iter().all(|cells| cells.gathers.value() > 0)
    });
    assert!(rig.sum(|cells| &cells.handoffs) > 0);
    let (sender, answers) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let answer: Answer = Arc::new(move |pin| sender.lock().unwrap().send(pin).unwrap());
    rig.workers.as_ref().unwrap().ask(b"a call", &answer);
    (0..2).for_each(|_| assert!(answers.recv_timeout(PATIENCE).unwrap().is_some()));
}
