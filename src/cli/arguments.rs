//! The flags that `run` and `check` share, and the configuration that comes of them.

use super::{Exit, terminal};
use crate::config::{self, Flags, Loaded, Text};
use clap::Args;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// File and flags.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Arguments {
    /// Config file, TOML
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Where clients come in, as udp:ADDRESS or udp:ADDRESS:PORT; repeatable, adds to the file's listeners
    #[arg(long, value_name = "TRANSPORT:ADDR")]
    listen: Vec<String>,

    /// Where calls go: ADDRESS or NAME, with or without udp: and :PORT; also dialogs_max=N and
    /// calls_per_second_max=N; repeatable, adds to the file's pool
    #[arg(long, value_name = "ADDR[,weight=N][,priority=N][,backup][,name=S]")]
    backend: Vec<String>,

    /// How new calls are spread: call-id-hash, source-hash, aor-hash, round-robin, random, least-dialogs,
    /// least-transactions, least-work or latency [default: call-id-hash]
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,

    /// Worker threads [default: one per core]
    #[arg(long, value_name = "N")]
    workers: Option<String>,

    /// Admin HTTP address [default: 127.0.0.1:9060]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,

    /// Ports that requests to backends leave from, or `listener` for the listener's own
    /// [default: 15060-15091]
    #[arg(long, value_name = "FIRST-LAST|listener")]
    backend_ports: Option<String>,

    /// Leave Record-Route out of dialog-forming requests
    #[arg(long)]
    no_record_route: bool,

    /// Send no probes, and take every backend for up
    #[arg(long)]
    no_health: bool,
}

impl Arguments {
    /// A file alone.
    pub(super) fn of_file(path: PathBuf) -> Self {
        Self { config: Some(path), ..Self::default() }
    }

    /// Nothing was given.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The configuration; problems and warnings go to standard error.
    pub(super) fn load(self) -> Result<Loaded, Exit> {
        let text = self.config.as_deref().map(read).transpose()?;
        let loaded = config::load(text.as_ref(), &self.flags()).map_err(|report| {
            terminal::say(&report.render(terminal::colour()));
            if report.blames_file() { Exit::Config } else { Exit::Usage }
        })?;
        if !loaded.warnings.is_empty() {
            terminal::say(&loaded.warnings.render(terminal::colour()));
        }
        Ok(loaded)
    }

    /// The configuration once more, for a reload, or what is wrong with it; nothing goes to standard
    /// error.
    pub(super) fn reload(&self) -> Result<Loaded, String> {
        let read = |path: &Path| {
            config::read(path)
                .map_err(|failure| format!("cannot read {}: {failure}", path.display()))
        };
        let text = self.config.as_deref().map(read).transpose()?;
        config::load(text.as_ref(), &self.clone().flags()).map_err(|report| report.render(false))
    }

    fn flags(self) -> Flags {
        Flags {
            listen: self.listen,
            backend: self.backend,
            policy: self.policy,
            workers: self.workers,
            admin: self.admin,
            backend_ports: self.backend_ports,
            no_record_route: self.no_record_route,
            no_health: self.no_health,
        }
    }
}

fn read(path: &Path) -> Result<Text, Exit> {
    config::read(path).map_err(|failure| {
        terminal::error(&format!("cannot read the config file {}: {failure}", path.display()));
        match failure.kind() {
            ErrorKind::PermissionDenied => Exit::Permission,
            _ => Exit::Config,
        }
    })
}
