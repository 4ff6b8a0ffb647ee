// An agent of the mesh in a tab: it echoes requests, and tells when its first link has opened.

// Firefox runs scripts of WebDriver in a sandbox with an ArrayBuffer of its own; channels hand out the
// page's, which the package's `instanceof` would not know.
globalThis.ArrayBuffer = window.ArrayBuffer;

const { default: init, Mesh } = await import('/pkg/mesh_wasm.js');
await init();

let mesh, open;
const opened = new Promise((resolve) => { open = resolve; });

async function attend() {
    for await (const event of mesh.events()) {
        window.end.told.push(event);
        if (event.type === 'linkOpened') open(true);
        if (event.type === 'message' && event.wantsReply) await mesh.reply(event.id, event.payload);
    }
}

window.end = {
    told: [],
    async join(options) {
        mesh = await Mesh.join(options);
        attend();
        return mesh.id;
    },
    opened: (patience) => Promise.race([
        opened,
        new Promise((resolve) => { setTimeout(resolve, patience, false); }),
    ]),
    async ask(peer, times) {
        for (let n = 0; n < times; n++) await mesh.request(peer, 'which way?');
    },
};
