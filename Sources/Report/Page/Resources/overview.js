// The run as a whole.

function overviewView() {
  return element('div', {}, element('div', {class: 'tiles'}, overviewTiles()), rolloutNote(), trainerNote(),
    entropyCharts(), element('div', {class: 'columns'}, rewardSections(), leftOutSections(), entropySections()),
    overview.plans.map(planCharts), section('What this page was made of', sourceFacts()));
}

function rewardSections() {
  return [
    section('Rewards by data source', sourceTable(overview.dump.sources)),
    section('How rewards came about', wordTable('verdicts', overview.verdicts)),
  ];
}

function leftOutSections() {
  const none = 'Nothing was left out.';
  const ofPlan = ({dropped}, number) => section(
    `Left out by ${planLabel(number)}`, wordTable(`dropped-${number}`, dropped, none));
  return [
    ...overview.plans.map(ofPlan),
    section('Left out of the dump by crux-ingest', wordTable('rejected', overview.rejected, none)),
  ];
}

const section = (title, ...content) => element('section', {}, element('h3', {}, title), content);

/** What a plan is called; two of one recipe are told apart by their folders. */
function planLabel(number) {
  const {plans} = overview, plan = plans[number];
  const isShared = (nameOf) => plans.some((one, other) => other !== number && nameOf(one) === nameOf(plan));
  if (!isShared((one) => one.name)) return plan.name;
  return `${plan.name} in ${isShared(folderOf) ? plan.directory : folderOf(plan)}`;
}

const folderOf = ({directory}) => directory.split('/').filter(Boolean).at(-1);

function overviewTiles() {
  const {dump, plans, quantiles} = overview, sources = Object.values(dump.sources);
  const right = sum(sources.map((source) => source.judgements.right ?? 0)),
        wrong = sum(sources.map((source) => source.judgements.wrong ?? 0));
  const rewards = {
    count: sum(sources.map((source) => source.reward.count)),
    sum: sum(sources.map((source) => source.reward.sum))
  };
  const tiles = [
    tile('rollouts', 'rollouts', dump.rollouts, count(dump.rollouts)),
    tile('tokens', 'trainable tokens', dump.tokens, count(dump.tokens)),
    tile('accuracy', 'right, of those judged', share(right, right + wrong), percent(share(right, right + wrong))),
    tile('reward', 'mean reward', mean(rewards), figure(mean(rewards))),
    tile('entropy', 'nats of entropy, mean', mean(dump.entropy), figure(mean(dump.entropy))),
  ];
  if (quantiles)
    tiles.push(tile(
      'threshold', 'nats: above lie 20 % of tokens', quantiles.thresholds['0.2'], figure(quantiles.thresholds['0.2'])));
  const difference = overview.isTrainerKnown ? mean(dump.samplerDifference) : null;
  tiles.push(tile('difference', 'nats trainer − sampler, mean size', difference,
    difference === null ? 'not known' : figure(difference)));
  return tiles.concat(plans.flatMap((plan, number) => planTiles(plan, number)));
}

function trainerNote() {
  if (overview.isTrainerKnown) return null;
  return element('p', {class: 'note'},
    'Trainer and sampler are not compared: the scores have no log-probabilities of the trainer’s own. ' +
      'crux-score --checkpoint DIR, the policy to be trained, computes them.');
}

function planTiles({tally}, number) {
  const name = overview.plans.length > 1 ? `, ${planLabel(number)}` : '',
        kept = share(tally.keptTokens, tally.trainableTokens);
  return [
    tile(`kept-rollouts-${number}`, `rollouts kept${name}`, tally.rollouts, count(tally.rollouts)),
    tile(`kept-share-${number}`, `of their tokens kept${name}`, kept, percent(kept)),
  ];
}

function rolloutNote() {
  const shown = overview.rollouts.length, all = overview.dump.rollouts, {limits} = overview;
  if (shown === all) return note(`All ${count(all)} rollouts are in this page in full.`, 'sample-note');
  return note(`Figures are of all ${count(all)} rollouts. ${count(shown)} of them are in this page in full ` +
      `(at most ${count(limits.rollouts)} rollouts and ${count(limits.tokens)} tokens), chosen by turns: whole groups `
      +
      'by lot; right, wrong, unjudged and left-out ones by lot; the longest; those of the highest mean entropy; ' +
      'those where trainer and sampler differ most; those where two plans part most.',
    'sample-note');
}

const note = (text, id) => element('p', {class: 'note', id}, text);

function sourceTable(sources) {
  const rows = Object.entries(sources).map(([name, source]) => ({name, ...source}));
  return sortableTable(
    [
      {title: 'data source', value: (row) => row.name, show: (row) => foreign(row.name || '(none named)')},
      {title: 'rollouts', value: (row) => row.rollouts, show: (row) => count(row.rollouts), isNumber: true},
      ...judgements.map((judgement) => ({
        title: judgement,
        value: (row) => row.judgements[judgement] ?? 0,
        show: (row) => count(row.judgements[judgement] ?? 0),
        isNumber: true
      })),
      {title: 'mean reward', value: (row) => mean(row.reward), show: (row) => figure(mean(row.reward)), isNumber: true},
    ],
    rows, {name: 'sources', key: (row) => row.name});
}

function wordTable(name, words, none = 'None.') {
  if (words.length === 0) return element('p', {class: 'note'}, none);
  return table(
    [
      {title: 'word', value: (row) => row.word, show: (row) => foreign(row.word)},
      {title: 'rollouts', value: (row) => row.count, show: (row) => count(row.count), isNumber: true},
      {title: 'what it means', value: (row) => row.meaning},
    ],
    words, {name, key: (row) => row.word});
}

function sourceFacts() {
  return element('dl', {class: 'facts'}, Object.entries(overview.sources).map(([name,
    path]) => [element('dt', {}, `--${name}`), element('dd', {}, foreign(path))]),
    element('dt', {}, 'entropies known by'),
    element('dd', {},
      Object.entries(overview.dump.evidence).map(([name, number]) => `${name}: ${count(number)} rollouts`).join(', ')),
    element('dt', {}, 'sampled by'),
    element('dd', {},
      foreign(Object.entries(overview.dump.policyVersions)
          .map(([name, number]) => `${name || '(not said)'}: ${count(number)}`)
          .join(', '))),
    element('dt', {}, 'ended by'),
    element('dd', {},
      foreign(Object.entries(overview.dump.finishReasons)
          .map(([name, number]) => `${name || '(not said)'}: ${count(number)}`)
          .join(', '))),
    element('dt', {}, 'made by'), element('dd', {}, `crux-report page ${overview.version}`));
}

// MARK: entropy

function entropyCharts() {
  if (overview.dump.entropy.count === 0)
    return note('No entropies are known. Dump logits, or score with --checkpoint.');
  return element('div', {class: 'columns'}, entropyHistogram(), placeChart());
}

const entropySections = () => (overview.dump.entropy.count === 0 ? [] : [lengthTable(), quantileTable()]);

/** Linear in entropy and logarithmic in counts, as "Beyond the 80/20 rule" draws it, or logarithmic in both. */
function entropyHistogram() {
  const place = element('div');
  const draw = (kind) => fill(place, kind === 'steps' ? stepHistogram() : decadeHistogram());
  draw('steps');
  const scales = [['steps', 'entropy linear'], ['decades', 'entropy logarithmic']];
  return element('div', {}, choice('Scale of entropies', scales, 'steps', draw), place);
}

const totalOf = (binned) => Object.values(binned).reduce((total, bins) => total.map((value, bin) => value + bins[bin]));

function thresholdMarks(least) {
  const thresholds = overview.quantiles?.thresholds ?? {};
  return ['0.5', '0.2', '0.1']
    .filter((key) => thresholds[key] !== undefined && thresholds[key] > least)
    .map((key) => [thresholds[key], `top ${percent(Number(key))} from ${figure(thresholds[key])}`]);
}

function stepHistogram() {
  const values = totalOf(overview.dump.entropySteps), width = overview.entropyStep;
  const used = values.findLastIndex((value) => value > 0) + 1,
        edges = Array.from({length: used + 1}, (_, bin) => bin * width);
  return histogram('entropy-histogram', 'Tokens by entropy', edges,
    [{name: 'tokens', values: values.slice(0, used), style: 'area'}],
    {isLogY: true, xLabel: 'entropy (nats)', yLabel: 'tokens', marks: thresholdMarks(0), yTick: tickCount});
}

const tickCount = (tick) => (tick >= 1e4 ? `10^${Math.round(Math.log10(tick))}` : count(tick));

/**
 * Edges from the first bin that anything lies in to the last; what lies below the first edge of all is in the first.
 */
function usedDecades(lists) {
  const edges = overview.edges, total = edges.map((_, bin) => sum(lists.map((values) => values[bin + 1])));
  const last = Math.min(edges.length - 2, total.findLastIndex((value) => value > 0)),
        first = Math.max(0, Math.min(total.findIndex((value) => value > 0), last));
  const isBelow = lists.some((values) => values[0] > 0), from = isBelow ? 0 : first;
  const cut = (values) =>
    values.slice(1 + from, 2 + last).map((value, bin) => value + (bin === 0 ? sum(values.slice(0, 1 + from)) : 0));
  return {edges: edges.slice(from, last + 2), cut};
}

function decadeHistogram() {
  const values = totalOf(overview.dump.entropyBins), {edges, cut} = usedDecades([values]);
  return histogram(
    'entropy-decades', 'Tokens by entropy', edges, [{name: 'tokens', values: cut(values), style: 'area'}], {
      isLogX: true,
      isLogY: true,
      xLabel: 'entropy (nats); below 10⁻⁶ in the first bar',
      yLabel: 'tokens',
      marks: thresholdMarks(edges[0]),
      yTick: tickCount
    });
}

function placeChart() {
  const lines = judgements.filter((judgement) => overview.dump.entropyByPlace[judgement]).map((judgement) => {
    const means = overview.dump.entropyByPlace[judgement];
    return {name: judgement, x: means.map((_, place) => (100 * (place + 0.5)) / means.length), y: means.map(mean)};
  });
  return lineChart('entropy-by-place', 'Entropy by place in the response', lines,
    {xLabel: 'place in the response (%)', yLabel: 'mean entropy (nats)', isFromZero: true});
}

function quantileTable() {
  const {quantiles} = overview;
  const rows = quantiles.values.map((value, number) => ({share: 5 * number, value}));
  return section('Quantiles',
    element('div', {class: 'list short'},
      table(
        [
          {title: 'below lie', value: (row) => `${row.share} %`, isNumber: true},
          {title: 'entropy (nats)', value: (row) => figure(row.value), isNumber: true},
        ],
        rows, {name: 'quantiles', key: (row) => row.share})));
}

function lengthTable() {
  const {lengths, entropyBins, entropyByPlace} = overview.dump;
  const rows = judgements.filter((judgement) => lengths[judgement]).map((judgement) => {
    const places = entropyByPlace[judgement] ?? [];
    return {
      judgement,
      rollouts: lengths[judgement].count,
      length: mean(lengths[judgement]),
      tokens: sum(entropyBins[judgement] ?? [0]),
      entropy: mean({count: sum(places.map((one) => one.count)), sum: sum(places.map((one) => one.sum))})
    };
  });
  return section('Right and wrong',
    table(
      [
        {title: '', value: (row) => row.judgement, show: (row) => [judgementMark(row.judgement), ' ', row.judgement]},
        {title: 'rollouts', value: (row) => row.rollouts, show: (row) => count(row.rollouts), isNumber: true},
        {title: 'tokens each', value: (row) => row.length, show: (row) => figure(row.length), isNumber: true},
        {title: 'tokens', value: (row) => row.tokens, show: (row) => count(row.tokens), isNumber: true},
        {title: 'mean entropy (nats)', value: (row) => row.entropy, show: (row) => figure(row.entropy), isNumber: true},
      ],
      rows, {name: 'outcomes', key: (row) => row.judgement}));
}

// MARK: what a plan keeps

function planCharts({tally, cuts}, number) {
  const isBanded = tally.bands.trainable.some((value) => value > 0);
  const charts = isBanded ? [keptChart(tally, number), weightChart(tally, number)] : null;
  return element('section', {}, element('h2', {}, `What ${planLabel(number)} learns from`), cutNote(cuts, tally),
    element('div', {class: 'columns'}, signTable(tally, number), charts));
}

function cutNote(cuts, tally) {
  if (cuts.length === 0) {
    const isWhole = tally.keptTokens === tally.trainableTokens;
    return note(
      isWhole ? 'It leaves out no token of the rollouts that it keeps.' : 'Entropies of its tokens are not known.');
  }
  const range = (values) => {
    const low = figure(Math.min(...values)), high = figure(Math.max(...values));
    return low === high ? low : `${low} to ${high}`;
  };
  return note(
    `${cuts.length} ${cuts.length === 1 ? 'step leaves' : 'steps leave'} tokens out. The lowest entropy that is ` +
    `kept is ${range(cuts.map((cut) => cut.lowestKept))} nats, the highest that is left out ` +
    `${range(cuts.map((cut) => cut.highestLeft))} nats.`);
}

function signTable(tally, number) {
  const effective = share(tally.weight ** 2, tally.keptTokens * tally.squaredWeight);
  const rows = [
    ['rollouts kept', 'rollouts', tally.rollouts],
    ['rollouts of the dump that the plan does not know', 'missing', tally.missing],
    ['trainable tokens', 'trainable', tally.trainableTokens],
    ['tokens kept', 'kept', tally.keptTokens],
    ['tokens with a positive advantage', 'positive', tally.positive],
    ['with a negative one', 'negative', tally.negative],
    ['with none', 'zero', tally.zero],
    ['sum of |weight|', 'weight', tally.weight],
    ['mean shaped reward', 'reward', mean(tally.reward)],
    ['effective share of kept tokens, (Σ|w|)² / (n Σw²)', 'effective', effective],
  ].map(([title, key, value]) => ({title, key, value}));
  return section('In numbers',
    table(
      [
        {title: 'figure', value: (row) => row.title},
        {title: 'value', value: (row) => row.value, show: (row) => amount(row.value), isNumber: true},
      ],
      rows, {name: `plan-${number}`, key: (row) => row.key}));
}

function keptChart(tally, number) {
  const {trainable, kept} = tally.bands, {edges, cut} = usedDecades([trainable]);
  const all = cut(trainable), some = cut(kept);
  return histogram(`kept-${number}`, 'Share of tokens kept, by entropy', edges,
    [{name: 'share kept', values: some.map((value, bin) => share(value, all[bin]) ?? 0), style: 'area'}], {
      isLogX: true,
      isLogY: false,
      xLabel: 'entropy (nats); below 10⁻⁶ in the first bar',
      yLabel: 'share',
      yTick: percent
    });
}

/** Positive above, negative before it: both begin at zero, and the smaller one is drawn last. */
function weightChart(tally, number) {
  const {weight, positive, negative} = tally.bands, {edges, cut} = usedDecades([weight, positive, negative]);
  const series = [
    {name: 'kept, advantage above 0', values: cut(positive), style: 'plus-area'},
    {name: 'kept, advantage below 0', values: cut(negative), style: 'minus-area'}
  ];
  const place = element('div');
  const draw = (kind) => fill(place,
    kind === 'signs' ? histogram(`signs-${number}`, 'Kept tokens by entropy and sign', edges, stacked(series),
                         {isLogX: true, isLogY: false, xLabel: 'entropy (nats)', yLabel: 'tokens', yTick: tickCount})
                     : histogram(`weights-${number}`, 'Weight by entropy', edges,
                         [{name: 'sum of |weight|', values: cut(weight), style: 'area'}],
                         {isLogX: true, isLogY: false, xLabel: 'entropy (nats)', yLabel: 'sum of |weight|'}));
  draw('signs');
  return element(
    'div', {}, choice('What to draw', [['signs', 'advantages by sign'], ['weights', 'weight']], 'signs', draw), place);
}

/** The first series stands on the second one. */
function stacked([upper, lower]) {
  return [
    {
      ...upper,
      values: upper.values.map((value, bin) => value + lower.values[bin]),
      name: `${upper.name}, on top of those below 0`
    },
    lower
  ];
}
