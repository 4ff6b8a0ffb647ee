//! Waiting with a deadline, the only way in which these tests let time pass.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// What must happen soon on a machine that is busy with other tests. Only a failure takes so long.
pub const SOON: Duration = Duration::from_secs(30);

/// Time between two looks at a condition.
const POLL: Duration = Duration::from_millis(20);

/// A look that takes so long hangs.
const LONG: Duration = Duration::from_secs(1);

/// Entries of a log that an error quotes.
const QUOTED: usize = 12;

/// Looks until `probe` returns `Ok`; its error says what is still missing.
///
/// # Errors
/// When `patience` is over, with the last thing that was missing.
pub async fn until<T>(
    what: &str,
    patience: Duration,
    mut probe: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let deadline = Instant::now() + patience;
    let mut missing = anyhow!("nothing was seen before");
    loop {
        let begun = Instant::now();
        match timeout_at(deadline, probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => missing = error,
            // What was seen last is old then: the test hangs, not what it looks for.
            Err(_) if begun.elapsed() > LONG => {
                let hung = begun.elapsed();
                missing = missing.context(format!("the last look got no answer for {hung:?}"));
            }
            Err(_) => {}
        }
        if Instant::now() >= deadline {
            return Err(missing.context(format!("not within {patience:?}: {what}")));
        }
        sleep(POLL).await;
    }
}

/// Everything that somebody said so far, in order.
#[derive(Clone, Debug)]
pub struct Log<T> {
    entries: watch::Receiver<Vec<T>>,
}

/// The writing end of a [`Log`]; when it is dropped nothing more will come.
#[derive(Debug)]
pub struct LogWriter<T> {
    entries: watch::Sender<Vec<T>>,
}

/// An empty log.
pub fn log<T>() -> (LogWriter<T>, Log<T>) {
    let (writer, reader) = watch::channel(Vec::new());
    (LogWriter { entries: writer }, Log { entries: reader })
}

impl<T> LogWriter<T> {
    /// Adds an entry and wakes who waits for it.
    pub fn push(&self, entry: T) {
        self.entries.send_modify(|entries| entries.push(entry));
    }
}

impl<T: Clone + Debug> Log<T> {
    /// Every entry that is `wanted`.
    pub fn all(&self, wanted: impl Fn(&T) -> bool) -> Vec<T> {
        let entries = self.entries.borrow();
        entries
            .iter()
            .filter(|entry| wanted(entry))
            .cloned()
            .collect()
    }

    /// The first entry that is `wanted`, now or when it comes.
    ///
    /// # Errors
    /// When `patience` is over or the writer has gone, with the last entries.
    pub async fn first(
        &self,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&T) -> bool,
    ) -> Result<T> {
        let mut reader = self.entries.clone();
        let found = timeout(patience, reader.wait_for(|all| all.iter().any(&wanted))).await;
        let why = match &found {
            Err(_) => format!("not within {patience:?}"),
            Ok(_) => "nothing more will come".to_owned(),
        };
        drop(found); // It borrows the log.
        let first = self
            .entries
            .borrow()
            .iter()
            .find(|entry| wanted(entry))
            .cloned();
        first.ok_or_else(|| anyhow!("{why}: {what}; the last entries: {:#?}", self.last()))
    }

    /// Waits until nothing more will come: the writer has gone.
    ///
    /// # Errors
    /// When `patience` is over.
    pub async fn ended(&self, patience: Duration) -> Result<()> {
        let mut reader = self.entries.clone();
        let ended = timeout(patience, reader.wait_for(|_| false)).await;
        let still_open = ended.is_err();
        ensure!(!still_open, "more may come after {patience:?}");
        Ok(())
    }

    /// The last entries, for an error to quote.
    pub fn last(&self) -> Vec<T> {
        let entries = self.entries.borrow();
        entries[entries.len().saturating_sub(QUOTED)..].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_ends_with_the_condition_or_says_what_is_missing() -> Result<()> {
        let mut looks = 0;
        let third = async || {
            looks += 1;
            anyhow::ensure!(looks == 3, "look {looks}");
            Ok(looks)
        };
        assert_eq!(until("the third look", SOON, third).await?, 3);
        let never = async || Err::<(), _>(anyhow!("the moon is no cheese"));
        let error = until("cheese", POLL, never).await.expect_err("never");
        let error = format!("{error:#}");
        assert!(error.contains("cheese: the moon is no cheese"), "{error}");
        Ok(())
    }

    #[tokio::test]
    async fn a_log_wakes_its_reader_and_tells_when_nothing_more_comes() -> Result<()> {
        let (writer, log) = log();
        writer.push(1);
        let reading = tokio::spawn({
            let log = log.clone();
            async move { log.first("a two", SOON, |entry| *entry == 2).await }
        });
        writer.push(2);
        assert_eq!(reading.await??, 2);
        drop(writer);
        let error = log.first("a three", SOON, |entry| *entry == 3).await;
        let error = format!("{:#}", error.expect_err("the writer has gone"));
        assert!(error.contains("nothing more will come: a three"), "{error}");
        Ok(())
    }
}
