//! What members and a flood cost a hub: the tables of docs/sizing.md, made of what `mesh hub-test`
//! prints. All rows are of one build.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail, ensure};

use crate::demo::{build_mesh, mesh_binary};
use crate::measured;
use crate::table;
use crate::workspace::Workspace;

const DOCUMENT: &str = "docs/sizing.md";

/// What the lines around the tables say.
const MEMBERS_BY: &str = "cargo xtask bench --hub, members";
const FLOOD_BY: &str = "cargo xtask bench --hub, a flood";

/// The arguments of a row each: rooms of 100, of two, of 500 and of 1,000, which are shards.
const MEMBERS: [&str; 4] = [
    "--members 19600 --hold 10s",
    "--members 10000 --rooms 5000 --hold 10s",
    "--members 10000 --rooms 20",
    "--members 10000 --rooms 10",
];

/// The arguments of the test with hostile clients, as the guide has them.
const FLOOD: &str = "--members 200 --flood 2000 --hold 20s";

/// A table as `mesh hub-test` prints it: its head, the rule below, and its only row.
type Table = [String; 3];

/// Builds the command, measures for about six minutes, and writes the tables of docs/sizing.md.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    build_mesh(workspace)?;
    let mut rows = Vec::new();
    for arguments in MEMBERS {
        rows.push((arguments, printed(workspace, arguments)?.swap_remove(0)));
    }
    let flood = printed(workspace, FLOOD)?.pop();
    let flood = flood.context("mesh hub-test printed no table")?;
    let machine = measured::machine();
    table::write(workspace, DOCUMENT, MEMBERS_BY, &members(&machine, &rows))?;
    table::write(workspace, DOCUMENT, FLOOD_BY, &flooded(&flood))
}

/// Runs a test and reads the tables that it prints.
fn printed(workspace: &Workspace, arguments: &str) -> Result<Vec<Table>> {
    let said = workspace
        .cmd(mesh_binary(workspace))
        .arg("hub-test")
        .args(arguments.split(' '))
        .run_and_read()?;
    tables(&said)
}

fn tables(said: &str) -> Result<Vec<Table>> {
    let lines = said.lines().filter(|line| line.starts_with('|'));
    let lines: Vec<_> = lines.map(str::to_owned).collect();
    let (tables, []) = lines.as_chunks::<3>() else {
        bail!("mesh hub-test printed other tables than of one row each:\n{said}");
    };
    ensure!(!tables.is_empty(), "mesh hub-test printed no table");
    Ok(tables.to_vec())
}

fn members(machine: &str, rows: &[(&str, Table)]) -> String {
    let mut text = format!(
        "Each row is one run; all are of one build. Hub and generator share a machine of\n\
         {machine}.\n\n"
    );
    if let Some((_, [head, rule, _])) = rows.first() {
        let _ = writeln!(text, "| command {head}\n|---{rule}");
    }
    for (arguments, [_, _, row]) in rows {
        let _ = writeln!(text, "| `mesh hub-test {arguments}` {row}");
    }
    text
}

fn flooded(table: &Table) -> String {
    format!(
        "One run, of the build of the table above.\n\n{}\n",
        table.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::workspace::read;

    /// As mesh-cli/src/commands/hub_test/report.rs prints them.
    const SAID: &str = "| members | rooms |\n|---|---|\n| 200 | 2 |\n\n| hostile clients | for |\n\
                        |---|---|\n| 2000 | 20 s |\n\nTimes: p50 / p95 / p99 / max.\n";

    #[test]
    fn the_tables_have_a_row_of_each_run() {
        let said = tables(SAID).expect("two tables");
        let [joined, flood] = &said[..] else {
            panic!("{said:?}");
        };
        let text = members(
            "2 cores",
            &[("--a 1", joined.clone()), ("--b", joined.clone())],
        );
        let rows = "| command | members | rooms |\n|---|---|---|\n\
                    | `mesh hub-test --a 1` | 200 | 2 |\n| `mesh hub-test --b` | 200 | 2 |\n";
        assert!(text.ends_with(rows), "{text}");
        assert!(text.contains("a machine of\n2 cores."), "{text}");
        assert!(flooded(flood).ends_with("\n| 2000 | 20 s |\n"));
        assert!(tables("interrupted").is_err());
        assert!(tables("| one |\n|---|\n").is_err());
    }

    #[test]
    fn the_guide_has_the_rows_that_the_command_writes() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let document = read(&root.join(DOCUMENT)).expect("it is checked in");
        let [_, written, _] = table::parts(&document, MEMBERS_BY).expect("its lines");
        let rows = written.lines().filter(|line| line.starts_with("| `"));
        let commands: Vec<_> = rows.filter_map(|row| row.split('`').nth(1)).collect();
        assert_eq!(commands, MEMBERS.map(|row| format!("mesh hub-test {row}")));
        let [_, written, _] = table::parts(&document, FLOOD_BY).expect("its lines");
        assert!(written.contains("\n\n| hostile clients |"), "{written}");
        assert!(document.contains(&format!("\nmesh hub-test {FLOOD}\n")));
    }
}
