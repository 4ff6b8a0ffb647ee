//! tinyproxy, a real HTTP proxy that wants a user, on a host of the test's own.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::child::OwnChild;
use crate::hosts::Host;
use crate::npm::scratch;

/// Its port.
pub const PORT: u16 = 3128;

/// A running proxy, killed when dropped.
#[derive(Debug)]
pub struct HttpProxy {
    _child: OwnChild,
    folder: PathBuf,
    address: String,
}

impl HttpProxy {
    /// Starts one at an address of the host. It lets its user `name` with the password `pass`
    /// connect anywhere, unless `only` a port is open.
    ///
    /// # Errors
    /// If it is missing, or does not serve.
    pub async fn start_on(host: &Host, address: &str, only: Option<u16>) -> Result<Self> {
        let folder = scratch(&format!("proxy-{}-{}", std::process::id(), host.name()))?;
        let only = only
            .map(|port| format!("ConnectPort {port}\n"))
            .unwrap_or_default();
        let conf = format!("Port {PORT}\nListen {address}\nBasicAuth name pass\n{only}");
        fs::write(folder.join("tinyproxy.conf"), conf)?;
        let log = fs::File::create(folder.join("log"))?;
        let mut command = host.command();
        command
            .args(["tinyproxy", "-d", "-c", "tinyproxy.conf"])
            .current_dir(&folder)
            .stdout(log);
        let child =
            OwnChild::spawn(&mut command).context("tinyproxy cannot be started: install it")?;
        host.until_listening("tcp", PORT).await?;
        Ok(Self {
            _child: child,
            folder,
            address: address.to_owned(),
        })
    }

    /// As `HTTPS_PROXY` has it.
    pub fn url(&self) -> String {
        format!("http://name:pass@{}:{PORT}", self.address)
    }
}

impl Drop for HttpProxy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
