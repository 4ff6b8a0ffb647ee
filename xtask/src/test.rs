//! `cargo xtask test`: every check and test of the project, cheapest first.

use std::cell::OnceCell;

use anyhow::{Result, ensure};
use clap::Args;

use crate::setup::{self, Browser, BrowserSetup, WasmSetup};
use crate::steps::{self, Outcome, Step};
use crate::workspace::Workspace;
use crate::{demo, deploy, lint, wasm};

/// The steps that cannot run without browsers.
const BROWSER_STEPS: [&str; 3] = ["chrome", "firefox", "e2e"];

/// The steps that compile to wasm32.
const WASM_STEPS: [&str; 4] = ["clippy-wasm", "wasm", "chrome", "firefox"];

/// Arguments of `cargo xtask test`.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Leave out what needs Chrome and Firefox.
    #[arg(long)]
    no_browsers: bool,
    /// Only print the names of the steps.
    #[arg(long)]
    list: bool,
    /// Run only these steps.
    steps: Vec<String>,
}

/// Runs the chosen steps.
pub(crate) fn run(workspace: &Workspace, args: &TestArgs) -> Result<()> {
    let tools = Tools {
        workspace,
        wasm: OnceCell::new(),
        browsers: OnceCell::new(),
    };
    let all = all_steps(workspace, &tools, args.no_browsers);
    let mut chosen = steps::select(all, &args.steps)?;
    if args.no_browsers {
        chosen.retain(|step| step.name == "e2e" || !BROWSER_STEPS.contains(&step.name));
    }
    if args.list {
        for step in &chosen {
            println!("{:<14} {}", step.name, step.title);
        }
        return Ok(());
    }
    // What is missing shall show now, not after half an hour.
    let needs = |names: &[&str]| chosen.iter().any(|step| names.contains(&step.name));
    if needs(&WASM_STEPS) {
        tools.wasm()?;
    }
    if !args.no_browsers && needs(&BROWSER_STEPS) {
        println!("browsers: {}", tools.browsers()?);
    }
    if needs(&["deploy"]) {
        setup::for_deploy(workspace)?;
    }
    if needs(&["e2e"]) {
        setup::for_proxy(workspace)?;
        setup::for_prometheus(workspace)?;
        setup::for_redis(workspace)?;
        setup::for_guides(workspace)?;
        setup::for_soak(workspace)?;
        if !args.no_browsers {
            setup::for_npm(workspace)?;
        }
    }
    let result = steps::run(&chosen, Some("cargo xtask test"));
    if args.no_browsers {
        println!("\nLEFT OUT (--no-browsers): all tests in Chrome and Firefox");
    }
    result
}

fn all_steps<'a>(
    workspace: &'a Workspace,
    tools: &'a Tools<'a>,
    no_browsers: bool,
) -> Vec<Step<'a>> {
    vec![
        lint::fmt(workspace),
        lint::tidy(workspace),
        lint::purity(workspace),
        lint::clippy(workspace),
        lint::doc(workspace),
        Step::new("unit", "unit, simulation and native tests", || {
            unit(workspace)
        }),
        deploy::step(workspace),
        Step::reducible("page", "the page's own tests", || page(workspace)),
        Step::reducible("clippy-wasm", "clippy for wasm32, warnings denied", || {
            lint::clippy_wasm(workspace, tools.wasm()?)
        }),
        Step::new("wasm", "the page's module", || {
            wasm::build(workspace, tools.wasm()?)
        }),
        Step::new("chrome", "mesh-wasm's tests in Chrome", || {
            in_browser(tools, Browser::Chrome)
        }),
        Step::new("firefox", "mesh-wasm's tests in Firefox", || {
            in_browser(tools, Browser::Firefox)
        }),
        Step::new("release", "the mesh command", || for_end_to_end(workspace)),
        Step::new("e2e", "end to end", move || end_to_end(tools, no_browsers)),
    ]
}

fn unit(workspace: &Workspace) -> Result<()> {
    workspace
        .cmd("cargo")
        .args(["test", "--workspace", "--exclude", "mesh-tests"])
        .args(["--exclude", "mesh-wasm"])
        .run()
}

/// The page's logic is plain JavaScript; its tests need nothing but Node.
fn page(workspace: &Workspace) -> Result<Outcome> {
    let Some(node) = workspace.which(&["node", "nodejs"]) else {
        return Ok(Outcome::Reduced("left out: there is no Node.js".to_owned()));
    };
    let web = workspace.root.join("web");
    workspace.cmd(node).arg("--test").dir(&web).run()?;
    Ok(Outcome::Passed)
}

fn in_browser(tools: &Tools<'_>, browser: Browser) -> Result<()> {
    let browsers = tools.browsers()?;
    let cmd = tools.wasm()?.cmd(tools.workspace, "wasm-pack");
    let said = wasm::test(browsers.for_wasm_pack(cmd), browsers, browser).run_and_read()?;
    // A test file that forgets `run_in_browser` is skipped without a word, and all seems well.
    ensure!(
        passed(&said) > 0,
        "not one test ran in the browser; do mesh-wasm's tests say \
         `wasm_bindgen_test_configure!(run_in_browser)`?"
    );
    Ok(())
}

/// How many tests passed, by the summaries in the output of one or more test binaries.
fn passed(output: &str) -> u32 {
    let summaries = output
        .lines()
        .filter_map(|line| line.trim().strip_prefix("test result: ok. "));
    summaries
        .filter_map(|rest| rest.split_whitespace().next()?.parse::<u32>().ok())
        .sum()
}

/// The command, the example of the README, and the tests that drive them: built apart they would
/// disagree on features, and the WebRTC stack would be compiled twice.
fn for_end_to_end(workspace: &Workspace) -> Result<()> {
    demo::build_release(
        workspace,
        &["mesh-cli", "mesh-native", "mesh-tests"],
        &["--bins", "--examples"],
    )
}

fn end_to_end(tools: &Tools<'_>, no_browsers: bool) -> Result<()> {
    // Quick after the steps before this one; needed when this step runs alone.
    if !tools.workspace.root.join("web/pkg/mesh_wasm.js").is_file() {
        wasm::build(tools.workspace, tools.wasm()?)?;
    }
    for_end_to_end(tools.workspace)?;
    let binary = demo::mesh_binary(tools.workspace);
    let cmd = tools.workspace.cmd("cargo").env("MESH_BIN", binary);
    let cmd = if no_browsers {
        // The tests read this: without it a browser that is missing is a failure.
        cmd.env("MESH_NO_BROWSERS", "1")
    } else {
        tools.browsers()?.for_end_to_end(cmd)
    };
    // In release, as users run it; the agents in the tests' own process then share that build. One
    // failure does not hide the next.
    cmd.args(["test", "--release", "--package", "mesh-tests"])
        .arg("--no-fail-fast")
        .run()
}

/// The guides' commands that take minutes.
pub(crate) fn guides(workspace: &Workspace) -> Result<()> {
    setup::for_guides(workspace)?;
    for_end_to_end(workspace)?;
    workspace
        .cmd("cargo")
        .env("MESH_BIN", demo::mesh_binary(workspace))
        .args(["test", "--release", "--package", "mesh-tests"])
        .args(["--test", "guides", "--", "--ignored"])
        .run()
}

/// What steps need, set up once when first asked for.
struct Tools<'a> {
    workspace: &'a Workspace,
    wasm: OnceCell<WasmSetup>,
    browsers: OnceCell<BrowserSetup>,
}

impl Tools<'_> {
    fn wasm(&self) -> Result<&WasmSetup> {
        if let Some(ready) = self.wasm.get() {
            return Ok(ready);
        }
        let ready = setup::for_wasm(self.workspace)?;
        Ok(self.wasm.get_or_init(|| ready))
    }

    fn browsers(&self) -> Result<&BrowserSetup> {
        if let Some(ready) = self.browsers.get() {
            return Ok(ready);
        }
        let ready = setup::for_browsers(self.workspace)?;
        Ok(self.browsers.get_or_init(|| ready))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passed_tests_are_counted_over_all_binaries() {
        let output = "no tests to run!\ntest result: ok. 3 passed; 0 failed\nx\n\
                      test result: ok. 12 passed; 0 failed\n";
        assert_eq!(passed(output), 15);
        assert_eq!(passed("no tests to run!\n"), 0);
    }
}
