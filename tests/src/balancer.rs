//! HAProxy and nginx in front of several hubs, by the files of `deploy/`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::child::OwnChild;
use crate::process::{free_port, serve};

/// The port that the files have the balancer listen on, and the first of its three hubs.
const PORT: u16 = 9_600;
const FIRST_HUB: u16 = 9_601;

/// Which load balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// HAProxy, which asks hubs whether they are ready.
    Haproxy,
    /// nginx, which finds out when it needs one.
    Nginx,
}

/// A running load balancer. Killed when dropped.
#[derive(Debug)]
pub struct Balancer {
    _child: OwnChild,
    port: u16,
    folder: PathBuf,
}

impl Balancer {
    /// Starts one on a free port in front of hubs on these ports.
    ///
    /// # Errors
    /// If it is missing, or does not serve.
    pub async fn start(kind: Kind, hubs: [u16; 3]) -> Result<Self> {
        let port = free_port()?;
        let folder = std::env::temp_dir().join(format!("mesh-tests-balancer-{port}"));
        std::fs::create_dir_all(&folder)?;
        let (program, arguments) = match kind {
            Kind::Haproxy => ("haproxy", vec!["-db", "-f", "haproxy.cfg"]),
            Kind::Nginx => ("nginx", vec!["-p", ".", "-e", "stderr", "-c", "outer.conf"]),
        };
        configure(kind, &folder, port, hubs)?;
        let child = serve(program, &arguments, &folder, port).await?;
        Ok(Self {
            _child: child,
            port,
            folder,
        })
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where agents signal.
    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/signal", self.port)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Writes the file of `deploy/` into a folder, with other ports and nothing else changed.
fn configure(kind: Kind, folder: &Path, port: u16, hubs: [u16; 3]) -> Result<()> {
    let (name, listens, here) = match kind {
        Kind::Haproxy => ("haproxy.cfg", "bind :", "bind 127.0.0.1:"),
        Kind::Nginx => ("nginx.conf", "listen ", "listen 127.0.0.1:"),
    };
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(name);
    let mut text = std::fs::read_to_string(&file)
        .with_context(|| format!("cannot read {}", file.display()))?;
    let listens = (format!("{listens}{PORT}"), format!("{here}{port}"));
    let hubs = hubs.iter().zip(FIRST_HUB..);
    let hubs = hubs.map(|(hub, n)| (format!("127.0.0.1:{n}"), format!("127.0.0.1:{hub}")));
    for (from, to) in std::iter::once(listens).chain(hubs) {
        ensure!(
            text.matches(&from).count() == 1,
            "{name} has {from:?} not once"
        );
        text = text.replace(&from, &to);
    }
    std::fs::write(folder.join(name), text)?;
    if kind == Kind::Nginx {
        std::fs::write(folder.join("outer.conf"), OUTER)?;
    }
    Ok(())
}

/// What Debian's own file of nginx does around it, in a folder of its own and without a daemon.
const OUTER: &str = "
daemon off;
master_process off;
pid nginx.pid;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include nginx.conf;
}
";
