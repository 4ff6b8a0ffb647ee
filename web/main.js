// Wires the page: one session feeds events to the reducer, and each new state is drawn by the views.

import { readParams } from "./params.js";
import { Session } from "./session.js";
import { initialState, reduce } from "./state.js";
import { activityView } from "./view/activity.js";
import { composerView } from "./view/composer.js";
import { graphView } from "./view/graph.js";
import { headerView } from "./view/header.js";
import { inspectorView } from "./view/inspector.js";
import { messagesView } from "./view/messages.js";
import { pairView } from "./view/pair.js";
import { peersView } from "./view/peers.js";
import { statsView } from "./view/stats.js";
import { tabsView } from "./view/tabs.js";
import { tracksView } from "./view/tracks.js";

const params = readParams(location);
let state = initialState({ ...params, now: Date.now() });

/** @param {{ type: string, [field: string]: any }} event */
function dispatch(event) {
  const next = reduce(state, { ...event, now: Date.now() });
  if (next === state) return;
  state = next;
  publish();
  scheduleRender();
}

/** For the end-to-end tests and for the curious with a console open. */
function publish() {
  Object.assign(window, { mesh: session.mesh, meshState: state });
}

const session = new Session(params, dispatch);
const select = (/** @type {string|null} */ id) => dispatch({ type: "page/select", id });
const hover = (/** @type {string|null} */ id) => dispatch({ type: "page/hover", id });
const ping = (/** @type {string} */ id) => {
  if (state.pings[id]?.status !== "waiting") session.ping(id);
};
const retry = () => {
  const act = { join: () => session.join(), renew: () => session.renew(), reload: () => location.reload() };
  act[state.failure?.retry ?? "join"]();
};

const composer = composerView({ send: (draft) => session.send(draft) });
const header = headerView({ retry });
const views = [
  header,
  graphView({ select, hover }),
  inspectorView({ select, ping, write: composer.address }),
  pairView({ diagnose: (one, other) => session.diagnose(one, other) }),
  tracksView({ toggle: (peer, source) => session.toggleTrack(peer, source) }),
  messagesView({ select }),
  composer.render,
  peersView({ select, hover, ping }),
  activityView(),
  statsView(),
];
tabsView(() => scheduleRender());

/** What one view cannot draw, the others still do. @param {(state: import("./state.js").State) => void} view */
function draw(view) {
  try {
    view(state);
  } catch (error) {
    console.error("a part of the page could not be drawn", error);
  }
}

let scheduled = false;

/** At most one redraw a frame. A tab in the background gets no frames, yet tests and title must go on: a timer steps in. */
function scheduleRender() {
  if (scheduled) return;
  scheduled = true;
  const timer = setTimeout(render, 250);
  const frame = requestAnimationFrame(render);
  function render() {
    clearTimeout(timer);
    cancelAnimationFrame(frame);
    scheduled = false;
    for (const view of views) draw(view);
  }
}

setInterval(() => header(state), 1000); // seconds until the next try, and "this takes long"
addEventListener("pagehide", () => session.pause());
addEventListener("pageshow", ({ persisted }) => {
  if (persisted) session.resume();
});
document.querySelector("#not-loaded")?.remove();
publish();
scheduleRender();
session.join();
