export * from "./mesh_wasm.js";
export { default } from "./mesh_wasm.js";
