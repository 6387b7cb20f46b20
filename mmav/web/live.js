// The tab with the camera: records overlapping pieces and shows the newest answer. `element` is the HTML component.
const root = element.querySelector('.mmav-live');
const picture = root.querySelector('video');
const button = root.querySelector('button');
const status = root.querySelector('.mmav-live-status');
const answer = root.querySelector('.mmav-live-answer');
const { path, seconds, stride, kinds, camera } = JSON.parse(root.dataset.settings);
let stream = null, timer = null, session = '', sending = false, waiting = null, number = 0, skipped = 0;

function say(text) { status.textContent = text; }

async function open() {
  if (!navigator.mediaDevices || !window.MediaRecorder) {
    throw new Error('This browser gives no camera here: the page has to be on this machine, or behind https.');
  }
  const wanted = { video: kinds.includes('video') && camera, audio: kinds.includes('audio') };
  const tries = [wanted, { video: wanted.video, audio: false }, { video: false, audio: wanted.audio }];
  let failure = null;
  for (const each of tries.filter((each) => each.video || each.audio)) {
    try {
      return await navigator.mediaDevices.getUserMedia(each);
    } catch (error) {
      failure = failure || error;
    }
  }
  throw new Error('There is no camera or microphone that this page may use: ' + failure.message);
}

function record() {
  const recorder = new MediaRecorder(stream, { videoBitsPerSecond: 1000000 });
  const parts = [];
  recorder.ondataavailable = (event) => parts.push(event.data);
  recorder.onstop = () => {
    if (stream === null) return;
    if (waiting !== null) skipped += 1;
    waiting = { piece: new Blob(parts), ended: performance.now(), number: ++number };
    send();
  };
  recorder.start();
  setTimeout(() => recorder.state === 'recording' && recorder.stop(), 1000 * seconds);
}

async function send() {
  if (sending || waiting === null) return;
  const { piece, ended, number: current } = waiting;
  waiting = null;
  sending = true;
  try {
    const use = document.querySelector('#use input:checked');
    const headers = { 'x-mmav-live': session, 'x-mmav-use': use ? use.value : '' };
    const reply = await fetch(path, { method: 'POST', body: piece, headers });
    const told = await reply.json();
    if (stream === null) return;
    if (reply.ok) {
      answer.innerHTML = told.html;
      const late = Math.round(performance.now() - ended);
      say(`Piece ${current}, answered ${late} ms after its end` + (skipped ? `; ${skipped} skipped` : ''));
    } else if (reply.status === 429) {
      skipped += 1;
    } else {
      say(told.error);
      if (reply.status === 503) stop();
    }
  } catch (error) {
    say('The server does not answer: ' + error.message);
  } finally {
    sending = false;
    if (waiting !== null) setTimeout(send, 350);
  }
}

function stop() {
  clearInterval(timer);
  if (stream) stream.getTracks().forEach((track) => track.stop());
  stream = picture.srcObject = waiting = null;
  button.textContent = 'Start';
}

button.addEventListener('click', async () => {
  if (stream) { stop(); say(''); return; }
  button.disabled = true;
  try {
    stream = await open();
    session = Array.from(crypto.getRandomValues(new Uint8Array(16)), (each) => each.toString(16).padStart(2, '0')).join('');
    number = skipped = 0;
    picture.srcObject = stream;
    picture.play();
    button.textContent = 'Stop';
    say(`The first answer comes after ${seconds} s …`);
    record();
    timer = setInterval(record, 1000 * stride);
  } catch (error) {
    say(error.message);
  } finally {
    button.disabled = false;
  }
});
