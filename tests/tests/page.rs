//! The page in real browsers: what ends its membership, what does not, and how it comes back.

use anyhow::{Context as _, Result, ensure};
use mesh_native::JoinOptions;
use mesh_native::core::Payload;
use mesh_tests::agents::Native;
use mesh_tests::browser::{Browser, Tab, are_wanted};
use mesh_tests::hub::HubProcess;
use mesh_tests::member::{Member, peers, until_complete};
use mesh_tests::npm;
use mesh_tests::wait::{SOON, until};
use serde_json::{Value, json};

const ROOM: &str = "page";

/// A number that JSON can say and a double cannot hold.
const NANOSECONDS: &str = r#"{"ts":1795835072076000000}"#;

/// Levels of nested JSON: as many as the mesh carries, and more than the page shows.
const DEPTH: usize = 120;

#[tokio::test(flavor = "multi_thread")]
async fn odd_messages_end_no_page() -> Result<()> {
    if !are_wanted("odd messages to a tab") {
        return Ok(());
    }
    let hub = start_hub().await?;
    let native = join(&hub, "native").await?;
    for browser in [Browser::Chrome, Browser::Firefox] {
        let tab = open(browser, &hub, "tab").await?;
        until_complete(&[&native, &tab], SOON).await?;
        let deep = "[".repeat(DEPTH) + &"]".repeat(DEPTH);
        for odd in [NANOSECONDS, &deep] {
            let odd = Payload::Json(odd.to_owned());
            native.agent().broadcast("odd", odd).await?;
        }
        native.broadcast("odd", "after them").await?;
        until("the page shows what came after", SOON, async || {
            let log = tab.text("#messages").await?;
            ensure!(log.contains("after them"), "its log is {log:?}");
            Ok(())
        })
        .await?;
        tab.until_joined().await?;
        tab.request(native.id(), "still here?").await?;
        tab.close().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_that_joins_again_is_a_member_once() -> Result<()> {
    if !are_wanted("Retry in a tab") {
        return Ok(());
    }
    let hub = start_hub().await?;
    let native = join(&hub, "native").await?;
    let tab = open(Browser::Chrome, &hub, "tab").await?;
    until_complete(&[&native, &tab], SOON).await?;
    tab.evaluate("return window.mesh.close()", &[]).await?;
    until_notice(&tab, "has left the mesh").await?;
    tab.window().click("#retry").await?;
    tab.until_joined().await?;
    until_complete(&[&native, &tab], SOON).await?;
    until_members(&hub, 2).await?;
    tab.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_tab_says_so_and_comes_back_as_a_new_agent() -> Result<()> {
    if !are_wanted("an identity used twice") {
        return Ok(());
    }
    let hub = start_hub().await?;
    let tab = open(Browser::Chrome, &hub, "tab").await?;
    let secret = tab
        .evaluate("return [...window.mesh.exportIdentity()]", &[])
        .await?;
    let secret: Vec<u8> = serde_json::from_value(secret)?;
    let newer = Native::join(JoinOptions {
        identity: Some(mesh_native::core::Identity::from_secret(
            secret.as_slice().try_into()?,
        )),
        ..JoinOptions::new(&hub.url(), ROOM, "newer")
    })
    .await?;
    ensure!(newer.id() == tab.id(), "the identity is another");
    until_notice(&tab, "opened elsewhere").await?;
    let button = tab.text("#retry").await?;
    ensure!(button == "Join with a new identity", "the button: {button}");
    until_members(&hub, 1).await?;
    tab.window().click("#retry").await?;
    tab.until_joined().await?;
    let id = tab.evaluate("return window.mesh.id", &[]).await?;
    ensure!(id != json!(newer.id()), "the tab has its old identity");
    until("the newer agent sees it", SOON, async || {
        let peers = peers(&newer).await?;
        ensure!(peers.len() == 1 && json!(peers[0].id) == id, "{peers:?}");
        Ok(())
    })
    .await?;
    tab.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_that_back_leads_to_is_a_member_again() -> Result<()> {
    if !are_wanted("the Back button") {
        return Ok(());
    }
    let hub = start_hub().await?;
    let native = join(&hub, "native").await?;
    // A browser that has little memory keeps no page: one of these it does.
    let mut kept = false;
    for _ in 0..3 {
        kept = kept || go_and_come_back(Browser::Chrome, &hub, &native).await?;
    }
    ensure!(kept, "the page keeps the browser from keeping it");
    // Firefox decides before a page can close its connections, and so keeps none that had any.
    go_and_come_back(Browser::Firefox, &hub, &native).await?;
    Ok(())
}

/// A tab goes to another page, and back to this, where it is a member again. Returns whether the
/// browser had kept the page: then it is the same member.
async fn go_and_come_back(browser: Browser, hub: &HubProcess, native: &Native) -> Result<bool> {
    let elsewhere = format!("http://127.0.0.1:{}/icon.svg", hub.port());
    let tab = open(browser, hub, "tab").await?;
    until_complete(&[native, &tab], SOON).await?;
    tab.evaluate("window.kept = true; return 0", &[]).await?;
    tab.window().goto(&elsewhere).await?;
    until("the tab has left", SOON, async || {
        let left = native.events("peerLeft").await?;
        let left = left.iter().any(|event| event["peer"] == json!(tab.id()));
        ensure!(left, "nobody has left");
        Ok(())
    })
    .await?;
    tab.window().back().await?;
    tab.until_joined().await?;
    let look = "return [window.kept === true, window.mesh.id, window.mesh.name]";
    let look = tab.evaluate(look, &[]).await?;
    let kept = look[0] == true;
    if kept {
        let same = json!([true, tab.id(), tab.name()]);
        ensure!(look == same, "{look} is restored, not {same}");
    }
    until_members(hub, 2).await?;
    let asked = "return window.mesh.request(arguments[0], 'back again')";
    until("the mesh answers it", SOON, async || {
        tab.evaluate(asked, &[json!(native.id())]).await.map(drop)
    })
    .await?;
    tab.close().await?;
    until_members(hub, 1).await?;
    Ok(kept)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_which_a_part_did_not_arrive_says_so_and_loads_again() -> Result<()> {
    if !are_wanted("a page that does not load whole") {
        return Ok(());
    }
    let hub = start_hub().await?;
    let url = hub.page(&format!("room={ROOM}&name=tab"));
    let empty = hub.page("").replace("/?", "/icon.svg?");
    let tab = Tab::load(Browser::Chrome, &empty).await?;
    let shown = "return document.querySelector('#not-loaded')?.checkVisibility(\
                 { visibilityProperty: true })";
    // A module, what loads it again as well, and the package, which the page itself tells of.
    for parts in [
        &["*/format.js"][..],
        &["*/main.js", "*/loading.js"],
        &["*/mesh_wasm_bg.wasm"],
    ] {
        tab.window().block(parts).await?;
        tab.window().goto(&url).await?;
        until("the page says that it is not whole", SOON, async || {
            let notice = tab.evaluate(shown, &[]).await? == true
                || tab.text("#notice").await?.contains("not loaded whole");
            ensure!(notice, "{parts:?} are missing, and it says nothing");
            Ok(())
        })
        .await?;
        tab.window().block(&[]).await?;
        if parts.contains(&"*/loading.js") {
            let reload = "document.querySelector('#not-loaded a').click()";
            tab.evaluate(reload, &[]).await?;
        }
        tab.until_joined().await?;
        until_members(&hub, 1).await?;
        let notice = tab.evaluate(shown, &[]).await?;
        ensure!(notice.is_null(), "it still says so: {notice}");
    }
    tab.close().await
}

/// What axe is asked to look for beyond its usual rules.
const AXE: &str = "return window.axe.run({ rules: { 'target-size': { enabled: true } } })
    .then(({ violations, incomplete }) => [...violations, ...incomplete]
        .map(({ id, nodes }) => [id, ...nodes.map(({ html }) => html)]))";

/// Wide, and as many bytes as a name may have.
const WIDE: &str = "WWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWW";

#[tokio::test(flavor = "multi_thread")]
async fn axe_notices_nothing_on_the_page() -> Result<()> {
    if !are_wanted("axe on the page") {
        return Ok(());
    }
    let axe = npm::root().join("tests/npm/node_modules/axe-core/axe.min.js");
    let axe = std::fs::read_to_string(axe)
        .context("axe is not installed: run `cargo xtask test e2e`, or `npm ci` in tests/npm")?;
    let hub = start_hub().await?;
    let native = join(&hub, "native").await?;
    let twin = join(&hub, "Native").await?;
    let tab = open(Browser::Chrome, &hub, WIDE).await?;
    until_complete(&[&native, &twin, &tab], SOON).await?;
    native.broadcast("news", "a message in the log").await?;
    tab.window().click("#peers .ping").await?;
    tab.window().click("#peers .name").await?;
    tab.window().click("#pair button").await?;
    tab.evaluate(&axe, &[]).await?;
    for size in [(1400, 1000), (500, 900)] {
        tab.window().resize(size.0, size.1).await?;
        for list in ["#tab-peers", "#tab-routes", "#tab-activity"] {
            tab.window().click(list).await?;
            let noticed = tab.evaluate(AXE, &[]).await?;
            ensure!(noticed == json!([]), "{size:?}, {list}: {noticed:#}");
        }
    }
    tab.evaluate("return window.mesh.close()", &[]).await?;
    until_notice(&tab, "has left the mesh").await?;
    let noticed = tab.evaluate(AXE, &[]).await?;
    ensure!(noticed == json!([]), "after leaving: {noticed:#}");
    tab.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_look_the_same_have_their_ids_beside_them() -> Result<()> {
    if !are_wanted("two agents of one name") {
        return Ok(());
    }
    let hub = start_hub().await?;
    let natives = [join(&hub, "Alice").await?, join(&hub, "ALICE").await?];
    let tab = open(Browser::Firefox, &hub, "tab").await?;
    until_complete(&[&natives[0], &natives[1], &tab], SOON).await?;
    for native in &natives {
        native.broadcast("news", "it is me").await?;
        let label = format!("{} · {}", native.name(), native.id().short());
        for list in ["#send-to", "#routes", "#messages", "#activity"] {
            if list == "#activity" {
                tab.window().click("#tab-activity").await?;
            }
            until("the label is there", SOON, async || {
                let text = tab.text(list).await?;
                ensure!(text.contains(&label), "{list} has not {label:?}: {text:?}");
                Ok(())
            })
            .await?;
        }
    }
    tab.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_is_one_tab_stop_and_a_long_name_keeps_the_header_whole() -> Result<()> {
    if !are_wanted("tab stops and the header") {
        return Ok(());
    }
    let hub = start_hub().await?;
    let mut natives = Vec::new();
    for number in 0..8 {
        natives.push(join(&hub, &format!("native-{number}")).await?);
    }
    let query = format!("room={ROOM}&name={WIDE}&k=4");
    let tab = Tab::open(Browser::Chrome, &hub.page(&query)).await?;
    until("all are listed", SOON, async || {
        let rows = "return document.querySelectorAll('#peers > tr').length";
        let rows = tab.evaluate(rows, &[]).await?;
        ensure!(rows == natives.len(), "{rows} rows");
        Ok(())
    })
    .await?;
    let stops = "return [...document.querySelectorAll('#peers button')]
        .filter(({ tabIndex }) => tabIndex === 0).length";
    let stops = tab.evaluate(stops, &[]).await?;
    ensure!(stops == 1, "{stops} tab stops");
    let keys = "const press = (key) => document.activeElement.dispatchEvent(
            new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
        const stop = document.querySelector('#peers button[tabindex=\"0\"]');
        stop.focus();
        // Rows change their places as links open: its row is the first now.
        const first = stop.closest('tr');
        const before = () => first.previousElementSibling;
        while (before()) first.parentElement.append(before());
        for (const key of ['ArrowDown', 'ArrowDown', 'ArrowRight']) press(key);
        const rows = [...document.querySelectorAll('#peers > tr')];
        const row = rows.findIndex((row) => row.contains(document.activeElement));
        return [row, document.activeElement.classList.contains('ping')]";
    let at = tab.evaluate(keys, &[]).await?;
    ensure!(at == json!([2, true]), "the keys lead to {at}");
    tab.window().resize(500, 900).await?;
    let overlaps = "const boxes = ['.where', '#invite', '#state', '.who']
            .map((name) => document.querySelector(name).getBoundingClientRect());
        const apart = (a, b) => a.right <= b.left + 1 || b.right <= a.left + 1
            || a.bottom <= b.top + 1 || b.bottom <= a.top + 1;
        return [boxes.every((a, i) => boxes.every((b, j) => i === j || apart(a, b))),
            document.documentElement.scrollWidth <= innerWidth]";
    let whole = tab.evaluate(overlaps, &[]).await?;
    ensure!(
        whole == json!([true, true]),
        "apart, and no wider than the window: {whole}"
    );
    tab.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_header_fits_a_phone_whatever_it_says() -> Result<()> {
    if !are_wanted("the header on a phone") {
        return Ok(());
    }
    let hub = start_hub().await?;
    let tab = Tab::open(Browser::Chrome, &hub.page("room=outer&name=outer")).await?;
    // No window of Chrome is as narrow as a phone: a frame in one is.
    let frame = "const frame = document.createElement('iframe');
        frame.id = 'phone';
        frame.style.cssText = 'position: fixed; inset: 0; z-index: 99; border: 0; height: 700px';
        frame.src = arguments[0];
        document.body.append(frame)";
    let page = hub.page(&format!("room={WIDE}&name={WIDE}"));
    tab.evaluate(frame, &[json!(page)]).await?;
    until("the page in the frame is in its room", SOON, async || {
        let state = "return document.querySelector('#phone').contentDocument
            .querySelector('#state')?.dataset.state";
        let state = tab.evaluate(state, &[]).await?;
        ensure!(state == "joined", "it is {state}");
        Ok(())
    })
    .await?;
    // In one go, so that the page does not write what is true in between.
    let too_wide = "const frame = document.querySelector('#phone');
        const page = frame.contentDocument;
        const say = (id, text) => { page.getElementById(id).textContent = text; };
        const found = [];
        for (const width of [320, 360, 412]) {
            frame.style.width = `${width}px`;
            for (const state of ['Connecting', 'Joined', 'Hub lost, mesh alive']) {
                for (const members of ['1', '201', '10000']) {
                    say('state-text', state);
                    say('members', members);
                    say('members-word', 'members');
                    const boxes = ['.where', '#invite', '#state', '.who']
                        .map((name) => page.querySelector(name).getBoundingClientRect());
                    const apart = (a, b) => a.right <= b.left + 1 || b.right <= a.left + 1
                        || a.bottom <= b.top + 1 || b.bottom <= a.top + 1;
                    const whole = boxes.every((a, i) => a.left >= 0 && a.right <= width
                        && a.width > 40 && boxes.every((b, j) => i === j || apart(a, b)));
                    const all = page.documentElement.scrollWidth;
                    if (!whole || all > width) found.push([width, state, members, all, whole]);
                }
            }
        }
        return found";
    let too_wide = tab.evaluate(too_wide, &[]).await?;
    ensure!(too_wide == json!([]), "too wide: {too_wide}");
    tab.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_tells_what_both_ends_say_of_a_link() -> Result<()> {
    if !are_wanted("why two agents are not linked, on the page") {
        return Ok(());
    }
    let hub = start_hub().await?;
    let (anna, bert) = (join(&hub, "anna").await?, join(&hub, "bert").await?);
    for browser in [Browser::Chrome, Browser::Firefox] {
        let tab = open(browser, &hub, "tab").await?;
        until_complete(&[&anna, &bert, &tab], SOON).await?;
        let select = format!("#peers [data-peer=\"{}\"] .name", anna.id());
        tab.window().click(&select).await?;
        for (other, about) in [
            (bert.id().to_string(), "anna - bert"),
            (tab.id().to_string(), "anna - tab"),
        ] {
            let choose = "const other = document.querySelector('#pair-other');
                other.value = arguments[0]; return other.value";
            until("the other can be chosen", SOON, async || {
                let chosen = tab.evaluate(choose, &[json!(other)]).await?;
                ensure!(chosen == json!(other), "it is {chosen}");
                Ok(())
            })
            .await?;
            tab.window().click("#pair button").await?;
            until("the findings are shown", SOON, async || {
                let shown = tab.text("#pair .findings").await?;
                let words = format!("{about}: linked: both ends say so");
                ensure!(shown.contains(&words), "it shows {shown:?}");
                Ok(())
            })
            .await?;
            let outcomes = "return [...document.querySelectorAll('#pair .findings li')]
                .map(({ dataset }) => dataset.outcome)";
            let outcomes = tab.evaluate(outcomes, &[]).await?;
            ensure!(outcomes == json!(["ok", "ok", "ok"]), "{outcomes}");
        }
        tab.close().await?;
    }
    Ok(())
}

async fn start_hub() -> Result<HubProcess> {
    let hub = HubProcess::start().await?;
    hub.require_page().await?;
    Ok(hub)
}

async fn join(hub: &HubProcess, name: &str) -> Result<Native> {
    Native::join(JoinOptions::new(&hub.url(), ROOM, name)).await
}

async fn open(browser: Browser, hub: &HubProcess, name: &str) -> Result<Tab> {
    Tab::open(browser, &hub.page(&format!("room={ROOM}&name={name}"))).await
}

async fn until_notice(tab: &Tab, words: &str) -> Result<()> {
    until("the page tells it", SOON, async || {
        let notice = tab.text("#notice").await?;
        ensure!(notice.contains(words), "its notice is {notice:?}");
        Ok(())
    })
    .await
}

async fn until_members(hub: &HubProcess, count: usize) -> Result<()> {
    until("the hub has so many members", SOON, async || {
        let health: Value = hub.health().await?;
        ensure!(health["hub"]["members"] == count, "{health}");
        Ok(())
    })
    .await
}
