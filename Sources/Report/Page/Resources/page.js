// The page itself: views, keys, theme.

const views = {
  overview: ['Overview', overviewView],
  forks: ['Forks', forksView],
  rollouts: ['Rollouts', rolloutsView],
  expansions: ['Expansions', expansionsView],
  plans: ['Two plans', plansView],
  training: ['Training', trainingView],
};
const viewNames = Object.keys(views);
let currentView = null;

/** Shows what the address names: #view, or #rollouts/ID. */
function showAddress() {
  const [name, argument] = location.hash.slice(1).split('/', 2);
  showView(views[name] ? name : 'overview', argument === undefined ? undefined : decodeURIComponent(argument));
}

function showView(name, argument) {
  currentView = name;
  for (const tab of document.querySelectorAll('[role="tab"]')) {
    tab.setAttribute('aria-selected', String(tab.dataset.view === name));
    tab.tabIndex = tab.dataset.view === name ? 0 : -1;
  }
  const panel =
    element('div', {role: 'tabpanel', id: `view-${name}`, 'aria-labelledby': `tab-${name}`}, views[name][1](argument));
  fill(document.getElementById('main-content'), panel);
  document.title = `${views[name][0]} · ${overview.title}`;
}

const goTo = (name) => {
  if (location.hash === `#${name}`)
    showAddress();
  else
    location.hash = name;
};

function drawTabs() {
  document.getElementById('tabs').append(...viewNames.map((name, number) => button(views[name][0], () => goTo(name), {
    role: 'tab',
    id: `tab-${name}`,
    'data-view': name,
    title: `${number + 1}`,
  })));
}

// MARK: keys

const keys = [
  ['1 … 6', 'the views; ← and → go from one to the next where a tab has the focus'],
  ['j, k', 'the next rollout, the one before'],
  ['/', 'search in this view'],
  ['t', 'theme: system, light, dark'],
  ['?', 'this'],
  ['← →', 'in a rollout’s text: from token to token'],
];
const signs = [
  ['✓ ✗ ·', 'right, wrong, unjudged'],
  ['underline', 'kept by the plan: solid where the advantage is above 0, dashed below 0, dotted at 0'],
  ['◂ ▸', 'kept by the first plan alone, by the second alone'],
  ['⟨E2 96⟩', 'bytes of a token that are only a piece of a character'],
  ['⟨U+202E⟩, ␛, ⇥, ⏎', 'characters that can’t be seen or would turn the text around, a tab, a line break'],
  ['⟨#17⟩', 'a token whose text is not known'],
];

function drawHelp() {
  document.getElementById('help-list')
    .append(
      ...keys.map(([key, meaning]) => [element('dt', {}, element('kbd', {}, key)), element('dd', {}, meaning)]).flat(),
      ...signs.map(([sign, meaning]) => [element('dt', {}, sign), element('dd', {}, meaning)]).flat());
  document.getElementById('help-button').addEventListener('click', () => document.getElementById('help').showModal());
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches('input, select, textarea')) {
    if (event.key === 'Escape') event.target.blur();
    return;
  }
  if (event.key >= '1' && event.key <= String(viewNames.length))
    goTo(viewNames[Number(event.key) - 1]);
  else if (currentView === 'rollouts' && (event.key === 'j' || event.key === 'k'))
    stepRollout(event.key === 'j' ? 1 : -1);
  else if (event.key === '/') {
    document.querySelector('main input[type="search"]')?.focus();
    event.preventDefault();
  } else if (event.key === 't')
    turnTheme();
  else if (event.key === '?')
    document.getElementById('help').showModal();
  else if (event.target.matches('[role="tab"]') && (event.key === 'ArrowRight' || event.key === 'ArrowLeft')) {
    const number = viewNames.indexOf(currentView) + (event.key === 'ArrowRight' ? 1 : viewNames.length - 1);
    goTo(viewNames[number % viewNames.length]);
    document.getElementById(`tab-${viewNames[number % viewNames.length]}`).focus();
  }
}

// MARK: theme

const themes = [undefined, 'light', 'dark'];

function turnTheme() {
  const root = document.documentElement, next = themes[(themes.indexOf(root.dataset.theme) + 1) % themes.length];
  if (next === undefined)
    delete root.dataset.theme;
  else
    root.dataset.theme = next;
  say(`Theme: ${next ?? 'as the system has it'}`);
}

// MARK: start

async function start() {
  try {
    await loadOverview();
  } catch (error) {
    document.getElementById('loading').textContent = `The page’s data can’t be read: ${
      error.message}. A browser of 2024 or later is needed, and the whole file.`;
    throw error;
  }
  document.getElementById('title').textContent = overview.title;
  drawTabs();
  drawHelp();
  document.getElementById('theme').addEventListener('click', turnTheme);
  document.addEventListener('keydown', pressed);
  window.addEventListener('hashchange', showAddress);
  showAddress();
  document.documentElement.dataset.ready = 'true';
}

start();
