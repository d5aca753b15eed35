// Publish and Watch inject this script: WHIP and WHEP in their shortest form, and the numbers that the
// tests ask for. Evaluated once in each tab.
(() => {
  const h = { pc: null, location: null, postedAt: 0, answeredAt: 0, connectedAt: 0, first: null, token: '' };
  window.harness = h; // the global object of a script that Firefox is given is another

  const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

  // Resolves to null, or to the refusal {status, retryAfter, body}.
  async function exchange(url, o) {
    const pc = h.pc;
    await pc.setLocalDescription(await pc.createOffer());
    h.offer = pc.localDescription.sdp;
    const headers = { 'Content-Type': 'application/sdp' };
    if (o.token) headers.Authorization = `Bearer ${o.token}`;
    h.token = o.token;
    h.postedAt = performance.now();
    const response = await fetch(url, { method: 'POST', headers, body: pc.localDescription.sdp });
    const body = await response.text();
    h.answeredAt = performance.now();
    if (response.status !== 201) {
      return { status: response.status, retryAfter: Number(response.headers.get('Retry-After') || 0), body };
    }
    h.location = new URL(response.headers.get('Location'), response.url).href;
    h.answer = body;
    await pc.setRemoteDescription({ type: 'answer', sdp: body });
    return null;
  }

  function connected() {
    const pc = h.pc;
    return new Promise((done, failed) => {
      const look = () => {
        if (pc.connectionState === 'connected') {
          h.connectedAt = performance.now();
          done();
        } else if (pc.connectionState === 'failed' || pc.connectionState === 'closed') {
          failed(new Error(`the connection is ${pc.connectionState}, ICE ${pc.iceConnectionState}`));
        }
      };
      pc.addEventListener('connectionstatechange', look);
      look();
    });
  }

  function only(transceiver, codec) {
    const all = RTCRtpReceiver.getCapabilities('video').codecs;
    const name = (c) => c.mimeType.toLowerCase();
    const wanted = all.filter((c) => name(c) === `video/${codec}`.toLowerCase());
    if (!wanted.length) throw new Error(`this Chromium has no ${codec}`);
    transceiver.setCodecPreferences([...wanted, ...all.filter((c) => name(c) === 'video/rtx')]);
  }

  const camera = (o) => navigator.mediaDevices.getUserMedia({
    video: { width: { exact: o.width }, height: { exact: o.height },
      frameRate: { ideal: o.frameRate, max: o.frameRate } },
    audio: o.audio && { echoCancellation: false, autoGainControl: false, noiseSuppression: false },
  });

  // A picture with so many edges that encoders use all the bits they are given, and a clock.
  function drawn(o) {
    const canvas = document.createElement('canvas');
    canvas.width = o.width;
    canvas.height = o.height;
    const ctx = canvas.getContext('2d', { alpha: false });
    const draw = () => {
      for (let i = 0; i < 10; i++) {
        ctx.fillStyle = `hsl(${360 * Math.random()} 60% ${20 + 60 * Math.random()}%)`;
        ctx.fillRect(o.width * Math.random(), o.height * Math.random(), o.width / 16, o.height / 16);
      }
      ctx.fillStyle = '#000';
      ctx.fillRect(0, 0, o.width, o.height / 8);
      ctx.fillStyle = '#fff';
      ctx.font = `${o.height / 9}px monospace`;
      ctx.fillText(new Date().toISOString().slice(11, 23), 4, o.height / 9);
    };
    setInterval(draw, 1000 / o.frameRate);
    return canvas.captureStream(o.frameRate);
  }

  h.publish = async (o) => {
    const media = o.drawn ? drawn(o) : await camera(o);
    h.media = media;
    const pc = (h.pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' }));
    for (const track of media.getAudioTracks()) pc.addTransceiver(track, { direction: 'sendonly', streams: [media] });
    const max = o.maxBitrate || undefined;
    let sendEncodings = [{ ...(max && { maxBitrate: max }) }];
    if (o.simulcast) {
      sendEncodings = [4, 2, 1].map((by, i) => ({
        rid: 'lmh'[i],
        scaleResolutionDownBy: by,
        scalabilityMode: 'L1T1',
        ...(max && { maxBitrate: Math.round(max / (by * by)) }),
        ...(o.bitrates && { maxBitrate: o.bitrates[i] }),
      }));
    }
    const video = pc.addTransceiver(media.getVideoTracks()[0],
      { direction: 'sendonly', streams: [media], sendEncodings });
    if (o.codec) only(video, o.codec);
    if (o.keepResolution) {
      const parameters = video.sender.getParameters();
      parameters.degradationPreference = 'maintain-resolution';
      await video.sender.setParameters(parameters);
    }
    const refusal = await exchange(o.url, o);
    if (!refusal) await connected();
    return refusal;
  };

  h.watch = async (o) => {
    for (;;) {
      const pc = (h.pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' }));
      const media = new MediaStream();
      const video = document.createElement('video');
      video.autoplay = video.playsInline = true;
      video.width = 320;
      video.srcObject = media;
      document.body.replaceChildren(video);
      h.video = video;
      h.first = null;
      pc.addEventListener('track', ({ track }) => media.addTrack(track));
      const transceiver = pc.addTransceiver('video', { direction: 'recvonly' });
      if (o.codec) only(transceiver, o.codec);
      pc.addTransceiver('audio', { direction: 'recvonly' });
      noticeFirstFrame(video, pc);
      const refusal = await exchange(o.url, o);
      if (!refusal) {
        await connected();
        return null;
      }
      pc.close();
      if (!o.retry || (refusal.status !== 409 && refusal.status !== 503)) return refusal;
      await sleep(Math.max(0.1, refusal.retryAfter || 1) * 1000);
    }
  };

  // Two ways to notice the first frame. One is the callback of a frame that is presented. The other is the
  // element's count of frames, read every 5 ms: getStats would be up to 50 ms old.
  function noticeFirstFrame(video, pc) {
    const note = (by) => {
      h.first ??= { at: performance.now(), by };
    };
    video.requestVideoFrameCallback(() => note('requestVideoFrameCallback'));
    const poll = () => {
      if (h.first || pc.signalingState === 'closed') return;
      if (video.getVideoPlaybackQuality().totalVideoFrames > 0) note('getVideoPlaybackQuality');
      else setTimeout(poll, 5);
    };
    poll();
  }

  h.firstFrame = async () => {
    while (!h.first) await sleep(5);
    return { ms: h.first.at - h.postedAt, by: h.first.by };
  };

  h.timing = () => ({
    answered: h.answeredAt - h.postedAt,
    connected: h.connectedAt - h.postedAt,
  });

  h.stats = async () => ({
    connectionState: h.pc.connectionState,
    iceConnectionState: h.pc.iceConnectionState,
    reports: [...(await h.pc.getStats()).values()],
  });

  // Notes the statistics of video every 100 ms, with the time, in milliseconds since 1970.
  h.record = () => {
    h.samples = [];
    let reading = false;
    setInterval(async () => {
      if (reading) return;
      reading = true;
      for (const s of (await h.pc.getStats()).values()) {
        if (s.kind === 'video' && /^(in|out)bound-rtp$/.test(s.type)) h.samples.push({ ...s, at: Date.now() });
      }
      reading = false;
    }, 100);
  };

  // The present picture and the time below it, as base64 of a PNG.
  h.picture = () => {
    const canvas = document.createElement('canvas');
    canvas.width = 960;
    canvas.height = 600;
    const ctx = canvas.getContext('2d', { alpha: false });
    ctx.drawImage(h.video, 0, 0, 960, 540);
    ctx.fillStyle = '#fff';
    ctx.font = '50px monospace';
    ctx.fillText(`${new Date().toISOString().slice(11, 23)}, ${h.video.videoWidth} wide`, 4, 590);
    return canvas.toDataURL().split(',')[1];
  };

  h.stop = async () => {
    let status = 0;
    if (h.location) {
      const headers = h.token ? { Authorization: `Bearer ${h.token}` } : {};
      status = (await fetch(h.location, { method: 'DELETE', headers })).status;
      h.location = null;
    }
    h.pc?.close();
    for (const track of h.media?.getTracks() ?? []) track.stop();
    return status;
  };
  return true;
})();
