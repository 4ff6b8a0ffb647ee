//! `cargo xtask wasm`: mesh-wasm as an npm package, which the page uses too, in web/pkg.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::process::Cmd;
use crate::setup::{Browser, BrowserSetup, WasmSetup};
use crate::workspace::{Workspace, read};

/// Small, with quick signatures: Cargo.toml says how.
pub(crate) const PROFILE: &str = "wasm-release";

/// What people look for on npm.
const KEYWORDS: &str = r#"["webrtc", "mesh", "p2p", "peer-to-peer", "data-channel", "wasm"]"#;

/// The package's entry point, by hand: what wasm-bindgen makes, and an error for joining too early.
const ENTRY: [&str; 2] = ["index.js", "index.d.ts"];

/// What a page loads.
const MODULE: &str = "web/pkg/mesh_wasm_bg.wasm";

/// Builds `web/pkg/` (index.js, mesh_wasm.js, mesh_wasm_bg.wasm, mesh_wasm.d.ts, package.json,
/// licences).
pub(crate) fn build(workspace: &Workspace, setup: &WasmSetup) -> Result<()> {
    // `no-install`: setup has put the right tools on PATH, and wasm-pack must not go and
    // download others.
    setup
        .cmd(workspace, "wasm-pack")
        .args(["build", "mesh-wasm", "--target", "web"])
        .args(["--profile", PROFILE])
        .args(["--out-dir", "../web/pkg", "--out-name", "mesh_wasm"])
        .args(["--mode", "no-install"])
        .run()?;
    let package = workspace.root.join("web/pkg");
    for entry in ENTRY {
        let from = workspace.root.join("mesh-wasm/js").join(entry);
        fs::copy(&from, package.join(entry))
            .with_context(|| format!("cannot copy {}", from.display()))?;
    }
    complete(&package.join("package.json"))?;
    println!("{MODULE}: {}", module_size(workspace)?);
    Ok(())
}

/// How large the module for pages is, plain and compressed.
pub(crate) fn module_size(workspace: &Workspace) -> Result<String> {
    let wasm = workspace.root.join(MODULE);
    let wasm = fs::read(&wasm).with_context(|| format!("cannot read {}", wasm.display()))?;
    sizes(&wasm)
}

/// mesh-wasm's tests in a browser; further arguments are cargo's.
pub(crate) fn test(cmd: Cmd, browsers: &BrowserSetup, browser: Browser) -> Cmd {
    let flags = match browser {
        Browser::Chrome => ["--chrome", "--chromedriver"],
        Browser::Firefox => ["--firefox", "--geckodriver"],
    };
    cmd.args(["test", "--headless", "--mode", "no-install"])
        .args(flags)
        .arg(browsers.driver(browser))
        .arg("mesh-wasm")
}

/// Adds to wasm-pack's package.json what it does not know: entry points, what may be left out of a
/// bundle, what to find the package by.
fn complete(path: &Path) -> Result<()> {
    let written: Value = serde_json::from_str(&read(path)?)
        .with_context(|| format!("{} is not valid JSON", path.display()))?;
    fs::write(path, completed(&written)).with_context(|| format!("cannot write {}", path.display()))
}

/// The whole package.json. Written out, for the order of conditions in `exports` has a meaning:
/// TypeScript takes the first that it knows.
fn completed(written: &Value) -> String {
    let [name, version, description, license] =
        ["name", "version", "description", "license"].map(|key| written[key].to_string());
    let url = written["repository"]["url"].as_str().unwrap_or_default();
    format!(
        r#"{{
  "name": {name},
  "version": {version},
  "description": {description},
  "keywords": {KEYWORDS},
  "license": {license},
  "homepage": "{url}#readme",
  "repository": {{
    "type": "git",
    "url": "git+{url}.git",
    "directory": "mesh-wasm"
  }},
  "type": "module",
  "sideEffects": ["./index.js"],
  "main": "./index.js",
  "types": "./index.d.ts",
  "exports": {{
    ".": {{
      "types": "./index.d.ts",
      "default": "./index.js"
    }},
    "./mesh_wasm_bg.wasm": "./mesh_wasm_bg.wasm",
    "./package.json": "./package.json"
  }},
  "files": [
    "index.js",
    "index.d.ts",
    "mesh_wasm.js",
    "mesh_wasm.d.ts",
    "mesh_wasm_bg.wasm",
    "mesh_wasm_bg.wasm.d.ts",
    "snippets",
    "LICENSE-APACHE",
    "LICENSE-MIT"
  ]
}}
"#
    )
}

/// How large a file is, and how large when it is transferred.
fn sizes(file: &[u8]) -> Result<String> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(file)?;
    let gzip = gzip.finish()?.len();
    let mut brotli = Vec::new();
    let parameters = brotli::enc::BrotliEncoderParams::default(); // The best, 11.
    brotli::BrotliCompress(&mut &*file, &mut brotli, &parameters)?;
    let kilo = |bytes: usize| format!("{:.1} kB", bytes as f64 / 1e3);
    let (raw, brotli) = (kilo(file.len()), kilo(brotli.len()));
    Ok(format!("{raw}, by gzip {}, by brotli {brotli}", kilo(gzip)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_package_has_its_entry_points_types_first() {
        let written = json!({
            "name": "mesh-wasm", "version": "1.2.3", "description": "says \"mesh\"",
            "license": "MIT OR Apache-2.0", "repository": { "url": "https://example.org/mesh" },
        });
        let text = completed(&written);
        let package: Value = serde_json::from_str(&text).expect("valid JSON");
        assert_eq!(package["description"], "says \"mesh\"");
        assert_eq!(package["version"], "1.2.3");
        assert_eq!(
            package["repository"]["url"],
            "git+https://example.org/mesh.git"
        );
        let entry = &text[text.find("exports").expect("it has exports")..];
        assert!(
            entry.find("\"types\"") < entry.find("\"default\""),
            "{entry}"
        );
    }

    #[test]
    fn what_repeats_is_smaller_when_transferred() {
        let said = sizes(&[7; 100_000]).expect("memory does not fail");
        assert!(
            said.starts_with("100.0 kB, by gzip 0.1 kB, by brotli 0.0 kB"),
            "{said}"
        );
    }
}
