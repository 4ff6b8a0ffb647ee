// Every failure a person can meet on this page, with what to do about it.

/**
 * @typedef {{ code: string, title: string, help: string, command?: string, detail?: string, retry: "join"|"renew"|"reload" }} Failure
 */

/** An error with a stable code, like those the mesh itself throws. */
export class PageError extends Error {
  /** @param {string} code @param {string} [message] */
  constructor(code, message = code) {
    super(message);
    this.code = code;
  }
}

/** @type {Record<string, (signaling: string) => Omit<Failure, "code">>} */
const FAILURES = {
  "signaling-unreachable": (signaling) => ({
    title: "The hub cannot be reached",
    help: `Nothing answers at ${signaling}. Is it running there? Start one, then retry:`,
    command: "mesh up",
    retry: "join",
  }),
  url: () => ({
    title: "The hub's address cannot work",
    help: "What ?signaling= in this page's address names is no address of a hub. Correct it as told below, or leave it out to use the hub that serves this page.",
    retry: "reload",
  }),
  "not-a-hub": (signaling) => ({
    title: "There is no hub at that address",
    help: `Something answers at ${signaling}, but not as a hub does. Check host, port and path (a hub's path is /signal) in ?signaling= of this page's address, then retry.`,
    retry: "join",
  }),
  "origin-refused": (signaling) => ({
    title: "The hub refuses pages from here",
    help: `The hub at ${signaling} runs, and admits only pages of its own and of origins that it was told of. Start it with this page's origin allowed, then retry:`,
    command: `mesh up --allow-origin ${globalThis.location?.origin ?? "ORIGIN"}`,
    retry: "join",
  }),
  refused: () => ({
    title: "The hub refused this tab",
    help: "It answered, and said no: the room may be full or closed, or the invitation out of date. Ask whoever runs the hub, or try another ?room= in this page's address.",
    retry: "join",
  }),
  unsupported: () => ({
    title: "This browser cannot join a mesh",
    help: "WebRTC and WebAssembly are needed, and one of them is missing or switched off. Use a current Firefox, Chrome, Edge or Safari, and check that no extension blocks WebRTC.",
    retry: "reload",
  }),
  "package-missing": () => ({
    title: "The mesh package is not built yet",
    help: "This page is here, its WebAssembly (pkg/mesh_wasm.js) is not. Build it in the project's folder, then reload:",
    command: "cargo xtask wasm",
    retry: "reload",
  }),
  "package-broken": () => ({
    title: "The mesh package does not load",
    help: "pkg/mesh_wasm.js is there but failed to start. It may be out of date or half written. Build it again, then reload:",
    command: "cargo xtask wasm",
    retry: "reload",
  }),
  "not-loaded": () => ({
    title: "The page has not loaded whole",
    help: "A part of it did not arrive, as when the network changes or the hub restarts. It is loaded again as soon as the hub answers.",
    retry: "reload",
  }),
  replaced: () => ({
    title: "This identity was opened elsewhere",
    help: "Another tab or program has joined with this tab's identity, and the newer one keeps it, so this tab has left the mesh. It can come back beside the other as a new agent.",
    retry: "renew",
  }),
  left: () => ({
    title: "This tab has left the mesh",
    help: "The others go on without it. Join again to come back.",
    retry: "join",
  }),
};

/**
 * @param {unknown} error
 * @param {string|string[]} signaling
 * @returns {Failure}
 */
export function explainFailure(error, signaling) {
  const { code, message } = describeError(error);
  const hubs = [signaling].flat().join(", ");
  const known = Object.hasOwn(FAILURES, code) ? FAILURES[code](hubs) : null;
  if (known) return { code, ...known, detail: message === code ? undefined : message };
  return {
    code,
    title: "Joining the mesh failed",
    help: `The hub is ${hubs}. The mesh said:`,
    detail: message,
    retry: "join",
  };
}

/** @param {unknown} error @returns {{ code: string, message: string }} */
export function describeError(error) {
  if (error !== null && typeof error === "object") {
    const { code, message } = /** @type {{ code?: unknown, message?: unknown }} */ (error);
    return { code: typeof code === "string" ? code : "unknown", message: String(message ?? code ?? error) };
  }
  return { code: "unknown", message: String(error) };
}
