//! `sipring doctor`: is this machine fit, and what is to be done?

use super::arguments::Arguments;
use super::{Exit, terminal};
use crate::config::{self, Config, Flags};
use crate::control::doctor::{Facts, Finding, Level, findings};
use clap::Args;
use std::fmt::Write;

/// What is to be run here, if it is known.
#[derive(Args, Clone, Debug)]
pub(super) struct DoctorArguments {
    #[command(flatten)]
    config: Arguments,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints what was found; fails if the balancer would not start.
pub(super) fn doctor(arguments: DoctorArguments) -> Exit {
    let config = match config(arguments.config) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let findings = findings(&Facts::read(&config), &config);
    let text = match arguments.json {
        true => serde_json::to_string_pretty(&findings).unwrap_or_default() + "\n",
        false => table(&findings),
    };
    match terminal::result(&text) {
        Exit::Success if findings.iter().any(|one| one.level == Level::Failure) => {
            Exit::Unavailable
        }
        exit => exit,
    }
}

/// Without a configuration the machine is judged for a plain one.
fn config(arguments: Arguments) -> Result<Config, Exit> {
    if !arguments.is_empty() {
        return arguments.load().map(|loaded| loaded.config);
    }
    let one = |text: &str| vec![text.to_owned()];
    let (listen, backend) = (one("udp:0.0.0.0:5060"), one("192.0.2.1:5060"));
    let plain = Flags { listen, backend, ..Flags::default() };
    config::load(None, &plain).map(|loaded| loaded.config).map_err(|_| Exit::Failure)
}

fn table(findings: &[Finding]) -> String {
    let width = findings.iter().map(|one| one.what.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Finding { level, what, found, advice } in findings {
        let _ = writeln!(text, "{level:<8} {what:<width$}  {found}"); // into a String
        if let Some(advice) = advice {
            let _ = writeln!(text, "{:<8} {:<width$}  -> {advice}", "", "");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_stands_below_what_it_is_for() {
        let finding = |level, what, advice: Option<&str>| Finding {
            level,
            what,
            found: "3".into(),
            advice: advice.map(Into::into),
        };
        let text = table(&[
            finding(Level::Ok, "cores", None),
            finding(Level::Warning, "open files", Some("raise it")),
        ]);
        assert_eq!(
            text,
            "ok       cores       3\nwarning  open files  3\n                     -> raise it\n"
        );
    }
}
