import assert from "node:assert/strict";
import { test } from "node:test";
import { explainFailure } from "./failures.js";
import { formatBytes, formatLoss, formatMs, formatWay, humanReason, rttClass } from "./format.js";
import { inviteLink, readParams } from "./params.js";
import { PREVIEW_CHARS, previewPayload } from "./payload.js";
import { MAX_ACTIVITY, MAX_MESSAGES, initialState, labelOf, reduce } from "./state.js";

const SELF = "aa".repeat(32);
const NEAR = "bb".repeat(32);
const FAR = "cc".repeat(32);

const start = () => initialState({ room: "demo", name: "tab-1", signaling: "ws://hub:9600/signal", now: 0 });

/** @param {any[]} events @param {any} [from] */
const run = (events, from = start()) => events.reduce((state, event) => reduce(state, { now: 1000, ...event }), from);

const entered = { type: "page/entered", id: SELF, name: "tab-1", room: "demo" };
const joined = { type: "joined", room: "demo", members: 3 };
const inMesh = () => run([entered, joined, { type: "peerJoined", peer: NEAR, name: "near" }, { type: "peerJoined", peer: FAR, name: "far" }]);

const snapshot = (change = {}) => ({
  type: "page/snapshot",
  peers: [
    { id: FAR, name: "far", direct: false, hops: 2, nextHop: NEAR, rttMs: null, inHub: false },
    { id: NEAR, name: "near", direct: true, hops: 1, nextHop: NEAR, rttMs: 4, inHub: false },
  ],
  routes: [
    { destination: NEAR, name: "near", nextHop: NEAR, hops: 1, path: [SELF, NEAR] },
    { destination: FAR, name: "far", nextHop: NEAR, hops: 2, path: [SELF, NEAR, FAR] },
  ],
  topology: {
    self: SELF,
    nodes: [{ id: SELF, name: "tab-1" }, { id: NEAR, name: "near" }, { id: FAR, name: "far" }],
    links: [{ source: SELF, target: NEAR, rttMs: 4 }, { source: NEAR, target: FAR, rttMs: null }],
  },
  stats: {
    sent: 1, delivered: 2, forwarded: 3, broadcasts: 4, framesIn: 5, framesOut: 6, bytesIn: 1000, bytesOut: 8,
    links: { open: 1, negotiating: 0, wanted: 2 }, lost: { "no-route": 2, ttl: 0 }, rejected: { "invalid-signature": 1 },
  },
  ...change,
});

const message = (change = {}) => ({
  type: "message", id: "m1", from: FAR, name: "far", topic: null, payload: "hi", hops: 2, latencyMs: 7.5,
  delivery: "reliable", wantsReply: false, ...change,
});

test("joining goes from connecting to joined with its members", () => {
  assert.equal(start().phase, "connecting");
  const state = run([entered, joined]);
  assert.equal(state.phase, "joined");
  assert.equal(state.self, SELF);
  assert.equal(state.members, 4, "three others");
  // The others are told one by one, and were counted already.
  const told = ["a", "b", "c"].map((peer) => ({ type: "peerJoined", peer, name: peer }));
  assert.equal(run(told, state).members, 4);
});

test("a peer that joins twice counts once, and one that leaves twice is gone once", () => {
  const alone = run([entered, { ...joined, members: 0 }]);
  const join = { type: "peerJoined", peer: NEAR, name: "near" };
  const leave = { type: "peerLeft", peer: NEAR, name: "near" };
  assert.equal(run([join, join], alone).members, 2);
  assert.equal(run([join, leave, leave], alone).members, 1);
});

test("who leaves is no longer selected, hovered or pinged", () => {
  const looking = run([{ type: "page/select", id: FAR }, { type: "page/hover", id: FAR }, { type: "page/pinged", peer: FAR }], inMesh());
  const state = run([{ type: "peerLeft", peer: FAR, name: "far" }], looking);
  assert.deepEqual([state.selected, state.hovered, state.pings], [null, null, {}]);
});

test("losing the hub keeps the mesh, moves the retry, and is noted once", () => {
  const lost = run([{ type: "signalingLost", reason: "closed", retryInMs: 2000 }, { type: "signalingLost", reason: "refused", retryInMs: 4000, now: 3000 }], inMesh());
  assert.equal(lost.phase, "hub-lost");
  assert.deepEqual(lost.hub, { reason: "refused", retryAt: 7000 });
  assert.equal(lost.activity.filter((entry) => entry.text.startsWith("The hub is gone")).length, 1);
  assert.equal(run([message()], lost).messages.length, 1);
  const back = run([{ type: "signalingRestored" }], lost);
  assert.deepEqual([back.phase, back.hub], ["joined", null]);
});

test("a hub lost while still joining does not pretend to be in a mesh", () => {
  assert.equal(run([{ type: "signalingLost", reason: "closed", retryInMs: 1 }]).phase, "connecting");
});

test("a failed join tells what to do, and retrying starts afresh", () => {
  const failure = explainFailure(Object.assign(new Error("no answer"), { code: "signaling-unreachable" }), "ws://hub:9600/signal");
  const failed = run([{ type: "page/failed", failure }]);
  assert.equal(failed.phase, "failed");
  assert.match(failed.failure.help, /ws:\/\/hub:9600\/signal/);
  assert.equal(failed.failure.command, "mesh up");
  const again = run([{ type: "page/connecting" }], failed);
  assert.deepEqual([again.phase, again.failure, again.members], ["connecting", null, 0]);
});

test("leaving keeps the log and says so", () => {
  const state = run([message(), { type: "left", failure: explainFailure({ code: "left" }, "ws://hub") }], inMesh());
  assert.equal(state.phase, "failed");
  assert.equal(state.failure.code, "left");
  assert.equal(state.messages.length, 1);
});

test("an unknown failure shows the mesh's own words; a code is no way into Object.prototype", () => {
  assert.equal(explainFailure(new Error("odd"), "ws://hub").detail, "odd");
  for (const [code, retry] of [["not-a-hub", "join"], ["url", "reload"], ["origin-refused", "join"]]) {
    const failure = explainFailure({ code, message: "the mesh's own words" }, "ws://hub");
    assert.notEqual(failure.title, "Joining the mesh failed", code);
    assert.deepEqual([failure.retry, failure.detail], [retry, "the mesh's own words"]);
  }
  assert.match(explainFailure({ code: "origin-refused" }, "ws://hub").command ?? "", /--allow-origin/);
  assert.equal(explainFailure({ code: "constructor", message: "m" }, "ws://hub").title, "Joining the mesh failed");
  assert.equal(explainFailure("a string", "ws://hub").detail, "a string");
});

test("messages keep author, hops, latency and whom they were for", () => {
  const [direct, topical] = run([message(), message({ id: "m2", topic: "weather", from: NEAR, name: "" })], inMesh()).messages;
  assert.deepEqual(direct.peer, { id: FAR, name: "far" });
  assert.deepEqual([direct.hops, direct.latencyMs, direct.topic, direct.direction], [2, 7.5, null, "in"]);
  assert.deepEqual([topical.topic, topical.peer.name], ["weather", "near"]);
});

test("the log keeps the newest 500, with keys that never repeat", () => {
  const state = run(Array.from({ length: MAX_MESSAGES + 20 }, (_, i) => message({ id: `m${i}` })), inMesh());
  assert.equal(state.messages.length, MAX_MESSAGES);
  assert.equal(state.messages[0].id, "m20");
  assert.equal(new Set(state.messages.map((entry) => entry.key)).size, MAX_MESSAGES);
});

test("activity is bounded too", () => {
  const state = run(Array.from({ length: MAX_ACTIVITY + 5 }, () => ({ type: "linkClosed", peer: NEAR, reason: "x" })), inMesh());
  assert.equal(state.activity.length, MAX_ACTIVITY);
});

const sent = { type: "page/sent", id: "s1", to: FAR, topic: null, payload: "yo", delivery: "acknowledged" };

test("a sent message is settled by its acknowledgement", () => {
  const [entry] = run([sent, { type: "delivered", id: "s1", to: FAR, roundTripMs: 12 }], inMesh()).messages;
  assert.deepEqual([entry.status, entry.roundTripMs, entry.peer.name], ["delivered", 12, "far"]);
});

test("an acknowledgement told before send() returned is not lost", () => {
  const state = run([{ type: "delivered", id: "s1", to: FAR, roundTripMs: 1 }, sent], inMesh());
  assert.equal(state.messages[0].status, "delivered");
  assert.deepEqual(state.outcomes, {});
});

test("outcomes of messages this page never sent do not pile up", () => {
  const state = run(Array.from({ length: 300 }, (_, i) => ({ type: "delivered", id: `x${i}`, to: FAR, roundTripMs: 1 })), inMesh());
  assert.equal(Object.keys(state.outcomes).length, 100);
});

test("a failed delivery says why and where", () => {
  const [entry] = run([sent, { type: "deliveryFailed", id: "s1", to: FAR, reason: "no-route", at: NEAR }], inMesh()).messages;
  assert.deepEqual([entry.status, entry.reason, entry.failedAt], ["failed", "no-route", { id: NEAR, name: "near" }]);
});

test("an answered request is marked on what came in, not on what went out under the same id", () => {
  const state = run([message({ id: "s1", wantsReply: true }), sent, { type: "page/replied", id: "s1" }], inMesh());
  assert.deepEqual(state.messages.map((entry) => entry.status), ["answered", "sent"]);
});

test("pings wait, answer, fail", () => {
  const waiting = run([{ type: "page/pinged", peer: FAR }], inMesh());
  assert.equal(waiting.pings[FAR].status, "waiting");
  assert.equal(run([{ type: "page/pong", peer: FAR, roundTripMs: 9 }], waiting).pings[FAR].roundTripMs, 9);
  assert.equal(run([{ type: "page/pingFailed", peer: FAR, reason: "deadline" }], waiting).pings[FAR].reason, "deadline");
});

test("rejections and missed events leave a trace", () => {
  const state = run([{ type: "rejected", via: NEAR, author: FAR, reason: "replayed" }, { type: "lagged", missed: 7 }], inMesh());
  assert.equal(state.missed, 7);
  const warnings = state.activity.filter((entry) => entry.level === "warn");
  assert.match(warnings[0].text, /signed far .* over near/);
});

test("a snapshot is sorted by distance, and this tab's own links are marked", () => {
  const { snapshot: seen, members } = run([snapshot()], inMesh());
  assert.equal(members, 3);
  assert.deepEqual(seen.peers.map((peer) => peer.name), ["near", "far"]);
  assert.deepEqual(seen.graph.links.map(({ rttMs, own }) => [rttMs, own]), [[4, true], [null, false]]);
  assert.deepEqual(seen.graph.nodes.map((node) => node.hops), [0, 1, 2]);
});

test("a link over a TURN server is marked, if it is this tab's own", () => {
  const way = { local: "relay", remote: "host", relayed: true };
  const { peers } = snapshot();
  const relayed = peers.map((peer) => (peer.direct ? { ...peer, path: way } : peer));
  const { snapshot: seen } = run([snapshot({ peers: relayed })], inMesh());
  assert.deepEqual(seen.graph.links.map((link) => link.relayed), [true, false]);
  assert.equal(formatWay(seen.peers[0].way), "over TURN, relay to host");
});

test("what a link loses is told once it is known", () => {
  const [far, near] = [{ id: FAR, name: "far", direct: false }, { id: NEAR, name: "near", direct: true, loss: 0.166 }];
  const { peers } = run([snapshot({ peers: [far, near] })], inMesh()).snapshot;
  const losses = Object.fromEntries(peers.map(({ id, loss }) => [id, formatLoss(loss)]));
  assert.deepEqual(losses, { [FAR]: null, [NEAR]: "17 % lost" });
  assert.deepEqual([0, 0.004, 1].map(formatLoss), ["0 % lost", "under 1 % lost", "100 % lost"]);
});

test("a path goes from this tab to its destination", () => {
  const { paths } = run([snapshot()], inMesh()).snapshot.graph;
  assert.deepEqual(paths.get(NEAR), [SELF, NEAR]);
  assert.deepEqual(paths.get(FAR), [SELF, NEAR, FAR]);
});

test("counters are numbers, and only reasons that happened are told", () => {
  const { stats } = run([snapshot()], inMesh()).snapshot;
  assert.equal(stats.bytesIn, 1000);
  assert.deepEqual(stats.lost, { "no-route": 2 });
  assert.deepEqual(stats.rejected, { "invalid-signature": 1 });
});

test("rates come from two snapshots", () => {
  const first = run([snapshot({ now: 1000 })], inMesh());
  const second = run([snapshot({ now: 3000, stats: { ...snapshot().stats, sent: 11 } })], first);
  assert.equal(first.snapshot.rates, null);
  assert.equal(second.snapshot.rates.sent, 5);
});

test("a link-state node that is no peer yet, and a link to nobody, do no harm", () => {
  const topology = { self: SELF, nodes: [{ id: SELF, name: "" }, { id: "dd".repeat(32), name: "" }], links: [{ source: SELF, target: "ee", rttMs: 1 }] };
  const { graph } = run([snapshot({ peers: [], routes: [], topology })], inMesh()).snapshot;
  assert.deepEqual(graph.nodes.map(({ label, hops }) => [label, hops]), [["tab-1", 0], ["dddddddd", null]]);
  assert.deepEqual(graph.links, []);
});

test("agents whose names look the same have their ids beside them, everywhere", () => {
  const ids = ["11", "22", "33", "44"].map((pair) => pair.repeat(32));
  const named = ["Alice", "аlice", "ＡＬＩＣＥ", "bob"].map((name, at) => ({ type: "peerJoined", peer: ids[at], name }));
  const alone = run([named[0], named[3]], inMesh());
  assert.deepEqual([...alone.labels], []);
  const crowded = run([message({ from: ids[0], name: "Alice" }), ...named.slice(1, 3)], alone);
  assert.deepEqual(Object.fromEntries(crowded.labels), {
    [ids[0]]: "Alice · 11111111",
    [ids[1]]: "аlice · 22222222",
    [ids[2]]: "ＡＬＩＣＥ · 33333333",
  });
  assert.equal(labelOf(crowded, crowded.messages[0].peer), "Alice · 11111111");
  assert.equal(crowded.activity.at(-1).text, "ＡＬＩＣＥ · 33333333 joined");
  const peers = named.map(({ peer, name }) => ({ id: peer, name, direct: false, hops: 1, nextHop: peer, rttMs: null, inHub: true }));
  const routes = peers.map(({ id, name }) => ({ destination: id, name, nextHop: id, hops: 1, path: [SELF, id] }));
  const { snapshot: seen } = run([snapshot({ peers, routes })], crowded);
  for (const labels of [seen.peers, seen.routes, seen.graph.nodes].map((rows) => rows.map((row) => row.label))) {
    assert.ok(labels.includes("Alice · 11111111") && labels.includes("bob"), labels.join());
  }
});

test("an author who has left is still told from another who took the name", () => {
  const wrote = run([message({ from: FAR, name: "far" }), { type: "peerLeft", peer: FAR, name: "far" }], inMesh());
  const { labels } = run([{ type: "peerJoined", peer: "dd".repeat(32), name: "far" }], wrote);
  assert.deepEqual([...labels.values()].sort(), ["far · cccccccc", "far · dddddddd"]);
});

test("a name cannot pass for another's label, for this tab, or for what the page itself says", () => {
  const name = (/** @type {string} */ text) => run([{ type: "peerJoined", peer: "dd".repeat(32), name: text }], inMesh()).labels.get("dd".repeat(32));
  assert.equal(name("near · bbbbbbbb"), "near · bbbbbbbb · dddddddd");
  assert.equal(name("TAB-1"), "TAB-1 · dddddddd");
  assert.equal(name("everyone"), "everyone · dddddddd");
  assert.equal(name("someone"), undefined);
});

test("where even the short ids are equal the whole ids are told", () => {
  const ids = ["e", "f"].map((digit) => "dddddddd" + digit.repeat(56));
  const { labels } = run(ids.map((peer) => ({ type: "peerJoined", peer, name: "twin" })), inMesh());
  assert.deepEqual([...labels], ids.map((id) => [id, `twin · ${id}`]));
});

test("a warning, a refusal and an event that could not be shown are noted", () => {
  const state = run([{ type: "warning", code: "clock-off", message: "the clock is off" }, { type: "refused", code: "room-full", message: "the room is full" }, { type: "page/unshown", what: "peerJoined" }], inMesh());
  assert.deepEqual(state.activity.slice(-3).map(({ level, text }) => [level, text]), [
    ["warn", "the clock is off"],
    ["warn", "The hub refuses this tab: the room is full"],
    ["warn", "An event (peer joined) could not be shown; the page goes on"],
  ]);
});

test("the selection survives a snapshot as long as its agent does", () => {
  const state = run([snapshot(), { type: "page/select", id: FAR }, snapshot()], inMesh());
  assert.equal(state.selected, FAR);
  assert.equal(run([snapshot({ peers: [] })], state).selected, null);
});

test("the reducer changes no state in place, and ignores what it does not know", () => {
  const state = inMesh();
  const before = structuredClone(state);
  run([message(), sent, snapshot(), { type: "peerLeft", peer: FAR, name: "far" }], state);
  assert.deepEqual(state, before);
  for (const type of ["topologyChanged", "someday", "constructor", "__proto__"]) assert.equal(run([{ type }], state), state);
});

test("payloads become bounded plain text, whatever they are", () => {
  assert.deepEqual(previewPayload("<b>"), { kind: "text", text: "<b>", size: 3, truncated: false });
  assert.equal(previewPayload({ n: [1, null, true], text: "a" }).text, '{"n":[1,null,true],"text":"a"}');
  assert.deepEqual(previewPayload(new Uint8Array([0, 255])), { kind: "bytes", text: "00 ff", size: 2, truncated: false });
  assert.equal(previewPayload(null).text, "null");
  const long = previewPayload("x".repeat(PREVIEW_CHARS + 1));
  assert.deepEqual([long.text.length, long.truncated], [PREVIEW_CHARS, true]);
});

test("JSON nested deeper than any stack is shown down to a depth", () => {
  for (const [open, close] of [["[", "]"], ['{"a":', "}"]]) {
    let deep = /** @type {any} */ (1);
    for (let level = 0; level < 50_000; level += 1) deep = open === "[" ? [deep] : { a: deep };
    const { text } = previewPayload(deep);
    assert.ok(text.startsWith(open.repeat(100)) && text.includes("…") && text.endsWith(close.repeat(100)), text);
  }
});

test("the address decides room, name, hub and k; nonsense falls back", () => {
  const at = (search, protocol = "http:") => readParams({ search, protocol, host: "hub:9600" }, () => "tab-x");
  assert.deepEqual(at(""), { room: "demo", name: "tab-x", signaling: "ws://hub:9600/signal" });
  assert.equal(at("", "https:").signaling, "wss://hub:9600/signal");
  assert.deepEqual(at("?signaling=ws://a/s&signaling=ws://b/s").signaling, ["ws://a/s", "ws://b/s"]);
  assert.deepEqual(at("?room=r&name=n&signaling=ws://a/s&k=8"), { room: "r", name: "n", signaling: "ws://a/s", k: 8 });
  assert.equal("k" in at("?k=-1"), false);
  assert.equal("k" in at("?k=many"), false);
  assert.equal(at("?log=debug").log, "debug");
  assert.equal(at("?room=%20").room, "demo");
});

test("an invite is the same page without the name", () => {
  assert.equal(inviteLink("http://hub:9600/?room=r&name=me&k=4&log=debug#x"), "http://hub:9600/?room=r&k=4");
});

test("figures read well at their edges", () => {
  assert.deepEqual([formatMs(null), formatMs(-3), formatMs(0.04), formatMs(12.4), formatMs(1500)], ["–", "≈ 0 ms", "< 0.1 ms", "12 ms", "1.50 s"]);
  assert.deepEqual([formatBytes(0), formatBytes(999), formatBytes(1500)], ["0 B", "999 B", "1.5 kB"]);
  assert.deepEqual([rttClass(null), rttClass(19), rttClass(20), rttClass(500)], ["unknown", "fast", "fair", "bad"]);
  assert.equal(humanReason("noRoute"), humanReason("no-route"));
});

test("tracks of others are shown until they end, and what this tab sends is known", () => {
  const now = 1, stream = /** @type {any} */ ({});
  const track = { type: "track", now, peer: "aa", id: "t", kind: "video", stream };
  const begun = reduce(initialState({ room: "r", name: "n", signaling: "ws://h", now }), track);
  assert.deepEqual(begun.tracks, [{ id: "t", peer: "aa", kind: "video", stream }]);
  assert.match(begun.activity.at(-1)?.text ?? "", /sends pictures/);
  assert.equal(reduce(begun, { ...track, id: "u", stream: null }), begun, "it has ended since");
  const sending = reduce(begun, { type: "page/sending", now, sending: [{ peer: "aa", source: "camera" }] });
  assert.equal(sending.sending.length, 1);
  const ended = reduce(sending, { type: "trackEnded", now, peer: "aa", id: "t" });
  assert.deepEqual(ended.tracks, []);
  assert.equal(reduce(ended, { type: "trackEnded", now, peer: "aa", id: "t" }), ended);
});

test("what two agents say of their link is shown until another is chosen, and late answers are not", () => {
  const asked = { type: "page/pairAsked", ends: [NEAR, FAR] };
  const finding = { about: "near - far", outcome: "ok", found: "linked" };
  const told = { type: "page/pairTold", ends: [NEAR, FAR], findings: [finding] };
  const state = run([{ type: "page/select", id: NEAR }, asked, told], inMesh());
  assert.deepEqual(state.pair, { ends: [NEAR, FAR], status: "told", findings: [finding] });
  assert.equal(run([told], state), state, "it was told");
  assert.equal(run([{ type: "page/select", id: FAR }], state).pair, null);
  assert.equal(run([asked, { type: "page/select", id: FAR }, told], inMesh()).pair, null);
  const other = run([asked, { ...asked, ends: [FAR, SELF] }, told], inMesh());
  assert.equal(other.pair?.status, "asked", "of another pair");
  const failed = run([asked, { type: "page/pairFailed", ends: [NEAR, FAR], reason: "it is closed" }], inMesh());
  assert.deepEqual(failed.pair?.findings, [{ about: "near - far", outcome: "wrong", found: "not asked: it is closed" }]);
});
