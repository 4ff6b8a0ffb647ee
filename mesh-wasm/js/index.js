// The package as it is imported: what wasm-bindgen makes, and a word for those who join before `init`.

import init, { initSync, Mesh } from "./mesh_wasm.js";

const joinOnceReady = Mesh.join;

/**
 * Until the module is loaded the generated code throws a TypeError about `undefined`; after that `join` never
 * throws, it rejects.
 */
Mesh.join = function join(options) {
  try {
    return joinOnceReady.call(Mesh, options);
  } catch (cause) {
    const message = "the WebAssembly module is not loaded yet: `await init()` before Mesh.join, with init the default export of the package";
    const error = Object.assign(new Error(message, { cause }), { name: "MeshError", code: "not-initialised" });
    return Promise.reject(error);
  }
};

export { init as default, initSync, Mesh };
