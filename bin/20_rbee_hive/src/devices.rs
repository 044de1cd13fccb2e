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

fn look(beside_memory: RefreshKind) -> Result<System, sysinfo::Error> {
    let memory = MemoryRefreshKind::nothing().with_ram();
    System::new_with_specifics(beside_memory.with_memory(memory))
}
