//! The admin HTTP server: status page and its stream, metrics, liveness, readiness, and the API; on
//! TCP, loopback by default, and on a Unix socket.
//!
//! A bad client never hurts: connections are bounded, one answers one request, its head must come in
//! time and in bounded length, and the whole connection has a deadline.

use super::api::{self, Ask};
use super::control_socket::Control;
use super::operator::Operator;
use super::runtime::spawn;
use super::stream::{self, Places, Stream};
use super::{Failure, page};
use crate::limits::MESSAGE_SIZE_MAX;
use crate::metrics::{CONTENT_TYPE, Metrics};
use http_body_util::{BodyExt, Collected, Either, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE as CONTENT_TYPE_HEADER, HeaderValue, ORIGIN,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const JSON: &str = "application/json";
const PLAIN: &str = "text/plain; charset=utf-8";
const EVENTS: &str = "text/event-stream";
const PATHS: [&str; 6] = ["/", "/api/v1/status", "/api/v1/stream", "/live", "/metrics", "/ready"];

/// A whole answer, or one that goes on.
type Answer = Response<Either<Full<Bytes>, Stream>>;

/// What clients can ask of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Connections at a time; further ones wait in the kernel's backlog.
    pub(super) connections: usize,
    /// Until the head of the request is there.
    pub(super) head: Duration,
    /// For the whole connection, also if the client does not read the answer; a stream ends itself.
    pub(super) connection: Duration,
}

pub(super) const BOUNDS: Bounds =
    Bounds { connections: 64, head: Duration::from_secs(5), connection: Duration::from_secs(10) };

/// Longest head of a request, bytes (hyper takes no less).
const HEAD_SIZE_MAX: usize = 8192;

/// Between two attempts to accept when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the server shows.
#[derive(Debug)]
pub(super) struct View {
    /// Behind /metrics.
    pub(super) metrics: Arc<Metrics>,
    /// Behind /ready.
    pub(super) ready: AtomicBool,
    /// Behind /api.
    pub(super) operator: Option<Arc<Operator>>,
    /// Who may stream.
    pub(super) streams: Places,
}

/// A bound admin address. Bound before the workers start, so that a busy port stops nothing.
#[derive(Debug)]
pub(super) struct Admin {
    listener: std::net::TcpListener,
    control: Option<Control>,
    pub(super) bounds: Bounds,
}

impl Admin {
    /// # Errors
    /// When the address is busy, not ours or not allowed.
    pub(super) fn bind(address: SocketAddr) -> Result<Self, Failure> {
        let refused = |error| Failure::bind(&format!("admin {address}"), &error);
        let listener = std::net::TcpListener::bind(address).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        Ok(Self { listener, control: None, bounds: BOUNDS })
    }

    /// And on a Unix socket, which goes with it.
    ///
    /// # Errors
    /// When another process serves there, or the path cannot be made.
    pub(super) fn and_on(self, socket: Option<&Path>) -> Result<Self, Failure> {
        Ok(Self { control: socket.map(Control::bind).transpose()?, ..self })
    }

    /// The real address, also where the config says port 0.
    ///
    /// # Errors
    /// When the kernel does not know it.
    pub(super) fn address(&self) -> Result<SocketAddr, Failure> {
        self.listener.local_addr().map_err(|error| Failure::bind("admin", &error))
    }

    /// Answers in a task of its own for as long as the runtime lives.
    ///
    /// # Errors
    /// When the runtime cannot watch the socket.
    pub(super) fn serve(self, view: Arc<View>) -> Result<(), Failure> {
        let refused = |error| Failure::run_time(format!("admin socket: {error}"));
        let listener = TcpListener::from_std(self.listener).map_err(refused)?;
        if let Some(control) = self.control {
            let (listener, path) = control.listen().map_err(refused)?;
            let view = view.clone();
            spawn(async move {
                let _path = path; // it goes with the listener
                accept(async || Ok(listener.accept().await?.0), view, self.bounds).await;
            });
        }
        spawn(async move {
            accept(async || Ok(listener.accept().await?.0), view, self.bounds).await;
        });
        Ok(())
    }
}

/// Serves what `next` accepts.
async fn accept<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    next: impl AsyncFn() -> io::Result<S>,
    view: Arc<View>,
    bounds: Bounds,
) {
    let slots = Arc::new(Semaphore::new(bounds.connections));
    while let Ok(slot) = slots.clone().acquire_owned().await {
        match next().await {
            Ok(stream) => spawn(connection(stream, view.clone(), bounds, slot)),
            Err(error) => {
                tracing::warn!("admin: a connection cannot be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    view: Arc<View>,
    bounds: Bounds,
    _slot: OwnedSemaphorePermit,
) {
    let streams = Cell::new(false);
    let answer = |request: Request<Incoming>| {
        let (view, streams) = (view.clone(), &streams);
        async move {
            let response = answer(&view, request).await;
            streams.set(matches!(response.body(), Either::Right(_)));
            Ok::<_, Infallible>(response)
        }
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_buf_size(HEAD_SIZE_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service_fn(answer));
    let mut connection = std::pin::pin!(connection);
    let mut ended = tokio::time::timeout(bounds.connection, connection.as_mut()).await;
    if ended.is_err() && streams.get() {
        ended = tokio::time::timeout(stream::LIFE, connection).await;
    }
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("admin: connection ended: {error}"),
        Err(_) => tracing::debug!("admin: connection cut, its time is over"),
    }
}

async fn answer(view: &Arc<View>, mut request: Request<Incoming>) -> Answer {
    let body = match request.method() == Method::POST {
        true => Limited::new(request.body_mut(), MESSAGE_SIZE_MAX).collect().await,
        false => Ok(Collected::default()),
    };
    let Ok(body) = body.map(Collected::<Bytes>::to_bytes) else {
        return text(StatusCode::PAYLOAD_TOO_LARGE, PLAIN, "the body is no SIP message\n");
    };
    let (method, path) = (request.method(), request.uri().path());
    let asks = path.starts_with("/api/") && path != "/api/v1/stream";
    let Some(operator) = view.operator.as_ref().filter(|_| asks) else {
        return respond(view, method, path);
    };
    let ask = Ask {
        reads: method == Method::GET || method == Method::HEAD,
        posts: method == Method::POST,
        from_page: request.headers().contains_key(ORIGIN),
        path,
        query: request.uri().query().unwrap_or_default(),
        body: &body,
    };
    let said = api::respond(operator, ask).await;
    let status = StatusCode::from_u16(said.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = text(status, JSON, said.json);
    if let Some(methods) = said.allow {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    }
    response
}

fn respond(view: &Arc<View>, method: &Method, path: &str) -> Answer {
    if !PATHS.contains(&path) {
        return text(
            StatusCode::NOT_FOUND,
            PLAIN,
            format!("nothing at this path; see {}\n", PATHS.join(", ")),
        );
    }
    if method != Method::GET && method != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "GET or HEAD only\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/metrics" => match view.metrics.text() {
            Ok(metrics) => text(StatusCode::OK, CONTENT_TYPE, metrics),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, format!("{error}\n")),
        },
        "/ready" if !view.ready.load(Relaxed) => {
            text(StatusCode::SERVICE_UNAVAILABLE, PLAIN, "stopping\n")
        }
        "/ready" => text(StatusCode::OK, PLAIN, "ready\n"),
        "/live" => text(StatusCode::OK, PLAIN, "live\n"),
        "/api/v1/stream" => stream(view, method),
        _ => {
            let mut response = text(StatusCode::OK, page::CONTENT_TYPE, page::HTML);
            page::headers(response.headers_mut());
            response
        }
    }
}

fn stream(view: &Arc<View>, method: &Method) -> Answer {
    let mut response = match method {
        &Method::HEAD => text(StatusCode::OK, EVENTS, ""),
        _ => match Stream::begin(view.clone()) {
            Some(stream) => text(StatusCode::OK, EVENTS, "").map(|_| Either::Right(stream)),
            None => text(StatusCode::SERVICE_UNAVAILABLE, PLAIN, "enough streams are open\n"),
        },
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn text(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Either::Left(Full::new(body.into())));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE_HEADER, content_type);
    response
}

#[cfg(test)]
mod tests;
