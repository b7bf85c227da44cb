"use strict";
// Draws charts, each a Vega-Lite figure with its name, and saves them as SVG.

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const phone = () => document.body.clientWidth < 600;
const dark = matchMedia("(prefers-color-scheme: dark)");

const ink = "currentColor"; // the page's, in light and dark; black in a saved file
const text = { labelColor: ink, titleColor: ink, labelFontSize: 12, titleFontSize: 12, titleFontWeight: 500 };
const config = () => ({
  background: null,
  font: "system-ui, sans-serif",
  view: { stroke: null },
  // One description a figure, set below: a hundred marks read out one by one would help nobody.
  mark: { aria: false },
  axis: { ...text, aria: false, domainColor: ink, tickColor: ink, gridColor: ink, gridOpacity: 0.12, labelLimit: phone() ? 140 : 260, titleLimit: 600 },
  // On a phone the number stands below the name, and a title may reach over the names.
  axisX: { titleAnchor: phone() ? "end" : "middle" },
  axisY: phone() ? { labelExpr: "split(datum.label, '  ')" } : {},
  legend: { ...text, aria: false, labelLimit: 190, symbolStrokeWidth: 1.5, symbolSize: 80 },
  rule: { color: ink },
  text: { color: ink },
});

// Colours for white paper are too dark on a dark page.
function brighter(colour) {
  const parts = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  const light = 0.299 * parts[0] + 0.587 * parts[1] + 0.114 * parts[2];
  const mix = dark.matches && light < 110 ? 0.45 : 0;
  return "#" + parts.map((part) => Math.round(part + (255 - part) * mix).toString(16).padStart(2, "0")).join("");
}
// A figure's colours for the theme, and its names in lines for a narrow screen.
function adapted(spec) {
  const own = (key, value) => {
    if (key === "columns" && phone()) return 1;
    return key === "range" && Array.isArray(value) ? value.map((one) => (/^#.{6}$/.test(one) ? brighter(one) : one)) : value;
  };
  return JSON.parse(JSON.stringify(spec), own);
}

async function draw(place, spec, name) {
  const layer = spec.layer.filter(({ transform: [{ filter }] }) => spec.data.values.some((row) => row[filter.split(".")[1]]));
  const whole = { width: "container", autosize: { type: "fit-x", contains: "padding" }, ...adapted({ ...spec, layer }), config: config() };
  place.replaceChildren();
  const { view } = await vegaEmbed(place, whole, { actions: false, renderer: "svg", tooltip: { theme: "custom" } });
  const picture = place.querySelector("svg");
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", place.getAttribute("aria-label"));
  const save = make("button", { type: "button", className: "save", textContent: "Save as SVG" });
  save.setAttribute("aria-label", `Save as SVG: ${name}`);
  save.addEventListener("click", async () => {
    const url = URL.createObjectURL(new Blob([await view.toSVG()], { type: "image/svg+xml" }));
    make("a", { href: url, download: `${name.replace(/[^\w.-]+/g, "-")}.svg` }).click();
    URL.revokeObjectURL(url);
  });
  place.append(save);
}

function figure(parent, name, caption, spec) {
  const place = make("div", { className: "figure" });
  place.setAttribute("role", "group");
  place.setAttribute("aria-label", name);
  parent.append(make("figure", {}, place, make("figcaption", { textContent: caption })));
  return draw(place, spec, name);
}

// The charts that Python laid out.
function charts() {
  for (const place of document.querySelectorAll("[data-spec]")) {
    const spec = read(place.dataset.spec);
    // A name on a phone has two lines.
    const height = spec.height * (phone() && place.dataset.spec.startsWith("answer") ? 1.6 : 1);
    draw(place, { ...spec, height }, place.getAttribute("aria-label"));
  }
}
