// What runs now, and the last 30 days: where the replicas' time went, and why.
import {el, table, short, percent, seconds, clock} from "./dom.js";
import {get} from "./api.js";
import {lines, stackedBars} from "./charts.js";

const STATES = ["busy_prefill", "busy_decode", "waiting_kv", "cold_start", "held_by_limits", "fragmentation", "broken",
  "idle_no_traffic"]; // from below
const LABELS = {busy_prefill: "busy: prompts", busy_decode: "busy: answers", waiting_kv: "waiting for KV cache", cold_start: "cold start",
  held_by_limits: "held by limits", fragmentation: "fragmentation", broken: "broken", idle_no_traffic: "idle: no traffic"};
const SPANS = [
  {name: "last 2 hours", step: "minute", span: 7200}, {name: "last 24 hours", step: "hour", span: 86400},
  {name: "last 7 days", step: "hour", span: 7 * 86400}, {name: "last 30 days", step: "hour", span: 30 * 86400},
  {name: "last 30 days, by day", step: "day", span: 30 * 86400}];
const STEP_S = {minute: 60, hour: 3600, day: 86400};
const SIGNALS = {ttft: "time to the first token", inter_token: "time between tokens", error_rate: "errors", acceptance_rate: "accepted drafts"};
const measure = (signal, value) => (signal === "ttft" || signal === "inter_token" ? seconds(value) : percent(value));
const legend = (names, of) => el("ul", {class: "legend"}, names.map((name, i) =>
  el("li", {}, el("span", {class: "swatch " + of(name, i), "aria-hidden": "true"}), LABELS[name] ?? name)));

// The hours between two rows in which nothing was written are there, too.
function complete(rows, from, to, step) {
  const width = STEP_S[step], found = new Map(rows.map((row) => [row.start, row]));
  const first = rows.length ? Math.max(from, Math.min(...found.keys())) : to;
  const out = [];
  for (let start = first - first % width; start < to; start += width)
    if (found.has(start) || start + width <= to) out.push(found.get(start) ?? {start, missing: true}); // the newest comes a moment later
  return out;
}

export function overview() {
  let span = SPANS[1], isSpanChosen = false, model = "", selected = null, models = [], drawn = null, lastHistory = 0, history = null;

  const tiles = el("dl", {class: "tiles", "aria-label": "Now"});
  const anomalies = el("div", {});
  const chart = el("div", {}), hours = el("input", {type: "range", min: 0, max: 0, value: 0, id: "hour"});
  const said = el("div", {class: "words", "aria-live": "polite"}), tablePlace = el("details", {}, el("summary", {}, "As a table"));
  const charts = {ttft: el("div", {}), tokens: el("div", {}), requests: el("div", {}), cost: el("div", {})};
  const modelSelect = el("select", {onchange: () => { model = modelSelect.value; lastHistory = 0; selected = null; update(); }});
  const spanSelect = el("select", {onchange: () => { span = SPANS[spanSelect.value]; isSpanChosen = true; lastHistory = 0; selected = null; update(); }},
    SPANS.map((one, i) => el("option", {value: i, selected: one === span}, one.name)));
  hours.addEventListener("input", () => { selected = Number(hours.value); draw(); });

  const small = (title, place, names) => el("section", {class: "card"}, el("h3", {}, title),
    legend(names, (_, i) => "line-" + i), place);
  const place = el("div", {class: "stack"},
    tiles, anomalies,
    el("section", {class: "card", "aria-labelledby": "use"},
      el("h2", {id: "use"}, "Where the replicas' time went"),
      el("div", {class: "controls"}, el("label", {class: "inline"}, "Model", modelSelect), el("label", {class: "inline"}, "Time", spanSelect)),
      legend(STATES, (name) => "fill-" + name), chart,
      el("label", {for: "hour", class: "quiet"}, "Choose a time to read what happened then"), hours, said, tablePlace),
    el("div", {class: "pair"},
      small("Time to the first token", charts.ttft, ["half are faster", "99 of 100 are faster"]),
      small("Tokens a second", charts.tokens, ["answers", "prompts", "of them cached"]),
      small("Requests a second", charts.requests, ["ended", "failed", "refused by limits"]),
      small("Cost an hour", charts.cost, ["cost"])));

  function explain(row) {
    if (!row) return [];
    const title = el("strong", {}, clock(row.start, span.step));
    if (row.missing) return [title, el("p", {}, "Nothing was written: the gateway did not run.")];
    const parts = STATES.filter((name) => row.states[name] / row.replica_seconds >= 0.005)
      .map((name) => `${LABELS[name]} ${percent(row.states[name] / row.replica_seconds)}`);
    return [title, el("p", {}, row.words), parts.length ? el("p", {class: "quiet"}, parts.join(" · ")) : null].filter(Boolean);
  }

  function draw() {
    if (!history) return;
    const rows = complete(model ? history.rows : history.total, history.from, history.to, span.step);
    drawn = rows;
    const last = rows.length - 1, at = selected ?? last;
    const share = (row, name) => (row.missing || !row.replica_seconds ? 0 : row.states[name] / row.replica_seconds);
    hours.max = Math.max(last, 0);
    hours.value = Math.max(at, 0);
    hours.disabled = last < 0;
    if (rows[at]) hours.setAttribute("aria-valuetext", clock(rows[at].start, span.step) +
      (rows[at].missing ? ": no data" : ": busy " + percent(share(rows[at], "busy_prefill") + share(rows[at], "busy_decode"))));
    if (last < 0) { chart.replaceChildren(el("p", {class: "quiet"}, "Nothing has been written yet.")); return; }
    const sum = (name) => rows.reduce((total, row) => total + (row.missing ? 0 : row.states[name]), 0);
    const whole = STATES.reduce((total, name) => total + sum(name), 0) || 1;
    stackedBars(chart, {rows: rows.map((row) => ({start: row.start, parts: Object.fromEntries(STATES.map((name) => [name, share(row, name)]))})),
      names: STATES, step: span.step, max: 1, format: (value) => Math.round(100 * value) + " %", selected: rows[at] ? at : null,
      summary: "Share of the replicas' time by what it went to, " + span.name + ". In all: " +
        STATES.map((name) => `${LABELS[name]} ${percent(sum(name) / whole)}`).join(", ") + ".",
      onSelect: (i) => { selected = i; draw(); }});
    const text = explain(rows[at]);
    if (said.textContent !== text.map((node) => node.textContent).join("")) said.replaceChildren(...text);
    const starts = rows.map((row) => row.start);
    const pick = (of) => rows.map((row) => (row.missing ? null : of(row)));
    const line = (name, series, format, summary) => lines(charts[name], {starts, series, step: span.step, format, summary: summary + ", " + span.name});
    line("ttft", [pick((row) => row.ttft?.p50 ?? null), pick((row) => row.ttft?.p99 ?? null)], seconds, "Time to the first token");
    line("tokens", [pick((row) => row.output_tokens / row.seconds), pick((row) => row.prompt_tokens / row.seconds),
      pick((row) => row.cached_tokens / row.seconds)], (value) => short(value), "Tokens a second");
    line("requests", [pick((row) => row.requests / row.seconds), pick((row) => row.errors / row.seconds),
      pick((row) => row.refused / row.seconds)], (value) => short(value), "Requests a second");
    line("cost", [pick((row) => row.cost / row.seconds * 3600)], (value) => short(value), "Cost an hour");
    if (tablePlace.open) drawTable();
  }

  function drawTable() {
    const rows = [...(drawn ?? [])].filter((row) => !row.missing).reverse().slice(0, 200);
    const body = table("Time of replicas, the newest first", [
      {title: "Time", of: (row) => clock(row.start, span.step)},
      {title: "Busy", number: true, of: (row) => percent((row.states.busy_prefill + row.states.busy_decode) / row.replica_seconds)},
      {title: "Requests", number: true, of: (row) => short(row.requests)},
      {title: "Errors", number: true, of: (row) => short(row.errors)},
      {title: "Answer tokens", number: true, of: (row) => short(row.output_tokens)},
      {title: "First token, p50", number: true, of: (row) => seconds(row.ttft?.p50)},
      {title: "p99", number: true, of: (row) => seconds(row.ttft?.p99)},
      {title: "Between tokens", number: true, of: (row) => seconds(row.inter_token?.p50)},
      {title: "Cost", number: true, of: (row) => short(row.cost)},
      {title: "What happened", wrap: true, of: (row) => row.words}], rows);
    tablePlace.replaceChildren(tablePlace.firstChild, body);
  }
  tablePlace.addEventListener("toggle", () => tablePlace.open && drawTable());

  function drawTiles(now, replicas) {
    const total = {requests: 0, output: 0, prompt: 0, cost: 0, errors: 0, seconds: 0, replicaSeconds: 0, busy: 0};
    for (const row of now.total.slice(-2)) {
      total.requests += row.requests; total.output += row.output_tokens; total.prompt += row.prompt_tokens; total.cost += row.cost;
      total.errors += row.errors; total.seconds += row.seconds; total.replicaSeconds += row.replica_seconds;
      total.busy += row.states.busy_prefill + row.states.busy_decode;
    }
    const last = now.total.at(-1), rate = (value) => (total.seconds ? value / total.seconds : NaN);
    const ready = replicas.filter((one) => one.state === "ready").length;
    const tile = (title, value, note) => el("div", {}, el("dt", {}, title), el("dd", {}, value, note ? el("small", {}, note) : null));
    tiles.replaceChildren(
      tile("Replicas ready", `${ready} of ${replicas.length}`, ready < replicas.length ? "see Replicas" : "all are well"),
      tile("Busy", percent(total.busy / total.replicaSeconds), "of their time"),
      tile("Requests", short(rate(total.requests)) + " /s", percent(total.requests ? total.errors / total.requests : 0) + " failed"),
      tile("Tokens", short(rate(total.output)) + " /s", short(rate(total.prompt)) + " /s of prompts"),
      tile("First token", seconds(last?.ttft?.p50), "p99 " + seconds(last?.ttft?.p99)),
      tile("Between tokens", seconds(last?.inter_token?.p50), "p99 " + seconds(last?.inter_token?.p99)),
      tile("Waiting", short(last?.waiting ?? 0, 2), short(last?.running ?? 0, 2) + " in batches"),
      tile("KV cache", percent(last?.kv_usage ?? NaN), "in use"),
      tile("Cost", short(rate(total.cost) * 3600) + " /h", "as prices say"));
  }

  function drawAnomalies(found) {
    const now = found.anomalies.filter((one) => one.anomalous);
    anomalies.replaceChildren(...now.map((one) => el("p", {class: "note bad", role: "alert"},
      el("strong", {}, one.model), `: ${SIGNALS[one.signal]} is ${measure(one.signal, one.value)}, usual at this hour is `,
      `${measure(one.signal, one.expected)} (since ${clock(one.since)}, score ${short(one.score)}).`)));
  }

  async function readHistory(to) {
    history = await get(`history?step=${span.step}&from=${to - span.span}&to=${to}` + (model ? `&model=${encodeURIComponent(model)}` : ""));
    if (isSpanChosen || history.total.length > 2) return;
    isSpanChosen = true; // a gateway that has just begun has minutes to show, not hours
    span = SPANS[0];
    spanSelect.value = 0;
    await readHistory(to);
  }

  async function update() {
    const to = Math.floor(Date.now() / 1000);
    const [now, replicas, unusual] = await Promise.all([
      get(`history?step=minute&from=${to - 240}`), get("replicas"), get("anomalies")]);
    drawTiles(now, replicas.replicas);
    drawAnomalies(unusual);
    if (to - lastHistory >= (span.step === "minute" ? 5 : 30)) {
      lastHistory = to;
      await readHistory(to);
    }
    const names = [...new Set(replicas.replicas.map((one) => one.model))].sort();
    if (names.join() !== models.join() || modelSelect.options.length === 0) {
      models = names;
      modelSelect.replaceChildren(el("option", {value: ""}, "all models"), ...names.map((name) => el("option", {value: name, selected: name === model}, name)));
    }
    draw();
  }

  new ResizeObserver(() => draw()).observe(chart);
  return {place, update};
}
