//! Running commands: each one is printed so that it can be copied, and fails with its own line.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// A command to run: program, arguments, changed environment, directory.
#[derive(Debug)]
pub(crate) struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    /// Shown when the command is printed: what a reader needs to repeat it.
    shown_env: Vec<(OsString, Option<OsString>)>,
    /// Not shown: plumbing that a reader's own shell has right already.
    quiet_env: Vec<(OsString, Option<OsString>)>,
    dir: PathBuf,
}

impl Cmd {
    /// A command that runs in `dir`.
    pub(crate) fn new(program: impl AsRef<OsStr>, dir: &Path) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            shown_env: Vec::new(),
            quiet_env: Vec::new(),
            dir: dir.to_owned(),
        }
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable; all but `PATH` are shown when the command is printed.
    pub(crate) fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        let entry = (key.into(), Some(value.as_ref().to_owned()));
        if key == "PATH" {
            self.quiet_env.push(entry);
        } else {
            self.shown_env.push(entry);
        }
        self
    }

    /// Removes a variable.
    pub(crate) fn env_remove(mut self, key: &str) -> Self {
        self.quiet_env.push((key.into(), None));
        self
    }

    /// Runs in another directory.
    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.dir = dir.to_owned();
        self
    }

    /// Removes what `cargo run` told this xtask about itself.
    ///
    /// Build scripts and other toolchains must see what they would see from a shell: a foreign
    /// rustc or browser may not load the libraries of the toolchain that built xtask.
    pub(crate) fn without_cargo_run_env(mut self, target: &Path) -> Self {
        for (key, _) in env::vars_os() {
            let name = key.to_string_lossy();
            let ours = ["CARGO_PKG_", "CARGO_MANIFEST_"]
                .iter()
                .any(|p| name.starts_with(p));
            if ours
                || matches!(
                    &*name,
                    "CARGO" | "CARGO_BIN_NAME" | "CARGO_CRATE_NAME" | "OUT_DIR"
                )
            {
                self.quiet_env.push((key, None));
            }
        }
        for key in ["LD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"] {
            if let Some(old) = env::var_os(key) {
                let kept = env::split_paths(&old)
                    .filter(|dir| !dir.starts_with(target) && !is_toolchain_lib(dir));
                let kept = env::join_paths(kept).ok().filter(|paths| !paths.is_empty());
                self.quiet_env.push((key.into(), kept));
            }
        }
        self
    }

    /// Prints the command, runs it with its output shown, fails unless it succeeds.
    pub(crate) fn run(self) -> Result<()> {
        println!("$ {self}");
        let status = self
            .command()
            .status()
            .with_context(|| self.cannot_start())?;
        self.check(status)
    }

    /// Like `run`, and returns the standard output besides showing it.
    pub(crate) fn run_and_read(self) -> Result<String> {
        println!("$ {self}");
        let mut child = self
            .command()
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| self.cannot_start())?;
        let mut seen = String::new();
        if let Some(pipe) = child.stdout.take() {
            for line in BufReader::new(pipe).lines() {
                let line = line?;
                println!("{line}");
                seen.push_str(&line);
                seen.push('\n');
            }
        }
        self.check(child.wait()?)?;
        Ok(seen)
    }

    /// Runs silently and returns the standard output, or an error that carries the output.
    pub(crate) fn output(self) -> Result<String> {
        let output = self
            .command()
            .stdin(Stdio::null())
            .output()
            .with_context(|| self.cannot_start())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            self.check(output.status)
                .with_context(|| said.trim().to_owned())?;
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Like `output`, and kills the command after `limit`. For commands that print little.
    pub(crate) fn output_within(self, limit: Duration) -> Result<String> {
        println!("$ {self}");
        let mut child = self
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| self.cannot_start())?;
        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if start.elapsed() > limit {
                child.kill()?;
                child.wait()?;
                bail!("no answer within {} s: {self}", limit.as_secs());
            }
            thread::sleep(Duration::from_millis(50));
        };
        let (mut out, mut err) = (String::new(), String::new());
        if let Some(mut pipe) = child.stdout.take() {
            pipe.read_to_string(&mut out)?;
        }
        if let Some(mut pipe) = child.stderr.take() {
            pipe.read_to_string(&mut err)?;
        }
        self.check(status)
            .with_context(|| first_error(&err).to_owned())?;
        Ok(out)
    }

    /// Replaces this process where the system can, so that signals reach the program itself.
    pub(crate) fn exec(self) -> Result<()> {
        println!("$ {self}");
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt as _;
            let error = self.command().exec();
            Err(error).with_context(|| self.cannot_start())
        }
        #[cfg(not(unix))]
        {
            let status = self
                .command()
                .status()
                .with_context(|| self.cannot_start())?;
            self.check(status)
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(&self.dir);
        for (key, value) in self.quiet_env.iter().chain(&self.shown_env) {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        command
    }

    fn check(&self, status: ExitStatus) -> Result<()> {
        if status.success() {
            return Ok(());
        }
        bail!(
            "the command failed ({status}); to repeat it:\n  cd {} && {self}",
            quote(self.dir.as_os_str())
        )
    }

    fn cannot_start(&self) -> String {
        format!(
            "cannot start `{}`; is it installed? (`cargo xtask setup` installs our tools)",
            self.program.to_string_lossy()
        )
    }
}

impl fmt::Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in &self.shown_env {
            let value = value.as_deref().unwrap_or_default();
            write!(f, "{}={} ", key.to_string_lossy(), quote(value))?;
        }
        write!(f, "{}", quote(&self.program))?;
        for arg in &self.args {
            write!(f, " {}", quote(arg))?;
        }
        Ok(())
    }
}

/// The line of a program's error output that says most: backtraces may follow it.
fn first_error(output: &str) -> &str {
    let is_error = |line: &&str| line.to_lowercase().starts_with("error");
    let found = output.lines().find(is_error);
    found
        .or_else(|| output.lines().last())
        .unwrap_or("it failed")
}

fn is_toolchain_lib(dir: &Path) -> bool {
    dir.components()
        .any(|part| part.as_os_str() == "toolchains")
}

/// Quotes for a POSIX shell where needed.
fn quote(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_command_can_be_copied() {
        let cmd = Cmd::new("cargo", Path::new("/"))
            .env("PATH", "/hidden")
            .env("RUSTDOCFLAGS", "-D warnings")
            .args(["doc", "it's"]);
        let shown = cmd.to_string();
        assert_eq!(shown, r"RUSTDOCFLAGS='-D warnings' cargo doc 'it'\''s'");
    }

    #[cfg(unix)]
    #[test]
    fn failures_carry_the_command_and_its_output() {
        let cmd = Cmd::new("sh", Path::new("/")).args(["-c", "echo why >&2; exit 3"]);
        let error = format!("{:#}", cmd.output().expect_err("exit code 3"));
        assert!(error.contains("why") && error.contains("sh -c"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_command_over_its_limit_is_killed() {
        let start = Instant::now();
        let cmd = Cmd::new("sleep", Path::new("/")).arg("20");
        let error = cmd.output_within(Duration::from_millis(100));
        assert!(error.is_err() && start.elapsed() < Duration::from_secs(10));
    }
}
