//! What the process takes of the machine, under the names that all exporters use. Linux tells it.

use std::fmt;

use prometheus_client::registry::Unit;

use super::families::Families;

#[cfg(not(target_os = "linux"))]
pub(super) fn encode(_: &mut Families<'_>) -> fmt::Result {
    Ok(())
}

/// What cannot be read is left out.
#[cfg(target_os = "linux")]
pub(super) fn encode(families: &mut Families<'_>) -> fmt::Result {
    let Ok(process) = procfs::process::Process::myself() else {
        return Ok(());
    };
    if let Ok(stat) = process.stat() {
        let ticks = procfs::ticks_per_second() as f64;
        families.counter_of(
            ("process_cpu", Unit::Seconds),
            "User and system time of all threads.",
            (stat.utime + stat.stime) as f64 / ticks,
        )?;
        families.gauge_of(
            ("process_resident_memory", Unit::Bytes),
            "Physical memory.",
            (stat.rss * procfs::page_size()) as f64,
        )?;
        families.gauge_of(
            ("process_virtual_memory", Unit::Bytes),
            "Address space.",
            stat.vsize as f64,
        )?;
        let threads = usize::try_from(stat.num_threads).unwrap_or_default();
        families.gauge("process_threads", "Threads.", threads)?;
        if let Ok(boot) = procfs::boot_time_secs() {
            families.gauge_of(
                ("process_start_time", Unit::Seconds),
                "When the process was started, since 1970-01-01T00:00:00Z.",
                boot as f64 + stat.starttime as f64 / ticks,
            )?;
        }
    }
    if let Ok(files) = process.fd_count() {
        families.gauge("process_open_fds", "Open files and sockets.", files)?;
    }
    if let Ok(limits) = process.limits()
        && let procfs::process::LimitValue::Value(most) = limits.max_open_files.soft_limit
    {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        families.gauge("process_max_fds", "Open files and sockets at most.", most)?;
    }
    Ok(())
}
