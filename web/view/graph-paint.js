// Draws the mesh on a canvas. Knows nothing of the state: it gets placed nodes, links and what to highlight.

import { formatMs, plural, rttClass } from "../format.js";

/** @typedef {import("./graph-layout.js").Placed} Placed */
/** @typedef {import("./graph-layout.js").Layout} Layout */
/** @typedef {import("../snapshot.js").GraphLink} GraphLink */
/** @typedef {import("../snapshot.js").GraphNode} GraphNode */
/** @typedef {{ x: number, y: number }} Point */
/** @typedef {Record<"ink"|"muted"|"line"|"panel"|"accent"|"bad"|"halo"|"rtt-fast"|"rtt-fair"|"rtt-slow"|"rtt-bad"|"rtt-unknown", string>} Theme */
/** @typedef {{ path: string[], at: number, color: "accent"|"ink" }} Dot a message on its way: `at` in 0..1 */
/**
 * @typedef {{
 *   width: number, height: number, layout: Layout, links: GraphLink[], focus: string|null, path: string[],
 *   dots: Dot[], theme: Theme, font: string,
 * }} Scene
 * @typedef {{ project: (node: Point) => Point, scaleX: number, scaleY: number, center: Point, radius: number }} View
 */

const THEME_KEYS = /** @type {const} */ (["ink", "muted", "line", "panel", "accent", "bad", "halo", "rtt-fast", "rtt-fair", "rtt-slow", "rtt-bad", "rtt-unknown"]);

/** @param {Element} element @returns {Theme} */
export function readTheme(element) {
  const style = getComputedStyle(element);
  return /** @type {Theme} */ (Object.fromEntries(THEME_KEYS.map((key) => [key, style.getPropertyValue(`--${key}`).trim()])));
}

/** From layout space to the canvas: the rings fill it, as ellipses where it is not square. @param {Scene} scene @returns {View} */
export function viewOf({ width, height, layout }) {
  const labelRoom = Math.min(84, width * 0.13);
  const fitX = Math.max(1, width / 2 - labelRoom) / layout.radius;
  const fitY = Math.max(1, height / 2 - 26) / layout.radius;
  const scaleX = Math.min(fitX, fitY * 1.5);
  const scaleY = Math.min(fitY, fitX * 1.25);
  const center = { x: width / 2, y: height / 2 + 2 };
  const count = layout.nodes.size;
  const radius = (count <= 30 ? 6.5 : count <= 60 ? 5.5 : 4.5) * (width < 420 ? 0.85 : 1);
  return { project: ({ x, y }) => ({ x: center.x + x * scaleX, y: center.y + y * scaleY }), scaleX, scaleY, center, radius };
}

/** @typedef {import("../snapshot.js").Graph} Graph */

/** Whether two states of the mesh make the same picture. @param {Graph|undefined} a @param {Graph|undefined} b */
export function looksSame(a, b) {
  if (!a || !b) return a === b;
  if (a.nodes.length !== b.nodes.length || a.links.length !== b.links.length) return false;
  const node = (/** @type {GraphNode} */ one, /** @type {GraphNode} */ other) =>
    one.id === other.id && one.label === other.label && one.hops === other.hops && one.self === other.self;
  // Round trips are a colour each, and figures on this tab's own links.
  const link = (/** @type {GraphLink} */ one, /** @type {GraphLink} */ other) =>
    one.key === other.key && one.own === other.own && one.relayed === other.relayed && rttClass(one.rttMs) === rttClass(other.rttMs) &&
    (!one.own || formatMs(one.rttMs) === formatMs(other.rttMs));
  return a.nodes.every((one, at) => node(one, b.nodes[at])) && a.links.every((one, at) => link(one, b.links[at]));
}

/** @param {CanvasRenderingContext2D} context @param {Scene} scene */
export function paint(context, scene) {
  const view = viewOf(scene);
  context.clearRect(0, 0, scene.width, scene.height);
  context.lineCap = "round";
  paintRings(context, scene, view);
  paintLinks(context, scene, view);
  paintPath(context, scene, view);
  paintDots(context, scene, view);
  paintNodes(context, scene, view);
  paintLabels(context, scene, view);
}

/** @param {CanvasRenderingContext2D} context @param {Scene} scene @param {View} view */
function paintRings(context, { layout, theme }, view) {
  context.strokeStyle = theme.line;
  context.lineWidth = 1;
  layout.rings.slice(1).forEach((radius, index, rings) => {
    const lost = layout.hasUnreachable && index === rings.length - 1;
    context.setLineDash(lost ? [2, 5] : []);
    context.beginPath();
    context.ellipse(view.center.x, view.center.y, radius * view.scaleX, radius * view.scaleY, 0, 0, 2 * Math.PI);
    context.stroke();
  });
  context.setLineDash([]);
}

/** @param {CanvasRenderingContext2D} context @param {Scene} scene @param {View} view */
function paintLinks(context, { layout, links, focus, theme }, view) {
  // A thousand links at full strength are a wall: the more there are, the fainter those of others.
  const crowd = Math.max(0.09, Math.min(0.55, 30 / Math.max(1, links.length)));
  const strength = (/** @type {GraphLink} */ link) => {
    if (focus) return link.source === focus || link.target === focus ? 0.75 : link.own ? 0.16 : crowd * 0.35;
    return link.own ? 0.85 : crowd;
  };
  /** One stroke for all links of a colour, strength and way. @type {Map<string, GraphLink[]>} */
  const batches = new Map();
  for (const link of links) {
    const alpha = strength(link);
    const key = `${alpha} ${rttClass(link.rttMs)} ${link.relayed ? "relayed" : "direct"}`;
    const batch = batches.get(key);
    if (batch) batch.push(link);
    else batches.set(key, [link]);
  }
  for (const [key, batch] of [...batches].sort()) {
    const [alpha, rtt, way] = key.split(" ");
    context.globalAlpha = Number(alpha);
    context.strokeStyle = theme[/** @type {"rtt-fast"} */ (`rtt-${rtt}`)];
    context.lineWidth = Number(alpha) > 0.6 ? 1.5 : 1;
    context.setLineDash(way === "relayed" ? [6, 5] : []);
    context.beginPath();
    for (const { source, target } of batch) line(context, layout, view, source, target);
    context.stroke();
  }
  context.setLineDash([]);
  context.globalAlpha = 1;
}

/** @param {CanvasRenderingContext2D} context @param {Layout} layout @param {View} view @param {string} from @param {string} to */
function line(context, layout, view, from, to) {
  const [a, b] = [layout.nodes.get(from), layout.nodes.get(to)];
  if (!a || !b) return;
  const [start, end] = [view.project(a), view.project(b)];
  context.moveTo(start.x, start.y);
  context.lineTo(end.x, end.y);
}

/** @param {CanvasRenderingContext2D} context @param {Scene} scene @param {View} view */
function paintPath(context, { layout, path, theme }, view) {
  if (path.length < 2) return;
  for (const [color, width] of /** @type {[string, number][]} */ ([[theme.panel, 7], [theme.accent, 3]])) {
    context.strokeStyle = color;
    context.lineWidth = width;
    context.beginPath();
    for (let step = 1; step < path.length; step += 1) line(context, layout, view, path[step - 1], path[step]);
    context.stroke();
  }
}

/** @param {CanvasRenderingContext2D} context @param {Scene} scene @param {View} view */
function paintDots(context, { layout, dots, theme }, view) {
  for (const { path, at, color } of dots) {
    const along = at * (path.length - 1);
    const step = Math.min(Math.floor(along), path.length - 2);
    const [a, b] = [layout.nodes.get(path[step]), layout.nodes.get(path[step + 1])];
    if (!a || !b) continue;
    const part = along - step;
    const { x, y } = view.project({ x: a.x + (b.x - a.x) * part, y: a.y + (b.y - a.y) * part });
    disc(context, x, y, 5.5, theme.panel);
    disc(context, x, y, 3.5, theme[color]);
  }
}

/** @param {CanvasRenderingContext2D} context @param {number} x @param {number} y @param {number} radius @param {string} fill */
function disc(context, x, y, radius, fill) {
  context.fillStyle = fill;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}

/** @param {CanvasRenderingContext2D} context @param {Scene} scene @param {View} view */
function paintNodes(context, scene, view) {
  const { layout, theme, focus, path } = scene;
  const near = nearFocus(scene);
  for (const node of layout.nodes.values()) {
    const { x, y } = view.project(node);
    const marked = node.id === focus || path.includes(node.id);
    context.globalAlpha = near && !near.has(node.id) && !marked && !node.self ? 0.35 : 1;
    const radius = view.radius + (node.self ? 3.5 : marked ? 1.5 : 0);
    disc(context, x, y, radius + 2.5, theme.panel); // links end at the node, not in it
    if (node.self || node.id === focus) disc(context, x, y, radius + 6, theme.halo);
    disc(context, x, y, radius, nodeFill(node, marked, theme));
    if (node.self || (node.hops !== null && node.hops <= 1)) continue;
    // Farther agents are outlines; dashed and red without any route.
    context.strokeStyle = node.hops === null ? theme.bad : marked ? theme.accent : theme.muted;
    context.lineWidth = 1.6;
    context.setLineDash(node.hops === null ? [2.5, 2.5] : []);
    context.stroke();
    context.setLineDash([]);
  }
  context.globalAlpha = 1;
}

/** @param {Placed} node @param {boolean} marked @param {Theme} theme */
function nodeFill(node, marked, theme) {
  if (node.self || (marked && node.hops !== null)) return theme.accent;
  return node.hops === 1 ? theme.ink : theme.panel;
}

/** The focused agent and its neighbours; null when nothing is in focus. @param {Scene} scene @returns {Set<string>|null} */
function nearFocus({ focus, links }) {
  if (!focus) return null;
  const near = new Set([focus]);
  for (const { source, target } of links) {
    if (source === focus) near.add(target);
    if (target === focus) near.add(source);
  }
  return near;
}

/** @typedef {{ x: number, y: number, align: CanvasTextAlign }} Spot */
/** @typedef {{ text: string, spots: Spot[], color: string, bold?: boolean, faint?: boolean, must?: boolean }} Label the first free spot is taken */
/** @typedef {{ left: number, right: number, top: number, bottom: number }} Box */

/** @param {CanvasRenderingContext2D} context @param {Scene} scene @param {View} view */
function paintLabels(context, scene, view) {
  /** @type {Box[]} */
  const nodes = Array.from(scene.layout.nodes.values(), (node) => {
    const { x, y } = view.project(node);
    const half = view.radius + 1;
    return { left: x - half, right: x + half, top: y - half, bottom: y + half };
  });
  /** @type {Box[]} */
  const labels = [];
  context.textBaseline = "middle";
  context.lineJoin = "round";
  const [important, others] = split(nodeLabels(scene, view), (label) => label.bold === true);
  for (const label of [...important, ...pathLabels(scene, view), ...others, ...linkLabels(scene, view), ...ringLabels(scene, view)]) {
    context.font = `${label.bold ? "600 " : ""}${scene.width < 420 ? 10 : 11}px ${scene.font}`;
    const { text, width } = fit(context, label.text);
    const isFree = (/** @type {Spot} */ spot) => {
      const box = boxOf(spot, width);
      const outside = box.left < 0 || box.right > scene.width || box.top < 0 || box.bottom > scene.height;
      return !outside && !labels.some((other) => overlap(box, other)) && !nodes.some((other) => overlap(box, other));
    };
    const spot = label.spots.find(isFree) ?? (label.must ? label.spots[0] : null);
    if (!spot) continue;
    const box = boxOf(spot, width);
    labels.push(box);
    const shift = Math.max(0, -box.left) - Math.max(0, box.right - scene.width);
    context.textAlign = spot.align;
    context.strokeStyle = scene.theme.panel;
    context.lineWidth = 4;
    context.strokeText(text, spot.x + shift, spot.y);
    context.fillStyle = label.color;
    context.globalAlpha = label.faint ? 0.5 : 1;
    context.fillText(text, spot.x + shift, spot.y);
    context.globalAlpha = 1;
  }
}

/** @template T @param {T[]} items @param {(item: T) => boolean} first @returns {[T[], T[]]} */
const split = (items, first) => [items.filter(first), items.filter((item) => !first(item))];

/** @param {Spot} spot @param {number} width @returns {Box} */
function boxOf({ x, y, align }, width) {
  const left = align === "left" ? x : align === "right" ? x - width : x - width / 2;
  return { left: left - 2, right: left + width + 2, top: y - 7, bottom: y + 7 };
}

/** @param {Box} a @param {Box} b */
const overlap = (a, b) => a.left < b.right && a.right > b.left && a.top < b.bottom && a.bottom > b.top;

/** The most important first: what does not fit is left out. @param {Scene} scene @param {View} view @returns {Label[]} */
function nodeLabels({ layout, focus, path, links, theme }, view) {
  const near = nearFocus(/** @type {any} */ ({ focus, links }));
  // In a crowd, only the agent in focus and its neighbours keep their names.
  const named = [...layout.nodes.values()].filter((node) => !near || near.has(node.id) || node.self || path.includes(node.id) || layout.nodes.size <= 30);
  const rank = (/** @type {Placed} */ node) => (node.id === focus ? 0 : path.includes(node.id) ? 1 : node.self ? 2 : near?.has(node.id) ? 3 : 3 + (node.hops ?? 3));
  return named
    .sort((a, b) => rank(a) - rank(b))
    .map((node) => {
      const marked = rank(node) < 3;
      return {
        text: node.self ? `${node.label} (this tab)` : node.label,
        spots: spotsAround(node, view),
        color: marked ? theme.ink : theme.muted,
        faint: near !== null && !marked && !near.has(node.id),
        bold: marked,
        must: node.id === focus,
      };
    });
}

/** Away from the middle if there is room, else beside, over or under the node. @param {Placed} node @param {View} view @returns {Spot[]} */
function spotsAround(node, view) {
  const { x, y } = view.project(node);
  const gap = view.radius + (node.self ? 12 : 7);
  const distance = Math.hypot(node.x, node.y) || 1;
  const [dx, dy] = node.self ? [0, 1] : [node.x / distance, node.y / distance];
  /** @type {Spot} */
  const outward = { x: x + dx * gap, y: y + dy * (gap + 4), align: Math.abs(dx) < 0.3 ? "center" : dx > 0 ? "left" : "right" };
  /** @type {Spot[]} */
  const sides = [{ x: x + gap, y, align: "left" }, { x: x - gap, y, align: "right" }];
  /** @type {Spot[]} */
  const poles = [{ x, y: y + gap + 4, align: "center" }, { x, y: y - gap - 4, align: "center" }];
  return [outward, ...(dx < 0 ? sides.toReversed() : sides), ...(dy < 0 ? poles.toReversed() : poles)];
}

/** What each ring means, wherever on it there is room. @param {Scene} scene @param {View} view @returns {Label[]} */
function ringLabels({ layout, theme }, view) {
  const angles = Array.from({ length: 24 }, (_, step) => -Math.PI / 2 + (step % 2 ? 1 : -1) * Math.ceil(step / 2) * (Math.PI / 12));
  return layout.rings.slice(1).map((radius, index, rings) => ({
    text: layout.hasUnreachable && index === rings.length - 1 ? "no route" : plural(index + 1, "hop"),
    spots: angles.map((angle) => ({ ...view.project({ x: radius * Math.cos(angle), y: radius * Math.sin(angle) }), align: /** @type {const} */ ("center") })),
    color: theme.muted,
  }));
}

const LABEL_PIXELS = 150;
/** What must stay at the end of a label: an id, or "(this tab)". */
const LABEL_TAIL = 11;

/** Labels that are kept with their widths: all those of a large room in two fonts. */
const FITTED_MAX = 4_096;
/** Measuring is most of what a picture costs. @type {Map<string, { text: string, width: number }>} */
const fitted = new Map();

/** As much of a label as fits, and how wide that is. @param {CanvasRenderingContext2D} context @param {string} label */
function fit(context, label) {
  const key = `${context.font} ${label}`;
  const known = fitted.get(key);
  if (known) return known;
  if (fitted.size >= FITTED_MAX) fitted.clear();
  const text = shorten(context, label);
  const made = { text, width: context.measureText(text).width };
  fitted.set(key, made);
  return made;
}

/** Shortened in the middle until it is narrow enough. @param {CanvasRenderingContext2D} context @param {string} label */
function shorten(context, label) {
  const narrow = (/** @type {string} */ text) => context.measureText(text).width <= LABEL_PIXELS;
  if (narrow(label)) return label;
  const chars = Array.from(label);
  const tail = chars.splice(-LABEL_TAIL);
  const shortened = () => `${chars.join("")}…${tail.join("")}`;
  while (!narrow(shortened()) && tail.length > 1) {
    if (chars.length > 1) chars.pop();
    else tail.shift();
  }
  return shortened();
}

/** The round trip of each step of the highlighted path. @param {Scene} scene @param {View} view @returns {Label[]} */
function pathLabels(scene, view) {
  const labels = [];
  for (let step = 1; step < scene.path.length; step += 1) {
    const [a, b] = [scene.path[step - 1], scene.path[step]];
    const link = scene.links.find(({ source, target }) => (source === a && target === b) || (source === b && target === a));
    if (link) labels.push({ ...linkLabel(scene, view, link), color: scene.theme.ink, bold: true });
  }
  return labels;
}

/** Round trips of this tab's own links, while they are few enough to read. @param {Scene} scene @param {View} view @returns {Label[]} */
function linkLabels(scene, view) {
  const own = scene.links.filter((link) => link.own && link.rttMs !== null);
  if (scene.focus || own.length > 12 || scene.width < 420) return [];
  return own.map((link) => linkLabel(scene, view, link));
}

/** @param {Scene} scene @param {View} view @param {GraphLink} link @returns {Label} */
function linkLabel({ layout, theme }, view, { source, target, rttMs }) {
  const [a, b] = [layout.nodes.get(source), layout.nodes.get(target)].map((node) => view.project(node ?? { x: 0, y: 0 }));
  // Beside the middle of the link there is room where two links cross in their middles.
  const spots = [0.5, 0.6, 0.4].map((part) => ({ x: a.x + (b.x - a.x) * part, y: a.y + (b.y - a.y) * part, align: /** @type {const} */ ("center") }));
  return { text: formatMs(rttMs), spots, color: theme.muted };
}
