// The page: a view for each hash, drawn again every few seconds while it is seen.
import {el} from "./dom.js";
import {Failure, forgetToken, hasToken} from "./api.js";
import {overview} from "./overview.js";
import {capacity, pool, requests, request, tenants, versions} from "./views.js";

const PAGES = [
  {hash: "#/", title: "Overview", view: overview},
  {hash: "#/replicas", title: "Replicas", view: pool},
  {hash: "#/requests", title: "Requests", view: requests},
  {hash: "#/tenants", title: "Tenants", view: tenants},
  {hash: "#/versions", title: "Versions", view: versions},
  {hash: "#/capacity", title: "Capacity", view: capacity},
];
const AGAIN_MS = 3000;

const main = document.getElementById("view");
const notice = document.getElementById("notice");
const age = document.getElementById("age");
let turn = 0; // of the view that is shown; an answer for another one is dropped

function find(hash) {
  const id = /^#\/requests\/(.+)$/.exec(hash);
  if (id) return {page: PAGES[2], view: request(decodeURIComponent(id[1])), title: "Request"};
  const page = PAGES.find((one) => one.hash === hash) ?? PAGES[0];
  return {page, view: page.view(), title: page.title};
}

// A view is {place, update}: what stands there, and what fetches and draws.
async function keep(view, own) {
  while (own === turn) {
    if (!document.hidden) {
      try {
        await view.update();
        if (own !== turn) return;
        if (notice.dataset.error) { notice.replaceChildren(); delete notice.dataset.error; }
        age.textContent = new Date().toLocaleTimeString();
      } catch (error) {
        if (own !== turn) return;
        const text = error instanceof Failure ? error.message : "The gateway does not answer.";
        if (notice.dataset.error !== text) notice.replaceChildren(el("p", {class: "note bad"}, text));
        notice.dataset.error = text;
      }
      document.getElementById("forget").hidden = !hasToken();
      main.removeAttribute("aria-busy");
    }
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

function show() {
  const {page, view, title} = find(location.hash || "#/");
  document.title = `${title} · Penstock`;
  document.getElementById("nav").replaceChildren(...PAGES.map((one) =>
    el("li", {}, el("a", {href: one.hash, "aria-current": one === page ? "page" : null}, one.title))));
  notice.replaceChildren();
  main.setAttribute("aria-busy", "true");
  main.replaceChildren(view.place);
  keep(view, ++turn);
}

// --- theme: the system's unless one was chosen ---

const chosen = document.getElementById("theme");
const dark = matchMedia("(prefers-color-scheme: dark)");
function paint() {
  document.documentElement.dataset.theme = chosen.value || (dark.matches ? "dark" : "light");
}
chosen.value = localStorage.getItem("penstock-theme") ?? "";
chosen.addEventListener("change", () => { localStorage.setItem("penstock-theme", chosen.value); paint(); });
dark.addEventListener("change", paint);
paint();

document.getElementById("forget").addEventListener("click", () => { forgetToken(); show(); });
addEventListener("hashchange", () => { show(); main.focus({preventScroll: true}); scrollTo(0, 0); });
show();
