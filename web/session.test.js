import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { Outgoing, SOURCES } from "./media.js";
import { Session } from "./session.js";
import { initialState, reduce } from "./state.js";

mock.method(console, "error", () => {}); // what a session reports there is not what is tested
mock.method(console, "warn", () => {});

const PARAMS = { room: "demo", name: "tab-1", signaling: "ws://hub:9600/signal" };

/** A mesh that tells what a test has it tell: events, or errors that reading them throws. */
class ScriptedMesh {
  id = "aa".repeat(32);
  name = PARAMS.name;
  room = PARAMS.room;
  closed = 0;
  /** @type {any[]} */
  told = [];
  wake = () => {};

  /** @param {any} options */
  constructor(options) {
    this.secret = options.identity ?? new Uint8Array([++identities]);
  }

  /** @param {any[]} events */
  tell(...events) {
    this.told.push(...events);
    this.wake();
  }

  events() {
    return { [Symbol.asyncIterator]: () => ({ next: () => this.next() }) };
  }

  async next() {
    while (this.told.length === 0) await new Promise((resolve) => (this.wake = () => resolve(undefined)));
    const event = this.told.shift();
    if (event instanceof Error) throw event;
    return { done: event === null, value: event };
  }

  exportIdentity() {
    return this.secret;
  }

  async close() {
    this.closed += 1;
    this.tell({ type: "left" });
  }

  peers = () => [];
  routes = () => [];
  topology = () => ({ self: this.id, nodes: [], links: [] });
  stats = () => ({ links: {}, lost: {}, rejected: {} });
}
let identities = 0;

/** A session whose meshes are scripted, with the page's own reducer. */
function page() {
  const page = {
    state: initialState({ ...PARAMS, now: 0 }),
    /** @type {ScriptedMesh[]} */
    meshes: [],
    /** @type {any} */
    session: null,
    /** When set, joining waits for it. @type {Promise<void>|null} */
    gate: null,
  };
  const Mesh = {
    join: async (/** @type {any} */ options) => {
      const { gate } = page;
      await gate;
      const mesh = new ScriptedMesh(options);
      page.meshes.push(mesh);
      return mesh;
    },
  };
  const dispatch = (/** @type {any} */ event) => {
    page.state = reduce(page.state, { ...event, now: 1 });
  };
  page.session = new Session(PARAMS, dispatch, async () => Mesh);
  return page;
}

/** Lets all that is ready to run do so. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

/** @param {(page: ReturnType<typeof page>) => Promise<void>} body */
const inPage = (body) => async () => {
  const subject = page();
  try {
    await subject.session.join();
    await body(subject);
  } finally {
    subject.session.leave(); // or its poll would keep the test running
  }
};

const texts = (/** @type {any} */ { state }) => state.activity.map((/** @type {any} */ { text }) => text);
const message = (/** @type {any} */ payload) => ({ type: "message", id: "m", from: "bb".repeat(32), name: "far", topic: null, payload });

test("an event that cannot be read is noted, and the next ones are shown", inPage(async (page) => {
  page.meshes[0].tell(new TypeError("not a safe integer"), message("after it"));
  await settled();
  assert.equal(page.state.phase, "joined");
  assert.deepEqual(texts(page), ["An event (unreadable) could not be shown; the page goes on"]);
  assert.equal(page.state.messages[0].payload.text, "after it");
}));

test("an event that cannot be shown is noted, and the next ones are shown", inPage(async (page) => {
  page.meshes[0].tell({ ...message(undefined) }, message("after it"));
  await settled();
  assert.equal(page.state.phase, "joined");
  assert.deepEqual(texts(page), ["An event (message) could not be shown; the page goes on"]);
  assert.equal(page.state.messages[0].payload.text, "after it");
}));

test("JSON nested deeper than any stack ends nothing", inPage(async (page) => {
  let deep = /** @type {any} */ ([]);
  for (let level = 0; level < 50_000; level += 1) deep = [deep];
  page.meshes[0].tell(message(deep), message("after it"));
  await settled();
  assert.equal(page.state.phase, "joined");
  assert.equal(page.state.messages.length, 2);
}));

test("a stream of events that fails again and again ends the session, once", inPage(async (page) => {
  page.meshes[0].tell(...Array.from({ length: 30 }, () => new Error("unreachable executed")));
  await settled();
  assert.equal(page.state.phase, "failed");
  assert.equal(page.state.failure?.detail, "unreachable executed");
  assert.equal(page.meshes[0].closed, 1);
}));

test("a mesh that ends is closed before the tab joins again, as the same agent", inPage(async (page) => {
  page.meshes[0].tell(null);
  await settled();
  assert.equal(page.state.failure?.code, "left");
  assert.equal(page.meshes[0].closed, 1);
  await page.session.join();
  assert.equal(page.state.phase, "joined");
  assert.equal(page.meshes[1].secret, page.meshes[0].secret);
}));

test("joining twice at once leaves one membership", inPage(async (page) => {
  await Promise.all([page.session.join(), page.session.join()]);
  assert.deepEqual(page.meshes.map(({ closed }) => closed), [1, 1, 0]);
  assert.equal(page.session.mesh, page.meshes[2]);
  assert.equal(page.state.phase, "joined");
}));

test("a replaced agent says so, retries nothing, and comes back as a new agent when asked", inPage(async (page) => {
  page.meshes[0].tell({ type: "refused", code: "replaced", message: "the identity is used elsewhere" }, { type: "left" });
  await settled();
  assert.equal(page.state.phase, "failed");
  assert.deepEqual([page.state.failure?.code, page.state.failure?.retry], ["replaced", "renew"]);
  assert.deepEqual([page.meshes.length, page.meshes[0].closed], [1, 1]);
  await page.session.renew();
  assert.equal(page.state.phase, "joined");
  assert.notEqual(page.meshes[1].secret, page.meshes[0].secret);
}));

test("a page that the browser keeps leaves, and is the same agent when it is back", inPage(async (page) => {
  page.session.pause();
  await settled();
  assert.equal(page.meshes[0].closed, 1);
  page.session.resume();
  await settled();
  assert.equal(page.state.phase, "joined");
  assert.deepEqual([page.meshes.length, page.meshes[1].secret], [2, page.meshes[0].secret]);
}));

test("a page that was kept while it joined closes what it joined", inPage(async (page) => {
  let open = () => {};
  page.gate = new Promise((resolve) => (open = resolve));
  const joining = page.session.join();
  page.session.pause();
  open();
  await joining;
  assert.deepEqual([page.meshes[1].closed, page.session.mesh], [1, null]);
  page.session.resume();
  await settled();
  assert.equal(page.state.phase, "joined");
}));

test("what had ended before the browser kept the page stays ended", inPage(async (page) => {
  page.meshes[0].tell({ type: "refused", code: "replaced", message: "" });
  await settled();
  page.session.pause();
  page.session.resume();
  await settled();
  assert.equal(page.state.failure?.code, "replaced");
  assert.equal(page.meshes.length, 1);
}));

test("what is sent to a linked agent ends with its link, and what cannot be sent is told", async () => {
  /** @type {any[]} */
  const told = [];
  const outgoing = new Outgoing((event) => told.push(event));
  const ended = { sender: 0, track: 0 };
  const track = /** @type {any} */ ({ stop: () => (ended.track += 1) });
  mock.method(SOURCES.picture, "open", async () => track);
  const mesh = { sendTrack: async () => ({ end: async () => void (ended.sender += 1) }) };
  await Promise.all([outgoing.toggle(mesh, "aa", "picture"), outgoing.toggle(mesh, "aa", "picture")]);
  assert.deepEqual(told, [{ type: "page/sending", sending: [{ peer: "aa", source: "picture" }] }]);
  await outgoing.closed("bb");
  await outgoing.closed("aa");
  assert.deepEqual(ended, { sender: 1, track: 1 });
  assert.deepEqual(told.at(-1), { type: "page/sending", sending: [] });
  const refusing = { sendTrack: async () => { throw Object.assign(new Error("not linked"), { code: "not-linked" }); } };
  await outgoing.toggle(refusing, "aa", "picture");
  assert.deepEqual(told.at(-1), { type: "page/notSent", what: "Test picture", reason: "not linked" });
  assert.equal(ended.track, 2, "no camera stays on");
});
