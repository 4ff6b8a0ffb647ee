//! What the server says over HTTP: the page, its headers, and words for those who ask amiss.

use std::io::Read;

use super::*;

const WEBSOCKET: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// Asks for a WebSocket.
async fn dial(server: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    let headers: Vec<_> = WEBSOCKET[1..].iter().chain(headers).copied().collect();
    ask_by(server, "GET", path, "Upgrade", &headers).await
}

#[tokio::test]
async fn the_page_comes_compressed_and_only_once() {
    let server = start(HubOptions::default());
    let plain = get(server, "/main.js").await;
    assert_eq!(plain.status, 200);
    assert_eq!(plain.header("content-encoding"), None);
    assert_eq!(plain.header("vary"), Some("accept-encoding"));
    let gzip = ask(server, "GET", "/main.js", &[("Accept-Encoding", "gzip")]).await;
    assert_eq!(gzip.header("content-encoding"), Some("gzip"));
    let mut unpacked = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(&gzip.body[..]);
    decoder.read_to_end(&mut unpacked).expect("gzip");
    assert_eq!(unpacked, plain.body);
    let usual = [("Accept-Encoding", "gzip, deflate, br, zstd")];
    let brotli = ask(server, "GET", "/main.js", &usual).await;
    assert_eq!(brotli.header("content-encoding"), Some("br"));
    let mut unpacked = Vec::new();
    let mut decoder = brotli::Decompressor::new(&brotli.body[..], 4_096);
    decoder.read_to_end(&mut unpacked).expect("brotli");
    assert_eq!(unpacked, plain.body);
    let sizes = [&plain, &gzip, &brotli].map(|answer| answer.body.len());
    assert!(sizes[0] > 2 * sizes[1] && sizes[1] > sizes[2], "{sizes:?}");
    let etag = brotli.header("etag").expect("an ETag").to_owned();
    assert_eq!(plain.header("etag"), Some(etag.as_str()));
    for known in [etag.clone(), format!("\"other\", {etag}")] {
        let again = [usual[0], ("If-None-Match", known.as_str())];
        let again = ask(server, "GET", "/main.js", &again).await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{again:?}");
        assert_eq!(again.header("etag"), Some(etag.as_str()));
    }
    let changed = [("If-None-Match", "W/\"0123\"")];
    let changed = ask(server, "GET", "/main.js", &changed).await;
    assert_eq!(changed.status, 200);
}

#[tokio::test]
async fn every_answer_says_what_a_page_may_do() {
    let server = start(HubOptions::default());
    for (method, path, status) in [
        ("GET", "/", 200),
        ("HEAD", "/", 200),
        ("GET", "/healthz", 200),
        ("GET", "/nothing.js", 404),
        ("GET", "/../Cargo.toml", 404),
        ("POST", "/", 405),
        ("POST", "/signal", 405),
        ("GET", "/signal", 426),
    ] {
        let answer = ask(server, method, path, &[]).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        let policy = answer.header("content-security-policy").unwrap_or_default();
        assert!(
            policy.contains("frame-ancestors 'self'"),
            "{path}: {policy}"
        );
        let nosniff = Some("nosniff");
        assert_eq!(answer.header("x-content-type-options"), nosniff, "{path}");
    }
}

#[tokio::test]
async fn the_driven_page_is_served_to_tests_alone() {
    let server = start(HubOptions::default());
    for path in ["/drive.html", "/drive.js"] {
        let answer = get(server, path).await;
        assert_eq!(answer.status, 404);
        assert!(answer.text().contains("--drive-page"), "{answer:?}");
    }
    let server = start(HubOptions {
        drive_page: true,
        ..HubOptions::default()
    });
    assert_eq!(get(server, "/drive.html").await.status, 200);
}

#[tokio::test]
async fn who_asks_a_hub_for_no_websocket_is_told_what_it_is() {
    let server = start(HubOptions::default());
    let answer = get(server, "/signal").await;
    assert_eq!(answer.status, 426);
    assert_eq!(answer.header("upgrade"), Some("websocket"));
    let url = format!("ws://{server}/signal");
    for words in ["signaling server of the WebRTC agent mesh", &url] {
        assert!(answer.text().contains(words), "{answer:?}");
    }
    // A page may read it wherever it is from.
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    for path in ["/", "/ws", "/signal/"] {
        let answer = dial(server, path, &[]).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.text().contains(&url), "{answer:?}");
    }
    let proxied = [
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "m.example"),
    ];
    for answer in [
        dial(server, "/ws", &proxied).await,
        ask(server, "GET", "/signal", &proxied).await,
    ] {
        let text = answer.text();
        assert!(text.contains("wss://m.example/signal"), "{text}");
        assert!(!text.contains("http://"), "{text}");
    }
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused_with_the_way_out() {
    let server = start(HubOptions::default());
    let evil = [("Origin", "https://evil.example")];
    for answer in [
        dial(server, "/signal", &evil).await,
        ask(server, "GET", "/signal", &evil).await,
    ] {
        assert_eq!(answer.status, 403);
        let remedy = "--allow-origin https://evil.example";
        assert!(answer.text().contains(remedy), "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
    let port = server.port();
    for own in ["127.0.0.1", "localhost", "[::1]"] {
        let own = format!("http://{own}:{port}");
        let answer = dial(server, "/signal", &[("Origin", &own)]).await;
        assert_eq!(answer.status, 101, "{own}");
    }
    assert_eq!(dial(server, "/signal", &[]).await.status, 101, "a program");
    let server = start(HubOptions {
        allow_origins: vec!["https://evil.example".parse().expect("an origin")],
        ..HubOptions::default()
    });
    assert_eq!(dial(server, "/signal", &evil).await.status, 101);
}
