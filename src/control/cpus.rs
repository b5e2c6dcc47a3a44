//! How many shards a node has room for, and which CPU each is pinned to.

use crate::runtime::options::{Pin, SHARDS_MAX, Shards};
use rustix::thread::CpuSet;
use std::path::Path;

/// What this process may use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cpus {
    /// In ascending order. Never empty.
    pub allowed: Vec<usize>,
    /// Whole CPUs of the cgroup's quota; `None` is no quota.
    pub quota: Option<usize>,
}

impl Cpus {
    pub fn read() -> Self {
        let allowed = match rustix::thread::sched_getaffinity(None) {
            Ok(set) => (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect(),
            Err(_) => Vec::new(),
        };
        let allowed = if allowed.is_empty() { vec![0] } else { allowed };
        Self { allowed, quota: quota(Path::new("/sys/fs/cgroup"), Path::new("/proc/self/cgroup")) }
    }

    /// max(1, min(CPUs allowed, floor of the quota)), unless the operator knows better.
    pub fn shards(&self, wanted: Shards) -> usize {
        match wanted {
            Shards::Auto => self.allowed.len().min(self.quota.unwrap_or(usize::MAX)).clamp(1, SHARDS_MAX),
            Shards::Count(count) => count,
        }
    }

    /// The CPU of each of `shards` shards; none if they are not pinned. By itself only if every shard can have one of
    /// its own and no other process is likely to want the same: under a bare quota the mask holds the whole machine,
    /// and every such process would sit on its first CPUs.
    pub fn pinning(&self, pin: Pin, shards: usize) -> Vec<usize> {
        match pin {
            Pin::Never => Vec::new(),
            Pin::Auto if self.allowed.len() != shards => Vec::new(),
            Pin::Auto | Pin::Always => self.allowed.iter().copied().cycle().take(shards).collect(),
        }
    }
}

/// Keeps the calling thread on one CPU.
pub fn pin(cpu: usize) -> Result<(), rustix::io::Errno> {
    let mut set = CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set)
}

/// Lets shards go first: the calling thread gives way to them. On Linux niceness is a thread's own.
pub fn give_way() {
    // Not being allowed to be nicer would be news.
    let _refused = rustix::process::nice(NICENESS);
}

/// The smallest quota on the way from this process's cgroup to the root, which is what the kernel enforces.
fn quota(root: &Path, membership: &Path) -> Option<usize> {
    let membership = std::fs::read_to_string(membership).unwrap_or_default();
    let mut smallest = None;
    for line in membership.lines().take(HIERARCHIES_MAX) {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, is_v2) = match controllers {
            "" => (root.to_path_buf(), true),
            list if list.split(',').any(|controller| controller == "cpu") => (root.join(list), false),
            _ => continue,
        };
        // Inside a container the path may be the host's, and only the root is there.
        let own = root.join(path.trim_start_matches('/'));
        for group in own.ancestors().take_while(|group| group.starts_with(&root)) {
            let limit = if is_v2 { quota_v2(group) } else { quota_v1(group) };
            smallest = [smallest, limit].into_iter().flatten().min();
        }
    }
    smallest
}

fn quota_v2(group: &Path) -> Option<usize> {
    let text = std::fs::read_to_string(group.join("cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    whole(quota.parse().ok()?, period.parse().ok()?)
}

fn quota_v1(group: &Path) -> Option<usize> {
    let number = |name| std::fs::read_to_string(group.join(name)).ok()?.trim().parse().ok();
    whole(number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?)
}

/// A negative quota is none.
fn whole(quota_us: i64, period_us: i64) -> Option<usize> {
    (period_us > 0).then(|| usize::try_from(quota_us / period_us).ok())?.filter(|_| quota_us >= 0)
}

const NICENESS: i32 = 10;
/// cgroup v1 has a line for each controller.
const HIERARCHIES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(allowed: &[usize], quota: Option<usize>, shards: usize, pinned: bool) {
        let cpus = Cpus { allowed: allowed.to_vec(), quota };
        let (got, always) = (cpus.shards(Shards::Auto), cpus.pinning(Pin::Always, 5));
        assert_eq!((got, !cpus.pinning(Pin::Auto, got).is_empty()), (shards, pinned), "{cpus:?}");
        assert_eq!((cpus.pinning(Pin::Never, got), always.len()), (Vec::new(), 5));
    }

    #[test]
    fn a_shard_a_cpu_within_the_quota_and_pinned_only_to_cpus_of_ones_own() {
        check(&[0], None, 1, true);
        check(&[0, 1, 2, 3], None, 4, true);
        check(&[4, 5], Some(8), 2, true);
        check(&[0, 1, 2, 3], Some(2), 2, false);
        check(&[0, 1, 2, 3], Some(0), 1, false);
    }

    #[test]
    fn quotas_are_read_from_both_kinds_of_cgroup() {
        let root = std::env::temp_dir().join(format!("shardgate-cgroup-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().expect("it is below the root")).expect("a folder can be made");
            std::fs::write(path, text).expect("a file can be written");
        };
        write("cpu.max", "max 100000\n");
        write("a/cpu.max", "350000 100000\n");
        write("a/b/cpu.max", "max 100000\n");
        write("cpu,cpuacct/c/cpu.cfs_quota_us", "250000\n");
        write("cpu,cpuacct/c/cpu.cfs_period_us", "100000\n");
        write("cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
        write("cpu,cpuacct/cpu.cfs_period_us", "100000\n");
        for (membership, want) in [
            ("0::/a/b\n", Some(3)),
            ("0::/\n", None),
            ("0::/elsewhere/on/the/host\n", None),
            ("4:memory:/c\n3:cpu,cpuacct:/c\n", Some(2)),
            ("3:cpu,cpuacct:/\n0::/a\n", Some(3)),
            ("nonsense", None),
        ] {
            write("membership", membership);
            assert_eq!(quota(&root, &root.join("membership")), want, "{membership}");
        }
        std::fs::remove_dir_all(&root).expect("it was made above");
    }
}
