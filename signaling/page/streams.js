// The list of live streams, renewed while somebody looks at it.
//
// A server with a view token lists nothing to those without: then there is simply no list, until the
// token changes.

const interval = 3000; // milliseconds

export class StreamList {
  // list is a <ul>, and token() gives the bearer. onpick is called with the name that was clicked, onchange with the
  // number of streams, or null where the server keeps it to itself.
  constructor(list, { token, onpick, onchange }) {
    this.list = list;
    this.token = token;
    this.onpick = onpick;
    this.onchange = onchange;
    this.url = new URL('streams', document.baseURI);
    this.items = new Map();
    this.timer = 0;
    this.running = false;
    this.refused = null; // the token that was not good enough
    document.addEventListener('visibilitychange', () => this.running && this.poll());
  }

  start() {
    if (this.running) return;
    this.running = true;
    this.poll();
  }

  stop() {
    this.running = false;
    clearTimeout(this.timer);
  }

  async poll() {
    clearTimeout(this.timer);
    if (document.visibilityState === 'visible' && this.refused !== this.token()) {
      const streams = await this.fetch();
      if (!this.running) return;
      this.render(streams);
    }
    clearTimeout(this.timer);
    if (this.running) this.timer = setTimeout(() => this.poll(), interval);
  }

  async fetch() {
    const token = this.token();
    try {
      const response = await fetch(this.url, {
        headers: token ? { Authorization: `Bearer ${token}` } : {},
        signal: AbortSignal.timeout(interval),
      });
      if (response.ok) {
        const now = Date.parse(response.headers.get('Date')) || Date.now(); // the server's clock
        return (await response.json()).map((s) => ({ ...s, seconds: (now - Date.parse(s.since)) / 1000 }));
      }
      if ([401, 403, 404].includes(response.status)) this.refused = token;
    } catch {
      // The server is away for a moment.
    }
    return null;
  }

  // render keeps the items that stay, so that focus and a finger on its way find them.
  render(streams) {
    const names = new Set(streams?.map((s) => s.name));
    for (const [name, item] of this.items) {
      if (names.has(name)) continue;
      item.remove();
      this.items.delete(name);
    }
    (streams || []).forEach((s, i) => {
      const item = this.items.get(s.name) || this.add(s.name);
      item.querySelector('small').textContent = describe(s);
      if (this.list.children[i] !== item) this.list.insertBefore(item, this.list.children[i] || null);
    });
    this.onchange(streams ? streams.length : null);
  }

  add(name) {
    const item = document.createElement('li');
    const button = document.createElement('button');
    button.type = 'button';
    button.dataset.stream = name;
    const title = document.createElement('b');
    title.textContent = name;
    button.append(title, document.createElement('small'));
    button.addEventListener('click', () => this.onpick(name));
    item.append(button);
    this.items.set(name, item);
    return item;
  }
}

function describe({ codecs, subscribers, seconds }) {
  const parts = [];
  if (codecs?.length) parts.push(codecs.join(' + '));
  if (subscribers >= 0) parts.push(subscribers === 1 ? '1 viewer' : `${subscribers} viewers`);
  if (seconds >= 0) parts.push(span(seconds));
  return parts.join(' · ');
}

function span(seconds) {
  if (seconds < 60) return 'just now';
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}
