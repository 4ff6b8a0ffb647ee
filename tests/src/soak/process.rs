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
}
