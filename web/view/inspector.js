// What is known of the agent in focus: the one under the pointer, else the one that was chosen.

import { formatBytes, formatHops, formatLoss, formatMs, formatWay, rttClass, shortId } from "../format.js";
import { peerRef } from "../state.js";
import { byId, copyFrom, h, setData, setText } from "./dom.js";
import { renderPing } from "./peers.js";

/** @typedef {import("../state.js").State} State */
/** @typedef {{ select: (id: string|null) => void, ping: (id: string) => void, write: (id: string) => void }} Actions */

/** @param {Actions} actions @returns {(state: State) => void} */
export function inspectorView(actions) {
  const box = byId("inspector");
  const hint = h("p", { class: "muted" }, "Point at an agent, or tap it, to see its path. Filled: linked to this tab. Outlined: reached through others.");
  /** @type {string|null} */
  let shown = null;
  /** @type {HTMLElement|null} */
  let card = null;
  box.append(hint);
  return (state) => {
    const focus = state.hovered ?? state.selected;
    if (focus !== shown || !card) {
      shown = focus;
      card = focus ? createCard(focus, state, actions) : null;
      box.replaceChildren(card ?? hint);
    }
    if (card && focus) updateCard(card, focus, state);
  };
}

/** @param {string} id @param {State} state @param {Actions} actions */
function createCard(id, state, actions) {
  const own = id === state.self;
  const copy = h("button", { type: "button", class: "id", title: `${id} – copy`, "aria-label": `Copy the id ${shortId(id)}` }, shortId(id));
  copy.addEventListener("click", () => copyFrom(copy, id));
  return h(
    "div",
    { class: "card", "data-peer": id },
    h("div", { class: "card-head" }, h("h3", { dir: "auto" }), copy, h("span", { class: "facts" })),
    h("p", { class: "path" }),
    own
      ? null
      : h(
          "div",
          { class: "card-actions" },
          h("button", { type: "button", class: "quiet small ping", onclick: () => actions.ping(id) }, "Ping"),
          h("button", { type: "button", class: "quiet small", onclick: () => actions.write(id) }, "Write to it"),
          h("button", { type: "button", class: "quiet small", onclick: () => actions.select(null) }, "Close"),
        ),
  );
}

/** @param {HTMLElement} card @param {string} id @param {State} state */
function updateCard(card, id, state) {
  const graph = state.snapshot?.graph;
  const node = graph?.nodes.find((candidate) => candidate.id === id);
  const peer = state.snapshot?.peers.find((candidate) => candidate.id === id);
  const links = graph?.links.filter(({ source, target }) => source === id || target === id).length ?? 0;
  setText(/** @type {HTMLElement} */ (card.querySelector("h3")), peerRef(state, id).name);
  const facts = [
    id === state.self ? "this tab" : peer?.hops == null ? "no route" : formatHops(peer.hops),
    peer?.direct ? `link ${formatMs(peer.rttMs)}` : null,
    peer?.direct ? formatLoss(peer.loss) : null,
    peer?.direct && peer.way ? formatWay(peer.way) : null,
    peer?.direct ? `${formatBytes(peer.bytesIn)} in, ${formatBytes(peer.bytesOut)} out` : null,
    `${links} links`,
  ];
  setText(/** @type {HTMLElement} */ (card.querySelector(".facts")), facts.filter(Boolean).join(" · "));
  renderPath(/** @type {HTMLElement} */ (card.querySelector(".path")), id, state);
  const ping = /** @type {HTMLButtonElement|null} */ (card.querySelector(".ping"));
  if (ping) renderPing(ping, state.pings[id] ?? null, node?.label ?? shortId(id));
}

/** @param {HTMLElement} element @param {string} id @param {State} state */
function renderPath(element, id, state) {
  const graph = state.snapshot?.graph;
  const path = graph?.paths.get(id) ?? [];
  const names = new Map(graph?.nodes.map((node) => [node.id, node.label]));
  const rtts = path.slice(1).map((to, step) => {
    const link = graph?.links.find(({ source, target }) => (source === path[step] && target === to) || (source === to && target === path[step]));
    return link?.rttMs ?? null;
  });
  const signature = JSON.stringify([path.map((step) => names.get(step)), rtts.map(formatMs)]);
  if (element.dataset.signature === signature) return;
  setData(element, "signature", signature);
  const parts = path.flatMap((step, index) => [
    index === 0 ? null : h("span", { class: "rtt", "data-rtt": rttClass(rtts[index - 1]) }, `→ ${formatMs(rtts[index - 1])} →`),
    h("b", { dir: "auto" }, step === state.self ? "this tab" : (names.get(step) ?? shortId(step))),
  ]);
  element.replaceChildren(...parts.filter((part) => part !== null));
}
