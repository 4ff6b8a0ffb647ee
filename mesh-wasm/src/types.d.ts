/**
 * What is sent. A string arrives as a string; an ArrayBuffer, a typed array, a DataView and a Blob arrive as a
 * Uint8Array; all else arrives as JSON.parse(JSON.stringify(value)) would have it. What JSON cannot say (NaN,
 * undefined inside, a Map, bytes inside an object, cycles, …) is refused with its path, code `payload`.
 */
export type Payload = string | ArrayBufferLike | ArrayBufferView | Blob | object | number | boolean | null;

/**
 * What arrives: a string, bytes, or what JSON.parse makes of JSON. So a whole number beyond
 * Number.MAX_SAFE_INTEGER (2^53 - 1), which a native agent may send, arrives as the nearest number that
 * JavaScript has: send such numbers as strings.
 */
export type ReceivedPayload = any;

/** 64 hexadecimal digits: an agent's Ed25519 public key. */
export type PeerId = string;

/** Names a message for ever. */
export type MessageId = string;

/** A member: its id, a row of `peers()`, or an event that came from the member or is about it. */
export type PeerLike = PeerId | { id: PeerId } | { from: PeerId } | { peer: PeerId };

/** A message: the event that brought it, or its id. */
export type MessageLike = MessageId | { id: MessageId };

export interface JoinOptions {
    /**
     * Where the signaling server is: `ws://host:9600/signal`, or `wss:` from a page that was loaded by https. Of
     * several, up to 16, the first is liked best: the agent goes to the next when one is lost, refuses it or asks
     * it to move, and returns to the first. They are to share their rooms, or to stand in for each other.
     */
    signaling: string | string[];
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
    /**
     * Messages that may be sent in a second, on average; more reject with the code `rate-limited`. Not limited if not
     * given: a call then waits while the mesh takes no more.
     */
    messagesPerSecond?: number;
    /** Messages that may be sent at once under that limit, after a rest; 50 if not given. */
    messagesBurst?: number;
    /** How long links keep their DTLS keys, on average; 0 for as long as they are open. 3,600,000 if not given. */
    rotateEveryMs?: number;
    /**
     * Which candidates links may use: `all` (the default), or `relay`, so that no peer learns an address of this
     * machine; the signaling server must then name a TURN server.
     */
    iceTransportPolicy?: "all" | "relay";
    /**
     * How long a direct path is looked for until relays of TURN servers are asked for too; 0 for from the start.
     * 2,000 if not given.
     */
    turnFallbackMs?: number;
    /** 32 secret bytes from `exportIdentity`; a new identity if not given. */
    identity?: Uint8Array | ArrayBuffer;
    /** How long to try to reach the signaling server, each of several at least once; 5,000 if not given. */
    timeoutMs?: number;
    /**
     * Gives up joining: `join` rejects with the signal's reason, and no agent is left in the room. It has no
     * effect once `join` has resolved: `close` the agent then.
     */
    signal?: AbortSignal;
    /** Whether the agents of this page tell in its console what they decide, and why, from now on; `off` at first. */
    log?: "debug" | "off";
}

/**
 * - `datagram`: sent once, unordered, never repeated.
 * - `reliable`: kept by each hop until the next has it, and sent once more where it got stuck; `deliveryFailed`
 *   tells where, if it still is when the deadline passes. "Failed" means not known to have arrived: it may have,
 *   where the news of it was lost.
 * - `acknowledged`: repeated until the target's receipt comes (`delivered`) or the deadline passes.
 */
export type Delivery = "datagram" | "reliable" | "acknowledged";

export interface SendOptions {
    /** `reliable` if not given. */
    delivery?: Delivery;
    /** How long the message is tried for; 5,000 if not given. */
    deadlineMs?: number;
    /**
     * Whether it arrives after all that was sent to the same member before it, as if not given; a target waits for
     * a message that is late, up to 10 s. If false, it arrives as soon as it can. A datagram is never ordered.
     */
    ordered?: boolean;
    /** Is told how many bytes of a large message have arrived, and how many there are, as more arrive. */
    onProgress?: (bytes: number, bytesTotal: number) => void;
    /**
     * Gives up sending while the message waits for room, and a large one while it is on its way: what has come of it
     * is dropped at its target. It has no effect on another message that is on its way.
     */
    signal?: AbortSignal;
}

export interface RequestOptions {
    /** 5,000 if not given. */
    deadlineMs?: number;
    /** As of {@link SendOptions}, for the request; of a large reply, `receiving` events tell. */
    onProgress?: (bytes: number, bytesTotal: number) => void;
    /** Gives up waiting for the reply: `request` rejects with the signal's reason. The other end may have the request. */
    signal?: AbortSignal;
}

export type LossReason =
    | "no-route" | "ttl-expired" | "queue-full" | "peer-disconnected" | "deadline" | "left"
    | "too-large" | "refused" | "cancelled";

export type RejectReason =
    | "malformed" | "oversized" | "version" | "invalid-signature" | "replayed" | "expired"
    | "misrouted" | "limit" | "signaling" | "unexpected-signal";

/**
 * - `clock-off`: this machine's clock is far off the signaling server's.
 * - `ice-server`: a STUN or TURN server is left out, because it cannot be used.
 * - `tracks`: a neighbour does not answer when it is told of tracks: it may be of a version without.
 * - `event`: an event came that cannot be shown; the message says which.
 */
export type WarningCode = "clock-off" | "ice-server" | "tracks" | "event";

export interface MeshMessage {
    type: "message";
    id: MessageId;
    /** The author, whose signature was verified. */
    from: PeerId;
    name: string;
    /** The topic of a broadcast; null for a message to this agent alone. */
    topic: string | null;
    payload: ReceivedPayload;
    delivery: Delivery;
    /** The author awaits `mesh.reply(id, …)`. */
    wantsReply: boolean;
    hops: number;
    latencyMs: number;
}

export type MeshEvent =
    | MeshMessage
    | { type: "joined"; room: string; members: number }
    | { type: "refused"; code: string; message: string }
    /** `hub` counts the addresses that were given, from 0. */
    | { type: "signalingLost"; hub: number; reason: string; retryInMs: number }
    | { type: "signalingRestored"; hub: number }
    /** Another signaling server serves this agent; the former did until then. */
    | { type: "signalingMoved"; hub: number }
    | { type: "peerJoined"; peer: PeerId; name: string }
    | { type: "peerLeft"; peer: PeerId; name: string }
    | { type: "linkOpened"; peer: PeerId; setupMs: number; describedMs: number; answeredMs: number | null; reachedMs: number | null }
    /** A link goes on over another connection, which has fresh DTLS keys. */
    | { type: "linkRotated"; peer: PeerId; tookMs: number }
    /** The way that a link takes is known, or is another now. */
    | { type: "linkPath"; peer: PeerId; path: LinkPath }
    | { type: "linkClosed"; peer: PeerId; reason: string }
    | { type: "linkFailed"; peer: PeerId; reason: string }
    /**
     * A neighbour sends a track of audio or video. `stream` is the same as long as the track lives, and plays on
     * while the link gets fresh keys; the browser's track in it is another then. Both are null if the track has
     * ended since.
     */
    | { type: "track"; peer: PeerId; id: string; kind: TrackKind; stream: MediaStream | null; track: MediaStreamTrack | null }
    | { type: "trackEnded"; peer: PeerId; id: string }
    /** A neighbour needs a keyframe of a video track of this agent. The browser's sender makes one by itself. */
    | { type: "keyframeWanted"; peer: PeerId; id: string }
    | { type: "topologyChanged" }
    /** So much of a large message has arrived, or come. */
    | { type: "sending"; id: MessageId; to: PeerId; bytes: number; bytesTotal: number }
    | { type: "receiving"; id: MessageId; from: PeerId; bytes: number; bytesTotal: number }
    /** An acknowledged message, or any large one, has arrived. */
    | { type: "delivered"; id: MessageId; to: PeerId; roundTripMs: number }
    | { type: "replied"; id: MessageId; from: PeerId; payload: ReceivedPayload; roundTripMs: number }
    /** A member has told how it sees its link to another, as `explainLink` has asked it. */
    | { type: "linkExplained"; id: MessageId; of: PeerId; about: PeerId; report: LinkReport }
    | { type: "deliveryFailed"; id: MessageId; to: PeerId | null; reason: LossReason; at: PeerId }
    | { type: "rejected"; via: PeerId | null; author: PeerId | null; reason: RejectReason }
    /** The agent goes on, but something is wrong that somebody should know of: what, and the remedy. */
    | { type: "warning"; code: WarningCode; message: string }
    /** The reader of events was too slow, and this many were dropped. */
    | { type: "lagged"; missed: number }
    /** The last event. */
    | { type: "left" };

/** What a track carries. */
export type TrackKind = "audio" | "video";

/** Where an address is known from: the machine, a STUN server, the other end, a TURN server. */
export type CandidateType = "host" | "srflx" | "prflx" | "relay";

/** The way of a link: the kinds of the addresses at its ends, and whether it leads over a TURN server. */
export interface LinkPath {
    local: CandidateType;
    remote: CandidateType;
    relayed: boolean;
}

/**
 * A step on the way to a link: the other end's offer, its answer, a path of ICE, the data channels over that, room
 * at the other end; and a sign of life, of a link that was open.
 */
export type LinkStep = "offer" | "answer" | "path" | "channels" | "room" | "life";

/** Where a link stands at one end. */
export type LinkCondition =
    /** The agent knows no such member. */
    | "unknown"
    | "absent"
    /** It is not needed any more. */
    | "closing"
    | { opening: { forMs: number; offers: boolean; viaHub: boolean; awaits: LinkStep } }
    | { linked: { forMs: number; rttUs: number | null; path: LinkPath | null } }
    /** Nothing is heard of the other end; the connection is kept for a while. */
    | { silent: { forMs: number } };

/** What one agent says of its link to another member. */
export interface LinkReport {
    condition: LinkCondition;
    wanted: boolean;
    /** The member is of another shard of a large room. */
    remote: boolean;
    /** Links that the agent keeps, has, and takes at most. */
    k: number;
    links: number;
    linksMax: number;
    /** It knows a TURN server. */
    knowsRelays: boolean;
    /** Its route to the member. */
    hops: number | null;
    nextHop: PeerId | null;
    /** Attempts to link that have failed one after the other, and what the last one lacked. */
    failed: {
        count: number; at: LinkStep; relays: boolean; reason: string; agoMs: number; retryInMs: number;
        /** The topology does without the member until then. */
        leftOut: boolean;
    } | null;
}

/** What there is to say of two members, in words; the same as `mesh doctor --pair` shows. */
export interface Finding {
    /** Of both together, or of one end. */
    check: "pair" | "pair-end";
    /** Their names, or its name and the start of its id. */
    about: string;
    outcome: "ok" | "note" | "wrong";
    found: string;
    /** What to do about it. */
    remedy?: string;
}

export interface Peer {
    id: PeerId;
    name: string;
    /** Whether a link to it is open. */
    direct: boolean;
    hops: number | null;
    nextHop: PeerId | null;
    /** Of the direct link. */
    rttMs: number | null;
    /** Share of the pings over it that were lost of late, there or back, 0 to 1; null until eight have shown it: minutes. */
    loss: number | null;
    /** The way of the direct link; null while it is not known. */
    path: LinkPath | null;
    /** Bytes that the direct link has brought, and that it was given, since it opened. */
    bytesIn: number | null;
    bytesOut: number | null;
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
    skipped: number;
    rerouted: number;
    linkStates: number;
    routeChanges: number;
    framesIn: number;
    framesOut: number;
    bytesIn: number;
    bytesOut: number;
    /** Pings that are not sent again if they get lost, answered and lost: the loss of the paths that the links take. */
    pings: { answered: number; lost: number };
    links: {
        open: number; negotiating: number; wanted: number;
        opened: number; failed: number;
        /** Those of `failed` that the other end declined, for want of room. */
        declined: number;
        closed: number;
        /** Those of `closed` that were in use. */
        lost: number;
        /** Links that went on over another connection, with fresh keys. */
        rotated: number;
        /** Attempts to rotate keys that failed; the links went on with those they had. */
        rotationsFailed: number;
    };
    /** What was done for links that were lost or did not open. */
    repairs: Partial<Record<"revival" | "restart" | "redial" | "solicit" | "replacement" | "star", number>>;
    lost: Partial<Record<LossReason, number>>;
    rejected: Partial<Record<RejectReason, number>>;
    /** When this agent acts by itself next, and why; null for one that waits for nothing. */
    nextTimeout: { inMs: number; reason: TimeoutReason } | null;
}

/**
 * What is due: `signaling` (a server is dialled, pinged, given up), `verify` (records), `negotiation` (a link has not
 * opened), `fallback` (it tries relays), `relay` (a busy server gets its signals again), `keepalive` (a ping), `drain` (a link closes), `rotate`
 * (its keys), `direct` (a relayed one looks for a better way), `settle` (links follow the members), `announce`, `gossip`, `compare`, `repair` (link state), `routes`
 * (paths are computed), `acknowledge`, `adapt` (k), `tell`, `ask` (broadcasts), `suspect` (neighbours that acknowledge
 * nothing), `silent` (connections without a sign of life), `return` (members that lost the server), `gather`, `retry`,
 * `waiting`, `streams`, `gaps`, `large`, `bursts` (messages), `explain` (members are asked again of their links).
 */
export type TimeoutReason =
    | "signaling" | "verify" | "negotiation" | "fallback" | "relay" | "keepalive" | "drain" | "rotate" | "direct" | "tracks" | "settle" | "announce" | "gossip"
    | "compare" | "repair" | "routes" | "acknowledge" | "adapt" | "tell" | "ask" | "suspect" | "silent" | "return"
    | "gather" | "retry" | "waiting" | "streams" | "gaps" | "large" | "bursts" | "explain";

/**
 * One agent of a mesh: this tab. It lives until `close`, whether or not anything still refers to it.
 *
 * Promises reject with a `MeshError`, or with the reason of the AbortSignal that was given.
 */
export class Mesh {
    private constructor();

    /**
     * Joins a room. Resolves when the signaling server has admitted this agent; links open from then on by
     * themselves.
     */
    static join(options: JoinOptions): Promise<Mesh>;

    /** This agent's identity: its Ed25519 public key. */
    readonly id: PeerId;
    /** This agent's label. */
    readonly name: string;
    /** The room that it joined. */
    readonly room: string;

    /** The 32 secret bytes of the identity, to join as the same agent again. Whoever has them is this agent. */
    exportIdentity(): Uint8Array;

    /**
     * The events of this agent, for each caller a stream of its own. The first call gets those since joining,
     * later ones those from now on; of a closed agent there are none. A reader that is too slow is told by a
     * `lagged` event how many it missed.
     */
    events(): AsyncIterableIterator<MeshEvent>;

    /**
     * Resolves when what is sent leaves at once: when the first link is open, or at once in an empty room. What is
     * sent before waits by itself, up to its deadline.
     */
    ready(): Promise<void>;

    /**
     * Sends a message to one member, waiting while as much is under way to it as it and the path take. What is sent
     * to one member arrives in the order of sending, each message once, unless it is a datagram or not `ordered`.
     *
     * A payload of more than 15,872 bytes travels in parts, yields to all others, arrives outside their order, and is
     * waited for until all of it has: up to 16 MiB, or what the target takes, 64 MiB at most. It fails, with the code
     * `not-delivered`, when nothing of it arrives for its deadline. Datagrams and broadcasts cannot be that large.
     */
    send(peer: PeerLike, payload: Payload, options?: SendOptions): Promise<MessageId>;

    /** Sends a message to every member of the room, under a topic (may be empty). */
    broadcast(topic: string, payload: Payload): Promise<MessageId>;

    /** Sends a request; resolves with its reply. Either may be as large as what is sent. */
    request(peer: PeerLike, payload: Payload, options?: RequestOptions): Promise<ReceivedPayload>;

    /**
     * Asks a member how it sees its link to another, or why it has none. This tab may be asked too. A member of an
     * older version gives no answer: `no-reply` at the deadline.
     */
    explainLink(of: PeerLike, about: PeerLike, options?: Omit<RequestOptions, "onProgress">): Promise<LinkReport>;

    /**
     * Asks two members, at once, how they see the link between them. Resolves with what there is to say of it, in
     * words; an end that gives no answer is part of that.
     */
    diagnosePair(one: PeerLike, other: PeerLike, options?: Omit<RequestOptions, "onProgress">): Promise<Finding[]>;

    /** Answers a request: a `message` event with `wantsReply`. */
    reply(request: MessageLike, payload: Payload): Promise<void>;

    /**
     * Receives broadcasts of this topic, or of these, alone from now on; all of them if none are given, as at
     * first. Others are passed on as before: every member carries every broadcast of a room.
     */
    subscribe(topics?: string | Iterable<string> | null): Promise<void>;

    /**
     * Sends nothing through these members from now on, as far as this agent chooses the path; forwarders choose
     * theirs. To them it still sends.
     */
    avoid(members: PeerLike | Iterable<PeerLike>): Promise<void>;

    /**
     * Gives every link fresh DTLS keys now: another connection takes the place of each (`linkRotated`), and
     * nothing is lost or doubled. By itself each link does so every `rotateEveryMs`.
     */
    rotateKeys(): Promise<void>;

    /**
     * Sends a track of audio or video to a neighbour, of the camera, the microphone, or a canvas: to a member that
     * `peers()` shows as `direct`, and to no other (`not-linked`). At most 8 to each (`too-many-tracks`). It goes on
     * while the link gets fresh keys, and ends with the link.
     */
    sendTrack(peer: PeerLike, track: MediaStreamTrack): Promise<MediaSender>;

    /** Every other member of the room; of a divided one, of this agent's shard. */
    peers(): Peer[];

    /** The routing table. */
    routes(): Route[];

    /** The mesh as this agent knows it. */
    topology(): Topology;

    /** Counters, and what this agent waits for. */
    stats(): Stats;

    /**
     * Leaves the mesh and closes every link: event streams end after `left`, and what waits rejects with the code
     * `closed`. Closing twice does no harm.
     */
    close(): Promise<void>;

    /** Closes as `close` does, without a promise: calls after it reject with `closed`. */
    free(): void;

    /** The same, for `using`; there in browsers that have `Symbol.dispose`. */
    [Symbol.dispose](): void;
}

/** A track that this tab sends to one neighbour, until it is ended or the link closes. */
export class MediaSender {
    private constructor();

    /** The track's name, the same at the other end: the `id` of its event `track`. */
    readonly id: string;
    /** The neighbour that it is sent to. */
    readonly peer: PeerId;
    readonly kind: TrackKind;

    /** Sends another track of the same kind from now on. The other end sees the same track. */
    replace(track: MediaStreamTrack): Promise<void>;

    /** Sends nothing from now on, or again. What else uses the browser's track goes on. */
    mute(muted?: boolean): Promise<void>;

    /** Ends the track. Ending it twice does no harm. */
    end(): Promise<void>;
}

declare global {
    // As the library `esnext.disposable` has it, which a page that does not write `using` need not name.
    interface SymbolConstructor {
        readonly dispose: unique symbol;
    }
}

/** Stable names of what went wrong. */
export type MeshErrorCode =
    // of join
    | "not-initialised" | "options" | "config" | "url" | "unsupported" | "signaling-unreachable" | "not-a-hub"
    | "origin-refused" | "refused"
    // of an argument
    | "peer-id" | "message-id" | "topic" | "payload" | "json" | "track"
    // of a message
    | "to-self" | "unknown-peer" | "too-large" | "topic-too-long" | "unknown-request" | "deadline" | "no-reply"
    | "not-delivered" | "rate-limited"
    // of a track
    | "not-linked" | "too-many-tracks" | "track-ended"
    // of an iterator whose `next` is called again and again without waiting
    | "too-many-pending"
    // of an agent that is not in the mesh
    | "not-joined" | "closed";

/** What the mesh rejects with. */
export interface MeshError extends Error {
    name: "MeshError";
    code: MeshErrorCode;
    /** After how long one more message may be sent, with the code `rate-limited`. */
    retryAfterMs?: number;
}
