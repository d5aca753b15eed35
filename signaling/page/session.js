// Signalling over plain HTTP: one POST opens a session, one DELETE ends it.
//
//   Publisher  WHIP (RFC 9725): our offer is sendonly
//   Watcher    WHEP (draft-ietf-wish-whep): our offer is recvonly
//
// Both extend Session, which owns one RTCPeerConnection at a time and replaces it when it fails.
// A session moves through the states below and reports each by a 'state' event. A refusal that no retry can mend ends
// it in 'error'.
//
//   idle → connecting → live
//             ↑  ↓        ↓
//           waiting ← (connection lost, or the server said "try again later")

import { Layers } from './layers.js';

const firstRetry = 1; // seconds, doubled at each failure in a row
const longestRetry = 5;
const requestDeadline = 10; // seconds for the server to answer
const endDeadline = 2; // seconds for the answer to a DELETE
const connectDeadline = 10; // seconds from the answer until media must flow
const relayOnly = ['1', 'true', ''].includes(new URLSearchParams(location.search).get('relay')); // to try TURN
const grace = 4; // seconds for which 'disconnected' may still heal by itself
// How often a publisher asks again for a name that is taken. Our own session from before a reload or a crash may hold
// it, which the server gives up after a few seconds.
const takenRetries = 5;
const takenRetriesOnceLive = 20;

// Problem is a refusal by the server, with the contents of its problem JSON (RFC 9457).
export class Problem extends Error {
  constructor(status, title, detail, retryAfter) {
    super(detail || title || `the server answered ${status}`);
    this.name = 'Problem';
    this.status = status;
    this.title = title;
    this.retryAfter = retryAfter;
  }

  static async from(response) {
    let title = response.statusText;
    let detail = '';
    try {
      const text = await response.text();
      if (/json/.test(response.headers.get('Content-Type') || '')) {
        const problem = JSON.parse(text);
        title = problem.title || title;
        detail = problem.detail || '';
      } else if (/text\/plain/.test(response.headers.get('Content-Type') || '')) {
        detail = text.trim().slice(0, 300);
      }
    } catch {
      // The status alone has to do.
    }
    return new Problem(response.status, title, detail, retryAfter(response));
  }
}

// retryAfter reads the header's two forms, seconds and a date (RFC 9110 section 10.2.3).
function retryAfter(response) {
  const value = response.headers.get('Retry-After');
  if (!value) return undefined;
  const seconds = Number(value);
  if (Number.isFinite(seconds)) return Math.max(0, seconds);
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, (date - Date.now()) / 1000);
}

class Session extends EventTarget {
  constructor(endpoint, token) {
    super();
    this.endpoint = endpoint;
    this.token = token || '';
    this.state = 'idle';
    this.pc = null;
    this.location = null;
    // For tests and curious people: performance.now() at each step of the latest attempt.
    this.postedAt = 0;
    this.answeredAt = 0;
    this.connectedAt = 0;
    this.attempts = 0;
    this.failures = 0;
    this.refusals = 0; // in a row, because the stream is taken
    this.everLive = false;
    this.timer = 0;
    // Counts connections; later events of an older one are ignored.
    this.generation = 0;
  }

  start() {
    this.stopped = false;
    return this.connect();
  }

  // stop ends the session on the server too. While a page is going away only a keepalive request
  // gets out.
  stop({ keepalive = false } = {}) {
    this.stopped = true;
    clearTimeout(this.timer);
    this.drop(keepalive);
    this.become('idle');
  }

  become(state, info = {}) {
    this.state = state;
    this.dispatchEvent(new CustomEvent('state', { detail: { state, ...info } }));
  }

  headers(more) {
    return this.token ? { ...more, Authorization: `Bearer ${this.token}` } : more;
  }

  // drop deletes the current session and closes its connection; nobody waits for that. The connection's own goodbye
  // would end the session before the DELETE, which then finds none.
  drop(keepalive = false) {
    this.generation++;
    clearTimeout(this.watchdog);
    const { pc, location } = this;
    this.pc = null;
    this.location = null;
    if (!location || keepalive) pc?.close();
    if (location) this.end(location, keepalive).finally(() => pc?.close());
  }

  end(location, keepalive) {
    const signal = AbortSignal.timeout(endDeadline * 1000);
    return fetch(location, { method: 'DELETE', headers: this.headers({}), keepalive, signal }).catch(() => {});
  }

  // verify asks whether the server still has the session, once something looks wrong. A server that crashed or forgot
  // us says no goodbye, and ICE alone takes long to notice.
  async verify() {
    const { generation, location, pc } = this;
    if (!location) return;
    let gone;
    try {
      const response = await fetch(location, {
        method: 'HEAD',
        headers: this.headers({}),
        signal: AbortSignal.timeout(grace * 1000),
      });
      gone = response.status === 404 && 'the server has ended the session';
    } catch {
      gone = pc.connectionState === 'disconnected' && 'the server cannot be reached';
    }
    if (gone && generation === this.generation && !this.stopped) this.lost(gone);
  }

  // hurry cuts a wait short: the network is back, or the user is.
  hurry() {
    if (this.state !== 'waiting' || this.stopped) return;
    clearTimeout(this.timer);
    this.connect();
  }

  // opened lets a subclass use the headers of the answer.
  opened() {}

  // tune lets a subclass change the answer.
  tune(sdp) {
    return sdp;
  }

  async connect() {
    this.drop();
    const generation = this.generation;
    const current = () => generation === this.generation && !this.stopped;
    this.attempts++;
    this.become('connecting');
    const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
    this.pc = pc;
    try {
      await this.prepare(pc);
      if (!current()) return;
      this.observe(pc, current);
      // The server is ICE-lite and learns our addresses from our checks: nothing to gather for. So the local
      // description can wait for the STUN and TURN servers that the answer names.
      const offer = await describe(pc);
      if (!current()) return;
      this.postedAt = performance.now();
      const response = await fetch(this.endpoint, {
        method: 'POST',
        headers: this.headers({ 'Content-Type': 'application/sdp' }),
        body: offer.sdp,
        signal: AbortSignal.timeout(requestDeadline * 1000),
      });
      if (!response.ok) throw await Problem.from(response);
      const location = response.headers.get('Location');
      const resource = location && new URL(location, response.url).href;
      if (!current()) {
        // Stopped while the request was under way: give back what it opened.
        if (resource) this.end(resource, true);
        return;
      }
      this.location = resource;
      this.opened(response, current);
      const sdp = await response.text();
      this.answeredAt = performance.now();
      if (!current()) return;
      useServers(pc, response);
      await settle(pc, offer);
      if (!current()) return;
      await pc.setRemoteDescription({ type: 'answer', sdp: this.tune(sdp) });
      if (!current() || this.state === 'live') return;
      this.watchdog = setTimeout(() => {
        if (current() && this.state !== 'live') this.lost('no media path to the server was found');
      }, connectDeadline * 1000);
    } catch (error) {
      if (!current()) return;
      if (this.mayRetry(error)) {
        this.retry(error);
      } else {
        this.drop();
        this.become('error', { error });
      }
    }
  }

  // observe notices a connection that is gone. The browser shows it in one of three ways: ICE fails, the server closed
  // DTLS, or a disconnection lasts.
  observe(pc, current) {
    let disconnected = 0;
    pc.addEventListener('connectionstatechange', () => {
      clearTimeout(disconnected);
      if (!current()) return;
      switch (pc.connectionState) {
        case 'connected':
          clearTimeout(this.watchdog);
          this.connectedAt = performance.now();
          this.failures = 0;
          this.refusals = 0;
          this.everLive = true;
          this.become('live');
          break;
        case 'disconnected':
          this.verify();
          disconnected = setTimeout(() => current() && this.lost('the connection was interrupted'), grace * 1000);
          break;
        case 'failed':
          this.lost('the connection failed');
          break;
        case 'closed':
          this.lost('the server closed the connection');
          break;
      }
    });
    // With max-bundle, all media shares the first transport.
    const sender = pc.getTransceivers()[0]?.sender;
    pc.addEventListener('signalingstatechange', () => {
      const dtls = sender?.transport;
      if (!dtls || dtls.onstatechange) return;
      dtls.onstatechange = () => {
        if (!current() || dtls.state !== 'closed') return;
        this.location = null; // the server's goodbye: the session is gone
        this.lost('the server closed the connection');
      };
    });
  }

  lost(reason) {
    this.retry(new Error(reason));
  }

  retry(error) {
    this.drop();
    this.failures++;
    const backoff = Math.min(longestRetry, firstRetry * 2 ** (this.failures - 1));
    // A little spread, so that a thousand viewers do not come back in one instant.
    const seconds = (error.retryAfter ?? backoff) * (1 + Math.random() / 10);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.connect(), seconds * 1000);
    this.become('waiting', { error, seconds });
  }
}

// describe makes our offer, for Opus with two channels. A browser that does not ask for them plays one, and one that is
// not asked sends one (RFC 7587 section 7.1).
async function describe(pc) {
  const offer = await pc.createOffer();
  return { type: 'offer', sdp: withParameter(offer.sdp, 'opus', 'stereo=1'), plain: offer };
}

// settle makes the offer our local description, which begins to gather.
async function settle(pc, { type, sdp, plain }) {
  try {
    await pc.setLocalDescription({ type, sdp });
  } catch {
    await pc.setLocalDescription(plain); // one channel is better than none
  }
}

// useServers takes the STUN and TURN servers of an answer's Link headers (RFC 9725 section 4.6).
function useServers(pc, response) {
  const iceServers = [];
  const links = response.headers.get('Link') || '';
  for (const [, urls, parameters] of links.matchAll(/<((?:stun|turn)s?:[^>]*)>((?:"(?:\\.|[^"\\])*"|[^,"])*)/gi)) {
    const of = (name) =>
      parameters.match(new RegExp(`;\\s*${name}\\s*=\\s*"((?:\\\\.|[^"\\\\])*)"`, 'i'))?.[1].replace(/\\(.)/g, '$1');
    if (of('rel') !== 'ice-server') continue;
    const server = { urls };
    if (of('username')) Object.assign(server, { username: of('username'), credential: of('credential') });
    iceServers.push(server);
  }
  if (iceServers.length === 0 && !relayOnly) return;
  try {
    pc.setConfiguration({ ...pc.getConfiguration(), iceServers, iceTransportPolicy: relayOnly ? 'relay' : 'all' });
  } catch {
    // An older browser goes on without them.
  }
}

// busy says that a refusal is the server's state of the moment, and not about the request.
function busy(error) {
  return error.retryAfter !== undefined || [502, 503, 504].includes(error.status);
}

export class Publisher extends Session {
  // options: codec ('' is the browser's choice), bitrate in kbit/s, simulcast, and what to keep where
  // network or processor fall short, a degradationPreference.
  constructor(endpoint, token, media, options) {
    super(endpoint, token);
    this.media = media;
    this.options = options;
  }

  async prepare(pc) {
    for (const track of this.media.getTracks()) {
      const video = track.kind === 'video';
      const init = { direction: 'sendonly', streams: [this.media] };
      if (!video) {
        pc.addTransceiver(track, init);
        continue;
      }
      const transceiver = pc.addTransceiver(track, { ...init, sendEncodings: encodings(track, this.options) });
      if (this.options.codec) prefer(transceiver, this.options.codec);
      await keep(transceiver.sender, this.options.keep);
    }
  }

  tune(sdp) {
    return startBitrate(sdp, Math.min(1200, Math.round(this.options.bitrate / 2)));
  }

  mayRetry(error) {
    if (!(error instanceof Problem)) return this.everLive;
    if (error.status === 409) return ++this.refusals <= (this.everLive ? takenRetriesOnceLive : takenRetries);
    return busy(error) || (this.everLive && error.status >= 500);
  }
}

// encodings are the layers of a picture: three sizes, two of a small one, one of a tiny one. Chromium sends no more
// than that, and would leave out the last, which is the largest.
function encodings(track, { bitrate, simulcast }) {
  const max = Math.round(bitrate * 1000);
  const { width = 1280, height = 720 } = track.getSettings();
  const area = width * height;
  if (!simulcast || area < 480 * 270) return [{ maxBitrate: max }];
  // One plain layer each: without a mode, VP9 and AV1 would send a single SVC stream instead.
  const mode = { scalabilityMode: 'L1T1' };
  const layers = [
    { rid: 'q', scaleResolutionDownBy: 4, maxBitrate: Math.round(Math.max(100_000, max / 10)), ...mode },
    { rid: 'h', scaleResolutionDownBy: 2, maxBitrate: Math.round(Math.max(200_000, max / 3)), ...mode },
    { rid: 'f', maxBitrate: max, ...mode },
  ];
  return area < 960 * 540 ? layers.slice(1) : layers;
}

// prefer moves a codec to the front and leaves the others as a fallback.
function prefer(transceiver, codec) {
  const wanted = `video/${codec}`.toLowerCase();
  const all = RTCRtpReceiver.getCapabilities('video').codecs;
  const first = all.filter((c) => c.mimeType.toLowerCase() === wanted);
  if (first.length === 0 || !canEncode(codec)) throw new Error(`this browser cannot encode ${codec}`);
  transceiver.setCodecPreferences([...first, ...all.filter((c) => !first.includes(c))]);
}

export function canEncode(codec) {
  const wanted = `video/${codec}`.toLowerCase();
  return RTCRtpSender.getCapabilities('video').codecs.some((c) => c.mimeType.toLowerCase() === wanted);
}

// keep tells the browser what not to give up. Left alone, it would send a camera's 720p as 360p until
// its estimate of the network has grown.
async function keep(sender, preference) {
  if (!preference) return;
  try {
    await sender.setParameters({ ...sender.getParameters(), degradationPreference: preference });
  } catch {
    // Not every browser knows it.
  }
}

// startBitrate lets the estimate of the network begin at some kbit/s instead of 300. Chromium and Safari read it from
// the answer's codecs, others pass over it.
function startBitrate(sdp, kbits) {
  return withParameter(sdp, 'VP8|VP9|H264|AV1', `x-google-start-bitrate=${kbits}`);
}

// withParameter adds a parameter to all formats of some codecs that lack it.
function withParameter(sdp, codecs, parameter) {
  for (const [, type] of sdp.matchAll(new RegExp(`^a=rtpmap:(\\d+) (?:${codecs})/`, 'gim'))) {
    const fmtp = new RegExp(`^a=fmtp:${type} [^\r\n]+`, 'm');
    const rtpmap = new RegExp(`^a=rtpmap:${type} [^\r\n]+`, 'm');
    const known = sdp.match(fmtp)?.[0].split(/[ ;]+/).includes(parameter);
    if (known) continue;
    sdp = fmtp.test(sdp)
      ? sdp.replace(fmtp, `$&;${parameter}`)
      : sdp.replace(rtpmap, `$&\r\na=fmtp:${type} ${parameter}`);
  }
  return sdp;
}

export class Watcher extends Session {
  // other is an endpoint to try in turn with the first, while attempts fail.
  constructor(endpoint, token, other = endpoint) {
    super(endpoint, token);
    this.other = other;
    this.media = new MediaStream();
    this.firstFrameAt = 0;
    this.layers = new Layers();
  }

  opened(response, current) {
    this.layers.open(response, this.headers({}), (event) => current() && this.move(JSON.parse(event.data)));
  }

  // move obeys a server that asks to connect again. With a URL, empty for the same one, this session still
  // lives, and a 'move' event is sent. Without, it has ended.
  move({ url }) {
    if (url === undefined) this.lost('the server asks to connect again');
    else this.dispatchEvent(new CustomEvent('move', { detail: url || this.endpoint }));
  }

  retry(error) {
    if (this.failures > 0) [this.endpoint, this.other] = [this.other, this.endpoint];
    super.retry(error);
  }

  drop(keepalive) {
    this.layers.close();
    super.drop(keepalive);
  }

  prepare(pc) {
    this.firstFrameAt = 0;
    for (const track of this.media.getTracks()) this.media.removeTrack(track);
    pc.addEventListener('track', ({ track }) => {
      this.media.addTrack(track);
      this.dispatchEvent(new Event('track'));
    });
    pc.addTransceiver('video', { direction: 'recvonly' });
    pc.addTransceiver('audio', { direction: 'recvonly' });
  }

  mayRetry(error) {
    if (!(error instanceof Problem)) return true;
    return error.status === 409 || busy(error) || (this.everLive && error.status >= 500);
  }
}
