//! Who is compared, and with what configuration each is started.

use super::process::Running;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Backends behind each of them.
const BACKENDS: u16 = 4;
const FIRST_BACKEND: u16 = 21_071;

/// Where clients send to.
pub(super) const LISTEN: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 21_060);
const ADMIN: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 21_061);
const BACKEND_PORTS: &str = "21080-21083";

/// Where the backends listen.
pub(super) fn backends() -> Vec<SocketAddrV4> {
    (0..BACKENDS).map(|n| SocketAddrV4::new(Ipv4Addr::LOCALHOST, FIRST_BACKEND + n)).collect()
}

/// One of those that are compared.
#[derive(Clone, Debug)]
pub(super) struct Rival {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Sipring,
    Kamailio(&'static str),
    Nginx,
    Bare(&'static str),
}

/// All of them.
pub(super) fn all() -> Vec<Rival> {
    let rival = |name, title, kind| Rival { name, title, kind };
    vec![
        rival("mmsg", "bare recvmmsg/sendmmsg forwarder", Kind::Bare("mmsg")),
        rival(
            "mmsg-trains",
            "the same with UDP_SEGMENT for equal sizes",
            Kind::Bare("mmsg-trains"),
        ),
        // Next to each other: their ratio is the first aim.
        rival("uring", "bare io_uring forwarder", Kind::Bare("uring")),
        rival("sipring", "sipring", Kind::Sipring),
        rival("nginx", "nginx stream, layer 4", Kind::Nginx),
        rival(
            "kamailio-stateless",
            "Kamailio, stateless dispatcher",
            Kind::Kamailio(include_str!("../../rivals/kamailio-stateless.cfg")),
        ),
        rival(
            "kamailio-relay",
            "Kamailio, t_relay",
            Kind::Kamailio(include_str!("../../rivals/kamailio-relay.cfg")),
        ),
        rival(
            "kamailio-dialog",
            "Kamailio, t_relay and dialogs",
            Kind::Kamailio(include_str!("../../rivals/kamailio-dialog.cfg")),
        ),
    ]
}

impl Rival {
    /// What it says of its version; an error where it is not installed.
    pub(super) fn version(&self, sipring: &Path) -> io::Result<String> {
        let mut command = match self.kind {
            Kind::Sipring => command_with(sipring, &["--version"]),
            Kind::Kamailio(_) => command_with(&kamailio(), &["-v"]),
            Kind::Nginx => command_with(&nginx(), &["-v"]),
            Kind::Bare(_) => return Ok(format!("sipring-loadtest {}", env!("CARGO_PKG_VERSION"))),
        };
        let output = command.output().map_err(|e| {
            io::Error::new(e.kind(), format!("{}: {e}", command.get_program().to_string_lossy()))
        })?;
        // nginx speaks on standard error.
        let text = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&text).lines().next().unwrap_or("unknown").to_owned())
    }

    /// Starts it on this core. Its files go into the directory.
    pub(super) fn start(
        &self,
        sipring: &Path,
        core: usize,
        directory: &Path,
    ) -> io::Result<Running> {
        let config = directory.join(self.name);
        let log = directory.join(format!("{}.log", self.name));
        let config_text = config.to_string_lossy().into_owned();
        let (program, args) = match self.kind {
            Kind::Sipring => {
                fs::write(&config, sipring_config())?;
                (sipring.to_owned(), vec!["run".into(), "--config".into(), config_text])
            }
            Kind::Kamailio(template) => {
                let list = directory.join("dispatcher.list");
                fs::write(&list, each_backend(|at| format!("1 sip:{at}\n")))?;
                let text = template
                    .replace("BACKENDS", &list.to_string_lossy())
                    .replace("LISTEN", &LISTEN.to_string());
                fs::write(&config, text)?;
                let pid = directory.join("kamailio.pid").to_string_lossy().into_owned();
                // -x and -X fm: Debian's default allocator halves its speed. -b: a receive buffer as
                // large as the others'.
                let options = "-DD -E -x fm -X fm -m 4096 -M 64 -b 4194304 -f";
                let mut args: Vec<String> = options.split(' ').map(str::to_owned).collect();
                args.extend([config_text, "-P".to_owned(), pid]);
                args.extend(["-Y".to_owned(), directory.to_string_lossy().into_owned()]);
                (kamailio(), args)
            }
            Kind::Nginx => {
                let servers = each_backend(|at| format!("\t\tserver {at};\n"));
                let text = include_str!("../../rivals/nginx.conf")
                    .replace("BACKENDS", servers.trim_end())
                    .replace("LISTEN", &LISTEN.to_string())
                    .replace("DIRECTORY", &directory.to_string_lossy());
                fs::write(&config, text)?;
                (nginx(), vec!["-c".to_owned(), config_text])
            }
            Kind::Bare(engine) => {
                let backends = backends().iter().map(ToString::to_string).collect::<Vec<_>>();
                let (listen, backends) = (LISTEN.to_string(), backends.join(","));
                let words =
                    ["forward", "--listen", &listen, "--backends", &backends, "--engine", engine];
                (std::env::current_exe()?, words.map(str::to_owned).to_vec())
            }
        };
        Running::start(&program, &args, core, &log)
    }
}

fn sipring_config() -> String {
    let block = |at: SocketAddrV4| format!("[[pool.backend]]\naddress = \"{at}\"\n");
    include_str!("../../rivals/sipring.toml")
        .replace("PORTS", BACKEND_PORTS)
        .replace("ADMIN", &ADMIN.to_string())
        .replace("LISTEN", &LISTEN.to_string())
        .replace("BACKENDS", &each_backend(block))
}

fn each_backend(text: impl Fn(SocketAddrV4) -> String) -> String {
    backends().into_iter().map(text).collect()
}

fn command_with(program: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

fn kamailio() -> PathBuf {
    in_system("kamailio")
}

fn nginx() -> PathBuf {
    in_system("nginx")
}

/// Debian installs servers where a plain user's PATH does not lead.
fn in_system(name: &str) -> PathBuf {
    let path = Path::new("/usr/sbin").join(name);
    if path.exists() { path } else { PathBuf::from(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_place_of_a_template_stays_empty() {
        let config = sipring_config();
        for word in ["PORTS", "ADMIN", "LISTEN", "BACKENDS"] {
            assert!(!config.contains(word), "{config}");
        }
        assert_eq!(config.matches("[[pool.backend]]").count(), usize::from(BACKENDS));
    }

    #[test]
    fn templates_have_the_places_that_are_filled() {
        for rival in all() {
            if let Kind::Kamailio(template) = rival.kind {
                assert!(template.contains("udp:LISTEN") && template.contains("\"BACKENDS\""));
            }
        }
        let nginx = include_str!("../../rivals/nginx.conf");
        for word in ["LISTEN", "BACKENDS", "DIRECTORY"] {
            assert!(nginx.contains(word));
        }
    }
}
