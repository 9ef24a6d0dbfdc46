// What the model looked at for an answer: attention over words, a picture or a recording, and the experts used.
// Cells that are darker where more lies; the numbers are there for those who do not see colours.
function heatMap(names, columns, rows, caption, written) {
  const most = Math.max(...rows.flat(), 1e-9);
  const head = make('tr', {}, make('td'), ...columns.map(name => make('th', {scope: 'col'}, make('span', {textContent: name}))));
  const body = rows.map((row, i) => make('tr', {}, make('th', {scope: 'row', textContent: names[i], title: names[i]}),
    ...row.map((weight, j) => {
      const share = Math.round(100 * weight) + ' %';
      const cell = make('td', {className: 'w', title: names[i] + ' → ' + columns[j] + ': ' + share, textContent: written ? share : ''});
      cell.style.setProperty('--w', weight / most * (written ? .5 : .85));
      if (!written) cell.setAttribute('aria-label', share);
      return cell;
    })));
  const table = make('table', {className: written ? 'map written' : 'map'}, make('thead', {}, head), make('tbody', {}, ...body));
  const area = make('div', {className: 'scroll', tabIndex: 0}, table);
  area.setAttribute('role', 'region');
  area.setAttribute('aria-label', caption);
  return area;
}

const loaded = source => new Promise((resolve, reject) => {
  const image = new Image();
  image.onload = () => resolve(image);
  image.onerror = () => reject(new Error('The picture of the answer can\'t be shown.'));
  image.src = source;
});

const placeOf = weights => weights.indexOf(Math.max(...weights));

// For each piece the picture as the model has it, in grey, and over it where the piece looks.
async function overPicture(found) {
  const {rows, columns} = found.picture, image = await loaded(found.picture.image), scale = Math.max(1, Math.ceil(160 / image.width));
  const list = make('ul', {className: 'seen'});
  found.pieces.forEach((piece, i) => {
    const canvas = make('canvas', {width: image.width * scale, height: image.height * scale}), pen = canvas.getContext('2d');
    const most = Math.max(...found.attention[i], 1e-9), place = placeOf(found.attention[i]);
    canvas.setAttribute('role', 'img');
    canvas.setAttribute('aria-label', piece + ': most in row ' + (1 + Math.floor(place / columns)) + ' of ' + rows + ', column ' + (1 + place % columns) + ' of ' + columns);
    pen.imageSmoothingEnabled = false;
    pen.filter = 'grayscale(1) brightness(.75)';
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    pen.filter = 'none';
    const heat = make('canvas', {width: columns, height: rows}), brush = heat.getContext('2d');
    found.attention[i].forEach((weight, at) => {
      brush.fillStyle = 'rgba(255, 140, 0, ' + .8 * weight / most + ')';
      brush.fillRect(at % columns, Math.floor(at / columns), 1, 1);
    });
    pen.imageSmoothingEnabled = true;
    pen.drawImage(heat, 0, 0, canvas.width, canvas.height);
    list.append(make('li', {}, canvas, piece));
  });
  return list;
}

// The spectrogram, and under it for each piece a strip of time.
function overSound(found) {
  const seconds = found.sound.seconds;
  const picture = make('img', {src: found.sound.spectrogram, alt: 'spectrogram of the recording, low frequencies below'});
  const area = make('div', {className: 'heard'}, make('span', {className: 'piece soft', textContent: 'sound'}), picture);
  const ink = getComputedStyle($('go')).backgroundColor;
  found.pieces.forEach((piece, i) => {
    const weights = found.attention[i], most = Math.max(...weights, 1e-9);
    const canvas = make('canvas', {width: weights.length, height: 1}), pen = canvas.getContext('2d');
    canvas.setAttribute('role', 'img');
    canvas.setAttribute('aria-label', piece + ': most at ' + ((placeOf(weights) + .5) / weights.length * seconds).toFixed(1) + ' s');
    pen.fillStyle = ink;
    weights.forEach((weight, at) => { pen.globalAlpha = weight / most; pen.fillRect(at, 0, 1, 1); });
    area.append(make('span', {className: 'piece', textContent: piece, title: piece}), canvas);
  });
  area.append(make('span'), make('div', {className: 'ends soft'}, make('span', {textContent: '0 s'}), make('span', {textContent: seconds.toFixed(1) + ' s'})));
  return area;
}

async function showExplanation(found) {
  const parts = [];
  if (found.attention) {
    const seen = found.picture ? await overPicture(found) : found.sound ? overSound(found)
      : heatMap(found.pieces, found.positions || found.attention[0].map((_, i) => 'position ' + (i + 1)), found.attention, 'attention', false);
    parts.push(make('h2', {textContent: 'Where each piece of the answer looked'}), seen);
    parts.push(make('p', {className: 'soft', textContent: 'Attention over the ' + (found.picture ? 'picture' : found.sound ? 'recording' : 'input')
      + ', the mean over the decoder’s blocks and heads. It suggests what was read, but does not prove it.'}));
  } else parts.push(make('p', {className: 'soft', textContent: 'This answer is not written by attention over the input.'}));
  const experts = Object.entries(found.experts);
  if (experts.length) {
    parts.push(make('h2', {textContent: 'Experts used'}));
    parts.push(heatMap(experts.map(([name]) => name), experts[0][1].map((_, i) => String(i + 1)), experts.map(([, shares]) => shares), 'experts used', true));
  } else parts.push(make('p', {className: 'soft', textContent: 'This model has no experts.'}));
  if (String(found.answer) !== $("answer").dataset.best) {
    parts.unshift(make('p', {textContent: 'Of the answer “' + found.answer + '”.'}));
  }
  $('explanation').replaceChildren(...parts);
  $('explanation').hidden = false;
}

let asked = null;  // what the shown answer answers
$('explain').onclick = async () => {
  const body = asked;
  $('explain').disabled = true;
  $('explain-time').textContent = '…';
  try {
    const found = await ask('/explain', body);
    if (asked !== body || $('result').hidden) return;  // another answer has come meanwhile
    await showExplanation(found);
    $('explain-time').textContent = Math.round(found.milliseconds) + ' ms';
    $('explanation').focus({preventScroll: true});
    $('explanation').scrollIntoView({block: 'nearest'});
  } catch (error) { fail(error.message); } finally { $('explain').disabled = false; }
};

