//! The address of the hub: refused at once if it cannot work, and looked at more closely when it
//! does not.

use js_sys::Reflect;
use mesh_core::agent::{AddressError, AdmissionError, Finding, HubAddress};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen_futures::JsFuture;
use web_sys::Url;

/// What a hub's address looks like.
const EXAMPLE: &str = "ws://localhost:9600/signal";

#[wasm_bindgen(module = "/js/probe.js")]
extern "C" {
    /// The HTTP status of what answers at an address, or 0, 301 or -1, and its words: see there.
    #[wasm_bindgen(js_name = probe)]
    fn probe_js(url: &str) -> js_sys::Promise;
}

/// What the hub names when it refuses a page because of its origin.
const REMEDY: &str = "--allow-origin";

/// What answers where a WebSocket could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    /// Another origin, that does not let this page see what it says.
    Hidden,
    Redirect,
    /// A hub that admits no pages from this origin, and its words.
    OriginRefused(String),
    Status(u16),
}

/// Checks an address, for this page.
///
/// # Errors
/// Why it cannot be that of a hub.
pub(crate) fn check(url: &str) -> Result<(), AddressError> {
    check_for(url, page_is_secure())
}

fn check_for(url: &str, page_is_secure: bool) -> Result<(), AddressError> {
    let address = HubAddress::parse(url)?;
    if Url::new(url).is_err() {
        let reason = "the browser cannot read it".to_owned();
        return Err(AddressError::new(url, reason));
    }
    if !address.tls && page_is_secure && !address.is_loopback() {
        let (_, rest) = url.split_once("://").unwrap_or_default();
        let reason = format!(
            "this page was loaded by https, and browsers let it open wss:// only: write \
             wss://{rest}, with a TLS proxy before the hub"
        );
        return Err(AddressError::new(url, reason));
    }
    Ok(())
}

/// Asks by HTTP what there is.
pub(crate) async fn probe(ws_url: &str) -> Finding {
    let http = match Url::new(ws_url) {
        Ok(url) => url.href().replacen("ws", "http", 1),
        Err(_) => return Finding::Silence,
    };
    let Ok(answer) = JsFuture::from(probe_js(&http)).await else {
        return Finding::Silence;
    };
    let field = |name: &str| Reflect::get(&answer, &name.into()).ok();
    let status = field("status").and_then(|status| status.as_f64());
    let words = field("words").and_then(|words| words.as_string());
    Seen::of(status.unwrap_or(-1.0), &words.unwrap_or_default()).finding(ws_url)
}

impl Seen {
    fn of(status: f64, words: &str) -> Self {
        match status {
            0.0 => Self::Hidden,
            301.0 => Self::Redirect,
            403.0 if words.contains(REMEDY) => Self::OriginRefused(one_line(words)),
            status if status > 0.0 => Self::Status(status as u16),
            _ => Self::Nothing,
        }
    }

    /// What it means to a join.
    fn finding(self, url: &str) -> Finding {
        let url = url.to_owned();
        match (self.is_final(), self.told(), self) {
            (_, Some(reason), Self::OriginRefused(_)) => {
                Finding::Final(AdmissionError::OriginRefused { url, reason })
            }
            (true, Some(reason), _) => Finding::Final(AdmissionError::NotAHub { url, reason }),
            (false, Some(seen), _) => Finding::Answers(Some(seen)),
            (_, None, _) => Finding::Silence,
        }
    }

    /// Whether it admits no agent of this page, and waiting will not change that.
    fn is_final(&self) -> bool {
        match self {
            Self::Nothing | Self::Hidden => false,
            Self::Redirect | Self::OriginRefused(_) => true,
            // A hub asks for a WebSocket with 400 or 426; 408, 429 and a proxy's 5xx may pass.
            Self::Status(status) => *status < 500 && !matches!(status, 400 | 408 | 426 | 429),
        }
    }

    /// What is known, for people; none if that is nothing.
    fn told(&self) -> Option<String> {
        Some(match self {
            Self::Nothing => return None,
            Self::Hidden => "something answers there by HTTP, but no WebSocket opens: it is a \
                             web server and no hub, or a hub that admits no pages from this \
                             origin"
                .to_owned(),
            Self::OriginRefused(words) => words.clone(),
            Self::Redirect => {
                "a web server answers there with a redirect, and not as a hub does".to_owned()
            }
            Self::Status(status @ (401 | 403)) => format!(
                "a web server answers there with {status}: it lets no pages from this origin \
                 in, or is no hub"
            ),
            Self::Status(400 | 426) => "a server answers there and asks for a WebSocket, but \
                                        none opens: a proxy before the hub may not pass them on"
                .to_owned(),
            Self::Status(status) => format!(
                "a web server answers there with {status}, and not as a hub does; a hub's \
                 address is like {EXAMPLE}"
            ),
        })
    }
}

/// A text without line breaks and other control characters: it becomes a part of a message.
fn one_line(text: &str) -> String {
    let words = text.split(|letter: char| letter.is_whitespace() || letter.is_control());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

fn page_is_secure() -> bool {
    let location = Reflect::get(&js_sys::global(), &"location".into());
    let scheme = location.and_then(|location| Reflect::get(&location, &"protocol".into()));
    scheme.is_ok_and(|scheme| scheme.as_string().as_deref() == Some("https:"))
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

    use super::*;

    wasm_bindgen_test_configure!(run_in_browser);

    #[wasm_bindgen_test]
    fn pages_loaded_by_https_dial_wss_or_their_own_machine() {
        for (url, works) in [
            ("ws://hub.example/signal", false),
            ("ws://192.168.0.7:9600/signal", false),
            ("wss://hub.example/signal", true),
            ("ws://localhost:9600/signal", true),
            ("ws://127.0.0.1:9600/signal", true),
            ("ws://[::1]:9600/signal", true),
        ] {
            assert_eq!(check_for(url, true).is_ok(), works, "{url}");
            assert!(check_for(url, false).is_ok(), "{url}");
        }
    }

    #[wasm_bindgen_test]
    fn what_may_pass_is_waited_for() {
        for status in [400, 426, 408, 429, 500, 502, 503] {
            assert!(!Seen::Status(status).is_final(), "{status}");
        }
        for status in [200, 204, 403, 404, 405] {
            assert!(Seen::Status(status).is_final(), "{status}");
        }
    }

    #[wasm_bindgen_test]
    fn a_refusal_that_names_the_remedy_is_a_hubs_and_any_other_is_not() {
        let words = "pages of http://a.example may not use this hub:\n start it with \
                     --allow-origin http://a.example\n";
        let told = Seen::of(403.0, words).told().expect("words");
        assert!(told.starts_with("pages of http://a.example"), "{told}");
        assert!(!told.contains('\n'), "{told}");
        assert_eq!(Seen::of(403.0, "<h1>Forbidden</h1>"), Seen::Status(403));
        assert_eq!(Seen::of(404.0, words), Seen::Status(404));
    }
}
