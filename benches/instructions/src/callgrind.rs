//! Runs a part of this program under valgrind and reads how many instructions it took.
//!
//! Valgrind runs the code on a processor of its own making: whatever a library chooses by CPUID (memcpy,
//! memchr) is the same on all x86-64 machines that have AVX2.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Instructions inside of `function` (and what it calls) when this program runs with `arguments`. The
/// profile stays in `directory` as `name.callgrind`, for `callgrind_annotate`.
///
/// # Errors
/// When valgrind is missing or fails, with what it said.
pub(crate) fn count(
    name: &str,
    function: &str,
    arguments: &[&str],
    directory: &Path,
) -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let profile: PathBuf = directory.join(format!("{name}.callgrind"));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--dump-instr=no", "--error-exitcode=1"])
        .arg(format!("--toggle-collect=*{function}*"))
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("valgrind does not start: {error}; is it installed?"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{name} failed under valgrind:\n{said}"));
    }
    let text = std::fs::read_to_string(&profile)
        .map_err(|error| format!("{}: {error}", profile.display()))?;
    match total(&text) {
        Some(instructions) if instructions > 0 => Ok(instructions),
        _ => Err(format!(
            "nothing was counted in {}: is `{function}` never inlined?",
            profile.display()
        )),
    }
}

/// The sum of a profile.
fn total(profile: &str) -> Option<u64> {
    let line = profile.lines().find_map(|line| line.strip_prefix("totals: "))?;
    line.trim().parse().ok()
}
