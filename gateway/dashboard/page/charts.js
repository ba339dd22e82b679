// Charts as SVG at the size of their place. Each has a summary for screen readers, and its caller puts a table beside it.
import {svg} from "./dom.js";

const LEFT = 46, RIGHT = 6, TOP = 8, BOTTOM = 22;

function ticks(max) {
  const step = 10 ** Math.floor(Math.log10(max / 4 || 1));
  const nice = [1, 2, 2.5, 5, 10].map((n) => n * step).find((n) => max / n <= 5);
  const out = [];
  for (let value = 0; value <= max * 1.0001; value += nice) out.push(value);
  return out;
}

// Whole hours or days, few enough for their labels.
function timeLabels(starts, step, width) {
  const label = (start) => new Date(start * 1000).toLocaleString([],
    step === "day" || starts.length > 72 && step === "hour" ? {day: "numeric", month: "short"} : {hour: "2-digit", minute: "2-digit"});
  const every = Math.max(1, Math.ceil(starts.length / Math.max(2, Math.floor(width / 84))));
  return starts.map((start, i) => (i % every === 0 && i + every * 0.6 < starts.length ? [i, label(start)] : null)).filter(Boolean);
}

function frame(place, height, summary) {
  const width = Math.max(260, place.clientWidth);
  const root = svg("svg", {class: "chart", role: "img", "aria-label": summary, viewBox: `0 0 ${width} ${height}`, height});
  return {root, width, innerWidth: width - LEFT - RIGHT, innerHeight: height - TOP - BOTTOM};
}

function axes(chart, starts, step, max, format) {
  for (const value of ticks(max)) {
    const y = TOP + chart.innerHeight * (1 - value / max);
    chart.root.append(svg("line", {class: "grid", x1: LEFT, x2: LEFT + chart.innerWidth, y1: y, y2: y}),
      svg("text", {x: LEFT - 6, y: y + 4, "text-anchor": "end"}, format(value)));
  }
  for (const [i, text] of timeLabels(starts, step, chart.innerWidth))
    chart.root.append(svg("text", {x: LEFT + chart.innerWidth * (i + 0.5) / starts.length, y: TOP + chart.innerHeight + 16,
      "text-anchor": "middle"}, text));
}

// rows: [{start, parts: {name: share}}]; shares are of `max`.
export function stackedBars(place, {rows, names, step, max, format, summary, selected, onSelect}) {
  const chart = frame(place, 240, summary);
  axes(chart, rows.map((row) => row.start), step, max, format);
  const slot = chart.innerWidth / rows.length, gap = slot > 5 ? 1 : 0;
  rows.forEach((row, i) => {
    let y = TOP + chart.innerHeight;
    for (const name of names) {
      const height = chart.innerHeight * Math.min(row.parts[name] / max, 1) || 0;
      if (height < 0.1) continue;
      y -= height;
      chart.root.append(svg("rect", {class: "fill-" + name, x: LEFT + slot * i, y, width: Math.max(slot - gap, 0.5), height}));
    }
  });
  if (selected !== null) {
    const x = LEFT + slot * (selected + 0.5);
    chart.root.append(svg("line", {class: "cursor", x1: x, x2: x, y1: TOP, y2: TOP + chart.innerHeight}));
  }
  chart.root.addEventListener("click", (event) => {
    const box = chart.root.getBoundingClientRect();
    const i = Math.floor((event.clientX - box.left - LEFT) / slot);
    if (i >= 0 && i < rows.length) onSelect(i);
  });
  place.replaceChildren(chart.root);
}

// series: [[value or null, ...], ...] beside `starts`.
export function lines(place, {starts, series, step, format, summary}) {
  const chart = frame(place, 150, summary);
  const max = Math.max(...series.flat().filter((value) => value !== null && Number.isFinite(value)), 0) * 1.08 || 1;
  axes(chart, starts, step, max, format);
  series.forEach((values, which) => {
    let path = "", isOn = false;
    values.forEach((value, i) => {
      if (value === null || !Number.isFinite(value)) { isOn = false; return; }
      const x = (LEFT + chart.innerWidth * (i + 0.5) / values.length).toFixed(1), y = (TOP + chart.innerHeight * (1 - value / max)).toFixed(1);
      path += `${isOn ? "L" : "M"}${x} ${y}`;
      if (!isOn && (values[i + 1] ?? null) === null) chart.root.append(svg("circle", {class: "line-" + which, cx: x, cy: y, r: 1.5})); // by itself
      isOn = true;
    });
    chart.root.append(svg("path", {class: "line-" + which, d: path}));
  });
  place.replaceChildren(chart.root);
}
