// Shows one verdict: the sentence, the table of scores, the words. All text goes in by textContent.

const $ = (id) => document.getElementById(id);
const rows = new Map(); // by category

export function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  return made;
}

// The categories that have a score in a result, with it: OpenAI's, then the others.
export function scoresOf(result) {
  const found = new Map();
  for (const [name, types] of Object.entries(result.category_applied_input_types))
    if (types.length) found.set(name, result.category_scores[name]);
  for (const [name, score] of Object.entries(result.safetyclf.scores ?? {})) found.set(name, score);
  return found;
}

export const digits = (number) => (number == null ? "never" : String(Number(number.toPrecision(4))));

// Makes the table for a policy: `thresholds` and `words` by category.
export function showPolicy(thresholds, words) {
  rows.clear();
  for (const [name, { review, block }] of Object.entries(thresholds)) {
    const said = words[name];
    const row = element("tr", undefined, { "data-category": name, "data-decision": "none" });
    const bar = element("td", undefined, { "aria-hidden": "true" });
    const track = element("div", undefined, { class: "track" });
    track.append(element("div", undefined, { class: "fill" }));
    for (const [action, from] of Object.entries({ review, block })) {
      if (from === null) continue;
      const tick = element("i", undefined, { class: `tick ${action}` });
      tick.style.left = `${100 * from}%`;
      track.append(tick);
    }
    bar.append(track);
    const details = element("details");
    details.append(
      element("summary", "Why?", { "aria-label": `Why these thresholds for ${said.title}?` }),
      element("p", `Review from ${digits(review)}: ${said.review}`),
      element("p", `Block from ${digits(block)}: ${said.block}`),
    );
    const why = element("td");
    why.append(details);
    const cells = { score: element("td", "–"), decision: element("td", "–"), severity: element("td", "–") };
    row.append(
      element("th", said.title, { scope: "row" }),
      cells.score, bar, cells.decision, cells.severity,
      element("td", digits(review)), element("td", digits(block)), why,
    );
    rows.set(name, { row, fill: track.firstChild, review, block, title: said.title, ...cells });
  }
  document.querySelector("#scores tbody").replaceChildren(...[...rows.values()].map((one) => one.row));
}

// `result` is the API's; null clears.
export function showResult(text, result, category) {
  const scores = result ? scoresOf(result) : new Map();
  const extras = result?.safetyclf ?? {};
  for (const [name, row] of rows) showScore(row, scores.get(name), name, extras);
  showSentence(extras);
  const asked = category || (extras.triggered ?? []).find((name) => extras.spans?.[name]);
  showWords(text, asked ? (extras.spans?.[asked] ?? []) : [], asked);
}

function showScore(row, score, name, extras) {
  const decision = score === undefined ? "none" : decisionOn(row, score, name, extras);
  row.row.dataset.decision = decision;
  row.score.textContent = score?.toFixed(4) ?? "–";
  row.score.dataset.value = score ?? "";
  row.decision.textContent = decision === "none" ? "–" : decision;
  row.severity.textContent = extras.severity?.[name] ?? "–";
  row.fill.style.width = `${100 * (score ?? 0)}%`;
}

// By the thresholds, which are float32 as the scores are, and by lists; an allow list overrules all of it.
// "none" where nothing can follow from the score.
function decisionOn({ review, block }, score, name, { action, matches = [] }) {
  const reached = (threshold) => threshold !== null && Math.fround(score) >= Math.fround(threshold);
  const found = matches.filter((match) => match.category === name).map((match) => match.action);
  if (review === null && block === null && !found.length) return "none";
  if (action === "allow") return "allow";
  if (reached(block) || found.includes("block")) return "block";
  return reached(review) || found.includes("review") ? "review" : "allow";
}

export function flaggedWords(extras) {
  return (extras.triggered ?? []).map((name) => {
    const severity = extras.severity?.[name];
    return severity ? `${rows.get(name)?.title ?? name} (${severity})` : (rows.get(name)?.title ?? name);
  });
}

function showSentence(extras) {
  const parts = ["No text yet."];
  if (extras.action) {
    parts[0] = `Action: ${extras.action}.`;
    const flagged = flaggedWords(extras);
    if (flagged.length) parts.push(`Flagged: ${flagged.join(", ")}.`);
    for (const match of extras.matches ?? []) parts.push(`The list ${match.list} has “${match.term}”.`);
    parts.push(`Policy: ${extras.policy}.`);
  }
  const verdict = $("verdict");
  verdict.dataset.action = extras.action ?? "none";
  const sentence = parts.join(" ");
  if (verdict.textContent !== sentence) verdict.textContent = sentence; // or it would be read out again
}

// Marks the words that raise the score, the stronger the more they do.
function showWords(text, spans, category) {
  const most = Math.max(...spans.map((span) => span.weight), 0);
  const raising = spans.filter((span) => span.weight > most / 10);
  const parts = [];
  let done = 0;
  for (const { start, end, weight } of raising) {
    const mark = element("mark", text.slice(start, end));
    mark.style.setProperty("--weight", weight / most);
    parts.push(text.slice(done, start), mark);
    done = end;
  }
  $("judged").replaceChildren(...parts, text.slice(done));
  const strongest = [...raising].sort((a, b) => b.weight - a.weight).slice(0, 5);
  const named = strongest.map(({ start, end, weight }) => `${text.slice(start, end)} (${weight.toFixed(2)})`);
  $("weights").textContent = category
    ? named.length
      ? `Most weight for ${rows.get(category)?.title ?? category}: ${named.join(", ")}.`
      : `No word speaks for ${rows.get(category)?.title ?? category}.`
    : "";
}
