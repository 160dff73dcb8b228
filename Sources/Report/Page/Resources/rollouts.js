// Rollouts, one by one.

const rolloutsState = {
  filter: 'all',
  sort: 'dump',
  group: null,
  search: '',
  page: 0,
  colouring: 'entropy',
  plan: '0',
  chosen: null,
  isWhole: false
};
const rolloutsPerPage = 50;

const rolloutFilters = {
  all: ['all', () => true],
  right: ['right', (one) => one.judgement === 'right'],
  wrong: ['wrong', (one) => one.judgement === 'wrong'],
  unjudged: ['unjudged', (one) => one.judgement === 'unjudged'],
  kept: ['kept', (one) => one.dropped[0] === ''],
  dropped: ['left out', (one) => Boolean(one.dropped[0])],
};

const rolloutSorts = {
  dump: ['as in the dump', (one) => -one.row],
  longest: ['longest', (one) => one.length],
  uncertain: ['most uncertain', (one) => one.entropy],
  difference: ['largest trainer − sampler', (one) => one.difference],
  parted: ['most tokens that only one plan keeps', (one) => one.parted],
};

let rolloutsList = null, rolloutsDetail = null;

function rolloutsView(id) {
  const isAsked = id !== undefined && summaryOf(id) !== undefined;
  rolloutsList = element('div', {id: 'rollouts-list'});
  rolloutsDetail = element('div', {id: 'rollout'});
  if (isAsked) rolloutsState.chosen = id;
  const view = element(
    'div', {}, rolloutNote(), rolloutControls(), element('div', {class: 'split'}, rolloutsList, rolloutsDetail));
  if (id !== undefined && !isAsked)
    view.prepend(element('p', {class: 'note'}, 'This page does not hold ', foreign(id), ' in full.'));
  drawRollouts({isJump: isAsked});
  return view;
}

function rolloutControls() {
  const {rollouts} = overview;
  const filters = Object.entries(rolloutFilters).filter(([name, [, suits]]) => name === 'all' || rollouts.some(suits));
  const sorts = Object.entries(rolloutSorts).filter(([, [, keyOf]]) => rollouts.some((one) => isKnown(keyOf(one))));
  const labels = (entries) => entries.map(([name, [label]]) => [name, label]);
  const change = (field) => (value) => {
    rolloutsState[field] = value;
    turnTo(0);
  };
  return element('div', {class: 'controls'},
    choice('Show', labels(filters), rolloutsState.filter, change('filter')),
    selection('Order', labels(sorts), rolloutsState.sort, change('sort')),
    searchField('id, group, source, prompt', rolloutsState.search, change('search')));
}

function foundRollouts() {
  const {filter, sort, group, search} = rolloutsState, wanted = search.toLowerCase();
  const [, suits] = rolloutFilters[filter], [, keyOf] = rolloutSorts[sort];
  const isWanted = (text) => text.toLowerCase().includes(wanted);
  const found = overview.rollouts.filter((one) => suits(one) && (group === null || one.group === group)
      && [one.id, one.group, one.source, one.head, one.verdict].some(isWanted));
  return sortRows(found, {value: keyOf}, false);
}

/** To a page of the list. */
function turnTo(page) {
  rolloutsState.page = page;
  rolloutsState.chosen = null;
  drawRollouts({});
}

/** `isJump`: go to the page that the chosen rollout is on. */
function drawRollouts({isJump}) {
  const found = foundRollouts(), place = found.findIndex((one) => one.id === rolloutsState.chosen);
  if (isJump && place >= 0) rolloutsState.page = Math.floor(place / rolloutsPerPage);
  const first = rolloutsState.page * rolloutsPerPage, shown = found.slice(first, first + rolloutsPerPage);
  if (place < 0) rolloutsState.chosen = shown[0]?.id ?? null;
  fill(rolloutsList, groupNote(), pager(found.length), element('div', {class: 'list'}, rolloutTable(shown)));
  markChosen();
  say(`${found.length} rollouts`);
  drawRollout();
}

function groupNote() {
  if (rolloutsState.group === null) return null;
  return element('p', {class: 'note'}, 'Group ', foreign(rolloutsState.group), ' ',
    button('All groups', () => showGroup(null), {id: 'all-groups'}));
}

function showGroup(group) {
  rolloutsState.group = group;
  drawRollouts({isJump: true});
}

function pager(all) {
  const {page} = rolloutsState, pages = Math.max(1, Math.ceil(all / rolloutsPerPage));
  return element('div', {class: 'controls'},
    button('‹', () => turnTo(page - 1), {disabled: page === 0, 'aria-label': 'Page before'}),
    element('span', {id: 'found', 'data-value': String(all)}, `${count(all)} rollouts, page ${page + 1} of ${pages}`),
    button('›', () => turnTo(page + 1), {disabled: page + 1 >= pages, 'aria-label': 'Next page'}));
}

function rolloutTable(shown) {
  return table(
    [
      {title: '', value: (one) => one.judgement, show: (one) => judgementMark(one.judgement)},
      {
        title: 'rollout',
        value: (one) => one.id,
        show: (one) => [foreign(one.id),
          one.dropped[0] ? element('div', {class: 'note'}, `left out: ${one.dropped[0]}`) : '']
      },
      {title: 'tokens', value: (one) => one.length, show: (one) => count(one.length), isNumber: true},
      {title: 'entropy', value: (one) => one.entropy, show: (one) => figure(one.entropy), isNumber: true},
      {title: 'reward', value: (one) => one.reward, show: (one) => figure(one.reward), isNumber: true},
    ],
    shown, {name: 'rollouts', choose: (one) => chooseRollout(one.id), key: (one) => one.id});
}

/** `draw`: where more than the rollout itself is to be drawn anew. */
function chooseRollout(id, draw = drawRollout) {
  rolloutsState.chosen = id;
  rolloutsState.isWhole = false;
  history.replaceState(null, '', `#rollouts/${encodeURIComponent(id)}`);
  markChosen();
  draw();
}

function markChosen() {
  for (const row of rolloutsList.querySelectorAll('tr[data-key]')) {
    row.classList.toggle('chosen', row.dataset.key === rolloutsState.chosen);
    if (row.classList.contains('chosen')) row.scrollIntoView({block: 'nearest'});
  }
}

/** To the rollout so many places further, over the border of a page too. */
function stepRollout(by) {
  const found = foundRollouts(), place = found.findIndex((one) => one.id === rolloutsState.chosen) + by;
  if (place < 0 || place >= found.length) return;
  const isOnPage = Math.floor(place / rolloutsPerPage) === rolloutsState.page;
  chooseRollout(found[place].id, isOnPage ? undefined : () => drawRollouts({isJump: true}));
}
