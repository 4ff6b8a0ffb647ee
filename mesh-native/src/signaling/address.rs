//! Where a signaling server is, checked before it is dialled.

use std::net::IpAddr;

use mesh_core::agent::{AddressError, HubAddress};
use tokio_tungstenite::tungstenite::http::Uri;

/// Takes a signaling URL apart.
///
/// # Errors
/// If it cannot be one of a signaling server, with one that can.
pub(super) fn parse(url: &str) -> Result<HubAddress, AddressError> {
    let address = HubAddress::parse(url)?;
    // Browsers write names in other scripts in ASCII themselves.
    match url.parse::<Uri>() {
        Ok(_) => Ok(address),
        Err(cause) => {
            let reason = format!("{cause}: write its host and path in ASCII");
            Err(AddressError::new(url, reason))
        }
    }
}

/// Whether it names this machine: agents of one machine can then use its loopback.
pub(super) fn is_of_this_machine(address: &HubAddress) -> bool {
    let ip = address.host.parse::<IpAddr>();
    address.is_loopback() || ip.is_ok_and(|ip| ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unspecified_address_is_of_this_machine() {
        for (url, is_here) in [
            ("ws://0.0.0.0:9600/signal", true),
            ("ws://[::]:9600/signal", true),
            ("ws://localhost/signal", true),
            ("ws://192.0.2.1/signal", false),
        ] {
            let address = parse(url).expect(url);
            assert_eq!(is_of_this_machine(&address), is_here, "{url}");
        }
    }

    #[test]
    fn an_address_that_is_not_written_in_ascii_is_refused_with_the_remedy() {
        let error = parse("ws://b\u{fc}cher.example/signal").expect_err("it cannot be dialled");
        assert!(error.to_string().contains("in ASCII"), "{error}");
    }
}
