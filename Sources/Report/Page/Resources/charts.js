// Charts as SVG. Each is a figure with a title, a button that saves it, and its numbers as a table.

const chartSize = {
  width: 560,
  height: 300,
  left: 58,
  right: 14,
  top: 12,
  bottom: 42
};

/** A scale from numbers to places: { place, ticks }. */
function linearScale([low, high], [from, to]) {
  const span = high > low ? high - low : 1;
  return {place: (value) => from + (to - from) * (value - low) / span, ticks: roundNumbers(low, low + span)};
}

function logScale([low, high], [from, to]) {
  const first = Math.log10(low), span = Math.log10(high) - first || 1, ticks = [];
  for (let power = Math.ceil(first - 1e-9); power <= first + span + 1e-9; power += 1) ticks.push(10 ** power);
  return {place: (value) => from + (to - from) * (Math.log10(Math.max(value, low)) - first) / span, ticks};
}

function roundNumbers(low, high) {
  const power = 10 ** Math.floor(Math.log10((high - low) / 4));
  const step = [1, 2, 5, 10].map((factor) => factor * power).filter((one) => (high - low) / one >= 3.5).pop() ?? power;
  const numbers = [];
  for (let number = Math.ceil(low / step - 1e-9); number * step <= high + step * 1e-9; number += 1)
    numbers.push(number * step);
  return numbers;
}

/** The figure around a drawing. `numbers`: { columns, rows } of the table under it. */
function chartFigure(name, title, drawing, numbers, note) {
  return element('figure', {'data-chart': name},
    element('figcaption', {}, title,
      element('button', {type: 'button', title: 'Save this figure as SVG', onclick: () => saveDrawing(drawing, name)},
        'SVG')),
    drawing, note ? element('p', {class: 'note'}, note) : null,
    element('details', {}, element('summary', {}, 'Numbers'), table(numbers.columns, numbers.rows, {name})));
}

/** Ticks are round numbers, but for what computing has added. */
const tickFigure = (tick) => String(Number(tick.toPrecision(4)));

function chartFrame(title, x, y, {xLabel, yLabel, xTick = tickFigure, yTick = tickFigure}) {
  const {width, height, left, right, top, bottom} = chartSize;
  const drawing = drawn('svg', {viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-label': title});
  for (const tick of y.ticks) {
    const place = y.place(tick);
    drawing.append(drawn('line', {class: 'grid', x1: left, x2: width - right, y1: place, y2: place}),
      drawn('text', {x: left - 5, y: place + 4, 'text-anchor': 'end'}, yTick(tick)));
  }
  for (const tick of x.ticks) {
    drawing.append(drawn('text', {x: x.place(tick), y: height - bottom + 16, 'text-anchor': 'middle'}, xTick(tick)));
  }
  drawing.append(drawn('line', {class: 'grid', x1: left, x2: width - right, y1: height - bottom, y2: height - bottom}),
    drawn('text', {class: 'soft', x: (left + width - right) / 2, y: height - 6, 'text-anchor': 'middle'}, xLabel),
    drawn('text', {class: 'soft', x: 12, y: top + 4, transform: `rotate(-90 12 ${top + 4})`, 'text-anchor': 'end'},
      yLabel));
  return drawing;
}

const plotRanges = () => ({
  across: [chartSize.left, chartSize.width - chartSize.right],
  up: [chartSize.height - chartSize.bottom, chartSize.top],
});

/** A vertical line with its name, such as a threshold's. */
function markLine(drawing, x, text, row = 0) {
  const {width, height, top, bottom} = chartSize, isLate = x > width * 0.7;
  drawing.append(drawn('line', {class: 'rule', x1: x, x2: x, y1: top, y2: height - bottom}),
    drawn('text', {x: isLate ? x - 4 : x + 4, y: top + 12 + 14 * row, 'text-anchor': isLate ? 'end' : 'start'}, text));
}

/**
 * Bars from one edge to the next, drawn one over the other. `series`: [{ name, values, style }], tallest first;
 *  `marks`: [[place, text]].
 */
function histogram(name, title, edges, series, {isLogX, isLogY, xLabel, yLabel, marks = [], note, yTick}) {
  const {across, up} = plotRanges(), highest = Math.max(1e-12, ...series.flatMap((one) => one.values));
  const x = (isLogX ? logScale : linearScale)([edges[0], edges.at(-1)], across);
  const y = isLogY ? logScale([0.5, highest * 1.3], up) : linearScale([0, highest * 1.05], up);
  const drawing = chartFrame(title, x, y, {xLabel, yLabel, yTick});
  for (const one of series) {
    one.values.forEach((value, bin) => {
      if (value <= 0) return;
      const from = x.place(edges[bin]), to = x.place(edges[bin + 1]), height = y.place(value);
      drawing.append(drawn('rect',
        {class: one.style, x: from + 0.4, width: Math.max(0.4, to - from - 0.8), y: height, height: up[0] - height},
        drawn('title', {}, `${figure(edges[bin])} to ${figure(edges[bin + 1])}: ${one.name} ${figure(value)}`)));
    });
  }
  marks.forEach(([place, text], row) => markLine(drawing, x.place(place), text, row));
  const columns = [
    {title: 'from', value: (bin) => figure(edges[bin]), isNumber: true},
    {title: 'to', value: (bin) => figure(edges[bin + 1]), isNumber: true}
  ].concat(series.map((one) => ({title: one.name, value: (bin) => figure(one.values[bin]), isNumber: true})));
  const rows = edges.slice(1).map((_, bin) => bin).filter((bin) => series.some((one) => one.values[bin] > 0));
  const figureMade = chartFigure(name, title, drawing, {columns, rows}, note);
  if (series.length > 1)
    figureMade.insertBefore(legend(series.map((one) => [one.name, one.style])), drawing.nextSibling);
  return figureMade;
}

/** Lines with points, and bands around them. `lines`: [{ name, x, y, spread }]. */
function lineChart(name, title, lines, {xLabel, yLabel = '', note, isFromZero = false}) {
  const known = lines.map(
    (line) => ({...line, places: line.x.map((_, index) => index).filter((index) => Number.isFinite(line.y[index]))}));
  const points =
    known.flatMap((line) => line.places.map((index) => [line.x[index], line.y[index], line.spread?.[index] ?? 0]));
  if (points.length === 0) return element('p', {class: 'note'}, `${title}: nothing is known of it.`);
  const {across, up} = plotRanges();
  const x = linearScale(extent(points.map((point) => point[0])), across);
  const y = linearScale(
    extent(points.flatMap((point) => [point[1] - point[2], point[1] + point[2]]).concat(isFromZero ? [0] : [])), up);
  const drawing = chartFrame(title, x, y, {xLabel, yLabel});
  known.forEach((line, index) => drawLine(drawing, line, x, y, index));
  const columns = [
    {title: xLabel, value: (row) => figure(row.x), isNumber: true}, {title: 'line', value: (row) => row.name},
    {title: yLabel || title, value: (row) => figure(row.y), isNumber: true}
  ];
  const rows =
    known.flatMap((line) => line.places.map((index) => ({x: line.x[index], y: line.y[index], name: line.name})));
  const made = chartFigure(name, title, drawing, {columns, rows}, note);
  if (lines.length > 1)
    made.insertBefore(legend(lines.map((line, index) => [line.name, `fill-${1 + index % 6}`])), drawing.nextSibling);
  return made;
}

function extent(values) {
  const low = Math.min(...values), high = Math.max(...values),
        margin = high > low ? 0.04 * (high - low) : Math.abs(high) * 0.1 || 0.5;
  return [low - margin, high + margin];
}

/** Lines differ by dashes and marks too, not by colour alone. */
function drawLine(drawing, line, x, y, index) {
  const style = 1 + index % 6, dashes = ['', '7 3', '2 3', '9 3 2 3', '5 5', '1 4'][index % 6];
  const at = (place, offset = 0) =>
    `${x.place(line.x[place]).toFixed(1)},${y.place(line.y[place] + offset).toFixed(1)}`;
  if (line.spread?.some((one) => one > 0)) {
    const edge = line.places.map((place) => at(place, line.spread[place]))
                   .concat([...line.places].reverse().map((place) => at(place, -line.spread[place])));
    drawing.append(drawn('polygon', {class: `band fill-${style}`, points: edge.join(' ')}));
  }
  drawing.append(drawn('polyline', {
    class: `curve line-${style}`,
    'stroke-dasharray': dashes,
    points: line.places.map((place) => at(place)).join(' ')
  }));
  if (line.places.length > 60) return;
  for (const place of line.places) {
    drawing.append(
      drawn('circle', {class: `fill-${style}`, cx: x.place(line.x[place]), cy: y.place(line.y[place]), r: 2.6},
        drawn('title', {}, `${line.name} ${figure(line.x[place])}: ${figure(line.y[place])}`)));
  }
}

/** `entries`: [name, style of its colour]. */
function legend(entries) {
  return element('div', {class: 'legend'},
    entries.map(([name, style]) => element('span', {},
                  drawn('svg', {width: 12, height: 12, 'aria-hidden': 'true'},
                    drawn('rect', {class: style, width: 12, height: 12})),
                  ' ', foreign(name))));
}

// What a drawing takes from the page's style, it must bring along when it leaves.
const carried =
  ['fill', 'stroke', 'stroke-width', 'stroke-dasharray', 'stroke-linejoin', 'paint-order', 'opacity', 'font-size',
    'font-family', 'text-anchor'];

/** Saves a drawing as a file that needs nothing of the page, in the light colours that papers are printed in. */
function saveDrawing(drawing, name) {
  const root = document.documentElement, theme = root.dataset.theme;
  root.dataset.theme = 'light';
  const copy = standalone(drawing);
  if (theme === undefined)
    delete root.dataset.theme;
  else
    root.dataset.theme = theme;
  const link =
    element('a', {download: `${name}.svg`, href: URL.createObjectURL(new Blob([copy], {type: 'image/svg+xml'}))});
  link.click();
  URL.revokeObjectURL(link.href);
}

function standalone(drawing) {
  const copy = drawing.cloneNode(true), originals = [drawing, ...drawing.querySelectorAll('*')];
  [copy, ...copy.querySelectorAll('*')].forEach((part, index) => {
    const style = getComputedStyle(originals[index]);
    for (const property of carried) part.setAttribute(property, style.getPropertyValue(property));
    part.removeAttribute('class');
  });
  return new XMLSerializer().serializeToString(copy);
}
