//! The page, compiled into the server: `web/` with the wasm package in it, if that was built.

mod asset;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use self::asset::{Encoding, asset};
use super::{Shared, origin};

#[derive(RustEmbed)]
#[folder = "$MESH_WEB"]
#[exclude = "node_modules/*"]
#[exclude = "*.test.js"]
#[exclude = "package.json"]
#[exclude = "*.md"]
#[exclude = "pkg/.gitignore"]
struct Web;

/// An agent that obeys a program on its visitor's machine: for tests.
const DRIVEN: [&str; 2] = ["drive.html", "drive.js"];

/// What the page may do: its own scripts and wasm, and connections to wherever the hub is. By
/// WebSocket the page joins; by HTTP it asks what answers where no WebSocket opens. No other page
/// may show it in a frame.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; \
     connect-src 'self' ws: wss: http: https:; img-src 'self' data:; \
     style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

pub(super) async fn serve(
    State(shared): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if headers.contains_key(header::SEC_WEBSOCKET_KEY) {
        let host = origin::host_of(&headers).unwrap_or("this server");
        let ws = origin::scheme_of(&headers, "ws");
        let message = format!("WebSockets are served at {ws}://{host}/signal and nowhere else\n");
        return (StatusCode::NOT_FOUND, message).into_response();
    }
    if method != Method::GET && method != Method::HEAD {
        let allow = [(header::ALLOW, "GET, HEAD")];
        let message = "files can only be read here\n";
        return (StatusCode::METHOD_NOT_ALLOWED, allow, message).into_response();
    }
    let path = match uri.path().trim_start_matches('/') {
        "" => "index.html",
        path => path,
    };
    if DRIVEN.contains(&path) && !shared.drive_page {
        let message = "this hub does not serve the driven page: start it with --drive-page\n";
        return (StatusCode::NOT_FOUND, message).into_response();
    }
    let Some(asset) = asset(path) else {
        return (StatusCode::NOT_FOUND, "there is no such file here\n").into_response();
    };
    let fixed = [
        (header::ETAG, asset.etag()),
        (header::VARY, HeaderValue::from_static("accept-encoding")),
        // Names stay while contents change: browsers ask again, and are told if nothing did.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    if asset.is_known(&headers) {
        return (StatusCode::NOT_MODIFIED, fixed).into_response();
    }
    let (encoding, body) = asset.encoded(Encoding::accepted(&headers)).await;
    let mut response = (fixed, [(header::CONTENT_TYPE, asset.mime())], body).into_response();
    if let Some(name) = encoding.name() {
        let name = HeaderValue::from_static(name);
        response
            .headers_mut()
            .insert(header::CONTENT_ENCODING, name);
    }
    response
}

/// What every answer says, errors among them.
pub(super) async fn secure(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether the wasm package is there, without which the page can only say that it is not.
pub fn has_package() -> bool {
    Web::get("pkg/mesh_wasm.js").is_some()
}
