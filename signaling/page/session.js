// Signalling over plain HTTP: one POST opens a session, one DELETE ends it.
//
//   Publisher  WHIP (RFC 9725): our offer is sendonly
//   Watcher    WHEP (draft-ietf-wish-whep): our offer is recvonly
//
// Both extend Session, which owns one RTCPeerConnection at a time and replaces it when it fails.
// A session moves through the states below and tells of each by a 'state' event; a refusal that
// no retry can mend ends it in 'error'.
//
//   idle → connecting → live
//             ↑  ↓        ↓
//           waiting ← (connection lost, or the server said "try again later")

const firstRetry = 1; // seconds, doubled at each failure in a row
const longestRetry = 15;
const connectDeadline = 10; // seconds from the answer until media must flow
const grace = 4; // seconds for which 'disconnected' may still heal by itself

// Problem is a refusal by the server, with what its problem JSON (RFC 9457) said.
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
    this.everLive = false;
    this.timer = 0;
    // Counts connections; what an older one still reports is ignored.
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

  // drop closes the current connection and deletes its session; nobody waits for the reply.
  drop(keepalive = false) {
    this.generation++;
    clearTimeout(this.watchdog);
    if (this.pc) this.pc.close();
    this.pc = null;
    if (!this.location) return;
    fetch(this.location, { method: 'DELETE', headers: this.headers({}), keepalive }).catch(() => {});
    this.location = null;
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
      this.prepare(pc);
      this.observe(pc, current);
      await pc.setLocalDescription(await pc.createOffer());
      if (!current()) return;
      // The server is ICE-lite and learns our addresses from our checks: nothing to gather for.
      this.postedAt = performance.now();
      const response = await fetch(this.endpoint, {
        method: 'POST',
        headers: this.headers({ 'Content-Type': 'application/sdp' }),
        body: pc.localDescription.sdp,
      });
      if (!response.ok) throw await Problem.from(response);
      const location = response.headers.get('Location');
      const resource = location && new URL(location, response.url).href;
      if (!current()) {
        // Stopped while the request was under way: give back what it opened.
        if (resource) {
          fetch(resource, { method: 'DELETE', headers: this.headers({}), keepalive: true }).catch(() => {});
        }
        return;
      }
      this.location = resource;
      const sdp = await response.text();
      this.answeredAt = performance.now();
      await pc.setRemoteDescription({ type: 'answer', sdp });
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

  // observe notices a connection that is gone, in whichever of its three ways the browser tells:
  // ICE that fails, DTLS that the server closed, or a disconnection that lasts.
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
          this.everLive = true;
          this.become('live');
          break;
        case 'disconnected':
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
        if (current() && dtls.state === 'closed') this.lost('the server closed the connection');
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
    const seconds = error.retryAfter ?? backoff;
    this.become('waiting', { error, seconds });
    clearTimeout(this.timer);
    // A little spread, so that a thousand viewers do not come back in one instant.
    this.timer = setTimeout(() => this.connect(), seconds * 1000 * (1 + Math.random() / 10));
  }
}

export class Publisher extends Session {
  // options: codec ('' is the browser's choice), bitrate in kbit/s, simulcast.
  constructor(endpoint, token, media, options) {
    super(endpoint, token);
    this.media = media;
    this.options = options;
  }

  prepare(pc) {
    for (const track of this.media.getTracks()) {
      const video = track.kind === 'video';
      const init = { direction: 'sendonly', streams: [this.media] };
      if (video) init.sendEncodings = encodings(track, this.options);
      const transceiver = pc.addTransceiver(track, init);
      if (video && this.options.codec) prefer(transceiver, this.options.codec);
    }
  }

  // A stream that somebody else publishes is for the user to decide, unless it is our own session
  // which the server has not yet given up.
  mayRetry(error) {
    if (!(error instanceof Problem)) return this.everLive;
    return error.status === 503 || (this.everLive && (error.status === 409 || error.status >= 500));
  }
}

function encodings(track, { bitrate, simulcast }) {
  const max = Math.max(50, bitrate || 2500) * 1000;
  if (!simulcast) return [{ maxBitrate: max }];
  // One plain layer each: without a mode, VP9 and AV1 would send a single SVC stream instead.
  const mode = { scalabilityMode: 'L1T1' };
  return [
    { rid: 'q', scaleResolutionDownBy: 4, maxBitrate: Math.round(Math.max(100_000, max / 10)), ...mode },
    { rid: 'h', scaleResolutionDownBy: 2, maxBitrate: Math.round(Math.max(200_000, max / 3)), ...mode },
    { rid: 'f', maxBitrate: max, ...mode },
  ];
}

// prefer moves a codec to the front and leaves the others as a fallback.
function prefer(transceiver, codec) {
  const wanted = `video/${codec}`.toLowerCase();
  const all = RTCRtpReceiver.getCapabilities('video').codecs;
  const first = all.filter((c) => c.mimeType.toLowerCase() === wanted);
  const sends = RTCRtpSender.getCapabilities('video').codecs;
  if (first.length === 0 || !sends.some((c) => c.mimeType.toLowerCase() === wanted)) throw new Error(`this browser cannot encode ${codec}`);
  transceiver.setCodecPreferences([...first, ...all.filter((c) => !first.includes(c))]);
}

export class Watcher extends Session {
  constructor(endpoint, token) {
    super(endpoint, token);
    this.media = new MediaStream();
    this.firstFrameAt = 0;
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
    return error.status === 409 || error.status === 503 || (this.everLive && error.status >= 500);
  }
}
