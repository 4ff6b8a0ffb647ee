//! `cargo xtask lint` and the cheap steps that it shares with `cargo xtask test`.

use anyhow::{Result, ensure};

use crate::process::Cmd;
use crate::setup::WasmSetup;
use crate::steps::{self, Outcome, Step};
use crate::tidy;
use crate::workspace::Workspace;

/// What mesh-core must never depend on: it is a pure state machine.
const IMPURE: [&str; 6] = [
    "tokio",
    "web-sys",
    "js-sys",
    "wasm-bindgen",
    "getrandom",
    "webrtc",
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

/// Clippy for this machine, tests and examples too.
pub(crate) fn clippy(workspace: &Workspace) -> Step<'_> {
    Step::new("clippy", "clippy, all targets, warnings denied", || {
        let clippy = workspace.cmd("cargo").args(["clippy", "--workspace"]);
        clippy.args(["--all-targets", "--", "-D", "warnings"]).run()
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
            ])
            .run()
    })
}

/// The project's own rules.
pub(crate) fn tidy(workspace: &Workspace) -> Step<'_> {
    Step::new("tidy", "the project's own rules", || tidy::run(workspace))
}

/// mesh-core depends on nothing that does input or output.
pub(crate) fn purity(workspace: &Workspace) -> Step<'_> {
    Step::new("purity", "mesh-core depends on no runtime", || {
        let tree = tree_of_core(workspace).output()?;
        let impure = impurities(&tree);
        ensure!(
            impure.is_empty(),
            "mesh-core depends on {}; move what needs it to a backend. To see why: {} --invert {}",
            impure.join(", "),
            tree_of_core(workspace),
            impure.first().copied().unwrap_or_default()
        );
        Ok(())
    })
}

fn tree_of_core(workspace: &Workspace) -> Cmd {
    workspace
        .cmd("cargo")
        .args(["tree", "--package", "mesh-core", "--edges", "normal"])
        .args(["--all-features", "--target", "all", "--prefix", "none"])
}

/// The forbidden crates in the output of `cargo tree --prefix none`.
fn impurities(tree: &str) -> Vec<&'static str> {
    let names: Vec<&str> = tree
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    IMPURE
        .into_iter()
        .filter(|name| names.contains(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impure_dependencies_are_found_by_their_whole_name() {
        let tree = "mesh-core v0.1.0 (/x)\ntokio v1.0.0 (*)\ngetrandom_or_panic v0.1.0\n";
        assert_eq!(impurities(tree), ["tokio"]);
    }
}
