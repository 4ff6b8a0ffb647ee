//! Files that the command line names, read with a bound.

use std::fs::File;
use std::io::{Error, ErrorKind, Read as _, Result};
use std::path::Path;

use anyhow::{Context as _, bail};

/// Bytes of a text file, a list of certificates or of servers, at most: far more than either needs.
pub(crate) const TEXT_MAX: u64 = 1024 * 1024;

/// Reads a regular file of at most `max` bytes. A device may have no end, and a pipe without a
/// writer holds up whatever opens it: neither is opened.
pub(crate) fn read(path: &Path, max: u64) -> Result<Vec<u8>> {
    let found = std::fs::metadata(path)?;
    if !found.is_file() {
        let kind = if found.is_dir() {
            "a folder"
        } else {
            "a device or a pipe"
        };
        let message = format!("it is {kind}, not a file");
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        let message = format!("it has more than {max} bytes");
        return Err(Error::new(ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// What a file holds in one line.
pub(crate) fn line(path: &Path, what: &str) -> anyhow::Result<String> {
    let what = || format!("{what} in {}", path.display());
    let bytes = read(path, TEXT_MAX).with_context(what)?;
    let text = String::from_utf8(bytes).with_context(what)?;
    let line = text.trim_end_matches(['\r', '\n']);
    if line.is_empty() || line.contains(['\r', '\n']) {
        bail!("{} is not in one line", what());
    }
    Ok(line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_bound_and_what_is_no_file_is_not_opened() {
        let folder = std::env::temp_dir();
        let path = folder.join(format!("mesh-files-{}", std::process::id()));
        std::fs::write(&path, [7; 32]).expect("written");
        assert_eq!(read(&path, 32).expect("as long as the bound"), [7; 32]);
        let error = read(&path, 31).expect_err("longer than the bound");
        assert!(error.to_string().contains("more than 31 bytes"), "{error}");
        std::fs::remove_file(&path).expect("removed");
        let error = read(&path, 32).expect_err("gone");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let error = read(&folder, 32).expect_err("a folder");
        assert!(error.to_string().contains("a folder"), "{error}");
        #[cfg(unix)]
        {
            let error = read(Path::new("/dev/zero"), 32).expect_err("a device");
            assert!(error.to_string().contains("a device"), "{error}");
        }
    }
}
