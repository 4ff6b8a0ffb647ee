//! Scripts of the documents, run as their readers would, in a folder and a network of their own.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;
use tokio::time::timeout;

use crate::process::mesh_binary;
use crate::report;

/// How a network, mounts and processes of one's own are had: as root, and as a user that may be
/// root among those.
const ISOLATIONS: [&[&str]; 2] = [
    &["--net", "--mount"],
    &["--map-root-user", "--net", "--mount"],
];

/// Bytes of a file that a failure tells.
const TOLD_MAX: usize = 2_000;

/// What isolates scripts from this machine, if it can be had: arguments of `unshare`.
pub async fn isolation() -> Option<&'static [&'static str]> {
    for arguments in ISOLATIONS {
        let tried = Command::new("unshare")
            .args(arguments)
            .arg("true")
            .stderr(Stdio::null())
            .status()
            .await;
        if tried.is_ok_and(|status| status.success()) {
            return Some(arguments);
        }
    }
    None
}

/// Runs a script of bash with `mesh` on its path, in `folder`, which goes with it. What it leaves
/// running ends with it.
///
/// # Errors
/// If it fails or takes longer than `patience`, with what the files in its folder say.
pub async fn run(folder: &Path, script: &str, patience: Duration) -> Result<()> {
    let binary = mesh_binary()?.canonicalize()?;
    let binaries = binary.parent().context("it is in a folder")?;
    let path = std::env::var("PATH").unwrap_or_default();
    let script = format!(
        "ip link set lo up 2> /dev/null; trap 'trap \"\" TERM; kill 0' EXIT; set -e\n{script}"
    );
    let mut command = if let Some(arguments) = isolation().await {
        let mut command = Command::new("unshare");
        command.args(arguments).args(["bash", "-c", &script]);
        command
    } else {
        report("the documents' scripts share this machine's port 9600");
        let mut command = Command::new("bash");
        command.args(["-c", &script]);
        command
    };
    let running = command
        .current_dir(folder)
        // Debian keeps servers where only root's path leads.
        .env("PATH", format!("{}:{path}:/usr/sbin", binaries.display()))
        .env_remove("RUST_LOG")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .output();
    let ended = timeout(patience, running).await;
    let ended = ended.with_context(|| format!("it hangs\n{}", told(folder)))??;
    ensure!(
        ended.status.success(),
        "it ends with {}: {}\n{}",
        ended.status,
        String::from_utf8_lossy(&ended.stderr),
        told(folder)
    );
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// The ends of the files in a folder.
fn told(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<String> = entries
        .filter_map(|entry| {
            let bytes = std::fs::read(entry.path()).ok()?;
            let end = bytes.get(bytes.len().saturating_sub(TOLD_MAX)..)?;
            let name = entry.file_name();
            Some(format!(
                "{}: {}",
                name.display(),
                String::from_utf8_lossy(end)
            ))
        })
        .collect();
    files.sort();
    files.join("\n")
}
