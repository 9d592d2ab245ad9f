// Elements of the page. All text is inserted as text, never as HTML: a store may come from somebody else.

function add(parent, kind, text = "", attributes = {}) {
  const element = parent.appendChild(document.createElement(kind));
  if (text !== "") element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function addButton(parent, text, clicked, attributes = {}) {
  const button = add(parent, "button", text, { type: "button", ...attributes });
  button.addEventListener("click", clicked);
  return button;
}

function addCheck(parent, text, on, changed, attributes = {}) {
  const label = add(parent, "label");
  const box = add(label, "input", "", { type: "checkbox", ...attributes });
  box.checked = on;
  label.append(` ${text}`);
  box.addEventListener("change", changed);
  return box;
}

// choices: [value, text]. The chosen value stays if it is still among the choices.
function fillSelect(select, choices, chosen = select.value) {
  select.replaceChildren();
  for (const [value, text] of choices) add(select, "option", text, { value });
  if (choices.some(([value]) => value === chosen)) select.value = chosen;
}

function addSelect(parent, label, choices, changed) {
  const around = add(parent, "label", `${label} `);
  const select = add(around, "select");
  fillSelect(select, choices);
  select.addEventListener("change", changed);
  return select;
}

function save(name, content, kind) {
  const link = document.createElement("a");
  link.href = content instanceof Blob ? URL.createObjectURL(content) : content;
  link.download = `${name.replace(/[^\w.-]+/g, "_")}.${kind}`;
  link.click();
  if (content instanceof Blob) setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// A spreadsheet takes a cell that begins with one of =+-@ for a formula, unless it is a number.
function csvCell(value) {
  const text = String(value ?? "");
  const harmless = typeof value !== "number" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}

function saveCsv(name, head, rows) {
  const lines = [head, ...rows].map((row) => row.map(csvCell).join(","));
  save(name, new Blob([lines.join("\n") + "\n"], { type: "text/csv" }), "csv");
}

function addTable(place, head, rows) {
  const table = add(add(place, "div", "", { class: "scroll" }), "table");
  const top = add(add(table, "thead"), "tr");
  for (const name of head) add(top, "th", name);
  const body = add(table, "tbody");
  for (const row of rows) {
    const line = add(body, "tr");
    for (const cell of row) add(line, "td", cell);
  }
  return table;
}

function plural(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}
