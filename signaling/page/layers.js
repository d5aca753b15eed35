// The layers of a stream, which one of them a viewer is sent, and why. The server reports them by an event stream
// (draft webrtc-http-egress-events), and takes a choice by a POST.

const urn = 'urn:ietf:params:whep:ext:core:';
const kept = 4; // switches

// Layers holds what the server reported to one viewer. It sends 'change' events.
export class Layers extends EventTarget {
  constructor() {
    super();
    this.chosen = ''; // RID; empty is automatic
    this.clear();
  }

  clear() {
    this.list = []; // the highest first: { rid, bitrate, width, height, sent, reason }
    this.switches = []; // the latest first: { at, layer, up, reason }
    this.asked = false; // whether the session knows the choice
    this.line = '0';
  }

  // open begins to listen, if the answer to an offer names the resources. reconnect is called when the server asks for
  // another session.
  async open(response, headers, reconnect) {
    this.close();
    const links = parseLinks(response);
    this.headers = { ...headers, 'Content-Type': 'application/json' };
    this.resource = links.get(`${urn}layer`);
    const events = links.get(`${urn}server-sent-events`);
    if (!this.resource || !events) return;
    const { resource } = this;
    try {
      const answer = await this.post(events, ['layers', 'reconnect']);
      if (resource !== this.resource || !answer.ok) return;
      this.events = new URL(answer.headers.get('Location'), answer.url);
    } catch {
      return; // playing needs no events
    }
    this.reconnect = reconnect;
    this.listening = new AbortController();
    document.addEventListener('visibilitychange', () => this.listen(), { signal: this.listening.signal });
    this.listen();
  }

  // listen begins to read events, or ends it. Over HTTP/1 a browser opens six connections to a server, for all of its
  // tabs: a hidden one needs no events.
  listen() {
    if (document.visibilityState !== 'visible') {
      this.source?.close();
      this.source = null;
    } else if (!this.source) {
      this.source = new EventSource(this.events);
      this.source.addEventListener('layers', (event) => this.update(JSON.parse(event.data)));
      this.source.addEventListener('reconnect', this.reconnect);
    }
  }

  close() {
    this.listening?.abort();
    this.source?.close();
    this.source = null;
    this.resource = null;
    this.clear();
    this.dispatchEvent(new Event('change'));
  }

  // choose asks for a layer by its RID, or for an automatic one. A choice that the server refuses stays as it was.
  async choose(rid) {
    const before = this.chosen;
    this.chosen = rid;
    this.asked = true;
    const answer = await this.post(this.resource, { mediaId: this.line, rid: rid || undefined }).catch(() => null);
    if (!answer?.ok && this.chosen === rid) this.chosen = before;
    this.dispatchEvent(new Event('change'));
  }

  post(url, body) {
    return fetch(url, { method: 'POST', headers: this.headers, body: JSON.stringify(body) });
  }

  update(lines) {
    [[this.line, this.list]] = Object.entries(lines);
    const sent = this.sent;
    const { reason } = this.list.find((l) => l.reason) || {};
    const [last] = this.switches;
    if (reason && (!last || last.layer?.rid !== sent?.rid)) {
      const up = this.place(sent) < this.place(last?.layer);
      this.switches = [{ at: Date.now(), layer: sent, up, reason }, ...this.switches].slice(0, kept);
    }
    // A choice outlives the connection in which it was made.
    if (this.chosen && !this.asked && this.list.some((l) => l.rid === this.chosen)) this.choose(this.chosen);
    this.dispatchEvent(new Event('change'));
  }

  // place is a layer's place in the list, where sound alone comes last.
  place(layer) {
    const at = this.list.findIndex((l) => l.rid === layer?.rid);
    return at < 0 ? this.list.length : at;
  }

  // sent is the layer that the viewer is sent, undefined for none.
  get sent() {
    return this.list.find((l) => l.sent);
  }
}

// parseLinks returns the targets of an answer's Link headers by relation (RFC 8288).
function parseLinks(response) {
  const links = new Map();
  for (const [, target, parameters] of (response.headers.get('Link') || '').matchAll(/<([^>]*)>([^<]*)/g)) {
    const relation = parameters.match(/;\s*rel="?([^";,]+)/i);
    if (relation) links.set(relation[1], new URL(target, response.url).href);
  }
  return links;
}

const reasons = {
  start: 'start',
  capacity: 'room for more',
  calm: 'room for more',
  delay: 'packets queue',
  loss: 'packets lost',
  nack: 'packets lost',
  remb: 'browser’s estimate',
  overdue: 'no reports',
  ladder: 'publisher',
  choice: 'chosen',
};

// reasonOf is a reason in the viewer's words.
export function reasonOf(reason) {
  return reasons[reason] || reason;
}

// sizeOf names a layer by the size of its pictures.
export function sizeOf(layer) {
  if (!layer) return 'sound only';
  return layer.width ? `${layer.width}×${layer.height}` : layer.rid;
}
