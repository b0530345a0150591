"use strict";
// The sortable and filterable table.

function boardColumns(suite, models) {
  const columns = [{ key: "method", title: "Method", get: (row) => row.method, head: true }];
  columns.push({ key: "scale", title: "Scale", get: (row) => row.scale, number: true, text: (row) => thousands(row.scale) });
  if (models.length > 1) columns.push({ key: "model", title: "Model", get: (row) => row.model });
  for (const metric of suite.metrics) {
    columns.push({
      key: metric.name, title: `${metric.title} ${metric.direction === "higher" ? "↑" : "↓"}`, says: metric.says, number: true,
      down: metric.direction === "higher", get: (row) => (row.values[metric.name] || {}).value, cell: (row) => metricCell(row, metric),
    });
  }
  if (suite.ranked) columns.push({ key: "rank", title: "Rank", get: (row) => row.rank, text: (row) => row.rank_text });
  columns.push({ key: "n", title: "n", get: (row) => row.n, number: true, text: (row) => thousands(row.n) });
  columns.push({ key: "seeds", title: "Seeds", get: (row) => row.seeds.length, text: (row) => row.seeds.join(", ") || "–" });
  columns.push({ key: "status", title: "Status", get: (row) => row.status, cell: statusCell });
  return columns;
}

function metricCell(row, metric) {
  const value = row.values[metric.name];
  if (!value) return el("td", { class: "number" }, "–");
  const top = row.top.includes(metric.name);
  const text = el("span", { class: top ? "top" : null, title: top ? "best, or not separably worse" : null }, value.text);
  return el("td", { class: "number" }, text, value.interval ? el("span", { class: "interval" }, value.interval) : null);
}

function statusCell(row) {
  const text = row.reason ? `${row.status}: ${row.reason}` : row.status;
  return el("td", { class: `${row.reason ? "status" : ""} ${row.status === "done" ? "" : "trouble"}`.trim() || null }, text);
}

function bodyCell(suite, column, row) {
  if (column.head) return el("th", { scope: "row" }, swatch(suite.places.get(row.method)), row.method);
  if (column.cell) return column.cell(row);
  return el("td", { class: column.number ? "number" : column.key }, String(column.text ? column.text(row) : column.get(row)));
}

// What has no value comes last, whichever way is sorted.
function compare(a, b, sign) {
  const [none, other] = [a, b].map((value) => value === null || value === undefined);
  if (none || other) return none - other;
  return sign * (typeof a === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
}

function showLeaderboard(suite) {
  const models = unique(suite.rows.map((row) => row.model));
  const columns = boardColumns(suite, models);
  const state = { key: null, sign: 1, scale: "", model: "", status: "", text: "" };
  const body = el("tbody");
  const count = el("p", { class: "said", role: "status" });
  const heads = columns.map((column) => sortHead(column, () => sortBy(column)));
  const table = el("table", { class: "board" }, el("thead", {}, el("tr", {}, heads)), body);

  function sortBy(column) {
    if (state.key === column.key) state.sign = -state.sign;
    else [state.key, state.sign] = [column.key, column.down ? -1 : 1];
    heads.forEach((head, k) => {
      const sorted = columns[k].key === state.key;
      if (sorted) head.setAttribute("aria-sort", state.sign > 0 ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
    draw();
  }

  function passes(row) {
    const words = `${row.method} ${row.model} ${row.status} ${row.reason}`.toLowerCase();
    return (!state.scale || row.scale === Number(state.scale)) && (!state.model || row.model === state.model)
      && (!state.status || row.status === state.status) && words.includes(state.text);
  }

  function draw() {
    const rows = suite.rows.filter(passes);
    const column = columns.find((one) => one.key === state.key);
    if (column) rows.sort((a, b) => compare(column.get(a), column.get(b), state.sign));
    const starts = (row, k) => !column && k > 0 && (rows[k - 1].scale !== row.scale || rows[k - 1].model !== row.model);
    body.replaceChildren(...rows.map((row, k) =>
      el("tr", { class: starts(row, k) ? "group" : null }, columns.map((one) => bodyCell(suite, one, row)))));
    count.textContent = `${thousands(rows.length)} of ${thousands(suite.rows.length)} rows`;
  }

  const every = (values) => [["", "all"], ...values.map((value) => [String(value), typeof value === "number" ? thousands(value) : value])];
  const set = (name) => (value) => { state[name] = name === "text" ? value.toLowerCase() : value; draw(); };
  const scales = unique(suite.rows.map((row) => row.scale)).sort((a, b) => a - b);
  fill("leaderboard-body",
    el("div", { class: "controls" },
      scales.length > 1 ? choice("Scale", every(scales), set("scale")) : null,
      models.length > 1 ? choice("Model", every(models), set("model")) : null,
      choice("Status", every(unique(suite.rows.map((row) => row.status))), set("status")), search("Filter", set("text"))),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Leaderboard, scrolls sideways" }, table), count,
    suite.statement.map((line) => el("p", { class: "said" }, line)));
  draw();
}

function sortHead(column, sort) {
  const classes = [column.number ? "number" : "", column.head ? "stick" : ""].join(" ").trim();
  return el("th", { scope: "col", class: classes || null, title: column.says }, el("button", { type: "button", onclick: sort }, column.title));
}
