//! Three real Sentinels, which watch a Redis and its replica.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::child::OwnChild;
use crate::process::free_port;
use crate::redis::{Redis, SENTINEL, say};
use crate::wait::{SOON, until};

/// How the Sentinels call the master.
pub const MASTER: &str = "mymaster";

/// The password of whoever asks them.
const PASSWORD: &str = "asked";

/// Silence after which a Sentinel takes the master for dead.
const DOWN_AFTER: Duration = Duration::from_secs(1);

/// A failover that takes longer is given up; the next begins after twice this time.
const FAILOVER_TIMEOUT: Duration = Duration::from_secs(2);

/// Three Sentinels. Killed when dropped.
#[derive(Debug)]
pub struct Sentinels {
    all: Vec<Sentinel>,
    /// What stands before the hosts in the URL: how hubs log in to the master.
    login: String,
}

#[derive(Debug)]
struct Sentinel {
    child: OwnChild,
    port: u16,
    folder: PathBuf,
}

impl Sentinels {
    /// Starts three that watch this master, and waits until they know each other and its replica.
    ///
    /// # Errors
    /// If they do not.
    pub async fn watch(master: &Redis) -> Result<Self> {
        let all: Result<Vec<_>> = (0..3).map(|_| Sentinel::start(master.port())).collect();
        let sentinels = Self {
            all: all?,
            login: master.login(),
        };
        until("the Sentinels know each other", SOON, async || {
            for sentinel in &sentinels.all {
                let known = sentinel.say(&["SENTINEL", "MASTER", MASTER]).await?;
                let words: Vec<_> = known.lines().collect();
                for fact in [["num-slaves", "1"], ["num-other-sentinels", "2"]] {
                    ensure!(words.windows(2).any(|pair| pair == fact), "{known}");
                }
            }
            Ok(())
        })
        .await?;
        Ok(sentinels)
    }

    /// Where hubs find the master.
    pub fn url(&self) -> String {
        let hosts = self.all.iter();
        let hosts = hosts.map(|sentinel| format!("127.0.0.1:{}", sentinel.port));
        format!(
            "redis+sentinel://{}{}/{MASTER}/0?sentinel_password={PASSWORD}",
            self.login,
            hosts.collect::<Vec<_>>().join(",")
        )
    }

    /// Waits until all of them take this server for the master.
    ///
    /// # Errors
    /// If they do not.
    pub async fn until_master(&self, server: &Redis) -> Result<()> {
        until("the Sentinels name this master", SOON, async || {
            for sentinel in &self.all {
                let asked = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER];
                let named = sentinel.say(&asked).await?;
                let port = named.lines().last().context("no address")?;
                ensure!(port == server.port().to_string(), "it names {port}");
            }
            Ok(())
        })
        .await
    }

    /// SIGKILL of the first.
    ///
    /// # Errors
    /// If it cannot be killed.
    pub async fn kill_first(&mut self) -> Result<()> {
        let first = self.all.first_mut().context("there is none")?;
        first.child.kill().await.context("it cannot be killed")
    }
}

impl Sentinel {
    fn start(master: u16) -> Result<Self> {
        let port = free_port()?;
        let folder = std::env::temp_dir().join(format!("mesh-tests-sentinel-{port}"));
        std::fs::create_dir_all(&folder)?;
        // It writes into this file what it finds.
        let file = folder.join("sentinel.conf");
        let (down_after, timeout) = (DOWN_AFTER.as_millis(), FAILOVER_TIMEOUT.as_millis());
        let options = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nrequirepass {PASSWORD}\n\
             sentinel monitor {MASTER} 127.0.0.1 {master} 2\n\
             sentinel auth-user {MASTER} {SENTINEL}\n\
             sentinel auth-pass {MASTER} {SENTINEL}\n\
             sentinel down-after-milliseconds {MASTER} {down_after}\n\
             sentinel failover-timeout {MASTER} {timeout}\n",
            folder.display()
        );
        std::fs::write(&file, options)?;
        let mut server = Command::new("redis-server");
        server
            .arg(&file)
            .arg("--sentinel")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = OwnChild::spawn(&mut server)
            .context("a Sentinel cannot be started: install it (Debian: redis-server)")?;
        Ok(Self {
            child,
            port,
            folder,
        })
    }

    async fn say(&self, words: &[&str]) -> Result<String> {
        say(self.port, Some(PASSWORD), words).await
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
