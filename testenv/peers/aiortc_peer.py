# Publishes or watches with aiortc: aiortc_peer.py publish|watch URL SECONDS
import asyncio
import fractions
import math

import av
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError, VideoStreamTrack

from client import ROLE, SECONDS, URL, Span, post, tell

RATE, WIDTH, HEIGHT = 15, 320, 240
SAMPLES = 960  # of 48,000 a second


class Picture(VideoStreamTrack):
    """A grey bar that moves."""

    def __init__(self):
        super().__init__()
        self.n, self.begun = 0, None

    async def recv(self):
        now = asyncio.get_event_loop().time()
        self.begun = now if self.begun is None else self.begun
        await asyncio.sleep(self.begun + self.n / RATE - now)
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        for i, plane in enumerate(frame.planes):
            fill = bytearray(b"\x80" * plane.buffer_size)
            if i == 0:
                at = 8 * self.n % (HEIGHT - 16) * plane.line_size
                fill[at:at + 16 * plane.line_size] = b"\xe0" * (16 * plane.line_size)
            plane.update(bytes(fill))
        frame.pts, frame.time_base = self.n * 90000 // RATE, fractions.Fraction(1, 90000)
        self.n += 1
        return frame


class Tone(AudioStreamTrack):
    """A tone of 440 Hz."""

    def __init__(self):
        super().__init__()
        self.n, self.begun = 0, None

    async def recv(self):
        now = asyncio.get_event_loop().time()
        self.begun = now if self.begun is None else self.begun
        await asyncio.sleep(self.begun + self.n / 48000 - now)
        frame = av.AudioFrame(format="s16", layout="mono", samples=SAMPLES)
        wave = (int(8000 * math.sin(2 * math.pi * 440 * (self.n + i) / 48000)) for i in range(SAMPLES))
        frame.planes[0].update(b"".join(v.to_bytes(2, "little", signed=True) for v in wave))
        frame.pts, frame.sample_rate, frame.time_base = self.n, 48000, fractions.Fraction(1, 48000)
        self.n += SAMPLES
        return frame


async def main():
    pc = RTCPeerConnection()
    spans = {"video": Span(90000), "audio": Span(48000)}
    ended = asyncio.Event()
    tasks = []

    async def take(track):
        span = spans[track.kind]
        try:
            while True:
                frame = await track.recv()
                span.frames += 1
                span.at(int(frame.pts * frame.time_base * span.rate) & 0xFFFFFFFF)
        except MediaStreamError:
            tell(Error="a track has ended")
            ended.set()

    @pc.on("track")
    def on_track(track):
        tasks.append(asyncio.ensure_future(take(track)))

    @pc.on("connectionstatechange")
    def on_state():
        if pc.connectionState == "connected":
            tell(Connected=True)
        elif pc.connectionState in ("failed", "closed"):
            tell(Error="connection " + pc.connectionState)
            ended.set()

    if ROLE == "publish":
        pc.addTrack(Picture())
        pc.addTrack(Tone())
    else:
        pc.addTransceiver("video", direction="recvonly")
        pc.addTransceiver("audio", direction="recvonly")
    await pc.setLocalDescription(await pc.createOffer())
    answer = await asyncio.get_event_loop().run_in_executor(None, post, URL, pc.localDescription.sdp)
    await pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    while not ended.is_set():
        await asyncio.sleep(0.1)
        if ROLE == "watch" and all(s.seconds() >= SECONDS for s in spans.values()):
            for stat in (await pc.getStats()).values():
                if stat.type == "inbound-rtp":
                    spans[stat.kind].packets, spans[stat.kind].lost = stat.packetsReceived, stat.packetsLost
            tell(**{k.capitalize(): s.as_json() for k, s in spans.items()})
            return


asyncio.run(main())
