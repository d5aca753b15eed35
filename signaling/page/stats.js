// Reads getStats once a second and turns two consecutive samples into the rows of the overlay.

import { reasonOf, sizeOf } from './layers.js';

const length = 60; // seconds that a plot shows

export class StatsPanel {
  // rows is a <dl>, plots the <path> and the label of each series by name.
  constructor(rows, plots) {
    this.rows = rows;
    this.plots = plots;
    this.cells = new Map();
    this.timer = 0;
    // Called with how many seconds the server has been silent: no media for a viewer, nothing at all
    // for a publisher. The second argument is the sample.
    this.onquiet = () => {};
  }

  start(session, side) {
    this.stop();
    this.session = session;
    this.side = side;
    this.last = null;
    this.series = Object.fromEntries(Object.keys(this.plots).map((name) => [name, []]));
    this.timer = setInterval(() => this.tick(), 1000);
    this.tick();
  }

  stop() {
    clearInterval(this.timer);
    this.session = null;
    this.rows.replaceChildren();
    this.cells.clear();
    for (const { line, value } of Object.values(this.plots)) {
      line.setAttribute('d', '');
      value.textContent = '';
    }
  }

  async tick() {
    const { session } = this;
    const pc = session?.pc;
    if (!pc) {
      // Nothing is connected: the plots move on, with a gap.
      this.last = null;
      if (session) this.draw({}, {});
      return;
    }
    let report;
    try {
      report = await pc.getStats();
    } catch {
      return;
    }
    if (session !== this.session || pc !== session.pc) return;
    const sample = (this.side === 'publish' ? readSender : readReceiver)(report);
    const before = this.last && this.last.pc === pc ? this.last.sample : null;
    const quiet = before && sample.heard === before.heard ? this.last.quiet + 1 : 0;
    this.last = { pc, sample, quiet };
    if (before) this.onquiet(quiet, sample);
    const rate = before ? between(before, sample) : {};
    this.render(sample, rate, pc);
    this.draw(sample, rate);
  }

  draw(sample, rate) {
    this.plot('bitrate', rate.bitrate, kbits);
    this.plot('fps', sample.fps, (v) => `${Math.round(v)} fps`);
    this.plot('rtt', sample.rtt, milliseconds);
    this.plot('loss', rate.loss, (v) => `${v > 0 && v < 10 ? v.toFixed(1) : Math.round(v)} %`);
    this.plot('jitter', sample.jitter, milliseconds);
  }

  render(s, rate, pc) {
    const receiving = this.side !== 'publish';
    const rows = [
      ['Bitrate', kbits(rate.bitrate)],
      ['Frame rate', s.fps === undefined ? '' : `${Math.round(s.fps)} fps`],
      ['Resolution', s.width ? `${s.width}×${s.height}` : ''],
      ['Codec', s.codec],
      ['Round trip', milliseconds(s.rtt)],
      ['Packets lost', count(s.lost, s.packets)],
      ['Jitter', milliseconds(s.jitter)],
      receiving ? ['Jitter buffer', milliseconds(rate.buffer)] : ['Allowed by network', kbits(s.available)],
      ['NACK · PLI', s.nack === undefined ? '' : `${s.nack} · ${s.pli}`],
      receiving ? ['Freezes', s.freezes] : ['Limited by', s.limit],
      ['Encryption', cipher(s.cipher)],
      ['ICE · DTLS', `${pc.iceConnectionState} · ${s.dtls || 'new'}`],
    ];
    if (receiving) rows.push(...layerRows(this.session.layers));
    for (const [name, value] of rows) this.cell(name).textContent = value || value === 0 ? value : '–';
  }

  cell(name) {
    let cell = this.cells.get(name);
    if (!cell) {
      const term = document.createElement('dt');
      term.textContent = name;
      cell = document.createElement('dd');
      this.rows.append(term, cell);
      this.cells.set(name, cell);
    }
    return cell;
  }

  plot(name, value, format) {
    const series = this.series[name];
    series.push(value ?? null);
    if (series.length > length) series.shift();
    const { line, value: label } = this.plots[name];
    const top = Math.max(...series.map((v) => v ?? 0), Number.MIN_VALUE) * 1.15;
    let path = '';
    let move = true; // after a gap the line begins again
    series.forEach((v, i) => {
      if (v !== null) {
        const x = 100 - ((series.length - 1 - i) * 100) / (length - 1);
        path += `${move ? 'M' : 'L'}${x.toFixed(1)} ${(29 - (27 * v) / top).toFixed(1)}`;
      }
      move = v === null;
    });
    line.setAttribute('d', path);
    label.textContent = value === undefined || value === null ? '' : format(value);
  }
}

// layerRows says which of several layers is received, and why.
function layerRows({ list, sent, chosen, switches }) {
  if (list.length < 2 || switches.length === 0) return [];
  const place = sent ? `${list.length - list.indexOf(sent)} of ${list.length}` : 'sound only';
  const ago = (at) => Math.max(0, Math.round((Date.now() - at) / 1000));
  const lines = switches.map((s, i) => {
    const arrow = i === switches.length - 1 ? '' : s.up ? '↑ ' : '↓ ';
    return `${arrow}${sizeOf(s.layer)}, ${reasonOf(s.reason)}, ${ago(s.at)} s ago`;
  });
  return [['Layer', `${place} · ${chosen ? 'chosen' : 'automatic'}`], ['Switches', lines.join('\n')]];
}

function byType(report, type) {
  return [...report.values()].filter((s) => s.type === type);
}

function transport(report) {
  const t = byType(report, 'transport')[0] || {};
  const pair = report.get(t.selectedCandidatePairId) || {};
  return {
    cipher: t.srtpCipher,
    dtls: t.dtlsState,
    heard: t.bytesReceived,
    rtt: pair.currentRoundTripTime,
    available: pair.availableOutgoingBitrate,
  };
}

function readReceiver(report) {
  const inbound = byType(report, 'inbound-rtp');
  const video = inbound.find((s) => s.kind === 'video') || {};
  return {
    ...transport(report),
    at: video.timestamp ?? performance.timeOrigin + performance.now(),
    bytes: sum(inbound, 'bytesReceived'),
    heard: sum(inbound, 'bytesReceived'),
    packets: sum(inbound, 'packetsReceived'),
    lost: sum(inbound, 'packetsLost'),
    pictures: video.packetsReceived || 0,
    fps: video.framesPerSecond,
    width: video.frameWidth,
    height: video.frameHeight,
    jitter: video.jitter,
    bufferDelay: video.jitterBufferDelay,
    buffered: video.jitterBufferEmittedCount,
    nack: video.nackCount,
    pli: video.pliCount,
    freezes: video.freezeCount,
    codec: codecs(report, inbound),
  };
}

function readSender(report) {
  const outbound = byType(report, 'outbound-rtp');
  const video = outbound.filter((s) => s.kind === 'video');
  const remote = byType(report, 'remote-inbound-rtp');
  // The largest layer that is being sent stands for the picture.
  const top = video.reduce((a, b) => ((b.frameWidth || 0) >= (a?.frameWidth || 0) ? b : a), undefined) || {};
  const shown = remote.find((s) => s.kind === 'video') || {};
  return {
    ...transport(report),
    at: top.timestamp ?? performance.timeOrigin + performance.now(),
    bytes: sum(outbound, 'bytesSent'),
    packets: sum(outbound, 'packetsSent'),
    lost: remote.length ? sum(remote, 'packetsLost') : undefined,
    fps: top.framesPerSecond,
    width: top.frameWidth,
    height: top.frameHeight,
    jitter: shown.jitter,
    nack: video.length ? sum(video, 'nackCount') : undefined,
    pli: sum(video, 'pliCount'),
    limit: top.qualityLimitationReason,
    codec: codecs(report, outbound),
  };
}

function codecs(report, streams) {
  const names = streams.map((s) => report.get(s.codecId)?.mimeType?.replace(/^\w+\//, '')).filter(Boolean);
  return [...new Set(names)].join(' + ');
}

function between(a, b) {
  const seconds = (b.at - a.at) / 1000;
  if (seconds <= 0) return {};
  const frames = b.buffered - a.buffered;
  return {
    bitrate: Math.max(0, ((b.bytes - a.bytes) * 8) / seconds),
    buffer: frames > 0 ? (b.bufferDelay - a.bufferDelay) / frames : undefined,
    loss: percent(b.lost - a.lost, b.packets - a.packets),
  };
}

// percent is the share of lost packets; late ones make the count of the lost shrink. A publisher's
// packets include the lost, by so little that it does not show.
function percent(lost, packets) {
  const gone = Math.max(0, lost);
  return packets + gone > 0 ? (100 * gone) / (packets + gone) : undefined;
}

function sum(list, field) {
  return list.reduce((total, s) => total + (s[field] || 0), 0);
}

export function kbits(bits) {
  if (bits === undefined) return '';
  return bits >= 999_500 ? `${(bits / 1e6).toFixed(2)} Mbit/s` : `${Math.round(bits / 1000)} kbit/s`;
}

function milliseconds(seconds) {
  if (seconds === undefined) return '';
  const ms = seconds * 1000;
  return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

function count(lost, packets) {
  if (lost === undefined) return '';
  const share = percent(lost, packets) ?? 0;
  return share > 0 ? `${lost} (${share.toFixed(share < 1 ? 2 : 1)} %)` : `${lost}`;
}

function cipher(name) {
  return name?.replace(/^SRTP_/, '').replaceAll('_', ' ');
}
