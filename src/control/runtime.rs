//! The control thread's runtime: tokio's current-thread scheduler on tokio-uring.
//!
//! The only file that names it. Tasks, timers, signals and sockets are tokio's own, so plain tokio is
//! a drop-in: a `tokio::runtime::Runtime` and a `LocalSet` in [`Runtime`], `spawn_local` in [`spawn`].

use super::Failure;
use crate::io::diagnose;
use std::future::poll_fn;
use std::pin::pin;

/// Entries of its ring: signals, timers and the admin server wake it by epoll, so it needs few.
const RING_ENTRIES: u32 = 8;

/// Runs the control thread.
pub(super) struct Runtime(tokio_uring::Runtime);

impl Runtime {
    /// # Errors
    /// When the kernel gives no ring.
    pub(super) fn new() -> Result<Self, Failure> {
        let mut builder = tokio_uring::builder();
        match tokio_uring::Runtime::new(builder.entries(RING_ENTRIES)) {
            Ok(runtime) => Ok(Self(runtime)),
            Err(error) => Err(diagnose::ring_failure(&error).into()),
        }
    }

    /// Runs a future to its end; tasks that it spawned end with it.
    pub(super) fn block_on<F: Future>(self, future: F) -> F::Output {
        self.0.block_on(future)
    }
}

/// Runs `main` to its end, and `beside` with it as long as that lasts.
pub(super) async fn with<T>(main: impl Future<Output = T>, beside: impl Future<Output = ()>) -> T {
    let (mut main, mut beside) = (pin!(main), pin!(beside));
    let mut over = false;
    poll_fn(|context| {
        over = over || beside.as_mut().poll(context).is_ready();
        main.as_mut().poll(context)
    })
    .await
}

/// Runs a task beside the caller, on the same thread.
pub(super) fn spawn(task: impl Future<Output = ()> + 'static) {
    tokio_uring::spawn(task);
}
