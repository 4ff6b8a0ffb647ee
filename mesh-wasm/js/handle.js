// What the generated classes lack.

/**
 * `free` and `using` of a handle close its agent. The memory goes with the handle: what was freed by hand
 * would answer every later call with an exception that names a null pointer.
 */
export function closeInsteadOfFree(mesh) {
  const prototype = Object.getPrototypeOf(mesh);
  prototype.free = function free() {
    this.close();
  };
  if (Symbol.dispose) prototype[Symbol.dispose] = prototype.free;
}

/** Makes a stream what `for await` takes: wasm-bindgen cannot name a method by a symbol. */
export function asyncIterable(stream) {
  stream[Symbol.asyncIterator] = function () {
    return this;
  };
  stream.free = stream.return;
  return stream;
}
