// Elements are made and never parsed: names come from tenants, and text set as text cannot become markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const el = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
export const svg = (name, attributes = {}, ...children) => fill(document.createElementNS(SVG, name), attributes, children);

export function table(caption, columns, rows) {
  // columns: {title, number, wrap, cut, of: row => text or node}; cut: one line, whatever its length
  const kind = (column) => (column.number ? "number" : column.wrap ? "wrap" : column.cut ? "cut" : null);
  return el("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": caption},
    el("table", {},
      el("caption", {}, caption),
      el("thead", {}, el("tr", {}, columns.map((column) => el("th", {scope: "col", class: kind(column)}, column.title)))),
      el("tbody", {}, rows.length > 0
        ? rows.map((row) => el("tr", {}, columns.map((column) => el("td", {class: kind(column)}, column.of(row)))))
        : el("tr", {}, el("td", {colspan: columns.length}, "Nothing.")))));
}

const GOOD = ["ready", "synced", "ok", "closed", "steady", "committed", "ended"];
const BAD = ["failed", "backing_off", "bad", "lost", "open", "gone", "quarantined"];
export const state = (word) =>
  el("span", {class: "state " + (GOOD.includes(word) ? "good" : BAD.includes(word) ? "bad" : "plain")}, words(word));

export const words = (name) => String(name ?? "").replaceAll("_", " ");

// --- numbers for people ---

export function short(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  for (const [limit, unit] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e4, "k"]])
    if (Math.abs(value) >= limit) return (value / (unit === "k" ? 1e3 : limit)).toPrecision(digits) + " " + unit;
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(digits)));
}
export const percent = (value) => (Number.isFinite(value) ? (100 * value).toFixed(value > 0 && value < 0.1 ? 1 : 0) + " %" : "–");
export function seconds(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value < 1) return short(value * 1000) + " ms";
  if (value < 120) return short(value) + " s";
  if (value < 7200) return Math.round(value / 60) + " min";
  return short(value / 3600) + " h";
}
export const bytes = (value) => (value >= 2 ** 30 ? short(value / 2 ** 30) + " GiB" : short(value / 2 ** 20) + " MiB");
export const clock = (unix, step) => new Date(unix * 1000).toLocaleString([],
  step === "day" ? {weekday: "short", day: "numeric", month: "short"} :
  {weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit"});
