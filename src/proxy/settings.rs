//! What a shard is told once: keys, local addresses, limits. Built by `control` from the config.

use super::SocketIndex;
use super::failover::FailoverSettings;
use super::reason::Method;
use std::net::{IpAddr, SocketAddr};

/// Keys of the tokens, from the config (or drawn at start). Two live at once for rotation.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Signs and verifies.
    pub current: Key,
    /// Verifies only.
    pub previous: Option<Key>,
}

/// One token key and the number (0 to 3) that stands in every token signed with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// 0 to 3.
    pub number: u8,
    /// SipHash-2-4 key.
    pub bytes: [u8; 16],
}

/// What a local socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Where clients (and backends, with our Route) send to.
    Listener,
    /// It was a listener: what is there goes on over it, what would begin something gets 503.
    Leaving,
    /// It was a listener and is closed. Still an address of ours: Routes of dialogs name it.
    Gone,
    /// One of `backend_ports`: where our Via asks the backends to send responses to.
    BackendPort,
}

/// A local address that datagrams come in on and leave from. Every worker has the same list, which
/// only ever grows: a place belongs to its address until the process ends.
#[derive(Clone, Debug)]
pub struct LocalSocket {
    /// Concrete address (a wildcard listener is expanded before it gets here).
    pub address: SocketAddr,
    /// `advertise` of the listener: host and port as they stand in Via, Record-Route and Path.
    pub advertise: Option<(String, u16)>,
    /// What it is for.
    pub role: Role,
    /// The place of its `[[listener]]` in the config, which rules name; `None`: it has none.
    pub listener: Option<u16>,
    /// Requests are answered where they came from, as if their Via had `rport` (RFC 3581).
    pub force_rport: bool,
}

impl LocalSocket {
    /// A socket that nothing special is said of.
    pub fn new(address: SocketAddr, role: Role) -> Self {
        Self { address, advertise: None, role, listener: None, force_rport: false }
    }
}

/// A local address from which some of the backends are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// The local address that the kernel picks towards those backends.
    pub local: IpAddr,
    /// The socket that THIS worker sends from towards them: its backend port on `local`, or a
    /// listener with `backend_ports = "listener"`.
    pub egress: SocketIndex,
    /// The socket that backends are told to send their requests to (Record-Route): the listener on
    /// `local` if there is one, else the first backend port on `local`.
    pub contact: SocketIndex,
}

/// How the local sockets have changed since the process started.
#[derive(Clone, Debug, Default)]
pub struct SinceStart {
    /// So many of the last [`Settings::sockets`] came later.
    pub sockets_added: usize,
    /// Hosts and ports that a listener was advertised as before: dialogs name them.
    pub advertised_before: Vec<(String, u16)>,
}

/// When REGISTER gets a Path (RFC 3327 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathMode {
    /// Always: ordinary phones omit `Supported: path`.
    Always,
    /// Only with `Supported: path`.
    Supported,
    /// Never.
    Off,
}

/// [`Settings::work`] by default: an INVITE is as much work as 1.75 BYEs (Jiang et al., 2012).
pub const WORK: [u16; Method::ALL.len()] = {
    let mut work = [100; Method::ALL.len()];
    work[Method::Invite as usize] = 175;
    work
};

/// All that a shard must know; immutable.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Token keys.
    pub keys: Keys,
    /// Local addresses; a [`SocketIndex`] is a place in it. The wire identity of each is a fixed
    /// hash of its address, so that every node and every restart agrees.
    pub sockets: Vec<LocalSocket>,
    /// What has come to them since.
    pub since_start: SinceStart,
    /// The sides towards the backends; a [`crate::pool::Backend`] names one by its place.
    pub sides: Vec<Side>,
    /// Other names that are us (`advertise` hosts are added by themselves): lower case.
    pub aliases: Vec<String>,
    /// Insert Record-Route.
    pub record_route: bool,
    /// Insert Path.
    pub path: PathMode,
    /// Requests longer than this get 513, bytes.
    pub max_message: usize,
    /// Failover of requests outside a dialog.
    pub failover: FailoverSettings,
    /// Pins in this shard at most.
    pub pins_max: usize,
    /// Requests in this shard at most whose final response is awaited for the counts of load.
    pub transactions_max: usize,
    /// What such a request counts for, in hundredths of an average one; by number of [`Method`].
    pub work: [u16; Method::ALL.len()],
    /// A confirmed dialog without traffic is forgotten after this many seconds.
    pub dialog_idle_s: u32,
    /// A registration or subscription without traffic is forgotten after this many seconds.
    pub registration_idle_s: u32,
    /// Takes nothing new: what would begin a dialog or a registration gets 503, as does an OPTIONS to
    /// us; all that is known goes on.
    pub draining: bool,
}

impl Settings {
    /// A local socket; `None` for a number that no socket has.
    #[inline]
    pub fn socket(&self, index: SocketIndex) -> Option<&LocalSocket> {
        self.sockets.get(usize::from(index.0))
    }

    /// Whether what would begin a dialog or a registration is refused: everywhere, or on this socket.
    pub fn refuses_new(&self, socket: SocketIndex) -> bool {
        let role = self.socket(socket).map(|socket| socket.role);
        self.draining || matches!(role, Some(Role::Leaving | Role::Gone))
    }
}
