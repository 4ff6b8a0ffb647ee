//! The machines of the core: none imports another that imports it, and their root stays thin.

use std::collections::{BTreeMap, BTreeSet};

use super::Source;

/// The folders of the core whose imports must form no cycle.
const MACHINES: [&str; 6] = [
    "trust",
    "signaling",
    "links",
    "routing",
    "overlay",
    "messages",
];

/// The root that owns the machines.
const ROOT: &str = "mesh-core/src/mesh/mod.rs";

/// Lines of the root, at most: it carries events, and decides nothing.
const ROOT_LINES_MAX: usize = 300;

/// Fields of `Mesh`, at most: one for each machine, and what they share.
const ROOT_FIELDS_MAX: usize = 10;

/// An import of one machine by another, and the first place of it.
type Imports = BTreeMap<(String, String), String>;

/// Names a cycle among the imports of the machines, if there is one.
pub(super) fn cyclic(sources: &[Source]) -> Vec<String> {
    let imports: Imports = sources.iter().flat_map(imports_of).rev().collect();
    let mut findings = Vec::new();
    for start in MACHINES {
        if let Some(path) = path_back(start, &imports) {
            let steps = path.windows(2).map(|step| {
                let place = &imports[&(step[0].clone(), step[1].clone())];
                format!("{} imports {} at {place}", step[0], step[1])
            });
            let steps = steps.collect::<Vec<_>>().join(", ");
            findings.push(format!("mesh-core: machines import each other: {steps}"));
            break; // Each of the cycle would name it again.
        }
    }
    findings
}

/// Names what is too large about the root.
pub(super) fn thick_root(source: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    if source.path != ROOT {
        return findings;
    }
    let lines = source.text.lines().count();
    if lines > ROOT_LINES_MAX {
        let bound = format!("the root of the machines has {ROOT_LINES_MAX} at most");
        findings.push(format!("{ROOT}: {lines} lines; {bound}"));
    }
    let body = source.text.split_once("pub struct Mesh {");
    let body = body.and_then(|(_, rest)| rest.split_once("\n}"));
    let fields = body.map_or(0, |(fields, _)| {
        let fields = fields.lines().map(str::trim);
        fields.filter(|line| line.ends_with(',')).count()
    });
    if !(1..=ROOT_FIELDS_MAX).contains(&fields) {
        let bound = format!("`Mesh` has 1 to {ROOT_FIELDS_MAX}");
        findings.push(format!("{ROOT}: {fields} fields; {bound}"));
    }
    findings
}

/// What a file of a machine imports of others, tests left out.
fn imports_of(source: &Source) -> Vec<((String, String), String)> {
    let Some(inside) = source.path.strip_prefix("mesh-core/src/") else {
        return Vec::new();
    };
    let machine = inside.split_once('/').map(|(machine, _)| machine);
    let Some(machine) = machine.filter(|machine| MACHINES.contains(machine)) else {
        return Vec::new();
    };
    let is_test = inside.contains("/tests") || inside.ends_with("/golden.rs");
    let code = source.text.split("#[cfg(test)]\nmod tests {").next();
    let lines = code.filter(|_| !is_test).unwrap_or_default().lines();
    let mut imports = Vec::new();
    for (number, line) in lines.enumerate() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        for other in MACHINES.into_iter().filter(|other| *other != machine) {
            if line.contains(&format!("crate::{other}::")) {
                let place = format!("{}:{}", source.path, number + 1);
                imports.push(((machine.to_owned(), other.to_owned()), place));
            }
        }
    }
    imports
}

/// The shortest way from a machine over imports back to itself.
fn path_back(start: &str, imports: &Imports) -> Option<Vec<String>> {
    let mut paths = vec![vec![start.to_owned()]];
    let mut seen = BTreeSet::new();
    while !paths.is_empty() {
        let mut longer = Vec::new();
        for path in paths {
            let last = path.last()?;
            for (_, to) in imports.keys().filter(|(from, _)| from == last) {
                let path = [path.clone(), vec![to.clone()]].concat();
                if to == start {
                    return Some(path);
                }
                if seen.insert(to.clone()) {
                    longer.push(path);
                }
            }
        }
        paths = longer;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source::new(&format!("mesh-core/src/{path}"), text)
    }

    #[test]
    fn imports_that_go_one_way_are_in_order_and_a_cycle_is_named() {
        let mut sources = vec![
            source("overlay/mod.rs", "use crate::links::Links;\n"),
            source("messages/mod.rs", "\nuse crate::overlay::Overlay;\n"),
            source(
                "links/mod.rs",
                "// As crate::overlay::Overlay.\n#[cfg(test)]\nmod tests {\n    \
                 use crate::messages::X;\n",
            ),
            source("links/tests.rs", "use crate::messages::X;\n"),
        ];
        assert_eq!(cyclic(&sources), Vec::<String>::new());
        sources.push(source("links/table.rs", "use crate::messages::Net;\n"));
        let found = cyclic(&sources);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("messages imports overlay at mesh-core/src/messages/mod.rs:2"));
        assert!(found[0].contains("links imports messages at mesh-core/src/links/table.rs:1"));
    }

    #[test]
    fn a_root_with_many_fields_or_lines_is_too_thick() {
        let root = |fields: usize, lines: usize| {
            let fields = "    /// A field, documented.\n    a: A,\n".repeat(fields);
            let text = format!("pub struct Mesh {{\n{fields}}}\n{}", "\n".repeat(lines));
            thick_root(&source("mesh/mod.rs", &text))
        };
        assert_eq!(root(10, 100), Vec::<String>::new());
        assert!(root(11, 0)[0].contains("11 fields"));
        assert!(root(1, 300)[0].contains("lines"));
        assert!(root(0, 0)[0].contains("0 fields"), "it was not found");
    }
}
