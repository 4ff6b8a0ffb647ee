"""The other end of a link, for aiortc.

Reads orders and signals as JSON lines from stdin, writes signals and events to stdout, for
mesh-native/examples/foreign.rs.
"""

import asyncio
import json
import sys

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import candidate_from_sdp

# The three channels of a link (PROTOCOL.md): opened by agreement on their ids.
CHANNELS = [
    ("control", {"id": 0, "ordered": True}),
    ("data", {"id": 1, "ordered": True}),
    ("stream", {"id": 2, "ordered": False, "maxRetransmits": 0}),
]


def say(line):
    print(json.dumps(line), flush=True)


class Peer:
    """The connection of the current round."""

    def __init__(self):
        self.connection = None
        self.early = []

    async def start(self):
        await self.close()
        self.early = []
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.open = 0
        for label, init in CHANNELS:
            self.channel(label, init)

    def channel(self, label, init):
        channel = self.connection.createDataChannel(label, negotiated=True, **init)

        @channel.on("open")
        def on_open():
            self.open += 1
            if self.open == len(CHANNELS):
                say({"type": "open"})
            channel.send(label.encode())

        @channel.on("message")
        def on_message(data):
            text = data if isinstance(data, str) else data.decode()
            say({"type": "message", "channel": label, "text": text})

    async def describe(self, description):
        # Gathers all candidates into the description.
        await self.connection.setLocalDescription(description)
        local = self.connection.localDescription
        say({"type": local.type, "sdp": local.sdp})

    async def take_remote(self, line):
        description = RTCSessionDescription(sdp=line["sdp"], type=line["type"])
        await self.connection.setRemoteDescription(description)
        for early in self.early:
            await self.candidate(early)
        self.early = []

    async def candidate(self, line):
        candidate = candidate_from_sdp(line["candidate"].removeprefix("candidate:"))
        candidate.sdpMid = line.get("mid") or "0"
        candidate.sdpMLineIndex = line.get("line") or 0
        await self.connection.addIceCandidate(candidate)

    async def obey(self, line):
        kind = line["type"]
        if kind == "answer-next":
            await self.start()
        elif kind == "offer-next":
            await self.start()
            await self.describe(await self.connection.createOffer())
        elif kind == "offer":
            await self.take_remote(line)
            await self.describe(await self.connection.createAnswer())
        elif kind == "answer":
            await self.take_remote(line)
        elif kind == "candidate":
            if self.connection.remoteDescription:
                await self.candidate(line)
            else:
                self.early.append(line)
        else:
            raise ValueError(f"unknown order: {kind}")

    async def close(self):
        if self.connection:
            await self.connection.close()


async def main():
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    peer = Peer()
    # One after the other: a candidate must not overtake the description before it.
    while text := await reader.readline():
        try:
            await peer.obey(json.loads(text))
        except Exception as error:  # noqa: BLE001 - told to the other end
            say({"type": "error", "message": repr(error)})
    await peer.close()


asyncio.run(main())
