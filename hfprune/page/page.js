"use strict";
// The table of methods, its filters and its charts. The page works without it, except for these.

// --- the table of methods -----------------------------------------------------------------------------

// Written here and not taken from DataTables (itables), whose bundle has 0.7 MB, since this table needs only
// filters, a sort by its headings, and a drawing in a cell.
const data = read("data");
const ROWS = data.rows.map((row) => Object.fromEntries(data.columns.map((name, i) => [name, row[i]])));
const label = (method) => data.methods[method]?.label ?? method;
const percent = (ratio) => (ratio === null ? "" : `${+(100 * ratio).toPrecision(3)}\u00a0%`);
const several = (name) => new Set(ROWS.map((row) => row[name])).size > 1;

const FILTERS = [
  ["capability", "Capability", (row) => data.measures[row.measure].capability],
  ["measure", "Measure", (row) => row.measure, (key) => data.measures[key].name],
  ["family", "Family (what the criterion reads)", (row) => row.family],
  ["ratio", "Removed", (row) => row.ratio, percent],
  ["model", "Model", (row) => row.model],
  ["recovery", "Recovery", (row) => row.recovery],
  ["study", "Study", (row) => row.study],
];
const chosen = { search: "" };
const first = Object.keys(data.measures).find((key) => data.measures[key].first) ?? Object.keys(data.measures)[0];

const COLUMNS = [
  { name: "Method", value: (row) => label(row.method), head: true },
  { name: "Value", value: (row) => row.value, text: (row) => row.shown, number: true },
  { name: "95 % interval", value: (row) => (row.low === null ? null : row.high - row.low), cell: interval, number: true },
  { name: "Against its reference", value: (row) => row.effect, cell: beside, number: true },
  { name: "Removed", value: (row) => row.ratio, text: (row) => percent(row.ratio), number: true },
  { name: "Study", value: (row) => row.study, if: several("study") },
  { name: "Model", value: (row) => row.model, if: several("model") },
  { name: "Recovery", value: (row) => row.recovery, if: several("recovery") },
  { name: "Family", value: (row) => row.family },
  { name: "n", value: (row) => row.n, number: true },
  { name: "Draws", value: (row) => row.draws, number: true },
].filter((column) => column.if !== false);
// The best first.
let sorting = { column: COLUMNS.find((column) => column.name === "Value"), up: data.measures[first]?.better !== "higher" };
let ends = [0, 1];

function interval(row) {
  const at = (value) => 4 + (112 * (value - ends[0])) / (ends[1] - ends[0] || 1);
  const reach = row.low === null ? "" : `<line class="reach" x1="${at(row.low)}" x2="${at(row.high)}" y1="8" y2="8"/>`;
  const point = `<circle class="effect" cx="${at(row.value)}" cy="8" r="3.5"/>`;
  const cell = make("template", { innerHTML: `<svg class="interval" viewBox="0 0 120 16" aria-hidden="true">${reach}${point}</svg>` });
  return [cell.content.firstChild, row.interval];
}

const SIGNS = { better: "▲", worse: "▼", "not told apart": "≈" };
function beside(row) {
  if (row.effect === null) return [""];
  const of = row.effect_interval ? `${row.effect_shown} (${row.effect_interval})` : row.effect_shown;
  const words = [SIGNS[row.standing] ?? "", row.standing, `(${label(row.reference)})`].filter(Boolean).join(" ");
  return [`${of} `, make("span", { className: "standing", textContent: words })];
}

function matches(row, without = []) {
  const words = `${row.method} ${label(row.method)} ${row.family} ${row.model} ${row.differs}`.toLowerCase();
  return (
    FILTERS.every(([name, , of]) => without.includes(name) || (chosen[name] ?? "") === "" || String(of(row)) === chosen[name]) &&
    (without.includes("search") || words.includes(chosen.search))
  );
}

function controls() {
  const form = document.getElementById("filters");
  for (const [name, title, of, shown = (value) => value] of FILTERS) {
    const values = [...new Set(ROWS.map(of))].filter((value) => value !== null && value !== undefined);
    if (values.length < 2) continue;
    if (name === "ratio") values.sort((a, b) => a - b);
    if (name === "measure") values.sort((a, b) => Object.keys(data.measures).indexOf(a) - Object.keys(data.measures).indexOf(b));
    const select = make("select", { name });
    if (name !== "measure") select.append(make("option", { value: "", textContent: "all" }));
    select.append(...values.map((value) => make("option", { value: String(value), textContent: shown(value) })));
    if (name === "measure") chosen.measure = select.value = first;
    if (name === "ratio" && data.focus !== null) chosen.ratio = select.value = String(data.focus);
    select.addEventListener("change", () => {
      chosen[name] = select.value;
      if (name === "capability") capability(form.elements.measure);
      if (sorting.column.name === "Value") sorting.up = data.measures[chosen.measure].better !== "higher";
      show();
    });
    form.append(make("label", {}, title, select));
  }
  const search = make("input", { type: "search", name: "search", placeholder: "e.g. entropy" });
  search.addEventListener("input", () => {
    chosen.search = search.value.trim().toLowerCase();
    show();
  });
  form.append(make("label", {}, "Search", search));
  form.addEventListener("submit", (event) => event.preventDefault());
  chosen.measure ??= first;
  // A measure need not have been taken at the ratio that the page leads with.
  if (form.elements.ratio && !ROWS.some((row) => matches(row))) chosen.ratio = form.elements.ratio.value = "";
}

// Names the filters, beside the measure, that leave a table empty.
function inForce() {
  const set = FILTERS.filter(([name]) => name !== "measure" && (chosen[name] ?? "") !== "");
  const words = set.map(([name, title, , shown = (value) => value]) => `${title}: ${shown(name === "ratio" ? +chosen[name] : chosen[name])}`);
  if (chosen.search) words.push(`“${chosen.search}” in it`);
  return `${words.join(", ")}; set one to “all”`;
}

// Leaves only the measures of the chosen capability to choose from.
function capability(select) {
  if (!select) return;
  for (const option of select.options)
    option.hidden = option.disabled = Boolean(chosen.capability) && data.measures[option.value].capability !== chosen.capability;
  if (select.selectedOptions[0].disabled) select.value = [...select.options].find((option) => !option.disabled).value;
  chosen.measure = select.value;
}

function compare(a, b) {
  const [x, y] = [a, b].map(sorting.column.value);
  if (x === null || y === null || x === "" || y === "") return (x === null || x === "") - (y === null || y === "");
  const order = typeof x === "number" ? x - y : String(x).localeCompare(String(y));
  return sorting.up ? order : -order;
}

function heading(column) {
  const button = make("button", { type: "button", textContent: column.name });
  button.addEventListener("click", () => {
    sorting = { column, up: sorting.column === column ? !sorting.up : true };
    table();
    document.querySelector("#explorer th[aria-sort] button").focus();
  });
  const th = make("th", { scope: "col" }, button);
  if (sorting.column === column) th.setAttribute("aria-sort", sorting.up ? "ascending" : "descending");
  return th;
}

function table() {
  const rows = ROWS.filter((row) => matches(row)).sort(compare);
  const reach = rows.flatMap((row) => [row.value, row.low ?? row.value, row.high ?? row.value]);
  ends = [Math.min(...reach), Math.max(...reach)];
  document.querySelector("#explorer thead").replaceChildren(make("tr", {}, ...COLUMNS.map(heading)));
  document.querySelector("#explorer tbody").replaceChildren(
    ...rows.map((row) =>
      make("tr", {}, ...COLUMNS.map((column) => {
        const parts = column.cell ? column.cell(row) : [String((column.text ?? column.value)(row) ?? "")];
        const cell = make(column.head ? "th" : "td", { className: column.number ? "number" : "" }, ...parts);
        if (column.head) cell.scope = "row";
        return cell;
      })),
    ),
  );
  const name = data.measures[chosen.measure].name;
  document.getElementById("count").textContent = rows.length ? `${rows.length} rows: ${name}` : `No row of ${name} has ${inForce()}.`;
}

// --- figures of the chosen measure --------------------------------------------------------------------

function ratios() {
  const parent = document.getElementById("ratios");
  parent.replaceChildren();
  const meaning = data.measures[chosen.measure];
  const rows = ROWS.filter((row) => matches(row, ["ratio", "search", "family"]) && row.ratio !== null);
  const groups = Map.groupBy(rows, (row) => [row.study, row.model, row.recovery].join(" · "));
  for (const [title, group] of groups) {
    const pruned = group.filter((row) => row.method !== "dense");
    if (pruned.length === 0) continue;
    const shownRows = pruned.filter((row) => matches(row, ["ratio"]));
    const sign = meaning.better === "higher" ? -1 : 1;
    const best = [...new Set([...shownRows].sort((a, b) => sign * (a.value - b.value)).map((row) => row.method))];
    const always = ["entropy", "cross_entropy"].filter((method) => best.includes(method));
    const coloured = [...new Set([...always, ...best])].slice(0, data.most);
    const caption = `${meaning.name} of ${title}, with 95 % intervals. ${pruned.length > shownRows.length || best.length > data.most ? "Grey: the other methods; the filters choose which have colours. " : ""}${group.length > pruned.length ? "Dashed: the dense model. " : ""}Hover for the numbers; a click opens the result.`;
    figure(parent, `${meaning.name}, ${title}`, caption, againstRatio(group, coloured, meaning));
  }
  document.getElementById("ratios-title").hidden = parent.childElementCount === 0;
}

// The chart that Python laid out, with the rows and colours that the filters chose in its holes.
function againstRatio(group, coloured, meaning) {
  const steps = [...new Set(group.filter((row) => row.method !== "dense").map((row) => 100 * row.ratio))].sort((a, b) => a - b);
  const gap = steps.length > 1 ? Math.min(...steps.slice(1).map((step, i) => step - steps[i])) : 10;
  const aside = (method) => (coloured.includes(method) ? (gap * 0.5 * (coloured.indexOf(method) + 0.5 - coloured.length / 2)) / data.most : 0);
  const values = group.map((row) => ({
    ...row,
    name: label(row.method),
    place: 100 * row.ratio + aside(row.method),
    level: row.method === "dense",
    own: coloured.includes(row.method),
    other: row.method !== "dense" && !coloured.includes(row.method),
    interval_known: coloured.includes(row.method) && row.low !== null,
    removed: percent(row.ratio),
    interval: row.interval || "not known",
    against: row.effect === null ? "–" : beside(row).map((part) => part.textContent ?? part).join(""),
    href: "#ran",
    open: "goes to what ran",
  }));
  const reach = values.map((row) => row.value);
  const log = meaning.logarithmic && Math.min(...reach) > 0 && Math.max(...reach) > 10 * Math.min(...reach);
  const looks = coloured.map((method) => data.methods[method]);
  const holes = {
    "@rows": values,
    "@title": meaning.name,
    "@scale": log ? { type: "log" } : { zero: false },
    "@ticks": steps,
    "@ends": [steps[0] - gap / 2, steps.at(-1) + gap / 2],
    "@names": coloured.map(label),
    "@colours": looks.map((look) => look.colour),
    "@shapes": looks.map((look) => look.shape),
  };
  return JSON.parse(JSON.stringify(data.chart), (key, value) => holes[value] ?? value);
}

// --- the page -----------------------------------------------------------------------------------------

function show() {
  table();
  ratios();
}

if (data.rows.length) {
  controls();
  show();
}
charts();
dark.addEventListener("change", () => {
  charts();
  if (data.rows.length) ratios();
});
// On paper everything is open.
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  closed.forEach((one) => (one.open = true));
});
addEventListener("afterprint", () => closed.forEach((one) => (one.open = false)));
