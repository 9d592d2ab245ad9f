// The message on top and the list of findings, each linked to the chart that shows it.

function told(severity) {
  return data.findings.filter((finding) => finding.severity === severity);
}

// Findings of one kind, read from one column in many runs, are one entry, the first of them in full.
function byKind(found) {
  const kinds = new Map();
  for (const finding of found) {
    const key = `${finding.severity} ${finding.kind} ${finding.column}`;
    kinds.set(key, [...(kinds.get(key) ?? []), finding]);
  }
  return [...kinds.values()];
}

function stepsOf({ from, to }) {
  return from === to ? `step ${from.toLocaleString("en")}` : `steps ${from.toLocaleString("en")} to ${to.toLocaleString("en")}`;
}

function whereOf({ layer, layers, affected }) {
  if (!layer) return "whole run";
  return layers > 1 ? `layer ${layer} and ${plural(layers - 1, "more", "more")}` : `layer ${layer}`;
}

// One sentence: how much is wrong, and where the gravest began.
function message() {
  const counts = [["grave", "grave finding"], ["warning", "warning"], ["note", "note"]].map(([severity, word]) => [told(severity).length, word]).filter(([count]) => count);
  if (!counts.length) return "Nothing found.";
  const worst = data.findings[0];
  if (worst.severity === "note") return `Nothing grave, and no warning; ${counts.map(([count, word]) => plural(count, word)).join(", ")}.`;
  const where = worst.layer ? `in layer ${worst.layer}` : "in the loss";
  const ofRun = data.runs.length > 1 ? ` of run ${worst.run}` : "";
  return `${counts.map(([count, word]) => plural(count, word)).join(", ")}. First to look at: ${worst.kind} ${where}${ofRun}, ${worst.from === worst.to ? "at" : "from"} step ${worst.from.toLocaleString("en")}.`;
}

function showFindings(place) {
  place.replaceChildren();
  const title = add(place, "div", "", { class: "title" });
  add(title, "h2", "What happened");
  if (data.findings.length) addButton(title, "CSV", saveFindings, { title: "download the findings" });
  add(place, "p", message(), { class: `message ${data.findings[0]?.severity ?? "none"}` });
  if (!data.findings.length) {
    add(place, "p", `None of these kinds: ${data.kinds.join(", ")}.`, { class: "note none" });
    return;
  }
  showList(place, data.findings.filter(({ severity }) => severity !== "note"));
  if (told("note").length) {
    const more = add(place, "details");
    add(more, "summary", plural(told("note").length, "note"));
    showList(more, told("note"));
  }
}

function showList(place, found) {
  const list = add(place, "ol");
  for (const [first, ...others] of byKind(found)) {
    const item = add(list, "li", "", { class: first.severity });
    showFinding(item, first);
    if (!others.length) continue;
    const more = add(item, "details");
    add(more, "summary", `${first.kind} in ${plural(new Set(others.map(({ run }) => run)).size, "more run")}`);
    const same = add(more, "ul");
    for (const finding of others) showFindingHead(add(same, "li"), finding);
  }
}

function showFindingHead(item, finding) {
  const head = add(item, "div", "", { class: "head" });
  add(head, "span", finding.severity, { class: "severity" });
  add(head, "b", finding.kind, { class: "kind" });
  add(head, "span", whereOf(finding), { class: "where", title: finding.affected.join("\n") });
  add(head, "span", stepsOf(finding), { class: "when" });
  if (data.runs.length > 1) add(head, "span", `run ${finding.run}`, { class: "of-run" });
  if (data.columns.some(({ name }) => name === finding.column)) addButton(head, "show", () => showInChart(finding), { "aria-label": `show ${finding.kind} of ${finding.run} in the chart` });
}

function showFinding(item, finding) {
  showFindingHead(item, finding);
  add(item, "p", finding.message, { class: "what", title: `column ${finding.column}` });
  add(item, "p", `Likely cause: ${finding.cause}. Try: ${finding.remedy}.`, { class: "why" });
}

// The chart of the column it was read from, with the run and the layers that have it.
function showInChart(finding) {
  const column = data.columns.find(({ name, table }) => name === finding.column && (table === "layers" || !finding.layer)) ?? data.columns.find(({ name }) => name === finding.column);
  takeFinding(finding);
  if (column.table === "layers" && window.heatMap) heatMap.select.value = column.key;
  ensureChart(column);
  changed();
  document.getElementById(`chart-${column.key}`).scrollIntoView({ block: "center" });
}

function takeFinding(finding) {
  Object.assign(state, { finding, run: finding.run, view: "layers", layer: finding.layer || state.layer });
  state.hiddenRuns.delete(finding.run);
  for (const name of finding.affected) state.hiddenLayers.delete(name);
  [state.runSearch, state.layerSearch] = ["", ""];
  syncControls();
}

function saveFindings() {
  const head = ["severity", "kind", "run", "layer", "layers", "from", "to", "message", "cause", "remedy", "column"];
  saveCsv(`${data.store} findings`, head, data.findings.map((finding) => head.map((name) => finding[name])));
}
