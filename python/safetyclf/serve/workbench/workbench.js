// The page: what the reader sets, and when to ask the server again.

import { ApiError, disguised, info, moderate, useKey, words } from "./api.js";
import { offerBatch } from "./batch.js";
import { element, showPolicy, showResult } from "./verdict.js";

const $ = (id) => document.getElementById(id);
const DEBOUNCE = 250; // milliseconds without a key stroke
let about = null; // GET /info
let said = null; // GET /workbench/words
let running = new AbortController();
let timer = 0;

function fill(select, entries, keep) {
  const before = select.value;
  select.replaceChildren(...keep, ...entries.map(([value, text]) => element("option", text, { value })));
  if (entries.some(([value]) => value === before)) select.value = before;
}

// Reads what there is to choose from; the choices made stay, where they still exist.
async function load() {
  try {
    [about, said] = await Promise.all([info(), words()]);
  } catch (error) {
    complain(error);
    return;
  }
  $("access").hidden = true;
  fill($("policy"), Object.keys(about.policies).map((name) => [name, name]), []);
  fill($("kind"), said.disguises.map((kind) => [kind, kind]), [$("kind").options[0]]);
  $("about").textContent = `Model ${about.model}, ${about.isa}.`;
  changePolicy();
}

function changePolicy() {
  const name = $("policy").value;
  const { thresholds } = about.policies[name];
  showPolicy(thresholds, said.policies[name]);
  const titles = Object.keys(thresholds).map((category) => [category, said.policies[name][category].title]);
  fill($("category"), titles, [$("category").options[0]]);
  judge();
}

async function judge() {
  clearTimeout(timer);
  running.abort();
  const { signal } = (running = new AbortController());
  const category = $("category").value;
  let text = $("text").value;
  try {
    if (about === null || text === "") {
      showResult("", null, "");
      return;
    }
    if ($("kind").value) text = await disguised(text, $("kind").value, $("strength").value / 100, signal);
    const [result] = await moderate([text], $("policy").value, { spans: category ? [category] : true, signal });
    if (signal.aborted) return;
    showResult(text, result, category);
    $("problem").textContent = "";
  } catch (error) {
    if (!signal.aborted) complain(error);
  }
}

function judgeSoon() {
  clearTimeout(timer);
  timer = setTimeout(judge, DEBOUNCE);
}

function complain(error) {
  if (!(error instanceof ApiError)) throw error;
  if (error.status === 401) $("access").hidden = false;
  $("problem").textContent = error.message;
}

function showTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  $("theme").setAttribute("aria-pressed", String(dark));
}

$("text").addEventListener("input", judgeSoon);
$("category").addEventListener("change", judge);
$("policy").addEventListener("change", changePolicy);
$("kind").addEventListener("change", () => {
  $("strength").disabled = $("kind").value === "";
  judge();
});
$("strength").addEventListener("input", () => {
  $("strength-value").textContent = `${$("strength").value} %`;
  judgeSoon();
});
$("access").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey($("key").value.trim());
  $("problem").textContent = "";
  load();
});
$("theme").addEventListener("click", () => showTheme($("theme").getAttribute("aria-pressed") !== "true"));

const system = matchMedia("(prefers-color-scheme: dark)");
system.addEventListener("change", () => showTheme(system.matches));
showTheme(system.matches);
// A reload of the server may have changed policies and model meanwhile.
document.addEventListener("visibilitychange", () => document.hidden || load());
offerBatch(() => ({ policy: $("policy").value, thresholds: about?.policies[$("policy").value].thresholds, limits: about?.limits }), complain);
load();
