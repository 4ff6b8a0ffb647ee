//! Tables in documents that a command measures: each stands between two lines, of which the first
//! names the command.

use std::fs;

use anyhow::{Context as _, Result};

use crate::workspace::{Workspace, read};

const END: &str = "<!-- end -->";

/// Prints a table and puts it in the place of the one that a document has of this command.
pub(crate) fn write(
    workspace: &Workspace,
    document: &str,
    command: &str,
    table: &str,
) -> Result<()> {
    println!("\n{table}");
    let path = workspace.root.join(document);
    let text = replaced(&read(&path)?, command, table).context(document.to_owned())?;
    fs::write(&path, text).with_context(|| format!("cannot write {document}"))
}

/// The document with this table in the place of the one it has.
fn replaced(document: &str, command: &str, table: &str) -> Result<String> {
    let [before, _, after] = parts(document, command)?;
    Ok(format!("{before}{table}{after}"))
}

/// The document up to the table, the table, and the rest.
pub(crate) fn parts<'a>(document: &'a str, command: &str) -> Result<[&'a str; 3]> {
    let begin = format!("<!-- measured by {command} -->\n");
    let lost = || format!("it has lost the lines `{}` and `{END}`", begin.trim_end());
    let at = document.find(&begin).with_context(lost)? + begin.len();
    let (before, rest) = document.split_at(at);
    let (table, after) = rest.split_at(rest.find(END).with_context(lost)?);
    Ok([before, table, after])
}

/// Whether a document that is checked in has a place for the tables of a command.
#[cfg(test)]
pub(crate) fn has_place(document: &str, command: &str) -> bool {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    read(&root.join(document)).is_ok_and(|text| parts(&text, command).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_table_of_the_command_changes() {
        let mark = |command: &str| format!("<!-- measured by {command} -->\n");
        let table = |command: &str| format!("{}old\n{END}\nmore\n", mark(command));
        let document = format!("before\n{}{}", table("one"), table("two"));
        let with = replaced(&document, "two", "new\n").expect("both marks");
        let expected = format!(
            "before\n{}{}",
            table("one"),
            table("two").replace("old", "new")
        );
        assert_eq!(with, expected);
        let error = replaced("no marks", "two", "new").expect_err("no marks");
        assert!(error.to_string().contains("measured by two"), "{error}");
        assert!(replaced(&mark("two"), "two", "new").is_err(), "no end");
    }
}
