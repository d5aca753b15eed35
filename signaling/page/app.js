// The page: reads the form or the address, starts a session and shows how it fares.
//
//   ?publish=NAME&source=camera|screen|pattern&codec=VP9&bitrate=2000&resolution=360&simulcast=1
//   ?watch=NAME
//   &autostart=1 starts at once

import { startPattern } from './pattern.js';
import { Problem, Publisher, Watcher } from './session.js';
import { StatsPanel } from './stats.js';

const $ = (id) => document.getElementById(id);
const base = new URL('./', document.baseURI);
const canCapture = window.isSecureContext && Boolean(navigator.mediaDevices?.getUserMedia);

let mode = 'publish';
let session = null;
let source = null; // what feeds a publisher: { stream, stop }
let countdown = 0;

// For tests and the console.
window.ringcast = { publisher: null, watcher: null };

const plots = {};
for (const name of ['bitrate', 'fps', 'rtt']) plots[name] = { line: $(`plot-${name}`), value: $(`plot-${name}-value`) };
const stats = new StatsPanel($('stats'), plots);
// A viewer's session outlives the publisher's, so that the picture comes back by itself.
stats.onquiet = (seconds) => {
  if (mode !== 'watch' || session?.state !== 'live') return;
  const paused = seconds >= 3;
  if (paused) idle('Waiting for the publisher', 'Nothing has arrived for a moment. The picture comes back by itself.', true);
  else if (seconds === 0 && video.readyState >= 2) $('idle').hidden = true;
};

// ---- What the user set ----

function streamName() {
  return $('stream').value.trim();
}

function endpoint(kind) {
  return new URL(`${kind}/${encodeURIComponent(streamName())}`, base).href;
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
  commands();
  if (!busy) idle(publishing ? 'Ready to publish' : 'Nothing is playing', publishing ? 'Your picture will appear here.' : 'Enter a stream name to watch it.');
}

function commands() {
  const url = endpoint('whip');
  const token = $('token').value;
  const quoted = `'${url}'`;
  $('command-obs').textContent = url;
  $('command-ffmpeg').textContent =
    'ffmpeg -re -f lavfi -i testsrc2=size=1280x720:rate=30 -f lavfi -i sine=frequency=440 ' +
    '-c:v libx264 -profile:v baseline -pix_fmt yuv420p -preset veryfast -tune zerolatency -b:v 2500k -g 60 ' +
    `-c:a libopus -ar 48000 -ac 2 -f whip ${token ? "-authorization 'YOUR-TOKEN' " : ''}${quoted}`;
  $('command-gstreamer').textContent =
    'gst-launch-1.0 videotestsrc is-live=true ! video/x-raw,width=1280,height=720,framerate=30/1 ! whip. ' +
    'audiotestsrc is-live=true ! whip. whipclientsink name=whip ' +
    `signaller::whip-endpoint=${quoted}${token ? " signaller::auth-token='YOUR-TOKEN'" : ''}`;
  const share = new URL(base);
  share.searchParams.set('watch', streamName());
  share.searchParams.set('autostart', '1');
  $('share-link').href = share.href;
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
  const bitrate = Number(query.get('bitrate'));
  if (bitrate > 0) $('bitrate').value = String(bitrate);
  $('simulcast').checked = isOn(query.get('simulcast'));
  setMode(query.has('watch') ? 'watch' : 'publish');
  if (isOn(query.get('autostart')) && (watch || publish)) start();
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
  const publisher = new Publisher(endpoint('whip'), $('token').value, source.stream, {
    codec: $('codec').value,
    bitrate: Number($('bitrate').value),
    simulcast: $('simulcast').checked,
  });
  window.ringcast.publisher = publisher;
  run(publisher);
  show(source.stream);
}

function startWatching() {
  const watcher = new Watcher(endpoint('whep'), $('token').value);
  window.ringcast.watcher = watcher;
  watcher.addEventListener('track', () => show(watcher.media));
  run(watcher);
}

function run(next) {
  session = next;
  session.addEventListener('state', (event) => {
    if (session === next) follow(event.detail);
  });
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
  source?.stop();
  source = null;
  window.ringcast.publisher = null;
  window.ringcast.watcher = null;
  stats.stop();
  video.srcObject = null;
  if (document.pictureInPictureElement) document.exitPictureInPicture().catch(() => {});
  for (const id of ['badge', 'stats', 'tools', 'plots', 'unmute']) $(id).hidden = true;
}

async function capture() {
  const height = Number($('resolution').value);
  const width = (height * 16) / 9;
  const kind = $('source').value;
  if (kind === 'pattern') return startPattern(width, height);
  if (!canCapture) throw new Error('the browser gives camera and screen only to pages opened over HTTPS or from localhost');
  let stream;
  if (kind === 'screen') {
    if (!navigator.mediaDevices.getDisplayMedia) throw new Error('this browser cannot share the screen');
    stream = await navigator.mediaDevices.getDisplayMedia({
      video: { width: { max: width }, height: { max: height }, frameRate: { max: 30 } },
      audio: true,
    });
    for (const track of stream.getVideoTracks()) track.contentHint = 'detail';
  } else {
    const picture = { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: 30 } };
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
  video.requestVideoFrameCallback?.((now) => {
    if (session instanceof Watcher && session.firstFrameAt === 0) session.firstFrameAt = now;
  });
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
  if (state !== 'live') $('unmute').hidden = true;
  switch (state) {
    case 'connecting':
      badge('Connecting');
      if (watching && session.attempts === 1) idle('Connecting', '', true);
      break;
    case 'live':
      badge(watching ? 'Watching' : 'Live', true);
      if (watching && video.readyState < 2) idle('Connected', 'Waiting for the first picture.', true);
      offerSound();
      break;
    case 'waiting':
      wait(error, seconds);
      break;
    case 'error':
      release();
      refresh();
      fail(explain(error));
      break;
  }
}

// wait counts down to the next attempt.
function wait(error, seconds) {
  let title = 'Connection lost';
  if (error instanceof Problem) {
    if (error.status === 409 && mode === 'watch') title = 'Waiting for the publisher';
    else if (error.status === 503) title = 'The server is busy';
    else title = 'Waiting for the server';
  }
  badge(title === 'Connection lost' ? 'Reconnecting' : 'Waiting');
  const until = performance.now() + seconds * 1000;
  const tick = () => {
    const left = Math.max(0, Math.ceil((until - performance.now()) / 1000));
    const next = left > 0 ? `Trying again in ${left}\u00a0s.` : 'Trying again.';
    idle(title, `${sentence(explain(error))} ${next}`, true);
  };
  tick();
  countdown = setInterval(tick, 1000);
}

function fail(message) {
  $('error').hidden = !message;
  $('error').textContent = message ? sentence(message) : '';
}

function sentence(text) {
  const whole = /[.!?…]$/.test(text) ? text : `${text}.`;
  return whole.charAt(0).toUpperCase() + whole.slice(1);
}

function explain(error) {
  if (error instanceof Problem) return error.message;
  switch (error.name) {
    case 'NotAllowedError':
      return 'permission for the camera, microphone or screen was refused';
    case 'NotFoundError':
      return 'no camera was found';
    case 'NotReadableError':
      return 'the camera or microphone is in use by another program';
    case 'TypeError':
      return /fetch|network/i.test(error.message) ? 'the server cannot be reached' : error.message;
  }
  return error.message || String(error);
}

function showStats() {
  const wanted = $('toggle-stats').getAttribute('aria-pressed') === 'true';
  $('stats').hidden = $('plots').hidden = !(wanted && session?.state === 'live');
}

function offerSound() {
  $('unmute').hidden = !(mode === 'watch' && session?.state === 'live' && video.muted);
}

// ---- Wiring ----

$('form').addEventListener('submit', (event) => {
  event.preventDefault();
  start();
});
$('stop').addEventListener('click', () => stop());
$('mode-publish').addEventListener('click', () => setMode('publish'));
$('mode-watch').addEventListener('click', () => setMode('watch'));
$('stream').addEventListener('input', commands);
$('token').addEventListener('input', commands);

video.addEventListener('playing', () => {
  $('idle').hidden = true;
  offerSound();
});
video.addEventListener('volumechange', offerSound);
$('unmute').addEventListener('click', () => {
  video.muted = false;
  video.play().catch(() => {});
});

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
  const from = $(button.dataset.copy);
  const text = from.href || from.textContent;
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = 'Copied';
  } catch {
    // No clipboard on an insecure page: select the text, so that one key press copies it.
    getSelection().selectAllChildren(from);
    button.textContent = 'Selected';
  }
  setTimeout(() => (button.textContent = label), 1500);
});

window.addEventListener('pagehide', () => stop({ keepalive: true }));

// On a phone the numbers would push the controls off the screen.
if (matchMedia('(max-width: 620px)').matches) $('toggle-stats').setAttribute('aria-pressed', 'false');
if (!canCapture) {
  for (const option of $('source').options) option.disabled = option.value !== 'pattern';
  $('source').value = 'pattern';
}
presets();
