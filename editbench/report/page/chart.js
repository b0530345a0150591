"use strict";
// One chart: series of points with intervals, on linear or logarithmic axes; every point can be reached by key.

const SPACE = { left: 58, right: 16, top: 12, bottom: 46 };

function niceTicks(low, high) {
  const rough = (high - low) / 5 || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * power).find((one) => one >= rough * 0.999);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k += 1) ticks.push(k * step);
  return ticks;
}

function logTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(low); power <= Math.ceil(high); power += 1) {
    const factors = high - low < 1.5 ? [1, 2, 5] : [1];
    factors.forEach((factor) => ticks.push(factor * 10 ** power));
  }
  const inside = ticks.filter((tick) => Math.log10(tick) >= low - 1e-9 && Math.log10(tick) <= high + 1e-9);
  const every = Math.ceil(inside.length / 8);
  return inside.filter((_, k) => k % every === 0);
}

function tickText(value) {
  if (value !== 0 && (Math.abs(value) >= 1e7 || Math.abs(value) < 1e-3)) return value.toExponential(0);
  return Number(value.toPrecision(6)).toLocaleString("en-US", { maximumFractionDigits: 6 });
}

// axis: {label, log, low, high, ticks: [value, text][]}; values: all that must be in sight.
function scaleOf(axis, values, from, to) {
  const bend = axis.log ? Math.log10 : (value) => value;
  const bent = [...values, axis.low, axis.high].filter((value) => value !== null && value !== undefined && (!axis.log || value > 0)).map(bend);
  let [low, high] = [Math.min(...bent), Math.max(...bent)];
  if (high - low < 1e-9) [low, high] = axis.log ? [low - 0.5, high + 0.5] : [low - 0.5 * Math.abs(low || 1), high + 0.5 * Math.abs(high || 1)];
  const place = (value) => from + ((to - from) * (bend(value) - low)) / (high - low);
  const ticks = axis.ticks || (axis.log ? logTicks(low, high) : niceTicks(low, high)).map((tick) => [tick, tickText(tick)]);
  return { place, ticks };
}

function numbers(points, names) {
  return points.flatMap((point) => names.map((name) => point[name])).filter((value) => value !== null && value !== undefined);
}

// draw() -> {series: [{name, place, points: [{x, y, low, high, left, right, tip}]}], x, y, empty}
function chart(label, draw) {
  const picture = svg("svg", { class: "chart", role: "group", "aria-label": label });
  const tip = el("div", { class: "tip", hidden: true });
  const said = el("p", { class: "note", hidden: true });
  const frame = el("div", {}, picture, said);
  const figure = el("figure", {}, frame, tip);
  let grid = [];

  function hide() {
    tip.hidden = true;
  }

  function show(target, point) {
    tip.textContent = point.tip;
    tip.hidden = false;
    const [outer, spot] = [figure.getBoundingClientRect(), target.getBoundingClientRect()];
    const left = spot.left - outer.left + spot.width / 2 - tip.offsetWidth / 2;
    const above = spot.top - outer.top - tip.offsetHeight - 6;
    tip.style.left = `${Math.max(0, Math.min(left, outer.width - tip.offsetWidth))}px`;
    tip.style.top = `${above < 0 ? spot.bottom - outer.top + 6 : above}px`;
  }

  function move(event, row, column) {
    const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    if (event.key === "Escape") return hide();
    const step = steps[event.key];
    if (!step) return undefined;
    event.preventDefault();
    const next = Math.max(0, Math.min(row + step[0], grid.length - 1));
    const target = grid[next][Math.max(0, Math.min(column + step[1], grid[next].length - 1))];
    grid.flat().forEach((one) => one.setAttribute("tabindex", "-1"));
    target.setAttribute("tabindex", "0");
    return target.focus();
  }

  function render() {
    hide();
    const given = draw();
    const series = given.series.filter((one) => one.points.length);
    said.hidden = series.length > 0;
    picture.style.display = series.length ? "" : "none";
    said.textContent = given.empty;
    grid = [];
    if (series.length) picture.replaceChildren(...drawn(series, given));
  }

  function drawn(series, given) {
    const width = Math.max(frame.clientWidth, 280);
    const height = Math.round(Math.max(260, Math.min(380, width * 0.62)));
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const points = series.flatMap((one) => one.points);
    const x = scaleOf(given.x, numbers(points, ["x", "left", "right"]), SPACE.left + 10, width - SPACE.right - 10);
    const y = scaleOf(given.y, numbers(points, ["y", "low", "high"]), height - SPACE.bottom - 4, SPACE.top + 4);
    const own = series.map((one, k) => ({ ...x, place: (value) => x.place(value) + apart(one, k, series.length) }));
    return [...axes(x, y, given, width, height), ...series.map((one, k) => line(one, own[k], y)), ...series.map((one, k) => marks(one, k, own[k], y))];
  }

  function line(one, x, y) {
    const group = svg("g", { class: `c${one.place % 8}` });
    const path = one.points.map((point, k) => `${k ? "L" : "M"}${x.place(point.x).toFixed(1)},${y.place(point.y).toFixed(1)}`).join("");
    if (!one.loose) group.append(svg("path", { class: "line stroke", d: path }));
    for (const point of one.points) {
      if (point.low !== undefined) group.append(whisker(x.place(point.x), y.place(point.low), x.place(point.x), y.place(point.high)));
      if (point.left !== undefined) group.append(whisker(x.place(point.left), y.place(point.y), x.place(point.right), y.place(point.y)));
    }
    return group;
  }

  function marks(one, row, x, y) {
    grid.push([]);
    return svg("g", { class: `c${one.place % 8}` }, one.points.map((point, column) => {
      const spot = svg("g", { role: "img", "aria-label": point.tip.replaceAll("\n", ", "), tabindex: row || column ? "-1" : "0",
        transform: `translate(${x.place(point.x).toFixed(1)},${y.place(point.y).toFixed(1)})` },
        svg("circle", { class: "halo", r: 11 }), mark(one.place));
      spot.addEventListener("pointerenter", () => show(spot, point));
      spot.addEventListener("pointerleave", () => document.activeElement !== spot && hide());
      spot.addEventListener("click", () => show(spot, point));
      spot.addEventListener("focus", () => show(spot, point));
      spot.addEventListener("blur", hide);
      spot.addEventListener("keydown", (event) => move(event, row, column));
      grid[row].push(spot);
      return spot;
    }));
  }

  let last = 0;
  new ResizeObserver(() => {
    if (frame.clientWidth && frame.clientWidth !== last) {
      last = frame.clientWidth;
      render();
    }
  }).observe(frame);
  figure.render = render;
  return figure;
}

// Lines are drawn a few pixels apart, or intervals at one place would hide each other.
function apart(one, k, count) {
  return one.loose ? 0 : (k - (count - 1) / 2) * Math.min(4, 18 / count);
}

function whisker(x1, y1, x2, y2) {
  return svg("line", { class: "whisker stroke", x1, y1, x2, y2 });
}

function axes(x, y, given, width, height) {
  const parts = [];
  const [bottom, right] = [height - SPACE.bottom, width - SPACE.right];
  for (const [value, text] of y.ticks) {
    const at = y.place(value);
    if (at < SPACE.top - 1 || at > bottom + 1) continue;
    parts.push(svg("line", { class: "axis", x1: SPACE.left, x2: right, y1: at, y2: at }));
    parts.push(svg("text", { x: SPACE.left - 6, y: at + 4, "text-anchor": "end" }, text));
  }
  parts.push(svg("line", { class: "axis", x1: SPACE.left, x2: right, y1: bottom, y2: bottom }));
  let free = -Infinity;
  for (const [value, text] of x.ticks) {
    const at = x.place(value);
    const half = text.length * 3.6 + 4;
    if (at < SPACE.left - 1 || at > right + 1 || at - half < free) continue;
    free = at + half;
    parts.push(svg("line", { class: "axis", x1: at, x2: at, y1: bottom, y2: bottom + 5 }));
    parts.push(svg("text", { x: at, y: bottom + 18, "text-anchor": "middle" }, text));
  }
  parts.push(svg("text", { x: (SPACE.left + right) / 2, y: height - 8, "text-anchor": "middle" }, given.x.label));
  const middle = (SPACE.top + bottom) / 2;
  parts.push(svg("text", { x: 13, y: middle, "text-anchor": "middle", transform: `rotate(-90 13 ${middle})` }, given.y.label));
  return parts;
}
