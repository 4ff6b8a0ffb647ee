// The tables beside the graph: every peer, every route. They are also the graph for those who cannot see it
// or have no pointer: a name is a button that selects the agent, as a tap on its node does.

import { formatHops, formatMs, humanReason, plural, rttClass, shortId } from "../format.js";
import { byId, h, setData, setText, syncChildren } from "./dom.js";
import { roving } from "./roving.js";

/** @typedef {import("../state.js").State} State */
/** @typedef {{ select: (id: string|null) => void, hover: (id: string|null) => void, ping: (id: string) => void }} Actions */

/** @param {Actions} actions @returns {(state: State) => void} */
export function peersView(actions) {
  const filter = /** @type {HTMLInputElement} */ (byId("filter"));
  const peers = byId("peers");
  const routes = byId("routes");
  const roves = [roving(peers), roving(routes)];
  /** @type {State|null} */
  let last = null;
  const render = (/** @type {State} */ state) => {
    const unchanged = last && last.snapshot === state.snapshot && last.pings === state.pings && last.selected === state.selected;
    last = state;
    if (unchanged) return;
    const needle = filter.value.trim().toLowerCase();
    const matches = (/** @type {string} */ name, /** @type {string} */ id) => name.toLowerCase().includes(needle) || id.startsWith(needle);
    renderPeers(state, peers, matches, actions);
    renderRoutes(state, routes, matches, actions);
    for (const rove of roves) rove();
  };
  filter.addEventListener("input", () => {
    const state = last;
    last = null;
    if (state) render(state);
  });
  for (const list of [peers, routes]) listenForHover(list, actions);
  return render;
}

/** @param {HTMLElement} list @param {Actions} actions */
function listenForHover(list, actions) {
  list.addEventListener("pointerover", (event) => {
    if (event.pointerType !== "mouse") return; // a tap selects; a hover that never ends would only confuse
    const row = /** @type {HTMLElement} */ (event.target).closest("[data-peer]");
    actions.hover(/** @type {HTMLElement|null} */ (row)?.dataset.peer ?? null);
  });
  list.addEventListener("pointerleave", () => actions.hover(null));
}

/** @param {State} state @param {HTMLElement} body @param {(name: string, id: string) => boolean} matches @param {Actions} actions */
function renderPeers(state, body, matches, actions) {
  const all = state.snapshot?.peers ?? [];
  const labels = new Map(all.map((peer) => [peer.id, peer.label]));
  const rows = all
    .filter((peer) => matches(peer.name, peer.id))
    .map((peer) => ({
      ...peer,
      nextName: peer.direct ? "direct" : peer.nextHop ? (labels.get(peer.nextHop) ?? shortId(peer.nextHop)) : "–",
      ping: state.pings[peer.id] ?? null,
      selected: state.selected === peer.id,
    }));
  syncChildren(body, rows, (row) => row.id, (row) => createPeerRow(row.id, actions), updatePeerRow);
  byId("peers-table").hidden = rows.length === 0;
  const alone = "No other agent is here yet. Share the invite link, or start some: mesh up --agents 20";
  showEmpty("peers-empty", rows.length, all.length, state.snapshot ? alone : "Shown once this tab is in a mesh.");
  setText(byId("tab-peers"), all.length ? `Peers ${all.length}` : "Peers");
}

/** @param {string} id @param {Actions} actions */
function createPeerRow(id, { select, ping }) {
  const onclick = (/** @type {MouseEvent} */ event) => select(/** @type {HTMLElement} */ (event.currentTarget).ariaPressed === "true" ? null : id);
  return h(
    "tr",
    { "data-peer": id },
    h("th", { scope: "row" }, h("button", { type: "button", class: "name", dir: "auto", onclick }), h("span", { class: "id" }, shortId(id))),
    h("td", { class: "num" }),
    h("td", { class: "next", dir: "auto" }),
    h("td", { class: "num" }, h("span", { class: "rtt" })),
    h("td", { class: "num" }, h("button", { type: "button", class: "quiet small ping", onclick: () => ping(id) }, "Ping")),
  );
}

/** @param {HTMLElement} row @param {any} peer */
function updatePeerRow(row, peer) {
  const [agent, hops, next, rtt, action] = /** @type {HTMLElement[]} */ ([...row.children]);
  const name = /** @type {HTMLElement} */ (agent.firstElementChild);
  setText(name, peer.name);
  setData(row, "ambiguous", peer.label === peer.name ? null : "");
  name.ariaPressed = String(peer.selected);
  setData(row, "hops", String(peer.hops ?? ""));
  setText(hops, peer.hops === null ? "–" : String(peer.hops));
  hops.title = peer.hops === null ? "no route" : formatHops(peer.hops);
  setText(next, peer.nextName);
  setText(/** @type {HTMLElement} */ (rtt.firstElementChild), peer.direct ? formatMs(peer.rttMs) : "");
  setData(/** @type {HTMLElement} */ (rtt.firstElementChild), "rtt", peer.direct ? rttClass(peer.rttMs) : null);
  renderPing(/** @type {HTMLButtonElement} */ (action.firstElementChild), peer.ping, peer.label);
}

/** @param {HTMLButtonElement} button @param {import("../state.js").Ping|null} ping @param {string} label */
export function renderPing(button, ping, label) {
  const waiting = ping?.status === "waiting";
  const text = !ping ? "Ping" : waiting ? "waiting" : ping.status === "answered" ? formatMs(ping.roundTripMs) : "no answer";
  setText(button, text);
  setData(button, "ping", ping?.status ?? null);
  button.title = ping?.reason ? humanReason(ping.reason) : "Send a request and time the answer";
  button.setAttribute("aria-label", `Ping ${label}${ping ? `, ${waiting ? "" : "last: "}${text}` : ""}`);
  button.setAttribute("aria-disabled", String(waiting));
}

/** @param {State} state @param {HTMLElement} list @param {(name: string, id: string) => boolean} matches @param {Actions} actions */
function renderRoutes(state, list, matches, actions) {
  const all = state.snapshot?.routes ?? [];
  const names = new Map(state.snapshot?.graph.nodes.map((node) => [node.id, node.label]));
  const rows = all.filter((route) => matches(route.label, route.destination)).map((route) => ({
    ...route,
    selected: state.selected === route.destination,
    steps: route.path.slice(1).map((id) => names.get(id) ?? shortId(id)),
  }));
  const create = (/** @type {typeof rows[number]} */ { destination }) => {
    const onclick = (/** @type {MouseEvent} */ event) =>
      actions.select(/** @type {HTMLElement} */ (event.currentTarget).ariaPressed === "true" ? null : destination);
    return h("li", { "data-peer": destination }, h("button", { type: "button", class: "name", dir: "auto", onclick }), h("span", { class: "steps", dir: "auto" }), h("span", { class: "num" }));
  };
  syncChildren(list, rows, (row) => row.destination, create, (item, row) => {
    const [name, steps, hops] = /** @type {HTMLElement[]} */ ([...item.children]);
    setText(name, row.label);
    name.ariaPressed = String(row.selected);
    setText(steps, row.steps.length > 1 ? `via ${row.steps.slice(0, -1).join(" → ")}` : "direct link");
    setText(hops, formatHops(row.hops));
  });
  showEmpty("routes-empty", rows.length, all.length, "No routes yet.");
  setText(byId("tab-routes"), all.length ? `Routes ${all.length}` : "Routes");
}

/** @param {string} id @param {number} shown @param {number} total @param {string} whenNone */
function showEmpty(id, shown, total, whenNone) {
  const empty = byId(id);
  empty.hidden = shown > 0;
  setText(empty, total > 0 ? `None of the ${plural(total, "entry", "entries")} matches this filter.` : whenNone);
}
