//! How much of a video a browser sends to a native agent: as much as the path carries.

use std::time::Duration;

use anyhow::{Result, ensure};
use mesh_tests::browser::{Browser, are_wanted};
use mesh_tests::page::{KEEP_CONNECTIONS, Stage};
use mesh_tests::report;
use mesh_tests::wait::until;
use serde_json::Value;

/// The bit rate that Chrome comes to, in bit/s, within 8 s. If it is not told how much arrives it
/// begins with less than 300,000, and has 600,000 after 25 s.
const RATE: f64 = 1e6;

/// How long it may take to get there: too short for a browser that is told nothing.
const PATIENCE: Duration = Duration::from_secs(25);

/// Joins, and sends a picture of noise, of which no rate is enough.
const SEND: &str = "
    const mesh = window.mesh = await Mesh.join(options);
    for await (const event of mesh.events()) if (event.type === 'linkOpened') break;
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [640, 480];
    const context = canvas.getContext('2d');
    const picture = context.createImageData(640, 480);
    const words = new Uint32Array(picture.data.buffer);
    setInterval(() => {
        for (let at = 0; at < words.length; at += 3) words[at] = Math.random() * 2 ** 32;
        context.putImageData(picture, 0, 0);
    }, 50);
    window.track = canvas.captureStream(20).getVideoTracks()[0];
    window.sender = await mesh.sendTrack(agent, window.track);
    window.sent = { bytes: 0, at: performance.now() };
    return true;";

/// Bits a second since the last time that it was asked.
const MEASURE: &str = "
    let bytes = 0;
    for (const connection of window.connections) {
        for (const entry of (await connection.getStats()).values()) {
            if (entry.type === 'outbound-rtp') bytes += entry.bytesSent;
        }
    }
    const [now, before] = [performance.now(), window.sent];
    if (now - before.at < 2000) return null;
    window.sent = { bytes, at: now };
    return (bytes - before.bytes) * 8000 / (now - before.at);";

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_sends_as_much_of_a_video_as_arrives() -> Result<()> {
    if !are_wanted("video_rate") {
        return Ok(());
    }
    let stage = Stage::set(Browser::Chrome).await?;
    stage.run(&format!("{KEEP_CONNECTIONS}{SEND}")).await?;
    let mut highest = 0.0;
    until("it sends more", PATIENCE, async || {
        if let Value::Number(rate) = stage.run(MEASURE).await? {
            highest = f64::max(highest, rate.as_f64().unwrap_or_default());
        }
        ensure!(highest > RATE, "{:.0} kbit/s", highest / 1e3);
        Ok(())
    })
    .await?;
    report(&format!("Chrome sends {:.0} kbit/s", highest / 1e3));
    Ok(())
}
