//! Video between a tab and a native agent, both ways, while messages go over the same link.
//!
//! The video is a canvas of the tab: what the native agent records of it plays back to the tab
//! later. `MESH_MEDIA_SECONDS=30` makes each part longer.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mesh_native::core::{Event, PeerId, TRACKS_MAX, TrackKind};
use mesh_native::{Agent, Events, JoinOptions, RemoteTrack};
use mesh_tests::agents::AgentProcess;
use mesh_tests::browser::{Browser, Tab, are_wanted};
use mesh_tests::hub::HubProcess;
use mesh_tests::page::{KEEP_CONNECTIONS, Stage};
use mesh_tests::report;
use mesh_tests::wait::{SOON, until};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How long a video goes without a picture when the link gets fresh keys, at most.
const GAP_MAX: Duration = Duration::from_millis(200);

/// Messages each way a second, beside the video.
const MESSAGES_A_SECOND: u32 = 100;

/// Pictures a second of the canvas.
const PICTURES: f64 = 30.0;

/// Joins, answers requests, keeps what it is told of tracks, and draws.
const BEGIN: &str = "
    const rate = { messagesPerSecond: 400, messagesBurst: 200 };
    const mesh = window.mesh = await Mesh.join({ ...options, ...rate });
    window.tracks = [];
    window.ended = [];
    const linked = new Promise((resolve) => (async () => {
        for await (const event of mesh.events()) {
            if (event.type === 'linkOpened') resolve();
            if (event.type === 'message' && event.wantsReply) mesh.reply(event, event.payload);
            if (event.type === 'track') window.tracks.push(event);
            if (event.type === 'trackEnded') window.ended.push(event.id);
        }
    })());
    window.drawing = (colour) => {
        const canvas = document.createElement('canvas');
        [canvas.width, canvas.height] = [320, 240];
        const context = canvas.getContext('2d');
        let turn = 0;
        setInterval(() => {
            turn += 1;
            context.fillStyle = colour;
            context.fillRect(0, 0, 320, 240);
            context.fillStyle = 'white';
            context.fillRect((turn * 5) % 300, 100, 20, 20);
            context.fillText(String(turn), 10, 20);
        }, 33);
        return canvas.captureStream(30).getVideoTracks()[0];
    };
    await linked;
    return mesh.id;";

/// The last track plays in a `<video>`, whose pictures are counted.
const PLAY: &str = "
    const { stream, id } = window.tracks.at(-1);
    const video = window.video = document.createElement('video');
    Object.assign(video, { muted: true, autoplay: true, srcObject: stream });
    document.body.append(video);
    window.pictures = { count: 0, gap: 0, last: 0, played: 0 };
    const count = () => {
        const now = performance.now(), { last } = window.pictures;
        if (last) window.pictures.gap = Math.max(window.pictures.gap, now - last);
        window.pictures.last = now;
        window.pictures.count += 1;
        video.requestVideoFrameCallback(count);
    };
    video.requestVideoFrameCallback(count);
    video.play();
    return id;";

/// Pictures that were shown, and the longest time without one, in ms.
const SHOWN: &str = "
    const { count, gap, last } = window.pictures;
    return [count, Math.max(gap, performance.now() - last)];";

/// Pictures that the tab's connections have decoded.
const DECODED: &str = "
    let decoded = 0;
    for (const connection of window.connections) {
        for (const entry of (await connection.getStats()).values()) {
            const isVideo = entry.type === 'inbound-rtp' && entry.kind === 'video';
            if (isVideo) decoded += entry.framesDecoded;
        }
    }
    return decoded;";

fn seconds() -> Duration {
    let set = std::env::var("MESH_MEDIA_SECONDS").ok();
    Duration::from_secs(set.and_then(|set| set.parse().ok()).unwrap_or(5))
}

/// A tab and a native agent that are linked.
struct Pair {
    stage: Stage,
    events: Events,
    tab: PeerId,
    /// The canvases that the agent has had.
    had: Vec<String>,
}

impl Pair {
    async fn linked() -> Result<Self> {
        let stage = Stage::set(Browser::Chrome).await?;
        let events = stage.agent.events();
        let tab = stage.run(&format!("{KEEP_CONNECTIONS}{BEGIN}")).await?;
        let tab = tab.as_str().context("its id")?.parse()?;
        until("the agent is linked", SOON, async || {
            let peers = stage.agent.peers()?;
            ensure!(peers.iter().any(|peer| peer.id == tab && peer.direct));
            Ok(())
        })
        .await?;
        Ok(Self {
            stage,
            events,
            tab,
            had: Vec::new(),
        })
    }

    fn agent(&self) -> &Agent {
        &self.stage.agent
    }

    /// The tab sends a canvas, and the agent gets it.
    async fn canvas(&mut self) -> Result<RemoteTrack> {
        let send = "window.sender = await window.mesh.sendTrack(agent, window.drawing('teal'));
            return window.sender.id;";
        let id = self.stage.run(send).await?;
        let id = id.as_str().context("its id")?;
        loop {
            let event = timeout(SOON, self.events.next())
                .await?
                .context("it goes on")?;
            if let Event::Track {
                peer,
                id: told,
                kind,
            } = event
            {
                let expected = (self.tab, TrackKind::Video);
                ensure!((peer, kind) == expected, "{peer} {kind:?}");
                // One before it is told again if the link was away for a moment, as on a machine
                // that does much else.
                if self.had.contains(&told) {
                    continue;
                }
                ensure!(told == id, "{told} in place of {id}");
                let track = self.agent().remote_track(peer, &told);
                self.had.push(told);
                return track.context("it goes on");
            }
        }
    }

    /// Both ends ask each other all the time. Returns 95 of 100 round trips, in ms, as the agent
    /// sees them.
    async fn ask(&self, time: Duration) -> Result<f64> {
        let mut pace = interval(Duration::from_secs(1) / MESSAGES_A_SECOND);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let began = Instant::now();
        let mut asked = Vec::new();
        while began.elapsed() < time {
            pace.tick().await;
            let request = self.agent().start_request(self.tab, "on", None).await?;
            let at = Instant::now();
            asked.push(tokio::spawn(async move {
                request.wait().await.map(|_| at.elapsed())
            }));
        }
        let mut took = Vec::new();
        for asked in asked {
            took.push(asked.await??.as_secs_f64() * 1e3);
        }
        took.sort_by(f64::total_cmp);
        Ok(took[took.len() * 95 / 100])
    }

    /// Gives the link fresh keys, and waits until it has them.
    async fn rotate(&self) -> Result<()> {
        let before = self.agent().stats()?.links.rotated;
        self.agent().rotate_keys()?;
        until("the link has fresh keys", SOON, async || {
            let rotated = self.agent().stats()?.links.rotated;
            ensure!(rotated > before, "it has the old ones");
            Ok(())
        })
        .await
    }
}

/// What has come of a video.
#[derive(Default)]
struct Seen {
    pictures: u32,
    gap: Duration,
}

/// Reads a track until it is told to stop.
async fn watch(track: &RemoteTrack, stop: &tokio::sync::Notify) -> Seen {
    let mut seen = Seen::default();
    let mut last: Option<Instant> = None;
    loop {
        let packet = tokio::select! {
            packet = track.read_rtp() => packet,
            () = stop.notified() => return seen,
        };
        let Some(packet) = packet else {
            return seen;
        };
        if packet.header.marker {
            seen.pictures += 1;
            let now = Instant::now();
            seen.gap = seen.gap.max(last.map_or(Duration::ZERO, |last| now - last));
            last = Some(now);
        }
    }
}

fn file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("mesh-media-{}-{name}", std::process::id()))
}

#[tokio::test(flavor = "multi_thread")]
async fn video_goes_both_ways_beside_messages_while_keys_are_rotated() -> Result<()> {
    if !are_wanted("video between a tab and a native agent") {
        return Ok(());
    }
    let (mut pair, time) = (Pair::linked().await?, seconds());
    let quiet = pair.ask(time).await?;

    let canvas = pair.canvas().await?;
    let stop = tokio::sync::Notify::new();
    let busy = async {
        let asked = pair.ask(time).await;
        stop.notify_one();
        asked
    };
    let rotated = async {
        tokio::time::sleep(time / 2).await; // In between.
        pair.rotate().await
    };
    let (seen, up, rotated) = tokio::join!(watch(&canvas, &stop), busy, rotated);
    rotated?;
    let up = up?;
    report(&format!(
        "tab to native: {} pictures in {time:?}, at most {:?} between two, {} packets dropped; \
         p95 of requests {quiet:.1} ms without, {up:.1} ms with",
        seen.pictures,
        seen.gap,
        canvas.dropped()
    ));
    let least = (time.as_secs_f64() * PICTURES / 2.0) as u32;
    ensure!(seen.pictures >= least, "{} pictures", seen.pictures);
    ensure!(seen.gap <= GAP_MAX, "{:?} without a picture", seen.gap);

    let recording = file("canvas.ivf");
    let recorded = timeout(time + Duration::from_secs(2), canvas.record(&recording)).await;
    ensure!(recorded.is_err(), "the track goes on: {recorded:?}");
    pair.stage.run("await window.sender.end();").await?;

    // Other tests begin and end meanwhile: each direction is compared with what was just before it.
    let quiet_again = pair.ask(time).await?;
    let track = pair.agent().send_track(pair.tab, TrackKind::Video)?;
    pair.stage.until("window.tracks.length", json!(1)).await?;
    ensure!(pair.stage.run(PLAY).await? == json!(track.id()));
    let playing = async {
        while track.play(&recording).await? > 0 {}
        anyhow::Ok(())
    };
    let playing = tokio::select! {
        played = playing => played.and(Err(anyhow::anyhow!("it ended"))),
        shown = shown(&pair, time) => shown,
    };
    let (pictures, gap, down) = playing?;
    report(&format!(
        "native to tab: {pictures} pictures shown in {time:?}, at most {gap:.0} ms between two; \
         p95 of requests {quiet_again:.1} ms without, {down:.1} ms with"
    ));
    ensure!(pictures >= f64::from(least), "{pictures} pictures");
    ensure!(
        gap <= GAP_MAX.as_secs_f64() * 1e3,
        "{gap:.0} ms without a picture"
    );
    // On a machine that is busy both are long, and a millisecond is little.
    let doubled = |with: f64, without: f64| with >= 2.0 * without.max(5.0);
    ensure!(
        !doubled(up, quiet) && !doubled(down, quiet_again),
        "p95 was {quiet:.1} ms, {up:.1} ms, {quiet_again:.1} ms and {down:.1} ms"
    );
    std::fs::remove_file(recording)?;
    Ok(())
}

/// What the tab shows of the video, while the keys are rotated: pictures that were shown, the
/// longest time without one, in ms, and the round trips of requests.
async fn shown(pair: &Pair, time: Duration) -> Result<(f64, f64, f64)> {
    let stage = &pair.stage;
    stage
        .until("window.pictures.count > 15", json!(true))
        .await?;
    stage
        .run("Object.assign(window.pictures, { count: 0, gap: 0 });")
        .await?;
    let rotated = async {
        tokio::time::sleep(time / 2).await; // In between.
        pair.rotate().await
    };
    let (asked, rotated) = tokio::join!(pair.ask(time), rotated);
    rotated?;
    let (count, gap): (f64, f64) = serde_json::from_value(stage.run(SHOWN).await?)?;
    let decoded = stage.run(DECODED).await?;
    ensure!(
        decoded.as_f64() > Some(0.0),
        "what is shown was decoded: {decoded}"
    );
    let ids = stage
        .run("return window.tracks.length + window.ended.length;")
        .await?;
    ensure!(ids == json!(1), "the same track, the same stream: {ids}");
    Ok((count, gap, asked?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_track_of_a_tab_is_muted_replaced_and_ended() -> Result<()> {
    if !are_wanted("a track that is muted, replaced and ended") {
        return Ok(());
    }
    let mut pair = Pair::linked().await?;
    let canvas = pair.canvas().await?;
    let packet = async || {
        let packet = timeout(SOON, canvas.read_rtp()).await?;
        packet.context("the track goes on")
    };
    packet().await?;
    pair.stage.run("await window.sender.mute();").await?;
    let silence = async {
        // What was on its way comes yet; then nothing.
        while timeout(Duration::from_millis(500), canvas.read_rtp())
            .await
            .is_ok()
        {}
    };
    timeout(SOON, silence)
        .await
        .context("a muted track sends")?;
    pair.stage.run("await window.sender.mute(false);").await?;
    packet().await?;
    let replace = "const other = window.drawing('crimson');
        await window.sender.replace(other);
        window.sender.kind;
        return (await told(window.sender.replace('camera'))).code;";
    ensure!(pair.stage.run(replace).await? == json!("track"));
    packet().await?;
    pair.stage
        .run("await window.sender.end(); await window.sender.end();")
        .await?;
    let ended = async { while canvas.read_rtp().await.is_some() {} };
    timeout(SOON, ended).await.context("it goes on")?;
    let code = pair
        .stage
        .run("return (await told(window.sender.mute())).code;")
        .await?;
    ensure!(code == json!("track-ended"));
    // The section that it leaves serves the next.
    let next = pair.canvas().await?;
    timeout(SOON, next.read_rtp()).await?.context("it begins")?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_without_tracks_has_no_section_of_any() -> Result<()> {
    if !are_wanted("a link without tracks") {
        return Ok(());
    }
    let mut pair = Pair::linked().await?;
    let sections = "return window.connections.at(-1).remoteDescription.sdp.split('\\nm=').slice(1)
        .map((section) => section.split(' ')[0]);";
    ensure!(pair.stage.run(sections).await? == json!(["application"]));
    let _canvas = pair.canvas().await?;
    let both = json!(["application", "video"]);
    let sections = sections.replace("return ", "");
    pair.stage
        .until(sections.trim_end_matches(';'), both)
        .await?;
    let stranger = "const stranger = 'ab'.repeat(32);
        const sent = window.mesh.sendTrack(stranger, window.drawing('navy'));
        const { code, message } = await told(sent);
        return { code, message };";
    let refused = pair.stage.run(stranger).await?;
    ensure!(refused["code"] == "not-linked", "{refused}");
    let message = refused["message"].as_str().unwrap_or_default();
    ensure!(message.contains("neighbours only"), "{message}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_sends_a_picture_to_the_chosen_agent_and_shows_what_comes() -> Result<()> {
    if !are_wanted("pictures on the page") {
        return Ok(());
    }
    for browser in [Browser::Chrome, Browser::Firefox] {
        page_sends_and_shows(browser).await?;
    }
    Ok(())
}

async fn page_sends_and_shows(browser: Browser) -> Result<()> {
    let hub = HubProcess::start().await?;
    hub.require_page().await?;
    let options = JoinOptions::new(&hub.url(), "page", "native");
    let (agent, mut events) = Agent::join_with_events(options).await?;
    let tab = Tab::open(browser, &hub.page("room=page&name=tab")).await?;
    let looks = async |what: &str, script: &str| {
        until(what, SOON, async || {
            let seen = tab.evaluate(script, &[json!(agent.id())]).await?;
            ensure!(seen == json!(true), "it is {seen}");
            Ok(())
        })
        .await
    };
    let press =
        "const row = document.querySelector(`#peers tr[data-peer='${arguments[0]}'] button`);
        if (window.meshState.selected !== arguments[0]) row?.click();
        const button = document.querySelector('#tracks [data-source=picture]');
        if (button?.checkVisibility() !== true) return button?.outerHTML ?? 'none';
        button.click();
        return true;";
    looks("the button for a linked agent", press).await?;
    let (peer, id) = track_of(&mut events).await?;
    let track = agent.remote_track(peer, &id).context("it goes on")?;
    timeout(SOON, track.read_rtp())
        .await?
        .context("it begins")?;
    let _sent = agent.send_track(peer, TrackKind::Video)?;
    let shown =
        "return document.querySelector('#tracks video')?.srcObject?.getTracks().length === 1";
    looks("a video for what comes", shown).await?;
    let stop = "document.querySelector('#tracks [data-sends]').click(); return true";
    looks("the button that stops it", stop).await?;
    timeout(SOON, async { while track.read_rtp().await.is_some() {} }).await?;
    tab.close().await
}

/// The track that an agent is told of next.
async fn track_of(events: &mut Events) -> Result<(PeerId, String)> {
    loop {
        let event = timeout(SOON, events.next()).await?.context("it goes on")?;
        if let Event::Track { peer, id, .. } = event {
            return Ok((peer, id));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commanded_agent_records_a_track_and_plays_what_it_recorded() -> Result<()> {
    let hub = HubProcess::start().await?;
    let options = JoinOptions::new(&hub.url(), "files", "native");
    let (agent, mut events) = Agent::join_with_events(options).await?;
    let process = AgentProcess::join(&hub.url(), "files", "recorder", &[]).await?;
    process
        .line("a link", |line| line["type"] == "linkOpened")
        .await?;
    let recorder = agent.peers()?.first().context("it is there")?.id;

    // Opus of 20 ms, each packet with its number.
    let sound = |n: u8| -> bytes::Bytes { vec![0b1111_1000, n, n].into() };
    let track = agent.send_track(recorder, TrackKind::Audio)?;
    let told = process
        .line("the track", |line| line["type"] == "track")
        .await?;
    ensure!(
        told["id"] == track.id() && told["kind"] == "audio",
        "{told}"
    );
    let recording = file("sound.ogg");
    let record = json!({"type": "record", "from": "native", "id": track.id(), "file": recording});
    ensure!(process.command(record.clone()).await?["type"] == "result");
    timeout(SOON, track.ready()).await??;
    let mut pace = interval(Duration::from_millis(20));
    for n in 0..100 {
        pace.tick().await;
        track
            .write_sample(sound(n), Duration::from_millis(20))
            .await?;
    }
    track.end();
    let recorded = process
        .line("the end", |line| line["type"] == "recorded")
        .await?;
    // RTP repeats nothing that is lost, the last packet before the end least of all.
    let frames = recorded["frames"].as_u64().context("they are counted")?;
    ensure!((95..=100).contains(&frames), "{recorded}");

    let play = json!({"type": "play", "to": "native", "file": recording});
    let playing = process.command(play).await?;
    let (peer, id) = track_of(&mut events).await?;
    ensure!(
        playing["id"] == id.as_str() && peer == recorder,
        "{playing}"
    );
    let track = agent.remote_track(peer, &id).context("it goes on")?;
    let mut heard = Vec::new();
    while let Some(packet) = timeout(SOON, track.read_rtp()).await? {
        heard.push(packet.payload);
    }
    let in_order = heard.is_sorted_by_key(|packet| packet[1]);
    let known = heard.iter().all(|packet| *packet == sound(packet[1]));
    ensure!(
        in_order && known && heard.len() as u64 + 5 >= frames,
        "{} packets of {frames}",
        heard.len()
    );
    let played = process
        .line("the end", |line| line["type"] == "played")
        .await?;
    ensure!(played["frames"] == frames, "{played}");

    refuses_what_it_cannot_do(&process, record, &recording).await?;
    std::fs::remove_file(recording)?;
    Ok(())
}

/// Each mistake has a code that names it.
async fn refuses_what_it_cannot_do(
    process: &AgentProcess,
    record: Value,
    recording: &std::path::Path,
) -> Result<()> {
    for (command, code) in [
        (record, "unknown-track"),
        (json!({"type": "endTrack", "id": "none"}), "unknown-track"),
        (
            json!({"type": "play", "to": "native", "file": "/no/such.ivf"}),
            "media-file",
        ),
        (
            json!({"type": "play", "to": "native", "file": "film.mp4"}),
            "media-file",
        ),
        (
            json!({"type": "play", "to": "ab".repeat(32), "file": recording}),
            "not-linked",
        ),
    ] {
        let line = process.command(command).await?;
        ensure!(line["code"] == code, "{line}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn video_between_two_agents_of_a_page_plays_on_while_keys_are_rotated() -> Result<()> {
    if !are_wanted("video between two agents of a page") {
        return Ok(());
    }
    let pair = Pair::linked().await?;
    let stage = &pair.stage;
    let begin = "const other = window.other = await Mesh.join({ ...options, name: 'other' });
        (async () => {
            for await (const event of other.events()) {
                if (event.type === 'track') window.tracks.push(event);
                if (event.type === 'trackEnded') window.ended.push(event.id);
            }
        })();
        window.isLinked = () => other.peers().some(({ id, direct }) => direct && id === mesh.id);
        window.send = () => window.mesh.sendTrack(other.id, window.drawing('olive'));";
    stage
        .run(&begin.replace("=== mesh.id", "=== window.mesh.id"))
        .await?;
    stage.until("window.isLinked()", json!(true)).await?;
    stage.run("window.sender = await window.send();").await?;
    stage.until("window.tracks.length", json!(1)).await?;
    stage.run(PLAY).await?;
    stage
        .until("window.pictures.count > 15", json!(true))
        .await?;
    stage
        .run("Object.assign(window.pictures, { count: 0, gap: 0 }); window.mesh.rotateKeys();")
        .await?;
    // Its links to the other and to the native agent.
    let links = "[window.mesh.stats().links.rotated, window.mesh.stats().links.rotationsFailed]";
    stage.until(links, json!([2, 0])).await?;
    stage
        .until("window.pictures.count > 90", json!(true))
        .await?;
    let (count, gap): (f64, f64) = serde_json::from_value(stage.run(SHOWN).await?)?;
    report(&format!(
        "tab to tab: at most {gap:.0} ms between two of {count} pictures"
    ));
    ensure!(
        gap <= GAP_MAX.as_secs_f64() * 1e3,
        "{gap:.0} ms without a picture"
    );
    ensure!(
        stage
            .run("return window.tracks.length + window.ended.length;")
            .await?
            == json!(1)
    );
    stage.run("await window.sender.end();").await?;
    stage.until("window.ended.length", json!(1)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_sends_as_many_tracks_as_it_may_both_ways() -> Result<()> {
    if !are_wanted("many tracks of a tab") {
        return Ok(());
    }
    let mut pair = Pair::linked().await?;
    let mut natives = Vec::new();
    for _ in 0..TRACKS_MAX {
        natives.push(pair.agent().send_track(pair.tab, TrackKind::Video)?);
    }
    let begin = "for (let n = 0; n < 8; n += 1) {
            await window.mesh.sendTrack(agent, window.drawing('teal'));
        }
        return (await told(window.mesh.sendTrack(agent, window.drawing('teal')))).code;";
    ensure!(pair.stage.run(begin).await? == json!("too-many-tracks"));
    let mut ids = std::collections::BTreeSet::new();
    while ids.len() < usize::from(TRACKS_MAX) {
        ids.insert(track_of(&mut pair.events).await?.1);
    }
    pair.stage
        .until("window.tracks.length", json!(TRACKS_MAX))
        .await?;
    for id in &ids {
        let track = pair
            .agent()
            .remote_track(pair.tab, id)
            .context("it goes on")?;
        timeout(SOON, track.read_rtp())
            .await?
            .context("it begins")?;
    }
    let size = "const { localDescription, remoteDescription } = window.connections.at(-1);
        return [localDescription.type, localDescription.sdp.length, remoteDescription.sdp.length];";
    report(&format!(
        "descriptions of the tab and the agent: {}",
        pair.stage.run(size).await?
    ));
    pair.rotate().await
}
