// How a page written in TypeScript uses the package.
import init, { Mesh } from "mesh-wasm";
import type { JoinOptions, MeshEvent, Peer, Route, Stats } from "mesh-wasm";

export async function start(options: JoinOptions): Promise<Mesh> {
  await init();
  const mesh: Mesh = await Mesh.join(options);
  void read(mesh);
  return mesh;
}

async function read(mesh: Mesh): Promise<void> {
  for await (const event of mesh.events()) await take(mesh, event);
}

async function take(mesh: Mesh, event: MeshEvent): Promise<void> {
  if (event.type === "message" && event.wantsReply) await mesh.reply(event.id, { echo: event.payload });
  if (event.type === "deliveryFailed") console.log(event.reason.toUpperCase());
}

export async function ask(mesh: Mesh): Promise<unknown> {
  const [peer]: Peer[] = mesh.peers();
  if (!peer) return null;
  await mesh.send(peer.id, new Uint8Array(4), { delivery: "acknowledged", deadlineMs: 2000 });
  const routes: Route[] = mesh.routes();
  const stats: Stats = mesh.stats();
  return [await mesh.request(peer.id, "how are you?"), routes.length, stats.links.open];
}
