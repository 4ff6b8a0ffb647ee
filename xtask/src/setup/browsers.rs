//! Chrome and Firefox with their WebDrivers, as the tests need them.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{debian, tools};
use crate::process::Cmd;
use crate::workspace::{Workspace, read};

const CHROME: [&str; 5] = [
    "chromium",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "chromium-browser",
];
const FIREFOX: [&str; 2] = ["firefox", "firefox-esr"];

/// Where macOS keeps them: not on `PATH`.
const MAC_CHROME: &str = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome";
const MAC_FIREFOX: &str = "/Applications/Firefox.app/Contents/MacOS/firefox";

const DEBIAN_PACKAGES: [&str; 3] = ["chromium", "chromium-driver", "firefox-esr"];

/// One of the two browsers that the tests run in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Browser {
    Chrome,
    Firefox,
}

/// Paths of the browsers and their drivers.
#[derive(Debug)]
pub(crate) struct BrowserSetup {
    chrome: PathBuf,
    chromedriver: PathBuf,
    firefox: PathBuf,
    geckodriver: PathBuf,
    /// The capabilities that wasm-bindgen's test runner asks its driver for.
    webdriver_json: PathBuf,
    /// A home that browsers can write to, when the user's own will not do.
    home: Option<PathBuf>,
}

/// Finds both browsers and drivers, installs what is missing where that is possible.
pub(crate) fn find(workspace: &Workspace) -> Result<BrowserSetup> {
    let (chrome, chromedriver, firefox) = match installed(workspace) {
        [Some(chrome), Some(driver), Some(firefox)] => (chrome, driver, firefox),
        _ if debian::can_install() => {
            debian::install(workspace, &DEBIAN_PACKAGES)?;
            match installed(workspace) {
                [Some(chrome), Some(driver), Some(firefox)] => (chrome, driver, firefox),
                _ => bail!("the browsers were installed, yet are not on PATH"),
            }
        }
        found => bail!(missing(&found)),
    };
    let named = env::var_os("GECKODRIVER").map(PathBuf::from);
    if named.is_none() {
        tools::ensure_geckodriver(workspace)?;
    }
    let geckodriver = named
        .or_else(|| workspace.which(&["geckodriver"]))
        .context("geckodriver was installed, yet is not found")?;
    let webdriver_json = write_capabilities(workspace, &chrome, &firefox)?;
    Ok(BrowserSetup {
        chrome,
        chromedriver,
        firefox,
        geckodriver,
        webdriver_json,
        home: other_home(workspace)?,
    })
}

impl BrowserSetup {
    /// The driver of one browser.
    pub(crate) fn driver(&self, browser: Browser) -> &Path {
        match browser {
            Browser::Chrome => &self.chromedriver,
            Browser::Firefox => &self.geckodriver,
        }
    }

    /// For wasm-bindgen's test runner, which takes the first driver it sees in the environment:
    /// wasm-pack names the one that is meant.
    pub(crate) fn for_wasm_pack(&self, cmd: Cmd) -> Cmd {
        let names = [
            "CHROMEDRIVER",
            "GECKODRIVER",
            "SAFARIDRIVER",
            "MSEDGEDRIVER",
        ];
        let cmd = names.iter().fold(cmd, |cmd, name| {
            cmd.env_remove(name).env_remove(&format!("{name}_REMOTE"))
        });
        self.with_home(cmd)
            .env("WASM_BINDGEN_TEST_WEBDRIVER_JSON", &self.webdriver_json)
            // The defaults, 5 and 20 seconds, are too short for a busy machine with two cores.
            .env("WASM_BINDGEN_TEST_DRIVER_TIMEOUT", "60")
            .env("WASM_BINDGEN_TEST_TIMEOUT", "180")
    }

    /// For our own end-to-end tests.
    pub(crate) fn for_end_to_end(&self, cmd: Cmd) -> Cmd {
        self.with_home(cmd)
            .env("CHROME", &self.chrome)
            .env("CHROMEDRIVER", &self.chromedriver)
            .env("FIREFOX", &self.firefox)
            .env("GECKODRIVER", &self.geckodriver)
    }

    fn with_home(&self, cmd: Cmd) -> Cmd {
        let Some(home) = &self.home else { return cmd };
        // Cargo and rustup live below the old home: say where, since they follow HOME too.
        let old = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let stay = |cmd: Cmd, key: &str, dir: &str| match env::var_os(key) {
            Some(_) => cmd,
            None => cmd.env(key, old.join(dir)),
        };
        let cmd = stay(cmd, "CARGO_HOME", ".cargo");
        stay(cmd, "RUSTUP_HOME", ".rustup").env("HOME", home)
    }
}

impl fmt::Display for BrowserSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = [
            (&self.chrome, &self.chromedriver),
            (&self.firefox, &self.geckodriver),
        ];
        for (index, (browser, driver)) in pairs.into_iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{} with {}", browser.display(), driver.display())?;
        }
        Ok(())
    }
}

/// Chrome, chromedriver and Firefox, by the environment's word, on `PATH`, in their usual place.
fn installed(workspace: &Workspace) -> [Option<PathBuf>; 3] {
    let look = |variable: &str, names: &[&str], mac: &str| {
        let usual = || Some(PathBuf::from(mac)).filter(|path| path.is_file());
        env::var_os(variable)
            .map(PathBuf::from)
            .or_else(|| workspace.which(names))
            .or_else(usual)
    };
    [
        look("CHROME", &CHROME, MAC_CHROME),
        look("CHROMEDRIVER", &["chromedriver"], ""),
        look("FIREFOX", &FIREFOX, MAC_FIREFOX),
    ]
}

fn missing(found: &[Option<PathBuf>; 3]) -> String {
    let names = [
        "Chrome or Chromium",
        "chromedriver (of the same version)",
        "Firefox",
    ];
    let pairs = names.iter().zip(found);
    let lacking: Vec<&str> = pairs
        .filter(|(_, path)| path.is_none())
        .map(|(name, _)| *name)
        .collect();
    format!(
        "the browser tests need {}: install it (on Debian: `apt-get install {}`), or name it \
         in CHROME, CHROMEDRIVER, FIREFOX or GECKODRIVER, or leave those tests out with \
         `cargo xtask test --no-browsers`",
        lacking.join(", "),
        DEBIAN_PACKAGES.join(" ")
    )
}

/// mesh-wasm/webdriver.json with the paths of the very browsers found, for the drivers to start.
fn write_capabilities(workspace: &Workspace, chrome: &Path, firefox: &Path) -> Result<PathBuf> {
    let source = workspace.root.join("mesh-wasm/webdriver.json");
    let mut capabilities: Value = serde_json::from_str(&read(&source)?)
        .with_context(|| format!("{} is not valid JSON", source.display()))?;
    capabilities["goog:chromeOptions"]["binary"] = json!(chrome);
    capabilities["moz:firefoxOptions"]["binary"] = json!(firefox);
    let path = workspace.tools().join("webdriver.json");
    fs::create_dir_all(workspace.tools())?;
    fs::write(&path, format!("{capabilities:#}\n"))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Firefox refuses to run as root in another user's home, and both browsers in a read-only one.
fn other_home(workspace: &Workspace) -> Result<Option<PathBuf>> {
    if home_is_usable() {
        return Ok(None);
    }
    let home = workspace.tools().join("home");
    fs::create_dir_all(&home).with_context(|| format!("cannot create {}", home.display()))?;
    println!(
        "note: HOME is not ours to write to; the browsers use {}",
        home.display()
    );
    Ok(Some(home))
}

#[cfg(target_os = "linux")]
fn home_is_usable() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let Some(home) = env::var_os("HOME").map(PathBuf::from) else {
        return false;
    };
    let owner = |path: &Path| fs::metadata(path).map(|entry| entry.uid()).ok();
    let probe = home.join(format!(".mesh-xtask-{}", std::process::id()));
    let writable = fs::write(&probe, "").is_ok() && fs::remove_file(&probe).is_ok();
    writable && owner(&home) == owner(Path::new("/proc/self"))
}

#[cfg(not(target_os = "linux"))]
fn home_is_usable() -> bool {
    true
}
