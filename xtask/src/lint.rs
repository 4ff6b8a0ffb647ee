//! `cargo xtask lint` and the cheap steps that it shares with `cargo xtask test`.

use anyhow::{Result, ensure};

use crate::process::Cmd;
use crate::setup::WasmSetup;
use crate::steps::{self, Outcome, Step};
use crate::tidy;
use crate::workspace::Workspace;

/// A crate, and what it must never depend on.
struct Wall {
    package: &'static str,
    /// Of `cargo tree`: the features that it is looked at with.
    features: &'static [&'static str],
    /// As `cargo tree` names them.
    forbidden: &'static [&'static str],
    /// Where what needs them belongs.
    remedy: &'static str,
}

const WALLS: [Wall; 3] = [
    Wall {
        package: "mesh-core",
        features: &["--all-features"],
        forbidden: &[
            "tokio",
            "web-sys",
            "js-sys",
            "wasm-bindgen",
            "getrandom",
            "webrtc",
            "tracing feature \"std\"",
            "tracing-subscriber",
        ],
        remedy: "it is a pure state machine: move what needs it to a backend",
    },
    Wall {
        package: "mesh-native",
        features: &["--all-features"],
        forbidden: &[
            "clap",
            "clap_mangen",
            "hdrhistogram",
            "indicatif",
            "mesh-core feature \"sim\"",
            "plotters",
            "pulldown-cmark",
            "sd-notify",
        ],
        remedy: "it is a library: move what needs it to mesh-cli",
    },
    Wall {
        package: "mesh-native",
        features: &[],
        forbidden: &[
            "axum",
            "brotli",
            "hyper",
            "procfs",
            "prometheus-client",
            "redis",
            "rust-embed",
            "tower",
        ],
        remedy: "an agent needs no server: make it optional, for the features hub and metrics",
    },
];

/// Runs the cheap checks.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let steps = vec![
        fmt(workspace),
        clippy(workspace),
        doc(workspace),
        tidy(workspace),
    ];
    steps::run(&steps, Some("cargo xtask test"))
}

/// Is all code formatted?
pub(crate) fn fmt(workspace: &Workspace) -> Step<'_> {
    Step::new("fmt", "formatting", || {
        workspace
            .cmd("cargo")
            .args(["fmt", "--all", "--check"])
            .run()?;
        // Workspaces of their own, so `--all` leaves them out.
        for alone in ["fuzz", "versus"] {
            let manifest = workspace.root.join(alone).join("Cargo.toml");
            let fmt = workspace.cmd("cargo").args(["fmt", "--manifest-path"]);
            fmt.arg(&manifest).arg("--check").run()?;
        }
        Ok(())
    })
}

/// Clippy for this machine, tests and examples too; and the library with fewer features than the
/// command turns on.
pub(crate) fn clippy(workspace: &Workspace) -> Step<'_> {
    Step::new("clippy", "clippy, all targets, warnings denied", || {
        let library = ["--package", "mesh-native", "--lib", "--features"];
        for what in [
            &["--workspace", "--all-targets"][..],
            &[&library[..], &[""]].concat(),
            &[&library[..], &["metrics"]].concat(),
        ] {
            let clippy = workspace.cmd("cargo").arg("clippy").args(what);
            clippy.args(["--", "-D", "warnings"]).run()?;
        }
        Ok(())
    })
}

/// Clippy for the browser: code behind `cfg(target_arch = "wasm32")` is seen only so.
pub(crate) fn clippy_wasm(workspace: &Workspace, setup: &WasmSetup) -> Result<Outcome> {
    let cargo = || setup.cmd(workspace, "cargo");
    let has_clippy = cargo().args(["clippy", "--version"]).output().is_ok();
    let command = if has_clippy { "clippy" } else { "check" };
    let deny: &[&str] = if has_clippy {
        &["--", "-D", "warnings"]
    } else {
        &[]
    };
    // mesh-core's own tests stay out: their dependencies are native.
    for what in [&["mesh-core"][..], &["mesh-wasm", "--all-targets"]] {
        cargo()
            .args([command, "--target", "wasm32-unknown-unknown", "--package"])
            .args(what)
            .args(deny)
            .run()?;
    }
    Ok(if has_clippy {
        Outcome::Passed
    } else {
        Outcome::Reduced("only checked: the wasm32 toolchain has no clippy".to_owned())
    })
}

/// The documentation builds without a warning: no dead links.
pub(crate) fn doc(workspace: &Workspace) -> Step<'_> {
    Step::new("doc", "documentation, warnings denied", || {
        workspace
            .cmd("cargo")
            .env("RUSTDOCFLAGS", "-D warnings")
            .args([
                "doc",
                "--no-deps",
                "--package",
                "mesh-core",
                "--package",
                "mesh-native",
                "--package",
                "mesh-cli",
            ])
            .run()
    })
}

/// The project's own rules.
pub(crate) fn tidy(workspace: &Workspace) -> Step<'_> {
    Step::new("tidy", "the project's own rules", || tidy::run(workspace))
}

/// The crates depend on nothing that others are for.
pub(crate) fn purity(workspace: &Workspace) -> Step<'_> {
    Step::new("purity", "no crate depends on what is not its own", || {
        WALLS.iter().try_for_each(|wall| stands(workspace, wall))
    })
}

fn stands(workspace: &Workspace, wall: &Wall) -> Result<()> {
    let tree = tree_of(workspace, wall).output()?;
    let found = behind(wall.forbidden, &tree);
    let (package, remedy) = (wall.package, wall.remedy);
    ensure!(
        found.is_empty(),
        "{package} depends on {}; {remedy}. To see why: {} --invert {}",
        found.join(", "),
        tree_of(workspace, wall),
        // Of a feature the crate.
        found[0].split(' ').next().unwrap_or_default()
    );
    Ok(())
}

fn tree_of(workspace: &Workspace, wall: &Wall) -> Cmd {
    workspace
        .cmd("cargo")
        .args(["tree", "--package", wall.package])
        .args(wall.features)
        .args(["--edges", "normal,features", "--target", "all"])
        .args(["--prefix", "none"])
}

/// The forbidden ones in the output of `cargo tree --prefix none`.
fn behind(forbidden: &[&'static str], tree: &str) -> Vec<&'static str> {
    let is_there = |name: &str| {
        tree.lines().any(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        })
    };
    forbidden
        .iter()
        .copied()
        .filter(|name| is_there(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_crates_and_features_are_found_by_their_whole_names() {
        let tree = "mesh-core v0.1.0 (/x)\ntokio v1.0.0 (*)\ngetrandom_or_panic v0.1.0\n\
                    mesh-core feature \"sim\"\nmesh-core feature \"simple\"\n";
        assert_eq!(behind(&["getrandom", "tokio", "web-sys"], tree), ["tokio"]);
        let sim = "mesh-core feature \"sim\"";
        assert_eq!(behind(&[sim], tree), [sim]);
        assert!(behind(&[sim], &tree.replace("sim\"", "simul\"")).is_empty());
    }
}
