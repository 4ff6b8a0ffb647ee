// What a person can send to a linked agent beside words: the camera, the microphone, or a picture that the page
// draws itself, where there is neither.

import { describeError } from "./failures.js";

/** @typedef {"camera"|"microphone"|"picture"} Source */
/** @typedef {{ peer: string, source: Source, sender: any, track: MediaStreamTrack }} Sending */

/** @type {Record<Source, { name: string, open: () => Promise<MediaStreamTrack> }>} */
export const SOURCES = {
  camera: { name: "Camera", open: () => captured({ video: true }) },
  microphone: { name: "Microphone", open: () => captured({ audio: true }) },
  picture: { name: "Test picture", open: async () => drawn() },
};

/** What this tab sends. */
export class Outgoing {
  /** @type {Sending[]} */
  list = [];
  /** Those that begin just now. @type {Set<string>} */
  beginning = new Set();

  /** @param {(event: { type: string, [field: string]: any }) => void} dispatch */
  constructor(dispatch) {
    this.dispatch = dispatch;
  }

  /** Begins or ends to send. @param {any} mesh @param {string} peer @param {Source} source */
  async toggle(mesh, peer, source) {
    const known = this.list.find((sending) => sending.peer === peer && sending.source === source);
    if (known) return this.end([known]);
    const key = `${peer} ${source}`;
    if (this.beginning.has(key)) return;
    this.beginning.add(key);
    /** @type {MediaStreamTrack|undefined} */
    let track;
    try {
      track = await SOURCES[source].open();
      const sender = await mesh.sendTrack(peer, track);
      this.list = [...this.list, { peer, source, sender, track }];
      this.tell();
    } catch (error) {
      track?.stop();
      this.dispatch({ type: "page/notSent", what: SOURCES[source].name, reason: describeError(error).message });
    } finally {
      this.beginning.delete(key);
    }
  }

  /** A link has closed, or with none the mesh has: nothing is sent over it. @param {string} [peer] */
  closed(peer) {
    return this.end(this.list.filter((sending) => peer === undefined || sending.peer === peer));
  }

  /** @param {Sending[]} ended */
  async end(ended) {
    if (ended.length === 0) return;
    this.list = this.list.filter((sending) => !ended.includes(sending));
    this.tell();
    for (const { sender, track } of ended) {
      track.stop();
      await sender.end();
    }
  }

  tell() {
    this.dispatch({ type: "page/sending", sending: this.list.map(({ peer, source }) => ({ peer, source })) });
  }
}

/** @param {MediaStreamConstraints} wanted */
async function captured(wanted) {
  // Browsers have it only where the page came over TLS, or from this machine.
  if (!navigator.mediaDevices) throw new Error("this browser gives a page camera and microphone over https: only");
  const [track] = (await navigator.mediaDevices.getUserMedia(wanted)).getTracks();
  return track;
}

/** A clock in a colour of its own. */
function drawn() {
  const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 240 });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const hue = Math.floor(Math.random() * 360);
  const [track] = canvas.captureStream(30).getVideoTracks();
  const timer = setInterval(() => {
    if (track.readyState === "ended") clearInterval(timer);
    context.fillStyle = `hsl(${hue} 45% 35%)`;
    context.fillRect(0, 0, 320, 240);
    context.fillStyle = "white";
    context.font = "32px monospace";
    context.fillText(new Date().toISOString().slice(11, 21), 60, 130);
  }, 33);
  return track;
}
