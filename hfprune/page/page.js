"use strict";
// Tables are sorted by their headings, and on paper everything is open. The page works without it.

const number = (text) => parseFloat(text.replace(/−/g, "-").replace(/[,×<]/g, ""));
function compare(a, b) {
  if (!a || !b || a === "–" || b === "–") return 0;
  const [x, y] = [number(a), number(b)];
  return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
}

for (const table of document.querySelectorAll("table")) {
  const headings = [...table.querySelectorAll("thead th")];
  headings.forEach((heading, column) => {
    for (const row of table.tBodies[0].rows) row.cells[column].dataset.label = heading.textContent;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const up = heading.getAttribute("aria-sort") !== "ascending";
      headings.forEach((one) => one.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      const text = (row) => row.cells[column].textContent.trim();
      const blank = (row) => ["", "–"].includes(text(row)); // stand last, either way
      const order = (a, b) => blank(a) - blank(b) || (up ? 1 : -1) * compare(text(a), text(b));
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
    });
  });
}

function fit(region) {
  region.classList.remove("listed");
  region.classList.toggle("listed", region.scrollWidth > region.clientWidth);
}
const fitAll = (within) => within.querySelectorAll(".scroll").forEach(fit);
fitAll(document);
addEventListener("resize", () => fitAll(document));
document.addEventListener("toggle", (event) => fitAll(event.target), true);

let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  closed.forEach((one) => (one.open = true));
});
addEventListener("afterprint", () => closed.forEach((one) => (one.open = false)));
