//! The command line: one file a subcommand.

/// Runs the program and says how it ended.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
