// The box to send to one agent or to everyone.

import { describeError } from "../failures.js";
import { compareNames } from "../snapshot.js";
import { labelOf } from "../state.js";
import { byId, h, setText, syncChildren } from "./dom.js";

/** @typedef {import("../state.js").State} State */
/** @typedef {{ to: string|null, text: string, delivery: string, topic: string }} Draft */

/** @type {Record<string, string>} */
const HELP = {
  "no-route": "No way leads to that agent just now. It may have left, or the mesh is still repairing.",
  "too-large": "That is larger than the mesh carries in one message.",
};

/** @param {{ send: (draft: Draft) => Promise<void> }} actions */
export function composerView({ send }) {
  const to = /** @type {HTMLSelectElement} */ (byId("send-to"));
  const text = /** @type {HTMLInputElement} */ (byId("send-text"));
  const error = byId("send-error");

  const adapt = () => {
    const everyone = to.value === "all";
    byId("send-topic-field").hidden = !everyone;
    byId("send-delivery-field").hidden = everyone;
    const name = to.selectedOptions[0]?.textContent ?? "";
    text.placeholder = everyone ? "Say something to everyone" : `Say something to ${name}`;
  };
  to.addEventListener("change", adapt);

  byId("send-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!text.value || /** @type {HTMLButtonElement} */ (byId("send-button")).disabled) return;
    const draft = readDraft(to, text);
    text.value = "";
    error.hidden = true;
    try {
      await send(draft);
    } catch (problem) {
      const { code, message } = describeError(problem);
      setText(error, Object.hasOwn(HELP, code) ? HELP[code] : `Not sent: ${message}`);
      error.hidden = false;
      if (!text.value) text.value = draft.text; // nothing typed is lost
    }
  });

  return {
    render: composerRenderer(to, adapt),
    /** @param {string} id */
    address(id) {
      to.value = id;
      adapt();
      text.focus();
    },
  };
}

/** @param {HTMLSelectElement} to @param {HTMLInputElement} text @returns {Draft} */
function readDraft(to, text) {
  const value = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ (byId(id)).value;
  return {
    to: to.value === "all" ? null : to.value,
    text: text.value,
    delivery: value("send-delivery"),
    topic: value("send-topic").trim() || "chat",
  };
}

/** @param {HTMLSelectElement} to @param {() => void} adapt @returns {(state: State) => void} */
function composerRenderer(to, adapt) {
  /** @type {State|null} */
  let last = null;
  /** @type {{ id: string, name: string }|null} */
  let addressee = null;
  return (state) => {
    const inside = state.phase === "joined" || state.phase === "hub-lost";
    /** @type {HTMLButtonElement} */ (byId("send-button")).disabled = !inside;
    if (state.roster === last?.roster && state.labels === last.labels) return;
    const chosen = to.value;
    const name = state.roster[chosen] ?? last?.roster[chosen];
    if (name !== undefined) addressee = { id: chosen, name };
    last = state;
    const peers = Object.entries(state.roster).map(([id, name]) => ({ id, name: labelOf(state, { id, name }), gone: false }));
    peers.sort((a, b) => compareNames(a.name, b.name));
    // The addressee stays chosen when it leaves: the next Enter must not tell everyone what was for one.
    if (addressee?.id === chosen && !Object.hasOwn(state.roster, chosen)) peers.unshift({ ...addressee, gone: true });
    const options = [{ id: "all", name: "Everyone", gone: false }, ...peers];
    renderOptions(to, options);
    if (to.value !== chosen) to.value = chosen;
    adapt();
  };
}

/** @param {HTMLSelectElement} to @param {{ id: string, name: string, gone: boolean }[]} options */
function renderOptions(to, options) {
  to.querySelector("option:not([data-option])")?.remove(); // the one index.html starts with
  syncChildren(
    to,
    options,
    ({ id }) => id,
    ({ id }) => h("option", { value: id, "data-option": "" }),
    (option, { name, gone }) => setText(option, gone ? `${name} (left)` : name),
  );
}
