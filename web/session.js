// The page's one membership in a mesh: loads the package, joins, turns what the mesh tells into events of
// the reducer, and looks at its tables at most twice a second.

import { PageError, describeError, explainFailure } from "./failures.js";
import { Outgoing } from "./media.js";

const PACKAGE = "./pkg/mesh_wasm.js";
const POLL_MIN_MS = 500;
const POLL_IDLE_MS = 1000;
const PING_DEADLINE_MS = 5000;

/** Events after which the tables surely differ. */
const STALE_AFTER = new Set(["joined", "peerJoined", "peerLeft", "linkOpened", "linkClosed", "topologyChanged", "lagged"]);

/** Failed reads of the event stream in a row that mean that no more will come: the mesh itself is broken. */
const FAILED_READS_MAX = 20;

/** @typedef {(event: { type: string, [field: string]: any }) => void} Dispatch */
/** @typedef {import("./params.js").Params} Params */

export class Session {
  /** @type {any} */
  mesh = null;
  /** The secret bytes of the identity: a retry, or a page restored from the browser's cache, is the same agent again. @type {Uint8Array|undefined} */
  identity;
  /** Counts the memberships: what belongs to an earlier one is ignored. */
  turn = 0;
  joining = false;
  paused = false;
  /** Ends a joining that is not wanted any more. */
  unwanted = new AbortController();
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  pollTimer;
  polledAt = 0;
  pollDueAt = Infinity;

  /** @param {Params} params @param {Dispatch} dispatch @param {() => Promise<any>} load */
  constructor(params, dispatch, load = loadPackage) {
    this.params = params;
    this.dispatch = dispatch;
    this.load = load;
    this.outgoing = new Outgoing(dispatch);
  }

  /** Joins, after leaving if this tab is a member or on its way to be one: it is never a member twice. */
  async join() {
    this.leave();
    const { turn } = this;
    this.joining = true;
    this.dispatch({ type: "page/connecting" });
    let mesh;
    try {
      const Mesh = await this.load();
      mesh = await Mesh.join({ ...this.params, identity: this.identity, signal: this.unwanted.signal });
    } catch (error) {
      if (turn !== this.turn) return;
      console.error("joining failed", error);
      this.joining = false;
      this.dispatch({ type: "page/failed", failure: explainFailure(error, this.params.signaling) });
      return;
    }
    if (turn !== this.turn) {
      closeQuietly(mesh); // left, or joined again, in the meantime
      return;
    }
    this.joining = false;
    this.mesh = mesh;
    this.identity = mesh.exportIdentity();
    const { id, name, room } = mesh;
    this.dispatch({ type: "page/entered", id, name, room });
    this.pump(mesh);
    this.pollSoon(0);
  }

  /** Joins as another agent: the old identity is in use elsewhere. */
  renew() {
    this.identity = undefined;
    return this.join();
  }

  /** Says goodbye, so that the others need not find out by a timeout. */
  leave() {
    this.turn += 1;
    this.joining = false;
    this.unwanted.abort();
    this.unwanted = new AbortController();
    clearTimeout(this.pollTimer);
    this.pollDueAt = Infinity;
    const { mesh } = this;
    this.mesh = null;
    this.outgoing.closed();
    if (mesh) closeQuietly(mesh);
  }

  /** The page is hidden for good, or kept in the browser's cache, which keeps no page with open connections. */
  pause() {
    this.paused = this.joining || this.mesh !== null;
    this.leave();
  }

  /** The page is back from the browser's cache. What had ended before it went there stays ended. */
  resume() {
    if (!this.paused) return;
    this.paused = false;
    this.join();
  }

  /** Tells the events until the membership ends. An event that cannot be read or shown is noted as that. @param {any} mesh */
  async pump(mesh) {
    const events = mesh.events()[Symbol.asyncIterator]();
    let failedReads = 0;
    for (;;) {
      let next;
      try {
        next = await events.next();
        failedReads = 0;
      } catch (error) {
        console.error("an event could not be read", error);
        failedReads += 1;
        if (failedReads === FAILED_READS_MAX) return this.end(mesh, error);
      }
      if (this.mesh !== mesh) return; // left by this page itself
      if (!next) this.dispatch({ type: "page/unshown", what: "unreadable" });
      else if (next.done || next.value.type === "left") return this.end(mesh, { code: "left" });
      else {
        this.take(next.value);
        if (isReplaced(next.value)) return this.end(mesh, { code: "replaced" });
      }
    }
  }

  /** @param {any} event */
  take(event) {
    try {
      this.dispatch(event);
    } catch (error) {
      console.error("an event could not be shown", event, error);
      this.dispatch({ type: "page/unshown", what: event.type });
    }
    if (STALE_AFTER.has(event.type)) this.pollSoon(0);
    if (event.type === "message" && event.wantsReply) this.answer(event);
    if (event.type === "linkClosed") this.outgoing.closed(event.peer);
  }

  /** A request to a page is answered as the demo agents answer: with what was asked. @param {any} event */
  async answer({ id, payload }) {
    try {
      await this.mesh.reply(id, payload);
      this.dispatch({ type: "page/replied", id });
    } catch (error) {
      console.warn("a reply was not sent", error); // the asker gave up or left: its deadline tells it so
    }
  }

  /** A membership that this page did not end itself. @param {any} mesh @param {unknown} error */
  end(mesh, error) {
    if (this.mesh !== mesh) return;
    this.leave();
    this.dispatch({ type: "left", failure: explainFailure(error, this.params.signaling) });
  }

  /** Polls after `delay`, or when the last poll is long enough ago. @param {number} delay */
  pollSoon(delay) {
    const now = performance.now();
    const dueAt = Math.max(now + delay, this.polledAt + POLL_MIN_MS);
    if (dueAt >= this.pollDueAt) return;
    clearTimeout(this.pollTimer);
    this.pollDueAt = dueAt;
    this.pollTimer = setTimeout(() => this.poll(), Math.max(0, dueAt - now));
  }

  poll() {
    this.pollDueAt = Infinity;
    this.polledAt = performance.now();
    const { mesh } = this;
    if (!mesh) return;
    try {
      this.dispatch({ type: "page/snapshot", peers: mesh.peers(), routes: mesh.routes(), topology: mesh.topology(), stats: mesh.stats() });
    } catch (error) {
      console.error("the mesh could not be read", error);
    }
    this.pollSoon(POLL_IDLE_MS);
  }

  /** @param {import("./view/composer.js").Draft} draft */
  async send({ to, text, delivery, topic }) {
    if (!this.mesh) throw new PageError("left", "this tab is in no mesh");
    if (to === null) {
      const id = await this.mesh.broadcast(topic, text);
      this.dispatch({ type: "page/sent", id, to: null, topic, payload: text, delivery: "" });
    } else {
      const id = await this.mesh.send(to, text, { delivery });
      this.dispatch({ type: "page/sent", id, to, topic: null, payload: text, delivery });
    }
  }

  /** Begins or ends to send sound or pictures to a linked agent. @param {string} peer @param {import("./media.js").Source} source */
  async toggleTrack(peer, source) {
    if (this.mesh) await this.outgoing.toggle(this.mesh, peer, source);
  }

  /** Asks two agents how they see the link between them. @param {string} one @param {string} other */
  async diagnose(one, other) {
    if (!this.mesh) return;
    const ends = [one, other];
    this.dispatch({ type: "page/pairAsked", ends });
    try {
      const findings = await this.mesh.diagnosePair(one, other, { deadlineMs: PING_DEADLINE_MS });
      this.dispatch({ type: "page/pairTold", ends, findings });
    } catch (error) {
      this.dispatch({ type: "page/pairFailed", ends, reason: describeError(error).message });
    }
  }

  /** @param {string} peer */
  async ping(peer) {
    if (!this.mesh) return;
    this.dispatch({ type: "page/pinged", peer });
    const startedAt = performance.now();
    try {
      await this.mesh.request(peer, "ping", { deadlineMs: PING_DEADLINE_MS });
      this.dispatch({ type: "page/pong", peer, roundTripMs: performance.now() - startedAt });
    } catch (error) {
      const { code, message } = describeError(error);
      this.dispatch({ type: "page/pingFailed", peer, reason: code === "unknown" ? message : code });
    }
  }
}

/** The hub has let another agent in with the same identity: the newer one stays. @param {any} event */
const isReplaced = (event) => event.type === "refused" && event.code === "replaced";

/** @param {any} mesh */
async function closeQuietly(mesh) {
  try {
    await mesh.close();
  } catch (error) {
    console.warn("the mesh did not close", error); // it is broken already
  }
}

/** @type {Promise<any>|undefined} */
let loading;

/** @returns {Promise<any>} the class Mesh */
export function loadPackage() {
  if (typeof WebAssembly === "undefined" || typeof RTCPeerConnection === "undefined") {
    return Promise.reject(new PageError("unsupported", "WebRTC or WebAssembly is missing"));
  }
  loading ??= importPackage();
  return loading;
}

async function importPackage() {
  try {
    const module = await import(PACKAGE);
    await module.default();
    dispatchEvent(new Event("mesh-loaded"));
    return module.Mesh;
  } catch (error) {
    // A failed import does not say why: ask the server whether the file is there.
    const response = await fetch(new URL(PACKAGE, import.meta.url), { method: "HEAD" }).catch(() => null);
    const { message } = describeError(error);
    if (response?.status === 404) throw new PageError("package-missing", message);
    // What does not arrive is a TypeError, and so is some of what is bad: a few more loads tell.
    const mayArrive = error instanceof TypeError && dispatchEvent(new Event("mesh-not-loaded", { cancelable: true }));
    throw new PageError(mayArrive ? "not-loaded" : "package-broken", message);
  }
}
