# The common part of the peers in Python: the HTTP of WHIP and WHEP, and a line of JSON for the test.
import json
import ssl
import sys
import time
import urllib.error
import urllib.request

# The server's certificate is its own.
CONTEXT = ssl._create_unverified_context()


def post(url, offer):
    """Posts an offer and returns the answer. While nobody publishes the stream, it asks again as it is told."""
    while True:
        request = urllib.request.Request(url, offer.encode(), {"Content-Type": "application/sdp"})
        try:
            with urllib.request.urlopen(request, context=CONTEXT) as response:
                return response.read().decode()
        except urllib.error.HTTPError as e:
            if e.code != 409 or "Retry-After" not in e.headers:
                raise SystemExit("POST %s: %d %s" % (url, e.code, e.read().decode()))
            time.sleep(0.2)


def tell(**what):
    """Writes a line for the test."""
    print(json.dumps(what), flush=True)


class Span:
    """The numbered, timed packets or frames of one track."""

    def __init__(self, rate):
        self.rate = rate  # of the timestamps, a second
        self.packets = self.frames = self.lost = 0
        self.first = self.last = self.newest = None

    def packet(self, sequence, timestamp):
        """Takes an RTP packet in the order of the jitter buffer."""
        self.packets += 1
        if self.newest is not None:
            self.lost += (sequence - self.newest - 1) & 0xFFFF
        self.newest = sequence
        self.at(timestamp)

    def at(self, timestamp):
        """Takes a 32-bit timestamp, which may wrap."""
        if self.first is None:
            self.first = self.last = timestamp
        ahead = (timestamp - self.last) & 0xFFFFFFFF
        if ahead < 1 << 31:
            self.last += ahead

    def seconds(self):
        return 0 if self.first is None else (self.last - self.first) / self.rate

    def as_json(self):
        return {"Seconds": self.seconds(), "Packets": self.packets, "Frames": self.frames, "Lost": self.lost}


ROLE, URL, SECONDS = sys.argv[1], sys.argv[2], float(sys.argv[3])
