// Tokens by mean entropy: where the policy hesitates.

const cloudTokens = 80, tokensAtFirst = 100, moreTokens = 400;
const forksState = {
  search: '',
  sorted: {column: 2, isAscending: false},
  shown: tokensAtFirst,
  chosen: null
};

function forksView() {
  const {forks} = overview;
  if (forks.entries.length === 0) {
    return element('p', {class: 'note'},
      `None of ${count(forks.distinct)} different tokens occurs more than ${
        count(forks.minimumCount)} times with a known entropy. Give a smaller --minimum-count.`);
  }
  const list = element('div', {class: 'list'}), detail = element('div', {id: 'fork-detail'});
  const search = searchField('tokens', forksState.search, (text) => {
    forksState.search = text;
    forksState.shown = tokensAtFirst;
    drawForks(list, detail);
  });
  drawForks(list, detail);
  drawFork(detail, forksState.chosen ?? forks.entries[0]);
  return element('div', {},
    element('p', {class: 'note'},
      `${count(forks.entries.length)} of ${count(forks.distinct)} different tokens occur more than ${
        count(forks.minimumCount)} times. `
        +
        `Contexts are those of the ${count(forks.withContexts)} highest and lowest, some places of each drawn by lot.`),
    element('div', {class: 'columns'},
      section('Highest mean entropy', tokenCloud(forks.entries.slice(0, cloudTokens), detail)),
      section('Lowest mean entropy', tokenCloud(forks.entries.slice(-cloudTokens).reverse(), detail))),
    element('div', {class: 'controls'}, search), element('div', {class: 'split'}, list, detail));
}

/** As the paper's clouds: large is frequent, dark is uncertain. */
function tokenCloud(entries, detail) {
  const most = Math.max(...entries.map((entry) => entry.count));
  return element('div', {class: 'cloud'}, entries.map((entry) => {
    const word = element('button', {
      type: 'button',
      class: colour('e', step(entry.mean, fullEntropy())),
      title: `${figure(entry.mean)} nats, ${count(entry.count)} times`,
      onclick: () => drawFork(detail, entry)
    },
      foreign(oneLine(textOf(entry.token))));
    word.style.fontSize = `${(0.8 + 1.1 * Math.sqrt(entry.count / most)).toFixed(2)}rem`;
    return word;
  }));
}

const oneLine = (text) => text.replaceAll('\n', '');

const forkColumns = () => [{
  title: 'token',
  value: (entry) => textOf(entry.token),
  show: (entry) => element('code', {}, foreign(oneLine(textOf(entry.token))))
},
  {title: 'count', value: (entry) => entry.count, show: (entry) => count(entry.count), isNumber: true},
  {title: 'mean entropy', value: (entry) => entry.mean, show: (entry) => figure(entry.mean), isNumber: true},
  {
    title: 'kept',
    value: (entry) => share(entry.kept, entry.count),
    show: (entry) => (overview.plans.length ? percent(share(entry.kept, entry.count)) : unknown),
    isNumber: true,
    explanation: 'share of its places that the first plan keeps'
  },
  {
    title: 'in right',
    value: (entry) => share(entry.right, entry.right + entry.wrong),
    show: (entry) => percent(share(entry.right, entry.right + entry.wrong)),
    isNumber: true,
    explanation: 'share of its places in responses that are right, of those in judged ones'
  },
];

function drawForks(list, detail) {
  const wanted = forksState.search.toLowerCase(), columns = forkColumns();
  const found = overview.forks.entries.filter(
    (entry) => textOf(entry.token).toLowerCase().includes(wanted) || String(entry.token) === wanted);
  const ordered = sortRows(found, columns[forksState.sorted.column], forksState.sorted.isAscending);
  const sort = (column) => {
    const {sorted} = forksState;
    forksState.sorted = {
      column,
      isAscending: sorted.column === column ? !sorted.isAscending : !columns[column].isNumber
    };
    drawForks(list, detail);
  };
  fill(list, table(columns, ordered.slice(0, forksState.shown), {
    name: 'forks',
    choose: (entry) => drawFork(detail, entry),
    key: (entry) => entry.token,
    sorted: forksState.sorted,
    sort
  }));
  if (ordered.length > forksState.shown) {
    list.append(element('button', {
      type: 'button',
      onclick: () => {
        forksState.shown += moreTokens;
        drawForks(list, detail);
      }
    },
      `${count(ordered.length - forksState.shown)} more`));
  }
  say(`${ordered.length} tokens`);
}

function drawFork(detail, entry) {
  forksState.chosen = entry;
  fill(detail,
    element('h3', {}, 'Token ', element('code', {}, foreign(oneLine(textOf(entry.token)))), ` (id ${entry.token})`),
    element('p', {},
      `${count(entry.count)} times, mean entropy ${figure(entry.mean)} nats; ${
        count(entry.right)} times in right responses, ${count(entry.wrong)} in wrong ones`
        + (overview.plans.length ? `; ${planLabel(0)} keeps ${count(entry.kept)} of them.` : '.')),
    entry.contexts.length ? entry.contexts.map((context) => contextOf(entry, context))
                          : element('p', {class: 'note'}, 'The page holds no contexts of it.'));
}

function contextOf(entry, context) {
  const words = (tokens) => tokens.map(textOf).join('');
  return element('div', {},
    element('div', {class: 'context'}, '… ', foreign(words(context.before)),
      element('mark', {}, foreign(textOf(entry.token))), foreign(words(context.after)), ' …'),
    element('p', {class: 'note'}, `${figure(context.entropy)} nats, position ${count(context.position)} of `,
      rolloutLink(context.rollout)));
}

/** A link where the page holds the rollout in full, else its name. */
function rolloutLink(id) {
  return summaryOf(id) ? element('a', {href: `#rollouts/${encodeURIComponent(id)}`}, foreign(id)) : foreign(id);
}
