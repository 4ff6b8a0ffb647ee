// Where the nodes stand. This tab is in the middle, and each agent stands on the ring of its distance in
// hops, so the drawing answers "how far is it?" at a glance. An expander drawn by springs is one ball of wool.
//
// An agent's first angle comes from its id, and rings only push their own members apart: a change in the
// mesh moves those that changed and leaves the others where the eye left them.

import "../vendor/d3-dispatch.min.js";
import "../vendor/d3-quadtree.min.js";
import "../vendor/d3-timer.min.js";
import "../vendor/d3-force.min.js";

const { forceCollide, forceManyBody, forceSimulation } = /** @type {any} */ (globalThis).d3;

/** @typedef {import("../snapshot.js").GraphNode} GraphNode */
/** @typedef {GraphNode & { ring: number, x: number, y: number, vx: number, vy: number, fx?: number, fy?: number }} Placed */

const RING_GAP = 78;
const NODE_SPACE = 15;
/** Below this heat of the simulation (1 at first) no agent moves by a pixel that an eye would see. */
const HEAT_MIN = 0.02;
/** The share of its way to its ring that an agent goes in one tick. */
const RING_PULL = 0.25;

export class Layout {
  /** @type {Map<string, Placed>} */
  nodes = new Map();
  /** Radius of each ring; ring 0 is this tab. @type {number[]} */
  rings = [0];
  /** Whether the outermost ring holds agents without a route. */
  hasUnreachable = false;

  constructor() {
    this.simulation = forceSimulation([])
      .alphaDecay(0.035)
      .alphaMin(HEAT_MIN)
      .velocityDecay(0.45)
      .force("apart", forceManyBody().distanceMax(320))
      .force("collide", forceCollide(NODE_SPACE / 2 + 1))
      .stop(); // ticked by the drawing loop, so a hidden tab computes nothing
  }

  get radius() {
    return Math.max(RING_GAP, this.rings.at(-1) ?? 0);
  }

  get moving() {
    return this.simulation.alpha() > this.simulation.alphaMin();
  }

  tick() {
    this.simulation.tick();
    // Not as one of the forces, which wane together: it has to win in the end, or those that push each other
    // apart come to rest beyond their ring and out of the picture.
    for (const node of this.nodes.values()) {
      const distance = Math.hypot(node.x, node.y) || 1;
      const scale = 1 + ((this.rings[node.ring] ?? 0) / distance - 1) * RING_PULL;
      node.x *= scale;
      node.y *= scale;
    }
    const alpha = this.simulation.alpha();
    this.simulation.alpha(alpha < this.simulation.alphaMin() ? 0 : alpha);
  }

  settle() {
    for (let step = 0; step < 200 && this.moving; step += 1) this.tick();
  }

  /** @param {readonly GraphNode[]} nodes @returns {boolean} whether anything has to move */
  update(nodes) {
    const first = this.nodes.size <= 1;
    const farthest = nodes.reduce((most, node) => Math.max(most, node.hops ?? 0), 0);
    this.hasUnreachable = nodes.some((node) => node.hops === null);
    let moved = nodes.length !== this.nodes.size;
    /** @type {Map<string, Placed>} */
    const next = new Map();
    for (const node of nodes) {
      const ring = node.hops ?? farthest + 1;
      const known = this.nodes.get(node.id);
      moved ||= known?.ring !== ring;
      next.set(node.id, known ? Object.assign(known, node, { ring }) : { ...node, ring, x: NaN, y: NaN, vx: 0, vy: 0 });
    }
    this.nodes = next;
    if (!moved) return false;
    this.rings = ringRadii([...next.values()]);
    // A few agents share the room by pushing hard; a hundred would push each other off their rings.
    this.simulation.force("apart").strength(-Math.max(30, Math.min(260, 3600 / next.size)));
    for (const node of next.values()) place(node, this.rings);
    this.simulation.nodes([...next.values()]);
    this.simulation.alpha(first ? 1 : Math.max(this.simulation.alpha(), 0.35));
    if (first) this.settle(); // the first sight of the mesh is not a scramble
    return true;
  }
}

/** A ring is as wide as its members need. @param {Placed[]} nodes @returns {number[]} */
function ringRadii(nodes) {
  /** @type {number[]} */
  const counts = [];
  for (const { ring } of nodes) counts[ring] = (counts[ring] ?? 0) + 1;
  const radii = [0];
  for (let ring = 1; ring < counts.length; ring += 1) {
    const needed = ((counts[ring] ?? 0) * NODE_SPACE) / (2 * Math.PI);
    radii.push(Math.max(radii[ring - 1] + RING_GAP, needed));
  }
  return radii;
}

/** @param {Placed} node @param {number[]} rings */
function place(node, rings) {
  if (node.self) {
    Object.assign(node, { x: 0, y: 0, fx: 0, fy: 0 });
  } else if (Number.isNaN(node.x)) {
    // Ids are keys, hence evenly spread: the first 32 bits make an angle.
    const angle = (Number.parseInt(node.id.slice(0, 8), 16) / 2 ** 32 || 0) * 2 * Math.PI;
    node.x = rings[node.ring] * Math.cos(angle);
    node.y = rings[node.ring] * Math.sin(angle);
  }
}
