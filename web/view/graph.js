// The live picture of the mesh: takes the state, keeps the layout, redraws only when something changed.

import { plural } from "../format.js";
import { byId, setData, setText } from "./dom.js";
import { Layout } from "./graph-layout.js";
import { looksSame, paint, readTheme, viewOf } from "./graph-paint.js";

/** @typedef {import("../state.js").State} State */
/** @typedef {{ path: string[], startedAt: number, color: "accent"|"ink" }} Pulse */

const PULSE_MS_PER_HOP = 420;
const MAX_PULSES = 40;
const TAP_REACH = 22;
/** For each so many agents the layout goes one step further between two paints. */
const AGENTS_PER_TICK = 40;

/** @param {{ select: (id: string|null) => void, hover: (id: string|null) => void }} actions @returns {(state: State) => void} */
export function graphView(actions) {
  const canvas = /** @type {HTMLCanvasElement} */ (byId("graph"));
  const picture = new Picture(canvas);
  let selected = /** @type {string|null} */ (null);

  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "mouse") return;
    const id = picture.nodeAt(event.offsetX, event.offsetY);
    canvas.style.cursor = id ? "pointer" : "";
    actions.hover(id);
  });
  canvas.addEventListener("pointerleave", () => actions.hover(null));
  canvas.addEventListener("click", (event) => {
    const id = picture.nodeAt(event.offsetX, event.offsetY);
    actions.select(id === selected ? null : id);
  });

  let lastKey = 0;
  return (state) => {
    selected = state.selected;
    picture.show(state);
    const fresh = state.messages.filter((entry) => entry.key > lastKey);
    lastKey = fresh.at(-1)?.key ?? lastKey;
    for (const entry of fresh) picture.pulse(state, entry);
    describe(canvas, state);
  };
}

/** @param {HTMLCanvasElement} canvas @param {State} state */
function describe(canvas, state) {
  const graph = state.snapshot?.graph;
  const own = graph?.links.filter((link) => link.own).length ?? 0;
  const links = graph?.links.length ? `, ${plural(graph.links.length, "link")}, ${own} of them this tab's` : "";
  const summary = graph ? plural(graph.nodes.length, "agent") + links : "";
  setData(byId("mesh-panel"), "off", graph === undefined && state.phase === "failed" ? "" : null);
  setText(byId("mesh-summary"), summary);
  const label = graph ? `The mesh: ${summary}. The list of peers tells the same in words.` : "The mesh";
  if (canvas.getAttribute("aria-label") !== label) canvas.setAttribute("aria-label", label);
  const empty = byId("graph-empty");
  const alone = graph !== undefined && graph.nodes.length <= 1;
  empty.hidden = graph !== undefined && !alone;
  const waiting = state.phase === "connecting" ? "Joining the mesh…" : "Nothing to show: this tab is in no mesh.";
  setText(empty, alone ? "Only this tab is here. Open the invite link in another one." : waiting);
}

/** The canvas, what is on it, and when it is drawn. */
class Picture {
  layout = new Layout();
  /** @type {import("../snapshot.js").GraphLink[]} */
  links = [];
  /** @type {string|null} */
  focus = null;
  /** @type {string[]} */
  path = [];
  /** @type {Pulse[]} */
  pulses = [];
  frame = 0;
  /** @type {import("../snapshot.js").Snapshot|null} */
  snapshot = null;

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    this.theme = readTheme(canvas);
    this.font = getComputedStyle(canvas).fontFamily;
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.theme = readTheme(canvas);
      this.draw();
    });
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(this.canvas.clientWidth * ratio);
    this.canvas.height = Math.round(this.canvas.clientHeight * ratio);
    this.paintNow(performance.now()); // resizing has wiped it: a frame's delay would flash
  }

  /** @param {State} state */
  show({ snapshot, selected, hovered }) {
    const focus = hovered ?? selected;
    if (snapshot === this.snapshot && focus === this.focus) return;
    const before = this.snapshot?.graph;
    const path = (focus && snapshot?.graph.paths.get(focus)) || [];
    // Most snapshots of a mesh at rest differ in their counters alone.
    const same = focus === this.focus && String(path) === String(this.path) && looksSame(before, snapshot?.graph);
    this.snapshot = snapshot;
    this.focus = focus;
    this.path = path;
    if (same) return;
    this.links = snapshot?.graph.links ?? [];
    const moved = this.layout.update(snapshot?.graph.nodes ?? []);
    if (moved && this.calm.matches) this.layout.settle();
    this.draw();
  }

  /** Shows a message travelling, along the route as this tab knows it. @param {State} state @param {import("../state.js").MessageEntry} entry */
  pulse({ snapshot }, entry) {
    if (this.calm.matches || document.hidden || !snapshot) return;
    const { paths } = snapshot.graph;
    const routes = entry.peer ? [paths.get(entry.peer.id)] : [...paths.values()];
    for (const route of routes) {
      if (!route || this.pulses.length >= MAX_PULSES) continue;
      const path = entry.direction === "in" ? route.toReversed() : route;
      this.pulses.push({ path, startedAt: performance.now(), color: entry.direction === "in" ? "ink" : "accent" });
    }
    this.draw();
  }

  draw() {
    this.frame ||= requestAnimationFrame((now) => {
      this.frame = 0;
      // A crowd takes long to paint: it moves in fewer, longer steps.
      for (let ticks = Math.ceil(this.layout.nodes.size / AGENTS_PER_TICK); ticks > 0 && this.layout.moving; ticks -= 1) this.layout.tick();
      this.paintNow(now);
      if (this.layout.moving || this.pulses.length > 0) this.draw();
    });
  }

  /** @param {number} now */
  paintNow(now) {
    if (this.canvas.clientWidth === 0) return; // not shown: there is no mesh to see
    const ratio = window.devicePixelRatio || 1;
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const progress = (/** @type {Pulse} */ { path, startedAt }) => Math.max(0, now - startedAt) / ((path.length - 1) * PULSE_MS_PER_HOP);
    this.pulses = this.pulses.filter((pulse) => progress(pulse) < 1);
    const dots = this.pulses.map((pulse) => ({ ...pulse, at: progress(pulse) }));
    paint(this.context, { ...this.scene(), dots });
  }

  /** @returns {import("./graph-paint.js").Scene} */
  scene() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    return { width, height, layout: this.layout, links: this.links, focus: this.focus, path: this.path, dots: [], theme: this.theme, font: this.font };
  }

  /** The node under a finger, or the nearest one in reach. @param {number} x @param {number} y @returns {string|null} */
  nodeAt(x, y) {
    const { project } = viewOf(this.scene());
    let best = null;
    let bestDistance = TAP_REACH;
    for (const node of this.layout.nodes.values()) {
      const at = project(node);
      const distance = Math.hypot(at.x - x, at.y - y);
      if (distance < bestDistance) [best, bestDistance] = [node.id, distance];
    }
    return best;
  }
}
