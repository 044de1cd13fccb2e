use std::fs;

use rbee_api::{Capabilities, Device};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

/// What this host computes with, and how much memory it has now.
pub(crate) fn capabilities() -> Result<Capabilities, sysinfo::Error> {
    let system = look(RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing()))?;
    let cpu = Device {
        id: "cpu".to_owned(),
        name: system.cpus().first().map_or("CPU", |cpu| cpu.brand()).trim().to_owned(),
        cores: u32::try_from(system.cpus().len()).ok(),
        memory_bytes: Some(system.total_memory()),
    };
    Ok(Capabilities {
        devices: vec![cpu],
        memory_total_bytes: system.total_memory(),
        memory_available_bytes: system.available_memory(),
    })
}

/// Memory that a new process could use now, in bytes; `None` where the system does not tell.
pub(crate) fn available_memory() -> Option<u64> {
    look(RefreshKind::nothing()).ok().map(|system| system.available_memory())
}

/// How many processes the kernel has ended so far because there was no memory left, those of control
/// groups included; 0 where it does not tell.
pub(crate) fn memory_kills() -> u64 {
    kills_in(&fs::read_to_string("/proc/vmstat").unwrap_or_default())
}

fn kills_in(vmstat: &str) -> u64 {
    let counted = vmstat.lines().find_map(|line| line.strip_prefix("oom_kill "));
    counted.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
}

fn look(beside_memory: RefreshKind) -> Result<System, sysinfo::Error> {
    let memory = MemoryRefreshKind::nothing().with_ram();
    System::new_with_specifics(beside_memory.with_memory(memory))
}

#[cfg(test)]
mod tests {
    use super::kills_in;

    #[test]
    fn what_the_kernel_has_ended_for_want_of_memory_is_counted() {
        assert_eq!(kills_in("pgfault 7\noom_kill 3\noom_kill_x 9\n"), 3);
        assert_eq!(kills_in(""), 0);
    }
}
