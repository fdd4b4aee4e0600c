//! Listeners that come and go while the workers run.
//!
//! 1. [`Workers::open`] binds a socket of each new address for every worker. The kernel keeps what
//!    comes in; if any address cannot be had, all are closed again and nobody has noticed.
//! 2. [`Workers::take_over`] hands them out with the settings that name them. A worker has both at
//!    once, so it never sends from a socket that it does not have.
//! 3. When all have them, [`Workers::receive`]: no message of a new socket meets a worker, by hand-off
//!    either, whose settings do not know it.
//! 4. [`Workers::close`], when all have settings that use the socket no more.

use super::core::Core;
use super::desk::Desk;
use super::orders::{SocketOrder, Wanted};
use super::{StartError, Workers, start};
use crate::io::FileIndex;
use crate::io::steer::Group;
use crate::proxy::{LocalSocket, Settings, SocketIndex};
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use std::{fmt, io, vec};

/// How long the workers have to follow an order that one turn fulfils.
const PATIENCE: Duration = Duration::from_secs(5);

/// A port that was closed a moment ago may still be held by the kernel.
const BUSY_PATIENCE: Duration = Duration::from_millis(500);

/// Sockets of new addresses, one for each worker in turn, that nobody receives from.
#[derive(Debug, Default)]
pub struct Opened(Vec<(SocketIndex, vec::IntoIter<UdpSocket>)>);

/// A worker did not follow an order in time: it hangs, or has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAnswer;

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a worker has not answered for {} s", PATIENCE.as_secs())
    }
}

impl Workers {
    /// Binds a socket for each worker on each of these listeners.
    ///
    /// # Errors
    /// When one cannot be had; none is held then.
    pub fn open<'a>(
        &self,
        added: impl Iterator<Item = (SocketIndex, &'a LocalSocket)>,
        receive_buffer: usize,
    ) -> Result<Opened, StartError> {
        let deadline = Instant::now() + BUSY_PATIENCE;
        let open = |(index, local): (SocketIndex, &LocalSocket)| {
            let sockets =
                start::open_listener(local, self.threads.len(), receive_buffer, deadline)?;
            Ok((index, sockets.into_iter()))
        };
        let opened = added.map(open).collect::<Result<Vec<_>, StartError>>()?;
        let sockets = opened.iter().map(|(_, sockets)| sockets.as_slice());
        let groups: Vec<Group<'_>> =
            sockets.map(|all| all.iter().map(AsFd::as_fd).collect()).collect();
        self.steering.join(&groups);
        Ok(Opened(opened))
    }

    /// Gives each worker its new sockets and other settings, and waits until all have them.
    ///
    /// # Errors
    /// When a worker does not answer. The others have taken them over: give all of them what was
    /// before, with [`Workers::take_back`].
    ///
    /// # Panics
    /// If there is not one of the settings for each worker.
    pub fn take_over(&self, opened: Opened, settings: &[Arc<Settings>]) -> Result<(), NoAnswer> {
        assert_eq!(settings.len(), self.threads.len(), "one for each worker");
        let mut settings = settings.iter();
        let mut opened = opened.0;
        self.order_all(|wanted| {
            let mut open = |(index, sockets): &mut (SocketIndex, vec::IntoIter<UdpSocket>)| {
                sockets.next().map(|socket| SocketOrder::Open(*index, socket))
            };
            wanted.sockets.extend(opened.iter_mut().filter_map(&mut open));
            wanted.settings = settings.next().cloned();
        })
    }

    /// Undoes a [`Workers::take_over`] that did not reach every worker; nobody is waited for.
    pub fn take_back(&self, opened: &[SocketIndex], settings: &[Arc<Settings>]) {
        for (thread, settings) in self.threads.iter().zip(settings) {
            thread.orders.give(|wanted| {
                wanted.settings = Some(Arc::clone(settings));
                let close = |socket: &_| SocketOrder::Close { socket: *socket, receives: false };
                wanted.sockets.extend(opened.iter().map(close));
            });
        }
    }

    /// Lets each worker receive from sockets that all of them have, and waits until all do.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub fn receive(&self, sockets: &[SocketIndex]) -> Result<(), NoAnswer> {
        self.order_all(|wanted| {
            wanted.sockets.extend(sockets.iter().map(|it| SocketOrder::Receive(*it)))
        })
    }

    /// Takes sockets from every worker and waits until they are closed.
    ///
    /// # Errors
    /// When a worker does not answer: it may still have them.
    pub fn close(&self, sockets: &[SocketIndex]) -> Result<(), NoAnswer> {
        let close = |socket: &_| SocketOrder::Close { socket: *socket, receives: true };
        self.order_all(|wanted| wanted.sockets.extend(sockets.iter().map(close)))
    }

    fn order_all(&self, mut order: impl FnMut(&mut Wanted)) -> Result<(), NoAnswer> {
        let (sender, done) = mpsc::channel();
        for thread in &self.threads {
            thread.orders.give(|wanted| {
                order(wanted);
                wanted.waiting.push(sender.clone());
            });
        }
        drop(sender);
        let deadline = Instant::now() + PATIENCE;
        for _ in &self.threads {
            let left = deadline.saturating_duration_since(Instant::now());
            done.recv_timeout(left).map_err(|_| NoAnswer)?;
        }
        Ok(())
    }
}

impl<C: Core> Desk<C> {
    /// Does what is ordered for a local socket; closing takes until its receive has ended.
    pub(super) fn order(&mut self, order: SocketOrder) -> io::Result<()> {
        match order {
            // The ring holds the socket from here on.
            SocketOrder::Open(index, socket) => {
                self.driver.replace_file(file(index), Some(socket.as_fd()))
            }
            SocketOrder::Receive(index) => self.driver.arm_receive(file(index)),
            SocketOrder::Close { socket, receives: false } => self.close_local(file(socket)),
            SocketOrder::Close { socket, receives: true } => {
                self.closing.push(file(socket));
                self.driver.cancel_receive(file(socket))
            }
        }
    }

    /// Closes a local socket whose receive has ended, if that was ordered. False: it was not.
    pub(super) fn close_if_ordered(&mut self, file: FileIndex) -> io::Result<bool> {
        let Some(place) = self.closing.iter().position(|closing| *closing == file) else {
            return Ok(false);
        };
        self.closing.swap_remove(place);
        self.close_local(file).map(|()| true)
    }

    fn close_local(&mut self, file: FileIndex) -> io::Result<()> {
        self.driver.enter(None)?; // sends that are queued still find their socket
        self.driver.replace_file(file, None)
    }

    /// Tells who waits for it that sockets and settings are as ordered.
    pub(super) fn answer_orders(&mut self) {
        if self.closing.is_empty() {
            for waiting in self.waiting.drain(..) {
                let _ = waiting.send(()); // it may have gone
            }
        }
    }
}

fn file(socket: SocketIndex) -> FileIndex {
    FileIndex(u32::from(socket.0))
}
