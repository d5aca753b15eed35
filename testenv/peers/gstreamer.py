# Publishes or watches with GStreamer's webrtcbin: gstreamer.py publish|watch URL SECONDS
import struct
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

from client import ROLE, SECONDS, URL, Span, post, tell  # noqa: E402

Gst.init(None)
loop = GLib.MainLoop()

PUBLISH = """
webrtcbin name=webrtc bundle-policy=max-bundle
videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=15/1 !
  vp8enc deadline=1 target-bitrate=300000 keyframe-max-dist=150 ! rtpvp8pay picture-id-mode=2 !
  application/x-rtp,media=video,encoding-name=VP8,payload=96 ! webrtc.
audiotestsrc is-live=true ! audioconvert ! audioresample ! opusenc ! rtpopuspay !
  application/x-rtp,media=audio,encoding-name=OPUS,payload=97 ! webrtc.
"""
VIDEO = "application/x-rtp,media=video,encoding-name=VP8,payload=96,clock-rate=90000"
AUDIO = "application/x-rtp,media=audio,encoding-name=OPUS,payload=97,clock-rate=48000,encoding-params=(string)2"
DECODERS = {
    "video": "rtpvp8depay ! vp8dec",
    "audio": "rtpopusdepay ! opusdec",
}

if ROLE == "publish":
    pipeline = Gst.parse_launch(PUBLISH)
    webrtc = pipeline.get_by_name("webrtc")
else:
    pipeline, webrtc = Gst.Pipeline(), Gst.ElementFactory.make("webrtcbin")
    webrtc.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
    webrtc.set_property("latency", 2000)  # ms: on a busy machine late is not lost
    pipeline.add(webrtc)
spans = {"video": Span(90000), "audio": Span(48000)}


def fail(message):
    tell(Error=message)
    loop.quit()


def offered(promise, *_):
    reply = promise.get_reply()  # keeps the offer, which is no copy
    webrtc.emit("set-local-description", reply.get_value("offer"), None)


def negotiate(*_):
    for i in range(2):
        transceiver = webrtc.emit("get-transceiver", i)
        transceiver.set_property("do-nack", True)
    webrtc.emit("create-offer", None, Gst.Promise.new_with_change_func(offered, None))


def gathered(*_):
    if webrtc.get_property("ice-gathering-state") != GstWebRTC.WebRTCICEGatheringState.COMPLETE:
        return
    text = webrtc.get_property("local-description").sdp.as_text()

    def ask():
        try:
            _, sdp = GstSdp.SDPMessage.new_from_text(post(URL, text))
        except SystemExit as e:
            fail(str(e))
            return
        answer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, sdp)
        webrtc.emit("set-remote-description", answer, None)

    threading.Thread(target=ask, daemon=True).start()


def connected(*_):
    state = webrtc.get_property("connection-state")
    if state == GstWebRTC.WebRTCPeerConnectionState.CONNECTED:
        tell(Connected=True)
    elif state in (GstWebRTC.WebRTCPeerConnectionState.FAILED, GstWebRTC.WebRTCPeerConnectionState.CLOSED):
        fail("connection " + state.value_nick)


def arrived(_, info, span):
    head = info.get_buffer().extract_dup(0, 12)
    sequence, timestamp = struct.unpack(">2xHI4x", head)
    span.packet(sequence, timestamp)
    return Gst.PadProbeReturn.OK


def decoded(_, __, ___, span):
    span.frames += 1


def added(_, pad):
    if pad.direction != Gst.PadDirection.SRC:
        return
    media = pad.get_current_caps().get_structure(0).get_string("media")
    span = spans[media]
    pad.add_probe(Gst.PadProbeType.BUFFER, arrived, span)
    chain = Gst.parse_bin_from_description(
        "queue ! %s ! fakesink name=sink sync=false signal-handoffs=true" % DECODERS[media], True)
    chain.get_by_name("sink").connect("handoff", decoded, span)
    pipeline.add(chain)
    chain.sync_state_with_parent()
    pad.link(chain.get_static_pad("sink"))


def look():
    if ROLE == "watch" and all(s.seconds() >= SECONDS for s in spans.values()):
        tell(**{k.capitalize(): s.as_json() for k, s in spans.items()})
        loop.quit()
        return False
    return True


def said(_, message):
    if message.type == Gst.MessageType.ERROR:
        fail("%s: %s" % message.parse_error())


webrtc.connect("notify::ice-gathering-state", gathered)
webrtc.connect("notify::connection-state", connected)
webrtc.connect("pad-added", added)
webrtc.connect("on-negotiation-needed", negotiate)
bus = pipeline.get_bus()
bus.add_signal_watch()
bus.connect("message", said)
if ROLE == "watch":
    receive = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
    for caps in VIDEO, AUDIO:
        webrtc.emit("add-transceiver", receive, Gst.Caps.from_string(caps))
GLib.timeout_add(100, look)
pipeline.set_state(Gst.State.PLAYING)
loop.run()
pipeline.set_state(Gst.State.NULL)
