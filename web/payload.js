// A payload from another agent can be anything. The log keeps a bounded, plain-text preview of it, never
// the value itself: 500 messages of a megabyte would otherwise stay in the tab's memory.

export const PREVIEW_CHARS = 2000;
const PREVIEW_BYTES = 96;

/**
 * @typedef {{ kind: "text"|"json"|"bytes", text: string, size: number, truncated: boolean }} Preview
 * `size` counts bytes for bytes, characters otherwise.
 */

/** @param {unknown} payload @returns {Preview} */
export function previewPayload(payload) {
  if (typeof payload === "string") return clip("text", payload);
  const bytes = asBytes(payload);
  if (bytes) return previewBytes(bytes);
  return clip("json", toJson(payload));
}

/** @param {"text"|"json"} kind @param {string} text @returns {Preview} */
function clip(kind, text) {
  const truncated = text.length > PREVIEW_CHARS;
  return { kind, text: truncated ? text.slice(0, PREVIEW_CHARS) : text, size: text.length, truncated };
}

/** @param {unknown} payload @returns {Uint8Array|null} */
function asBytes(payload) {
  if (payload instanceof ArrayBuffer) return new Uint8Array(payload);
  if (ArrayBuffer.isView(payload)) return new Uint8Array(payload.buffer, payload.byteOffset, payload.byteLength);
  return null;
}

/** @param {Uint8Array} bytes @returns {Preview} */
function previewBytes(bytes) {
  const shown = bytes.subarray(0, PREVIEW_BYTES);
  const text = Array.from(shown, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return { kind: "bytes", text, size: bytes.length, truncated: shown.length < bytes.length };
}

/** @param {unknown} value */
function toJson(value) {
  // WebAssembly bindings hand over 64-bit integers as BigInt and maps as Map: JSON knows neither.
  const replacer = (/** @type {string} */ _key, /** @type {unknown} */ part) => {
    if (typeof part === "bigint") return part.toString();
    if (part instanceof Map) return Object.fromEntries(part);
    return part;
  };
  try {
    return JSON.stringify(value, replacer) ?? String(value);
  } catch {
    return String(value); // a cycle: still worth a line in the log
  }
}
