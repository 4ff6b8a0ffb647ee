// The other end of a link, for a WebRTC stack of Node.js with the W3C's interface.
//
// Usage: node peer.mjs werift|libdatachannel [passive]
// Reads orders and signals as JSON lines from stdin, writes signals and events to stdout, for
// mesh-native/examples/foreign.rs. With `passive` it answers as PROTOCOL.md recommends.

import { createInterface } from "node:readline";

const STACKS = {
  werift: async () => (await import("werift")).RTCPeerConnection,
  libdatachannel: async () => (await import("node-datachannel/polyfill")).RTCPeerConnection,
};

// The three channels of a link (PROTOCOL.md): opened by agreement on their ids.
const CHANNELS = [
  ["control", { negotiated: true, id: 0, ordered: true }],
  ["data", { negotiated: true, id: 1, ordered: true }],
  ["stream", { negotiated: true, id: 2, ordered: false, maxRetransmits: 0 }],
];

const PeerConnection = await STACKS[process.argv[2]]();

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const passive = process.argv[3] === "passive";

/** The connection of the current round. */
let connection;
/** Candidates that came before the description. */
let early = [];

function start() {
  connection?.close();
  early = [];
  const made = new PeerConnection({ iceServers: [] });
  connection = made;
  // Of the current round only.
  const tell = (line) => made === connection && say(line);
  made.onicecandidate = ({ candidate }) => {
    if (candidate?.candidate) {
      tell({ type: "candidate", candidate: candidate.candidate });
    }
  };
  let open = 0;
  for (const [label, init] of CHANNELS) {
    const channel = made.createDataChannel(label, init);
    channel.binaryType = "arraybuffer";
    channel.onopen = () => {
      if (made !== connection) {
        return;
      }
      open += 1;
      if (open === CHANNELS.length) {
        tell({ type: "open" });
      }
      channel.send(new TextEncoder().encode(label));
    };
    channel.onmessage = ({ data }) => {
      const text = typeof data === "string" ? data : new TextDecoder().decode(data);
      tell({ type: "message", channel: label, text });
    };
  }
}

async function describe(description) {
  if (passive && description.type === "answer") {
    const sdp = description.sdp.replaceAll("a=setup:active", "a=setup:passive");
    description = { type: "answer", sdp };
  }
  await connection.setLocalDescription(description);
  const { type, sdp } = connection.localDescription;
  say({ type, sdp });
}

async function obey(line) {
  switch (line.type) {
    case "answer-next":
      return start();
    case "offer-next":
      start();
      return describe(await connection.createOffer());
    case "offer":
      await connection.setRemoteDescription(line);
      await takeEarly();
      return describe(await connection.createAnswer());
    case "answer":
      await connection.setRemoteDescription(line);
      return takeEarly();
    case "candidate":
      if (connection.remoteDescription) {
        return connection.addIceCandidate(candidate(line));
      }
      early.push(line);
      return;
    default:
      throw new Error(`unknown order: ${line.type}`);
  }
}

async function takeEarly() {
  for (const line of early.splice(0)) {
    await connection.addIceCandidate(candidate(line));
  }
}

const candidate = (line) => ({
  candidate: line.candidate,
  sdpMid: line.mid ?? "0",
  sdpMLineIndex: line.line ?? 0,
});

// One after the other: a candidate must not overtake the description before it.
for await (const text of createInterface({ input: process.stdin })) {
  try {
    await obey(JSON.parse(text));
  } catch (error) {
    say({ type: "error", message: String(error?.stack ?? error) });
  }
}
connection?.close();
process.exit(0);
