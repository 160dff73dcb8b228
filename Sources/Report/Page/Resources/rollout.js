// One rollout: what is known of it, and its text.

const tokensAtOnce = 3000;

async function drawRollout() {
  const summary = summaryOf(rolloutsState.chosen), place = rolloutsDetail;
  if (!summary) {
    fill(place, note('No rollout is like that.'));
    return;
  }
  const rollout = await loadRollout(summary);
  // Another one may have been chosen meanwhile.
  if (rolloutsState.chosen !== summary.id || rolloutsDetail !== place) return;
  const text = element('div',
    {class: 'text', tabindex: '0', id: 'rollout-text', 'aria-label': 'Tokens; arrows go from one to the next'});
  const beside = element('div', {class: 'beside', id: 'token-facts', 'aria-live': 'polite'},
    note('Point at a token, or go through them with the arrows, to read its numbers.'));
  drawText(text, rollout);
  followTokens(text, beside, rollout);
  const heading = element('h3', {}, judgementMark(summary.judgement), ' ', foreign(summary.id));
  fill(place, heading, textControls(text, rollout), text, beside, factList(rolloutFacts(rollout)), plainTexts(rollout));
  place.dataset.rollout = summary.id;
}

const factList = (facts, attributes = {}) => element('dl', {class: 'facts', ...attributes},
  facts.map(([name, value]) => [element('dt', {}, name), element('dd', {}, value)]));

function rolloutFacts(rollout) {
  const {summary} = rollout;
  const facts = [
    ['verdict', `${summary.verdict}: ${meaningOf(overview.verdicts, summary.verdict)}`],
    ['answer found', foreign(rollout.extracted || '(none)')],
    ['answer expected', foreign(rollout.reference || '(none given)')],
    ['reward', figure(summary.reward)],
    ['group', [foreign(summary.group), ' ', button('Only this group', () => showGroup(summary.group))]],
    ['data source', foreign(summary.source || '(none named)')],
    ['sampled', foreign(samplingOf(rollout))],
    ['entropy', `mean ${figure(summary.entropy)} nats, known by ${rollout.evidence}`],
  ];
  return facts.concat(rollout.plans.map(
    (plan, number) => [`plan ${planLabel(number)}`, planFact(plan, summary.dropped[number], number)]));
}

function samplingOf({summary, temperature, topP, policyVersion}) {
  return `${count(summary.length)} tokens, ended by ${summary.finish || '(not said)'}, temperature `
    + `${figure(temperature)}, top-p ${figure(topP)}${policyVersion ? `, policy ${policyVersion}` : ''}`;
}

function planFact(plan, dropped, number) {
  if (!plan) {
    const meaning = meaningOf(overview.plans[number].dropped, dropped);
    return dropped ? `left out: ${dropped}, ${meaning}` : 'the plan does not know it';
  }
  const others = plan.rows > 1 ? `; it stands in ${plan.rows} rows, of which the first is shown` : '';
  return `kept in step ${plan.step}, ${count(sum([...plan.kept]))} of its ${count(plan.kept.length)} tokens, `
    + `shaped reward ${figure(plan.reward)}${others}`;
}

/** Prompt and response as the dump has them; without a tokenizer they are the only text. */
function plainTexts(rollout) {
  return element('details', {open: !overview.knowsTexts},
    element('summary', {}, 'Prompt and response as the dump has them'),
    element('div', {class: 'text'}, foreign(rollout.prompt)),
    element('div', {class: 'text'}, foreign(rollout.completion)));
}

// MARK: colours

function textControls(text, rollout) {
  const place = element('div');
  const draw = () => fill(place, colourLegend(currentColouring(rollout)));
  const change = (field) => (value) => {
    rolloutsState[field] = value;
    drawText(text, rollout);
    draw();
  };
  draw();
  const options = colouringsOf(rollout), plans = rollout.plans.map((_, number) => [String(number), planLabel(number)]);
  return [
    element('div', {class: 'controls'},
      options.length > 0 ? choice('Colour by', options, currentColouring(rollout), change('colouring')) : null,
      plans.length > 1 ? selection('of plan', plans, rolloutsState.plan, change('plan')) : null),
    place,
  ];
}

/** Those that the rollout has the numbers of. */
function colouringsOf(rollout) {
  const isPlanned = rollout.plans.some(Boolean);
  const has = {
    entropy: rollout.entropy,
    advantage: isPlanned,
    weight: isPlanned,
    difference: rollout.trainer && rollout.sampler,
    plans: rollout.plans.length === 2,
  };
  return Object.entries(colourings).filter(([kind]) => has[kind]);
}

/** The colouring that is wished for, where the rollout has it. */
function currentColouring(rollout) {
  const known = colouringsOf(rollout).map(([kind]) => kind);
  return known.includes(rolloutsState.colouring) ? rolloutsState.colouring : known[0];
}

/** A long text begins with as much as a browser shows at once. */
function drawText(text, rollout) {
  const plan = rollout.plans[Number(rolloutsState.plan)] ?? null, all = rollout.tokens.length;
  const end = rolloutsState.isWhole ? all : Math.min(all, tokensAtOnce);
  fill(text, tokenSpans(rollout, 0, end, colouring(currentColouring(rollout), rollout, plan), plan));
  if (end === all) return;
  const more = () => {
    rolloutsState.isWhole = true;
    drawText(text, rollout);
  };
  text.append(button(`${count(all - end)} more tokens`, more));
}

// MARK: one token

/** Shows the numbers of the token that is pointed at, or that the arrows have reached. */
function followTokens(text, beside, rollout) {
  let current = null;
  const show = (span) => {
    if (span?.dataset.position === undefined) return;
    current?.classList.remove('current');
    current = span;
    span.classList.add('current');
    fill(beside, tokenFacts(rollout, Number(span.dataset.position)));
  };
  text.addEventListener('pointerover', (event) => show(event.target));
  text.addEventListener('click', (event) => show(event.target));
  text.addEventListener('keydown', (event) => {
    if (event.key !== 'ArrowRight' && event.key !== 'ArrowLeft') return;
    show(tokenBeside(text, current, event.key === 'ArrowRight'));
    current?.scrollIntoView({block: 'nearest'});
    event.preventDefault();
    event.stopPropagation();
  });
}

/** The next one or the one before; the first that was sampled where none is current. */
function tokenBeside(text, current, isForward) {
  if (current === null || !text.contains(current)) return text.querySelector('[data-position]:not(.prompt-token)');
  return isForward ? current.nextElementSibling : current.previousElementSibling;
}

function tokenFacts(rollout, position) {
  const n = rollout.trainable.indexOf(position), token = rollout.tokens[position];
  const name = [shownToken(token), ` id ${token}, position ${position}`];
  if (n < 0) return factList([['token', name], ['', 'not sampled by the policy: prompt, or put in']]);
  const facts = [
    ['token', name],
    ['entropy', entropyOf(rollout, n)],
    ['log-probability', logprobsOf(rollout, n)],
    ...rollout.plans.map((plan, number) => [planLabel(number), creditOfToken(plan, n)]),
  ];
  if (rollout.topTokens) facts.push(['likeliest here', alternativesOf(rollout, n)]);
  return factList(facts, {'data-position': position});
}

const shownToken = (token) => element('code', {}, foreign(oneLine(textOf(token))));

function entropyOf({entropy, entropyLow, entropyHigh}, n) {
  if (!entropy) return 'not known';
  const bounds = entropyLow && entropyHigh ? `, between ${figure(entropyLow[n])} and ${figure(entropyHigh[n])}` : '';
  return `${figure(entropy[n])} nats${bounds}`;
}

function logprobsOf({trainer, sampler}, n) {
  const difference = trainer && sampler ? `, difference ${signed(trainer[n] - sampler[n])}` : '';
  return `trainer ${trainer ? figure(trainer[n]) : 'not known'}, sampler `
    + `${sampler ? figure(sampler[n]) : 'not known'}${difference}`;
}

function creditOfToken(plan, n) {
  if (!plan) return 'left out';
  const credit = `advantage ${signed(plan.advantages[n])}, weight ${figure(plan.weights[n])}`;
  return `${plan.kept[n] ? 'kept' : 'masked'}, ${credit}`;
}

function alternativesOf({topWidth, topTokens, topLogprobs}, n) {
  const places = Array.from({length: topWidth}, (_, rank) => n * topWidth + rank);
  return places.filter((place) => topTokens[place] >= 0)
    .map((place) => [shownToken(topTokens[place]), ` ${percent(Math.exp(topLogprobs[place]))}   `]);
}
