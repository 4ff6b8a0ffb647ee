// The page's whole state as one pure function: (state, event) -> state. No DOM, no network, no clock: each
// event carries `now` (milliseconds since 1970). Mesh events keep their own type; what the page itself did
// has a type that starts with "page/".

import { humanReason, shortId } from "./format.js";
import { ambiguousLabels } from "./names.js";
import { previewPayload } from "./payload.js";
import { readSnapshot } from "./snapshot.js";

/** @typedef {import("./payload.js").Preview} Preview */
/** @typedef {import("./failures.js").Failure} Failure */
/** @typedef {import("./snapshot.js").Snapshot} Snapshot */
/**
 * @typedef {{ id: string, name: string }} PeerRef
 * @typedef {"received"|"answered"|"sent"|"delivered"|"failed"} MessageStatus
 * @typedef {{
 *   key: number, id: string|null, direction: "in"|"out", peer: PeerRef|null, topic: string|null,
 *   payload: Preview, hops: number|null, latencyMs: number|null, delivery: string, wantsReply: boolean,
 *   status: MessageStatus, roundTripMs: number|null, reason: string|null, failedAt: PeerRef|null, at: number,
 * }} MessageEntry  `peer` is the author of what came in and the addressee of what went out; null is everyone.
 * @typedef {{ key: number, at: number, level: "info"|"warn", text: string, reason: string|null }} ActivityEntry
 * @typedef {{ status: "waiting"|"answered"|"failed", roundTripMs: number|null, reason: string|null }} Ping
 * @typedef {{ about: string, outcome: "ok"|"note"|"wrong", found: string, remedy?: string }} Finding
 * @typedef {{ ends: string[], status: "asked"|"told", findings: Finding[] }} Pair
 * @typedef {{
 *   phase: "connecting"|"joined"|"hub-lost"|"failed", since: number,
 *   room: string, name: string, signaling: string|string[], self: string|null,
 *   failure: Failure|null, hub: { reason: string, retryAt: number }|null,
 *   members: number, roster: Record<string, string>, labels: Map<string, string>, snapshot: Snapshot|null,
 *   messages: MessageEntry[], activity: ActivityEntry[], outcomes: Record<string, object>,
 *   tracks: { id: string, peer: string, kind: string, stream: MediaStream }[], sending: { peer: string, source: string }[],
 *   pings: Record<string, Ping>, pair: Pair|null, missed: number, selected: string|null, hovered: string|null, nextKey: number,
 * }} State  `labels` has those agents whose name alone could be taken for another's.
 */

export const MAX_MESSAGES = 500;
export const MAX_ACTIVITY = 200;
const MAX_OUTCOMES = 100;
/** Those that are shown at once: more than a screen has room for. */
const MAX_TRACKS = 32;

/** @param {{ room: string, name: string, signaling: string|string[], now: number }} start @returns {State} */
export function initialState({ room, name, signaling, now }) {
  return {
    phase: "connecting",
    since: now,
    room,
    name,
    signaling,
    self: null,
    failure: null,
    hub: null,
    members: 0,
    roster: {},
    labels: new Map(),
    snapshot: null,
    messages: [],
    activity: [],
    outcomes: {},
    pings: {},
    pair: null,
    tracks: [],
    sending: [],
    missed: 0,
    selected: null,
    hovered: null,
    nextKey: 1,
  };
}

/** @param {State} state @param {{ type: string, now: number, [field: string]: any }} event @returns {State} */
export function reduce(state, event) {
  const handler = Object.hasOwn(HANDLERS, event.type) ? HANDLERS[event.type] : null;
  return handler ? relabel(state, handler(state, event)) : state;
}

/** Looks for names that look the same, of members and in the log, when either has changed. @param {State} before @param {State} state */
function relabel(before, state) {
  if (before.roster === state.roster && before.messages === state.messages && before.self === state.self) return state;
  const labels = labelsFor(state);
  const same = labels.size === state.labels.size && [...labels].every(([id, label]) => state.labels.get(id) === label);
  return same ? state : { ...state, labels };
}

/** @param {State} state */
function labelsFor({ messages, roster, self, name }) {
  const authors = messages.flatMap(({ peer }) => peer ?? []);
  const members = Object.entries(roster).map(([id, name]) => ({ id, name }));
  return ambiguousLabels([...authors, ...members, ...(self === null ? [] : [{ id: self, name }])]);
}

/** A name, with the id where the name alone could be taken for another's. @param {State} state @param {PeerRef} peer */
export const labelOf = (state, { id, name }) => state.labels.get(id) ?? name;

/** @param {State} state @param {string} id @returns {PeerRef} */
export function peerRef(state, id) {
  if (id === state.self) return { id, name: state.name };
  return { id, name: state.roster[id] ?? shortId(id) };
}

/** @param {State} state @param {string} id */
const nameIn = (state, id) => labelOf(state, peerRef(state, id));

/** @type {Record<string, (state: State, event: any) => State>} */
const HANDLERS = {
  // ── this tab and the hub ──
  "page/connecting": (state, { now }) => ({
    ...state,
    phase: "connecting",
    since: now,
    failure: null,
    hub: null,
    self: null,
    members: 0,
    roster: {},
    snapshot: null,
    outcomes: {},
    pings: {},
    pair: null,
    tracks: [],
    sending: [],
    selected: null,
    hovered: null,
  }),
  "page/entered": (state, { now, id, name, room }) =>
    ({ ...state, phase: "joined", since: now, failure: null, self: id, name, room, members: Math.max(state.members, 1) }),
  "page/failed": (state, { now, failure }) => ({ ...state, phase: "failed", since: now, failure, hub: null }),
  joined: onJoined,
  left: (state, { now, failure }) => ({ ...state, phase: "failed", since: now, hub: null, failure: failure ?? state.failure }),
  signalingLost: (state, { now, reason, retryInMs }) => {
    const next = {
      ...state,
      phase: state.phase === "joined" ? /** @type {const} */ ("hub-lost") : state.phase,
      since: state.phase === "joined" ? now : state.since,
      hub: { reason, retryAt: now + (retryInMs ?? 0) },
    };
    // The mesh retries for as long as the hub is away: one line tells it, not one a retry.
    return state.hub ? next : note(next, now, "warn", "The hub is gone; the mesh goes on", reason);
  },
  signalingRestored: (state, { now }) => {
    const phase = state.phase === "hub-lost" ? /** @type {const} */ ("joined") : state.phase;
    return note({ ...state, phase, since: now, hub: null }, now, "info", "The hub is back");
  },
  signalingMoved: (state, { now }) => note(state, now, "info", "Another hub serves this tab now"),

  // ── members and links ──
  peerJoined: (state, { now, peer, name }) => {
    const known = Object.hasOwn(state.roster, peer);
    const next = relabel(state, { ...state, roster: { ...state.roster, [peer]: name } });
    // The hub's count comes first and has them all; then each is told alone.
    next.members = Math.max(state.members, Object.keys(next.roster).length + 1);
    return known ? next : note(next, now, "info", `${nameIn(next, peer)} joined`);
  },
  peerLeft: onPeerLeft,
  linkOpened: (state, { now, peer, setupMs }) =>
    note(state, now, "info", `Link to ${nameIn(state, peer)} open after ${Math.round(setupMs ?? 0)} ms`),
  linkRotated: (state, { now, peer, tookMs }) =>
    note(state, now, "info", `Link to ${nameIn(state, peer)} has fresh keys after ${Math.round(tookMs ?? 0)} ms`),
  linkPath: (state, { now, peer, path }) =>
    path.relayed ? note(state, now, "info", `Link to ${nameIn(state, peer)} goes over a TURN server`, `${path.local} to ${path.remote}`) : state,
  linkClosed: (state, { now, peer, reason }) => note(state, now, "info", `Link to ${nameIn(state, peer)} closed`, reason),
  linkFailed: (state, { now, peer, reason }) => note(state, now, "warn", `Link to ${nameIn(state, peer)} failed`, reason),
  rejected: (state, { now, via, author, reason }) => {
    const who = author ? ` signed ${nameIn(state, author)}` : "";
    return note(state, now, "warn", `Rejected a message${who} that came over ${nameIn(state, via)}`, reason);
  },
  lagged: (state, { now, missed }) =>
    note({ ...state, missed: state.missed + missed }, now, "warn", `This page was too slow: ${missed} events missed`),
  refused: (state, { now, code, message }) => note(state, now, "warn", `The hub refuses this tab: ${message}`, code),
  warning: (state, { now, code, message }) => note(state, now, "warn", message, code),
  "page/unshown": (state, { now, what }) => note(state, now, "warn", `An event (${humanReason(what)}) could not be shown; the page goes on`),
  "page/snapshot": onSnapshot,

  // ── messages ──
  message: onMessage,
  delivered: (state, { id, roundTripMs }) =>
    settle(state, id, { status: "delivered", roundTripMs: roundTripMs ?? null, reason: null, failedAt: null }),
  deliveryFailed: (state, { id, reason, at }) =>
    settle(state, id, { status: "failed", reason, failedAt: at ? peerRef(state, at) : null }),
  "page/sent": onSent,
  "page/replied": (state, { id }) => updateMessage(state, id, (entry) => entry.direction === "in", { status: "answered" }),
  "page/pinged": (state, { peer }) => setPing(state, peer, { status: "waiting", roundTripMs: null, reason: null }),
  "page/pong": (state, { now, peer, roundTripMs }) =>
    note(
      setPing(state, peer, { status: "answered", roundTripMs, reason: null }),
      now, "info", `${nameIn(state, peer)} answered a ping after ${roundTripMs.toFixed(1)} ms`,
    ),
  "page/pingFailed": (state, { now, peer, reason }) =>
    note(
      setPing(state, peer, { status: "failed", roundTripMs: null, reason }),
      now, "warn", `${nameIn(state, peer)} did not answer a ping`, reason,
    ),

  // ── why two are not linked ──
  "page/pairAsked": (state, { ends }) => ({ ...state, pair: { ends, status: "asked", findings: [] } }),
  "page/pairTold": (state, { ends, findings }) => tellPair(state, ends, findings),
  "page/pairFailed": (state, { ends, reason }) => {
    const about = ends.map((/** @type {string} */ id) => nameIn(state, id)).join(" - ");
    return tellPair(state, ends, [{ about, outcome: "wrong", found: `not asked: ${reason}` }]);
  },

  // ── sound and pictures ──
  track: onTrack,
  trackEnded: (state, { peer, id }) => {
    const tracks = state.tracks.filter((track) => track.peer !== peer || track.id !== id);
    return tracks.length === state.tracks.length ? state : { ...state, tracks };
  },
  "page/sending": (state, { sending }) => ({ ...state, sending }),
  "page/notSent": (state, { now, what, reason }) => note(state, now, "warn", `${what} not sent`, reason),

  // ── what the person looks at ──
  "page/select": (state, { id }) => (state.selected === id ? state : { ...state, selected: id, pair: null }),
  "page/hover": (state, { id }) => (state.hovered === id ? state : { ...state, hovered: id }),
};

/** @param {State} state @param {any} event @returns {State} */
function onJoined(state, { now, room, members }) {
  const all = members + 1; // The event counts the others.
  const next = { ...state, phase: /** @type {const} */ ("joined"), since: now, hub: null, failure: null, room, members: all };
  return note(next, now, "info", `Joined room ${room}`);
}

/** @param {State} state @param {any} event @returns {State} */
function onPeerLeft(state, { now, peer }) {
  if (!Object.hasOwn(state.roster, peer)) return state;
  const { [peer]: _name, ...roster } = state.roster;
  const { [peer]: _ping, ...pings } = state.pings;
  const next = {
    ...state,
    roster,
    pings,
    members: Math.max(1, state.members - 1),
    selected: state.selected === peer ? null : state.selected,
    hovered: state.hovered === peer ? null : state.hovered,
  };
  return note(next, now, "info", `${nameIn(state, peer)} left`);
}

/** @param {State} state @param {any} event @returns {State} */
function onSnapshot(state, { now, peers, routes, topology, stats }) {
  const roster = Object.fromEntries(peers.map((/** @type {PeerRef} */ { id, name }) => [id, name || shortId(id)]));
  const labels = labelsFor({ ...state, roster });
  const snapshot = readSnapshot({ now, peers, routes, topology, stats }, state.snapshot, { labels, ownName: state.name });
  const stillHere = (/** @type {string|null} */ id) => (id === state.self || Object.hasOwn(roster, id ?? "") ? id : null);
  return {
    ...state,
    snapshot,
    roster,
    members: snapshot.peers.length + 1,
    selected: stillHere(state.selected),
    hovered: stillHere(state.hovered),
  };
}

/** The answer to another question than the last is no longer of interest. @param {State} state @param {string[]} ends @param {Finding[]} findings @returns {State} */
function tellPair(state, ends, findings) {
  if (state.pair?.status !== "asked" || String(state.pair.ends) !== String(ends)) return state;
  return { ...state, pair: { ends, status: "told", findings } };
}

/** Of a track that has ended before it was told there is nothing to show. @param {State} state @param {any} event @returns {State} */
function onTrack(state, { now, peer, id, kind, stream }) {
  if (!stream || state.tracks.length >= MAX_TRACKS) return state;
  const next = { ...state, tracks: [...state.tracks, { id, peer, kind, stream }] };
  return note(next, now, "info", `${nameIn(state, peer)} sends ${kind === "video" ? "pictures" : "sound"}`);
}

/** @param {State} state @param {any} event @returns {State} */
function onMessage(state, event) {
  return append(state, {
    id: event.id,
    direction: "in",
    peer: { id: event.from, name: event.name || peerRef(state, event.from).name },
    topic: event.topic ?? null,
    payload: previewPayload(event.payload),
    hops: event.hops ?? null,
    latencyMs: event.latencyMs ?? null,
    delivery: event.delivery ?? "",
    wantsReply: Boolean(event.wantsReply),
    status: "received",
    roundTripMs: null,
    reason: null,
    failedAt: null,
    at: event.now,
  });
}

/** @param {State} state @param {any} event @returns {State} */
function onSent(state, { now, id, to, topic, payload, delivery }) {
  // The acknowledgement of a message to a near peer can be told before `send` has returned its id.
  const { [id]: outcome, ...outcomes } = state.outcomes;
  return append({ ...state, outcomes }, {
    id,
    direction: "out",
    peer: to === null ? null : peerRef(state, to),
    topic: topic ?? null,
    payload: previewPayload(payload),
    hops: null,
    latencyMs: null,
    delivery,
    wantsReply: false,
    status: "sent",
    roundTripMs: null,
    reason: null,
    failedAt: null,
    at: now,
    ...outcome,
  });
}

/** @param {State} state @param {Omit<MessageEntry, "key">} entry @returns {State} */
function append(state, entry) {
  const messages = state.messages.slice(-(MAX_MESSAGES - 1));
  messages.push({ key: state.nextKey, ...entry });
  return { ...state, messages, nextKey: state.nextKey + 1 };
}

/** @param {State} state @param {string} id @param {Partial<MessageEntry>} outcome @returns {State} */
function settle(state, id, outcome) {
  const isOut = (/** @type {MessageEntry} */ entry) => entry.direction === "out";
  const next = updateMessage(state, id, isOut, outcome);
  if (next !== state) return next;
  const kept = Object.entries(state.outcomes).slice(-(MAX_OUTCOMES - 1));
  return { ...state, outcomes: { ...Object.fromEntries(kept), [id]: outcome } };
}

/**
 * @param {State} state @param {string} id @param {(entry: MessageEntry) => boolean} matches
 * @param {Partial<MessageEntry>} change @returns {State}
 */
function updateMessage(state, id, matches, change) {
  const index = state.messages.findLastIndex((entry) => entry.id === id && matches(entry));
  if (index < 0) return state;
  return { ...state, messages: state.messages.with(index, { ...state.messages[index], ...change }) };
}

/** @param {State} state @param {string} peer @param {Ping} ping @returns {State} */
function setPing(state, peer, ping) {
  return { ...state, pings: { ...state.pings, [peer]: ping } };
}

/**
 * @param {State} state @param {number} now @param {"info"|"warn"} level @param {string} text
 * @param {string|null} [reason] @returns {State}
 */
function note(state, now, level, text, reason = null) {
  const activity = state.activity.slice(-(MAX_ACTIVITY - 1));
  activity.push({ key: state.nextKey, at: now, level, text, reason });
  return { ...state, activity, nextKey: state.nextKey + 1 };
}
