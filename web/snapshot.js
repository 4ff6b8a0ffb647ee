// What mesh.peers(), routes(), topology() and stats() say at one moment, made uniform for the views: names
// filled in, links once each, paths from this tab to the destination, numbers as numbers.

import { shortId } from "./format.js";

/**
 * @typedef {{ id: string, name: string, direct: boolean, hops: number|null, nextHop: string|null, rttMs: number|null, inHub: boolean }} Peer
 * @typedef {{ destination: string, name: string, nextHop: string, hops: number, path: string[] }} Route
 * @typedef {{ id: string, name: string, self: boolean, hops: number|null }} GraphNode
 * @typedef {{ key: string, source: string, target: string, rttMs: number|null, own: boolean }} GraphLink
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
 * @param {string} ownName
 * @returns {Snapshot}
 */
export function readSnapshot({ now, peers: rawPeers, routes: rawRoutes, topology, stats: rawStats }, previous, ownName) {
  const self = topology.self;
  const names = new Map(topology.nodes.map((/** @type {any} */ node) => [node.id, node.name]));
  for (const peer of rawPeers) names.set(peer.id, peer.name);
  names.set(self, ownName);
  const nameOf = (/** @type {string} */ id) => names.get(id) || shortId(id);

  const byDistance = (/** @type {Peer} */ a, /** @type {Peer} */ b) =>
    (a.hops ?? Infinity) - (b.hops ?? Infinity) || compareNames(a.name, b.name);
  const peers = rawPeers
    .map((peer) => ({
      id: peer.id,
      name: nameOf(peer.id),
      direct: Boolean(peer.direct),
      hops: peer.hops ?? null,
      nextHop: peer.nextHop ?? null,
      rttMs: peer.rttMs ?? null,
      inHub: Boolean(peer.inHub),
    }))
    .sort((a, b) => byDistance(a, b) || (a.id < b.id ? -1 : 1));
  const routes = rawRoutes
    .map((route) => ({
      destination: route.destination,
      name: nameOf(route.destination),
      nextHop: route.nextHop,
      hops: route.hops,
      path: wholePath(route, self),
    }))
    .sort((a, b) => a.hops - b.hops || compareNames(a.name, b.name));
  const stats = readStats(rawStats);
  return {
    at: now,
    self,
    peers,
    routes,
    graph: buildGraph(self, topology, peers, routes, nameOf),
    stats,
    rates: previous && now > previous.at ? ratesBetween(previous, stats, now) : (previous?.rates ?? null),
  };
}

/** agent-2 before agent-10. @param {string} a @param {string} b */
export const compareNames = (a, b) => COLLATOR.compare(a, b);
const COLLATOR = new Intl.Collator("en", { numeric: true });

/** The path with both of its ends, whichever of them the mesh left out. @param {any} route @param {string} self */
function wholePath(route, self) {
  const path = [...(route.path ?? [route.nextHop])];
  if (path[0] !== self) path.unshift(self);
  if (path.at(-1) !== route.destination) path.push(route.destination);
  return path;
}

/**
 * @param {string} self @param {any} topology @param {Peer[]} peers @param {Route[]} routes
 * @param {(id: string) => string} nameOf
 * @returns {Graph}
 */
function buildGraph(self, topology, peers, routes, nameOf) {
  const paths = new Map(routes.map((route) => [route.destination, route.path]));
  const byId = new Map(peers.map((peer) => [peer.id, peer]));
  // A newcomer is a member before its first link-state record arrives, and the other way round.
  const ids = new Set([self, ...topology.nodes.map((/** @type {any} */ node) => node.id), ...byId.keys()]);
  const nodes = Array.from(ids, (id) => ({
    id,
    name: nameOf(id),
    self: id === self,
    hops: id === self ? 0 : (byId.get(id)?.hops ?? null),
  }));
  return { nodes, links: uniqueLinks(topology.links, ids, self), paths };
}

/**
 * Both ends of a link report it, each with its own round trip: the page draws it once, with the better one.
 * @param {any[]} rawLinks @param {Set<string>} ids @param {string} self @returns {GraphLink[]}
 */
function uniqueLinks(rawLinks, ids, self) {
  /** @type {Map<string, GraphLink>} */
  const links = new Map();
  for (const { source: a, target: b, rttMs } of rawLinks) {
    if (a === b || !ids.has(a) || !ids.has(b)) continue;
    const [source, target] = a < b ? [a, b] : [b, a];
    const key = `${source} ${target}`;
    const other = links.get(key);
    const rtt = Math.min(rttMs ?? Infinity, other?.rttMs ?? Infinity);
    links.set(key, { key, source, target, rttMs: rtt === Infinity ? null : rtt, own: source === self || target === self });
  }
  return [...links.values()];
}

/** @param {any} raw @returns {Stats} */
function readStats(raw) {
  const number = (/** @type {string} */ key) => Number(raw[key] ?? 0); // 64-bit counters may come as BigInt
  return {
    sent: number("sent"),
    delivered: number("delivered"),
    forwarded: number("forwarded"),
    broadcasts: number("broadcasts"),
    framesIn: number("framesIn"),
    framesOut: number("framesOut"),
    bytesIn: number("bytesIn"),
    bytesOut: number("bytesOut"),
    links: {
      open: Number(raw.links?.open ?? 0),
      negotiating: Number(raw.links?.negotiating ?? 0),
      wanted: Number(raw.links?.wanted ?? 0),
    },
    lost: counters(raw.lost),
    rejected: counters(raw.rejected),
  };
}

/** @param {Record<string, unknown>|Map<string, unknown>|undefined} raw @returns {Record<string, number>} */
function counters(raw) {
  const entries = raw instanceof Map ? [...raw] : Object.entries(raw ?? {});
  return Object.fromEntries(
    entries
      .map(([reason, count]) => /** @type {[string, number]} */ ([reason, Number(count)]))
      .filter(([, count]) => count > 0)
      .sort((a, b) => b[1] - a[1]),
  );
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
