//! The examples of the documents, run as they stand there, in a room with somebody else in it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use mesh_native::JoinOptions;
use mesh_tests::agents::Native;
use mesh_tests::browser::{Browser, Window, are_wanted};
use mesh_tests::hub::HubProcess;
use mesh_tests::markdown::{example, first_example};
use mesh_tests::member::Member;
use mesh_tests::npm;
use mesh_tests::site::Site;
use mesh_tests::wait::{SOON, until};
use serde_json::{Value, json};

/// Where the examples look for the hub, and the room that they join.
const HUB: &str = "localhost:9600";
const ROOM: &str = "demo";

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_example_for_a_page_runs() -> Result<()> {
    a_page_runs("README.md", "In a page", Then::Logs).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_packages_example_for_a_page_runs() -> Result<()> {
    a_page_runs("mesh-wasm/README.md", "mesh-wasm", Then::Answers).await
}

#[tokio::test]
async fn the_package_holds_its_licences_and_types_and_nothing_odd() -> Result<()> {
    if !are_wanted("what npm packs") {
        return Ok(());
    }
    let (_, files) = npm::pack(&npm::scratch("packed")?).await?;
    let (snippets, mut others): (Vec<_>, Vec<_>) = files
        .into_iter()
        .partition(|file| file.starts_with("snippets/") && file.ends_with(".js"));
    others.sort_unstable();
    let expected = [
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "index.d.ts",
        "index.js",
        "mesh_wasm.d.ts",
        "mesh_wasm.js",
        "mesh_wasm_bg.wasm",
        "mesh_wasm_bg.wasm.d.ts",
        "package.json",
    ];
    ensure!(others == expected, "it holds {others:?}");
    ensure!(!snippets.is_empty(), "its snippets are missing");
    Ok(())
}

/// The package as npm delivers it, built into a page by Vite and typed by TypeScript.
#[tokio::test(flavor = "multi_thread")]
async fn the_packages_example_for_a_bundler_runs() -> Result<()> {
    if !are_wanted("the npm package in a Vite project") {
        return Ok(());
    }
    let consumer = npm::consumer("vite").await?;
    let code = example("mesh-wasm/README.md", "With a bundler", "js")?;
    std::fs::write(consumer.join("src/main.js"), code)?;
    let types = std::fs::read_to_string(npm::root().join("mesh-wasm/tests/types.ts"))?;
    let types = types.replace("./pkg/mesh_wasm.js", "mesh-wasm");
    std::fs::write(consumer.join("src/types.ts"), types)?;
    npm::tool("typescript/bin/tsc", &["--project", "."], &consumer).await?;
    npm::tool("vite/bin/vite.js", &["build"], &consumer).await?;
    meets_another_agent(&consumer.join("dist"), Then::Answers).await
}

/// React mounts every component twice while developing, to show effects that do not clean up.
#[tokio::test(flavor = "multi_thread")]
async fn the_packages_example_for_react_leaves_one_agent_of_two_mounts() -> Result<()> {
    if !are_wanted("the package's example for React") {
        return Ok(());
    }
    let consumer = npm::consumer("react").await?;
    for library in ["react", "react-dom", "scheduler"] {
        let installed = npm::root().join("tests/npm/node_modules").join(library);
        npm::copy_folder(&installed, &consumer.join("node_modules").join(library))?;
    }
    let page = consumer.join("src/react.js");
    let code = example("mesh-wasm/README.md", "In React", "js")?;
    let code = std::fs::read_to_string(&page)?.replace("// The example.", &code);
    std::fs::write(consumer.join("src/main.js"), code)?;
    // Else React would be built for production, which mounts once.
    std::fs::write(consumer.join(".env.development"), "NODE_ENV=development\n")?;
    let build = ["build", "--mode", "development"];
    npm::tool("vite/bin/vite.js", &build, &consumer).await?;
    let hub = HubProcess::start().await?;
    hub.require_page().await?;
    let native = Native::join(JoinOptions::new(&hub.url(), ROOM, "native")).await?;
    let site = Site::start(&consumer.join("dist"), hub.port(), &policy()?).await?;
    let arguments = [site.at(HUB)];
    let window = Window::open(Browser::Chrome, &arguments, &format!("http://{HUB}/")).await?;
    let text = "return document.querySelector('main')?.textContent ?? ''";
    let id = until("the component has joined", SOON, async || {
        let shown = window.evaluate(text, &[]).await?;
        let shown = shown.as_str().context("no text")?;
        let id = shown.strip_prefix("joined as ").map(str::to_owned);
        id.with_context(|| format!("it shows {shown:?}"))
    })
    .await?;
    until("the page is one member", SOON, async || {
        let peers = native.table("peers").await?;
        let peers = peers.as_array().context("no peers")?;
        let linked = peers.iter().all(|peer| peer["direct"] == true);
        ensure!(
            peers.len() == 1 && linked && peers[0]["id"] == *id,
            "{peers:?}"
        );
        Ok(())
    })
    .await?;
    window.evaluate("unmount()", &[]).await?;
    until("the page has left", SOON, async || {
        let peers = native.table("peers").await?;
        ensure!(peers == json!([]), "{peers}");
        Ok(())
    })
    .await?;
    let wrong = window.evaluate("return window.wrong", &[]).await?;
    ensure!(wrong == json!([]), "in the page: {wrong}");
    window.close().await
}

async fn a_page_runs(document: &str, heading: &str, then: Then) -> Result<()> {
    if !are_wanted(&format!("the example of {document} in a page")) {
        return Ok(());
    }
    let code = first_example(document, heading, "js")?;
    let site = npm::scratch(&document.replace('/', "-"))?;
    npm::copy_folder(&npm::root().join("web/pkg"), &site.join("pkg"))?;
    let watch = npm::root().join("tests/npm/consumer/public/watch.js");
    std::fs::copy(watch, site.join("watch.js"))?;
    std::fs::write(site.join("example.js"), code)?;
    let page = "<!doctype html><title>An example</title><script src=\"watch.js\"></script>\
                <script type=\"module\" src=\"example.js\"></script>";
    std::fs::write(site.join("index.html"), page)?;
    meets_another_agent(&site, then).await
}

/// The policy that mesh-wasm's README states, with the hub of its examples.
fn policy() -> Result<String> {
    let stated = example(
        "mesh-wasm/README.md",
        "Under a Content-Security-Policy",
        "text",
    )?;
    let policy = stated.trim().strip_prefix("Content-Security-Policy: ");
    let policy = policy.context("the header has another name")?;
    Ok(policy
        .replace("//hub.example", &format!("//{HUB}"))
        .replace("wss:", "ws:"))
}

/// What an example does with what it is sent.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// Each event goes to the console.
    Logs,
    /// Each request is answered with what was asked.
    Answers,
}

/// The page greets the agent that is there already, and hears from it.
async fn meets_another_agent(site: &Path, then: Then) -> Result<()> {
    let hub = HubProcess::start().await?;
    hub.require_page().await?;
    let native = Native::join(JoinOptions::new(&hub.url(), ROOM, "native")).await?;
    let site = Site::start(site, hub.port(), &policy()?).await?;
    let arguments = [site.at(HUB)];
    let window = Window::open(Browser::Chrome, &arguments, &format!("http://{HUB}/")).await?;
    let greeted = until("the page greets", SOON, async || {
        let wrong = window.evaluate("return window.wrong", &[]).await?;
        ensure!(wrong == json!([]), "in the page: {wrong}");
        let messages = native.events("message").await?;
        let hello = |event: &&Value| event["topic"] == "greetings" && event["payload"] == "hello";
        let from = messages
            .iter()
            .find(hello)
            .map(|event| event["from"].clone());
        from.context("no greeting yet")
    });
    let page = greeted.await?;
    let page = serde_json::from_value(page)?;
    match then {
        Then::Logs => {
            native.broadcast("news", "welcome").await?;
            until("the page logs the news", SOON, async || {
                let look = "return window.said.some((event) => event.payload === 'welcome')";
                let logged = window.evaluate(look, &[]).await?;
                ensure!(logged == true, "it is not logged");
                Ok(())
            })
            .await?;
        }
        Then::Answers => {
            let reply = native.request(page, "are you there?").await?;
            let expected = json!({ "echo": "are you there?" });
            ensure!(
                reply == expected || reply["json"] == expected,
                "it answers {reply}"
            );
        }
    }
    let wrong = window.evaluate("return window.wrong", &[]).await?;
    ensure!(wrong == json!([]), "in the page: {wrong}");
    window.close().await
}
