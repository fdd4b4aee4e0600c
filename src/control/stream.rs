//! `/api/v1/stream`: a snapshot a second as server-sent events (WHATWG HTML 9.2), for the status page
//! and for `curl`.
//!
//! A stream lives for [`LIFE`] at most and there are [`STREAMS_MAX`] of them: a client that stops
//! reading costs a place for a while and nothing else. Browsers connect again by themselves.

use super::admin::View;
use super::snapshot::Meter;
use hyper::body::{Body, Bytes, Frame};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Interval, MissedTickBehavior};

/// Between two snapshots.
const PERIOD: Duration = Duration::from_secs(1);

/// Streams at a time: fewer than connections, so that scrapes always get through.
pub(super) const STREAMS_MAX: usize = 16;

/// How long a stream lives.
pub(super) const LIFE: Duration = Duration::from_secs(600);

/// The places of the streams.
#[derive(Debug)]
pub(super) struct Places(Arc<Semaphore>);

impl Default for Places {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(STREAMS_MAX)))
    }
}

/// The body of the answer.
#[derive(Debug)]
pub(super) struct Stream {
    view: Arc<View>,
    meter: Meter,
    tick: Interval,
    ends: Instant,
    _place: OwnedSemaphorePermit,
}

impl Stream {
    /// A stream that begins now, or `None` if there are enough.
    pub(super) fn begin(view: Arc<View>) -> Option<Self> {
        let place = view.streams.0.clone().try_acquire_owned().ok()?;
        let mut tick = tokio::time::interval(PERIOD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ends = Instant::now() + LIFE;
        Some(Self { view, meter: Meter::default(), tick, ends, _place: place })
    }

    fn event(&mut self) -> Option<Bytes> {
        let balancer = &self.view.operator.as_ref()?.balancer;
        let snapshot = self.meter.read(balancer, self.view.ready.load(Relaxed));
        let json = serde_json::to_string(&snapshot).ok()?;
        Some(format!("retry: 1000\ndata: {json}\n\n").into())
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let now = ready!(self.tick.poll_tick(context));
        if now >= self.ends {
            return Poll::Ready(None);
        }
        Poll::Ready(self.event().map(|event| Ok(Frame::data(event))))
    }
}

#[cfg(test)]
pub(super) mod tests;
