//! A bare Debian with systemd as its first process, booted in namespaces of this machine. What is
//! changed in it lies in memory, and is gone with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::setup;
use crate::workspace::Workspace;

/// The release that the package is made on and for.
const SUITE: &str = "bookworm";

const MIRROR: &str = "http://deb.debian.org/debian";

/// How long booting, and each thing that is waited for, may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// A running container, ended when dropped.
#[derive(Debug)]
pub(super) struct Container {
    nspawn: Child,
    /// Its first process, as this machine numbers it.
    first: String,
}

/// Makes the root that containers start from, once.
pub(super) fn base(workspace: &Workspace) -> Result<PathBuf> {
    let root = workspace.target.join("package-test").join(SUITE);
    let complete = root.join("etc/mesh-base-complete");
    if complete.is_file() {
        return Ok(root);
    }
    if root.exists() {
        fs::remove_dir_all(&root)?; // Half of one.
    }
    fs::create_dir_all(root.parent().unwrap_or(&root))?;
    println!(
        "installing Debian {SUITE} into {} (about a minute)",
        root.display()
    );
    workspace
        .cmd("debootstrap")
        .args(["--variant=minbase", "--include=systemd,systemd-sysv", SUITE])
        .arg(&root)
        .arg(MIRROR)
        .output()
        .context("cannot install Debian into a folder; is the network up?")?;
    // As installers write it.
    fs::write(
        root.join("etc/hosts"),
        "127.0.0.1 localhost\n::1 localhost\n",
    )?;
    fs::write(&complete, "")?;
    Ok(root)
}

impl Container {
    /// Boots a root, with a folder of this machine to read in `/packages`.
    pub(super) fn boot(root: &Path, packages: &Path) -> Result<Self> {
        let log = fs::File::create(packages.join("container.log"))?;
        let nspawn = Command::new("systemd-nspawn")
            .args(["--quiet", "--boot", "--volatile=overlay"])
            .args(["--register=no", "--keep-unit", "--private-network"])
            .args(["--link-journal=no", "--console=pipe"])
            .arg(format!("--bind-ro={}:/packages", packages.display()))
            .arg("--directory")
            .arg(root)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start systemd-nspawn; is systemd-container installed?")?;
        let mut container = Self {
            nspawn,
            first: String::new(),
        };
        container.first = until("the container has a first process", || {
            container.find_first()
        })?;
        until("systemd is up", || {
            let state = container.try_run(&["systemctl", "is-system-running"])?;
            let state = state.stdout.trim();
            ensure!(state == "running", "systemd is {state:?}");
            Ok(())
        })?;
        Ok(container)
    }

    fn find_first(&self) -> Result<String> {
        let id = self.nspawn.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        let first = children.split_whitespace().next();
        Ok(first.context("systemd-nspawn has no child yet")?.to_owned())
    }

    /// Runs a command inside to its end.
    pub(super) fn try_run(&self, command: &[&str]) -> Result<Ran> {
        let output = Command::new("nsenter")
            .args([
                "--target",
                &self.first,
                "--mount",
                "--uts",
                "--ipc",
                "--net",
                "--pid",
            ])
            .args(["--cgroup", "--root", "--"])
            .args([
                "env",
                "-i",
                "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                "LC_ALL=C.UTF-8",
            ])
            .arg("DEBIAN_FRONTEND=noninteractive")
            .args(command)
            .stdin(Stdio::null())
            .output()
            .context("cannot start nsenter")?;
        Ok(Ran {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs a command inside that must succeed; returns what it printed.
    pub(super) fn run(&self, command: &[&str]) -> Result<String> {
        let Ran {
            success,
            stdout,
            stderr,
        } = self.try_run(command)?;
        ensure!(
            success,
            "`{}` fails inside: {stdout}{stderr}",
            command.join(" ")
        );
        Ok(stdout)
    }

    /// The same for a line of shell.
    pub(super) fn shell(&self, line: &str) -> Result<String> {
        self.run(&["bash", "-ec", line])
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Killed, its first process takes all others with it.
        if !self.first.is_empty() {
            let _ = Command::new("kill")
                .args(["-s", "KILL", &self.first])
                .status();
        }
        let _ = self.nspawn.kill(); // It may have ended.
        let _ = self.nspawn.wait();
    }
}

/// What a command inside came to.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) success: bool,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Looks again and again until it is so.
pub(super) fn until<T>(what: &str, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let begin = Instant::now();
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(error) if begin.elapsed() > PATIENCE => {
                return Err(error).with_context(|| format!("not within {PATIENCE:?}: {what}"));
            }
            Err(_) => sleep(LOOK),
        }
    }
}

/// Refuses to begin where it cannot work.
pub(super) fn require_root() -> Result<()> {
    if setup::is_root() {
        return Ok(());
    }
    bail!("the package is tested in a container that root alone can boot: run it as root")
}
