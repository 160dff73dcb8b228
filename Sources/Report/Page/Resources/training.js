// What training came to: steps of an update, iterations of loops.

function trainingView() {
  const { training, loops } = overview;
  return element('div', {},
    element('h2', {}, 'Steps of the update'),
    training.length === 0 ? element('p', { class: 'note' }, 'No update was given (--update run/update).') : [stepNote(training), panels(training, 'step')],
    element('h2', {}, 'Loops'),
    loops.length === 0 ? element('p', { class: 'note' }, 'No loops were given (--loops NAME=run/loop …).')
      : [element('p', { class: 'note' }, 'Loops of one name are seeds: their mean is drawn, with a band of one standard deviation.'), panels(loops, 'iteration')]);
}

function stepNote(panelsShown) {
  const steps = panelsShown[0].lines[0].x.length;
  return element('p', { class: 'note' }, `${count(steps)} ${steps === 1 ? 'step' : 'steps'}.`);
}

function panels(list, xLabel) {
  return element('div', { class: 'columns' }, list.map((panel) => lineChart(`${xLabel}-${panel.name.replaceAll(/[^a-z0-9]+/gi, '-')}`, panel.name,
    panel.lines.map((line) => ({ ...line, name: line.name || panel.name })), { xLabel, note: panel.documentation })));
}
