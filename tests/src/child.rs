//! A child process that is gone as soon as its handle is.

use std::io;
use std::ops::{Deref, DerefMut};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};

/// How long a process that was killed may take to be gone: it ends at once, unless the machine is
/// very busy.
const GONE: Duration = Duration::from_secs(5);

/// A child process. Dropped, it is killed and waited for: what it listened on is free afterwards,
/// for the next of its kind.
#[derive(Debug)]
pub struct OwnChild(Child);

impl OwnChild {
    /// Starts it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        command.spawn().map(Self)
    }
}

impl Deref for OwnChild {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for OwnChild {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for OwnChild {
    fn drop(&mut self) {
        let _ = self.0.start_kill(); // It may have ended by itself.
        let killed = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) && killed.elapsed() < GONE {
            sleep(Duration::from_millis(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_that_is_dropped_is_gone() {
        let child = OwnChild::spawn(Command::new("sleep").arg("60")).expect("starts");
        let id = child.id().expect("it runs").to_string();
        drop(child);
        let asked = Command::new("kill").args(["-s", "0", &id]).output().await;
        assert!(!asked.expect("kill starts").status.success());
    }
}
