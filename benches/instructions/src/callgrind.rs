//! Runs a part of this program under valgrind and reads how many instructions it took, and how much code they
//! lie in.
//!
//! Valgrind runs the code on a processor of its own making: whatever a library chooses by CPUID (memcpy,
//! memchr) is the same on all x86-64 machines that have AVX2.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a part of this program takes.
pub(crate) struct Counts {
    /// Instructions, each time that one runs.
    pub(crate) instructions: u64,
    /// Lines of 64 bytes of this program that they lie in, as an instruction cache holds them; libraries left out.
    pub(crate) lines: u64,
}

/// Counts inside of `function` (and what it calls) when this program runs with `arguments`. The profile stays
/// in `directory` as `name.callgrind`, for `callgrind_annotate`.
///
/// # Errors
/// When valgrind is missing or fails, with what it said.
pub(crate) fn count(
    name: &str,
    function: &str,
    arguments: &[&str],
    directory: &Path,
) -> Result<Counts, String> {
    let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let profile: PathBuf = directory.join(format!("{name}.callgrind"));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--error-exitcode=1"])
        .args(["--dump-instr=yes", "--compress-strings=no", "--compress-pos=no"])
        .arg(format!("--toggle-collect=*{function}*"))
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(&program)
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
        Some(instructions) if instructions > 0 => {
            Ok(Counts { instructions, lines: code_lines(&text, &program) })
        }
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

/// Different cache lines of a program's own code in a profile with addresses.
fn code_lines(profile: &str, program: &Path) -> u64 {
    let own = format!("ob={}", program.display());
    let mut is_own = false;
    let mut lines = HashSet::new();
    for line in profile.lines() {
        if line.starts_with("ob=") {
            is_own = line == own;
        } else if is_own && let Some(cost) = line.strip_prefix("0x") {
            let address = cost.split(' ').next().and_then(|hex| u64::from_str_radix(hex, 16).ok());
            lines.extend(address.map(|address| address / 64));
        }
    }
    lines.len() as u64
}
