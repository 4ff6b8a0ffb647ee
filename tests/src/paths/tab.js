// A connection of a tab, with one data channel as it is by default.
const DATA = 100, QUESTION = 113, ANSWER = 97;
const BUFFERED_MAX = 1 << 20;
const connection = new RTCPeerConnection();
const questions = new Map();
let channel, open, total = 0, asked = 0;
const opened = new Promise((resolve) => { open = resolve; });

function use(it) {
    channel = it;
    channel.binaryType = 'arraybuffer';
    channel.bufferedAmountLowThreshold = BUFFERED_MAX / 2;
    channel.onopen = open;
    channel.onmessage = ({ data }) => {
        const bytes = new Uint8Array(data);
        if (bytes[0] === DATA) total += bytes.length - 1;
        if (bytes[0] === QUESTION) {
            bytes[0] = ANSWER;
            channel.send(bytes);
        } else if (bytes[0] === ANSWER) {
            const number = new DataView(data).getUint32(1);
            questions.get(number)?.();
            questions.delete(number);
        }
    };
}

async function ask(size) {
    const message = new Uint8Array(size + 1);
    message[0] = QUESTION;
    new DataView(message.buffer).setUint32(1, ++asked);
    const answered = new Promise((resolve) => { questions.set(asked, resolve); });
    const began = performance.now();
    channel.send(message);
    await answered;
    return performance.now() - began;
}

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

window.end = {
    async describe(offer) {
        if (offer) {
            connection.ondatachannel = (event) => use(event.channel);
            await connection.setRemoteDescription(offer);
        } else {
            use(connection.createDataChannel('data'));
        }
        await connection.setLocalDescription();
        while (connection.iceGatheringState !== 'complete') {
            await new Promise((resolve) => { connection.onicegatheringstatechange = resolve; });
        }
        return connection.localDescription.toJSON();
    },
    accept: (answer) => connection.setRemoteDescription(answer),
    opened: () => opened.then(() => true),
    async rtt(count, every, size) {
        const asking = [];
        for (let n = 0; n < count; n++) {
            asking.push(ask(size));
            await pause(every);
        }
        return Promise.all(asking);
    },
    async flood(ms, size) {
        const message = new Uint8Array(size + 1);
        message[0] = DATA;
        for (const until = performance.now() + ms; performance.now() < until;) {
            channel.send(message);
            if (channel.bufferedAmount >= BUFFERED_MAX) {
                const low = new Promise((resolve) => { channel.onbufferedamountlow = resolve; });
                await Promise.race([low, pause(until - performance.now())]);
            }
        }
    },
    total: () => total,
};
