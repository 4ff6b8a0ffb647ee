//! Which servers are believed to be who they say: those that the machine trusts, and a CA of the
//! caller's own.
//!
//! The machine's roots are read by `rustls-native-certs` and checked by rustls itself, so a
//! certificate is judged, and an error worded, the same on every system.

use std::io;
use std::sync::{Arc, LazyLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, ClientConfig, RootCertStore, crypto::ring};

use crate::error::JoinError;

/// The machine's roots, and why some could not be read. Read once a process, which takes
/// milliseconds.
static ROOTS: LazyLock<(RootCertStore, String)> = LazyLock::new(|| {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (_, unusable) = roots.add_parsable_certificates(found.certs);
    let mut troubles: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
    if unusable > 0 {
        troubles.push(format!("{unusable} certificates cannot be used"));
    }
    (roots, troubles.join("; "))
});

/// What a client needs to speak TLS, trusting also the certificates in `ca`, a PEM text.
///
/// # Errors
/// [`JoinError::Ca`] if there is none in it, or nothing to trust at all.
pub(crate) fn client(ca: Option<&[u8]>) -> Result<Arc<ClientConfig>, JoinError> {
    let ca_error = |reason: String| JoinError::Ca { reason };
    let (machine, troubles) = &*ROOTS;
    let mut roots = machine.clone();
    if let Some(pem) = ca {
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| ca_error(error.to_string()))?;
            roots
                .add(certificate)
                .map_err(|error| ca_error(error.to_string()))?;
        }
        if roots.len() == before {
            return Err(ca_error("there is no certificate (PEM) in it".to_owned()));
        }
    }
    if roots.is_empty() {
        let reason = format!("this machine trusts no certificate, and none is given: {troubles}");
        return Err(ca_error(reason));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| ca_error(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The error of TLS within one of a connection.
pub(crate) fn error_in(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// Why a handshake failed, for people.
pub(crate) fn failure(error: &io::Error) -> String {
    match error_in(error).and_then(why_distrusted) {
        Some(reason) => format!("its certificate is not to be trusted: {reason}"),
        None => format!("the TLS handshake failed: {error}"),
    }
}

/// Why a server is not believed, and what to do; nothing for other errors.
pub(crate) fn why_distrusted(error: &rustls::Error) -> Option<String> {
    let rustls::Error::InvalidCertificate(error) = error else {
        return None;
    };
    Some(match error {
        // Of an issuer that has the name of one that is trusted.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its issuer is not trusted here; if it should be, give the issuer's certificate with \
             --ca FILE (JoinOptions::ca)"
                .to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("it is for another name: {error}")
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            format!("{error}; is the clock of this machine right?")
        }
        _ if format!("{error:?}").contains("CaUsedAsEndEntity") => {
            "it is marked as that of a CA, as openssl makes self-signed ones; make it with \
             -addext basicConstraints=critical,CA:FALSE"
                .to_owned()
        }
        _ => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_no_ca() {
        for bad in [
            "",
            "no PEM",
            "-----BEGIN CERTIFICATE-----\nAQI=\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\n!\n",
        ] {
            let error = client(Some(bad.as_bytes())).expect_err(bad);
            assert_eq!(error.code(), "ca", "{bad}");
        }
    }
}
