// The log of messages, newest last. It follows the newest unless the reader has scrolled up.

import { formatBytes, formatHops, formatMs, formatTime, humanReason, plural } from "../format.js";
import { MAX_MESSAGES } from "../state.js";
import { byId, h, setData, setText, syncChildren } from "./dom.js";

/** @typedef {import("../state.js").State} State */
/** @typedef {import("../state.js").MessageEntry} MessageEntry */

/** @param {{ select: (id: string|null) => void }} actions @returns {(state: State) => void} */
export function messagesView({ select }) {
  const list = byId("messages");
  const latest = byId("messages-latest");
  /** @type {State["messages"]|null} */
  let last = null;
  let following = true;

  const follow = () => {
    list.scrollTop = list.scrollHeight;
  };
  list.addEventListener("scroll", () => {
    following = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    latest.hidden = following;
  });
  latest.addEventListener("click", follow);

  return (state) => {
    if (state.messages === last) return;
    last = state.messages;
    syncChildren(list, state.messages, (entry) => entry.key, (entry) => createEntry(entry, select), updateEntry);
    byId("messages-empty").hidden = last.length > 0;
    const count = last.length;
    setText(byId("message-count"), count === MAX_MESSAGES ? `last ${count}` : count ? plural(count, "message") : "");
    if (following) follow();
  };
}

/** @param {MessageEntry} entry @param {(id: string|null) => void} select */
function createEntry(entry, select) {
  const { direction, peer, payload } = entry;
  const who = peer
    ? h("button", { type: "button", class: "name", dir: "auto", onclick: () => select(peer.id) }, peer.name)
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
    h("p", { class: "facts" }),
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
