//! What a process takes, by its id: memory, descriptors, threads. Linux tells it.

use anyhow::{Context, Result};

/// What a process takes at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// Memory in KB.
    pub memory: f64,
    /// Files and sockets.
    pub descriptors: f64,
    /// Threads.
    pub threads: f64,
}

impl Taken {
    /// Of a process.
    ///
    /// # Errors
    /// If it has ended.
    pub fn by(process: u32) -> Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))
            .with_context(|| format!("process {process} has ended"))?;
        let field = |name: &str| {
            let mut lines = status.lines();
            let value = lines.find_map(|line| line.strip_prefix(name));
            let number = value.and_then(|value| value.split_whitespace().next());
            let number = number.with_context(|| format!("its status has no {name}"))?;
            number.parse::<f64>().context("no number")
        };
        Ok(Self {
            memory: field("VmRSS:")?,
            threads: field("Threads:")?,
            descriptors: std::fs::read_dir(format!("/proc/{process}/fd"))?.count() as f64,
        })
    }

    /// Of all processes of a group together; what they share counts for each.
    ///
    /// # Errors
    /// If they have ended.
    pub fn by_group(group: u32) -> Result<Self> {
        let processes = std::fs::read_dir("/proc")?.filter_map(|entry| {
            let process = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
            // After the name, which may hold anything: state, parent, group (proc_pid_stat(5)).
            let (_, fields) = stat.rsplit_once(')')?;
            let is_of_it = fields.split_whitespace().nth(2)?.parse() == Ok(group);
            is_of_it.then_some(process)
        });
        // One that ends meanwhile counts no more.
        let each = processes.filter_map(|process: u32| Self::by(process).ok());
        let all = each.reduce(|all, one| Self {
            memory: all.memory + one.memory,
            descriptors: all.descriptors + one.descriptors,
            threads: all.threads + one.threads,
        });
        all.with_context(|| format!("the processes of group {group} have ended"))
    }
}
