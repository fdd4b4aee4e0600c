//! What processes cost: CPU time and memory from /proc.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// Units of CPU time in /proc/PID/stat: Linux shows 100 a second on all its architectures.
const TICKS_PER_S: f64 = 100.0;

/// CPU time so far of one process or several, with all threads.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// On a processor, from the scheduler's own clock.
    pub(crate) cpu: Duration,
    /// In user space and in the kernel, coarse: a hundredth of a second.
    pub(crate) user_s: f64,
    pub(crate) system_s: f64,
    /// Resident memory now, bytes.
    pub(crate) rss: u64,
}

impl Usage {
    /// That of these processes; what has ended counts as nothing.
    pub(crate) fn of(processes: &[u32]) -> Self {
        let mut sum = Self::default();
        for &process in processes {
            let directory = Path::new("/proc").join(process.to_string());
            sum.cpu += threads_cpu(&directory);
            let (user, system) = ticks(&read(&directory.join("stat"))).unwrap_or_default();
            sum.user_s += user / TICKS_PER_S;
            sum.system_s += system / TICKS_PER_S;
            sum.rss += rss(&read(&directory.join("status"))).unwrap_or(0);
        }
        sum
    }

    /// What was used since `earlier`; the memory is that of now.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            user_s: self.user_s - earlier.user_s,
            system_s: self.system_s - earlier.system_s,
            rss: self.rss,
        }
    }

    /// The part of it in user space, 0.0 to 1.0.
    pub(crate) fn user_share(&self) -> f64 {
        self.user_s / (self.user_s + self.system_s).max(f64::MIN_POSITIVE)
    }
}

/// CPU time so far of the thread that asks.
pub(crate) fn thread_cpu() -> Duration {
    cpu_of(Path::new("/proc/thread-self"))
}

/// Whether there is such a process; one that has ended and waits to be collected is none.
pub(crate) fn exists(process: u32) -> bool {
    let stat = read(&Path::new("/proc").join(process.to_string()).join("stat"));
    after_name(&stat).is_some_and(|fields| fields.first().is_some_and(|state| *state != "Z"))
}

/// A process and all that descend from it.
pub(crate) fn family(root: u32) -> Vec<u32> {
    let parents = all().into_iter().filter_map(|process| {
        let stat = read(&Path::new("/proc").join(process.to_string()).join("stat"));
        Some((process, after_name(&stat)?.get(1)?.parse::<u32>().ok()?))
    });
    let parents: Vec<_> = parents.collect();
    let mut family = vec![root];
    let mut place = 0;
    while place < family.len() {
        let parent = family[place];
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(process, _)| *process));
        place += 1;
    }
    family
}

/// The kernel's threads for interrupts that came too fast: work of the network may land on them.
pub(crate) fn softirq_threads() -> Vec<u32> {
    let is_one = |process: &u32| {
        read(&Path::new("/proc").join(process.to_string()).join("comm")).starts_with("ksoftirqd/")
    };
    all().into_iter().filter(is_one).collect()
}

/// Seconds that each processor has had nothing to do since the start of the machine, by number. The
/// kernel measures them; the busy ones beside them it only samples, and it misses much of what runs
/// for a short time between two timer interrupts: nearly half a core of these loads.
pub(crate) fn idle_s() -> Vec<(usize, f64)> {
    idle(&read(Path::new("/proc/stat")))
}

/// idle and iowait of the lines `cpuN`.
fn idle(stat: &str) -> Vec<(usize, f64)> {
    let one = |line: &str| {
        let mut fields = line.strip_prefix("cpu")?.split_whitespace();
        let number = fields.next()?.parse().ok()?; // the line of all has none: a figure follows
        let ticks = |field: Option<&str>| field?.parse::<f64>().ok();
        Some((number, (ticks(fields.nth(3))? + ticks(fields.next())?) / TICKS_PER_S))
    };
    stat.lines().filter(|line| !line.starts_with("cpu ")).filter_map(one).collect()
}

fn all() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn threads_cpu(directory: &Path) -> Duration {
    let threads = fs::read_dir(directory.join("task")).into_iter().flatten().flatten();
    threads.map(|thread| cpu_of(&thread.path())).sum()
}

/// CPU time of one thread so far.
fn cpu_of(thread: &Path) -> Duration {
    let text = read(&thread.join("schedstat"));
    let ns = text.split_whitespace().next().and_then(|ns| ns.parse().ok());
    Duration::from_nanos(ns.unwrap_or(0))
}

/// utime and stime of /proc/PID/stat.
fn ticks(stat: &str) -> Option<(f64, f64)> {
    let fields = after_name(stat)?;
    Some((fields.get(11)?.parse().ok()?, fields.get(12)?.parse().ok()?))
}

/// The fields behind the name, which may hold anything: state, parent and so on.
fn after_name(stat: &str) -> Option<Vec<&str>> {
    stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect())
}

fn rss(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib << 10)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_names_of_any_kind() {
        let stat = "7 (a) b) c) S 3 7 7 0 -1 4 1 2 3 4 250 50 0 0 20 0 1 0 5";
        assert_eq!(ticks(stat), Some((250.0, 50.0)));
        assert_eq!(after_name(stat).unwrap()[1], "3");
        assert_eq!(rss("VmHWM:\t9 kB\nVmRSS:\t   2048 kB\n"), Some(2 << 20));
    }

    #[test]
    fn idle_times_are_those_of_each_processor() {
        let stat = "cpu  9 9 9 300 30 9 9 9 0 0\ncpu0 1 2 3 100 10 6 7 8 0 0\n\
                    cpu11 1 2 3 200 20 6 7 8 0 0\nintr 5 5\n";
        assert_eq!(idle(stat), [(0, 1.1), (11, 2.2)]);
    }

    #[test]
    fn this_process_has_used_time_and_memory_and_a_child_is_family() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let me = std::process::id();
        let family = family(me);
        assert!(exists(me) && exists(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!exists(child.id()));
        assert!(family.contains(&me) && family.contains(&child.id()));
        let usage = Usage::of(&[me]);
        assert!(usage.cpu > Duration::ZERO && usage.rss > 0);
    }
}
