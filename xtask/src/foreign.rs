//! `cargo xtask foreign`: links between our stack and others, real ones, in both directions.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::setup;
use crate::table;
use crate::workspace::{Workspace, read};

/// Scripts of the other ends, and what they need.
const SCRIPTS: &str = "tests/foreign";
const REQUIREMENTS: &str = "requirements.txt";
const COPIED: [&str; 5] = [
    "package.json",
    "package-lock.json",
    "peer.mjs",
    "peer.py",
    REQUIREMENTS,
];

/// The document that has the table, and what the line before it says.
const DOCUMENT: &str = "docs/foreign.md";
const MEASURED_BY: &str = "cargo xtask foreign";

/// How long signals take, in milliseconds: what comes early comes while they are on their way.
const SIGNALS_TAKE: &str = "20";

/// What a round may take: a link that does not open gives up after 15 s.
const ROUND_MAX: Duration = Duration::from_secs(16);

/// Rounds of a pair that is known not to open.
const HOPELESS_ROUNDS: usize = 1;

/// A stack at the other end.
struct Stack {
    name: &'static str,
    /// How it is used, if not as it is.
    used: &'static str,
    /// The package of its name and version.
    package: &'static str,
    runs_on: Platform,
    args: &'static [&'static str],
    /// Why it does not open when ours offers, if that is known: see `docs/foreign.md`.
    hopeless: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Platform {
    Node,
    Python,
}

/// The end that offers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Offers {
    Theirs,
    Ours,
}

impl fmt::Display for Offers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Theirs => "theirs",
            Self::Ours => "ours",
        })
    }
}

const STACKS: [Stack; 4] = [
    Stack {
        name: "aiortc",
        used: "",
        package: "aiortc",
        runs_on: Platform::Python,
        args: &[],
        hopeless: None,
    },
    Stack {
        name: "libdatachannel",
        used: "",
        package: "node-datachannel",
        runs_on: Platform::Node,
        args: &["libdatachannel"],
        hopeless: None,
    },
    Stack {
        name: "werift",
        used: "",
        package: "werift",
        runs_on: Platform::Node,
        args: &["werift"],
        hopeless: Some("neither end begins SCTP"),
    },
    Stack {
        name: "werift",
        used: ", told to answer `passive`",
        package: "werift",
        runs_on: Platform::Node,
        args: &["werift", "passive"],
        hopeless: None,
    },
];

/// Tries all stacks in both directions, prints the table and writes it into the document.
pub(crate) fn run(workspace: &Workspace, rounds: usize) -> Result<()> {
    ensure!(rounds > 0, "at least one round is needed: --rounds 1");
    let folder = workspace.target.join("foreign");
    copy_scripts(workspace, &folder)?;
    setup::npm_install(workspace, &folder, "werift and libdatachannel")?;
    let python = install_python(workspace, &folder)?;
    workspace
        .cmd("cargo")
        .args(["build", "--package", "mesh-native", "--features", "pairs"])
        .args(["--example", "foreign"])
        .run()?;
    let mut rows = Vec::new();
    let mut failures = Vec::new();
    for stack in &STACKS {
        let mut command = match stack.runs_on {
            Platform::Node => vec!["node".into(), folder.join("peer.mjs")],
            Platform::Python => vec![python.clone(), folder.join("peer.py")],
        };
        command.extend(stack.args.iter().map(PathBuf::from));
        for offers in [Offers::Theirs, Offers::Ours] {
            let hopeless = stack.hopeless.filter(|_| offers == Offers::Ours);
            let rounds = hopeless.map_or(rounds, |_| HOPELESS_ROUNDS);
            let tried = try_pair(workspace, offers, rounds, &command)?;
            if let (None, Some(error)) = (hopeless, tried.errors.first()) {
                failures.push(format!("{}, {offers}: {error}", stack.name));
            }
            let version = version(&folder, stack)?;
            let name = format!("{} {version}{}", stack.name, stack.used);
            rows.push(tried.row(&name, offers, hopeless));
        }
    }
    table::write(workspace, DOCUMENT, MEASURED_BY, &told(&rows, rounds))?;
    ensure!(
        failures.is_empty(),
        "links that should open do not:\n  {}",
        failures.join("\n  ")
    );
    Ok(())
}

/// Brings the scripts where their packages are installed: they look for these beside them.
fn copy_scripts(workspace: &Workspace, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let scripts = workspace.root.join(SCRIPTS);
    for name in COPIED {
        let text = read(&scripts.join(name))?;
        let copy = folder.join(name);
        // A lock file that is written again would have its packages installed again.
        if fs::read_to_string(&copy).ok().as_ref() != Some(&text) {
            fs::write(&copy, text).with_context(|| format!("cannot write {}", copy.display()))?;
        }
    }
    Ok(())
}

/// Installs the Python packages when they have changed. Returns the interpreter that has them.
fn install_python(workspace: &Workspace, folder: &Path) -> Result<PathBuf> {
    let environment = folder.join("venv");
    let interpreter = environment.join("bin/python");
    let (wanted, installed) = (folder.join(REQUIREMENTS), environment.join(REQUIREMENTS));
    if fs::read(&wanted).ok() == fs::read(&installed).ok() {
        return Ok(interpreter);
    }
    let python = workspace.which(&["python3"]);
    let python = python.context("aiortc needs Python: install python3 and python3-venv")?;
    workspace
        .cmd(python)
        .args(["-m", "venv"])
        .arg(&environment)
        .run()
        .context("cannot make a Python environment; is python3-venv installed?")?;
    workspace
        .cmd(&interpreter)
        .args(["-m", "pip", "install", "--quiet", "--requirement"])
        .arg(&wanted)
        .run()
        .context("cannot install aiortc; is pip's registry reachable?")?;
    fs::copy(&wanted, &installed).context("cannot note what is installed")?;
    Ok(interpreter)
}

/// The version of a stack, from what pins it.
fn version(folder: &Path, stack: &Stack) -> Result<String> {
    let version = match stack.runs_on {
        Platform::Node => {
            let package: Value = serde_json::from_str(&read(&folder.join("package.json"))?)?;
            let version = package["dependencies"][stack.package].as_str();
            version.map(str::to_owned)
        }
        Platform::Python => {
            let requirements = read(&folder.join(REQUIREMENTS))?;
            let pinned = format!("{}==", stack.package);
            let version = requirements.lines().find_map(|l| l.strip_prefix(&pinned));
            version.map(str::to_owned)
        }
    };
    version.with_context(|| format!("{SCRIPTS} pins no version of {}", stack.package))
}

/// Opens links with one stack in one direction.
fn try_pair(
    workspace: &Workspace,
    offers: Offers,
    rounds: usize,
    command: &[PathBuf],
) -> Result<Tried> {
    let said = workspace
        .cmd(workspace.target.join("debug/examples/foreign"))
        .arg(offers.to_string())
        .args([&rounds.to_string(), SIGNALS_TAKE])
        .args(command)
        .output_within(ROUND_MAX * (rounds as u32 + 1))?;
    Tried::read(&said)
}

/// What came of the rounds of a pair, in milliseconds after the offer.
#[derive(Debug, Default)]
struct Tried {
    opened: Vec<f64>,
    messages: Vec<f64>,
    errors: Vec<String>,
}

impl Tried {
    /// Reads one JSON line a round.
    fn read(said: &str) -> Result<Self> {
        let mut tried = Self::default();
        for line in said.lines() {
            let round: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
            if let Some(error) = round["error"].as_str() {
                tried.errors.push(error.to_owned());
                continue;
            }
            let of = |name: &str| round[name].as_f64().with_context(|| line.to_owned());
            tried.opened.push(of("opened")?);
            tried.messages.push(of("messages")?);
        }
        tried.opened.sort_by(f64::total_cmp);
        tried.messages.sort_by(f64::total_cmp);
        Ok(tried)
    }

    fn row(&self, name: &str, offers: Offers, hopeless: Option<&str>) -> String {
        let median = |sorted: &[f64]| sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN);
        let rounds = self.opened.len() + self.errors.len();
        let opened = match (self.opened.first(), self.opened.last()) {
            (Some(least), Some(most)) => format!(
                "{:.0} ({least:.0} to {most:.0}) | {:.0}",
                median(&self.opened),
                median(&self.messages)
            ),
            _ => format!("never: {} | –", hopeless.unwrap_or("see the command")),
        };
        let open = self.opened.len();
        format!("| {name} | {offers} | {open} of {rounds} | {opened} |\n")
    }
}

fn told(rows: &[String], rounds: usize) -> String {
    let least = 2 * SIGNALS_TAKE.parse::<u32>().unwrap_or(0);
    format!(
        "{rounds} links each, between two processes of one machine. Signals take {SIGNALS_TAKE} ms \
         each way,\nso no link is open before {least} ms. Times are in milliseconds from the \
         offer; open means both\nends.\n\n\
         | the other stack | offers | open | open after: median (all) | messages, both ways |\n\
         |---|---|---:|---|---:|\n{}",
        rows.concat()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_what_opened_and_what_did_not() {
        let said = "{\"opened\":72.4,\"messages\":73.0}\n{\"error\":\"why\"}\n\
                    {\"opened\":70.0,\"messages\":71.0}\n{\"opened\":99.0,\"messages\":99.9}\n";
        let tried = Tried::read(said).expect("JSON lines");
        assert_eq!(tried.errors, ["why"]);
        let row = tried.row("other 1.0", Offers::Theirs, None);
        assert_eq!(
            row,
            "| other 1.0 | theirs | 3 of 4 | 72 (70 to 99) | 73 |\n"
        );
        let row = Tried::default().row("other 1.0", Offers::Ours, Some("a reason"));
        assert_eq!(row, "| other 1.0 | ours | 0 of 0 | never: a reason | – |\n");
        assert!(Tried::read("nonsense").is_err());
    }
}
