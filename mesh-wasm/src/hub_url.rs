//! The address of the hub: refused at once if it cannot work, and looked at more closely when it
//! does not.

use js_sys::Reflect;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen_futures::JsFuture;
use web_sys::Url;

use crate::arguments::quoted;
use crate::error::error;

/// What a hub's address looks like.
const EXAMPLE: &str = "ws://localhost:9600/signal";

/// How long an address may be, in bytes: proxies refuse longer ones.
const URL_BYTES_MAX: usize = 2_048;

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
pub(crate) enum Seen {
    Nothing,
    /// Another origin, that does not let this page see what it says.
    Hidden,
    Redirect,
    /// A hub that admits no pages from this origin, and its words.
    OriginRefused(String),
    Status(u16),
    /// A WebSocket that opens and says what no hub would say.
    OtherTalk,
}

/// Checks an address, for this page.
///
/// # Errors
/// Why it cannot be that of a hub.
pub(crate) fn check(text: &str) -> Result<(), JsValue> {
    check_for(text, page_is_secure())
}

fn check_for(text: &str, page_is_secure: bool) -> Result<(), JsValue> {
    let refuse = |cause: &str| {
        let message = format!("join: `signaling` is {}: {cause}", quoted(text));
        Err(error("url", &message))
    };
    if text.len() > URL_BYTES_MAX {
        return refuse("no address of a hub is that long");
    }
    let Ok(url) = Url::new(text) else {
        return refuse(&format!("this is no address. A hub's is like {EXAMPLE}"));
    };
    let (scheme, host, path) = (url.protocol(), url.host(), url.pathname());
    let rest = match path.as_str() {
        "" | "/" => "/signal".to_owned(),
        path => path.to_owned() + &url.search(),
    };
    match scheme.as_str() {
        "ws:" | "wss:" => {}
        "http:" | "https:" => {
            let ws = if scheme == "http:" { "ws" } else { "wss" };
            return refuse(&format!(
                "this is the address of a page. The hub's begins with ws:// or wss://: try \
                 {ws}://{host}{rest}"
            ));
        }
        _ if host.is_empty() => {
            return refuse(&format!(
                "it must begin with ws:// or wss://: try ws://{}",
                text.trim()
            ));
        }
        _ => return refuse("it must begin with ws:// or wss://"),
    }
    if !url.hash().is_empty() {
        return refuse("what follows # is not for servers: leave it out");
    }
    let after_scheme = text.trim().split_once("//").map_or("", |(_, rest)| rest);
    if path == "/" && !after_scheme.contains('/') {
        return refuse(&format!(
            "it lacks the path of the hub, which is /signal: try {scheme}//{host}/signal"
        ));
    }
    if scheme == "ws:" && page_is_secure && !is_local(&url.hostname()) {
        return refuse(&format!(
            "this page was loaded by https, and browsers let it open wss:// only: try \
             wss://{host}{rest}, with a TLS proxy before the hub"
        ));
    }
    Ok(())
}

/// Asks by HTTP what there is.
pub(crate) async fn probe(ws_url: String) -> Seen {
    let http = match Url::new(&ws_url) {
        Ok(url) => url.href().replacen("ws", "http", 1),
        Err(_) => return Seen::Nothing,
    };
    let Ok(answer) = JsFuture::from(probe_js(&http)).await else {
        return Seen::Nothing;
    };
    let field = |name: &str| Reflect::get(&answer, &name.into()).ok();
    let status = field("status").and_then(|status| status.as_f64());
    let words = field("words").and_then(|words| words.as_string());
    Seen::of(status.unwrap_or(-1.0), &words.unwrap_or_default())
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

    /// Whether it admits no agent of this page, and waiting will not change that.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Nothing | Self::Hidden => false,
            Self::Redirect | Self::OtherTalk | Self::OriginRefused(_) => true,
            // A hub asks for a WebSocket with 400 or 426; 408, 429 and a proxy's 5xx may pass.
            Self::Status(status) => *status < 500 && !matches!(status, 400 | 408 | 426 | 429),
        }
    }

    /// What is known, for people; none if that is nothing.
    pub(crate) fn told(&self) -> Option<String> {
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
            Self::OtherTalk => {
                "the WebSocket server there does not speak the protocol of a hub".to_owned()
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

/// Whether browsers trust the way to a host as they do TLS.
fn is_local(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host == "[::1]"
        || host.starts_with("127.")
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
    fn a_path_of_ones_own_is_taken_and_none_is_not() {
        for (url, works) in [
            ("wss://hub.example/", true),
            ("wss://hub.example/rooms/signal?key=1", true),
            ("wss://hub.example", false),
            ("wss://hub.example?key=1", false),
        ] {
            assert_eq!(check_for(url, false).is_ok(), works, "{url}");
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
