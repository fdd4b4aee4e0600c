//! What the machine offers beside rings and sockets: cores, addresses, clocks, randomness, events.

use super::message_header;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Instant;

/// The cores that this process may run on, by number.
///
/// # Errors
/// What `sched_getaffinity` says; with more than 1024 cores EINVAL.
pub fn allowed_cores() -> io::Result<Vec<usize>> {
    // SAFETY: a set of bits, for which all zero is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` has the size that is given.
    let result = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) };
    check(result)?;
    Ok((0..libc::CPU_SETSIZE as usize)
        // SAFETY: `core` is below CPU_SETSIZE.
        .filter(|core| unsafe { libc::CPU_ISSET(*core, &set) })
        .collect())
}

/// Pins the calling thread to one core.
///
/// # Errors
/// EINVAL: there is no such core; EPERM: a service manager forbids it.
pub fn pin_thread(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: a set of bits, for which all zero is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `core` is below CPU_SETSIZE.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: `set` has the size that is given.
    check(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) })
}

/// Lets the waits of the calling thread end within a microsecond of their time; the kernel adds up to 50 by
/// default, to end several with one interrupt.
///
/// # Errors
/// EPERM: a seccomp filter forbids it.
pub fn wait_precisely() -> io::Result<()> {
    let slack_ns: libc::c_ulong = 1000;
    // SAFETY: PR_SET_TIMERSLACK takes a number and no memory.
    check(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, slack_ns) })
}

/// The addresses of the interfaces that are up, loopback too, each once; without link-local IPv6,
/// which means nothing without its interface.
///
/// # Errors
/// What `getifaddrs` says.
pub fn local_addresses() -> io::Result<Vec<IpAddr>> {
    let mut first = std::ptr::null_mut();
    // SAFETY: it writes the head of a list, which is freed below.
    check(unsafe { libc::getifaddrs(&mut first) })?;
    let mut addresses = Vec::new();
    let mut next = first;
    // SAFETY: null, or an entry of the list, which is not freed yet.
    while let Some(entry) = unsafe { next.as_ref() } {
        if entry.ifa_flags & libc::IFF_UP as u32 != 0
            && let Some(address) = interface_address(entry.ifa_addr)
            && !message_header::is_link_local_v6(address)
            && !addresses.contains(&address)
        {
            addresses.push(address);
        }
        next = entry.ifa_next;
    }
    // SAFETY: the list from above, no longer used.
    unsafe { libc::freeifaddrs(first) };
    Ok(addresses)
}

fn interface_address(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: null, or a socket address as its family says, in the list of `getifaddrs`.
    let family = unsafe { address.as_ref() }?.sa_family;
    let len = match i32::from(family) {
        libc::AF_INET => size_of::<libc::sockaddr_in>(),
        libc::AF_INET6 => size_of::<libc::sockaddr_in6>(),
        _ => return None,
    };
    // SAFETY: an address of this family has this length.
    let name = unsafe { std::slice::from_raw_parts(address.cast::<u8>(), len) };
    message_header::decode(name).map(|address| address.ip())
}

/// The local address that the kernel would send from towards `peer`. Nothing is sent.
///
/// # Errors
/// ENETUNREACH: there is no route.
pub fn source_address_towards(peer: SocketAddr) -> io::Result<IpAddr> {
    let domain = socket2::Domain::for_address(peer);
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    socket.connect(&peer.into())?;
    let local = socket.local_addr()?.as_socket();
    local.map(|address| address.ip()).ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// A UDP socket on a free port of `local` that tells of ICMP errors though it is not connected: the
/// answer to what it sends may come from any address. For one exchange with one peer.
///
/// # Errors
/// EMFILE, ENFILE, ENOBUFS; EADDRNOTAVAIL: `local` is not (or no more) this machine's.
pub fn open_for_one_exchange(local: IpAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((local, 0))?;
    socket.set_nonblocking(true)?;
    let (level, option) = match local {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_RECVERR),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
    };
    let on: libc::c_int = 1;
    let len = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the option takes an int, which is read during the call.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), len) };
    check(result)?;
    Ok(socket)
}

/// Bytes that nobody can guess, from the kernel.
///
/// # Errors
/// What `getrandom` says, which on any kernel that has io_uring is nothing.
pub fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        let rest = &mut bytes[filled..];
        // SAFETY: `rest` is writable for its length.
        let got = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(got) {
            Ok(got) => filled += got,
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(bytes)
}

/// `N` words that nobody can guess.
///
/// # Errors
/// As [`random_bytes`].
pub fn random_words<const N: usize>() -> io::Result<[u64; N]> {
    let mut words = [0; N];
    for word in &mut words {
        *word = u64::from_ne_bytes(random_bytes()?);
    }
    Ok(words)
}

/// Nanoseconds since this was first called in the process; never goes back.
#[inline]
pub fn now_ns() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// Milliseconds on the clock of [`now_ns`].
#[inline]
pub fn now_ms() -> u64 {
    now_ns() / 1_000_000
}

/// CPU time that the calling thread has used, nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable; the clock exists since 2.6.12, else `time` stays 0.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Runs `body` with all signals blocked in this thread. Threads made in it inherit that, for good:
/// signals then go to the threads that were there before.
pub fn with_signals_blocked<T>(body: impl FnOnce() -> T) -> T {
    // SAFETY: a set of bits, for which all zero is a value.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut before: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `all` is writable.
    unsafe { libc::sigfillset(&mut all) };
    // SAFETY: both are signal sets. It fails on an unknown `how` only.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before) };
    let result = body();
    // SAFETY: `before` was written by the call above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut()) };
    result
}

/// Raises the limit of open files to what this process may raise it to, and returns it.
///
/// # Errors
/// What `getrlimit` or `setrlimit` says.
pub fn raise_file_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is writable.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is readable.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })?;
    Ok(limit.rlim_cur)
}

/// An event that another thread's ring can wait for (eventfd). Once set, it stays set.
#[derive(Debug)]
pub struct Event(OwnedFd);

impl Event {
    /// An event that is not set.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    pub fn new() -> io::Result<Self> {
        // SAFETY: it makes a new descriptor or fails.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        check(fd)?;
        // SAFETY: the descriptor was just made and is nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Another descriptor of the same event, to wait on.
    ///
    /// # Errors
    /// EMFILE.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }

    /// Sets the event; it stays set, and each time wakes who waits for it to be.
    pub fn set(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight readable bytes. It could block at 2^64 - 1 only.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_pinned_to_the_core_that_was_asked_for() {
        std::thread::spawn(|| {
            let core = *allowed_cores().unwrap().last().unwrap();
            pin_thread(core).unwrap();
            assert_eq!(allowed_cores().unwrap(), [core]);
            assert!(pin_thread(1 << 20).is_err());
        })
        .join()
        .unwrap();
    }

    #[test]
    fn local_addresses_have_loopback_and_no_link_local_v6() {
        let addresses = local_addresses().unwrap();
        assert!(addresses.contains(&"127.0.0.1".parse().unwrap()));
        assert!(!addresses.iter().any(|address| message_header::is_link_local_v6(*address)));
    }

    #[test]
    fn the_way_to_loopback_starts_at_loopback() {
        for peer in ["127.0.0.1:5060", "[::1]:5060"] {
            let peer: SocketAddr = peer.parse().unwrap();
            assert_eq!(source_address_towards(peer).unwrap(), peer.ip());
        }
    }

    #[test]
    fn random_bytes_differ() {
        assert_ne!(random_bytes::<32>().unwrap(), random_bytes::<32>().unwrap());
        assert_ne!(random_words::<4>().unwrap(), [0; 4]);
    }

    #[test]
    fn clocks_go_forward() {
        let (wall, cpu) = (now_ms(), thread_cpu_ns());
        while thread_cpu_ns() < cpu + 2_000_000 {}
        assert!(now_ms() > wall);
    }

    #[test]
    fn threads_made_with_signals_blocked_keep_them_blocked() {
        let mask = || {
            // SAFETY: a set of bits, for which all zero is a value.
            let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
            // SAFETY: with no new set it only reads.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), &mut set) };
            // SAFETY: `set` was written above.
            unsafe { libc::sigismember(&set, libc::SIGTERM) == 1 }
        };
        let before = mask();
        let thread = with_signals_blocked(|| std::thread::spawn(mask));
        assert!(thread.join().unwrap());
        assert_eq!(mask(), before);
    }

    #[test]
    fn the_file_limit_is_as_high_as_it_may_be() {
        assert_eq!(raise_file_limit().unwrap(), raise_file_limit().unwrap());
    }
}
