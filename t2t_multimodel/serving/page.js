// The page: the problems, their inputs, the answer.
'use strict';
const $ = id => document.getElementById(id);
const problems = new Map();
let values = new Map();  // name of an input -> function that gives what the server takes, or null

const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const clear = () => {
  for (const id of ['error', 'time', 'answer', 'explain-time']) $(id).textContent = '';
  $('explanation').replaceChildren();
  $('result').hidden = $('explanation').hidden = true;
};
const fail = text => { clear(); $('error').textContent = text; };

async function ask(path, body) {
  const headers = {};
  if ($('token').value) headers.Authorization = 'Bearer ' + $('token').value;
  if (body) headers['Content-Type'] = 'application/json';
  let response, answer;
  try {
    response = await fetch(path, {method: body ? 'POST' : 'GET', headers, body: body && JSON.stringify(body)});
    answer = await response.json();
  } catch { throw new Error('The server does not answer; is it still running?'); }
  if (response.status === 401) { $('access').open = true; throw new Error('This server wants its token, below.'); }
  if (!response.ok) throw new Error(answer.error || 'The server refuses: ' + response.status);
  return answer;
}

function base64(bytes) {
  let text = '';
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return btoa(text);
}

// 16-bit PCM in one channel: what every server of recordings reads.
function wav(samples, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const word = (at, text) => [...text].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  word(0, 'RIFF'); view.setUint32(4, 36 + 2 * samples.length, true); word(8, 'WAVEfmt ');
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true); view.setUint16(32, 2, true);
  view.setUint16(34, 16, true); word(36, 'data'); view.setUint32(40, 2 * samples.length, true);
  samples.forEach((s, i) => view.setInt16(44 + 2 * i, Math.max(-1, Math.min(1, s)) * 32767, true));
  return new Uint8Array(view.buffer);
}

const READ_BY_SERVER = ['RIFF', 'fLaC', 'OggS', 'ID3', 'NIST', 'FORM', '.snd', 'caff', '\xff\xfb'];
async function asRecording(bytes) {
  const head = String.fromCharCode(...bytes.subarray(0, 4));
  if (READ_BY_SERVER.some(mark => head.startsWith(mark))) return bytes;
  const context = new AudioContext();  // what only the browser can play becomes WAV here
  try {
    const sound = await context.decodeAudioData(bytes.buffer.slice(0));
    const channels = [...Array(sound.numberOfChannels).keys()].map(i => sound.getChannelData(i));
    const mean = channels[0].map((_, i) => channels.reduce((sum, each) => sum + each[i], 0) / channels.length);
    return wav(mean, sound.sampleRate);
  } catch { return bytes; } finally { context.close(); }
}

// The stretch in which somebody speaks, and a little around it: few models were trained on silence.
function spoken(samples, rate) {
  const frame = Math.round(rate / 50), levels = [];
  for (let at = 0; at + frame <= samples.length; at += frame)
    levels.push(Math.sqrt(samples.subarray(at, at + frame).reduce((sum, s) => sum + s * s, 0) / frame));
  const loudest = Math.max(...levels), quiet = [...levels].sort((a, b) => a - b)[Math.floor(levels.length / 10)];
  const isSpeech = level => level > Math.max(loudest / 30, Math.min(2 * quiet, loudest / 10));
  const first = levels.findIndex(isSpeech), last = levels.findLastIndex(isSpeech);
  return first < 0 ? samples : samples.subarray(Math.max(0, first - 2) * frame, (last + 3) * frame);
}

// Samples straight from the microphone. Filters made for calls would change them, and so would a codec.
async function record(button, use) {
  const stream = await navigator.mediaDevices.getUserMedia(
    {audio: {channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false}});
  const context = new AudioContext();
  const source = context.createMediaStreamSource(stream), node = context.createScriptProcessor(4096, 1, 1);
  const parts = [];
  node.onaudioprocess = event => parts.push(new Float32Array(event.inputBuffer.getChannelData(0)));
  source.connect(node); node.connect(context.destination);
  const before = button.textContent;
  button.textContent = 'Stop';
  await new Promise(resolve => { button.onclick = resolve; setTimeout(resolve, 20000); });
  button.textContent = before;
  node.disconnect(); source.disconnect(); stream.getTracks().forEach(track => track.stop());
  const rate = context.sampleRate;
  await context.close();
  const samples = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) { samples.set(part, at); at += part.length; }
  if (!samples.length) return;
  const kept = spoken(samples, rate), seconds = (samples.length - kept.length) / rate;
  const note = seconds < 0.1 ? '' : seconds.toFixed(1) + ' s of silence before and after the speech were cut.';
  await use(new Blob([wav(kept, rate)], {type: 'audio/wav'}), note);
}

function fileInput(member) {
  const isPicture = member.modality === 'image';
  const preview = make('div'), id = 'file-' + member.name;
  const file = make('input', {type: 'file', id, accept: isPicture ? 'image/*' : member.modality === 'audio' ? 'audio/*' : ''});
  const area = make('div', {className: 'drop'}, make('p', {textContent: 'Drop a file here, or choose one'}), file, preview);
  let content = null;
  const use = async (blob, note = '') => {
    clear();
    let bytes = new Uint8Array(await blob.arrayBuffer());
    if (member.modality === 'audio') bytes = await asRecording(bytes);
    content = bytes;
    const source = URL.createObjectURL(blob);
    const shown = isPicture ? make('img', {src: source, alt: 'the chosen picture'})
      : member.modality === 'audio' ? make('audio', {src: source, controls: true})
      : make('p', {textContent: (blob.name || 'file') + ', ' + bytes.length + ' bytes'});
    preview.replaceChildren(shown, make('p', {className: 'soft', textContent: note}));
  };
  file.onchange = () => file.files[0] && use(file.files[0]);
  area.ondragover = event => { event.preventDefault(); area.classList.add('over'); };
  area.ondragleave = () => area.classList.remove('over');
  area.ondrop = event => {
    event.preventDefault();
    area.classList.remove('over');
    if (event.dataTransfer.files[0]) { file.value = ''; use(event.dataTransfer.files[0]); }
  };
  if (member.modality === 'audio' && navigator.mediaDevices) {
    const button = make('button', {type: 'button', className: 'record', textContent: 'Record'});
    const begin = async () => {
      button.onclick = null;
      try { await record(button, (blob, note) => { file.value = ''; return use(blob, note); }); } catch (error) { fail('The microphone can\'t be used: ' + error.message); }
      button.onclick = begin;
    };
    button.onclick = begin;
    area.insertBefore(button, preview);
  }
  values.set(member.name, () => content && {b64: base64(content)});
  return [make('label', {htmlFor: id, textContent: nameOf(member)}), area];
}

function textInput(member) {
  const id = 'text-' + member.name, box = make('textarea', {id, rows: 2});
  box.onkeydown = event => {
    if (event.key === 'Enter' && !event.shiftKey) { event.preventDefault(); $('form').requestSubmit(); }
  };
  values.set(member.name, () => box.value.trim() || null);
  return [make('label', {htmlFor: id, textContent: nameOf(member)}), box];
}

const KINDS = {text: 'Text', image: 'Picture', audio: 'Recording', numbers: 'Numbers, with commas between them'};
const kindOf = modality => KINDS[modality] || modality;
const nameOf = member => member.name === 'inputs' ? kindOf(member.modality) : member.name + ' (' + kindOf(member.modality) + ')';

function show() {
  clear();
  values = new Map();
  const problem = problems.get($('problem').value);
  const from = problem.inputs.map(member => kindOf(member.modality).split(',')[0].toLowerCase()).join(' and ');
  $('about').textContent = 'Reads ' + (from === 'no_input' ? 'nothing' : from) + ', writes ' + problem.targets.modality.replace('_', ' ') + '.';
  $('inputs').replaceChildren();
  for (const member of problem.inputs) {
    if (member.modality === 'no_input') { values.set(member.name, () => undefined); continue; }
    $('inputs').append(make('div', {className: 'input'}, ...(member.line_is_data ? textInput : fileInput)(member)));
  }
}

function showAnswer(problem, found, milliseconds) {
  $('result').hidden = false;
  const text = Array.isArray(found.answer) ? found.answer.join(', ') : String(found.answer);
  $('answer').textContent = text || '(an empty text)';
  $('answer').dataset.best = text;
  $('time').textContent = Math.round(milliseconds) + ' ms';
  const beams = found.beams || [], rows = $('beams').tBodies[0];
  $('beams').hidden = !beams.length;
  rows.replaceChildren();
  for (const {answer, score} of beams) {
    const bar = make('div', {className: 'bar'});
    bar.style.width = Math.max(1, 100 * Math.exp(score - beams[0].score)) + '%';
    rows.append(make('tr', {}, make('td', {}, answer, bar), make('td', {className: 'number', textContent: score.toFixed(3)})));
  }
}

$('form').onsubmit = async event => {
  event.preventDefault();
  clear();
  const problem = problems.get($('problem').value);
  const given = problem.inputs.map(member => [member.name, values.get(member.name)()]);
  const missing = given.find(([, value]) => value === null);
  if (missing) return fail('Nothing to answer yet: ' + (missing[0] === 'inputs' ? 'give an input' : 'give ' + missing[0]) + '.');
  const input = problem.several_inputs ? Object.fromEntries(given) : given[0][1] === undefined ? null : given[0][1];
  const body = {problem: problem.name, input};
  asked = {...body, decode_hparams: problem.streams && problem.beams ? {beam_size: problem.beams} : {}};
  if (problem.beams) body.decode_hparams = {return_beams: problem.beams};
  $('go').disabled = true;
  $('time').textContent = '…';
  const start = performance.now();
  try { showAnswer(problem, await ask('/decode', body), performance.now() - start); } catch (error) { fail(error.message); }
  $('go').disabled = false;
};

async function load() {
  try {
    const found = await ask('/problems');
    problems.clear();
    $('problem').replaceChildren();
    for (const problem of found.problems) {
      problems.set(problem.name, problem);
      $('problem').append(make('option', {value: problem.name, textContent: problem.name}));
    }
    show();
    document.body.dataset.ready = 'yes';
  } catch (error) { fail(error.message); }
}
$('problem').onchange = show;
$('token').onchange = () => problems.size || load();
// A file dropped beside the marked area must not replace the page.
for (const name of ['dragover', 'drop']) window.addEventListener(name, event => event.preventDefault());
load();
