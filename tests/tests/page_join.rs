//! How pages join, and how they cannot.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use mesh_native::core::{Delivery, Payload};
use mesh_tests::browser::{Browser, are_wanted};
use mesh_tests::hub::HubProcess;
use mesh_tests::page::Stage;
use mesh_tests::wait::SOON;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_join_leaves_no_agent_in_the_room() -> Result<()> {
    if !are_wanted("aborted joins") {
        return Ok(());
    }
    for browser in [Browser::Chrome, Browser::Firefox] {
        let stage = Stage::set(browser).await?;
        // Before, while the WebSocket opens, while the hub decides, after.
        let aborted = stage
            .run(
                "const outcomes = new Set();
                for (let ms = -1; ms < 40; ms++) {
                    const controller = new AbortController();
                    if (ms < 0) controller.abort('early');
                    const joining = told(Mesh.join({ ...options, signal: controller.signal }));
                    await new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
                    controller.abort('enough');
                    const { ok, message } = await joining;
                    if (ok) {
                        if (ok.peers() === undefined) throw new Error('it was closed');
                        await ok.close();
                    }
                    outcomes.add(ok ? 'joined' : message);
                }
                return [...outcomes];",
            )
            .await?;
        let outcomes = aborted.as_array().context("outcomes")?;
        ensure!(
            outcomes[0] == "early" && outcomes.contains(&json!("enough")),
            "{aborted}"
        );
        stage.others(0).await?;
        // React's double mount: an effect runs, is cleaned up at once, and runs again.
        let mounted = stage
            .run(
                "const mount = () => {
                    const controller = new AbortController();
                    window.mounted = told(Mesh.join({ ...options, signal: controller.signal }));
                    return () => controller.abort();
                };
                const cleanUp = mount();
                const first = window.mounted;
                cleanUp();
                mount();
                const [{ name }, { ok }] = await Promise.all([first, window.mounted]);
                window.mesh = ok;
                return [name, ok.id];",
            )
            .await?;
        ensure!(mounted[0] == "AbortError", "{mounted}");
        let inside = stage.others(1).await?;
        ensure!(
            json!(inside[0]) == mounted[1],
            "another agent is in the room"
        );
        stage.tab.close().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_right_after_joining_arrives() -> Result<()> {
    if !are_wanted("the first message") {
        return Ok(());
    }
    for browser in [Browser::Chrome, Browser::Firefox] {
        let mut stage = Stage::set(browser).await?;
        stage
            .run(
                "window.mesh = await Mesh.join(options);
                await mesh.broadcast('greetings', 'hello');
                await mesh.send(agent, 'and to you');",
            )
            .await?;
        for _ in 0..2 {
            let message = stage.message().await?;
            let wanted = match message.topic {
                Some(_) => "hello",
                None => "and to you",
            };
            ensure!(message.payload == Payload::from(wanted), "{message:?}");
        }
        stage.tab.close().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_that_is_online_again_dials_the_hub_at_once() -> Result<()> {
    if !are_wanted("a tab that is online again") {
        return Ok(());
    }
    let mut stage = Stage::set(Browser::Chrome).await?;
    stage
        .run(
            "window.mesh = await Mesh.join(options);
            window.retryAt = 0;
            (async () => {
                for await (const { type, retryInMs } of mesh.events()) {
                    if (type === 'signalingLost') window.retryAt = performance.now() + retryInMs;
                    if (type === 'signalingRestored') window.restoredAt = performance.now();
                }
            })();",
        )
        .await?;
    stage.hub.kill().await?;
    // Far enough away that it cannot be the retry that finds the hub.
    stage
        .until("window.retryAt - performance.now() > 4_000", json!(true))
        .await?;
    stage.hub.restart().await?;
    stage.run("dispatchEvent(new Event('online'));").await?;
    stage
        .until("window.restoredAt < window.retryAt - 1_000", json!(true))
        .await?;
    stage.tab.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_identity_joins_again_leaves_and_ends() -> Result<()> {
    if !are_wanted("one identity twice") {
        return Ok(());
    }
    let stage = Stage::set(Browser::Chrome).await?;
    let told = stage
        .run(
            "const first = await Mesh.join(options);
            const types = [];
            const pump = (async () => {
                for await (const { type, code } of first.events()) types.push(code ?? type);
            })();
            const identity = first.exportIdentity();
            window.mesh = await Mesh.join({ ...options, identity });
            await pump;
            const { code } = await told(first.broadcast('', 'x'));
            return [types.slice(-2), code, window.mesh.id === first.id];",
        )
        .await?;
    ensure!(
        told == json!([["replaced", "left"], "closed", true]),
        "{told}"
    );
    stage.others(1).await?;
    stage.tab.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_no_hub_is_told_from_none() -> Result<()> {
    if !are_wanted("servers that are no hubs") {
        return Ok(());
    }
    let (open, hidden) = (
        web_server("access-control-allow-origin: *\r\n"),
        web_server(""),
    );
    let (open, hidden, echo) = (open.await?, hidden.await?, echo_server().await?);
    let other_hub = HubProcess::start().await?;
    let other = other_hub.port();
    for browser in [Browser::Chrome, Browser::Firefox] {
        let stage = Stage::set(browser).await?;
        // From the hub's own page, whose policy has to let it look.
        let ports = [open, hidden, 1];
        let told = stage
            .run(&format!(
                "options.signaling = {ports:?}.map((port) => `ws://127.0.0.1:${{port}}/signal`);
                return await told(Mesh.join({{ ...options, timeoutMs: 100 }}));"
            ))
            .await?;
        let message = told["message"].as_str().unwrap_or_default();
        let causes = [
            "none of the 3 signaling servers",
            "with 404",
            "something answers",
        ];
        ensure!(
            told["code"] == "signaling-unreachable"
                && causes.iter().all(|cause| message.contains(cause)),
            "{browser:?}: {told}"
        );
        for (port, code, words) in [
            (open, "not-a-hub", "answers there with 404"),
            (
                hidden,
                "signaling-unreachable",
                "something answers there by HTTP",
            ),
            (echo, "not-a-hub", "does not speak the protocol of a hub"),
            (other, "origin-refused", "start it with --allow-origin http"),
            (1, "signaling-unreachable", "Is `mesh up` running there?"),
        ] {
            let told = stage
                .run(&format!(
                    "options.signaling = 'ws://127.0.0.1:{port}/signal';
                    return await told(Mesh.join({{ ...options, timeoutMs: 2_000 }}));"
                ))
                .await?;
            let named = told["message"]
                .as_str()
                .is_some_and(|text| text.contains(words));
            ensure!(
                told["code"] == code && named,
                "{browser:?}: {told}, not {words:?}"
            );
        }
        stage.tab.close().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_is_told_the_hubs_remedy() -> Result<()> {
    if !are_wanted("pages of other origins") {
        return Ok(());
    }
    for browser in [Browser::Chrome, Browser::Firefox] {
        let stage = Stage::set(browser).await?;
        let origin = format!("http://127.0.0.1:{}", web_server("").await?);
        let page = format!("{origin}/drive.html");
        stage.tab.window().goto(&page).await?;
        let told = stage
            .run(&format!(
                "options.signaling = '{}';
                const started = performance.now();
                const {{ code, message }} = await told(Mesh.join(options));
                return [code, message, performance.now() - started < 4_000];",
                stage.hub.url()
            ))
            .await?;
        let remedy = format!("start it with --allow-origin {origin}");
        let named = told[1].as_str().is_some_and(|text| text.contains(&remedy));
        ensure!(
            told[0] == "origin-refused" && named && told[2] == true,
            "{browser:?}: {told}"
        );
        stage.tab.close().await?;
    }
    Ok(())
}

/// A web server of the page's files, which is no hub, with these headers. Returns its port.
async fn web_server(headers: &'static str) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, headers));
        }
    });
    Ok(port)
}

async fn serve(mut stream: TcpStream, headers: &str) -> Result<()> {
    let mut request = [0; 4_096];
    let read = stream.read(&mut request).await?;
    let request = String::from_utf8_lossy(&request[..read]);
    let path = request.split([' ', '?']).nth(1).context("no path")?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../web{path}"));
    let (status, body) = match std::fs::read(&file) {
        Ok(body) => ("200 OK", body),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    let kind = match file.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html",
        Some("js") => "text/javascript",
        Some("wasm") => "application/wasm",
        _ => "text/plain",
    };
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}content-type: {kind}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    Ok(stream.shutdown().await?)
}

/// A WebSocket server that says what it is told. Returns its port.
async fn echo_server() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let socket = tokio_tungstenite::accept_async(stream).await?;
                let (sink, stream) = socket.split();
                stream.forward(sink).await
            });
        }
    });
    Ok(port)
}

#[tokio::test(flavor = "multi_thread")]
async fn joining_before_the_module_is_loaded_says_so() -> Result<()> {
    if !are_wanted("joining before init") {
        return Ok(());
    }
    let stage = Stage::set(Browser::Firefox).await?;
    // The body of the package's own module, for its imports are those of the built package.
    let body: String = include_str!("../../mesh-wasm/js/index.js")
        .lines()
        .filter(|line| !line.starts_with("import ") && !line.starts_with("export "))
        .map(|line| format!("{line}\n"))
        .collect();
    let script = format!(
        "return (async () => {{
            const {{ default: init, Mesh }} = await import('/pkg/mesh_wasm.js');
            {body}
            const early = await Mesh.join({{}}).catch((error) => error);
            await init();
            const late = await Mesh.join({{}}).catch((error) => error);
            return [early.name, early.code, late.code];
        }})();"
    );
    let told = stage.tab.evaluate(&script, &[]).await?;
    ensure!(
        told == json!(["MeshError", "not-initialised", "options"]),
        "{told}"
    );
    stage.tab.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_whose_clock_is_two_minutes_off_joins_links_and_talks() -> Result<()> {
    if !are_wanted("a tab with a wrong clock") {
        return Ok(());
    }
    for shift_ms in [125_000, -125_000] {
        let mut stage = Stage::set(Browser::Chrome).await?;
        let script = format!(
            "const rightNow = Date.now.bind(Date);
            Date.now = () => rightNow() + {shift_ms};
            window.mesh = await Mesh.join(options);
            window.warnings = [];
            (async () => {{
                for await (const event of mesh.events()) {{
                    if (event.type === 'warning') window.warnings.push(event.code);
                    if (event.type === 'message') await mesh.reply(event, 'in time');
                }}
            }})();
            await mesh.ready();
            await mesh.send(agent, 'hello', {{ delivery: 'acknowledged' }});"
        );
        stage.run(&script).await?;
        let message = stage.message().await?;
        ensure!(message.delivery == Delivery::Acknowledged);
        let page = message.from;
        let reply = stage.agent.request(page, "?", Some(SOON)).await?;
        ensure!(reply == Payload::from("in time"), "{reply:?}");
        stage
            .until("window.warnings.includes('clock-off')", json!(true))
            .await?;
        stage.tab.close().await?;
    }
    Ok(())
}
