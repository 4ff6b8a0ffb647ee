// What mesh.peers(), routes(), topology() and stats() say at one moment, made uniform for the views: names
// filled in, with the id beside those that could be taken for another's, and sorted.

import { shortId } from "./format.js";

/**
 * @typedef {{ local: string, remote: string, relayed: boolean }} Way of a link: the kinds of addresses at its ends
 * @typedef {{ id: string, name: string, label: string, direct: boolean, hops: number|null, nextHop: string|null, rttMs: number|null, loss: number|null, way: Way|null, bytesIn: number, bytesOut: number, inHub: boolean }} Peer
 * @typedef {{ destination: string, label: string, nextHop: string, hops: number, path: string[] }} Route
 * @typedef {{ id: string, label: string, self: boolean, hops: number|null }} GraphNode
 * @typedef {{ key: string, source: string, target: string, rttMs: number|null, own: boolean, relayed: boolean }} GraphLink `relayed` only if it is own
 * @typedef {{ nodes: GraphNode[], links: GraphLink[], paths: Map<string, string[]> }} Graph
 * @typedef {{
 *   sent: number, delivered: number, forwarded: number, broadcasts: number, framesIn: number, framesOut: number,
 *   bytesIn: number, bytesOut: number, links: { open: number, negotiating: number, wanted: number },
 *   lost: Record<string, number>, rejected: Record<string, number>,
 * }} Stats
 * @typedef {Record<"sent"|"delivered"|"forwarded"|"framesIn"|"framesOut"|"bytesIn"|"bytesOut", number>} Rates per second
 * @typedef {{ at: number, self: string, peers: Peer[], routes: Route[], graph: Graph, stats: Stats, rates: Rates|null }} Snapshot
 */

const RATED = /** @type {const} */ (["sent", "delivered", "forwarded", "framesIn", "framesOut", "bytesIn", "bytesOut"]);

/**
 * @param {{ now: number, peers: any[], routes: any[], topology: any, stats: any }} raw
 * @param {Snapshot|null} previous
 * @param {{ labels: Map<string, string>, ownName: string }} naming
 * @returns {Snapshot}
 */
export function readSnapshot({ now, peers: rawPeers, routes: rawRoutes, topology, stats: rawStats }, previous, { labels, ownName }) {
  const self = topology.self;
  const names = new Map(topology.nodes.map((/** @type {any} */ node) => [node.id, node.name]));
  for (const peer of rawPeers) names.set(peer.id, peer.name);
  names.set(self, ownName);
  const nameOf = (/** @type {string} */ id) => names.get(id) || shortId(id);
  const labelOf = (/** @type {string} */ id) => labels.get(id) ?? nameOf(id);

  const byDistance = (/** @type {Peer} */ a, /** @type {Peer} */ b) =>
    (a.hops ?? Infinity) - (b.hops ?? Infinity) || compareNames(a.name, b.name);
  const peers = rawPeers
    .map((peer) => ({
      id: peer.id,
      name: nameOf(peer.id),
      label: labelOf(peer.id),
      direct: Boolean(peer.direct),
      hops: peer.hops ?? null,
      nextHop: peer.nextHop ?? null,
      rttMs: peer.rttMs ?? null,
      loss: peer.loss ?? null,
      way: peer.path ?? null,
      bytesIn: peer.bytesIn ?? 0,
      bytesOut: peer.bytesOut ?? 0,
      inHub: Boolean(peer.inHub),
    }))
    .sort((a, b) => byDistance(a, b) || (a.id < b.id ? -1 : 1));
  const routes = rawRoutes
    .map((route) => ({
      destination: route.destination,
      label: labelOf(route.destination),
      nextHop: route.nextHop,
      hops: route.hops,
      path: route.path,
    }))
    .sort((a, b) => a.hops - b.hops || compareNames(a.label, b.label));
  const stats = readStats(rawStats);
  return {
    at: now,
    self,
    peers,
    routes,
    graph: buildGraph(self, topology, peers, routes, { labelOf, ownName }),
    stats,
    rates: previous && now > previous.at ? ratesBetween(previous, stats, now) : (previous?.rates ?? null),
  };
}

/** agent-2 before agent-10. @param {string} a @param {string} b */
export const compareNames = (a, b) => COLLATOR.compare(a, b);
const COLLATOR = new Intl.Collator("en", { numeric: true });

/**
 * @param {string} self @param {any} topology @param {Peer[]} peers @param {Route[]} routes
 * @param {{ labelOf: (id: string) => string, ownName: string }} naming
 * @returns {Graph}
 */
function buildGraph(self, topology, peers, routes, { labelOf, ownName }) {
  const paths = new Map(routes.map((route) => [route.destination, route.path]));
  const byId = new Map(peers.map((peer) => [peer.id, peer]));
  // A newcomer is a member before its first link-state record arrives, and the other way round.
  const ids = new Set([self, ...topology.nodes.map((/** @type {any} */ node) => node.id), ...byId.keys()]);
  const nodes = Array.from(ids, (id) => ({
    id,
    label: id === self ? ownName : labelOf(id),
    self: id === self,
    hops: id === self ? 0 : (byId.get(id)?.hops ?? null),
  }));
  const links = topology.links
    .filter((/** @type {any} */ { source, target }) => ids.has(source) && ids.has(target))
    .map((/** @type {any} */ { source, target, rttMs }) => {
      const other = source === self ? target : target === self ? source : null;
      const relayed = other !== null && Boolean(byId.get(other)?.way?.relayed);
      return { key: `${source} ${target}`, source, target, rttMs, own: other !== null, relayed };
    });
  return { nodes, links, paths };
}

/** @param {any} raw @returns {Stats} */
function readStats({ sent, delivered, forwarded, broadcasts, framesIn, framesOut, bytesIn, bytesOut, links, lost, rejected }) {
  const { open, negotiating, wanted } = links;
  return {
    sent, delivered, forwarded, broadcasts, framesIn, framesOut, bytesIn, bytesOut,
    links: { open, negotiating, wanted },
    lost: counters(lost),
    rejected: counters(rejected),
  };
}

/** Those reasons that happened, the most frequent first. @param {Record<string, number>} raw @returns {Record<string, number>} */
function counters(raw) {
  return Object.fromEntries(Object.entries(raw).filter(([, count]) => count > 0).sort((a, b) => b[1] - a[1]));
}

/** @param {Snapshot} previous @param {Stats} stats @param {number} now @returns {Rates} */
function ratesBetween(previous, stats, now) {
  const seconds = (now - previous.at) / 1000;
  const rate = (/** @type {typeof RATED[number]} */ key) => {
    const fresh = Math.max(0, stats[key] - previous.stats[key]) / seconds;
    // Two polls can be a frame apart: smoothed, the figure can be read.
    return previous.rates ? previous.rates[key] * 0.6 + fresh * 0.4 : fresh;
  };
  return /** @type {Rates} */ (Object.fromEntries(RATED.map((key) => [key, rate(key)])));
}
