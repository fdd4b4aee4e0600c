//! The control plane's log on stderr, and the line that it starts with.

use crate::config::{Config, LogLevel};
use crate::proxy::{LocalSocket, Role};
use std::fmt::Write;
use std::io::IsTerminal;
use std::sync::OnceLock;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

/// Addresses and backends that the start line names before it only counts them.
const NAMED_MAX: usize = 8;

/// Sends the log to stderr from now on. A second call changes nothing: the first one stays.
pub(super) fn install(level: LogLevel) {
    let (filter, handle) = reload::Layer::new(filter(level));
    let lines = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let installed = tracing_subscriber::registry().with(filter).with(lines).try_init();
    if installed.is_ok() {
        let _ = LEVEL.set(handle); // the first one to install is alone here
    }
}

/// Logs from this level on. Without effect where another log than ours is installed.
pub(super) fn set_level(level: LogLevel) {
    if let Some(handle) = LEVEL.get()
        && let Err(error) = handle.reload(filter(level))
    {
        tracing::warn!("the log level stays as it is: {error}");
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    }
}

/// The level of the installed log.
static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// What runs, in one line: where it listens, where it forwards, how many workers, whether the kernel
/// steers between them and why not, which key.
pub(super) fn summary(
    config: &Config,
    sockets: &[LocalSocket],
    workers: usize,
    steering_off: Option<&str>,
) -> String {
    let listeners = sockets.iter().filter(|socket| socket.role == Role::Listener).map(|socket| {
        let mut text = format!("udp:{}", socket.address);
        if let Some((host, port)) = &socket.advertise {
            let _ = write!(text, " (advertised as {})", host_and_port(host, *port));
        }
        text
    });
    let backends = config.pools[0].backends.iter().map(|backend| {
        let address = backend.address.to_string();
        if backend.name == address { address } else { format!("{} ({address})", backend.name) }
    });
    let names = config
        .pools
        .iter()
        .flat_map(|pool| &pool.names)
        .map(|names| format!("{} (by DNS)", names.host));
    let backends = backends.chain(names);
    let key = match config.cluster.current {
        Some(key) => format!("token key {}", key.number),
        None => "a random token key".to_owned(),
    };
    let workers = match (workers, steering_off) {
        (1, _) => "1 worker".to_owned(),
        (_, None) => format!("{workers} workers, steering on"),
        (_, Some(why)) => {
            format!(
                "{workers} workers, steering off ({why}: messages are handed over between them)"
            )
        }
    };
    let (listeners, backends) = (some_of(listeners), some_of(backends));
    format!("listens on {listeners}; forwards to {backends}; {workers}; {key}")
}

fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn some_of(items: impl Iterator<Item = String>) -> String {
    let mut items = items.peekable();
    let mut text = items.by_ref().take(NAMED_MAX).collect::<Vec<_>>().join(", ");
    if items.peek().is_some() {
        let _ = write!(text, " and {} more", items.count());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::config;
    use super::*;
    use crate::config::BackendPorts;
    use crate::proxy::Key;

    fn socket(address: &str, advertise: Option<(&str, u16)>, role: Role) -> LocalSocket {
        let advertise = advertise.map(|(host, port)| (host.to_owned(), port));
        LocalSocket { advertise, ..LocalSocket::new(address.parse().unwrap(), role) }
    }

    #[test]
    fn the_start_line_says_where_it_listens_and_where_it_forwards() {
        let mut config = config(&[], BackendPorts::Listener, &["10.0.0.11:5060", "[::1]:5061"]);
        config.pools[0].backends[1].name = "[::1]:5061".to_owned(); // no name in the config
        let sockets = [
            socket("10.0.0.1:5060", Some(("sip.example.com", 5070)), Role::Listener),
            socket("[::1]:5060", Some(("2001:db8::1", 5060)), Role::Listener),
            socket("10.0.0.1:6000", None, Role::BackendPort),
        ];
        assert_eq!(
            summary(&config, &sockets, 2, None),
            "listens on udp:10.0.0.1:5060 (advertised as sip.example.com:5070), udp:[::1]:5060 \
             (advertised as [2001:db8::1]:5060); forwards to b0 (10.0.0.11:5060), [::1]:5061; \
             2 workers, steering on; a random token key"
        );
        config.cluster.current = Some(Key { number: 3, bytes: [0; 16] });
        let of = |workers, why| summary(&config, &sockets, workers, Some(why));
        assert!(of(1, "one worker needs none").ends_with("; 1 worker; token key 3"));
        assert!(of(2, "CAP_BPF is missing").ends_with(
            "; 2 workers, steering off (CAP_BPF is missing: messages are handed over between them); \
             token key 3"
        ));
    }

    #[test]
    fn many_are_counted_not_named() {
        let items = |n: usize| some_of((0..n).map(|i| i.to_string()));
        assert_eq!(items(8), "0, 1, 2, 3, 4, 5, 6, 7");
        assert_eq!(items(9), "0, 1, 2, 3, 4, 5, 6, 7 and 1 more");
        assert_eq!(items(0), "");
    }

    #[test]
    fn installing_twice_is_fine() {
        install(LogLevel::Error);
        install(LogLevel::Error);
    }
}
