//! Rules on whole files and on the project.

use super::Source;
use crate::workspace::locked_versions;

const MOST_LINES: usize = 500;
const MOST_COLUMNS: usize = 100;

/// The files that each backend has: readers of one know the other.
const MIRRORED: [&str; 6] = ["agent", "driver", "link", "signaling", "clock", "error"];
const BACKENDS: [&str; 2] = ["mesh-native/src", "mesh-wasm/src"];

/// Extensions of files written by hand.
const TEXT: [&str; 9] = ["rs", "md", "toml", "json", "html", "css", "js", "ts", "yml"];

/// Words that mark unfinished work, put together here so that this file does not contain them.
const LEFTOVERS: [&str; 3] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
];

/// Whether a path is that of a text file of ours.
pub(super) fn is_text(path: &str) -> bool {
    let others = path.contains("/vendor/") || path.ends_with("package-lock.json");
    !others && extension(path).is_some_and(|ext| TEXT.contains(&ext))
}

/// Unfinished work belongs into an issue, not into the code.
pub(super) fn leftovers(source: &Source) -> Vec<String> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    numbered(&source.text)
        .filter_map(|(number, line)| {
            let found = line.split(|c| !word(c)).find(|w| LEFTOVERS.contains(w))?;
            Some(format!("{}:{number}: `{found}`: finish it", source.path))
        })
        .collect()
}

/// Line count, line length and header of a Rust file.
pub(super) fn shape(source: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    let path = &source.path;
    let lines = source.text.lines().count();
    if lines > MOST_LINES && !is_test(path) {
        findings.push(format!(
            "{path}: {lines} lines, more than {MOST_LINES}: split it"
        ));
    }
    let first = source.text.lines().find(|line| !line.trim().is_empty());
    if !first.is_some_and(|line| line.starts_with("//!")) {
        findings.push(format!(
            "{path}: does not open with `//!`: say what it is for"
        ));
    }
    for (number, line) in numbered(&source.text) {
        let columns = line.chars().count();
        // A web address cannot be broken.
        if columns > MOST_COLUMNS && !line.contains("://") {
            findings.push(format!(
                "{path}:{number}: {columns} columns, at most {MOST_COLUMNS}"
            ));
        }
    }
    findings
}

/// Both backends have the same main files, as `x.rs` or as a folder `x`.
pub(super) fn mirrored(paths: &[String]) -> Vec<String> {
    let has = |backend: &str, name: &str| {
        let file = format!("{backend}/{name}.rs");
        let folder = format!("{backend}/{name}/");
        paths.iter().any(|p| *p == file || p.starts_with(&folder))
    };
    let pairs = BACKENDS
        .iter()
        .flat_map(|backend| MIRRORED.iter().map(move |name| (backend, name)));
    pairs
        .filter(|(backend, name)| !has(backend, name))
        .map(|(backend, name)| {
            format!("{backend}: has no `{name}`, but backends mirror each other")
        })
        .collect()
}

/// Backends tell facts to the core's `AgentState`, which knows what they mean: a backend that makes
/// the mesh's inputs itself decides what the other may decide otherwise.
pub(super) fn made_inputs(source: &Source) -> Vec<String> {
    let mut backends = BACKENDS.iter();
    if !backends.any(|dir| source.path.starts_with(&format!("{dir}/"))) {
        return Vec::new();
    }
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let made =
        numbered(&source.text).filter(|(_, line)| line.split(|c| !word(c)).any(|w| w == "Input"));
    made.map(|(number, _)| {
        let path = &source.path;
        format!("{path}:{number}: `Input` is the core's: tell `AgentState` a fact")
    })
    .collect()
}

/// Back-ticked paths of a document that name nothing.
pub(super) fn dead_references(document: &Source, paths: &[String]) -> Vec<String> {
    let mut findings = Vec::new();
    let mut fenced = false;
    for (number, line) in numbered(&document.text) {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        // Every second piece between back-ticks is code.
        for code in line.split('`').skip(1).step_by(2).filter(|_| !fenced) {
            if is_path(code, paths) && !exists(code, paths) {
                let path = &document.path;
                findings.push(format!("{path}:{number}: `{code}` does not exist"));
            }
        }
    }
    findings
}

/// A crate that must be the same everywhere, since its tool must match it exactly.
pub(super) fn resolved_once(lock: &str, package: &str) -> Option<String> {
    let versions = locked_versions(lock, package);
    (versions.len() > 1).then(|| {
        let versions = versions.join(" and ");
        format!("Cargo.lock: `{package}` is there as {versions}: unify them")
    })
}

/// Whether code in a text means a file or folder of this project, rather than `k/2` or `/signal`.
fn is_path(code: &str, paths: &[String]) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    if !code.chars().all(plain) || code.starts_with('/') {
        return false;
    }
    let generated = ["web/pkg", "target"]
        .iter()
        .any(|dir| code.starts_with(dir));
    let named_file = extension(code).is_some_and(|ext| TEXT.contains(&ext));
    let top = code.split_once('/').map(|(top, _)| format!("{top}/"));
    let in_tree = top.is_some_and(|top| paths.iter().any(|path| path.starts_with(&top)));
    !generated && (named_file || in_tree)
}

fn exists(code: &str, paths: &[String]) -> bool {
    let code = code.trim_end_matches('/');
    let folder = format!("{code}/");
    // A bare file name may be anywhere.
    let ending = format!("/{code}");
    let bare = !code.contains('/');
    paths
        .iter()
        .any(|p| p == code || p.starts_with(&folder) || (bare && p.ends_with(&ending)))
}

fn is_test(path: &str) -> bool {
    path.split('/').any(|part| part == "tests") || path.ends_with("tests.rs")
}

fn extension(path: &str) -> Option<&str> {
    let (stem, ext) = path.rsplit_once('.')?;
    (!stem.is_empty() && !stem.ends_with('/')).then_some(ext)
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(i, line)| (i + 1, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(list: &[&str]) -> Vec<String> {
        list.iter().map(|path| (*path).to_owned()).collect()
    }

    #[test]
    fn the_shape_of_a_file_is_checked() {
        assert!(shape(&Source::new("a.rs", "//! Good.\n")).is_empty());
        assert_eq!(shape(&Source::new("a.rs", "use x;\n")).len(), 1);
        assert_eq!(
            shape(&Source::new("a.rs", &format!("//! {}\n", "x".repeat(97)))).len(),
            1
        );
        let long = format!("//! Long.\n{}", "\n".repeat(MOST_LINES));
        assert_eq!(shape(&Source::new("src/a.rs", &long)).len(), 1);
        assert!(shape(&Source::new("src/a/tests.rs", &long)).is_empty());
    }

    #[test]
    fn leftovers_are_whole_words() {
        let text = format!("a {0}: b\n{0}S {1}_x\n", LEFTOVERS[0], LEFTOVERS[1]);
        assert_eq!(leftovers(&Source::new("a.md", &text)).len(), 1);
    }

    #[test]
    fn backends_mirror_each_other() {
        let mut all: Vec<String> = BACKENDS
            .iter()
            .flat_map(|dir| MIRRORED.iter().map(move |name| format!("{dir}/{name}.rs")))
            .collect();
        assert!(mirrored(&all).is_empty());
        all[0] = "mesh-native/src/agent/mod.rs".to_owned();
        assert!(mirrored(&all).is_empty());
        all.remove(7);
        assert_eq!(mirrored(&all).len(), 1);
    }

    #[test]
    fn inputs_are_made_in_the_core_alone() {
        let text = "//! x\nmesh.handle_input(Input::NetworkChanged, now);\nHubInput::Opened\n";
        for (path, found) in [
            ("mesh-native/src/driver.rs", 1),
            ("mesh-wasm/src/link.rs", 1),
            ("mesh-core/src/agent/facts.rs", 0),
        ] {
            assert_eq!(made_inputs(&Source::new(path, text)).len(), found, "{path}");
        }
    }

    #[test]
    fn references_to_nothing_are_found() {
        let paths = paths(&["mesh-core/src/mesh.rs", "README.md"]);
        let good = "`mesh-core/src/` `mesh.rs` `k/2` `/signal` `web/pkg/x.js` `a b.rs` `u8`";
        let text = format!("{good}\n```\n`gone.rs`\n```\n`mesh-core/gone` `gone.md`\n");
        let findings = dead_references(&Source::new("A.md", &text), &paths);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings[0].starts_with("A.md:5: `mesh-core/gone`"));
    }

    #[test]
    fn one_version_is_enough() {
        let entry = |v: &str| format!("[[package]]\nname = \"x\"\nversion = \"{v}\"\n");
        assert_eq!(resolved_once(&entry("1.0.0"), "x"), None);
        assert!(resolved_once(&(entry("1.0.0") + &entry("2.0.0")), "x").is_some());
    }
}
