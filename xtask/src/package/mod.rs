//! `cargo xtask package`: the `mesh` command as packages carry it, and the Debian package.

mod container;
mod names;
pub(crate) mod publish;
pub(crate) mod test;

use std::env;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::demo::{build_mesh, mesh_binary};
use crate::setup;
use crate::wasm;
use crate::workspace::{Workspace, read};

/// The Debian package.
const NAME: &str = "webrtc-agent-mesh";

/// Starts of which the median is told.
const STARTS: usize = 21;

/// How long the server may take to answer: only a failure takes so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Builds all, tells size and start time, and makes the Debian package.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    build(workspace)?;
    println!("{}", measure(&stripped(workspace)?)?);
    if workspace.which(&["dpkg-deb"]).is_none() {
        println!("no Debian package: it is made on Debian and its relatives");
        return Ok(());
    }
    let package = debian(workspace, "1")?;
    let bytes = fs::metadata(&package)?.len();
    println!("{}: {:.1} MB", package.display(), bytes as f64 / 1e6);
    Ok(())
}

/// Builds the page's module and the command that carries it inside.
fn build(workspace: &Workspace) -> Result<()> {
    let tools = setup::for_wasm(workspace)?;
    wasm::build(workspace, &tools)?;
    build_mesh(workspace)
}

/// What packages carry: the build that the tests run, without what only a debugger reads.
fn stripped(workspace: &Workspace) -> Result<PathBuf> {
    let folder = folder(workspace);
    fs::create_dir_all(&folder)?;
    let to = folder
        .join("mesh")
        .with_extension(env::consts::EXE_EXTENSION);
    let strip = workspace.cmd("strip").arg("-o").arg(&to);
    strip.arg(mesh_binary(workspace)).run()?;
    Ok(to)
}

/// Where what packages carry is made.
fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("release").join("debian")
}

/// Makes the Debian package of this revision; returns where it is.
fn debian(workspace: &Workspace, revision: &str) -> Result<PathBuf> {
    setup::for_packages(workspace)?;
    let version = version(workspace)?;
    let folder = folder(workspace);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let binary = stripped(workspace)?;
    workspace.cmd(binary).arg("man").arg(&folder).run()?;
    for page in fs::read_dir(&folder)? {
        let page = page?.path();
        if page.extension().is_none_or(|extension| extension != "1") {
            continue;
        }
        compress(&page, fs::read(&page)?)?;
        fs::remove_file(&page)?;
    }
    let changelog = changelog(workspace, &format!("{version}-{revision}"))?;
    compress(&folder.join("changelog.Debian"), changelog.into_bytes())?;
    workspace
        .cmd("cargo")
        .args(["deb", "--package", "mesh-cli", "--no-build"])
        .args(["--deb-revision", revision])
        .run()?;
    let name = format!(
        "{NAME}_{version}-{revision}_{}.deb",
        architecture(workspace)?
    );
    let package = workspace.target.join("debian").join(name);
    ensure!(package.is_file(), "cargo deb left no {}", package.display());
    Ok(package)
}

/// As `gzip -9n`: the same bytes give the same file.
fn compress(path: &Path, bytes: Vec<u8>) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    let file = fs::File::create(&name).with_context(|| format!("cannot write {name:?}"))?;
    let mut gzip = GzEncoder::new(file, Compression::best());
    gzip.write_all(&bytes)?;
    gzip.finish()?;
    Ok(())
}

fn architecture(workspace: &Workspace) -> Result<String> {
    let said = workspace.cmd("dpkg").arg("--print-architecture").output()?;
    Ok(said.trim().to_owned())
}

/// The version of the whole workspace.
fn version(workspace: &Workspace) -> Result<String> {
    of_workspace(workspace, "version")
}

/// What the root Cargo.toml says of all packages.
fn of_workspace(workspace: &Workspace, key: &str) -> Result<String> {
    let manifest = read(&workspace.root.join("Cargo.toml"))?;
    let start = format!("{key} = ");
    let line = manifest.lines().find_map(|line| line.strip_prefix(&start));
    let value = line.with_context(|| format!("Cargo.toml says no {key}"))?;
    Ok(value.trim_matches('"').to_owned())
}

/// The changelog of the package, dated by the last commit.
fn changelog(workspace: &Workspace, version: &str) -> Result<String> {
    let manifest = read(&workspace.root.join("mesh-cli/Cargo.toml"))?;
    let line = manifest
        .lines()
        .find_map(|line| line.strip_prefix("maintainer = "));
    let maintainer = line.context("mesh-cli/Cargo.toml names no maintainer")?;
    let maintainer = maintainer.trim_matches('"');
    let date = workspace
        .cmd("git")
        .args(["log", "-1", "--format=%aD"])
        .output();
    let date = date.unwrap_or_else(|_| "Thu, 01 Jan 2026 00:00:00 +0000".to_owned());
    let date = date.trim();
    Ok(format!(
        "{NAME} ({version}) unstable; urgency=medium\n\n  * As upstream's CHANGELOG.md says.\n\n \
         -- {maintainer}  {date}\n"
    ))
}

/// What a start costs, in words.
fn measure(binary: &Path) -> Result<String> {
    let bytes = fs::metadata(binary)?.len();
    let mut starts = Vec::new();
    let mut serves = Vec::new();
    for _ in 0..STARTS {
        let begin = Instant::now();
        let status = Command::new(binary)
            .arg("--version")
            .stdout(Stdio::null())
            .status()?;
        starts.push(begin.elapsed());
        ensure!(
            status.success(),
            "{} does not start: {status}",
            binary.display()
        );
        serves.push(time_to_serve(binary)?);
    }
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e3
    };
    Ok(format!(
        "{}: {:.1} MB; `mesh --version` takes {:.1} ms, `mesh signal` answers after {:.1} ms \
         (medians of {STARTS})",
        binary.display(),
        bytes as f64 / 1e6,
        median(starts),
        median(serves)
    ))
}

/// From the start of a server to its answer to a request.
fn time_to_serve(binary: &Path) -> Result<Duration> {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let begin = Instant::now();
    let server = Command::new(binary)
        .args(["signal", "--listen", &free.to_string()])
        .stderr(Stdio::null())
        .spawn()?;
    let _server = Killed(server);
    loop {
        if answers(free).is_ok() {
            return Ok(begin.elapsed());
        }
        if begin.elapsed() > PATIENCE {
            bail!("mesh signal does not answer at {free} within {PATIENCE:?}");
        }
        sleep(Duration::from_micros(500)); // A connection is refused at once.
    }
}

fn answers(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET /healthz HTTP/1.0\r\nhost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.contains(" 200 "), "{answer}");
    Ok(())
}

/// A process that ends with this.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill(); // It may have ended.
        let _ = self.0.wait();
    }
}
