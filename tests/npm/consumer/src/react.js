// A page whose effect, the one of the package's README, is mounted twice by strict mode.
import { createElement, StrictMode, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import init, { Mesh } from "mesh-wasm";

await init();

const signaling = `ws://${location.host}/signal`;

function Room({ room, name }) {
  const [mesh, setMesh] = useState(null);
  const [error, setError] = useState(null);
  // The example.
  return createElement("p", null, error ? `${error.code}: ${error.message}` : mesh ? `joined as ${mesh.id}` : "joining");
}

const root = document.body.appendChild(document.createElement("main"));
window.unmount = () => app.unmount();
const app = createRoot(root);
const page = createElement(Room, { room: "demo", name: "react" });
app.render(createElement(StrictMode, null, page));
