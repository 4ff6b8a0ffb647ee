//! What programs that measure tell: their tables on stdout, their progress on stderr.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Tells people what a run is doing.
pub fn progress(text: &str) {
    #[expect(clippy::print_stderr, reason = "stdout is for the tables")]
    {
        eprintln!("{text}");
    }
}

/// Prints tables, and writes them where they are asked for.
///
/// # Errors
/// If they cannot be written.
pub fn print(text: &str, out: Option<&Path>) -> Result<()> {
    #[expect(clippy::print_stdout, reason = "a command: its tables are its output")]
    {
        println!("{text}");
    }
    out.map_or(Ok(()), |file| {
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    })
}
