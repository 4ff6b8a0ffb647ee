//! The page, compiled into the server: `web/` with the wasm package in it, if that was built.

use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "../web"]
#[exclude = "node_modules/*"]
#[exclude = "*.test.js"]
#[exclude = "package.json"]
#[exclude = "*.md"]
#[exclude = "pkg/.gitignore"]
struct Web;

/// What the page may do: its own scripts and wasm, and WebSockets to wherever the hub is.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; \
     connect-src 'self' ws: wss:; img-src 'self' data:; style-src 'self' 'unsafe-inline'";

pub(super) async fn serve(uri: Uri) -> Response {
    let path = match uri.path().trim_start_matches('/') {
        "" => "index.html",
        path => path,
    };
    let Some(file) = Web::get(path) else {
        return (StatusCode::NOT_FOUND, "there is no such file here").into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, file.metadata.mimetype().to_owned()),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
        (
            header::CONTENT_SECURITY_POLICY,
            CONTENT_SECURITY_POLICY.to_owned(),
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    (headers, file.data).into_response()
}

/// Whether the wasm package is there, without which the page can only say that it is not.
pub fn has_package() -> bool {
    Web::get("pkg/mesh_wasm.js").is_some()
}
