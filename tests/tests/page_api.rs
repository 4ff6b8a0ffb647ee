//! The JavaScript interface with a real hub and real links, as the author of a page meets it.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use mesh_native::core::Payload;
use mesh_tests::browser::{Browser, are_wanted};
use mesh_tests::page::Stage;
use mesh_tests::wait::SOON;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn an_open_agent_outlives_the_garbage_collector() -> Result<()> {
    if !are_wanted("garbage collection") {
        return Ok(());
    }
    // Only Chrome lets a page collect garbage at will.
    let mut stage = Stage::set(Browser::Chrome).await?;
    let start = "
        window.types = [];
        const pump = async (events) => {
            for await (const event of events) window.types.push(event.type);
        };
        const settle = (promise, key) => promise.then(
            (value) => { window[key] = value; },
            (error) => { window[key] = `failed: ${error.code}`; },
        );
        const start = async () => {
            const mesh = await Mesh.join(options);
            pump(mesh.events());
            await mesh.ready();
            settle(mesh.request(agent, 'slow', { deadlineMs: 60_000 }), 'reply');
        };
        await start();";
    stage.run(start).await?;
    let asked = stage.message().await?;
    let collect = "
        for (let round = 0; round < 30; round++) {
            gc();
            await new Promise((resolve) => setTimeout(resolve, 10));
        }
        return window.types.includes('left');";
    let left = stage.run(collect).await?;
    ensure!(left == false, "the agent left when garbage was collected");
    stage.agent.reply(asked.id, "late")?;
    stage.until("window.reply", json!("late")).await?;
    stage.agent.broadcast("", "still there?").await?;
    stage
        .until("window.types.includes('message')", json!(true))
        .await?;
    stage.tab.close().await
}

/// Calls that are wrong, and the code that each is told.
const WRONG_CALLS: &[(&str, &str)] = &[
    ("mesh.send()", "peer-id"),
    ("mesh.send(5, 'x')", "peer-id"),
    ("mesh.send(null, 'x')", "peer-id"),
    ("mesh.send({}, 'x')", "peer-id"),
    ("mesh.send(Symbol('x'), 'x')", "peer-id"),
    ("mesh.send(agent)", "payload"),
    ("mesh.send(agent, new Map())", "payload"),
    ("mesh.send(agent, { a: [1, NaN] })", "payload"),
    ("mesh.send(agent, 'x', 'acknowledged')", "options"),
    ("mesh.send(agent, 'x', { dedlineMs: 5 })", "options"),
    ("mesh.send(agent, 'x', { delivery: 'fast' })", "options"),
    ("mesh.send(agent, 'x', { signal: 5 })", "options"),
    ("mesh.broadcast('t', 'x'.repeat(20_000))", "too-large"),
    (
        "mesh.send(agent, new Blob([new Uint8Array(20_000)]), { delivery: 'datagram' })",
        "too-large",
    ),
    ("mesh.send(agent, 'x'.repeat(2 ** 28))", "too-large"),
    ("mesh.send(agent, new Uint8Array(2 ** 28))", "too-large"),
    ("mesh.send('x'.repeat(2 ** 28), 'x')", "peer-id"),
    ("mesh.broadcast('x'.repeat(2 ** 28), 'x')", "topic-too-long"),
    (
        "mesh.send(agent, 'x', { get delivery() { throw new Error('boom'); } })",
        "options",
    ),
    (
        "mesh.send(agent, 'x', new Proxy({}, { ownKeys() { throw new Error('boom'); } }))",
        "options",
    ),
    (
        "mesh.send(new Proxy({}, { get() { throw new Error('boom'); } }), 'x')",
        "peer-id",
    ),
    ("mesh.request(agent, 'x', { deadlineMs: 1e12 })", "deadline"),
    (
        "Mesh.join({ ...options, room: 'x'.repeat(2 ** 28) })",
        "config",
    ),
    (
        "Mesh.join({ ...options, signaling: 'x'.repeat(2 ** 28) })",
        "url",
    ),
    ("Mesh.join({ ['x'.repeat(2 ** 20)]: 1 })", "options"),
    ("mesh.send(mesh, 'x')", "to-self"),
    ("mesh.broadcast()", "topic"),
    ("mesh.broadcast({ text: 'hi' })", "topic"),
    ("mesh.broadcast('t', () => 1)", "payload"),
    ("mesh.broadcast('t'.repeat(500), 'x')", "topic-too-long"),
    ("mesh.request({ id: 5 }, 'x')", "peer-id"),
    (
        "mesh.request(agent, 'x', { delivery: 'reliable' })",
        "options",
    ),
    ("mesh.reply()", "message-id"),
    ("mesh.reply({ type: 'message' }, 'x')", "message-id"),
    ("mesh.reply(`${agent}/1/*/1`, 'x')", "unknown-request"),
    ("mesh.subscribe(5)", "topic"),
    ("mesh.subscribe(['a', 5])", "topic"),
    ("mesh.subscribe('t'.repeat(300))", "topic-too-long"),
    ("mesh.subscribe(['a', 't'.repeat(5_000)])", "topic-too-long"),
    ("mesh.subscribe('\\ud83d')", "topic"),
    ("mesh.broadcast('\\ud83d', 'x')", "topic"),
    ("mesh.send(agent, 'x', new Map())", "options"),
    ("mesh.request(agent, 'x', Promise.resolve({}))", "options"),
    ("mesh.send(agent, 'x', revoked)", "options"),
    ("mesh.request(agent, 'x', revoked)", "options"),
    ("mesh.send(agent, 'x', { signal: revoked })", "options"),
    ("mesh.send(agent, revoked)", "payload"),
    ("mesh.send(revoked, 'x')", "peer-id"),
    ("mesh.broadcast(revoked, 'x')", "topic"),
    ("mesh.subscribe(revoked)", "topic"),
    ("mesh.reply(revoked, 'x')", "message-id"),
    ("mesh.avoid([revoked])", "peer-id"),
    ("Mesh.join(revoked)", "options"),
    ("Mesh.join(new Date())", "options"),
    ("Mesh.join({ ...options, name: '\\ud83d' })", "options"),
    ("mesh.avoid(5)", "peer-id"),
    (
        "mesh.avoid(new Proxy({}, { get() { throw new Error('boom'); } }))",
        "peer-id",
    ),
    ("mesh.avoid([agent, 'x'])", "peer-id"),
    ("Mesh.join()", "options"),
    ("Mesh.join({ ...options, name: 5 })", "options"),
    ("Mesh.join({ ...options, signaling: location.href })", "url"),
    (
        "Mesh.join({ ...options, signaling: [signaling, location.href] })",
        "url",
    ),
    (
        "Mesh.join({ ...options, signaling: [signaling, 5] })",
        "options",
    ),
    (
        "Mesh.join({ ...options, signaling: [signaling, signaling] })",
        "config",
    ),
    ("Mesh.join({ ...options, signaling: [] })", "config"),
    (
        "Mesh.join({ ...options, signaling: `${signaling}ing` })",
        "not-a-hub",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_value_is_a_promise_that_rejects_and_harms_nothing() -> Result<()> {
    if !are_wanted("wrong values") {
        return Ok(());
    }
    for browser in [Browser::Chrome, Browser::Firefox] {
        let stage = Stage::set(browser).await?;
        stage
            .run(
                "window.mesh = await Mesh.join(options);
                const { proxy, revoke } = Proxy.revocable({}, {});
                revoke();
                window.revoked = proxy;
                await mesh.ready();",
            )
            .await?;
        for (call, code) in WRONG_CALLS {
            let rejected = stage.run(&format!("return await told({call});")).await?;
            ensure!(
                rejected["code"] == *code && rejected["name"] == "MeshError",
                "{browser:?}: {call}: {rejected}"
            );
            // Thrown at once it would have been caught above as well.
            let at_once =
                format!("try {{ ({call}).catch(() => 0); return true }} catch {{ return false }}");
            ensure!(
                stage.run(&at_once).await? == true,
                "{browser:?}: {call} throws"
            );
        }
        let peers = stage.run("return mesh.peers().length;").await?;
        ensure!(peers == 1, "the agent sees {peers} others");
        stage.tab.close().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_and_an_event_stand_for_their_ids() -> Result<()> {
    if !are_wanted("peers and events as arguments") {
        return Ok(());
    }
    let mut stage = Stage::set(Browser::Chrome).await?;
    stage
        .run(
            "window.mesh = await Mesh.join(options);
            await mesh.ready();
            window.answered = [];
            (async () => {
                for await (const event of mesh.events()) {
                    if (event.type !== 'message') continue;
                    await mesh.reply(event, { echo: event.payload });
                    await mesh.send(event, new Blob([new Uint8Array([1, 2, 255])]));
                }
            })();
            await mesh.subscribe('chat');
            await mesh.avoid(mesh.peers());
            await mesh.avoid([]);
            await mesh.send(mesh.peers()[0], 'to a row');",
        )
        .await?;
    ensure!(stage.message().await?.payload == Payload::from("to a row"));
    let page = stage.others(1).await?[0];
    let reply = stage.agent.request(page, "hi", Some(SOON)).await?;
    ensure!(
        reply == Payload::Json(r#"{"echo":"hi"}"#.into()),
        "{reply:?}"
    );
    let blob = stage.message().await?.payload;
    ensure!(blob == Payload::Bytes(vec![1, 2, 255]), "{blob:?}");
    stage.tab.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_javascript_cannot_hold_ends_no_stream() -> Result<()> {
    if !are_wanted("large numbers") {
        return Ok(());
    }
    let mut stage = Stage::set(Browser::Chrome).await?;
    let large = || Payload::Json(r#"{"ts":1795835072076000000}"#.into());
    stage
        .run(
            "window.mesh = await Mesh.join(options);
            window.payloads = [];
            (async () => {
                for await (const event of mesh.events())
                    if (event.type === 'message') window.payloads.push(event.payload);
            })();
            await mesh.ready();
            window.reply = undefined;
            mesh.request(agent, 'when?').then((reply) => { window.reply = reply.ts; });",
        )
        .await?;
    let asked = stage.message().await?;
    let page = asked.from;
    stage.agent.reply(asked.id, large())?;
    stage
        .until("window.reply === 1795835072076000000", json!(true))
        .await?;
    for payload in [large(), "after".into()] {
        stage.agent.send(page, payload, Default::default()).await?;
    }
    stage.until("window.payloads.length", json!(2)).await?;
    stage
        .until("window.payloads[0].ts === 1795835072076000000", json!(true))
        .await?;
    stage.tab.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_given_up_by_its_signal_or_by_closing() -> Result<()> {
    if !are_wanted("aborted requests, closed agents") {
        return Ok(());
    }
    let mut stage = Stage::set(Browser::Chrome).await?;
    let request = stage
        .run(
            "window.mesh = await Mesh.join(options);
            await mesh.ready();
            const controller = new AbortController();
            const { signal } = controller;
            const asking = told(mesh.request(agent, 'never answered', { signal }));
            await new Promise((resolve) => setTimeout(resolve));
            controller.abort();
            const early = told(mesh.send(agent, 'never sent', { signal }));
            return [await asking, await early];",
        )
        .await?;
    for given_up in [&request[0], &request[1]] {
        ensure!(given_up["name"] == "AbortError", "{request}");
    }
    ensure!(stage.message().await?.payload == Payload::from("never answered"));
    let closed = stage
        .run(
            "const events = mesh.events();
            const waiting = [events.next(), events.next()];
            const asking = told(mesh.request(agent, 'too late'));
            await mesh.close();
            await mesh.close();
            const late = [
                mesh.send(agent, 'x'), mesh.broadcast('', 'x'), mesh.request(agent, 'x'),
                mesh.reply(`${agent}/1/*/1`, 'x'), mesh.subscribe('x'), mesh.avoid([]),
                mesh.ready(),
            ];
            const codes = await Promise.all([asking, ...late.map(told)]);
            const after = await mesh.events().next();
            const types = [];
            for (const next of waiting) types.push((await next).value.type);
            for await (const { type } of events) types.push(type);
            return [codes.map(({ code }) => code), after.done, types];",
        )
        .await?;
    let codes = closed[0].as_array().context("codes")?;
    ensure!(
        codes.len() == 8 && codes.iter().all(|code| code == "closed"),
        "{closed}"
    );
    ensure!(closed[1] == true, "events() of a closed agent go on");
    let types = closed[2].as_array().context("types")?;
    ensure!(
        types[0] == "joined" && types.last() == Some(&json!("left")),
        "{closed}"
    );
    stage.others(0).await?;
    let disposed = stage
        .run(
            "const again = await Mesh.join(options);
            again.free();
            const other = await Mesh.join(options);
            other[Symbol.dispose]();
            return [await told(again.ready()), await told(other.ready())];",
        )
        .await?;
    for told in [&disposed[0], &disposed[1]] {
        ensure!(told["code"] == "closed", "{disposed}");
    }
    stage.others(0).await?;
    stage.tab.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_over_its_limit_is_told_how_long_to_wait() -> Result<()> {
    if !are_wanted("limited senders") {
        return Ok(());
    }
    let stage = Stage::set(Browser::Chrome).await?;
    let limited = stage
        .run(
            "const rate = { messagesPerSecond: 10, messagesBurst: 1 };
            const limited = await Mesh.join({ ...options, ...rate });
            await limited.broadcast('', 'x');
            const error = await limited.broadcast('', 'x').catch((error) => error);
            limited.free();
            return [error.code, error.retryAfterMs];",
        )
        .await?;
    let wait_ms = limited[1].as_f64().unwrap_or_default();
    ensure!(
        limited[0] == "rate-limited" && wait_ms > 0.0 && wait_ms <= 100.0,
        "{limited}"
    );
    stage.tab.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_before_closing_arrives() -> Result<()> {
    if !are_wanted("last words") {
        return Ok(());
    }
    let mut stage = Stage::set(Browser::Chrome).await?;
    stage
        .run(
            "const mesh = await Mesh.join(options);
            await mesh.ready();
            await mesh.send(agent, 'last words');
            await mesh.close();",
        )
        .await?;
    ensure!(stage.message().await?.payload == Payload::from("last words"));
    stage.tab.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_declared_class_is_the_real_one() -> Result<()> {
    if !are_wanted("the declared class") {
        return Ok(());
    }
    let types = include_str!("../../mesh-wasm/src/types.d.ts");
    let class = types
        .split_once("export class Mesh {")
        .context("no class")?
        .1;
    let class = class.split_once("\n}\n").context("no end")?.0;
    let declared = class.lines().filter_map(|line| {
        let line = line.strip_prefix("    ")?.trim_start_matches("readonly ");
        let name = line.split(['(', ':']).next()?;
        name.chars()
            .all(char::is_alphanumeric)
            .then(|| name.to_owned())
    });
    let declared: BTreeSet<_> = declared.collect();
    let stage = Stage::set(Browser::Firefox).await?;
    let real = stage
        .run("return Object.getOwnPropertyNames(Mesh.prototype);")
        .await?;
    let real: BTreeSet<String> = serde_json::from_value(real)?;
    // What wasm-bindgen adds for itself.
    let own = |name: &&String| !name.starts_with("__") && name.as_str() != "constructor";
    let real: BTreeSet<_> = real.iter().filter(own).cloned().collect();
    ensure!(declared == real, "declared {declared:?}, there is {real:?}");
    stage.tab.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_go_both_ways_and_tell_how_far_they_have_come() -> Result<()> {
    const BYTES: u64 = 4_000_000;
    const LARGEST: usize = 16 << 20;
    if !are_wanted("large requests") {
        return Ok(());
    }
    for browser in [Browser::Chrome, Browser::Firefox] {
        let mut stage = Stage::set(browser).await?;
        let start = format!(
            "window.steps = [];
            window.mesh = await Mesh.join(options);
            await window.mesh.ready();
            const onProgress = (...step) => window.steps.push(step);
            window.replied = window.mesh.request(agent, new Uint8Array({BYTES}), {{ onProgress }});"
        );
        stage.run(&start).await?;
        let asked = stage.message().await?;
        ensure!(asked.payload == Payload::Bytes(vec![0; BYTES as usize]));
        stage.agent.reply(asked.id, asked.payload)?;
        let replied = "return Array.from(new Set(await window.replied)).concat(
            (await window.replied).length)";
        let replied = stage.run(replied).await?;
        ensure!(replied == json!([0, BYTES]), "{replied}");
        let steps: Vec<[u64; 2]> = serde_json::from_value(stage.run("return window.steps").await?)?;
        ensure!(steps.len() > 2 && steps.is_sorted(), "{steps:?}");
        ensure!(steps.iter().all(|[_, all]| *all == BYTES), "{steps:?}");
        let largest = format!("window.sent = window.mesh.send(agent, 'x'.repeat({LARGEST}))");
        stage.run(&largest).await?;
        let came = stage.message().await?;
        ensure!(came.payload == Payload::Text("x".repeat(LARGEST)));
        stage.run("return window.sent").await?;
        stage.tab.close().await?;
    }
    Ok(())
}
