// An agent in this tab, driven by a program on the same machine as it would drive `mesh agent`: every text on
// the WebSocket is a line of that conversation. ?control= is the port the program listens on.

import { readParams } from "./params.js";
import { describeError } from "./failures.js";
import { loadPackage } from "./session.js";

const query = new URLSearchParams(location.search);
const port = Number(query.get("control"));
const state = /** @type {HTMLElement} */ (document.querySelector("#state"));

/** Bytes are base64 in JSON. @param {any} value */
function encode(value) {
  return JSON.stringify(value, (_key, part) => {
    if (part instanceof Uint8Array) return { base64: btoa(String.fromCharCode(...part)) };
    return part;
  });
}

/** @param {any} payload */
function decodePayload(payload) {
  if (typeof payload?.base64 !== "string") return payload;
  return Uint8Array.from(atob(payload.base64), (char) => char.charCodeAt(0));
}

/** What each command does. @type {Record<string, (mesh: any, command: any) => any>} */
const COMMANDS = {
  send: async (mesh, { to, payload, delivery }) => ({ id: await mesh.send(to, decodePayload(payload), { delivery }) }),
  rotateKeys: (mesh) => mesh.rotateKeys(),
  peers: (mesh) => ({ peers: mesh.peers() }),
  routes: (mesh) => ({ routes: mesh.routes() }),
  topology: (mesh) => ({ topology: mesh.topology() }),
  stats: (mesh) => ({ stats: mesh.stats() }),
  close: (mesh) => mesh.close(),
};

/** @param {any} mesh @param {any} command */
async function obey(mesh, command) {
  try {
    const run = COMMANDS[command.type];
    if (!run) return { type: "error", code: "bad-command", message: `a tab does not know ${command.type}`, ref: command.ref };
    return { ...(await run(mesh, command)), type: "result", ref: command.ref };
  } catch (error) {
    return { type: "error", ...describeError(error), ref: command.ref };
  }
}

async function drive() {
  if (!Number.isInteger(port) || port < 1 || port > 65535) throw new Error("the address lacks ?control=PORT");
  const socket = new WebSocket(`ws://127.0.0.1:${port}/`);
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error(`nobody listens on port ${port}`));
  });
  const say = (/** @type {any} */ line) => socket.send(encode(line));
  const Mesh = await loadPackage();
  const mesh = await Mesh.join({ ...readParams(location), metric: query.get("metric") ?? undefined });
  state.textContent = `${mesh.name} is in ${mesh.room}, driven from port ${port}.`;
  socket.onclose = () => mesh.close();
  socket.onmessage = async ({ data }) => say(await obey(mesh, JSON.parse(data)));
  say({ type: "ready", id: mesh.id, name: mesh.name, room: mesh.room });
  for await (const event of mesh.events()) say(event);
}

drive().catch((error) => {
  state.textContent = `This tab is not driven: ${describeError(error).message}`;
});
