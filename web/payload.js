// A payload from another agent can be anything. The log keeps a bounded, plain-text preview of it, never
// the value itself: 500 messages of a megabyte would otherwise stay in the tab's memory.

export const PREVIEW_CHARS = 2000;
const PREVIEW_BYTES = 96;
/** Levels of nested JSON that are shown: more than a person reads, and far less than a stack holds. */
const DEPTH_MAX = 100;

/**
 * @typedef {{ kind: "text"|"json"|"bytes", text: string, size: number, truncated: boolean }} Preview
 * `size` counts bytes for bytes, characters otherwise.
 */

/** @param {unknown} payload @returns {Preview} */
export function previewPayload(payload) {
  if (typeof payload === "string") return clip("text", payload);
  if (payload instanceof Uint8Array) return previewBytes(payload);
  return clip("json", toJson(payload));
}

/** @param {"text"|"json"} kind @param {string} text @returns {Preview} */
function clip(kind, text) {
  const truncated = text.length > PREVIEW_CHARS;
  return { kind, text: truncated ? text.slice(0, PREVIEW_CHARS) : text, size: text.length, truncated };
}

/** @param {Uint8Array} bytes @returns {Preview} */
function previewBytes(bytes) {
  const shown = bytes.subarray(0, PREVIEW_BYTES);
  const text = Array.from(shown, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return { kind: "bytes", text, size: bytes.length, truncated: shown.length < bytes.length };
}

/**
 * Nesting below `DEPTH_MAX` is left out, so that no nesting exhausts the stack.
 * @param {unknown} value
 */
function toJson(value) {
  /** @type {WeakMap<object, number>} */
  const depths = new WeakMap();
  return JSON.stringify(value, function (_key, part) {
    if (typeof part !== "object" || part === null) return part;
    const depth = (depths.get(this) ?? -1) + 1; // the holder of the whole value has none
    depths.set(part, depth);
    return depth > DEPTH_MAX ? "…" : part;
  });
}
