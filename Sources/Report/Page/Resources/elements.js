// Elements of the page. Text goes in as text alone: nothing here reads markup.

/** An element with attributes, listeners (keys that begin with "on") and children: nodes, or text. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith('on'))
      made.addEventListener(key.slice(2), value);
    else
      made.setAttribute(key, value === true ? '' : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

/** Text of a dump, which may turn the direction of what stands around it. */
const foreign = (text) => element('bdi', {}, text);

/** Puts children into a place instead of what is there. */
function fill(place, ...children) {
  place.replaceChildren();
  for (const child of children.flat(Infinity))
    if (child !== null && child !== undefined) place.append(child);
}

function drawn(name, attributes = {}, ...children) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.flat(Infinity));
  return made;
}

/** A number that tests and readers of the page find by its name. */
function tile(name, label, value, shown) {
  return element('div', {class: 'tile'}, element('b', {'data-figure': name, 'data-value': String(value)}, shown),
    element('span', {}, label));
}

/**
 * A table of `columns` ({ title, value, show, isNumber }) that sorts by a click on a title. `choose` makes rows
 *  buttons; `key` names a row.
 */
function table(columns, rows, {name, choose, key, sorted = null, sort} = {}) {
  const head = element('tr', {}, columns.map((column, index) => heading(column, index, sorted, sort)));
  const body = element('tbody', {}, rows.map((row) => tableRow(columns, row, choose, key)));
  return element('div', {class: 'scroll'}, element('table', {'data-table': name}, element('thead', {}, head), body));
}

function heading(column, index, sorted, sort) {
  const isSorted = sorted !== null && sorted.column === index;
  const arrow = isSorted ? (sorted.isAscending ? ' ▲' : ' ▼') : '';
  const title =
    sort ? element('button', {type: 'button', onclick: () => sort(index)}, column.title + arrow) : column.title;
  return element('th', {
    scope: 'col',
    class: column.isNumber ? 'number' : null,
    title: column.explanation,
    'aria-sort': isSorted ? (sorted.isAscending ? 'ascending' : 'descending') : null,
  },
    title);
}

function tableRow(columns, row, choose, key) {
  const cells = columns.map((column) => {
    const shown = column.show ? column.show(row) : String(column.value(row));
    return element('td', {class: column.isNumber ? 'number' : null}, shown);
  });
  const listeners = choose ? {
    tabindex: '0',
    onclick: () => choose(row),
    onkeydown: (event) => {
      if (event.key === 'Enter' && event.target.tagName === 'TR') choose(row);
    },
  }
                           : {};
  return element('tr', {...listeners, 'data-key': key ? key(row) : null}, cells);
}

/** Sorts by a column; what isn't known comes last either way. */
function sortRows(rows, column, isAscending) {
  const sign = isAscending ? 1 : -1;
  return [...rows].sort((one, two) => {
    const a = column.value(one), b = column.value(two);
    if (a === null || a === undefined) return b === null || b === undefined ? 0 : 1;
    if (b === null || b === undefined) return -1;
    return a < b ? -sign : a > b ? sign : 0;
  });
}

/** A table that keeps its own order. */
function sortableTable(columns, rows, options = {}) {
  const place = element('div');
  let order = options.sorted ?? null;
  const draw = () => {
    const shown = order === null ? rows : sortRows(rows, columns[order.column], order.isAscending);
    place.replaceChildren(table(columns, shown, {...options, sorted: order, sort}));
  };
  const sort = (column) => {
    order = {
      column,
      isAscending: order !== null && order.column === column ? !order.isAscending : !columns[column].isNumber
    };
    draw();
  };
  draw();
  return place;
}

function button(text, act, attributes = {}) {
  return element('button', {type: 'button', onclick: act, ...attributes}, text);
}

/** Buttons of which one is on. `options`: [value, label]. */
function choice(label, options, value, change) {
  const choose = (option) => {
    for (const one of buttons) one.setAttribute('aria-pressed', String(one.dataset.option === option));
    change(option);
  };
  const buttons = options.map(([option, text]) => {
    const state = {'data-option': option, 'aria-pressed': String(option === value)};
    return button(text, () => choose(option), state);
  });
  return element('span', {role: 'group', 'aria-label': label, class: 'controls'}, buttons);
}

function selection(label, options, value, change) {
  const list = element('select', {onchange: (event) => change(event.target.value)},
    options.map(([option, text]) => element('option', {value: option, selected: option === value}, text)));
  return element('label', {}, label, list);
}

/** A field to search in, which the key / goes to. */
function searchField(placeholder, value, change) {
  return element('input', {
    type: 'search',
    placeholder: `Search ${placeholder} (/)`,
    'aria-label': `Search ${placeholder}`,
    value,
    oninput: (event) => change(event.target.value),
  });
}

/** Tells those who don't see the page what has changed. */
function say(text) { document.getElementById('said').textContent = text; }
