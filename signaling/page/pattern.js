// A moving picture with a clock, and a short beep as the second turns. It needs neither a camera nor permission, and so
// works where the browser refuses both.

export function startPattern(width, height) {
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  const ctx = canvas.getContext('2d', { alpha: false });
  const unit = height / 36;
  const started = performance.now();

  function draw() {
    const t = (performance.now() - started) / 1000;
    for (let i = 0; i < 8; i++) {
      ctx.fillStyle = `hsl(${200 + i * 22} 55% ${28 + i * 4}%)`;
      ctx.fillRect((i * width) / 8, 0, width / 8 + 1, height);
    }
    const x = width * (0.5 + 0.36 * Math.sin(t * 0.9));
    const y = height * (0.42 + 0.22 * Math.sin(t * 1.7));
    ctx.lineWidth = unit;
    for (let ring = 1; ring <= 3; ring++) {
      ctx.strokeStyle = `rgb(255 255 255 / ${1 - ring * 0.25})`;
      ctx.beginPath();
      ctx.arc(x, y, unit * 2.2 * ring, 0, 2 * Math.PI);
      ctx.stroke();
    }
    const now = new Date();
    ctx.fillStyle = 'rgb(8 12 18 / 0.8)';
    ctx.fillRect(0, height - unit * 6, width, unit * 6);
    ctx.fillStyle = '#ff6a3d';
    ctx.fillRect(0, height - unit * 6, width * (now.getMilliseconds() / 1000), unit * 0.6);
    ctx.fillStyle = '#fff';
    ctx.font = `600 ${unit * 3}px ui-monospace, monospace`;
    ctx.textBaseline = 'middle';
    ctx.fillText(now.toISOString().slice(11, 23), unit * 2, height - unit * 2.7);
    ctx.textAlign = 'right';
    ctx.fillText(`${width}×${height}`, width - unit * 2, height - unit * 2.7);
    ctx.textAlign = 'left';
  }

  draw();
  const timer = setInterval(draw, 1000 / 30);
  const stream = canvas.captureStream(30);

  const audio = new AudioContext();
  // Without a click, as with autostart, the sound waits for one.
  const wake = () => audio.resume().catch(() => {});
  wake();
  document.addEventListener('pointerdown', wake);
  const out = audio.createMediaStreamDestination();
  const gain = audio.createGain();
  gain.gain.value = 0;
  const tone = audio.createOscillator();
  tone.frequency.value = 880;
  tone.connect(gain).connect(out);
  tone.start();
  const beeper = setInterval(() => {
    const at = audio.currentTime;
    gain.gain.setValueAtTime(0.15, at);
    gain.gain.setValueAtTime(0, at + 0.06);
  }, 1000);
  for (const track of out.stream.getAudioTracks()) stream.addTrack(track);

  function stop() {
    clearInterval(timer);
    clearInterval(beeper);
    for (const track of stream.getTracks()) track.stop();
    document.removeEventListener('pointerdown', wake);
    audio.close().catch(() => {});
  }
  return { stream, stop };
}
