// What a page may write and what it may not, for `tsc --strict --noEmit --lib es2022,dom` with
// `skipLibCheck: false`: each line that should be refused says so.

import init, { Mesh } from "./pkg/mesh_wasm.js";
import type {
    Finding, MediaSender, MeshError, MeshErrorCode, MeshEvent, MeshMessage, MessageId, Peer, TimeoutReason,
} from "./pkg/mesh_wasm.js";

function assertNever(value: never): never {
    throw new Error(`there is no ${JSON.stringify(value)}`);
}

async function answer(mesh: Mesh, message: MeshMessage): Promise<void> {
    if (message.wantsReply) await mesh.reply(message, { echo: message.payload });
    await mesh.send(message, "to the author of an event");
    const topic: string | null = message.topic;
    await mesh.broadcast(topic ?? "", message.payload);
}

function told(event: MeshEvent): string {
    switch (event.type) {
        case "message": return event.name;
        case "warning": return `${event.code}: ${event.message}`;
        case "deliveryFailed": return event.reason;
        case "lagged": return `${event.missed} missed`;
        case "linkOpened": return `${event.setupMs + (event.answeredMs ?? 0)} ms`;
        case "track": return `${event.kind} ${event.stream?.id ?? event.id} ${event.track?.readyState ?? "ended"}`;
        case "trackEnded": case "keyframeWanted": return event.id;
        case "linkPath": return `${event.path.local} to ${event.path.remote}${event.path.relayed ? ", relayed" : ""}`;
        case "sending": case "receiving": return `${event.bytes} of ${event.bytesTotal}`;
        case "joined": case "refused": case "signalingLost": case "signalingRestored":
        case "signalingMoved": case "peerJoined":
        case "peerLeft": case "linkRotated": case "linkClosed": case "linkFailed": case "topologyChanged": case "delivered":
        case "replied": case "rejected": case "left":
            return event.type;
        case "linkExplained": return event.report.failed?.reason ?? event.about;
        default: return assertNever(event);
    }
}

export async function use(): Promise<void> {
    await init();
    const controller = new AbortController();
    const mesh = await Mesh.join({
        signaling: "ws://localhost:9600/signal", room: "demo", name: "tab",
        k: 4, sparse: true, metric: "latency", adaptive: false, rotateEveryMs: 60_000, messagesPerSecond: 100, messagesBurst: 50, identity: new Uint8Array(32),
        timeoutMs: 1_000, signal: controller.signal,
    });
    await mesh.ready();
    const id: MessageId = await mesh.send(mesh.id, new Blob([]), { delivery: "acknowledged", deadlineMs: 5 });
    await mesh.send(mesh.id, new Uint8Array(1_000_000), {
        ordered: false, signal: controller.signal, onProgress: (bytes, bytesTotal) => void (bytes / bytesTotal),
    });
    const [peer]: Peer[] = mesh.peers();
    if (peer) await mesh.request(peer, new DataView(new ArrayBuffer(4)), { signal: controller.signal });
    if (peer) {
        const { condition } = await mesh.explainLink(mesh.id, peer, { deadlineMs: 500 });
        const linked: boolean = typeof condition === "object" && "linked" in condition && condition.linked.forMs > 0;
        const findings: Finding[] = await mesh.diagnosePair(mesh.id, peer);
        if (!linked) findings.forEach(({ found, remedy }) => console.log(found, remedy ?? ""));
    }
    const [camera] = (await navigator.mediaDevices.getUserMedia({ video: true })).getTracks();
    if (peer && camera) {
        const sender: MediaSender = await mesh.sendTrack(peer, camera);
        await sender.mute();
        await sender.mute(false);
        await sender.replace(camera);
        const kind: "audio" | "video" = sender.kind;
        if (kind === "video") await sender.end();
    }
    await mesh.subscribe("chat");
    await mesh.subscribe(new Set([id]));
    await mesh.subscribe();
    await mesh.avoid(mesh.peers());
    await mesh.avoid(mesh.peers().values());
    // A message of the DOM is still one of the DOM.
    addEventListener("message", (event: MessageEvent) => event.origin);
    for await (const event of mesh.events()) {
        told(event);
        if (event.type === "message") await answer(mesh, event);
    }
    const identity: Uint8Array = mesh.exportIdentity();
    await Mesh.join({ signaling: "", room: "", name: "", identity }).catch((error: MeshError) => {
        const code: MeshErrorCode = error.code;
        return code === "not-a-hub";
    });
    const { declined, failed }: { declined: number; failed: number } = mesh.stats().links;
    if (declined < failed) mesh.free();
    const due: [number, TimeoutReason] | undefined = ((next) => next && [next.inMs, next.reason])(mesh.stats().nextTimeout ?? undefined);
    if (due?.[1] === "keepalive") await Mesh.join({ signaling: "", room: "", name: "", log: "debug" });
    if (declined === 0) mesh[Symbol.dispose]();
    await mesh.close();

    // @ts-expect-error agents are joined, not made
    new Mesh();
    // @ts-expect-error a misspelt option
    await Mesh.join({ signaling: "", room: "", name: "", timeout: 5 });
    // @ts-expect-error no such level
    await Mesh.join({ signaling: "", room: "", name: "", log: "loud" });
    // @ts-expect-error the topic comes first
    await mesh.broadcast({ text: "hi" });
    // @ts-expect-error no such delivery
    await mesh.send(mesh.id, "x", { delivery: "fast" });
    // @ts-expect-error a number is no peer
    await mesh.send(5, "x");
    // @ts-expect-error requests have one delivery
    await mesh.request(mesh.id, "x", { delivery: "reliable" });
    // @ts-expect-error a link has two ends
    await mesh.explainLink(mesh.id);
    // @ts-expect-error JSON has no undefined
    await mesh.send(mesh.id, undefined);
}
