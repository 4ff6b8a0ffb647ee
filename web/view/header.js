// Who this tab is, where it is, and how that goes; below it, what to do when it does not.

import { plural, shortId } from "../format.js";
import { inviteLink } from "../params.js";
import { byId, copyFrom, setData, setText } from "./dom.js";

/** @typedef {import("../state.js").State} State */

/** After this long without an answer the person should hear what may be wrong. */
const SLOW_JOIN_MS = 6000;

/** @param {{ retry: () => void }} actions @returns {(state: State) => void} */
export function headerView({ retry }) {
  let current = /** @type {State|null} */ (null);
  byId("invite").addEventListener("click", (event) => copyFrom(/** @type {HTMLElement} */ (event.currentTarget), inviteLink(location.href)));
  byId("own-id").addEventListener("click", (event) => {
    if (current?.self) copyFrom(/** @type {HTMLElement} */ (event.currentTarget), current.self);
  });
  byId("retry").addEventListener("click", retry);

  return (state) => {
    current = state;
    renderIdentity(state);
    renderState(state);
    renderNotice(state, Date.now());
  };
}

/** @param {State} state */
function renderIdentity(state) {
  for (const [id, text] of [["room", state.room], ["own-name", state.name]]) {
    setText(byId(id), text);
    byId(id).title = text; // a long one is cut off
  }
  document.title = state.phase === "joined" ? `${state.room} · ${plural(state.members, "member")}` : `${state.room} · Mesh`;
  const id = byId("own-id");
  id.hidden = state.self === null;
  if (state.self === null || id.dataset.label) return; // it says "Copied" just now
  setText(id, shortId(state.self));
  id.title = `${state.self} – copy`;
  id.setAttribute("aria-label", `Copy this tab's id, ${shortId(state.self)}`);
}

const STATE_TEXT = { connecting: "Connecting", joined: "Joined", "hub-lost": "Hub lost, mesh alive", failed: "Not joined" };

/** @param {State} state */
function renderState(state) {
  const pill = byId("state");
  setData(pill, "state", state.phase);
  setText(byId("state-text"), STATE_TEXT[state.phase]);
  const inside = state.phase === "joined" || state.phase === "hub-lost";
  const count = /** @type {HTMLElement} */ (pill.querySelector(".member-count"));
  count.hidden = !inside;
  setText(byId("members"), String(state.members));
  setText(byId("members-word"), state.members === 1 ? "member" : "members");
}

/** @param {State} state @param {number} now */
function renderNotice(state, now) {
  const notice = byId("notice");
  const content = noticeFor(state, now);
  notice.hidden = content === null;
  if (content === null) {
    setText(byId("notice-title"), "");
    return;
  }
  setData(notice, "kind", content.kind);
  setText(byId("notice-title"), content.title);
  setText(byId("notice-help"), content.help);
  const command = byId("notice-command");
  command.hidden = !content.command;
  setText(/** @type {HTMLElement} */ (command.firstElementChild), content.command ?? "");
  const detail = byId("notice-detail");
  detail.hidden = !content.detail;
  setText(detail, content.detail ?? "");
  const retry = byId("retry");
  retry.hidden = !content.button;
  setText(retry, content.button ?? "");
}

/**
 * @param {State} state @param {number} now
 * @returns {{ kind: string, title: string, help: string, command?: string, detail?: string, button?: string }|null}
 */
function noticeFor(state, now) {
  const { phase, failure, hub, signaling } = state;
  if (phase === "failed" && failure) {
    const button = { join: "Retry", renew: "Join with a new identity", reload: "Reload" }[failure.retry];
    return { kind: "failed", ...failure, button };
  }
  if (phase === "hub-lost" && hub) {
    const seconds = Math.max(0, Math.ceil((hub.retryAt - now) / 1000));
    return {
      kind: "hub-lost",
      title: "The hub is gone, the mesh goes on",
      help: `Messages still travel over the links that are open. Only newcomers have to wait. ${seconds > 0 ? `Trying the hub again in ${seconds} s.` : "Trying the hub again now."}`,
      detail: `${signaling}${hub.reason ? ` · ${hub.reason}` : ""}`,
    };
  }
  if (phase === "connecting" && now - state.since > SLOW_JOIN_MS) {
    const help = `${signaling} has not let this tab in yet. Is that the right address, and is the hub running there?`;
    return { kind: "slow", title: "This takes longer than it should", help, command: "mesh up" };
  }
  return null;
}
