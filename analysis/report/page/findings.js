// The message on top and the list of findings, each linked to the chart that shows it.

function told(severity) {
  return data.findings.filter((finding) => finding.severity === severity);
}

// The findings that no other finding explains, each with the findings that follow from it.
function groupedFindings() {
  const found = [];
  for (const finding of data.findings) {
    const above = found[found.length - 1];
    if (above && finding.explainedBy === above.first.kind && finding.run === above.first.run) above.rest.push(finding);
    else found.push({ first: finding, rest: [] });
  }
  return found;
}

function isNote({ first, rest }) {
  return [first, ...rest].every(({ severity }) => severity === "note");
}

function gravest(group) {
  return ["grave", "warning", "note"].find((severity) => group && [group.first, ...group.rest].some((finding) => finding.severity === severity)) ?? "none";
}

// The findings of a run that no other finding explains, without notes.
function firstFindings(run) {
  return groupedFindings().filter((group) => group.first.run === run && !isNote(group)).map(({ first }) => first);
}

// Findings of one kind, read from one column in many runs, are one entry. Only the first of them is shown in full.
function byKind(found) {
  const kinds = new Map();
  for (const group of found) {
    const { severity, kind, column } = group.first;
    const key = `${severity} ${kind} ${column}`;
    kinds.set(key, [...(kinds.get(key) ?? []), group]);
  }
  return [...kinds.values()];
}

function stepsOf({ from, to }) {
  return from === to ? `step ${from.toLocaleString("en")}` : `steps ${from.toLocaleString("en")} to ${to.toLocaleString("en")}`;
}

// The number of findings, the first fault, and the number of findings that follow from it.
function message() {
  const counts = [["grave", "grave finding"], ["warning", "warning"], ["note", "note"]].map(([severity, word]) => [told(severity).length, word]).filter(([count]) => count);
  const unchecked = new Set(data.notices.flatMap(({ kinds }) => kinds)).size;
  const partly = unchecked ? ` ${unchecked} of ${data.kinds.length} kinds could not be checked${data.runs.length > 1 ? " in every run" : ""}.` : "";
  if (!counts.length) return `No fault of ${data.kinds.length} kinds was found.${partly}`;
  const [{ first: worst, rest }] = groupedFindings();
  if (isNote({ first: worst, rest })) return `No fault was found, only ${counts.map(([count, word]) => plural(count, word)).join(", ")}.${partly}`;
  const where = worst.layer ? ` in ${worst.where}` : "";
  const ofRun = data.runs.length > 1 ? ` of run ${worst.run}` : "";
  const grave = rest.filter(({ severity }) => severity === "grave").length;
  const parts = [[grave, "grave finding"], [rest.length - grave, grave ? "other" : "other finding"]].filter(([count]) => count);
  const explains = rest.length ? ` It explains ${parts.map(([count, word]) => plural(count, word)).join(" and ")}.` : "";
  const when = `${worst.from === worst.to ? "at" : "from"} step ${worst.from.toLocaleString("en")}`;
  const fault = `${worst.kind}${where}${ofRun}, ${when}.`;
  if (data.findings.length === 1) return `${fault[0].toUpperCase()}${fault.slice(1)}`;
  return `First: ${fault}${explains} In all: ${counts.map(([count, word]) => plural(count, word)).join(", ")}.`;
}

function showFindings(place) {
  place.replaceChildren();
  const title = add(place, "div", "", { class: "title" });
  add(title, "h2", "What happened");
  if (data.findings.length) addButton(title, "CSV", saveFindings, { title: "download the findings" });
  const severity = gravest(groupedFindings()[0]);
  const fine = severity === "none" || severity === "note";  // green means that everything was checked
  add(place, "p", message(), { class: `message ${fine && data.notices.length ? "partly" : severity}` });
  showNotices(place);
  if (!data.findings.length) {
    add(place, "p", `Looked for: ${data.kinds.join(", ")}.`, { class: "note none" });
    return;
  }
  const groups = groupedFindings();
  const notes = groups.filter(isNote);
  showList(place, groups.filter((group) => !isNote(group)));
  if (notes.length) {
    const more = add(place, "details");
    add(more, "summary", `${plural(notes.length, "note")}, possibly intended`);
    showList(more, notes);
  }
}

// Warnings of the probe, and kinds that could not be checked; runs that share a text share a line.
function showNotices(place) {
  const told = new Map();
  for (const { run, source, text, kinds } of data.notices) {
    const words = `${source === "probe" ? "Warning of the probe" : "Not checked"}: ${text}.`;
    told.set(words, { kinds, runs: [...(told.get(words)?.runs ?? []), run] });
  }
  for (const [words, { kinds, runs }] of told) {
    const where = data.runs.length > 1 ? ` (${runs.length > 3 ? plural(runs.length, "run") : `run ${runs.join(", ")}`})` : "";
    add(place, "p", `${words}${where}`, { class: "note notice", title: (kinds.length ? kinds : runs).join("\n") });
  }
}

function showList(place, found) {
  const list = add(place, "ol");
  for (const [first, ...others] of byKind(found)) {
    const item = add(list, "li", "", { class: first.first.severity });
    showFinding(item, first.first);
    if (first.rest.length) showHeads(item, `It explains ${kindsOf(first.rest)}`, first.rest);
    if (others.length) showHeads(item, `The same in ${plural(new Set(others.map((group) => group.first.run)).size, "other run")}`, others.flatMap((group) => [group.first, ...group.rest]));
  }
}

function kindsOf(found) {
  const kinds = [...new Set(found.map(({ kind }) => kind))];
  return `${plural(found.length, "other finding")}: ${kinds.join(", ")}`;
}

function showHeads(item, title, found) {
  const more = add(item, "details");
  add(more, "summary", title);
  const list = add(more, "ul");
  for (const finding of found) showFindingHead(add(list, "li"), finding);
}

function showFindingHead(item, finding) {
  const head = add(item, "div", "", { class: "head" });
  add(head, "span", finding.severity, { class: "severity" });
  add(head, "b", finding.kind, { class: "kind" });
  add(head, "span", finding.where, { class: "where", title: finding.affected.join("\n") });
  add(head, "span", stepsOf(finding), { class: "when" });
  if (data.runs.length > 1) add(head, "span", `run ${finding.run}`, { class: "of-run" });
  if (data.columns.some(({ name }) => name === finding.column)) addButton(head, "show", () => showInChart(finding), { "aria-label": `show ${finding.kind} of ${finding.run} in the chart` });
}

function showFinding(item, finding) {
  showFindingHead(item, finding);
  add(item, "p", finding.message, { class: "what", title: `column ${finding.column}` });
  add(item, "p", `Likely cause: ${finding.cause}. Try: ${finding.remedy}.`, { class: "why" });
}

// Shows the chart of the column that a finding was read from, with the run and the layers of the finding.
function showInChart(finding) {
  const column = data.columns.find(({ name, table }) => name === finding.column && (table === "layers" || !finding.layer)) ?? data.columns.find(({ name }) => name === finding.column);
  takeFinding(finding);
  if (column.table === "layers" && window.heatMap) heatMap.select.value = column.key;
  ensureChart(column);
  for (const panel of panels) if (panel.layerSelect && layersWith(panel.table).includes(finding.layer)) panel.layerSelect.value = finding.layer;
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
  const head = ["severity", "kind", "explainedBy", "run", "layer", "layers", "from", "to", "message", "cause", "remedy", "column"];
  saveCsv(`${data.store} findings`, head, data.findings.map((finding) => head.map((name) => finding[name])));
}
