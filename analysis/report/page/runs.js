// The table of runs: search, comparison with settings, sorting, groups; runs that are not ticked are not drawn.

let sorting = { column: "", down: false };

function runColumns() {
  const counts = new Map();
  for (const { run, severity } of data.findings) if (severity !== "note") counts.set(run, (counts.get(run) ?? 0) + 1);
  const settings = data.settings.different.map(([name]) => [name, (run) => settingsOf(run).find(([key]) => key === name)[1]]);
  return [
    ["run", ({ id }) => id],
    ["findings", ({ id }) => String(counts.get(id) ?? 0)],
    ...settings,
    ["status", ({ status }) => status],
    ["last step", ({ lastStep }) => String(lastStep ?? "–")],
    ["gaps", ({ gaps }) => (gaps.length ? JSON.stringify(gaps) : "none")],
  ];
}

function makeRuns(place) {
  const bar = add(place, "div", "", { class: "bar" });
  const search = add(bar, "input", "", { type: "search", placeholder: "search, norm=sn, lr>0.01", "aria-label": "search runs" });
  search.addEventListener("input", () => { state.runSearch = search.value; showRuns(); changed(); });
  const group = addSelect(bar, "group by", [], () => { state.group = group.value; showRuns(); changed(); });
  addButton(bar, "all", () => tickRuns(data.runs, true));
  addButton(bar, "none", () => tickRuns(data.runs, false));
  addButton(bar, "CSV", saveRuns, { title: "download the table of runs" });
  const count = add(place, "p", "", { class: "note", "aria-live": "polite" });
  const table = add(add(place, "div", "", { class: "scroll runs" }), "table");
  return { search, group, count, table };
}

function tickRuns(runs, on) {
  for (const { id } of runs) on ? state.hiddenRuns.delete(id) : state.hiddenRuns.add(id);
  showRuns();
  changed();
}

function sortedRuns(columns) {
  const runs = data.runs.filter((run) => runMatches(run, state.runSearch));
  const value = columns.find(([name]) => name === sorting.column)?.[1];
  if (!value) return runs;
  const order = (a, b) => {
    const [x, y] = [Number(value(a)), Number(value(b))];
    return Number.isNaN(x) || Number.isNaN(y) ? value(a).localeCompare(value(b), "en", { numeric: true }) : x - y;
  };
  return runs.sort((a, b) => (sorting.down ? order(b, a) : order(a, b)));
}

function showRuns() {
  const { search, group, count, table } = window.runTable;
  const columns = runColumns();
  if (search.value !== state.runSearch) search.value = state.runSearch;
  fillSelect(group, [["", "nothing"], ["status", "status"], ...data.settings.different.map(([name]) => [name, name])], state.group);
  table.replaceChildren();
  const head = add(add(table, "thead"), "tr");
  add(head, "th");
  for (const [name] of columns) {
    const mark = sorting.column === name ? (sorting.down ? " ↓" : " ↑") : "";
    addButton(add(head, "th"), name + mark, () => { sorting = { column: name, down: sorting.column === name && !sorting.down }; showRuns(); });
  }
  const runs = sortedRuns(columns);
  count.textContent = `${runs.filter(({ id }) => !state.hiddenRuns.has(id)).length} of ${plural(data.runs.length, "run")} shown`;
  if (!state.group) { showRows(add(table, "tbody"), runs, columns); return; }
  for (const value of groups()) {
    const members = runs.filter((run) => groupOf(run) === value);
    if (members.length) showGroup(add(table, "tbody"), value, members, columns);
  }
}

function showGroup(body, value, members, columns) {
  const line = add(body, "tr", "", { class: "group" });
  const box = add(add(line, "td"), "input", "", { type: "checkbox", "aria-label": `${state.group} ${value}` });
  box.checked = members.some(({ id }) => !state.hiddenRuns.has(id));
  box.addEventListener("change", () => tickRuns(members, box.checked));
  const cell = add(line, "td", "", { colspan: columns.length });
  add(cell, "i", "", { class: "swatch" }).style.background = lookOf(members[0]).color;
  cell.append(`${state.group}: ${value || "–"} (${plural(members.length, "run")})`);
  showRows(body, members, columns);
}

function showRows(body, runs, columns) {
  for (const run of runs) {
    const line = add(body, "tr", "", run.id === state.run && state.view === "layers" ? { class: "current" } : {});
    const box = add(add(line, "td"), "input", "", { type: "checkbox", "aria-label": run.id });
    box.checked = !state.hiddenRuns.has(run.id);
    box.addEventListener("change", () => tickRuns([run], box.checked));
    columns.forEach(([name, value], place) => {
      const cell = add(line, "td", place ? value(run) : "");
      if (name === "findings" && value(run) !== "0") cell.className = "grave";
      if (place) return;
      add(cell, "i", "", { class: "swatch" }).style.background = lookOf(run).color;
      addButton(cell, run.id, () => takeRun(run.id), { class: "link", title: "show the layers of this run" });
    });
  }
}

function takeRun(run) {
  Object.assign(state, { view: "layers", run });
  state.hiddenRuns.delete(run);
  syncControls();
  changed();
}

function saveRuns() {
  const columns = runColumns();
  saveCsv(`${data.store} runs`, columns.map(([name]) => name), sortedRuns(columns).map((run) => columns.map(([, value]) => value(run))));
}
