// Rollouts, one by one.

const rolloutsState = { filter: 'all', sort: 'dump', group: null, search: '', page: 0, colouring: 'entropy', plan: 0, chosen: null, isWhole: false };
const rolloutsPerPage = 50, tokensAtOnce = 3000;

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
  rolloutsList = element('div', { id: 'rollouts-list' });
  rolloutsDetail = element('div', { id: 'rollout' });
  if (isAsked) rolloutsState.chosen = id;
  const view = element('div', {}, rolloutNote(), rolloutControls(), element('div', { class: 'split' }, rolloutsList, rolloutsDetail));
  if (id !== undefined && !isAsked) view.prepend(element('p', { class: 'note' }, 'This page does not hold ', foreign(id), ' in full.'));
  drawRollouts({ isJump: isAsked });
  return view;
}

function rolloutControls() {
  const known = Object.entries(rolloutFilters).filter(([key, [, suits]]) => key === 'all' || overview.rollouts.some(suits)).map(([key, [label]]) => [key, label]);
  const sorts = Object.entries(rolloutSorts).filter(([, [, key]]) => overview.rollouts.some((one) => key(one) !== null && key(one) !== undefined)).map(([key, [label]]) => [key, label]);
  const change = (field) => (value) => { rolloutsState[field] = value; rolloutsState.page = 0; rolloutsState.chosen = null; drawRollouts({}); };
  return element('div', { class: 'controls' },
    choice('Show', known, rolloutsState.filter, change('filter')),
    selection('Order', sorts, rolloutsState.sort, change('sort')),
    element('input', { type: 'search', placeholder: 'Id, group, source, prompt (/)', 'aria-label': 'Search rollouts', value: rolloutsState.search, oninput: (event) => change('search')(event.target.value) }));
}

function foundRollouts() {
  const [, suits] = rolloutFilters[rolloutsState.filter], [, key] = rolloutSorts[rolloutsState.sort], wanted = rolloutsState.search.toLowerCase();
  const found = overview.rollouts.filter((one) => suits(one) && (rolloutsState.group === null || one.group === rolloutsState.group)
    && (wanted === '' || [one.id, one.group, one.source, one.head, one.verdict].some((text) => text.toLowerCase().includes(wanted))));
  return sortRows(found, { value: key }, false);
}

/** `isJump`: go to the page that the chosen rollout is on. */
function drawRollouts({ isJump }) {
  const found = foundRollouts(), place = found.findIndex((one) => one.id === rolloutsState.chosen);
  if (isJump && place >= 0) rolloutsState.page = Math.floor(place / rolloutsPerPage);
  const first = rolloutsState.page * rolloutsPerPage, shown = found.slice(first, first + rolloutsPerPage);
  if (place < 0) rolloutsState.chosen = shown[0]?.id ?? null;
  rolloutsList.replaceChildren(groupNote(), pager(found.length), element('div', { class: 'list' }, rolloutTable(shown)));
  markChosen();
  say(`${found.length} rollouts`);
  drawRollout();
}

function groupNote() {
  return rolloutsState.group === null ? '' : element('p', { class: 'note' }, 'Group ', foreign(rolloutsState.group), ' ',
    element('button', { type: 'button', onclick: () => { rolloutsState.group = null; drawRollouts({ isJump: true }); } }, 'All groups'));
}

function pager(all) {
  const pages = Math.max(1, Math.ceil(all / rolloutsPerPage)), turn = (by) => () => { rolloutsState.page += by; rolloutsState.chosen = null; drawRollouts({}); };
  return element('div', { class: 'controls' },
    element('button', { type: 'button', disabled: rolloutsState.page === 0, onclick: turn(-1), 'aria-label': 'Page before' }, '‹'),
    element('span', { id: 'found', 'data-value': String(all) }, `${count(all)} rollouts, page ${rolloutsState.page + 1} of ${pages}`),
    element('button', { type: 'button', disabled: rolloutsState.page + 1 >= pages, onclick: turn(1), 'aria-label': 'Next page' }, '›'));
}

function rolloutTable(shown) {
  return table([
    { title: '', value: (one) => one.judgement, show: (one) => judgementMark(one.judgement) },
    { title: 'rollout', value: (one) => one.id, show: (one) => [foreign(one.id), one.dropped[0] ? element('div', { class: 'note' }, `left out: ${one.dropped[0]}`) : ''] },
    { title: 'tokens', value: (one) => one.length, show: (one) => count(one.length), isNumber: true },
    { title: 'entropy', value: (one) => one.entropy, show: (one) => figure(one.entropy), isNumber: true },
    { title: 'reward', value: (one) => one.reward, show: (one) => figure(one.reward), isNumber: true },
  ], shown, { name: 'rollouts', choose: (one) => chooseRollout(one.id), key: (one) => one.id });
}

function chooseRollout(id) {
  rolloutsState.chosen = id;
  rolloutsState.isWhole = false;
  history.replaceState(null, '', `#rollouts/${encodeURIComponent(id)}`);
  markChosen();
  drawRollout();
}

function markChosen() {
  for (const row of rolloutsList.querySelectorAll('tr[data-key]')) {
    row.classList.toggle('chosen', row.dataset.key === rolloutsState.chosen);
    if (row.classList.contains('chosen')) row.scrollIntoView({ block: 'nearest' });
  }
}

/** To the rollout so many places further, over the border of a page too. */
function stepRollout(by) {
  const found = foundRollouts(), place = found.findIndex((one) => one.id === rolloutsState.chosen) + by;
  if (place < 0 || place >= found.length) return;
  rolloutsState.chosen = found[place].id;
  rolloutsState.isWhole = false;
  history.replaceState(null, '', `#rollouts/${encodeURIComponent(found[place].id)}`);
  drawRollouts({ isJump: true });
}

// MARK: one of them

async function drawRollout() {
  const summary = summaryOf(rolloutsState.chosen), place = rolloutsDetail;
  if (!summary) return place.replaceChildren(element('p', { class: 'note' }, 'No rollout is like that.'));
  const rollout = await loadRollout(summary);
  // Another one may have been chosen meanwhile.
  if (rolloutsState.chosen !== summary.id || rolloutsDetail !== place) return undefined;
  const text = element('div', { class: 'text', tabindex: '0', id: 'rollout-text', 'aria-label': 'Tokens; arrows go from one to the next' });
  const beside = element('div', { class: 'beside', id: 'token-facts', 'aria-live': 'polite' }, element('p', { class: 'note' }, 'Point at a token, or go through them with the arrows, to read its numbers.'));
  drawText(text, rollout);
  followTokens(text, beside, rollout);
  place.replaceChildren(element('h3', {}, judgementMark(summary.judgement), ' ', foreign(summary.id)), rolloutFacts(rollout), textControls(text, rollout), text, beside);
  place.dataset.rollout = summary.id;
  return undefined;
}

function rolloutFacts(rollout) {
  const { summary } = rollout, facts = [
    ['verdict', [summary.verdict, ': ', meaningOf(overview.verdicts, summary.verdict)]],
    ['answer found', foreign(rollout.extracted || '(none)')], ['answer expected', foreign(rollout.reference || '(none given)')],
    ['reward', figure(summary.reward)],
    ['group', [foreign(summary.group), ' ', element('button', { type: 'button', onclick: () => { rolloutsState.group = summary.group; drawRollouts({ isJump: true }); } }, 'Only this group')]],
    ['data source', foreign(summary.source || '(none named)')],
    ['sampled', `${count(summary.length)} tokens, ended by ${summary.finish || '(not said)'}, temperature ${figure(rollout.temperature)}, top-p ${figure(rollout.topP)}`
      + (rollout.policyVersion ? `, policy ${rollout.policyVersion}` : '')],
    ['entropy', `mean ${figure(summary.entropy)} nats, known by ${rollout.evidence}`],
  ].concat(rollout.plans.map((plan, number) => [`plan ${planLabel(number)}`, planFact(plan, summary.dropped[number], number)]));
  return [element('dl', { class: 'facts' }, facts.map(([name, value]) => [element('dt', {}, name), element('dd', {}, value)])), plainTexts(rollout)];
}

function planFact(plan, dropped, number) {
  if (plan) {
    const kept = sum([...plan.kept]);
    return `kept in step ${plan.step}, ${count(kept)} of its ${count(plan.kept.length)} tokens, shaped reward ${figure(plan.reward)}`
      + (plan.rows > 1 ? `; it stands in ${plan.rows} rows, of which the first is shown` : '');
  }
  return dropped ? `left out: ${dropped}, ${meaningOf(overview.plans[number].dropped, dropped)}` : 'the plan does not know it';
}

/** Prompt and response as the dump has them; without a tokenizer they are the only text. */
function plainTexts(rollout) {
  return element('details', { open: !overview.knowsTexts }, element('summary', {}, 'Prompt and response as the dump has them'),
    element('div', { class: 'text' }, foreign(rollout.prompt)), element('div', { class: 'text' }, foreign(rollout.completion)));
}

function textControls(text, rollout) {
  const place = element('div'), isKnown = {
    entropy: rollout.entropy, advantage: rollout.plans.some(Boolean), weight: rollout.plans.some(Boolean),
    difference: rollout.trainer && rollout.sampler, plans: rollout.plans.length === 2,
  };
  const options = Object.entries(colourings).filter(([kind]) => isKnown[kind]);
  const draw = () => {
    drawText(text, rollout);
    place.replaceChildren(colourLegend(currentColouring(rollout), overview.plans));
  };
  place.append(colourLegend(currentColouring(rollout), overview.plans));
  const controls = [options.length ? choice('Colour by', options, currentColouring(rollout), (kind) => { rolloutsState.colouring = kind; draw(); }) : null];
  if (rollout.plans.length > 1) {
    controls.push(selection('of plan', rollout.plans.map((_, number) => [String(number), planLabel(number)]), String(rolloutsState.plan), (value) => { rolloutsState.plan = Number(value); draw(); }));
  }
  return [element('div', { class: 'controls' }, controls), place];
}

/** The colouring that is wished for, where the rollout has its numbers. */
function currentColouring(rollout) {
  const isPlanned = rollout.plans.some(Boolean);
  return !isPlanned && ['advantage', 'weight'].includes(rolloutsState.colouring) ? 'entropy' : rolloutsState.colouring;
}

function drawText(text, rollout) {
  const plan = rollout.plans[rolloutsState.plan] ?? null, end = rolloutsState.isWhole ? rollout.tokens.length : Math.min(rollout.tokens.length, tokensAtOnce);
  text.replaceChildren(...tokenSpans(rollout, 0, end, colouring(currentColouring(rollout), rollout, plan), plan));
  if (end < rollout.tokens.length) {
    text.append(element('button', { type: 'button', onclick: () => { rolloutsState.isWhole = true; drawText(text, rollout); } }, `${count(rollout.tokens.length - end)} more tokens`));
  }
}

/** Shows the numbers of the token that is pointed at, or that the arrows have reached. */
function followTokens(text, beside, rollout) {
  let current = null;
  const show = (span) => {
    current?.classList.remove('current');
    current = span;
    span.classList.add('current');
    beside.replaceChildren(tokenFacts(rollout, Number(span.dataset.position)));
  };
  text.addEventListener('pointerover', (event) => { if (event.target.dataset.position !== undefined) show(event.target); });
  text.addEventListener('click', (event) => { if (event.target.dataset.position !== undefined) show(event.target); });
  text.addEventListener('keydown', (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (by === undefined) return;
    const isInText = current !== null && text.contains(current);
    const next = isInText ? (by > 0 ? current.nextElementSibling : current.previousElementSibling) : text.querySelector('[data-position]:not(.prompt-token)');
    if (next?.dataset.position !== undefined) { show(next); next.scrollIntoView({ block: 'nearest' }); }
    event.preventDefault();
    event.stopPropagation();
  });
}

function tokenFacts(rollout, position) {
  const n = rollout.trainable.indexOf(position), token = rollout.tokens[position];
  const facts = [['token', [element('code', {}, foreign(oneLine(textOf(token)))), ` id ${token}, position ${position}`]]];
  if (n < 0) return element('dl', { class: 'facts' }, factList(facts.concat([['', 'not sampled by the policy: prompt, or put in']])));
  facts.push(['entropy', rollout.entropy ? `${figure(rollout.entropy[n])} nats` + (rollout.entropyLow ? `, between ${figure(rollout.entropyLow[n])} and ${figure(rollout.entropyHigh?.[n])}` : '') : 'not known']);
  facts.push(['log-probability', `trainer ${figure(rollout.trainer?.[n])}, sampler ${figure(rollout.sampler?.[n])}`
    + (rollout.trainer && rollout.sampler ? `, difference ${signed(rollout.trainer[n] - rollout.sampler[n])}` : '')]);
  rollout.plans.forEach((plan, number) => facts.push([planLabel(number), plan
    ? `${plan.kept[n] ? 'kept' : 'masked'}, advantage ${signed(plan.advantages[n])}, weight ${figure(plan.weights[n])}` : 'left out']));
  if (rollout.topTokens) facts.push(['likeliest here', alternativesOf(rollout, n)]);
  return element('dl', { class: 'facts', 'data-position': position }, factList(facts));
}

const factList = (facts) => facts.map(([name, value]) => [element('dt', {}, name), element('dd', {}, value)]);

function alternativesOf(rollout, n) {
  const places = Array.from({ length: rollout.topWidth }, (_, rank) => n * rollout.topWidth + rank).filter((place) => rollout.topTokens[place] >= 0);
  return places.flatMap((place) => [element('code', {}, foreign(oneLine(textOf(rollout.topTokens[place])))), ` ${percent(Math.exp(rollout.topLogprobs[place]))}   `]);
}
