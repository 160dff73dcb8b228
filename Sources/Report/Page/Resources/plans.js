// Two plans of one dump.

function plansView() {
  if (!overview.comparison)
    return element(
      'p', {class: 'note'}, 'Give --plan and --against, two plans of the same scores, to see where they part.');
  const names = [planLabel(0), planLabel(1)];
  return element('div', {}, element('h2', {}, foreign(names[0]), ' and ', foreign(names[1])),
    element('div', {class: 'columns'}, section('Which keeps what', shareTable(names)),
      section('Where both keep a token', differenceTable()), section('Side by side', sideBySide(names)),
      section('Keys of the recipes that differ', recipeTable(names))),
    partedChart(names), section('Rollouts in which they part most', partedRollouts()));
}

function shareTable(names) {
  const {rollouts, tokens} = overview.comparison;
  const rows = [
    ['both', 'both'], ['onlyFirst', `only ${names[0]}`], ['onlySecond', `only ${names[1]}`], ['neither', 'neither']
  ].map(([key, title]) => ({key, title, rollouts: rollouts[key], tokens: tokens[key]}));
  const union = tokens.both + tokens.onlyFirst + tokens.onlySecond;
  return [
    table(
      [
        {title: 'kept by', value: (row) => row.title, show: (row) => foreign(row.title)},
        {title: 'rollouts', value: (row) => row.rollouts, show: (row) => count(row.rollouts), isNumber: true},
        {title: 'tokens', value: (row) => row.tokens, show: (row) => count(row.tokens), isNumber: true},
      ],
      rows, {name: 'kept-by', key: (row) => row.key}),
    element('p', {}, 'Overlap of kept tokens (Jaccard): ',
      element('b', {'data-figure': 'jaccard', 'data-value': String(share(tokens.both, union))},
        percent(share(tokens.both, union))))
  ];
}

function differenceTable() {
  const {comparison} = overview;
  const rows = [
    ['signs of advantages differ', 'signsDiffer'], ['advantages differ', 'advantagesDiffer'],
    ['weights differ', 'weightsDiffer'], ['largest difference of advantages', 'largestAdvantageDifference'],
    ['weight moved: Σ | |w₁| − |w₂| | of all tokens', 'movedWeight']
  ].map(([title, key]) => ({title, key, value: comparison[key]}));
  return table(
    [
      {title: 'tokens', value: (row) => row.title},
      {title: 'number', value: (row) => row.value, show: (row) => amount(row.value), isNumber: true}
    ],
    rows, {name: 'differences', key: (row) => row.key});
}

function sideBySide(names) {
  const tallies = overview.plans.map((plan) => plan.tally);
  const rows = [
    ['rollouts kept', 'rollouts'], ['trainable tokens', 'trainableTokens'], ['tokens kept', 'keptTokens'],
    ['positive advantages', 'positive'], ['negative advantages', 'negative'], ['advantages of 0', 'zero'],
    ['sum of |weight|', 'weight']
  ].map(([title, key]) => ({title, key}));
  return table(
    [
      {title: 'figure', value: (row) => row.title}, ...names.map((name, number) => ({
        title: name,
        value: (row) => tallies[number][row.key],
        isNumber: true,
        show: (row) => amount(tallies[number][row.key]),
      }))
    ],
    rows, {name: 'side-by-side', key: (row) => row.key});
}

/** A recipe's keys with their values, such as entropy.mask.top. */
function flatten(value, path = '') {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return [[path, JSON.stringify(value)]];
  return Object.entries(value).flatMap(([key, inner]) => flatten(inner, path ? `${path}.${key}` : key));
}

function recipeTable(names) {
  const [first, second] = overview.plans.map((plan) => new Map(flatten(JSON.parse(plan.recipe))));
  const keys =
    [...new Set([...first.keys(), ...second.keys()])].filter((key) => first.get(key) !== second.get(key)).sort();
  if (keys.length === 0) return element('p', {class: 'note'}, 'None: they were made with the same recipe.');
  const show = (values) => (key) => foreign(values.get(key) ?? '(not there)');
  return table(
    [
      {title: 'key', value: (key) => key}, {title: names[0], value: (key) => first.get(key), show: show(first)},
      {title: names[1], value: (key) => second.get(key), show: show(second)}
    ],
    keys, {name: 'recipes', key: (key) => key});
}

function partedChart(names) {
  const {both, onlyFirst, onlySecond} = overview.comparison;
  if (sum(both) + sum(onlyFirst) + sum(onlySecond) === 0) return null;
  const {edges, cut} = usedDecades([both, onlyFirst, onlySecond]),
                x = edges.slice(1).map((edge, bin) => Math.sqrt(edge * edges[bin]));
  const lines = [['both', both], [`only ${names[0]}`, onlyFirst], [`only ${names[1]}`, onlySecond]].map(
    ([name, values]) => ({name, x: x.map(Math.log10), y: cut(values)}));
  return lineChart('plans-by-entropy', 'Kept tokens by entropy', lines,
    {xLabel: 'log₁₀ of entropy in nats', yLabel: 'tokens', isFromZero: true});
}

function partedRollouts() {
  const rows = overview.rollouts.filter((one) => one.parted > 0)
                 .sort((one, two) => two.parted - one.parted || one.row - two.row)
                 .slice(0, 50);
  if (rows.length === 0) return element('p', {class: 'note'}, 'In none of those that the page holds.');
  return table(
    [
      {
        title: 'rollout',
        value: (one) => one.id,
        show: (one) => element('a', {
          href: `#rollouts/${encodeURIComponent(one.id)}`,
          onclick: () => {
            rolloutsState.colouring = 'plans';
          }
        },
          foreign(one.id))
      },
      {
        title: 'tokens that only one keeps',
        value: (one) => one.parted,
        show: (one) => count(one.parted),
        isNumber: true
      },
      {title: 'tokens', value: (one) => one.length, show: (one) => count(one.length), isNumber: true},
      {title: 'verdict', value: (one) => one.verdict},
    ],
    rows, {name: 'parted', key: (one) => one.id});
}
