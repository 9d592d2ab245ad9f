// The data: inside the page, or requested from the server of the page (`data.live`).

let data = JSON.parse(document.getElementById("data").textContent);
let loaded = new Map(); // column -> promise of its lines
let decoded = new Map(); // column -> its lines, once they are loaded
let distributed = new Map(); // table and layer -> promise of its distributions

// The lines of a column: a map of runs to maps of layers (or splits) to {x, y}.
function load(column) {
  if (!loaded.has(column.key)) {
    const cache = decoded; // a refresh replaces the cache
    const lines = fetched(column).then((found) => {
      cache.set(column.key, found);
      return found;
    });
    loaded.set(column.key, lines);
    lines.catch(() => loaded.delete(column.key)); // requested again at the next drawing
  }
  return loaded.get(column.key);
}

async function fetched(column) {
  const page = data.live ? await asked(`column?key=${encodeURIComponent(column.key)}`) : data;
  if (data.live && (!data.names || column.table === "layers")) {
    data.names = page.names;
    data.thinning = page.thinning;
  }
  return asLines(page, column, await inflated(page.blocks[column.key]));
}

async function asked(path) {
  const answer = await fetch(path);
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error);
  return content;
}

function asLines({ names: { lists, of } }, { table }, bytes) {
  const owned = of[table].map((place) => lists[place]);
  const lines = owned.reduce((sum, names) => sum + names.length, 0);
  const counts = fromPlanes(bytes, 0, lines, Uint32Array);
  const points = counts.reduce((sum, count) => sum + count, 0);
  const x = fromPlanes(bytes, 4 * lines, points, Float64Array);
  const y = fromPlanes(bytes, 4 * lines + 8 * points, points, Float32Array);
  const found = new Map();
  let line = 0, from = 0;
  owned.forEach((names, place) => {
    const ofRun = new Map();
    for (const name of names) {
      const to = from + counts[line++];
      for (let i = from + 1; i < to; i++) x[i] += x[i - 1];
      if (to > from) ofRun.set(name, { x: x.subarray(from, to), y: y.subarray(from, to) });
      from = to;
    }
    if (data.runs[place]) found.set(data.runs[place].id, ofRun);
  });
  return found;
}

// Layers of a run in forward order.
function layersOf(run) {
  const place = data.runs.findIndex(({ id }) => id === run);
  return data.names?.lists[data.names.of.layers[place]] ?? [];
}

// The type of a layer's module in a run; if the run lacks the layer, in the first run that has it.
function typeOf(layer, run) {
  const { lists, types, of } = data.names;
  const own = of.layers[data.runs.findIndex(({ id }) => id === run)];
  const place = lists[own]?.includes(layer) ? own : of.layers.find((list) => lists[list].includes(layer));
  return place === undefined ? "" : types[place][lists[place].indexOf(layer)];
}

// All layers, by their mean relative depth in the runs that have them.
function allLayers() {
  const depths = new Map();
  const counted = new Map();
  for (const place of data.names?.of.layers ?? []) counted.set(place, (counted.get(place) ?? 0) + 1);
  for (const [place, runs] of counted) {
    const names = data.names.lists[place];
    names.forEach((name, i) => {
      const [sum, count] = depths.get(name) ?? [0, 0];
      depths.set(name, [sum + (runs * i) / Math.max(names.length - 1, 1), count + runs]);
    });
  }
  const depth = ([, [sum, count]]) => sum / count;
  return [...depths].sort((a, b) => depth(a) - depth(b)).map(([name]) => name);
}

function distribution(table, layer) {
  const key = `${table} ${layer}`;
  if (!distributed.has(key)) {
    distributed.set(key, unpackedItems(table, layer));
    distributed.get(key).catch(() => distributed.delete(key));
  }
  return distributed.get(key);
}

async function unpackedItems(table, layer) {
  const items = data.live ? (await asked(`distribution?table=${table}&layer=${encodeURIComponent(layer)}`)).items : data[table];
  return Promise.all(items.filter((item) => item.layer === layer).map(async (item) => {
    const bytes = await inflated(item.y);
    const all = fromPlanes(bytes, 0, bytes.length / 4, Float32Array);
    const each = item.x.length;
    item.numbers = item.runs.map((_, i) => all.subarray(i * each, (i + 1) * each));
    return item;
  }));
}

function layersWith(table) {
  return data.live ? data.distributed[table] : [...new Set(data[table].map(({ layer }) => layer))];
}

// Asks whether the store has changed, and calls `refreshed` when there are new data. A slow store is asked less often.
async function follow(refreshed) {
  let wait = 2000;
  try {
    const { version } = await asked("version");
    if (version !== data.version) {
      const began = performance.now();
      const { names, thinning } = data;
      data = { names, thinning, ...(await asked("summary")) };
      [loaded, decoded, distributed] = [new Map(), new Map(), new Map()];
      await refreshed("");
      wait = Math.max(wait, 3 * (performance.now() - began));
    }
  } catch (error) {
    await refreshed(`not refreshed: ${error.message}`);
    wait = 5000;
  }
  setTimeout(() => follow(refreshed), wait);
}
