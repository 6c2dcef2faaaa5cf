// Judges the rows of a CSV file, and shows, sorts and saves what came out.

import { moderate } from "./api.js";
import { parse, write } from "./csv.js";
import { digits, element, flaggedWords, scoresOf } from "./verdict.js";

const $ = (id) => document.getElementById(id);
const LARGEST_FILE = 50e6; // bytes
const TEXTS = 64; // in one request at most
const BYTES = 256 * 1024; // of one request, about
const PAGE = 50; // rows shown at once
const SHOWN = 200; // characters of a text in the table
const ACTIONS = ["not judged", "allow", "review", "block"];

let file = []; // rows of cells
let results = []; // {row, text, action, score, category, flagged, result} in the order shown
let sorted = { by: "row", down: false };
let first = 0; // result on this page
let running = null;

// `current` says which policy, thresholds and limits hold; `complain` shows an error.
export function offerBatch(current, complain) {
  $("file").addEventListener("change", async () => {
    running?.abort();
    file = [];
    results = [];
    const chosen = $("file").files[0];
    try {
      if (chosen) file = await read(chosen);
      say(chosen ? `${file.length} rows read.` : "");
    } catch (error) {
      say(error.message);
    }
    offerColumns();
    show();
  });
  $("named").addEventListener("change", offerColumns);
  $("start").addEventListener("click", () => judgeAll(current()).catch(complain));
  $("stop").addEventListener("click", () => running?.abort());
  $("download").addEventListener("click", save);
  $("previous").addEventListener("click", () => turn(-PAGE));
  $("next").addEventListener("click", () => turn(PAGE));
  for (const button of document.querySelectorAll("[data-sort]"))
    button.addEventListener("click", () => sortBy(button.dataset.sort));
}

async function read(chosen) {
  if (chosen.size > LARGEST_FILE) throw new Error(`The file is larger than ${LARGEST_FILE / 1e6} MB.`);
  const bytes = await chosen.arrayBuffer();
  try {
    return parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw error instanceof TypeError ? new Error("The file is not in UTF-8.") : error;
  }
}

const heads = () => ($("named").checked ? file.slice(0, 1) : []);
const bodies = () => ($("named").checked ? file.slice(1) : file);

function offerColumns() {
  $("batch-options").hidden = file.length === 0;
  const width = Math.max(0, ...file.slice(0, 1000).map((row) => row.length));
  const names = Array.from({ length: width }, (_, i) => heads()[0]?.[i] || `Column ${i + 1}`);
  $("column").replaceChildren(...names.map((name, i) => element("option", name, { value: i })));
  const likely = names.findIndex((name) => /^(text|comment|content|message|body)$/i.test(name));
  $("column").value = String(Math.max(likely, 0));
}

async function judgeAll({ policy, thresholds, limits }) {
  const column = Number($("column").value);
  results = bodies().map((cells, i) => ({ row: i + 1, text: cells[column] ?? "", action: ACTIONS[0], cells }));
  sorted = { by: "row", down: false };
  first = 0;
  running?.abort();
  const { signal } = (running = new AbortController());
  const all = results; // another file may come meanwhile
  $("results-caption").textContent = `Results by the policy ${policy}`;
  busy(true);
  let done = 0;
  try {
    for (const part of parts(all, limits)) {
      const answers = await moderate(part.map((one) => one.text), policy, { signal });
      part.forEach((one, i) => take(one, answers[i], thresholds));
      done += part.length;
      $("progress").value = done / all.length;
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    if (all === results) {
      busy(false);
      show();
      say(summary());
    }
  }
}

// The rows in requests that the server takes; what no request can hold stays unjudged.
function* parts(all, limits) {
  const encoder = new TextEncoder();
  let part = [];
  let size = 0;
  for (const one of all) {
    const bytes = encoder.encode(JSON.stringify(one.text)).length;
    if (bytes > limits.max_text_bytes || bytes + 200 > limits.max_body) continue;
    if (part.length && (part.length >= Math.min(TEXTS, limits.max_texts) || size + bytes > Math.min(BYTES, limits.max_body - 200))) {
      yield part;
      part = [];
      size = 0;
    }
    part.push(one);
    size += bytes + 1;
  }
  if (part.length) yield part;
}

// The highest score counts among categories that decide something, unless none does.
function take(one, result, thresholds) {
  const scores = [...scoresOf(result)];
  const deciding = scores.filter(([name]) => thresholds[name]?.review != null);
  const [category, score] = (deciding.length ? deciding : scores).reduce((a, b) => (b[1] > a[1] ? b : a));
  const extras = result.safetyclf;
  Object.assign(one, { action: extras.action, category, score, flagged: flaggedWords(extras).join("; "), result });
}

function busy(yes) {
  $("progress").hidden = $("stop").hidden = !yes;
  $("start").disabled = $("download").disabled = yes;
  if (yes) {
    $("progress").value = 0;
    say("Judging …");
  }
}

const say = (text) => ($("batch-status").textContent = text);

function summary() {
  const counts = ACTIONS.map((action) => [results.filter((one) => one.action === action).length, action]);
  const said = counts.filter(([count]) => count).map(([count, action]) => `${count} ${action}`);
  return `${results.length} rows: ${said.join(", ")}.`;
}

const collator = new Intl.Collator(undefined, { numeric: true });
const values = {
  row: (one) => one.row,
  text: (one) => one.text,
  action: (one) => ACTIONS.indexOf(one.action),
  score: (one) => one.score ?? -1,
  category: (one) => one.category ?? "",
};

function sortBy(by) {
  sorted = { by, down: sorted.by === by ? !sorted.down : by === "score" || by === "action" };
  const value = values[by];
  const order = (a, b) => (typeof a === "string" ? collator.compare(a, b) : a - b);
  results.sort((a, b) => (sorted.down ? -1 : 1) * order(value(a), value(b)) || a.row - b.row);
  first = 0;
  show();
}

function turn(by) {
  first += by;
  show();
}

function show() {
  $("batch-results").hidden = results.length === 0;
  for (const button of document.querySelectorAll("[data-sort]")) {
    const head = button.parentElement;
    if (button.dataset.sort !== sorted.by) head.removeAttribute("aria-sort");
    else head.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
  }
  const shown = results.slice(first, first + PAGE);
  document.querySelector("#results tbody").replaceChildren(...shown.map(rowOf));
  $("pages").hidden = results.length <= PAGE;
  $("page").textContent = `Rows ${first + 1} to ${first + shown.length} of ${results.length}`;
  $("previous").disabled = first === 0;
  $("next").disabled = first + PAGE >= results.length;
}

function rowOf(one) {
  const row = element("tr", undefined, { "data-decision": one.action });
  const text = one.text.length > SHOWN ? `${one.text.slice(0, SHOWN)} …` : one.text;
  const score = one.score === undefined ? "–" : digits(one.score);
  row.append(element("th", one.row, { scope: "row" }));
  for (const cell of [text, one.action, score, one.category ?? "–", one.flagged || "–"]) row.append(element("td", cell));
  return row;
}

// The file as it was, with our columns behind its own, in the order shown.
function save() {
  const judged = results.find((one) => one.result);
  const categories = judged ? [...scoresOf(judged.result).keys()] : [];
  const width = Math.max(...results.map((one) => one.cells.length));
  const padded = (cells) => Array.from({ length: width }, (_, i) => cells[i] ?? "");
  const names = heads()[0] ?? Array.from({ length: width }, (_, i) => `Column ${i + 1}`);
  const rows = results.map((one) => {
    const scores = one.result ? scoresOf(one.result) : new Map();
    const policy = one.result?.safetyclf.policy ?? "";
    return [...padded(one.cells), one.action, one.flagged ?? "", policy, ...categories.map((name) => scores.get(name) ?? "")];
  });
  const ours = ["action", "flagged", "policy", ...categories.map((name) => `score ${name}`)];
  const link = element("a", "", { download: "judged.csv" });
  link.href = URL.createObjectURL(new Blob([write([[...padded(names), ...ours], ...rows])], { type: "text/csv" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
