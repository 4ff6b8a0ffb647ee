//! Addresses where no hub is: what answers there is told at once, and only what may heal is waited
//! for.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use mesh_native::core::HubConfig;
use mesh_native::hub::{HubOptions, HubServer};
use mesh_native::{Agent, JoinError, JoinOptions};
use mesh_tests::wait::SOON;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What cannot heal is told sooner than joining gives up.
const AT_ONCE: Duration = Duration::from_secs(3);

/// A server that says the same to everybody, first if `greets`, else when asked.
async fn serve(answer: &str, greets: bool) -> Result<(String, JoinHandle<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("ws://{}/signal", listener.local_addr()?);
    let answer = answer.to_owned();
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1_024];
            // Whoever hangs up early is not answered.
            if !greets && stream.read(&mut request).await.is_err() {
                continue;
            }
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.read(&mut request).await;
        }
    });
    Ok((url, serving))
}

async fn fails(url: &str) -> Result<(JoinError, Duration)> {
    let started = Instant::now();
    let joined = Agent::join(JoinOptions::new(url, "nowhere", "anna")).await;
    Ok((joined.err().context("it joins")?, started.elapsed()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_no_hub_is_named_with_what_it_answered() -> Result<()> {
    let page = "<html>\nhello\n</html>";
    for (answer, greets, words) in [
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
            false,
            "/signal",
        ),
        (
            format!("HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{page}"),
            false,
            "200 OK",
        ),
        (
            "HTTP/1.1 301 Moved Permanently\r\nLocation: https://h.example/signal\r\n\
             Content-Length: 0\r\n\r\n"
                .to_owned(),
            false,
            "wss://h.example/signal",
        ),
        (
            "SSH-2.0-OpenSSH_9.2p1\r\n".to_owned(),
            true,
            "SSH-2.0-OpenSSH_9.2p1",
        ),
        (
            "\u{15}\u{3}\u{3}\0\u{2}\u{2}\u{a}".to_owned(),
            false,
            "wss:",
        ),
    ] {
        let (url, serving) = serve(&answer, greets).await?;
        let (error, took) = fails(&url).await?;
        serving.abort();
        ensure!(error.code() == "not-a-hub", "{answer:?}: {error:?}");
        ensure!(error.to_string().contains(words), "{answer:?}: {error}");
        ensure!(took < AT_ONCE, "{answer:?}: {took:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_cannot_work_is_refused_without_dialling() -> Result<()> {
    for url in [
        "ws://127.0.0.1:9",
        "http://127.0.0.1:9/signal",
        "127.0.0.1:9",
        "",
    ] {
        let (error, took) = fails(url).await?;
        ensure!(error.code() == "url", "{url}: {error:?}");
        ensure!(error.to_string().contains("/signal"), "{url}: {error}");
        ensure!(took < AT_ONCE, "{url}: {took:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_whose_hub_is_away_is_tried_until_the_time_is_over() -> Result<()> {
    let answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    let (url, serving) = serve(answer, false).await?;
    let (error, took) = fails(&url).await?;
    serving.abort();
    ensure!(error.code() == "signaling-unreachable", "{error:?}");
    ensure!(error.to_string().contains("503"), "{error}");
    ensure!(took > AT_ONCE, "{took:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_is_full_is_quoted_and_no_other_is_looked_for() -> Result<()> {
    let options = HubOptions {
        connections_max: 1,
        ..HubOptions::default()
    };
    let hub = HubServer::bind("127.0.0.1:0".parse()?, options)?;
    let url = format!("ws://{}/signal", hub.local_addr()?);
    tokio::spawn(hub.serve(std::future::pending()));
    let member = Agent::join(JoinOptions::new(&url, "full", "anna")).await?;
    let (error, _) = fails(&url).await?;
    member.close().await;
    ensure!(error.code() == "signaling-unreachable", "{error:?}");
    let words = error.to_string();
    ensure!(words.contains("this server has 1 connections"), "{words}");
    ensure!(!words.contains("mesh up"), "{words}");
    // A web server's page is no line.
    let page = "x".repeat(10_000);
    let answer = format!("HTTP/1.1 503 Away\r\nContent-Length: 10000\r\n\r\n{page}");
    let (url, serving) = serve(&answer, false).await?;
    let (error, _) = fails(&url).await?;
    serving.abort();
    let words = error.to_string();
    ensure!(words.contains("mesh up") && words.len() < 500, "{words}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_starts_a_moment_later_is_found() -> Result<()> {
    let gone = TcpListener::bind("127.0.0.1:0").await?;
    let address = gone.local_addr()?;
    let options = JoinOptions {
        timeout: SOON,
        ..JoinOptions::new(&format!("ws://{address}/signal"), "later", "anna")
    };
    let joining = tokio::spawn(Agent::join(options));
    // The first attempt is cut off, and others are refused until the hub is there.
    drop(gone.accept().await?);
    drop(gone);
    let hub = HubServer::bind(address, HubConfig::default())?;
    tokio::spawn(hub.serve(std::future::pending()));
    joining.await??.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_that_is_no_hub_is_named_as_such() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("ws://{}/signal", listener.local_addr()?);
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(socket) = tokio_tungstenite::accept_async(stream).await {
                let (sink, stream) = socket.split();
                let _ = stream.forward(sink).await; // An echo.
            }
        }
    });
    let (error, took) = fails(&url).await?;
    serving.abort();
    ensure!(error.code() == "not-a-hub", "{error:?}");
    ensure!(error.to_string().contains("hello"), "{error}");
    ensure!(took < AT_ONCE, "{took:?}");
    Ok(())
}
