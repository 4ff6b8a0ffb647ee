// What the page's address asks for: ?room= &name= &signaling= &k= &log=, and &signaling= again for each further hub.

/**
 * @typedef {{ room: string, name: string, signaling: string | string[], k?: number, log?: string }} Params
 */

/**
 * @param {{ search: string, protocol: string, host: string }} location
 * @param {() => string} randomName
 * @returns {Params}
 */
export function readParams(location, randomName = tabName) {
  const query = new URLSearchParams(location.search);
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const hubs = query.getAll("signaling").map((url) => url.trim()).filter(Boolean);
  /** @type {Params} */
  const params = {
    room: query.get("room")?.trim() || "demo",
    name: query.get("name")?.trim() || randomName(),
    signaling: hubs.length > 1 ? hubs : hubs[0] || `${scheme}//${location.host}/signal`,
  };
  const k = Number(query.get("k"));
  if (Number.isInteger(k) && k > 0) params.k = k;
  const log = query.get("log")?.trim();
  if (log) params.log = log;
  return params;
}

function tabName() {
  const [random] = crypto.getRandomValues(new Uint32Array(1));
  return `tab-${(random % 36 ** 4).toString(36).padStart(4, "0")}`;
}

/** The same page for someone else: everything but the name and the log. @param {string} href */
export function inviteLink(href) {
  const url = new URL(href);
  url.searchParams.delete("name");
  url.searchParams.delete("log");
  url.hash = "";
  return url.href;
}
