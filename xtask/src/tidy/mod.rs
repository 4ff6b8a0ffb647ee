//! The project's own rules, checked: sizes, module headers, no leftovers, mirrored backends,
//! living references.

mod constants;
mod functions;
mod layers;
mod rules;
mod scan;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::workspace::{Workspace, read};
use constants::Counts;

/// Folders that hold nothing of ours, or nothing written by hand.
const SKIPPED: [&str; 5] = ["target", "node_modules", "pkg", ".git", "corpus"];

/// A text file of the project.
#[derive(Debug)]
struct Source {
    /// Relative to the root, with `/`.
    path: String,
    text: String,
}

#[cfg(test)]
impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }
}

/// Checks all rules and names every place that breaks one.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let (findings, counts) = check(&workspace.root, &workspace.target)?;
    if findings.is_empty() {
        println!("tidy: all is in order; {counts}");
        return Ok(());
    }
    for finding in &findings {
        println!("{finding}");
    }
    bail!(
        "tidy: {} places to put in order, listed above",
        findings.len()
    )
}

fn check(root: &Path, target: &Path) -> Result<(Vec<String>, Counts)> {
    let mut files = Vec::new();
    walk(root, target, &mut files)?;
    files.sort();
    let mut sources = Vec::new();
    for file in &files {
        let path = relative(root, file);
        if rules::is_text(&path) {
            let text = read(file)?;
            sources.push(Source { path, text });
        }
    }
    let mut findings = Vec::new();
    for source in &sources {
        findings.extend(rules::leftovers(source));
        if source.path.ends_with(".rs") {
            findings.extend(rules::shape(source));
            findings.extend(rules::made_inputs(source));
            findings.extend(functions::too_long(source));
            findings.extend(layers::thick_root(source));
            findings.extend(constants::undocumented(source));
        }
    }
    findings.extend(layers::cyclic(&sources));
    let paths: Vec<String> = files.iter().map(|file| relative(root, file)).collect();
    findings.extend(rules::mirrored(&paths));
    match sources.iter().find(|s| s.path == "ARCHITECTURE.md") {
        Some(text) => findings.extend(rules::dead_references(text, &paths)),
        None => println!("note: there is no ARCHITECTURE.md yet"),
    }
    let lock = root.join("Cargo.lock");
    if lock.exists() {
        findings.extend(rules::resolved_once(&read(&lock)?, "wasm-bindgen"));
    }
    Ok((findings, constants::count(&sources)))
}

fn walk(dir: &Path, target: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        let name = entry.file_name();
        if entry.file_type()?.is_dir() {
            if path != target && !SKIPPED.iter().any(|skipped| name == *skipped) {
                walk(&path, target, files)?;
            }
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn relative(root: &Path, file: &Path) -> String {
    let path = file.strip_prefix(root).unwrap_or(file);
    let parts: Vec<_> = path
        .components()
        .map(|part| part.as_os_str().to_string_lossy())
        .collect();
    parts.join("/")
}
