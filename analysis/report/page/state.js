// The choices of the reader, and the parts of the page that are drawn again when a choice changes.

const state = {
  view: "layers", // one line per layer of one run, or "runs": one line per run at one layer
  run: "",
  layer: "",
  hiddenRuns: new Set(),
  hiddenLayers: new Set(),
  runSearch: "",
  layerSearch: "",
  group: "",
  smoothing: 0,
  finding: null,
};

const parts = [];
let working = false;

const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) for (const part of parts) if (part.element === target) part.visible = isIntersecting;
}, { rootMargin: "300px" });

// prepare: waits for the data. draw: draws at once from the loaded data.
function addPart(element, { prepare = async () => {}, draw }) {
  const part = { element, prepare, draw, dirty: true, visible: false };
  parts.push(part);
  seen.observe(element);
  work();
  return part;
}

function removePart(part) {
  parts.splice(parts.indexOf(part), 1);
  seen.unobserve(part.element);
}

function changed(only = parts) {
  for (const part of only) part.dirty = true;
  work();
}

// Draws one part after the other, visible parts first, so that the page answers in between.
async function work() {
  if (working) return;
  working = true;
  document.documentElement.dataset.drawn = "no";
  await new Promise((resolve) => setTimeout(resolve));
  for (let part = nextPart(); part; part = nextPart()) {
    part.dirty = false;
    try {
      await part.prepare();
      part.draw();
    } catch (error) {
      document.body.dataset.error = error.message;
      console.error(error);
    }
    await new Promise((resolve) => setTimeout(resolve));
  }
  working = false;
  document.documentElement.dataset.drawn = "yes";
  performance.mark("all drawn");
}

function nextPart() {
  const due = parts.filter((part) => part.dirty);
  return due.find((part) => part.visible) ?? due[0];
}

function shownRuns() {
  return data.runs.filter((run) => !state.hiddenRuns.has(run.id) && runMatches(run, state.runSearch));
}

function shownLayers(names) {
  const words = state.layerSearch.toLowerCase().split(/\s+/).filter(Boolean);
  return names.filter((name) => !state.hiddenLayers.has(name) && layerMatches(name, words));
}

function layerMatches(name, words) {
  const text = words.length ? `${name} ${typeOf(name, state.run)}`.toLowerCase() : "";
  return words.every((word) => text.includes(word));
}

function settingsOf(run) {
  const place = data.runs.indexOf(run);
  return data.settings.different.map(([name, values]) => [name, values[place]]);
}

const COMPARISONS = {
  "=": (a, b) => a === b,
  "!=": (a, b) => a !== b,
  "<": (a, b) => a < b,
  ">": (a, b) => a > b,
  "<=": (a, b) => a <= b,
  ">=": (a, b) => a >= b,
};

// Words that a run must contain, and comparisons such as norm=sn or learning_rate>0.01.
function runMatches(run, search) {
  const fields = [["run", run.id], ["status", run.status], ["step", String(run.lastStep ?? "")], ...settingsOf(run), ...data.settings.same];
  const text = [run.id, run.arm, run.status, ...settingsOf(run).flat()].join(" ").toLowerCase();
  return search.split(/\s+/).filter(Boolean).every((term) => {
    const [, key, sign, wanted] = term.match(/^([^=<>!]+)(!=|<=|>=|=|<|>)(.+)$/) ?? [];
    const field = fields.find(([name]) => name.toLowerCase() === key?.toLowerCase());
    if (!field) return text.includes(term.toLowerCase());
    const numbers = [Number(field[1]), Number(wanted)];
    const pair = numbers.some(Number.isNaN) ? [field[1].toLowerCase(), wanted.toLowerCase()] : numbers;
    return COMPARISONS[sign](...pair);
  });
}

const GROUP_COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#999933", "#6f6f6f"];

function groupOf(run) {
  if (state.group === "status") return run.status;
  return settingsOf(run).find(([name]) => name === state.group)?.[1] ?? "";
}

function groups() {
  return [...new Set(data.runs.map(groupOf))];
}

// A run's colour: its group's, or its arm's as in the project's figures.
function lookOf(run) {
  if (state.group) return { color: GROUP_COLORS[groups().indexOf(groupOf(run)) % GROUP_COLORS.length], dashes: [] };
  return { color: isDark() && run.color === "#555555" ? "#bbbbbb" : run.color, dashes: run.dashes };
}
