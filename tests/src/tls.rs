//! nginx in front of a hub, as operators have it, with a certificate of a CA made for the test.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};

use crate::child::OwnChild;
use crate::process::{free_port, serve};

/// What a certificate is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// `localhost`, now.
    Good,
    /// `localhost`, until the year 2020.
    Expired,
    /// Another name than the server's.
    OtherName,
}

/// A running nginx that ends TLS and passes all on to a hub. Killed when dropped.
#[derive(Debug)]
pub struct TlsProxy {
    _child: OwnChild,
    port: u16,
    folder: PathBuf,
    ca: Vec<u8>,
}

impl TlsProxy {
    /// Starts one on a free port in front of the hub on `hub_port`.
    ///
    /// # Errors
    /// If nginx is missing, or does not serve.
    pub async fn start(hub_port: u16, validity: Validity) -> Result<Self> {
        let port = free_port()?;
        let folder = std::env::temp_dir().join(format!("mesh-tests-nginx-{port}"));
        std::fs::create_dir_all(&folder)?;
        let name = match validity {
            Validity::OtherName => "elsewhere.example",
            Validity::Good | Validity::Expired => "localhost",
        };
        let ca = certify(&folder, name, validity == Validity::Expired)?;
        std::fs::write(folder.join("nginx.conf"), configuration(port, hub_port))?;
        let arguments = ["-p", ".", "-e", "stderr", "-c", "nginx.conf"];
        let child = serve("nginx", &arguments, &folder, port).await?;
        Ok(Self {
            _child: child,
            port,
            folder,
            ca,
        })
    }

    /// Where agents signal, by the scheme `ws` or `wss`.
    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}/signal", self.port)
    }

    /// The page with a query.
    pub fn page(&self, query: &str) -> String {
        format!("https://localhost:{}/?{query}", self.port)
    }

    /// The certificate of the CA, in PEM.
    pub fn ca(&self) -> &[u8] {
        &self.ca
    }

    /// A file with it.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }
}

impl Drop for TlsProxy {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Writes a certificate for a name and its key, and that of the CA, which is returned: in PEM.
///
/// # Errors
/// If they cannot be written.
pub fn certify(folder: &Path, name: &str, expired: bool) -> Result<Vec<u8>> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let common = &mut params.distinguished_name;
    common.push(DnType::CommonName, "A CA of the tests");
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    if expired {
        params.not_after = date_time_ymd(2020, 1, 1);
    }
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &ca)?;
    std::fs::write(folder.join("ca.pem"), ca.pem())?;
    std::fs::write(folder.join("certificate.pem"), certificate.pem())?;
    std::fs::write(folder.join("key.pem"), key.serialize_pem())?;
    Ok(ca.pem().into_bytes())
}

/// As the guide to deployment has it, in a folder of its own and without a daemon.
fn configuration(port: u16, hub_port: u16) -> String {
    format!(
        r#"
daemon off;
master_process off;
pid nginx.pid;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        server_name localhost;
        ssl_certificate certificate.pem;
        ssl_certificate_key key.pem;
        location / {{
            proxy_pass http://127.0.0.1:{hub_port};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_read_timeout 1h;
        }}
    }}
}}
"#
    )
}
