// Tokens as coloured text.

const colourings = {
  entropy: 'entropy',
  advantage: 'advantage',
  weight: 'weight',
  difference: 'trainer − sampler',
  plans: 'two plans',
};

/** Steps 0 to 7 of an amount; the square root, because most amounts are small. */
function step(value, full) {
  if (!(value > 0) || !(full > 0)) return 0;
  return Math.min(7, Math.ceil(7 * Math.sqrt(Math.min(1, value / full)) - 1e-9));
}

/** The entropy that has the darkest colour: that of the 95 % quantile, so that a few large ones don't pale the rest. */
function fullEntropy() {
  const values = overview.quantiles?.values;
  return values ? values[19] || values[20] || 1 : 1;
}

const largest = (values) => (values ? values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) : 0);

/** Gives the class of the n-th trainable token under a colouring. */
function colouring(kind, rollout, plan) {
  if (kind === 'entropy' && rollout.entropy) return (n) => colour('e', step(rollout.entropy[n], fullEntropy()));
  if (kind === 'difference' && rollout.trainer && rollout.sampler) {
    const differences = rollout.trainer.map((value, n) => value - rollout.sampler[n]), full = largest(differences);
    return (n) => signedColour(differences[n], full);
  }
  if (kind === 'advantage' && plan) {
    const full = largest(plan.advantages);
    return (n) => signedColour(plan.advantages[n], full);
  }
  if (kind === 'weight' && plan) {
    const full = largest(plan.weights);
    return (n) => colour('e', step(Math.abs(plan.weights[n]), full));
  }
  if (kind === 'plans') return (n) => partedClass(rollout, n);
  return () => '';
}

const colour = (letter, number) => (number > 0 ? `${letter}${number}` : '');

function signedColour(value, full) {
  const number = full > 0 ? Math.ceil(3 * Math.abs(value) / full - 1e-9) : 0;
  return colour(value > 0 ? 'p' : 'm', Math.min(3, number));
}

function partedClass(rollout, n) {
  const [first, second] = rollout.plans.map((plan) => (plan ? plan.kept[n] === 1 : false));
  return first === second ? '' : first ? 'only-first' : 'only-second';
}

/** Under a token that the plan keeps: a line, whose form is the sign of the advantage. */
function keptClass(plan, n) {
  if (!plan || plan.kept[n] !== 1) return '';
  return `kept ${plan.advantages[n] > 0 ? 'positive' : plan.advantages[n] < 0 ? 'negative' : 'level'}`;
}

/** Spans of the tokens at positions `from` to `to`. */
function tokenSpans(rollout, from, to, classOf, plan) {
  const numberOf = new Map(rollout.trainable.map((position, n) => [position, n])), spans = [];
  for (let position = from; position < to; position += 1) {
    const n = numberOf.get(position);
    const style = n === undefined ? 'prompt-token' : `${classOf(n)} ${keptClass(plan, n)}`;
    spans.push(element('span', {class: `token ${style}`, 'data-position': position}, textOf(rollout.tokens[position])));
  }
  return spans;
}

/** What colours and lines mean under a colouring. */
function colourLegend(kind) {
  const sample = (style, text) => element('span', {}, element('span', {class: `token ${style}`}, 'a'), ' ', text);
  const steps = [1, 2, 3, 4, 5, 6, 7].map((number) => element('span', {class: `token e${number}`}, ' '));
  const amount = (full) => [element('span', {}, 'none ', steps, ` ${full}`)];
  const signs = [sample('p3', 'above 0'), sample('m3', 'below 0')];
  const meanings = {
    entropy: () => amount(`${figure(fullEntropy())} nats`),
    weight: () => amount('the largest here'),
    advantage: () => signs,
    difference: () => signs,
    plans: () => [sample('only-first', `only ${planLabel(0)}`), sample('only-second', `only ${planLabel(1)}`)],
  };
  const lines = overview.plans.length === 0 ? [] : [
    sample('kept positive', 'kept, advantage above 0'), sample('kept negative', 'kept, below 0'),
    sample('kept level', 'kept, 0')
  ];
  return element('div', {class: 'legend'}, meanings[kind]?.() ?? [], lines, sample('prompt-token', 'not sampled'));
}
