/** A string, bytes, or any value that JSON can represent. */
export type Payload = string | Uint8Array | object | number | boolean | null;

/** 64 hexadecimal digits: an agent's Ed25519 public key. */
export type PeerId = string;

/** Names a message for ever. */
export type MessageId = string;

export interface JoinOptions {
    /** Where the signaling server is: `ws://host:9600/signal`. */
    signaling: string;
    room: string;
    /** The agent's label; the identity is the key. */
    name: string;
    /** Links to keep; by the size of the room if not given. */
    k?: number;
    /** Whether, where `k` is not given, about twice the logarithm of the size is kept: fewer links, longer paths. */
    sparse?: boolean;
    /** What makes one path better than another, the same for all of a room; `hops` if not given. */
    metric?: "hops" | "latency" | "bandwidth";
    /** Whether k follows the state of the mesh: more links where messages are slow, fewer where they are quick or fail. */
    adaptive?: boolean;
    /** 32 secret bytes from `exportIdentity`; a new identity if not given. */
    identity?: Uint8Array;
    /** How long to try to reach the signaling server; 5,000 if not given. */
    timeoutMs?: number;
}

/**
 * - `datagram`: sent once, unordered, never repeated.
 * - `reliable`: kept by each hop until the next has it; `deliveryFailed` tells where it got stuck.
 * - `acknowledged`: repeated until the target's receipt comes (`delivered`) or the deadline passes.
 */
export type Delivery = "datagram" | "reliable" | "acknowledged";

export interface SendOptions {
    /** `reliable` if not given. */
    delivery?: Delivery;
    /** For acknowledged messages; 5,000 if not given. */
    deadlineMs?: number;
}

export interface RequestOptions {
    /** 5,000 if not given. */
    deadlineMs?: number;
}

export type LossReason =
    | "no-route" | "ttl-expired" | "queue-full" | "peer-disconnected" | "deadline" | "left";

export type RejectReason =
    | "malformed" | "oversized" | "version" | "invalid-signature" | "replayed" | "expired"
    | "misrouted" | "limit" | "signaling" | "unexpected-signal";

export interface MessageEvent {
    type: "message";
    id: MessageId;
    /** The author, whose signature was verified. */
    from: PeerId;
    name: string;
    /** The topic of a broadcast; null for a message to this agent alone. */
    topic: string | null;
    payload: Payload;
    delivery: Delivery;
    /** The author awaits `mesh.reply(id, …)`. */
    wantsReply: boolean;
    hops: number;
    latencyMs: number;
}

export type MeshEvent =
    | MessageEvent
    | { type: "joined"; room: string; members: number }
    | { type: "refused"; code: string; message: string }
    | { type: "signalingLost"; reason: string; retryInMs: number }
    | { type: "signalingRestored" }
    | { type: "peerJoined"; peer: PeerId; name: string }
    | { type: "peerLeft"; peer: PeerId; name: string }
    | { type: "linkOpened"; peer: PeerId; setupMs: number; describedMs: number; answeredMs: number | null; reachedMs: number | null }
    | { type: "linkClosed"; peer: PeerId; reason: string }
    | { type: "linkFailed"; peer: PeerId; reason: string }
    | { type: "topologyChanged" }
    | { type: "delivered"; id: MessageId; to: PeerId; roundTripMs: number }
    | { type: "replied"; id: MessageId; from: PeerId; payload: Payload; roundTripMs: number }
    | { type: "deliveryFailed"; id: MessageId; to: PeerId | null; reason: LossReason; at: PeerId }
    | { type: "rejected"; via: PeerId | null; author: PeerId | null; reason: RejectReason }
    | { type: "lagged"; missed: number }
    | { type: "left" };

export interface Peer {
    id: PeerId;
    name: string;
    /** Whether a link to it is open. */
    direct: boolean;
    hops: number | null;
    nextHop: PeerId | null;
    /** Of the direct link. */
    rttMs: number | null;
    /** Whether the signaling server lists it. */
    inHub: boolean;
}

export interface Route {
    destination: PeerId;
    name: string;
    nextHop: PeerId;
    hops: number;
    /** This agent first, the destination last. */
    path: PeerId[];
}

export interface Topology {
    self: PeerId;
    roomMembers: number;
    /** Nodes and links are those of one's own. */
    shards: number;
    nodes: { id: PeerId; name: string }[];
    links: { source: PeerId; target: PeerId; rttMs: number | null }[];
}

export interface Stats {
    sent: number;
    broadcasts: number;
    broadcastCopies: number;
    unsubscribed: number;
    broadcastsMended: number;
    delivered: number;
    forwarded: number;
    duplicates: number;
    acknowledged: number;
    retried: number;
    rerouted: number;
    linkStates: number;
    framesIn: number;
    framesOut: number;
    bytesIn: number;
    bytesOut: number;
    links: {
        open: number; negotiating: number; wanted: number;
        opened: number; failed: number; closed: number;
    };
    lost: Partial<Record<LossReason, number>>;
    rejected: Partial<Record<RejectReason, number>>;
}

/** What the mesh throws and rejects with. */
export interface MeshError extends Error {
    name: "MeshError";
    /** Stable: `signaling-unreachable`, `refused`, `no-route`, `no-reply`, `closed`, … */
    code: string;
}
