// The page's one membership in a mesh: loads the package, joins, turns what the mesh tells into events of
// the reducer, and looks at its tables at most twice a second.

import { PageError, describeError, explainFailure } from "./failures.js";

const PACKAGE = "./pkg/mesh_wasm.js";
const POLL_MIN_MS = 500;
const POLL_IDLE_MS = 1000;
const PING_DEADLINE_MS = 5000;

/** Events after which the tables surely differ. */
const STALE_AFTER = new Set(["joined", "peerJoined", "peerLeft", "linkOpened", "linkClosed", "topologyChanged", "lagged"]);

/** @typedef {(event: { type: string, [field: string]: any }) => void} Dispatch */
/** @typedef {import("./params.js").Params} Params */

export class Session {
  /** @type {any} */
  mesh = null;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  pollTimer;
  polledAt = 0;
  pollDueAt = Infinity;

  /** @param {Params} params @param {Dispatch} dispatch */
  constructor(params, dispatch) {
    this.params = params;
    this.dispatch = dispatch;
  }

  async join() {
    this.dispatch({ type: "page/connecting" });
    try {
      const Mesh = await loadPackage();
      this.mesh = await Mesh.join({ ...this.params });
    } catch (error) {
      console.error("joining failed", error);
      this.dispatch({ type: "page/failed", failure: explainFailure(error, this.params.signaling) });
      return;
    }
    const { id, name, room } = this.mesh;
    this.dispatch({ type: "page/entered", id, name, room });
    this.pump(this.mesh);
    this.pollSoon(0);
  }

  /** @param {any} mesh */
  async pump(mesh) {
    try {
      for await (const event of mesh.events()) {
        this.take(event);
        if (event.type === "left") break;
      }
      this.end({ code: "left" });
    } catch (error) {
      console.error("the mesh stopped", error);
      this.end(error);
    }
  }

  /** @param {any} event */
  take(event) {
    if (event.type !== "left") this.dispatch(event);
    if (STALE_AFTER.has(event.type)) this.pollSoon(0);
    if (event.type === "message" && event.wantsReply) this.answer(event);
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

  /** @param {unknown} error */
  end(error) {
    clearTimeout(this.pollTimer);
    this.pollDueAt = Infinity;
    this.mesh = null;
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

  /** Says goodbye, so that the others need not find out by a timeout. */
  leave() {
    this.mesh?.close();
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
    return module.Mesh;
  } catch (error) {
    // A failed import does not say why: ask the server whether the file is there.
    const response = await fetch(new URL(PACKAGE, import.meta.url), { method: "HEAD" }).catch(() => null);
    const { message } = describeError(error);
    throw new PageError(response?.status === 404 ? "package-missing" : "package-broken", message);
  }
}
