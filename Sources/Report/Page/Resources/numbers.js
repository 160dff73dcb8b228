// Numbers as people read them.

const unknown = '–';

/** Four digits that matter. */
function figure(value) {
  if (value === null || value === undefined) return unknown;
  if (typeof value !== 'number' || !Number.isFinite(value)) return String(value);
  if (value === 0) return '0';
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-4 ? value.toExponential(3) : String(Number(value.toPrecision(4)));
}

/** A count, its thousands apart. */
function count(value) {
  return value === null || value === undefined ? unknown : String(value).replace(/\B(?=(\d{3})+(?!\d))/g, '\u202f');
}

function percent(share) { return Number.isFinite(share) ? `${Number((100 * share).toPrecision(4))} %` : unknown; }

function signed(value) {
  if (value === null || value === undefined) return unknown;
  return value > 0 ? `+${figure(value)}` : figure(value).replace('-', '−');
}

/** A whole number as a count, any other by its digits. */
const amount = (value) => (Number.isInteger(value) ? count(value) : figure(value));

const isKnown = (value) => value !== null && value !== undefined;
const share = (part, whole) => (whole === 0 ? null : part / whole);
const mean = ({count: number, sum}) => (number === 0 ? null : sum / number);
const sum = (values) => values.reduce((total, value) => total + value, 0);

/** The numbers of a list side by side, as the page packs them; null where there are none. */
const unpackFloats = (text) => (text ? new Float32Array(bytesOf(text).buffer) : null);
const unpackIntegers = (text) => (text ? new Int32Array(bytesOf(text).buffer) : null);
const unpackMarks = (text) => (text ? bytesOf(text) : null);

function bytesOf(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place += 1) bytes[place] = text.charCodeAt(place);
  return bytes;
}

const judgements = ['right', 'wrong', 'unjudged'];
const judgementMarks = {
  right: '✓',
  wrong: '✗',
  unjudged: '·'
};

function judgementMark(judgement) {
  return element(
    'span', {class: `mark-${judgement}`, title: judgement, 'aria-label': judgement}, judgementMarks[judgement]);
}
