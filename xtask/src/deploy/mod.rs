//! The files in `deploy/`, as the programs that they are for read them. No engine runs containers
//! in the tests: what can be known without one is checked here.

mod dashboard;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::setup;
use crate::steps::Step;
use crate::workspace::{Workspace, read};

const DOCKERFILE: &str = "deploy/docker/Dockerfile";
const COMPOSE: &str = "deploy/docker/compose.yaml";
const HAPROXY: &str = "deploy/docker/haproxy.cfg";
const HAPROXY_TESTED: &str = "deploy/haproxy.cfg";
const PROMETHEUS: &str = "deploy/docker/prometheus.yml";
const RULES: &str = "deploy/prometheus/rules.yml";

/// What an operator has to say before the compose file can be used.
const VARIABLES: [&str; 3] = ["TURN_HOST", "TURN_PASSWORD", "GRAFANA_PASSWORD"];

/// The step of `cargo xtask test`.
pub(crate) fn step(workspace: &Workspace) -> Step<'_> {
    Step::new(
        "deploy",
        "Dockerfile, compose file, proxy, monitoring, dashboard",
        || {
            let hadolint = setup::for_deploy(workspace)?;
            workspace
                .cmd(hadolint)
                .arg(workspace.root.join(DOCKERFILE))
                .run()?;
            check_copies(workspace)?;
            let resolved = check_compose(workspace)?;
            dashboard::check(workspace, &resolved)?;
            check_haproxy(workspace)?;
            check_prometheus(workspace)
        },
    )
}

/// What the image copies must be there.
fn check_copies(workspace: &Workspace) -> Result<()> {
    let copied = copied(&read(&workspace.root.join(DOCKERFILE))?);
    ensure!(!copied.is_empty(), "{DOCKERFILE} copies nothing");
    for path in copied {
        ensure!(
            workspace.root.join(&path).exists(),
            "{DOCKERFILE} copies {path}, which does not exist"
        );
    }
    Ok(())
}

/// Paths of the context that a Dockerfile copies.
fn copied(dockerfile: &str) -> Vec<String> {
    let lines = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "));
    let from_context = lines.filter(|rest| !rest.contains("--from="));
    from_context
        .flat_map(|rest| {
            let mut words: Vec<&str> = rest
                .split_whitespace()
                .filter(|word| !word.starts_with("--"))
                .collect();
            words.pop(); // Where it goes to.
            words.into_iter().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

/// The compose file is valid, says what it lacks, and mounts what there is. Returns it resolved.
fn check_compose(workspace: &Workspace) -> Result<String> {
    let config = |left_out: Option<&str>| {
        let file = workspace.root.join(COMPOSE);
        let cmd = workspace
            .cmd("docker-compose")
            .arg("--file")
            .arg(file)
            .arg("config");
        let given = VARIABLES.iter().filter(|name| Some(**name) != left_out);
        let cmd = given.fold(cmd, |cmd, name| cmd.env(name, "given"));
        left_out
            .into_iter()
            .fold(cmd, |cmd, name| cmd.env_remove(name))
            .output()
    };
    for name in VARIABLES {
        let Err(error) = config(Some(name)) else {
            bail!("{COMPOSE} does without {name}");
        };
        let error = format!("{error:#}");
        ensure!(
            error.contains(&format!("set {name}")),
            "without {name}: {error}"
        );
    }
    let resolved = config(None)?;
    println!(
        "{COMPOSE}: {} lines when resolved",
        resolved.lines().count()
    );
    let mounted = mounted(&resolved);
    ensure!(!mounted.is_empty(), "{COMPOSE} mounts nothing");
    for path in mounted {
        ensure!(
            path.exists(),
            "{COMPOSE} mounts {}, which does not exist",
            path.display()
        );
    }
    Ok(resolved)
}

/// Folders and files of this machine that a resolved compose file mounts.
fn mounted(resolved: &str) -> Vec<PathBuf> {
    let items = resolved
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- /"));
    let pairs = items.filter_map(|item| item.split_once(':'));
    pairs.map(|(path, _)| Path::new("/").join(path)).collect()
}

/// HAProxy takes its configuration, which is the one that is tested before real hubs but for their
/// names. It looks these up, which only compose can.
fn check_haproxy(workspace: &Workspace) -> Result<()> {
    let text = read(&workspace.root.join(HAPROXY))?;
    let tested = read(&workspace.root.join(HAPROXY_TESTED))?;
    ensure!(
        without_servers(&text) == without_servers(&tested),
        "{HAPROXY} differs from {HAPROXY_TESTED}, and not in its servers alone"
    );
    let text = text
        .replace(" hub-1:", " 127.0.0.1:")
        .replace(" hub-2:", " 127.0.0.1:");
    let copy = scratch(workspace)?.join("haproxy.cfg");
    fs::write(&copy, text)?;
    let haproxy = workspace.which(&["haproxy", "/usr/sbin/haproxy"]);
    let haproxy = haproxy.context("haproxy was installed, yet is not found")?;
    workspace.cmd(haproxy).arg("-c").arg("-f").arg(copy).run()
}

/// Prometheus takes its configuration with the rules beside it, as they are mounted.
fn check_prometheus(workspace: &Workspace) -> Result<()> {
    let folder = scratch(workspace)?;
    for file in [PROMETHEUS, RULES] {
        let from = workspace.root.join(file);
        let name = from.file_name().unwrap_or_default();
        fs::copy(&from, folder.join(name)).with_context(|| format!("there is no {file}"))?;
    }
    let config = folder.join("prometheus.yml");
    workspace
        .cmd("promtool")
        .args(["check", "config"])
        .arg(config)
        .run()
}

/// What HAProxy is told, less the servers.
fn without_servers(config: &str) -> Vec<&str> {
    let lines = config.lines().map(str::trim);
    let told = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    told.filter(|line| !line.starts_with("server ")).collect()
}

fn scratch(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target.join("deploy");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_copied_and_mounted_is_found() {
        let dockerfile = "FROM a AS b\nCOPY . .\nCOPY --chown=1 x y /z/\nCOPY --from=b /q /r\n";
        assert_eq!(copied(dockerfile), [".", "x", "y"]);
        let resolved = "services:\n  a:\n    volumes:\n    - /b/c:/d:ro\n    - named:/e:rw\n";
        assert_eq!(mounted(resolved), [Path::new("/b/c")]);
    }
}
