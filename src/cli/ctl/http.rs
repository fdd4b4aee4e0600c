//! One request and its answer, over TCP or a Unix socket: as much HTTP/1.1 as our own server needs.

use std::fmt::{self, Write as _};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// For connecting, and for each read and write: a reload may resolve and check much.
const PATIENCE: Duration = Duration::from_secs(10);

/// The largest answer, bytes: thousands of backends fit.
const ANSWER_SIZE_MAX: u64 = 64 << 20;

/// Where a balancer answers.
#[derive(Clone, Debug)]
pub(super) enum Door {
    /// Its admin address.
    Address(SocketAddr),
    /// Its control socket.
    Socket(PathBuf),
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "http://{address}"),
            Self::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// Why nothing was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unreachable {
    pub(super) forbidden: bool,
    pub(super) text: String,
}

impl Door {
    /// Asks, and waits for the whole answer.
    pub(super) fn ask(&self, method: &str, target: &str) -> Result<Answer, Unreachable> {
        self.exchange(method, target, b"").map_err(|error| self.unreachable(&error))
    }

    /// The same by POST, with a body.
    pub(super) fn post(&self, target: &str, body: &[u8]) -> Result<Answer, Unreachable> {
        self.exchange("POST", target, body).map_err(|error| self.unreachable(&error))
    }

    fn exchange(&self, method: &str, target: &str, body: &[u8]) -> io::Result<Answer> {
        match self {
            Self::Address(address) => {
                let stream = TcpStream::connect_timeout(address, PATIENCE)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                exchange(stream, method, target, body)
            }
            Self::Socket(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                exchange(stream, method, target, body)
            }
        }
    }

    fn unreachable(&self, error: &io::Error) -> Unreachable {
        let forbidden = error.kind() == ErrorKind::PermissionDenied;
        let hint = match error.kind() {
            ErrorKind::PermissionDenied => "its owner and its group may ask there",
            ErrorKind::InvalidData => "is that a sipring?",
            ErrorKind::WouldBlock | ErrorKind::TimedOut => "it does not answer in time",
            _ => "is it running? --admin or --socket say where it is",
        };
        Unreachable { forbidden, text: format!("no balancer answers at {self}: {error}; {hint}") }
    }
}

fn exchange(
    mut stream: impl Read + Write,
    method: &str,
    target: &str,
    body: &[u8],
) -> io::Result<Answer> {
    let length = match method {
        "POST" => format!("Content-Length: {}\r\n", body.len()),
        _ => String::new(),
    };
    let head = "Host: sipring\r\nConnection: close";
    write!(stream, "{method} {target} HTTP/1.1\r\n{head}\r\n{length}\r\n")?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_SIZE_MAX).read_to_end(&mut answer)?;
    parse(&answer).ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "no whole HTTP answer"))
}

/// Status and body; `None` if it is not an answer, or cut short.
fn parse(answer: &[u8]) -> Option<Answer> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let whole = length.is_none_or(|length| length == body.len());
    whole.then(|| Answer { status, body: body.to_owned() })
}

/// For a part of a URL: all but letters, digits and `-._~` as `%XX` (RFC 3986 2.3).
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_status_and_body_and_whole() {
        let answer = b"HTTP/1.1 422 Unprocessable\r\nContent-length: 3\r\n\r\nabc";
        assert_eq!(parse(answer), Some(Answer { status: 422, body: "abc".into() }));
        assert_eq!(parse(&answer[..answer.len() - 1]), None);
        for rubbish in ["", "HTTP/1.1 2", "HTTP/1.1 xxx y\r\n\r\n", "SIP/2.0 200 OK\r\n\r\n"] {
            assert_eq!(parse(rubbish.as_bytes()), None, "{rubbish}");
        }
    }

    #[test]
    fn what_may_not_stand_in_a_url_is_escaped() {
        assert_eq!(escaped("a-b.c_d~1"), "a-b.c_d~1");
        assert_eq!(escaped("x y/[::1]:5060?ä"), "x%20y%2F%5B%3A%3A1%5D%3A5060%3F%C3%A4");
    }
}
