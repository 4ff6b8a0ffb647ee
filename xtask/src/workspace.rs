//! Where things are: the repository root, cargo's target directory, our own tools.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::process::Cmd;

/// The paths every chore starts from.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The repository root.
    pub(crate) root: PathBuf,
    /// Cargo's target directory, wherever the user's configuration puts it.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Finds the workspace that this xtask was started from.
    pub(crate) fn find() -> Result<Self> {
        // Set by `cargo run`; the compiled-in value serves a directly started binary.
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest
            .parent()
            .context("xtask lies at no workspace; start it as `cargo xtask` in the repository")?
            .to_path_buf();
        let target = target_dir(&root);
        Ok(Self { root, target })
    }

    /// The root of `cargo install --root` for our tools: nothing of the user's is overwritten.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// A command that runs in the repository root and finds our tools first.
    pub(crate) fn cmd(&self, program: impl AsRef<OsStr>) -> Cmd {
        Cmd::new(program, &self.root)
            .env("PATH", self.search_path())
            .without_cargo_run_env(&self.target)
    }

    /// `PATH` with our own tools in front.
    fn search_path(&self) -> std::ffi::OsString {
        let old = env::var_os("PATH").unwrap_or_default();
        let tools = self.tools().join("bin");
        let all = std::iter::once(tools).chain(env::split_paths(&old));
        env::join_paths(all).unwrap_or(old)
    }

    /// The first of `names` found in our tools or on `PATH`.
    pub(crate) fn which(&self, names: &[&str]) -> Option<PathBuf> {
        let path = self.search_path();
        let dirs: Vec<PathBuf> = env::split_paths(&path).collect();
        names
            .iter()
            .flat_map(|name| dirs.iter().map(move |dir| dir.join(name)))
            .map(|file| file.with_extension(env::consts::EXE_EXTENSION))
            .find(|file| file.is_file())
    }

    /// The one version of `package` in Cargo.lock.
    pub(crate) fn locked_version(&self, package: &str) -> Result<String> {
        let path = self.root.join("Cargo.lock");
        if !path.exists() {
            self.cmd("cargo").arg("generate-lockfile").run()?;
        }
        let lock = read(&path)?;
        match locked_versions(&lock, package).as_slice() {
            [version] => Ok(version.clone()),
            [] => bail!("Cargo.lock has no `{package}`; does mesh-wasm depend on it?"),
            many => bail!(
                "Cargo.lock has {} versions of `{package}` ({}); unify them: \
                 `cargo tree --invert {package}` shows who asks for which",
                many.len(),
                many.join(", ")
            ),
        }
    }
}

/// Reads a text file, naming it when that fails.
pub(crate) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Every version of `package` in the text of a Cargo.lock.
pub(crate) fn locked_versions(lock: &str, package: &str) -> Vec<String> {
    let wanted = format!("name = \"{package}\"");
    lock.split("[[package]]")
        .filter(|entry| entry.lines().any(|line| line == wanted))
        .filter_map(|entry| {
            let version = entry.lines().find_map(|l| l.strip_prefix("version = "))?;
            Some(version.trim_matches('"').to_owned())
        })
        .collect()
}

/// Cargo marks its target directory with a cache tag: this binary lies somewhere below it.
fn target_dir(root: &Path) -> PathBuf {
    let tagged = env::current_exe().ok().and_then(|exe| {
        let mut above = exe.ancestors();
        let found = above.find(|dir| dir.join("CACHEDIR.TAG").is_file());
        found.map(Path::to_path_buf)
    });
    tagged.unwrap_or_else(|| root.join("target"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_the_lock_file() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.2.3\"\n\n\
                    [[package]]\nname = \"ab\"\nversion = \"2.0.0\"\n\n\
                    [[package]]\nname = \"a\"\nversion = \"0.9.0\"\n";
        assert_eq!(locked_versions(lock, "a"), ["1.2.3", "0.9.0"]);
        assert_eq!(locked_versions(lock, "ab"), ["2.0.0"]);
        assert!(locked_versions(lock, "b").is_empty());
    }
}
