// What comes of sound and pictures from linked agents, and the buttons that send some to the chosen one.

import { SOURCES } from "../media.js";
import { labelOf, peerRef } from "../state.js";
import { byId, h, setData, setText, syncChildren } from "./dom.js";

/** @typedef {import("../state.js").State} State */
/** @typedef {import("../media.js").Source} Source */

/** @param {{ toggle: (peer: string, source: Source) => void }} actions @returns {(state: State) => void} */
export function tracksView({ toggle }) {
  const box = byId("tracks");
  const buttons = h("div", { class: "track-actions" });
  const list = h("div", { class: "track-list" });
  box.append(buttons, list);
  /** @type {string|null} */
  let chosen = null;
  const made = /** @type {[Source, HTMLElement][]} */ (
    Object.keys(SOURCES).map((source) => {
      const act = () => chosen && toggle(chosen, /** @type {Source} */ (source));
      return [source, h("button", { type: "button", class: "quiet small", "data-source": source, onclick: act })];
    })
  );
  buttons.append(...made.map(([, button]) => button));
  return (state) => {
    const peer = state.snapshot?.peers.find(({ id }) => id === state.selected);
    chosen = peer?.direct ? peer.id : null;
    buttons.hidden = chosen === null;
    for (const [source, button] of made) {
      const sends = state.sending.some((sending) => sending.peer === chosen && sending.source === source);
      const name = chosen ? labelOf(state, peerRef(state, chosen)) : "";
      setText(button, sends ? `Stop ${SOURCES[source].name.toLowerCase()}` : SOURCES[source].name);
      button.title = sends ? `Stop sending to ${name}` : `Send to ${name}`;
      setData(button, "sends", sends ? "true" : null);
    }
    syncChildren(list, state.tracks, ({ id, peer }) => `${peer} ${id}`, createTrack, (element, { peer }) => {
      setText(/** @type {HTMLElement} */ (element.querySelector("figcaption")), labelOf(state, peerRef(state, peer)));
    });
    box.hidden = chosen === null && state.tracks.length === 0;
  };
}

/** @param {{ id: string, peer: string, kind: string, stream: MediaStream }} track */
function createTrack({ id, peer, kind, stream }) {
  const player = /** @type {HTMLMediaElement} */ (h(kind === "video" ? "video" : "audio", { autoplay: true, controls: kind === "audio" }));
  // Sound is not allowed to begin before somebody has touched the page; a picture without is.
  Object.assign(player, { srcObject: stream, muted: kind === "video", playsInline: true });
  return h("figure", { class: "track", "data-track": id, "data-peer": peer }, player, h("figcaption", { dir: "auto" }));
}
