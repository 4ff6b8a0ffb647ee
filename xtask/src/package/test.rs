//! `cargo xtask package-test`: the Debian package installed, started, killed, stuck, upgraded and
//! purged on a bare Debian with a real systemd.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::container::{self, Container, until};
use super::{NAME, build, debian};
use crate::setup;
use crate::steps::{self, Step};
use crate::workspace::Workspace;

const SERVICE: &str = "mesh-signal";
const AGENT: &str = "mesh-agent@anna";
const CONFIG: &str = "/etc/mesh/mesh.toml";

/// It closes no report of a bug that a package is wanted, for there is none; deb-systemd-invoke
/// knows no patterns, and all instances of a template have no other name.
const SUPPRESSED: [&str; 2] = [
    "initial-upload-closes-no-bugs",
    "maintainer-script-calls-systemctl",
];

/// What systemd-analyze may find exposed, of 10.
const EXPOSURE_MAX: f64 = 2.0;

/// What a machine has after it ran a service of any kind, or dpkg: no part of the package.
const OF_OTHERS: [&str; 8] = [
    "/proc",
    "/sys",
    "/run",
    "/dev",
    "/tmp",
    "/var/log",
    "/var/tmp",
    "/var/lib/private",
];

/// What dpkg and systemd keep for themselves.
const KEPT: [&str; 4] = [
    "/var/lib/dpkg/status-old",
    "/var/lib/dpkg/diversions-old",
    "/var/lib/dpkg/statoverride-old",
    "/var/lib/systemd/random-seed",
];

/// Runs the test.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    container::require_root()?;
    setup::for_package_test(workspace)?;
    build(workspace)?;
    let packages = workspace.target.join("package-test").join("packages");
    fs::create_dir_all(&packages)?;
    for revision in ["1", "2"] {
        let package = debian(workspace, revision)?;
        fs::copy(&package, packages.join(format!("{revision}.deb")))?;
    }
    lint(workspace, &packages.join("1.deb"))?;
    let base = container::base(workspace)?;
    println!("booting it");
    let test = Test {
        inside: Container::boot(&base, &packages)?,
        before: RefCell::default(),
    };
    let steps = vec![
        Step::new("install", "installed, it serves", || test.install()),
        Step::new("sandbox", "the service can do little else", || {
            test.sandbox()
        }),
        Step::new("kill", "killed, it comes back", || test.kill()),
        Step::new("watchdog", "stuck, it is restarted", || test.watchdog()),
        Step::new("configure", "it obeys its configuration", || {
            test.configure()
        }),
        Step::new("agent", "an agent joins as a service", || test.agent()),
        Step::new("upgrade", "upgraded, it goes on as configured", || {
            test.upgrade()
        }),
        Step::new("remove", "removed, it leaves its configuration", || {
            test.remove()
        }),
        Step::new("purge", "purged, it leaves nothing", || test.purge()),
    ];
    steps::run(&steps, None)
}

/// Debian's own rules.
fn lint(workspace: &Workspace, package: &std::path::Path) -> Result<()> {
    workspace
        .cmd("lintian")
        .args(["--fail-on", "error,warning", "--tag-display-limit", "0"])
        .args(["--suppress-tags", &SUPPRESSED.join(",")])
        .arg(package)
        .run()
}

struct Test {
    inside: Container,
    /// Files before the package was installed.
    before: RefCell<BTreeSet<String>>,
}

impl Test {
    fn install(&self) -> Result<()> {
        *self.before.borrow_mut() = self.files()?;
        println!(
            "{}",
            self.inside.run(&["dpkg", "--install", "/packages/1.deb"])?
        );
        self.serves(9600)?;
        let enabled = self.inside.run(&["systemctl", "is-enabled", SERVICE])?;
        ensure!(enabled.trim() == "enabled", "the service is {enabled}");
        println!("{}", self.inside.run(&["mesh", "--version"])?);
        self.inside.run(&["mesh", "config", "check"])?;
        for file in ["/usr/share/man/man1/mesh-signal.1.gz", CONFIG] {
            self.inside.run(&["test", "-s", file])?;
        }
        // A real agent joins and leaves.
        let said = self.inside.shell(
            "echo '{\"type\":\"close\"}' | timeout 20 mesh agent --room test --name visitor",
        )?;
        ensure!(
            said.contains("\"ready\"") && said.contains("\"left\""),
            "{said}"
        );
        Ok(())
    }

    fn sandbox(&self) -> Result<()> {
        let said = self
            .inside
            .shell(&format!("systemd-analyze security --no-pager {SERVICE}"))?;
        let last = said.lines().last().unwrap_or_default();
        let level = last
            .split(": ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        let level: f64 = level.context("no level")?.parse()?;
        println!("exposure {level} of 10");
        ensure!(level <= EXPOSURE_MAX, "{said}");
        let status = self
            .inside
            .run(&["cat", &format!("/proc/{}/status", self.main(SERVICE)?)])?;
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next())
                .unwrap_or_default()
                .to_owned()
        };
        ensure!(of("Uid:") != "0", "it runs as root");
        for (what, value) in [
            ("CapEff:", "0000000000000000"),
            ("CapBnd:", "0000000000000000"),
            ("NoNewPrivs:", "1"),
            ("Seccomp:", "2"),
        ] {
            ensure!(of(what) == value, "{what} {} instead of {value}", of(what));
        }
        // It still serves, and refused calls would be in the journal.
        self.serves(9600)?;
        let journal = self
            .inside
            .run(&["journalctl", "--no-pager", "--unit", SERVICE])?;
        for bad in ["denied", "not permitted", "panicked", " ERROR "] {
            ensure!(!journal.contains(bad), "{bad:?} in the journal:\n{journal}");
        }
        Ok(())
    }

    fn kill(&self) -> Result<()> {
        let killed = self.main(SERVICE)?;
        self.inside.shell(&format!("kill -s KILL {killed}"))?;
        self.restarted(SERVICE, &killed)?;
        self.serves(9600)
    }

    fn watchdog(&self) -> Result<()> {
        let stuck = self.main(SERVICE)?;
        self.inside.shell(&format!("kill -s STOP {stuck}"))?;
        self.restarted(SERVICE, &stuck)?;
        let journal = self
            .inside
            .run(&["journalctl", "--no-pager", "--unit", SERVICE])?;
        ensure!(journal.contains("Watchdog timeout"), "{journal}");
        self.serves(9600)
    }

    fn configure(&self) -> Result<()> {
        self.inside.shell(&format!(
            "sed -i 's/^#listen = .*/listen = [\"127.0.0.1:9700\"]/' {CONFIG} && \
             printf '[agent]\\nsignaling = \"ws://127.0.0.1:9700/signal\"\\nroom = \"test\"\\n' \
             > /tmp/agent && sed -i '/^\\[agent\\]/{{r /tmp/agent\nd}}' {CONFIG} && \
             mesh config check && systemctl restart {SERVICE}"
        ))?;
        self.serves(9700)?;
        // A mistake is told where an operator looks, and the remedy works.
        self.inside.shell(&format!(
            "cp {CONFIG} /tmp/good && sed -i 's/^listen/lisen/' {CONFIG}"
        ))?;
        let restarted = self.inside.try_run(&["systemctl", "restart", SERVICE])?;
        ensure!(
            !restarted.success,
            "it starts with a configuration that is wrong"
        );
        let journal = self
            .inside
            .run(&["journalctl", "--no-pager", "--unit", SERVICE])?;
        let told = "[hub] has no option lisen: is it listen?";
        ensure!(
            journal.contains(told),
            "{told:?} is not in the journal:\n{journal}"
        );
        self.inside.shell(&format!(
            "cat /tmp/good > {CONFIG} && systemctl reset-failed {SERVICE} && \
             systemctl restart {SERVICE}"
        ))?;
        self.serves(9700)
    }

    fn agent(&self) -> Result<()> {
        self.inside.run(&["systemctl", "enable", "--now", AGENT])?;
        let health = self.health(9700)?;
        ensure!(
            health.contains("\"members\":1"),
            "the agent has not joined: {health}"
        );
        self.inside
            .run(&["test", "-s", "/var/lib/mesh-agent/anna/key"])
            .map(|_| ())
    }

    fn upgrade(&self) -> Result<()> {
        let (server, agent) = (self.main(SERVICE)?, self.main(AGENT)?);
        let config = self.inside.run(&["cat", CONFIG])?;
        println!(
            "{}",
            self.inside.run(&["dpkg", "--install", "/packages/2.deb"])?
        );
        let query = [
            "dpkg-query",
            "-W",
            "-f=${Version} ${db:Status-Status}",
            NAME,
        ];
        let installed = self.inside.run(&query)?;
        ensure!(installed.ends_with("-2 installed"), "{installed}");
        ensure!(
            self.inside.run(&["cat", CONFIG])? == config,
            "the configuration has changed"
        );
        for (unit, before) in [(SERVICE, server), (AGENT, agent)] {
            ensure!(
                self.main(unit)? != before,
                "{unit} still runs as the old version"
            );
        }
        self.serves(9700)?;
        until("the agent is back", || {
            let health = self.health(9700)?;
            ensure!(health.contains("\"members\":1"), "{health}");
            Ok(())
        })
    }

    fn remove(&self) -> Result<()> {
        println!("{}", self.inside.run(&["dpkg", "--remove", NAME])?);
        self.inside.run(&["test", "-s", CONFIG])?;
        self.inside
            .shell("! test -e /usr/bin/mesh && ! pgrep -x mesh || ! command -v pgrep")?;
        for unit in [SERVICE, AGENT] {
            let active = self.inside.try_run(&["systemctl", "is-active", unit])?;
            ensure!(!active.success, "{unit} is {}", active.stdout);
        }
        ensure!(self.health(9700).is_err(), "something still serves");
        Ok(())
    }

    fn purge(&self) -> Result<()> {
        println!("{}", self.inside.run(&["dpkg", "--purge", NAME])?);
        let (before, after) = (self.before.borrow(), self.files()?);
        let left: Vec<&String> = after.difference(&before).collect();
        let gone: Vec<&String> = before.difference(&after).collect();
        println!("{} files before and {} after", before.len(), after.len());
        ensure!(left.is_empty(), "left behind: {left:#?}");
        ensure!(gone.is_empty(), "taken away: {gone:#?}");
        let failed = self
            .inside
            .run(&["systemctl", "--failed", "--no-legend", "--plain"])?;
        ensure!(failed.trim().is_empty(), "{failed}");
        Ok(())
    }

    /// Every file and folder of the machine, but for what others keep.
    fn files(&self) -> Result<BTreeSet<String>> {
        let found = self.inside.run(&["find", "/", "-xdev"])?;
        let of_others = |path: &str| {
            KEPT.contains(&path)
                || OF_OTHERS.iter().any(|folder| {
                    path.strip_prefix(folder)
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                })
        };
        Ok(found
            .lines()
            .filter(|path| !of_others(path))
            .map(str::to_owned)
            .collect())
    }

    /// The main process of a unit, as numbered inside.
    fn main(&self, unit: &str) -> Result<String> {
        let said = self
            .inside
            .run(&["systemctl", "show", "--value", "-p", "MainPID", unit])?;
        let id = said.trim();
        ensure!(id != "0", "{unit} does not run");
        Ok(id.to_owned())
    }

    fn restarted(&self, unit: &str, before: &str) -> Result<()> {
        until(&format!("{unit} is restarted"), || {
            let active = self.inside.run(&["systemctl", "is-active", unit])?;
            ensure!(active.trim() == "active", "{unit} is {active}");
            ensure!(self.main(unit)? != before, "{unit} is as before");
            Ok(())
        })
    }

    /// The service is active, which it is only once it said so, and answers.
    fn serves(&self, port: u16) -> Result<()> {
        let active = self.inside.run(&["systemctl", "is-active", SERVICE])?;
        ensure!(active.trim() == "active", "the service is {active}");
        let health = self.health(port)?;
        ensure!(health.contains("\"status\":\"ok\""), "{health}");
        Ok(())
    }

    fn health(&self, port: u16) -> Result<String> {
        self.inside.shell(&format!(
            "exec 3<>/dev/tcp/127.0.0.1/{port}; \
             printf 'GET /healthz HTTP/1.0\\r\\nhost: localhost\\r\\n\\r\\n' >&3; cat <&3"
        ))
    }
}
