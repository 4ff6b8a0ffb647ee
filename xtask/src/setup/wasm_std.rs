//! A wasm32 standard library: the active toolchain's, rustup's, or one built from Debian's source.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::{WasmSetup, debian};
use crate::process::Cmd;
use crate::workspace::Workspace;

const TARGET: &str = "wasm32-unknown-unknown";

/// The name under which rustup knows Debian's own compiler.
const DEBIAN_TOOLCHAIN: &str = "debian";

/// Debian's newest compiler (kept up for browsers), its source to build std from, and a linker.
const DEBIAN_PACKAGES: [&str; 5] = [
    "rustc-web",
    "cargo-web",
    "rust-web-src",
    "rust-web-llvm",
    "rust-web-clippy",
];

/// Where rustup can download, this takes seconds; where it cannot, it would retry for minutes.
const RUSTUP_LIMIT: Duration = Duration::from_secs(90);

const REMEDY: &str = "no wasm32 standard library: run `rustup target add wasm32-unknown-unknown` \
    with a network, or run this as root on Debian, where it can be built from packages";

/// Finds or makes a compiler that can build and link for wasm32.
pub(super) fn ensure(workspace: &Workspace) -> Result<WasmSetup> {
    fs::create_dir_all(workspace.tools())
        .with_context(|| format!("cannot create {}", workspace.tools().display()))?;
    let active = WasmSetup { toolchain: None };
    let fallback = WasmSetup {
        toolchain: Some(DEBIAN_TOOLCHAIN),
    };
    if links(workspace, &active) {
        println!("wasm32 std: in the active toolchain");
        return Ok(active);
    }
    let rustup = workspace.which(&["rustup"]).is_some();
    // Before rustup's download: where that failed once, it would cost its time limit each call.
    if rustup && links(workspace, &fallback) {
        println!("wasm32 std: in Debian's toolchain (RUSTUP_TOOLCHAIN={DEBIAN_TOOLCHAIN})");
        return Ok(fallback);
    }
    if rustup {
        match rustup_add(workspace) {
            Ok(()) if links(workspace, &active) => {
                println!("wasm32 std: added to the active toolchain by rustup");
                return Ok(active);
            }
            Ok(()) => println!("note: rustup added the target, yet it cannot compile"),
            Err(error) => println!("note: rustup cannot add the target: {error:#}"),
        }
    }
    if !debian::can_install() {
        bail!(REMEDY);
    }
    let setup = if rustup { fallback } else { active };
    install_compiler(workspace, rustup).context(REMEDY)?;
    // Another user of this machine may have built it already.
    if !links(workspace, &setup) {
        println!("wasm32 std: building it from Debian's source (about a minute)");
        build_and_install_std(workspace).context(REMEDY)?;
    }
    ensure!(
        links(workspace, &setup),
        "the std built from Debian's source does not work; to see why: echo 'fn main() {{}}' | {}",
        probe(workspace, &setup, Path::new("probe.rs"))
    );
    println!("wasm32 std: built for Debian's toolchain");
    Ok(setup)
}

/// Compiles and links an empty program: shows at once whether std is there, fits the compiler
/// (not so after an upgrade of Debian's), and finds its linker.
fn links(workspace: &Workspace, setup: &WasmSetup) -> bool {
    let source = workspace.tools().join("probe.rs");
    fs::write(&source, "fn main() {}\n").is_ok()
        && probe(workspace, setup, &source).output().is_ok()
}

fn probe(workspace: &Workspace, setup: &WasmSetup, source: &Path) -> Cmd {
    setup
        .cmd(workspace, "rustc")
        .args(["--target", TARGET, "--edition", "2024", "--out-dir"])
        .arg(workspace.tools())
        .arg(source)
}

fn rustup_add(workspace: &Workspace) -> Result<()> {
    let add = workspace.cmd("rustup").env("RUSTUP_MAX_RETRIES", "1");
    add.args(["target", "add", TARGET])
        .output_within(RUSTUP_LIMIT)?;
    Ok(())
}

/// Installs Debian's compiler and tells rustup of it.
fn install_compiler(workspace: &Workspace, rustup: bool) -> Result<()> {
    debian::install(workspace, &DEBIAN_PACKAGES)?;
    install_linker(workspace)?;
    if rustup {
        workspace
            .cmd("rustup")
            .args(["toolchain", "link", DEBIAN_TOOLCHAIN, "/usr"])
            .run()?;
    }
    Ok(())
}

/// Builds std with Debian's rustc and puts it where that looks for it.
fn build_and_install_std(workspace: &Workspace) -> Result<()> {
    let work = workspace.tools().join("wasm32-std");
    let built = build_std(workspace, &work)?;
    let lib = target_libdir(workspace)?;
    copy_rlibs(&built, &lib)
        .with_context(|| format!("cannot copy the built std to {}", lib.display()))?;
    fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))
}

/// `rust-lld` is a link into a package that is only recommended: install the one it points to.
fn install_linker(workspace: &Workspace) -> Result<()> {
    let linker = Path::new("/usr/bin/rust-lld");
    if linker.exists() {
        return Ok(());
    }
    let points_to = fs::read_link(linker).context("rust-web-llvm brought no rust-lld")?;
    let package = points_to.file_name().unwrap_or_default().to_string_lossy();
    debian::install(workspace, &[&package])
}

/// Builds std in an empty crate; returns the folder with the libraries.
fn build_std(workspace: &Workspace, work: &Path) -> Result<PathBuf> {
    if work.exists() {
        fs::remove_dir_all(work)?;
    }
    fs::create_dir_all(work.join("src"))?;
    // `[workspace]`: the crate lies inside our own workspace and must not join it.
    let manifest = "[package]\nname = \"empty\"\nedition = \"2024\"\n\n[workspace]\n";
    fs::write(work.join("Cargo.toml"), manifest)?;
    fs::write(work.join("src/lib.rs"), "")?;
    workspace
        .cmd("/usr/bin/cargo")
        .dir(work)
        .env("RUSTC", "/usr/bin/rustc")
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", work.join("target"))
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .args(["build", "--release", "--target", TARGET])
        .arg("-Zbuild-std=std,panic_abort,panic_unwind,proc_macro,test")
        .run()?;
    Ok(work.join("target").join(TARGET).join("release/deps"))
}

fn target_libdir(workspace: &Workspace) -> Result<PathBuf> {
    let printed = workspace
        .cmd("/usr/bin/rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()?;
    Ok(PathBuf::from(printed.trim()))
}

fn copy_rlibs(from: &Path, to: &Path) -> Result<()> {
    let rlibs = |dir: &Path| -> Result<Vec<PathBuf>> {
        let files = fs::read_dir(dir)?.filter_map(|entry| Some(entry.ok()?.path()));
        Ok(files
            .filter(|path| path.extension().is_some_and(|ext| ext == "rlib"))
            .collect())
    };
    fs::create_dir_all(to)?;
    // Two builds of std side by side confuse rustc: the old one is for an older compiler.
    for old in rlibs(to)? {
        fs::remove_file(old)?;
    }
    for file in rlibs(from)? {
        let name = file.file_name().unwrap_or_default();
        if !name.to_string_lossy().starts_with("libempty-") {
            fs::copy(&file, to.join(name))?;
        }
    }
    Ok(())
}
