// What came of going back into rollouts: bases, their states, and what was sampled there.

const expansionsState = {
  base: 0
};

function expansionsView() {
  const {expansion} = overview;
  if (!expansion)
    return element(
      'p', {class: 'note'}, 'No jobs were given (--jobs run/expansion/jobs): there is no expansion to show.');
  const place = element('div', {id: 'expansion'});
  const options =
    expansion.bases.map((base, number) => [String(number), `${judgementMarks[base.judgement]} ${base.rollout}`]);
  const show = (number) => {
    expansionsState.base = number;
    fill(place, baseView(expansion.bases[number]));
  };
  show(Math.min(expansionsState.base, expansion.bases.length - 1));
  return element('div', {},
    element('p', {class: 'note'},
      `${expansion.method}: ${count(expansion.jobs)} jobs from ${count(expansion.allBases)} bases, ${
        count(expansion.results)} results in this dump. `
        + (expansion.results === 0 ? 'Give the joined dump as --input to see continuations. ' : '')
        + `${count(expansion.bases.length)} bases are shown, the first in the plan’s order.`),
    element('div', {class: 'controls'},
      selection('Base', options, String(expansionsState.base), (value) => show(Number(value)))),
    place);
}

function baseView(packed) {
  const base = {
    ...packed,
    tokens: unpackIntegers(packed.tokens),
    mask: unpackMarks(packed.mask),
    entropy: unpackFloats(packed.entropy)
  };
  return element('div', {}, element('h3', {}, judgementMark(base.judgement), ' ', rolloutLink(base.rollout)),
    element('p', {}, foreign(base.prompt)), treeFigure(base), stateTable(base),
    element('h3', {}, 'The base, with the places that were gone back to'), baseText(base),
    base.states.map((state, number) => stateView(base, state, number)));
}

const stateName = (number) => (number === 0 ? 'prompt' : `anchor ${number}`);

function stateTable(base) {
  const rows = base.states.map((state, number) => ({...state, number}));
  return table(
    [
      {title: 'state', value: (state) => stateName(state.number)},
      {title: 'position', value: (state) => state.position, isNumber: true},
      {
        title: 'entropy there',
        value: (state) => state.anchorEntropy,
        show: (state) => figure(state.anchorEntropy),
        isNumber: true
      },
      {
        title: 'continuations',
        value: (state) => state.continuations.length,
        show: (state) => `${state.continuations.length} of ${state.jobs}`,
        isNumber: true
      },
      {
        title: 'V',
        value: (state) => state.value,
        show: (state) => figure(state.value),
        isNumber: true,
        explanation: 'mean shaped reward of the continuations'
      },
      {
        title: 'ΔV',
        value: (state) => state.change,
        show: (state) => signed(state.change),
        isNumber: true,
        explanation: 'V less that of the state before'
      },
      {
        title: 'factor',
        value: (state) => state.factor,
        show: (state) => figure(state.factor),
        isNumber: true,
        explanation: 'on the advantages of its continuations'
      },
    ],
    rows, {name: 'states', key: (state) => state.number});
}

/** The base's text; before each anchor stands its number. */
function baseText(base) {
  const anchors = new Map(base.states.map((state, number) => [state.position, number])), spans = [];
  base.tokens.forEach((token, position) => {
    const number = anchors.get(position);
    if (number > 0) spans.push(element('span', {class: 'anchor', title: stateName(number)}, `▾ ${number}`));
    const amount = base.entropy ? colour('e', step(base.entropy[position], fullEntropy())) : '';
    const style = base.mask[position] ? amount : 'prompt-token';
    spans.push(element('span', {class: `token ${style}`}, textOf(token)));
  });
  return element('div', {class: 'text'}, spans);
}

function stateView(base, state, number) {
  const heading = `${stateName(number)}: V ${figure(state.value)}`
    + (state.change === null || state.change === undefined ? '' : `, ΔV ${signed(state.change)}`)
    + (state.factor === null || state.factor === undefined ? '' : `, factor ${figure(state.factor)}`);
  return element('details', {class: 'state'}, element('summary', {}, heading),
    state.injected.length
      ? element('p', {}, 'Put in: ', element('code', {}, foreign(state.injected.map(textOf).join(''))))
      : null,
    state.continuations.map(continuationView));
}

function continuationView(one) {
  const text = [...unpackIntegers(one.tokens)].map(textOf);
  return element('div', {},
    element('p', {class: 'note'}, judgementMark(one.judgement), ` reward ${figure(one.reward)}, `, creditOf(one), ', ',
      rolloutLink(one.rollout)),
    element('div', {class: 'text'}, text.map((piece) => element('span', {class: 'token'}, piece))));
}

function creditOf(continuation) {
  if (continuation.dropped) return `left out: ${continuation.dropped}`;
  return isKnown(continuation.advantage) ? `advantage ${signed(continuation.advantage)}` : 'not in the plan';
}

// MARK: the tree

const treeSize = {
  width: 760,
  left: 40,
  right: 60,
  top: 26,
  branch: 26,
  gap: 13
};

/** The base as a line, and below each place that was gone back to its continuations: filled and ticked where right. */
function treeFigure(base) {
  const {width, left, right, top, branch, gap} = treeSize;
  const start = base.states[0]?.position ?? 0, length = Math.max(1, base.tokens.length - start);
  const most = Math.max(1, ...base.states.map((state) => state.continuations.length));
  const height = top + branch + most * gap + 40;
  const x = (position) => left + (width - left - right) * (position - start) / length;
  const drawing = drawn('svg', {
    viewBox: `0 0 ${width} ${height}`,
    width,
    height,
    role: 'img',
    'aria-label': `Tree of ${base.rollout}: ${base.states.length} states`
  });
  drawing.append(
    drawn('line', {class: 'line-6', 'stroke-width': 3, x1: x(start), x2: x(base.tokens.length), y1: top, y2: top}),
    drawn('text', {x: x(base.tokens.length) + 6, y: top + 4}, `${judgementMarks[base.judgement]} base`));
  base.states.forEach((state, number) => drawing.append(...stateBranches(state, number, x(state.position))));
  drawing.append(drawn(
    'text', {class: 'soft', x: left, y: height - 6}, 'places along the response; under each its continuations, and V'));
  const columns =
    [{title: 'state', value: (row) => row.name}, {title: 'V', value: (row) => figure(row.value), isNumber: true}];
  return chartFigure('expansion-tree', 'Tree of the base', drawing,
    {columns, rows: base.states.map((state, number) => ({name: stateName(number), value: state.value}))});
}

function stateBranches(state, number, x) {
  const {top, branch, gap} = treeSize;
  const parts = [
    drawn('circle', {class: 'fill-1', cx: x, cy: top, r: 4}),
    drawn('text', {x, y: top - 9, 'text-anchor': 'middle'}, number === 0 ? '0' : String(number))
  ];
  state.continuations.forEach((one, place) => {
    const y = top + branch + place * gap, isRight = one.judgement === 'right';
    parts.push(drawn('path', {
      class: `curve ${isRight ? 'line-1' : 'line-2'}`,
      'stroke-dasharray': isRight ? '' : '3 2',
      d: `M${x} ${top} V${y} H${x + 14}`
    }),
      drawn('text', {x: x + 17, y: y + 4}, judgementMarks[one.judgement]));
  });
  if (state.value !== null && state.value !== undefined) {
    parts.push(
      drawn('text', {x, y: top + branch + Math.max(1, state.continuations.length) * gap + 8, 'text-anchor': 'middle'},
        `V ${figure(state.value)}`));
  }
  return parts;
}
