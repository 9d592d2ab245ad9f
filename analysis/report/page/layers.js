// The tree of layers, in forward order, with search; layers that are not ticked are not drawn.

function makeLayers(place) {
  const bar = add(place, "div", "", { class: "bar" });
  const search = add(bar, "input", "", { type: "search", placeholder: "search layers and types", "aria-label": "search layers" });
  search.addEventListener("input", () => { state.layerSearch = search.value; showLayers(); changed(); });
  addButton(bar, "all", () => tickLayers(allLayers(), true));
  addButton(bar, "none", () => tickLayers(allLayers(), false));
  const count = add(place, "p", "", { class: "note", "aria-live": "polite" });
  const scale = add(place, "p", "", { class: "note depth" });
  scale.append("input ", add(scale, "i"), " output");
  const tree = add(place, "div", "", { class: "tree" });
  return { search, count, scale, tree };
}

function tickLayers(names, on) {
  for (const name of names) on ? state.hiddenLayers.delete(name) : state.hiddenLayers.add(name);
  showLayers();
  changed();
}

const DEEPEST = 50; // most modules inside each other: the tree is drawn by recursion

function asTree(names) {
  const root = { children: new Map(), below: [] };
  for (const name of names) {
    let node = root;
    const parts = name.split(".");
    const words = parts.length > DEEPEST ? [name] : parts;
    words.forEach((word, place) => {
      if (!node.children.has(word)) node.children.set(word, { word, path: words.slice(0, place + 1).join("."), children: new Map(), below: [] });
      node = node.children.get(word);
      node.below.push(name);
    });
    node.layer = name;
  }
  return root;
}

function showLayers() {
  const { search, count, scale, tree } = window.layerTree;
  if (search.value !== state.layerSearch) search.value = state.layerSearch;
  const names = allLayers();
  const words = state.layerSearch.toLowerCase().split(/\s+/).filter(Boolean);
  const found = names.filter((name) => layerMatches(name, words));
  count.textContent = `${shownLayers(names).length} of ${plural(names.length, "layer")} shown`;
  scale.querySelector("i").style.background = `linear-gradient(90deg, ${[0, 0.25, 0.5, 0.75, 1].map(depthColor).join(",")})`;
  tree.replaceChildren();
  const inRun = layersOf(state.run);
  const affected = new Set(data.findings.filter(({ run, severity }) => run === state.run && severity !== "note").flatMap((finding) => finding.affected));
  const begun = firstFindings(state.run).filter(({ layer }) => layer);
  showNodes(tree, asTree(found), { inRun, affected, begun, level: 0, openLevels: found.length <= 60 || words.length > 0 ? Infinity : 1 });
}

function showNodes(place, node, about) {
  for (const child of node.children.values()) {
    if (!child.children.size) { showLeaf(place, child, about); continue; }
    // A chain of modules with one child each is one line.
    const [only] = child.children.values();
    const [shown, label] = !child.layer && child.children.size === 1 && only.children.size ? [only, `${child.word}.${only.word}`] : [child, child.word];
    const more = add(place, "details");
    more.open = about.level < about.openLevels || about.begun.some(({ layer }) => child.below.includes(layer));
    const head = add(more, "summary");
    tick(head, child.below, child.path);
    add(head, "span", `${label} (${child.below.length})`, { class: child.below.some((name) => about.affected.has(name)) ? "grave" : "" });
    if (child.layer) showLeaf(more, child, about);
    showNodes(more, shown, { ...about, level: about.level + 1 });
  }
}

function tick(place, names, label) {
  const box = add(place, "input", "", { type: "checkbox", "aria-label": label });
  const on = names.filter((name) => !state.hiddenLayers.has(name)).length;
  box.checked = on > 0;
  box.indeterminate = on > 0 && on < names.length;
  box.addEventListener("click", (event) => event.stopPropagation());
  box.addEventListener("change", () => tickLayers(names, box.checked));
}

// A layer where a finding begins has a button that leads to the finding's chart.
function showLeaf(place, { word, layer }, { inRun, affected, begun }) {
  const row = add(place, "div", "", { class: state.finding?.run === state.run && state.finding.layer === layer ? "leaf current" : "leaf" });
  tick(row, [layer], layer);
  const at = inRun.indexOf(layer);
  if (at >= 0) add(row, "i", "", { class: "swatch" }).style.background = depthColor(at / Math.max(inRun.length - 1, 1));
  addButton(row, word, () => takeLayer(layer), { class: affected.has(layer) ? "link grave" : "link", title: `show all runs at ${layer}` });
  add(row, "span", typeOf(layer, state.run), { class: "note" });
  for (const finding of begun.filter((one) => one.layer === layer)) {
    addButton(row, `${finding.kind}, step ${finding.from.toLocaleString("en")}`, () => showInChart(finding), { class: `badge ${finding.severity}`, title: `show ${finding.kind} of ${layer} in its chart` });
  }
}

function takeLayer(layer) {
  Object.assign(state, { view: data.runs.length > 1 ? "runs" : state.view, layer });
  state.hiddenLayers.delete(layer);
  for (const panel of panels) if (panel.layerSelect && layersWith(panel.table).includes(layer)) {
    panel.layerSelect.value = layer;
  }
  syncControls();
  changed();
}
