//! The WebDriver server of a browser, on this machine or on a host of a test's own.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::browser::Browser;
use crate::hosts::{Host, Loopback};
use crate::process::{free_port, lines_of};
use crate::wait::{Log, SOON, until};

/// A WebDriver server, killed with its browser when dropped.
#[derive(Debug)]
pub(crate) struct Driver {
    child: Child,
    port: u16,
    /// The way to its port, if that is on another host.
    host: Option<Loopback>,
    log: Log<String>,
}

impl Driver {
    /// Starts it, and with it later the browser, on a host or on this machine.
    pub(crate) fn start(browser: Browser, host: Option<&Host>) -> Result<Self> {
        let (variable, _, usual) = browser.program();
        let program = std::env::var_os(variable).map_or_else(|| usual.into(), PathBuf::from);
        let port = free_port()?;
        let mut command = match host {
            Some(host) => {
                let mut command = host.command();
                command.arg(&program);
                command
            }
            None => Command::new(&program),
        };
        #[cfg(unix)]
        command.process_group(0); // So that the browser can be killed with its driver.
        let mut child = command
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| {
                let program = program.display();
                format!(
                    "{program} cannot be started: install it, name it in {variable}, or leave \
                     browsers out with `cargo xtask test --no-browsers`"
                )
            })?;
        let stdout = child.stdout.take().context("its stdout is piped")?;
        Ok(Self {
            child,
            port,
            host: host.map(Host::loopback),
            log: lines_of(stdout),
        })
    }

    /// Has it start the browser.
    pub(crate) async fn connect(&self, capabilities: Capabilities) -> Result<Client> {
        until("the driver listens", SOON, async || {
            match &self.host {
                Some(host) => drop(host.connect(self.port).await?),
                None => drop(TcpStream::connect(("127.0.0.1", self.port)).await?),
            }
            Ok(())
        })
        .await
        .with_context(|| format!("the driver says {:?}", self.log.last()))?;
        if let Some(host) = &self.host {
            host.bring_here(self.port).await?;
        }
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let url = format!("http://127.0.0.1:{}", self.port);
        let client = builder.capabilities(capabilities).connect(&url).await;
        client.with_context(|| format!("no browser starts; the driver says {:?}", self.log.last()))
    }

    /// The process group of the driver and the browser.
    pub(crate) fn group(&self) -> Result<u32> {
        self.child.id().context("the driver has ended")
    }

    /// Sends a signal to the driver and the browser.
    pub(crate) async fn signal(&self, name: &str) -> Result<()> {
        let group = self.group()?;
        let mut kill = Command::new("kill");
        let kill = kill.args(["-s", name, "--", &format!("-{group}")]);
        let status = kill.status().await.context("cannot start kill")?;
        ensure!(status.success(), "kill -s {name} fails with {status}");
        Ok(())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(group) = self.child.id() {
            // Nothing is left to kill after a session that was closed.
            let _ = std::process::Command::new("kill")
                .args(["-KILL", "--", &format!("-{group}")])
                .stderr(Stdio::null())
                .status();
        }
    }
}
