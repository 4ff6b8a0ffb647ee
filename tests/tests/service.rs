//! The units that the packages bring, as systemd reads them, and what a service tells it. A real
//! systemd runs them in `cargo xtask package-test`.
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mesh_tests::hub::HubProcess;
use mesh_tests::process::{free_port, mesh_binary};
use mesh_tests::report;
use mesh_tests::wait::SOON;
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::time::timeout;

const UNITS: [&str; 2] = ["mesh-signal.service", "mesh-agent@.service"];

/// The most that `systemd-analyze security` may find exposed, of 10: up to 2 it calls OK.
const EXPOSURE_MAX: f64 = 2.0;

/// The watchdog's limit in these tests.
const WATCHDOG: Duration = Duration::from_millis(600);

fn unit(name: &str) -> Result<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd");
    std::fs::read_to_string(folder.join(name)).with_context(|| name.to_owned())
}

/// The arguments of a unit's command.
fn arguments(unit: &str) -> Result<Vec<String>> {
    let start = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="));
    let mut words = start.context("no ExecStart")?.split_whitespace();
    ensure!(words.next() == Some("/usr/bin/mesh"), "{start:?}");
    Ok(words.map(str::to_owned).collect())
}

/// A supervisor's end of sd_notify(3): a folder with a socket and a configuration.
struct Supervisor {
    folder: PathBuf,
    socket: UnixDatagram,
}

impl Supervisor {
    fn new(config: &str) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("mesh-service-{}", free_port()?));
        std::fs::create_dir(&folder)?;
        std::fs::write(folder.join("mesh.toml"), config)?;
        let socket = UnixDatagram::bind(folder.join("notify"))?;
        Ok(Self { folder, socket })
    }

    /// Starts a unit's command as systemd would.
    fn start(&self, unit_name: &str) -> Result<Child> {
        let config = self.folder.join("mesh.toml");
        let key = self.folder.join("key");
        let replaced = |word: String| match word.as_str() {
            "/etc/mesh/mesh.toml" => config.clone().into_os_string(),
            "%i" => "anna".into(),
            "${STATE_DIRECTORY}/key" => key.clone().into_os_string(),
            _ => word.into(),
        };
        Command::new(mesh_binary()?)
            .args(arguments(&unit(unit_name)?)?.into_iter().map(replaced))
            .env("NOTIFY_SOCKET", self.folder.join("notify"))
            .env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("mesh cannot be started")
    }

    /// The next message, unless there is none for so long.
    async fn told(&self, patience: Duration) -> Result<Option<String>> {
        let mut buffer = [0; 1_024];
        let Ok(read) = timeout(patience, self.socket.recv(&mut buffer)).await else {
            return Ok(None);
        };
        Ok(Some(
            String::from_utf8_lossy(&buffer[..read?]).trim().to_owned(),
        ))
    }

    async fn expect(&self, state: &str) -> Result<()> {
        let told = self.told(SOON).await?;
        ensure!(
            told.as_deref() == Some(state),
            "{state} is not told: {told:?}"
        );
        Ok(())
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn signal(child: &Child, name: &str) -> Result<()> {
    let id = child.id().context("it has ended")?.to_string();
    let status = Command::new("kill")
        .args(["-s", name, &id])
        .status()
        .await?;
    ensure!(status.success(), "kill -s {name} {id}: {status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_unit_tells_when_it_is_ready_that_it_lives_and_that_it_stops() -> Result<()> {
    let listen = format!("[hub]\nlisten = [\"127.0.0.1:{}\"]\n", free_port()?);
    let supervisor = Supervisor::new(&listen)?;
    let mut server = supervisor.start("mesh-signal.service")?;
    supervisor.expect("READY=1").await?;
    for _ in 0..3 {
        let told = supervisor.told(WATCHDOG).await?;
        ensure!(
            told.as_deref() == Some("WATCHDOG=1"),
            "within {WATCHDOG:?}: {told:?}"
        );
    }
    signal(&server, "TERM").await?;
    while let Some(told) = supervisor.told(SOON).await? {
        match told.as_str() {
            "WATCHDOG=1" => {}
            "STOPPING=1" => break,
            _ => bail!("it tells {told:?} when it is to stop"),
        }
    }
    let status = timeout(SOON, server.wait())
        .await
        .context("it does not stop")??;
    ensure!(status.success(), "{status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stuck_tells_the_watchdog_nothing() -> Result<()> {
    let listen = format!("[hub]\nlisten = [\"127.0.0.1:{}\"]\n", free_port()?);
    let supervisor = Supervisor::new(&listen)?;
    let server = supervisor.start("mesh-signal.service")?;
    supervisor.expect("READY=1").await?;
    supervisor.expect("WATCHDOG=1").await?;
    signal(&server, "STOP").await?;
    // One may have been on its way.
    let mut last = supervisor.told(WATCHDOG).await?;
    if last.is_some() {
        last = supervisor.told(WATCHDOG).await?;
    }
    ensure!(last.is_none(), "stopped, it tells {last:?}");
    signal(&server, "CONT").await?;
    supervisor.expect("WATCHDOG=1").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agents_unit_is_ready_when_it_has_joined() -> Result<()> {
    let hub = HubProcess::start().await?;
    let config = format!("[agent]\nsignaling = {:?}\nroom = \"served\"\n", hub.url());
    let supervisor = Supervisor::new(&config)?;
    let mut agent = supervisor.start("mesh-agent@.service")?;
    supervisor.expect("READY=1").await?;
    let health = hub.health().await?;
    ensure!(health["hub"]["members"] == 1, "{health}");
    ensure!(supervisor.folder.join("key").is_file(), "it keeps no key");
    signal(&agent, "TERM").await?;
    timeout(SOON, agent.wait())
        .await
        .context("it does not stop")??;
    Ok(())
}

#[tokio::test]
async fn systemd_takes_the_units_and_finds_little_exposed() -> Result<()> {
    let analyze = |arguments: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        command.args(arguments).stdin(Stdio::null());
        command
    };
    if analyze(&["--version"]).output().await.is_err() {
        report("LEFT OUT: there is no systemd-analyze to check the units with");
        return Ok(());
    }
    let folder = std::env::temp_dir().join(format!("mesh-units-{}", free_port()?));
    std::fs::create_dir(&folder)?;
    let program = mesh_binary()?.canonicalize()?;
    for name in UNITS {
        // Where it is installed there is nothing yet.
        let text = unit(name)?.replace("/usr/bin/mesh", program.to_str().context("text")?);
        let path = folder.join(name);
        std::fs::write(&path, text)?;
        let path = path.to_str().context("text")?;
        let verified = analyze(&["verify", "--man=no", path]).output().await?;
        let said = String::from_utf8_lossy(&verified.stderr);
        ensure!(
            verified.status.success() && said.trim().is_empty(),
            "{name}: {said}"
        );
        let looked = analyze(&["security", "--offline=true", "--no-pager", path])
            .output()
            .await?;
        let said = String::from_utf8_lossy(&looked.stdout);
        let level = said
            .lines()
            .find_map(|line| line.split_once("exposure level for")?.1.split_once(": "));
        let (_, level) = level.with_context(|| format!("no level in {said}"))?;
        let level: f64 = level.split(' ').next().unwrap_or_default().parse()?;
        report(&format!("{name}: exposure {level} of 10"));
        ensure!(level <= EXPOSURE_MAX, "{name}: {said}");
    }
    Ok(std::fs::remove_dir_all(folder)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_images_health_check_tells_a_hub_from_none() -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/docker/Dockerfile");
    let text = std::fs::read_to_string(file)?.replace("\\\n", " ");
    let line = text.lines().find(|line| line.starts_with("HEALTHCHECK "));
    let (_, command) = line
        .and_then(|line| line.split_once(" CMD "))
        .context("no check")?;
    let command: Vec<String> = serde_json::from_str(command)?;
    let hub = HubProcess::start().await?;
    let check = async |port: u16| {
        let words = command
            .iter()
            .map(|word| word.replace("9600", &port.to_string()));
        let words: Vec<String> = words.collect();
        let (program, arguments) = words.split_first().context("an empty command")?;
        let checked = Command::new(program).args(arguments).output().await?;
        anyhow::Ok(checked.status.success())
    };
    ensure!(check(hub.port()).await?, "a hub that serves is not healthy");
    ensure!(!check(free_port()?).await?, "nothing is healthy");
    Ok(())
}

#[tokio::test]
async fn the_compose_file_sets_only_what_hubs_read() -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/docker/compose.yaml");
    let text = std::fs::read_to_string(file)?;
    let lines = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("MESH_"));
    let set: Vec<String> = lines
        .filter_map(|line| Some(line.split_once(':')?.0.to_lowercase()))
        .collect();
    ensure!(!set.is_empty(), "it sets nothing");
    let example = Command::new(mesh_binary()?)
        .args(["config", "example"])
        .output()
        .await?;
    let example = String::from_utf8(example.stdout)?;
    for key in set {
        let options = [format!("#{key} ="), format!("#[[hub.{key}]]")];
        let is_known = example
            .lines()
            .any(|line| options.iter().any(|option| line.starts_with(option)));
        ensure!(is_known, "there is no option {key}");
    }
    Ok(())
}
