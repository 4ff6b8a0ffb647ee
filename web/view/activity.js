// What happened in the mesh, newest first: joins, links, rejections, pings.

import { formatTime, humanReason } from "../format.js";
import { byId, h, syncChildren } from "./dom.js";

/** @typedef {import("../state.js").State} State */

/** @returns {(state: State) => void} */
export function activityView() {
  const list = byId("activity");
  /** @type {State["activity"]|null} */
  let last = null;
  return ({ activity }) => {
    if (activity === last || byId("panel-activity").hidden) return;
    last = activity;
    byId("activity-empty").hidden = activity.length > 0;
    syncChildren(list, activity.toReversed(), (entry) => entry.key, createEntry, () => {});
  };
}

/** @param {import("../state.js").ActivityEntry} entry */
function createEntry(entry) {
  return h(
    "li",
    { "data-level": entry.level },
    h("time", { dateTime: new Date(entry.at).toISOString() }, formatTime(entry.at)),
    h("span", { dir: "auto" }, entry.reason ? `${entry.text} (${humanReason(entry.reason)})` : entry.text),
  );
}
