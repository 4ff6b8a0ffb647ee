// Why the chosen agent is not linked with another: asks both ends, and shows what there is to say of the link.

import { compareNames } from "../snapshot.js";
import { labelOf, peerRef } from "../state.js";
import { byId, h, setText, syncChildren } from "./dom.js";

/** @typedef {import("../state.js").State} State */
/** @typedef {import("../state.js").Finding} Finding */

/** @type {Record<string, string>} */
const OUTCOMES = { ok: "Fine", note: "Note", wrong: "Wrong" };

/** @param {{ diagnose: (one: string, other: string) => void }} actions @returns {(state: State) => void} */
export function pairView({ diagnose }) {
  const box = byId("pair");
  const name = h("span", {});
  const other = /** @type {HTMLSelectElement} */ (h("select", { id: "pair-other" }));
  const button = /** @type {HTMLButtonElement} */ (h("button", { type: "submit", class: "quiet small" }));
  const form = h("form", { class: "pair-form" }, h("label", { class: "field" }, name, other), button);
  const list = h("ul", { class: "findings" });
  box.append(form, h("div", { role: "status" }, list));
  /** @type {string|null} */
  let chosen = null;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (chosen && other.value && !button.disabled) diagnose(chosen, other.value);
  });
  return (state) => {
    chosen = state.self === null ? null : state.selected;
    box.hidden = chosen === null;
    if (chosen === null) return;
    setText(name, `Link of ${labelIn(state, chosen)} with`);
    renderOthers(other, state, chosen);
    const waits = state.pair?.status === "asked";
    setText(button, waits ? "Asking both…" : "Explain link");
    button.disabled = waits || other.value === "";
    syncChildren(list, state.pair?.findings ?? [], keyOf, createFinding, () => {});
  };
}

/** @param {State} state @param {string} id */
const labelIn = (state, id) => (id === state.self ? "this tab" : labelOf(state, peerRef(state, id)));

/** @param {HTMLSelectElement} select @param {State} state @param {string} chosen */
function renderOthers(select, state, chosen) {
  const before = select.value;
  const all = [...Object.keys(state.roster), ...(state.self === null ? [] : [state.self])];
  const others = all.filter((id) => id !== chosen).map((id) => ({ id, label: labelIn(state, id) }));
  others.sort((a, b) => Number(b.id === state.self) - Number(a.id === state.self) || compareNames(a.label, b.label));
  syncChildren(
    select,
    others,
    ({ id }) => id,
    ({ id }) => h("option", { value: id }),
    (option, { label }) => setText(option, label),
  );
  if (others.some(({ id }) => id === before)) select.value = before;
}

/** @param {Finding} finding */
const keyOf = ({ about, found, outcome }) => `${outcome} ${about} ${found}`;

/** @param {Finding} finding */
function createFinding({ about, outcome, found, remedy }) {
  return h(
    "li",
    { "data-outcome": outcome },
    h("b", {}, `${OUTCOMES[outcome] ?? outcome} `),
    h("span", { dir: "auto" }, `${about}: ${found}`),
    remedy ? h("span", { class: "remedy" }, remedy) : null,
  );
}
