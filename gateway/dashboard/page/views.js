// The other pages: replicas on slices, requests and one of them, tenants, versions, capacity.
import {el, table, state, short, percent, seconds, bytes, clock, words} from "./dom.js";
import {get, getOrNull} from "./api.js";

const stack = (...children) => el("div", {class: "stack"}, children);
const card = (title, ...children) => el("section", {class: "card"}, el("h2", {}, title), children);
const sorted = (map) => [...map.entries()].sort(([a], [b]) => a.localeCompare(b));

// Draws again only where something has changed, so that the focus and what was opened stay.
function drawnPlace(fetchAll, draw) {
  const place = stack();
  let before = "";
  return {place, update: async () => {
    const facts = await fetchAll(), text = JSON.stringify(facts);
    if (text === before) return;
    before = text;
    const focused = [...place.querySelectorAll("a, button, [tabindex]")].indexOf(document.activeElement);
    place.replaceChildren(...draw(...facts).flat().filter(Boolean));
    if (focused >= 0) place.querySelectorAll("a, button, [tabindex]")[focused]?.focus({preventScroll: true});
  }};
}

// --- replicas on slices ---

function sliceCard(slice) {
  const used = slice.devices > 0 ? slice.devices_booked / slice.devices : 0;
  return el("li", {},
    el("strong", {}, slice.id), " ", state(slice.state),
    el("div", {class: "quiet"}, [slice.product || slice.kind, slice.zone, slice.price_hour ? short(slice.price_hour) + " /h" : null]
      .filter(Boolean).join(" · ")),
    el("div", {class: "meter", role: "meter", "aria-label": "Booked", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(100 * used)},
      (() => { const fill = el("i", {}); fill.style.width = 100 * Math.min(used, 1) + "%"; return fill; })()),
    el("div", {class: "quiet"}, `${short(slice.devices_free)} of ${short(slice.devices)} devices free, ${bytes(slice.memory_free_bytes)} free`),
    slice.reason ? el("div", {class: "quiet"}, slice.reason) : null,
    slice.replicas.map((replica) => el("div", {}, replica.model, " ", state(replica.phase))));
}

export const pool = () => drawnPlace(
  async () => {
    const [replicas, members, slices] = await Promise.all([get("replicas"), get("pool"), get("pool/slices?limit=1000")]);
    for (const one of replicas.replicas) one.seconds_in_state = Math.floor(one.seconds_in_state / 10) * 10;
    return [replicas.replicas, members.members, slices.slices.map(({seen_seconds, avoid_seconds, ...rest}) => rest), slices.next];
  },
  (replicas, members, slices, next) => {
    const places = new Map();
    for (const slice of slices) {
      const where = slice.member + (slice.region ? ", " + slice.region : "");
      places.set(where, [...(places.get(where) ?? []), slice]);
    }
    return [
      card("Replicas", table("Replicas of all models", [
        {title: "Replica", wrap: true, of: (one) => `${one.model}#${one.index}`},
        {title: "State", of: (one) => state(one.state)},
        {title: "For", number: true, of: (one) => seconds(one.seconds_in_state)},
        {title: "Requests", number: true, of: (one) => short(one.outstanding)},
        {title: "Breaker", of: (one) => state(one.stalled ? "stalled" : one.breaker)},
        {title: "Version", number: true, of: (one) => one.version},
        {title: "Restarts", number: true, of: (one) => one.restarts},
        {title: "Address", wrap: true, of: (one) => one.address},
        {title: "Last failure", wrap: true, of: (one) => one.last_failure ?? "–"}], replicas)),
      card("Members of the pool", table("Members of the pool", [
        {title: "Member", of: (one) => one.name},
        {title: "State", of: (one) => state(one.state)},
        {title: "Slices", number: true, of: (one) => Object.values(one.slices).reduce((sum, part) => sum + part.count, 0)},
        {title: "Devices", number: true, of: (one) => short(Object.values(one.slices).reduce((sum, part) => sum + part.devices, 0))},
        {title: "Booked", number: true, of: (one) => short(Object.values(one.slices).reduce((sum, part) => sum + part.devices_booked, 0))},
        {title: "Trouble", wrap: true, of: (one) => one.trouble || "–"}], members)),
      ...sorted(places).map(([where, list]) => card("Slices: " + where, el("ul", {class: "slices"}, list.map(sliceCard)))),
      next !== null ? el("p", {class: "quiet"}, `The first ${slices.length} slices are shown; /admin/pool/slices has all.`) : null,
    ];
  });

// --- requests ---

export const requests = () => drawnPlace(
  async () => [(await get("requests?limit=200")).requests],
  (rows) => [card("Requests, those under way first", table("Requests", [
    {title: "Began", cut: true, of: (row) => new Date(row.start_ms).toLocaleTimeString()},
    {title: "Request", cut: true, of: (row) => el("a", {href: "#/requests/" + encodeURIComponent(row.id), title: row.id}, row.id)},
    {title: "Phase", of: (row) => state(row.state === "live" ? row.phase : "ended")},
    {title: "Status", number: true, of: (row) => row.status ?? "–"},
    {title: "Took", number: true, of: (row) => seconds(row.seconds)},
    {title: "Model", wrap: true, of: (row) => row.model || "–"},
    {title: "Tenant", wrap: true, of: (row) => [row.organisation, row.team, row.key].filter(Boolean).join(" / ") || "–"},
    {title: "Prompt", number: true, of: (row) => short(row.prompt_tokens)},
    {title: "Answer", number: true, of: (row) => short(row.completion_tokens)},
    {title: "Route", of: (row) => row.route},
    {title: "Error", wrap: true, of: (row) => row.error ?? "–"}], rows))]);

const facts = (pairs) => el("dl", {class: "facts"}, pairs.filter(([, value]) => value !== null && value !== undefined && value !== "")
  .map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));

export function request(id) {
  return drawnPlace(
    async () => [await get("requests/" + encodeURIComponent(id))],
    (one) => {
      const whole = (one.phases ?? []).reduce((sum, phase) => sum + phase.ms, 0) || 1;
      return [
        el("p", {}, el("a", {href: "#/requests"}, "All requests")),
        card("Request " + one.id, facts([
          ["State", state(one.state === "live" ? one.phase : "ended")], ["Began", clock(one.start_ms / 1000)], ["Took", seconds(one.seconds)],
          ["Status", one.status], ["Error", one.error], ["Route", `${one.method ?? ""} ${one.route}`], ["Model", one.model], ["Asked for", one.asked_model],
          ["Tenant", [one.organisation, one.team, one.key].filter(Boolean).join(" / ")], ["Finish", one.finish],
          ["Prompt tokens", one.usage && `${one.usage.prompt_tokens}, of them cached ${one.usage.cached_tokens}`],
          ["Answer tokens", one.usage?.completion_tokens], ["Cost", one.cost === null ? null : short(one.cost)], ["Trace", one.trace_id]])),
        card("Phases", table("Where its time went", [
          {title: "Phase", of: (row) => words(row.name)}, {title: "Took", number: true, of: (row) => seconds(row.ms / 1000)},
          {title: "Share", number: true, of: (row) => percent(row.ms / whole)}], one.phases ?? [])),
        card("Attempts", table("What it was sent to", [
          {title: "Replica", wrap: true, of: (row) => row.replica}, {title: "Why", of: (row) => words(row.why)},
          {title: "Result", of: (row) => words(row.result)}, {title: "Status", number: true, of: (row) => row.status ?? "–"},
          {title: "Began", number: true, of: (row) => seconds(row.start_ms / 1000)},
          {title: "Ended", number: true, of: (row) => (row.end_ms ? seconds(row.end_ms / 1000) : "–")}], one.attempts ?? [])),
        one.decision ? card("Why this replica", el("p", {}, `Policy ${one.decision.policy}, candidates: ${one.decision.candidate_count}.`),
          table("Candidates", [
            {title: "Replica", of: (row) => row.replica}, {title: "Outcome", of: (row) => words(row.outcome)},
            {title: "First token by", number: true, of: (row) => seconds(row.score_ms / 1000)},
            {title: "Cached tokens", number: true, of: (row) => short(row.cached_tokens)},
            {title: "Waiting", number: true, of: (row) => short(row.waiting)},
            {title: "Running", number: true, of: (row) => short(row.running)}], one.decision.candidates)) : null,
        one.queue?.length ? card("In the waiting room", table("Its place over time", [
          {title: "At", number: true, of: (row) => seconds(row.at_ms / 1000)}, {title: "Before it", number: true, of: (row) => row.ahead},
          {title: "Expected", number: true, of: (row) => (row.eta_ms === null ? "–" : seconds(row.eta_ms / 1000))}], one.queue)) : null,
        el("details", {class: "card"}, el("summary", {}, "The whole record"), el("pre", {tabindex: "0"}, JSON.stringify(one, null, 2))),
      ];
    });
}

// --- tenants ---

const day = (ago) => new Date(Date.now() - ago * 86400e3).toISOString().slice(0, 10);
export const tenants = () => drawnPlace(
  async () => [await getOrNull(`usage?by=organisation,team&from=${day(30)}`)],
  (usage) => {
    if (!usage) return [card("Tenants", el("p", {}, "The gateway keeps no ledger. Set state.database or state.postgres, and records.ledger."))];
    const rows = usage.data;
    const busy = rows.reduce((sum, row) => sum + (row.busy_seconds ?? 0), 0), tokens = (row) => row.prompt_tokens - row.cached_tokens + row.completion_tokens;
    const all = rows.reduce((sum, row) => sum + tokens(row), 0);
    const largest = Math.max(...rows.map(tokens), 1);
    // Jain, Chiu and Hawe 1984: 1 where all have the same, 1/n where one has it all.
    const fair = all ? all ** 2 / (rows.length * rows.reduce((sum, row) => sum + tokens(row) ** 2, 0)) : NaN;
    return [
      card("Tenants, last 30 days",
        el("p", {}, `${rows.length} tenants, ${short(all)} computed tokens. Jain's index of fairness of their tokens: ${short(fair)} ` +
          `(1: all had the same; ${short(1 / Math.max(rows.length, 1))}: one had all).`),
        table("Usage by tenant", [
          {title: "Organisation", wrap: true, of: (row) => row.organisation || "none"}, {title: "Team", wrap: true, of: (row) => row.team || "–"},
          {title: "Requests", number: true, of: (row) => short(row.requests)}, {title: "Failed", number: true, of: (row) => short(row.failures)},
          {title: "Prompt", number: true, of: (row) => short(row.prompt_tokens)}, {title: "Cached", number: true, of: (row) => short(row.cached_tokens)},
          {title: "Answers", number: true, of: (row) => short(row.completion_tokens)},
          {title: "Share", of: (row) => { const bar = el("i", {}); bar.style.width = 100 * tokens(row) / largest + "%";
            return [percent(tokens(row) / all), el("div", {class: "meter", "aria-hidden": "true"}, bar)]; }},
          {title: "Replica time", number: true, of: (row) => (busy ? percent(row.busy_seconds / busy) : "–")},
          {title: "Cost", number: true, of: (row) => short(row.cost)}], [...rows].sort((a, b) => tokens(b) - tokens(a))))];
  });

// --- versions ---

export const versions = () => drawnPlace(
  async () => {
    const [rollouts, scaling] = await Promise.all([get("rollouts"), get("scaling")]);
    for (const one of rollouts.rollouts) one.seconds_in_phase = Math.floor(one.seconds_in_phase / 10) * 10;
    return [rollouts.rollouts, scaling.models.map(({model, desired, ready, starting, asleep}) => ({model, desired, ready, starting, asleep}))];
  },
  (rollouts, scaling) => [
    card("Versions", table("Models by version", [
      {title: "Model", wrap: true, of: (row) => row.model}, {title: "Phase", of: (row) => state(row.phase)},
      {title: "For", number: true, of: (row) => seconds(row.seconds_in_phase)}, {title: "Version", number: true, of: (row) => row.version},
      {title: "Share of the new one", number: true, of: (row) => (row.new_share === undefined ? "–" : percent(row.new_share))},
      {title: "Errors, old", of: (row) => rates(row.old)}, {title: "Errors, new", of: (row) => rates(row.new)},
      {title: "Message", wrap: true, of: (row) => row.message || "–"}, {title: "Last result", wrap: true, of: (row) => row.last_result ?? "–"}], rollouts)),
    card("Replicas wanted and there", table("Scaling", [
      {title: "Model", wrap: true, of: (row) => row.model}, {title: "Wanted", number: true, of: (row) => row.desired},
      {title: "Ready", number: true, of: (row) => row.ready}, {title: "Starting", number: true, of: (row) => row.starting},
      {title: "Asleep", number: true, of: (row) => row.asleep}], scaling))]);
const rates = (side) => (side && side.requests ? `${percent(side.failed / side.requests)} of ${short(side.requests)}` : "–");

// --- capacity ---

const beside = (predicted, measured, of) => `${of(predicted)} / ${of(measured)}`;
export const capacity = () => drawnPlace(
  async () => [await getOrNull("capacity")],
  (found) => {
    if (!found) return [card("Capacity", el("p", {}, "This gateway does not tell its capacity."))];
    return [
      card("Capacity: predicted / measured", table("At the load of the last minute", [
        {title: "Model", wrap: true, of: (row) => row.name}, {title: "Replicas", number: true, of: (row) => row.replicas_ready},
        {title: "KV tokens", number: true, of: (row) => short(row.kv_tokens)}, {title: "Sequences", number: true, of: (row) => short(row.sequences_max)},
        {title: "Load", of: (row) => (row.load ? `${short(row.load.requests_per_second)} /s of ${short(row.load.prompt_tokens)} + ${short(row.load.output_tokens)} tokens` : "no requests")},
        {title: "First token", of: (row) => beside(row.predicted?.ttft_seconds, row.measured?.ttft_seconds, seconds)},
        {title: "Between tokens", of: (row) => beside(row.predicted?.inter_token_seconds, row.measured?.inter_token_seconds, seconds)},
        {title: "Used", number: true, of: (row) => percent(row.predicted?.utilisation ?? NaN)},
        {title: "Most requests", number: true, of: (row) => (row.predicted ? short(row.predicted.requests_per_second_max) + " /s" : "–")}], found.models)),
      ...found.models.filter((row) => row.overcommitted?.length).map((row) => card("More was promised than there is: " + row.name,
        table("Limits beyond the capacity", [
          {title: "Of", of: (one) => one.scope}, {title: "Name", wrap: true, of: (one) => one.name}, {title: "Limit", of: (one) => words(one.limit)},
          {title: "Promised", number: true, of: (one) => short(one.asked)}, {title: "There is", number: true, of: (one) => short(one.capacity)}], row.overcommitted)))];
  });
