// What training came to: steps of an update, iterations of loops.

function trainingView() {
  const {training, loops} = overview;
  return element('div', {}, element('h2', {}, 'Steps of the update'),
    training.length === 0 ? element('p', {class: 'note'}, 'No update was given (--update run/update).')
                          : stepPanels(training),
    element('h2', {}, 'Loops'),
    loops.length === 0 ? element('p', {class: 'note'}, 'No loops were given (--loops NAME=run/loop …).') : [
      element('p', {class: 'note'},
        'Loops of one name are seeds: their mean is drawn, with a band of one standard deviation.'),
      panels(loops, 'iteration')
    ]);
}

/** A single step has no curves: its figures are a table. */
function stepPanels(training) {
  const steps = training[0].lines[0].x.length;
  return steps > 1 ? [element('p', {class: 'note'}, `${count(steps)} steps.`), panels(training, 'step')] : [
    element('p', {class: 'note'}, `One step, number ${training[0].lines[0].x[0]}.`),
    table(
      [
        {title: 'figure', value: (panel) => panel.name},
        {
          title: 'value',
          value: (panel) => panel.lines[0].y[0],
          show: (panel) => figure(panel.lines[0].y[0]),
          isNumber: true
        },
        {title: 'what it is', value: (panel) => panel.documentation},
      ],
      training, {name: 'step', key: (panel) => panel.name})
  ];
}

function panels(list, xLabel) {
  return element('div', {class: 'columns'},
    list.map(
      (panel) => lineChart(`${xLabel}-${panel.name.replaceAll(/[^a-z0-9]+/gi, '-')}`, panel.name,
        panel.lines.map((line) => ({...line, name: line.name || panel.name})), {xLabel, note: panel.documentation})));
}
