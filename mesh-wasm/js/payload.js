// What an application hands over as a payload, as the mesh carries it: text, bytes or JSON.
// In JavaScript, for JSON.stringify is there, and knows toJSON and getters as no copy of it would.

/** Names of what JSON.stringify would turn into `{}`, with what to do instead. */
const REMEDIES = {
  Map: "use Object.fromEntries(map)",
  Set: "use Array.from(set)",
  Promise: "await it first",
  Error: "send its message",
  Blob: "send it as a payload of its own",
  File: "send it as a payload of its own",
  ArrayBuffer: "send it as a payload of its own",
  SharedArrayBuffer: "send it as a payload of its own",
};

/** Tags of objects that JSON can say. */
const SAID = new Set(["Object", "Array", "String", "Boolean", "Number"]);

const byteLengthOf = Object.getOwnPropertyDescriptor(ArrayBuffer.prototype, "byteLength").get;

/** What an object is. Throws for a revoked Proxy. */
export function tagOf(value) {
  return Object.prototype.toString.call(value).slice(8, -1);
}

/** Whether it is an ArrayBuffer of whatever window: the getter looks at the object itself. */
function isArrayBuffer(value) {
  try {
    byteLengthOf.call(value);
    return true;
  } catch {
    return false;
  }
}

/** A Uint8Array of what is in a buffer or a view, of whatever window; undefined if it is neither. */
function bytesOf(value) {
  if (ArrayBuffer.isView(value)) {
    return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  }
  if (isArrayBuffer(value)) return new Uint8Array(value);
  if (tagOf(value) === "SharedArrayBuffer") {
    const bytes = new Uint8Array(value);
    if (bytes.buffer === value) return bytes;
  }
  return undefined;
}

function isBlob(value) {
  return ["Blob", "File"].includes(tagOf(value)) && typeof value.arrayBuffer === "function";
}

/** A string with half of a surrogate pair is no Unicode text: it could not arrive as it is. */
function isWellFormed(text) {
  return !/\p{Surrogate}/u.test(text);
}

function step(key, isArray) {
  if (isArray) return `[${key}]`;
  return /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`;
}

/** Why JSON cannot say a value, or undefined if it can. */
function objection(value) {
  switch (typeof value) {
    case "undefined":
      return "undefined is nothing that JSON can say: leave it out, or use null";
    case "function":
      return "a function cannot be sent";
    case "symbol":
      return "a symbol cannot be sent";
    case "bigint":
      return "a BigInt is nothing that JSON can say: use a number or a string";
    case "number":
      return Number.isFinite(value) ? undefined : `${value} is nothing that JSON can say: use null or a string`;
    case "string":
      return isWellFormed(value) ? undefined : "the string holds half a surrogate pair, which is no Unicode text";
    case "object":
      return value === null ? undefined : objectionTo(value);
    default:
      return undefined;
  }
}

function objectionTo(object) {
  const tag = tagOf(object);
  if (tag === "Number") return objection(Number(object));
  if (tag === "String") return objection(String(object));
  // An Error may have a name of its own, but not one of its own tag.
  if (SAID.has(tag) && !ArrayBuffer.isView(object)) return undefined;
  const remedy = ArrayBuffer.isView(object) ? REMEDIES.ArrayBuffer : REMEDIES[tag];
  const article = /^[AEIO]/.test(tag) ? "an" : "a";
  return `${article} ${tag} is nothing that JSON can say${remedy ? `: ${remedy}` : ""}`;
}

class Refused extends Error {
  constructor(message, code = "payload") {
    super(message);
    this.code = code;
  }
}

/** Refuses what is surely too large before it is copied: the memory that a copy takes is never given back. */
function checkSize(size, bytesMax) {
  if (size > bytesMax) throw new Refused(`payload: it has ${size} bytes or more, at most ${bytesMax} can be sent so`, "too-large");
}

/** Where a value is: the objects around it, outermost first, each with its key in the one before. */
function pathOf(around, key) {
  const steps = around.map((outer, at) => (at === 0 ? "" : step(outer.key, Array.isArray(around[at - 1].object))));
  const last = around.length === 0 ? "" : step(key, Array.isArray(around[around.length - 1].object));
  return `payload${steps.join("")}${last}`;
}

/** Refuses, on the way of JSON.stringify through a payload, what would not arrive as it is. */
function checker(depthMax) {
  const around = [];
  return function check(key, value) {
    while (around.length > 0 && around[around.length - 1].object !== this) around.pop();
    const refuse = (cause) => {
      throw new Refused(`${pathOf(around, key)}: ${cause}`);
    };
    if (around.length > 0 && !isWellFormed(key)) refuse("the key is no Unicode text");
    const objected = objection(value);
    if (objected) refuse(objected);
    if (typeof value === "object" && value !== null) {
      const again = around.findIndex(({ object }) => object === value);
      if (again >= 0) {
        const outer = pathOf(around.slice(0, again), around[again].key);
        refuse(`it refers back to ${outer}: JSON has no cycles`);
      }
      if (around.length >= depthMax) refuse(`nested deeper than ${depthMax} arrays and objects`);
      around.push({ object: value, key });
    }
    return value;
  };
}

function jsonOf(value, depthMax) {
  try {
    return JSON.stringify(value, checker(depthMax));
  } catch (thrown) {
    if (thrown instanceof Refused) throw thrown;
    throw new Refused(`payload: reading it failed: ${thrown?.message ?? thrown}`);
  }
}

async function bytesOfBlob(blob) {
  return { bytes: new Uint8Array(await blob.arrayBuffer()) };
}

/**
 * A payload as `{ text }`, `{ bytes }` or `{ json }`, or a promise of it for a Blob. Throws an Error with a code
 * that names the place and the cause.
 */
export function encodePayload(value, depthMax, bytesMax) {
  if (typeof value === "string") {
    checkSize(value.length, bytesMax);
    const objected = objection(value);
    if (objected) throw new Refused(`payload: ${objected}`);
    return { text: value };
  }
  if (typeof value === "object" && value !== null) {
    let bytes;
    try {
      bytes = bytesOf(value);
    } catch {
      throw new Refused("payload: its ArrayBuffer is detached: it was transferred to another owner");
    }
    if (bytes) {
      checkSize(bytes.length, bytesMax);
      return { bytes };
    }
    if (isBlob(value)) {
      checkSize(value.size, bytesMax);
      return bytesOfBlob(value);
    }
  }
  const json = jsonOf(value, depthMax);
  if (json === undefined) throw new Refused(`payload: ${objection(undefined)}`);
  checkSize(json.length, bytesMax);
  return { json };
}
