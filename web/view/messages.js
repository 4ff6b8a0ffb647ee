// The log of messages, newest last. It follows the newest unless the reader has scrolled up.

import { formatBytes, formatHops, formatMs, formatTime, humanReason, plural } from "../format.js";
import { MAX_MESSAGES, labelOf } from "../state.js";
import { byId, h, setData, setText, syncChildren } from "./dom.js";
import { roving } from "./roving.js";

/** @typedef {import("../state.js").State} State */
/** @typedef {import("../state.js").MessageEntry} MessageEntry */

/** @param {{ select: (id: string|null) => void }} actions @returns {(state: State) => void} */
export function messagesView({ select }) {
  const list = byId("messages");
  const frame = byId("message-log");
  const rove = roving(list);
  const latest = byId("messages-latest");
  /** @type {State|null} */
  let last = null;
  let following = true;

  const follow = () => {
    frame.scrollTop = frame.scrollHeight;
  };
  frame.addEventListener("scroll", () => {
    following = frame.scrollHeight - frame.scrollTop - frame.clientHeight < 40;
    latest.hidden = following;
  });
  latest.addEventListener("click", follow);

  return (state) => {
    const { messages, labels } = state;
    if (messages === last?.messages && labels === last.labels) return;
    if (labels !== last?.labels) relabel(list, state);
    last = state;
    syncChildren(list, messages, (entry) => entry.key, (entry) => createEntry(entry, state, select), updateEntry);
    rove();
    const count = messages.length;
    byId("messages-empty").hidden = count > 0;
    setText(byId("message-count"), count === MAX_MESSAGES ? `last ${count}` : count ? plural(count, "message") : "");
    if (following) follow();
  };
}

/** An author is told from another of the same name from the moment that there is one. @param {HTMLElement} list @param {State} state */
function relabel(list, state) {
  for (const button of /** @type {NodeListOf<HTMLElement>} */ (list.querySelectorAll("button.name"))) {
    const { peer: id = "", name = "" } = button.dataset;
    setText(button, labelOf(state, { id, name }));
  }
}

/** @param {MessageEntry} entry @param {State} state @param {(id: string|null) => void} select */
function createEntry(entry, state, select) {
  const { direction, peer, payload } = entry;
  const who = peer
    ? h("button", { type: "button", class: "name", dir: "auto", "data-peer": peer.id, "data-name": peer.name, onclick: () => select(peer.id) }, labelOf(state, peer))
    : h("b", { class: "name" }, "everyone");
  const target = direction === "in" ? (entry.topic === null ? "to you" : "to everyone") : null;
  return h(
    "li",
    {
      class: "entry",
      "data-key": String(entry.key),
      "data-id": entry.id ?? "",
      "data-direction": direction,
      "data-peer": peer?.id ?? "all",
      "data-topic": entry.topic ?? "",
    },
    h(
      "p",
      { class: "meta" },
      direction === "out" ? h("span", { class: "verb" }, "you to") : null,
      who,
      target ? h("span", { class: "verb" }, target) : null,
      entry.topic === null ? null : h("span", { class: "topic", dir: "auto" }, `#${entry.topic}`),
      h("time", { dateTime: new Date(entry.at).toISOString() }, formatTime(entry.at)),
    ),
    h("p", { class: "payload", "data-kind": payload.kind, dir: "auto" }, payload.text, payload.truncated ? h("span", { class: "more" }, ` … ${sizeOf(payload)} in all`) : null),
    h("p", { class: "facts", "aria-live": "off" }), // what becomes of a message is no new message
  );
}

/** @param {HTMLElement} element @param {MessageEntry} entry */
function updateEntry(element, entry) {
  setData(element, "status", entry.status);
  setText(/** @type {HTMLElement} */ (element.lastElementChild), facts(entry).join(" · "));
}

/** @param {MessageEntry} entry @returns {string[]} */
function facts(entry) {
  const parts = [];
  if (entry.direction === "in") {
    if (entry.hops !== null) parts.push(formatHops(entry.hops));
    if (entry.latencyMs !== null) parts.push(formatMs(entry.latencyMs));
    if (entry.delivery) parts.push(entry.delivery);
    if (entry.wantsReply) parts.push(entry.status === "answered" ? "request, answered" : "request");
  } else {
    if (entry.status === "delivered") parts.push(`✓ delivered, ${formatMs(entry.roundTripMs)} there and back`);
    else if (entry.status === "failed") parts.push(`✕ ${humanReason(entry.reason)}${entry.failedAt ? ` at ${entry.failedAt.name}` : ""}`);
    else parts.push(entry.delivery === "acknowledged" ? "sent, waiting for the acknowledgement" : "sent");
    if (entry.delivery && entry.status !== "sent") parts.push(entry.delivery);
  }
  if (entry.payload.kind !== "text") parts.push(entry.payload.kind === "bytes" ? sizeOf(entry.payload) : "JSON");
  return parts;
}

/** @param {import("../payload.js").Preview} payload */
const sizeOf = (payload) => (payload.kind === "bytes" ? formatBytes(payload.size) : plural(payload.size, "character"));
