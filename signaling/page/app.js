// The page: reads the form or the address, starts a session and shows how it fares.
//
//   ?publish=NAME&source=camera|back|screen|pattern&codec=VP8|VP9|H264|AV1&resolution=1080|720|540|360
//       &bitrate=2000&keep=resolution|framerate|balanced&simulcast=0
//   ?watch=NAME
//   &autostart=1 starts at once, &stats=0 and =1 hide and show the numbers
//   &embed shows the player of a viewer alone, for other sites' pages; &relay=1 uses a TURN server alone
//   #token=TOKEN is the access token: what is behind the # stays in the browser

import { sizeOf } from './layers.js';
import { startPattern } from './pattern.js';
import { Problem, Publisher, Watcher, canEncode } from './session.js';
import { StatsPanel, kbits } from './stats.js';
import { StreamList } from './streams.js';

const $ = (id) => document.getElementById(id);
const base = new URL('./', document.baseURI);
const canCapture = window.isSecureContext && Boolean(navigator.mediaDevices?.getUserMedia);
const bitrates = { 1080: 4500, 720: 2500, 540: 1500, 360: 800 }; // kbit/s that suit a height

let mode = 'publish';
let session = null;
let successor = null; // a viewer's next session, while the server of this one is about to end
let source = null; // feeds a publisher: { stream, stop }
let countdown = 0;

// For tests and the console.
window.ringcast = { publisher: null, watcher: null };

const plots = {};
for (const name of ['bitrate', 'fps', 'rtt', 'loss', 'jitter']) {
  plots[name] = { line: $(`plot-${name}`), value: $(`plot-${name}-value`) };
}
const stats = new StatsPanel($('stats'), plots);
// A viewer's session outlives the publisher's, so that the picture comes back by itself. But a server
// that crashed is silent just so: ask it, less and less often.
stats.onquiet = (seconds, sample) => {
  if (session?.state !== 'live') return;
  if (seconds >= 2 && Number.isInteger(Math.log2(seconds))) session.verify();
  if (mode !== 'watch') return;
  if (seconds >= 3) {
    notice('Waiting for the publisher', 'Nothing has arrived for a moment. The picture comes back by itself.');
  } else if (seconds === 0 && sample.pictures === 0 && performance.now() > session.connectedAt + 3000) {
    listen();
  } else if (seconds === 0 && sample.pictures > 0 && !video.requestVideoFrameCallback) {
    picture();
  }
};

const streams = new StreamList($('stream-list'), {
  token: () => $('token').value,
  onpick: (name) => {
    $('stream').value = name;
    setMode('watch');
    start();
  },
  onchange: (count) => {
    listed = count;
    showStreams();
  },
});
let listed = null; // how many streams are live, null where the server does not tell

// ---- What the user set ----

function streamName() {
  return $('stream').value.trim();
}

function endpoint(kind) {
  return new URL(`${kind}/${encodeURIComponent(streamName())}`, base).href;
}

function publishEndpoint() {
  return endpoint('whip') + ($('backup').checked ? '?backup=1' : '');
}

function setMode(next) {
  mode = next;
  $('mode-publish').setAttribute('aria-pressed', String(mode === 'publish'));
  $('mode-watch').setAttribute('aria-pressed', String(mode === 'watch'));
  refresh();
}

function refresh() {
  const publishing = mode === 'publish';
  const busy = session !== null || starting;
  $('publish-fields').hidden = !publishing;
  for (const element of $('form').querySelectorAll('input, select')) element.disabled = busy;
  $('mode-publish').disabled = busy;
  $('mode-watch').disabled = busy;
  $('start').hidden = session !== null;
  $('start').disabled = starting;
  $('start').textContent = publishing ? 'Start publishing' : 'Watch';
  $('stop').hidden = session === null;
  $('stop').textContent = publishing ? 'Stop publishing' : 'Stop watching';
  $('insecure').hidden = canCapture || !publishing;
  $('commands').hidden = !publishing;
  $('share').hidden = !(publishing && session);
  if (busy) streams.stop();
  else streams.start();
  showStreams();
  commands();
  if (busy) return;
  if (publishing) idle('Ready to publish', 'Your picture will appear here.');
  else idle('Nothing is playing', 'Pick a live stream, or enter a name.');
}

// An empty list is worth its place only to a visitor who wants to watch.
function showStreams() {
  const busy = session !== null || starting;
  $('streams').hidden = busy || listed === null || (listed === 0 && mode === 'publish');
  $('streams-none').hidden = listed !== 0;
}

const copies = new Map(); // the text that a copy button takes, where it is not the text that is shown

function commands() {
  const token = $('token').value;
  const url = quote(publishEndpoint());
  // The token is copied, not shown.
  const command = (id, build) => {
    $(id).textContent = build('••••••••');
    copies.set(id, build(token));
  };
  command('command-obs', () => publishEndpoint());
  command('command-obs-token', (t) => t);
  $('obs-token').hidden = !token;
  command('command-ffmpeg', (t) =>
    'ffmpeg -re -f lavfi -i testsrc2=size=1280x720:rate=30 -f lavfi -i sine=frequency=440 ' +
    '-c:v libx264 -profile:v baseline -pix_fmt yuv420p -preset veryfast -tune zerolatency -b:v 2500k -g 60 ' +
    `-c:a libopus -ar 48000 -ac 2 -f whip ${token && `-authorization ${quote(t)} `}${url}`);
  command('command-gstreamer', (t) =>
    'gst-launch-1.0 videotestsrc is-live=true ! video/x-raw,width=1280,height=720,framerate=30/1 ! whip. ' +
    'audiotestsrc is-live=true ! whip. whipclientsink name=whip ' +
    `signaller::whip-endpoint=${url}${token && ` signaller::auth-token=${quote(t)}`}`);
  $('share-link').href = link({ watch: streamName(), autostart: 1 });
  const again = { publish: streamName(), autostart: 1 };
  for (const id of ['source', 'codec', 'resolution', 'bitrate', 'keep']) if ($(id).value) again[id] = $(id).value;
  if (!$('simulcast').checked) again.simulcast = 0;
  if ($('backup').checked) again.backup = 1;
  $('again-link').href = link(again);
}

// quote makes one word for a shell.
function quote(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function link(settings) {
  const url = new URL(base);
  for (const [name, value] of Object.entries(settings)) url.searchParams.set(name, value);
  return url.href;
}

function presets() {
  const query = new URLSearchParams(location.search);
  const choose = (id, value) => {
    if (value === null) return;
    const wanted = value.toLowerCase();
    const option = [...$(id).options].find((o) => o.value.toLowerCase() === wanted);
    if (option) $(id).value = option.value;
  };
  const watch = query.get('watch');
  const publish = query.get('publish');
  if (watch || publish) $('stream').value = watch || publish;
  choose('source', query.get('source'));
  choose('codec', query.get('codec'));
  choose('resolution', query.get('resolution'));
  suggestBitrate();
  const bitrate = Number(query.get('bitrate'));
  if (bitrate > 0) $('bitrate').value = String(bitrate);
  const keep = query.get('keep');
  choose('keep', /^(resolution|framerate)$/i.test(keep) ? `maintain-${keep}` : keep);
  const token = new URLSearchParams(location.hash.slice(1)).get('token');
  if (token) $('token').value = token;
  if (query.has('stats')) $('toggle-stats').setAttribute('aria-pressed', String(isOn(query.get('stats'))));
  $('simulcast').checked = !query.has('simulcast') || isOn(query.get('simulcast'));
  $('backup').checked = isOn(query.get('backup'));
  setMode(query.has('watch') || query.has('embed') ? 'watch' : 'publish');
  embedded = query.has('embed') && isOn(query.get('embed'));
  document.documentElement.classList.toggle('embed', embedded);
  autostart = (embedded || isOn(query.get('autostart'))) && Boolean(watch || publish);
  if (autostart) start();
}

let autostart = false;
let embedded = false; // only the player is shown

function suggestBitrate() {
  $('bitrate').value = String(bitrates[$('resolution').value]);
}

function isOn(value) {
  return value !== null && !['0', 'false', 'no'].includes(value);
}

// ---- Starting and stopping ----

let starting = false;

async function start() {
  if (session || starting || !$('form').reportValidity()) return;
  fail(null);
  starting = true;
  refresh();
  try {
    if (typeof RTCPeerConnection === 'undefined') throw new Error('this browser has no WebRTC');
    if (mode === 'publish') await startPublishing();
    else startWatching();
  } catch (error) {
    release();
    fail(explain(error));
  } finally {
    starting = false;
    refresh();
  }
}

async function startPublishing() {
  idle('Waiting for the source', 'Your browser may ask for permission.', true);
  source = await capture();
  for (const track of source.stream.getVideoTracks()) {
    // The browser's own "stop sharing" button, or a camera that was pulled out.
    track.addEventListener('ended', () => stop());
  }
  const publisher = new Publisher(publishEndpoint(), $('token').value, source.stream, {
    codec: $('codec').value,
    bitrate: Number($('bitrate').value),
    simulcast: $('simulcast').checked,
    keep: $('keep').value,
  });
  window.ringcast.publisher = publisher;
  run(publisher);
  show(source.stream);
}

function startWatching() {
  const watcher = newWatcher(endpoint('whep'), $('token').value);
  window.ringcast.watcher = watcher;
  run(watcher);
}

function newWatcher(url, token) {
  const watcher = new Watcher(url, token, endpoint('whep'));
  watcher.addEventListener('track', () => session === watcher && show(watcher.media));
  watcher.addEventListener('move', (event) => session === watcher && move(event.detail));
  watcher.layers.addEventListener('change', showLayers);
  return watcher;
}

// move opens a session at another server while this one still plays. The page changes over to it when its first
// picture can be shown, or this session ends.
function move(url) {
  if (successor) return;
  const next = newWatcher(url, session.token);
  successor = next;
  next.layers.chosen = session.layers.chosen;
  const silent = session.firstFrameAt === 0; // no picture will come there either
  next.addEventListener('state', ({ detail }) => {
    if (successor !== next) return;
    if (detail.state === 'error') successor = null;
    else if (detail.state === 'live' && silent) changeOver();
  });
  const preview = document.createElement('video');
  preview.muted = true;
  preview.addEventListener('loadeddata', () => {
    preview.srcObject = null;
    if (successor !== next) return;
    next.firstFrameAt = performance.now();
    changeOver();
  });
  next.addEventListener('track', () => {
    preview.srcObject = next.media;
    preview.play().catch(() => {});
  });
  next.start();
  obey(next);
}

// changeOver makes the successor the session of the page. The sound stays on or off.
function changeOver() {
  const old = session;
  session = successor;
  successor = null;
  window.ringcast.watcher = session;
  stats.session = session;
  const { muted } = video;
  video.srcObject = session.media;
  video.muted = muted;
  video.play().catch(() => {});
  awaitPicture();
  old.stop();
  if (session.state === 'waiting') session.hurry();
  else follow({ state: session.state });
}

// obey lets the page follow a session. A session that is lost gives way to its successor.
function obey(next) {
  next.addEventListener('state', ({ detail }) => {
    if (session !== next) return;
    if (detail.state === 'waiting' && successor) changeOver();
    else follow(detail);
  });
}

function run(next) {
  session = next;
  obey(session);
  session.start();
  stats.start(session, mode);
}

function stop(options) {
  if (!session) return;
  const old = session;
  session = null;
  old.stop(options);
  release();
  refresh();
}

// release forgets everything that a session used.
function release() {
  clearInterval(countdown);
  session = null;
  successor?.stop();
  successor = null;
  source?.stop();
  source = null;
  window.ringcast.publisher = null;
  window.ringcast.watcher = null;
  stats.stop();
  video.srcObject = null;
  if (document.pictureInPictureElement) document.exitPictureInPicture().catch(() => {});
  for (const id of ['badge', 'stats', 'tools', 'plots', 'unmute', 'quality']) $(id).hidden = true;
  stayAwake();
}

async function capture() {
  const height = Number($('resolution').value);
  const width = (height * 16) / 9;
  const kind = $('source').value;
  if (kind === 'pattern') return startPattern(width, height);
  if (!canCapture) {
    throw new Error('the browser gives camera and screen only to pages opened over HTTPS or from localhost');
  }
  let stream;
  if (kind === 'screen') {
    if (!navigator.mediaDevices.getDisplayMedia) throw new Error('this browser cannot share the screen');
    stream = await navigator.mediaDevices.getDisplayMedia({
      video: { width: { max: width }, height: { max: height }, frameRate: { max: 30 } },
      audio: true,
    });
    const hint = $('keep').value === 'maintain-framerate' ? 'motion' : 'detail';
    for (const track of stream.getVideoTracks()) track.contentHint = hint;
  } else {
    const picture = { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: 30 } };
    if (kind === 'back') picture.facingMode = 'environment';
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: picture, audio: true });
    } catch (error) {
      // A camera without a microphone is fine.
      if (error.name !== 'NotFoundError') throw error;
      stream = await navigator.mediaDevices.getUserMedia({ video: picture });
    }
  }
  return { stream, stop: () => stream.getTracks().forEach((track) => track.stop()) };
}

// ---- Showing how it goes ----

const video = $('video');

function show(stream) {
  if (video.srcObject !== stream) {
    video.srcObject = stream;
    video.muted = true; // autoplay asks for it, and nobody wants to hear themselves
  }
  if (mode === 'publish') $('idle').hidden = true;
  video.play().catch(() => {});
  awaitPicture();
}

let awaited = false;

// awaitPicture lets a viewer's next frame end the notice over the picture.
function awaitPicture() {
  if (awaited || !video.requestVideoFrameCallback) return;
  awaited = true;
  video.requestVideoFrameCallback((now) => {
    awaited = false;
    if (!(session instanceof Watcher)) return;
    // A frame that comes while it waits is the last of an earlier connection.
    if (session.state === 'waiting') return awaitPicture();
    if (session.firstFrameAt === 0) session.firstFrameAt = now;
    picture();
  });
}

// picture shows what a viewer sees. notice takes its place while there is nothing to see, and listen if
// there is only sound.
function picture() {
  $('idle').hidden = true;
  badge('Watching', true);
  offerSound();
}

function notice(title, detail) {
  idle(title, detail, true);
  badge('Waiting');
  offerSound();
  awaitPicture();
}

function listen() {
  idle('Sound only', 'No picture has come yet.');
  badge('Listening', true);
  offerSound();
  awaitPicture();
}

function idle(title, detail = '', spin = false) {
  $('idle').hidden = false;
  $('idle-title').textContent = title;
  $('idle-detail').textContent = detail;
  $('spinner').hidden = !spin;
}

function badge(text, live = false) {
  $('badge').hidden = !text;
  $('badge').textContent = text;
  $('badge').classList.toggle('live', live);
}

function follow({ state, error, seconds }) {
  clearInterval(countdown);
  const watching = mode === 'watch';
  if (state !== 'waiting') fail(null);
  $('tools').hidden = state !== 'live';
  showStats();
  offerSound();
  stayAwake();
  switch (state) {
    case 'connecting':
      badge('Connecting');
      if (watching && session.attempts === 1) idle('Connecting', '', true);
      break;
    case 'live':
      if (!watching) badge('Live', true);
      else if (session.firstFrameAt > 0) picture();
      else notice('Connected', 'Waiting for the first picture.');
      break;
    case 'waiting':
      wait(error, seconds);
      break;
    case 'error':
      release();
      refresh();
      fail(explain(error));
      if (error.status === 401 || error.status === 403) $('access').open = true;
      break;
  }
}

// wait counts down to the next attempt.
function wait(error, seconds) {
  let title = 'Connection lost';
  let reason = sentence(explain(error));
  if (error instanceof Problem) {
    if (error.status === 409 && mode === 'watch') {
      title = 'Waiting for the publisher';
      reason = 'Nobody publishes this stream now.';
    } else if (error.status === 409) title = 'The stream is taken';
    else if (error.status === 503) title = 'The server is busy';
    else title = 'Waiting for the server';
  }
  badge(title === 'Connection lost' ? 'Reconnecting' : 'Waiting');
  const until = performance.now() + seconds * 1000;
  const tick = () => {
    const left = Math.max(0, Math.round((until - performance.now()) / 1000));
    const next = left > 0 ? `Trying again in ${left}\u00a0s.` : 'Trying again.';
    idle(title, `${reason} ${next}`, true);
  };
  tick();
  countdown = setInterval(tick, 1000);
}

function fail(message) {
  $('error').hidden = !message;
  $('error').textContent = message ? sentence(message) : '';
  if (embedded && message) idle('Cannot play', sentence(message));
}

function sentence(text) {
  const whole = /[.!?…]$/.test(text) ? text : `${text}.`;
  return whole.charAt(0).toUpperCase() + whole.slice(1);
}

function explain(error) {
  if (error instanceof Problem) {
    return error.status === 401 && !$('token').value ? 'the server asks for an access token' : error.message;
  }
  switch (error.name) {
    case 'InvalidStateError':
      if ($('source').value === 'screen') return 'the browser shares the screen only after a click: press Start';
      break;
    case 'TimeoutError':
      return 'the server does not answer';
    case 'NotAllowedError':
      return 'permission for the camera, microphone or screen was refused';
    case 'NotFoundError':
      return 'no camera was found';
    case 'NotReadableError':
      return 'the camera or microphone is in use by another program';
    case 'TypeError':
      // The three engines' words for a request that did not get through.
      return /fetch|network|load failed/i.test(error.message) ? 'the server cannot be reached' : error.message;
  }
  return error.message || String(error);
}

function showStats() {
  const wanted = $('toggle-stats').getAttribute('aria-pressed') === 'true';
  $('stats').hidden = $('plots').hidden = !(wanted && session?.state === 'live');
}

// showLayers offers a viewer the layers of the stream, where there are several. It keeps options that stay, because the
// list may be open.
function showLayers() {
  const layers = session?.layers;
  const list = layers?.list || [];
  $('quality').hidden = list.length < 2;
  const rate = (layer) => (layer.bitrate ? kbits(layer.bitrate) : 'paused');
  const options = [['', 'Automatic'], ...list.map((l) => [l.rid, `${sizeOf(l)} · ${rate(l)}`])];
  const select = $('layer');
  select.length = options.length;
  options.forEach(([value, text], i) => {
    const option = select.options[i];
    if (option.value !== value) option.value = value;
    if (option.text !== text) option.text = text;
  });
  select.value = list.some((l) => l.rid === layers.chosen) ? layers.chosen : '';
}

// offerSound offers a viewer sound once there is something to see or to hear.
function offerSound() {
  const playing = $('badge').classList.contains('live');
  $('unmute').hidden = !(mode === 'watch' && session?.state === 'live' && playing && video.muted);
  showSound();
}

// showSound shows whether the viewer hears, or the publisher is heard.
function showSound() {
  const watching = mode === 'watch';
  const microphones = source?.stream.getAudioTracks() || [];
  const muted = watching ? video.muted : microphones.every((track) => !track.enabled);
  const label = `${muted ? 'Unmute' : 'Mute'}${watching ? '' : ' microphone'}`;
  $('sound').hidden = watching ? !$('unmute').hidden : microphones.length === 0;
  $('sound').setAttribute('aria-label', label);
  $('sound').title = label;
  $('sound').classList.toggle('muted', muted);
}

// stayAwake keeps a phone's screen on while something runs.
let awake = null;

async function stayAwake() {
  if (!session) {
    awake?.release().catch(() => {});
    awake = null;
  } else if (navigator.wakeLock && document.visibilityState === 'visible' && (!awake || awake.released)) {
    try {
      const lock = await navigator.wakeLock.request('screen');
      if (session) awake = lock;
      else lock.release();
    } catch {
      // It was only a request: the battery may be low.
    }
  }
}

// ---- Wiring ----

$('form').addEventListener('submit', (event) => {
  event.preventDefault();
  start();
});
$('stop').addEventListener('click', () => stop());
$('mode-publish').addEventListener('click', () => setMode('publish'));
$('mode-watch').addEventListener('click', () => setMode('watch'));
$('form').addEventListener('input', commands);
$('resolution').addEventListener('change', () => {
  suggestBitrate();
  commands();
});

video.addEventListener('volumechange', offerSound);
$('sound').addEventListener('click', () => {
  if (mode === 'watch') video.muted = !video.muted;
  else for (const track of source?.stream.getAudioTracks() || []) track.enabled = !track.enabled;
  showSound();
});
$('unmute').addEventListener('click', () => {
  video.muted = false;
  video.play().catch(() => {});
});

$('layer').addEventListener('change', () => session?.layers?.choose($('layer').value));

$('toggle-stats').addEventListener('click', () => {
  const on = $('stats').hidden;
  $('toggle-stats').setAttribute('aria-pressed', String(on));
  showStats();
});

$('pip').hidden = !document.pictureInPictureEnabled;
$('pip').addEventListener('click', () => {
  const done = document.pictureInPictureElement ? document.exitPictureInPicture() : video.requestPictureInPicture();
  done.catch((error) => fail(explain(error)));
});

$('fullscreen').addEventListener('click', () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else if ($('frame').requestFullscreen) $('frame').requestFullscreen().catch((error) => fail(explain(error)));
  else video.webkitEnterFullscreen?.();
});

document.addEventListener('click', async (event) => {
  const button = event.target.closest('[data-copy]');
  if (!button) return;
  const id = button.dataset.copy;
  const text = copies.get(id) ?? $(id).href;
  const label = button.dataset.label ??= button.textContent;
  button.textContent = (await copy(text)) ? 'Copied' : 'Failed';
  setTimeout(() => (button.textContent = label), 1500);
});

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // An insecure page has no clipboard, but may copy what is selected.
    const field = document.createElement('textarea');
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand('copy');
    field.remove();
    return done;
  }
}

window.addEventListener('pagehide', () => stop({ keepalive: true }));
window.addEventListener('pageshow', (event) => {
  if (event.persisted && autostart) start();
});
window.addEventListener('online', () => session?.hurry());
document.addEventListener('visibilitychange', () => {
  if (document.visibilityState !== 'visible') return;
  session?.hurry();
  stayAwake();
});

// On a phone the numbers would push the controls off the screen.
if (matchMedia('(max-width: 620px)').matches) $('toggle-stats').setAttribute('aria-pressed', 'false');
const offer = (select, able) => {
  for (const option of $(select).options) option.disabled = !able(option.value);
};
const canShare = canCapture && Boolean(navigator.mediaDevices.getDisplayMedia);
offer('source', (kind) => kind === 'pattern' || (kind === 'screen' ? canShare : canCapture));
if (!canCapture) $('source').value = 'pattern';
if (!matchMedia('(any-pointer: coarse)').matches) $('source').querySelector('[value=back]').hidden = true;
if (typeof RTCRtpSender !== 'undefined') offer('codec', (codec) => codec === '' || canEncode(codec));
$('secure-link').textContent = $('secure-link').href = `https://${location.host}${base.pathname}`;
const localPort = location.port && `:${location.port}`;
$('local-link').textContent = $('local-link').href = `http://localhost${localPort}${base.pathname}`;
presets();
