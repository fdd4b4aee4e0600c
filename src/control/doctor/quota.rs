//! How much CPU time the control groups of this process leave it: what the narrowest of them does.

use super::facts::text;
use std::path::Path;

/// Cores' worth of CPU time; `None`: no limit, or none that can be seen from here. `groups` is
/// `/proc/self/cgroup`, `root` where the groups are mounted; a group is bound by those above it, too.
pub(super) fn read(groups: &str, root: &Path) -> Option<f64> {
    let of_line = |line: &str| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        match controllers {
            "" => narrowest(root, path, of_group),
            list if list.split(',').any(|one| one == "cpu") => {
                narrowest(&root.join(list), path, of_older_group)
            }
            _ => None,
        }
    };
    groups.lines().filter_map(of_line).min_by(f64::total_cmp)
}

fn narrowest(root: &Path, path: &str, quota: fn(&Path) -> Option<f64>) -> Option<f64> {
    let own = root.join(path.trim_start_matches('/'));
    let all = own.ancestors().take_while(|group| group.starts_with(root));
    all.filter_map(quota).min_by(f64::total_cmp)
}

/// `cpu.max`: microseconds of each period, or `max`.
fn of_group(group: &Path) -> Option<f64> {
    let text = text(group.join("cpu.max"));
    let (quota, period) = text.split_once(' ')?;
    share(quota, period)
}

/// The same in two files, in the older tree of each controller's own; -1: no limit.
fn of_older_group(group: &Path) -> Option<f64> {
    share(&text(group.join("cpu.cfs_quota_us")), &text(group.join("cpu.cfs_period_us")))
}

fn share(quota: &str, period: &str) -> Option<f64> {
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (period > 0.0 && quota >= 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_a_number_of_cores_and_max_is_none() {
        assert_eq!(share("150000", "100000"), Some(1.5));
        for (quota, period) in [("max", "100000"), ("-1", "100000"), ("", ""), ("1", "0")] {
            assert_eq!(share(quota, period), None, "{quota} {period}");
        }
    }

    #[test]
    fn the_narrowest_group_above_the_process_counts_in_both_kinds_of_trees() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let of = |groups: &str| read(groups, root.path());
        assert_eq!(of("0::/a.slice/b.service\n"), None);
        write("a.slice/b.service/cpu.max", "max 100000\n");
        assert_eq!(of("0::/a.slice/b.service\n"), None);
        write("a.slice/cpu.max", "250000 100000\n");
        assert_eq!(of("0::/a.slice/b.service\n"), Some(2.5));
        write("a.slice/b.service/cpu.max", "50000 100000\n");
        assert_eq!(of("0::/a.slice/b.service\n"), Some(0.5));
        assert_eq!(of("0::/a.slice\n"), Some(2.5));
        assert_eq!(of("0::/\n"), None);
        write("cpu,cpuacct/b/cpu.cfs_quota_us", "150000\n");
        write("cpu,cpuacct/b/cpu.cfs_period_us", "100000\n");
        assert_eq!(of("4:memory:/b\n3:cpu,cpuacct:/b/c\n0::/\n"), Some(1.5));
        assert_eq!(of("3:cpuset:/b/c\n"), None);
    }
}
