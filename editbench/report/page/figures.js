"use strict";
// The three figures: success over scale, one metric against another, what is left of edits by their age.

function metricAxis(metric, values) {
  const share = metric.low === 0 && metric.high === 1;
  const wide = metric.high === null && values.length && Math.min(...values) > 0 && Math.max(...values) / Math.min(...values) > 50;
  const unit = metric.unit ? ` (${metric.unit === "B" ? "bytes" : metric.unit})` : "";
  return { label: metric.title + unit, log: Boolean(wide), ...(share ? { low: 0, high: 1 } : {}) };
}

function valueText(metric, value) {
  const interval = value.interval ? ` [${value.interval}]` : "";
  return `${metric.title} ${value.text}${interval}`;
}

function showFigures(suite) {
  const models = unique(suite.rows.map((row) => row.model));
  const scales = unique(suite.rows.map((row) => row.scale)).sort((a, b) => a - b);
  const aged = unique(suite.retention.map((curve) => curve.scale)).sort((a, b) => a - b);
  const has = (name) => suite.rows.some((row) => row.values[name]);
  const shown = suite.metrics.filter((metric) => has(metric.name));
  const against = ["capability-ratio", "capability", "locality"].find((name) => shown.some((one) => one.name === name));
  const main = shown.length ? shown[0].name : suite.metrics[0].name;
  const other = against || (shown[1] || { name: main }).name;
  const state = { model: models[0], over: main, x: other, y: main, scale: scales[scales.length - 1], age: aged[aged.length - 1], hidden: new Set() };
  const metric = (name) => suite.metrics.find((one) => one.name === name);
  const visible = () => suite.methods.filter((name) => !state.hidden.has(name));
  const rows = (name) => suite.rows.filter((row) => row.method === name && row.model === state.model);
  const place = (name) => suite.places.get(name);

  function overScale() {
    const one = metric(state.over);
    const series = visible().map((name) => ({ name, place: place(name), points: rows(name).filter((row) => row.values[one.name])
      .sort((a, b) => a.scale - b.scale).map((row) => {
        const value = row.values[one.name];
        return { x: row.scale, y: value.value, low: value.low, high: value.high,
          tip: `${name}\n${thousands(row.scale)} edits\n${valueText(one, value)}\nn ${thousands(value.n)}` };
      }) }));
    const values = series.flatMap((part) => part.points.map((point) => point.y));
    return { series, x: { label: "edits in the model", log: true, ticks: scales.map((scale) => [scale, thousands(scale)]) },
      y: metricAxis(one, values), empty: `Nothing to draw: nothing shown has a value of ${one.title}.` };
  }

  function traded() {
    const [x, y] = [metric(state.x), metric(state.y)];
    const series = visible().map((name) => ({ name, place: place(name), loose: true, points: rows(name)
      .filter((row) => row.scale === state.scale && row.values[x.name] && row.values[y.name]).map((row) => {
        const [across, up] = [row.values[x.name], row.values[y.name]];
        return { x: across.value, y: up.value, low: up.low, high: up.high, left: across.low, right: across.high,
          tip: `${name}\n${thousands(row.scale)} edits\n${valueText(y, up)}\n${valueText(x, across)}` };
      }) }));
    const points = series.flatMap((part) => part.points);
    return { series, x: metricAxis(x, points.map((point) => point.x)), y: metricAxis(y, points.map((point) => point.y)),
      empty: `Nothing to draw: at ${thousands(state.scale)} edits nothing shown has ${x.name === y.name ? `a value of ${x.title}` : `both ${x.title} and ${y.title}`}.` };
  }

  function byAge() {
    const series = visible().map((name) => ({ name, place: place(name), points: suite.retention
      .filter((curve) => curve.method === name && curve.model === state.model && curve.scale === state.age)
      .flatMap((curve) => curve.points).map((point) => {
        const ages = point.youngest === point.oldest ? thousands(point.youngest) : `${thousands(point.youngest)}–${thousands(point.oldest)}`;
        return { x: Math.sqrt((1 + point.youngest) * (1 + point.oldest)), y: point.value, low: point.low, high: point.high,
          tip: `${name}\n${ages} edits ago\nreliability ${point.text}${point.interval ? ` [${point.interval}]` : ""}\nn ${thousands(point.n)}` };
      }) }));
    const ticks = [[1, "0"]];
    for (let age = 1; age < (state.age || 1); age *= 10) ticks.push([age + 1, thousands(age)]);
    return { series, x: { label: "edits made after it (age)", log: true, ticks, low: 1, high: state.age }, y: { label: "Reliability", low: 0, high: 1 },
      empty: "Nothing to draw: no shown method has finished a scale above one edit." };
  }

  const charts = [chart("Metric over the number of edits", overScale), chart("One metric against another", traded), chart("Reliability by age of the edit", byAge)];
  const update = () => charts.forEach((one) => one.render());
  const set = (name, number) => (value) => { state[name] = number ? Number(value) : value; update(); };
  const names = (shown.length ? shown : suite.metrics.slice(0, 1)).map((one) => [one.name, one.title]);
  const sizes = (values) => values.map((value) => [String(value), thousands(value)]);
  const panel = (title, controls, figure, caption) => {
    figure.prepend(el("h3", {}, title), el("div", { class: "controls" }, controls));
    figure.append(el("figcaption", {}, caption));
    return figure;
  };
  fill("figures-body",
    models.length > 1 ? el("div", { class: "controls" }, choice("Model", models.map((name) => [name, name]), set("model"))) : null,
    legend(suite, state, update),
    el("div", { class: "charts" },
      panel("Over the number of edits", [choice("Metric", names, set("over"))], charts[0], "Bars: 95% intervals."),
      panel(against && against.startsWith("capability") ? "Success against capability" : "One metric against another",
        [choice("Up", names, set("y"), state.y), choice("Across", names, set("x"), state.x), choice("Scale", sizes(scales), set("scale", true), String(state.scale))],
        charts[1], "Bars: 95% intervals, where a metric has one."),
      panel("What is left, by age", [choice("Scale", sizes(aged), set("age", true), String(state.age))], charts[2],
        "The latest edits are at the left. Two bins per decade of 1 + age; 95% intervals.")));
  update();
}

function legend(suite, state, update) {
  const toggle = (name, button) => {
    if (!state.hidden.delete(name)) state.hidden.add(name);
    button.setAttribute("aria-pressed", String(!state.hidden.has(name)));
    update();
  };
  return el("div", { class: "legend", role: "group", "aria-label": "Methods shown" }, suite.methods.map((name) => {
    const button = el("button", { type: "button", "aria-pressed": "true", onclick: () => toggle(name, button) }, swatch(suite.places.get(name)), name);
    return button;
  }));
}
