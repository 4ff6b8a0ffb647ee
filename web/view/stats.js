// Counters of this tab. Losses and rejections are told by reason: nothing is lost silently.

import { formatBytes, formatCount, humanReason } from "../format.js";
import { byId, h, setData, setText, syncChildren } from "./dom.js";

/** @typedef {import("../state.js").State} State */
/** @typedef {import("../snapshot.js").Snapshot} Snapshot */

/** @type {[string, (snapshot: Snapshot) => string, (snapshot: Snapshot) => string][]} label, figure, what goes with it */
const FIGURES = [
  ["Sent", ({ stats }) => formatCount(stats.sent), perSecond("sent")],
  ["Delivered", ({ stats }) => formatCount(stats.delivered), perSecond("delivered")],
  ["Forwarded", ({ stats }) => formatCount(stats.forwarded), perSecond("forwarded")],
  ["Broadcasts", ({ stats }) => formatCount(stats.broadcasts), () => ""],
  ["Links", ({ stats }) => `${stats.links.open} / ${stats.links.wanted}`, ({ stats }) => (stats.links.negotiating ? `${stats.links.negotiating} opening` : "open / wanted")],
  ["Frames", ({ stats }) => `${formatCount(stats.framesIn)} in`, ({ stats }) => `${formatCount(stats.framesOut)} out`],
  ["Received", ({ stats }) => formatBytes(stats.bytesIn), bytesPerSecond("bytesIn")],
  ["Transmitted", ({ stats }) => formatBytes(stats.bytesOut), bytesPerSecond("bytesOut")],
];

/** @param {keyof import("../snapshot.js").Rates} key */
function perSecond(key) {
  return (/** @type {Snapshot} */ { rates }) => {
    const rate = rates?.[key] ?? 0;
    return rate >= 0.05 ? `${rate < 10 ? rate.toFixed(1) : formatCount(rate)}/s` : "";
  };
}

/** @param {keyof import("../snapshot.js").Rates} key */
function bytesPerSecond(key) {
  return (/** @type {Snapshot} */ { rates }) => `${formatBytes(rates?.[key] ?? 0)}/s`;
}

/** @returns {(state: State) => void} */
export function statsView() {
  /** @type {Snapshot|null|undefined} */
  let last;
  let lastMissed = 0;
  return ({ snapshot, missed }) => {
    if (snapshot === last && missed === lastMissed) return;
    last = snapshot;
    lastMissed = missed;
    syncChildren(byId("stats"), snapshot ? FIGURES.map((figure) => ({ figure, snapshot })) : [], ({ figure }) => figure[0], createFigure, updateFigure);
    const lost = { ...snapshot?.stats.lost };
    if (missed) lost["events this page missed"] = missed;
    renderReasons("lost", lost);
    renderReasons("rejected", snapshot?.stats.rejected ?? {});
  };
}

/** @param {{ figure: typeof FIGURES[number] }} row */
function createFigure({ figure: [label] }) {
  return h("div", { "data-stat": label.toLowerCase() }, h("dt", {}, label), h("dd", {}, h("b"), h("span")));
}

/** @param {HTMLElement} element @param {{ figure: typeof FIGURES[number], snapshot: Snapshot }} row */
function updateFigure(element, { figure: [, value, extra], snapshot }) {
  const [figure, aside] = /** @type {HTMLCollection} */ (element.lastElementChild?.children);
  setText(figure, value(snapshot));
  setText(aside, extra(snapshot));
}

/** @param {"lost"|"rejected"} id @param {Record<string, number>} reasons */
function renderReasons(id, reasons) {
  const rows = Object.entries(reasons).sort((a, b) => b[1] - a[1]).map(([reason, count]) => ({ reason, count }));
  const total = rows.reduce((sum, { count }) => sum + count, 0);
  const figure = byId(`${id}-total`);
  setText(figure, formatCount(total));
  setData(figure, "some", String(total > 0));
  syncChildren(
    byId(id),
    rows,
    ({ reason }) => reason,
    ({ reason }) => h("li", { "data-reason": reason }, h("span", { dir: "auto" }, humanReason(reason)), h("b")),
    (item, { count }) => setText(/** @type {HTMLElement} */ (item.lastElementChild), formatCount(count)),
  );
}
