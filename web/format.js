// Numbers and ids as a person reads them. Pure: used by the reducer, the views and the tests.

/** @param {string} id */
export const shortId = (id) => String(id).slice(0, 8);

/** @param {number|null|undefined} ms a duration; clocks of two machines may disagree, so it can be negative */
export function formatMs(ms) {
  if (ms == null || !Number.isFinite(ms)) return "–";
  if (ms < 0) return "≈ 0 ms";
  if (ms < 0.1) return "< 0.1 ms";
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
}

/** @param {number} bytes */
export function formatBytes(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** @param {number} value */
export const formatCount = (value) => Math.round(value).toLocaleString("en").replaceAll(",", "\u202f");

/** @param {number|null|undefined} hops */
export function formatHops(hops) {
  if (hops == null) return "–";
  return hops === 1 ? "1 hop" : `${hops} hops`;
}

/** @param {import("./snapshot.js").Way} way */
export const formatWay = ({ local, remote, relayed }) => `${relayed ? "over TURN" : "direct"}, ${local} to ${remote}`;

/** @param {number|null} loss a share, from 0 to 1 @returns {string|null} `null` while it is not known */
export const formatLoss = (loss) => (loss == null ? null : `${loss > 0 && loss < 0.01 ? "under 1" : Math.round(loss * 100)} % lost`);

/** @param {number} count @param {string} one @param {string} [many] */
export const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

/** @param {number} at milliseconds since 1970 */
export function formatTime(at) {
  const date = new Date(at);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((n) => String(n).padStart(2, "0")).join(":");
}

/**
 * The class of a round trip, for its colour. The bounds are those a person feels: same site, same
 * continent, other continent, too slow to talk.
 * @param {number|null|undefined} rttMs
 * @returns {"unknown"|"fast"|"fair"|"slow"|"bad"}
 */
export function rttClass(rttMs) {
  if (rttMs == null || !Number.isFinite(rttMs)) return "unknown";
  if (rttMs < 20) return "fast";
  if (rttMs < 80) return "fair";
  if (rttMs < 200) return "slow";
  return "bad";
}

/** Reason codes arrive as `no-route`, `no_route` or `noRoute`. @param {unknown} reason */
export function humanReason(reason) {
  return String(reason ?? "unknown")
    .replace(/([a-z])([A-Z])/g, "$1 $2")
    .replace(/[-_]+/g, " ")
    .toLowerCase();
}
