//! The forwarder of recvmmsg and sendmmsg: one poll, then a batch from each socket that has some.

use super::{Clients, Options, open_upstream};
use crate::kernel::{Inbox, Interest, Postman, Trains, wait_readable};
use std::io;
use std::net::UdpSocket;
use std::time::Duration;

struct Forwarder<'a> {
    listener: UdpSocket,
    options: &'a Options,
    clients: Clients,
    upstreams: Vec<UdpSocket>,
    postman: Postman,
}

pub(super) fn run(listener: UdpSocket, options: &Options, trains: Trains) -> io::Result<()> {
    let mut interests = vec![Interest::in_socket(&listener)];
    let mut forwarder = Forwarder {
        listener,
        options,
        clients: Clients::default(),
        upstreams: Vec::new(),
        postman: Postman::new(trains),
    };
    let mut inbox = Inbox::new();
    loop {
        wait_readable(&mut interests, Duration::from_secs(1))?;
        for (place, interest) in interests[1..].iter().enumerate() {
            if interest.is_ready() {
                forwarder.down(place, &mut inbox);
            }
        }
        if interests[0].is_ready() {
            forwarder.up(&mut inbox)?;
        }
        let known = interests.len() - 1;
        interests.extend(forwarder.upstreams[known..].iter().map(Interest::in_socket));
    }
}

impl Forwarder<'_> {
    /// From clients to backends.
    fn up(&mut self, inbox: &mut Inbox) -> io::Result<()> {
        let count = inbox.receive(&self.listener)?;
        let mut places = Vec::with_capacity(count);
        for n in 0..count {
            let Some((place, is_new)) = self.clients.place(inbox.datagram(n).1) else { continue };
            if is_new {
                self.upstreams.push(open_upstream(place, self.options)?);
            }
            places.push((place, n));
        }
        for (place, upstream) in self.upstreams.iter().enumerate() {
            let mine = places.iter().filter(|(of, _)| *of == place);
            let batch: Vec<_> = mine.map(|&(_, n)| (inbox.datagram(n).0, None)).collect();
            if !batch.is_empty() {
                self.postman.send(upstream, &batch);
            }
        }
        Ok(())
    }

    /// From the backend of one client to that client.
    fn down(&mut self, place: usize, inbox: &mut Inbox) {
        // An error is that of a datagram sent before: the backend is not there.
        let Ok(count) = inbox.receive(&self.upstreams[place]) else { return };
        let client = Some(self.clients.0[place]);
        let batch: Vec<_> = (0..count).map(|n| (inbox.datagram(n).0, client)).collect();
        self.postman.send(&self.listener, &batch);
    }
}
