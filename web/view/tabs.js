// The tabs over the lists, with the keyboard behaviour that role="tablist" promises.

import { byId } from "./dom.js";

/** @param {() => void} changed */
export function tabsView(changed) {
  const list = byId("tabs");
  const tabs = /** @type {HTMLButtonElement[]} */ ([...list.querySelectorAll("[role=tab]")]);

  const choose = (/** @type {HTMLButtonElement} */ chosen) => {
    for (const tab of tabs) {
      const active = tab === chosen;
      tab.setAttribute("aria-selected", String(active));
      tab.tabIndex = active ? 0 : -1;
      byId(tab.getAttribute("aria-controls") ?? "").hidden = !active;
    }
    /** @type {HTMLElement} */ (document.querySelector(".filter")).hidden = chosen.id === "tab-activity";
    changed();
  };

  list.addEventListener("click", (event) => {
    const tab = /** @type {HTMLElement} */ (event.target).closest("[role=tab]");
    if (tab) choose(/** @type {HTMLButtonElement} */ (tab));
  });
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const at = tabs.findIndex((tab) => tab === document.activeElement);
    const next = tabs[(at + step + tabs.length) % tabs.length];
    next.focus();
    choose(next);
  });
}
