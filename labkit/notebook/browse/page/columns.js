// The table's columns: their names, and how wide they are.

const NARROWEST = 40; // px of a column
const WIDEST = 1200;
const FITTING = 420; // px of a column that nobody has sized, at most
const USUAL = 150;
const OF_TIME = { utc: 185, other: 245 }; // the other zones show their distance from UTC

// `grid` is the element that has the head and the rows
function makeColumns(page, grid) {
  const head = make("div", { class: "lk-head", role: "row" });
  let fittedFor = null; // the columns that have the widths in `fitting`
  let fitting = [];

  function draw() {
    const labels = [`time (${page.zone})`, ...page.get("columns")];
    head.replaceChildren(...labels.map((label, place) => {
      const edge = makeEdge(place ? label : "", label);
      return size(make("div", { class: "lk-cell", role: "columnheader", title: label }, label, edge), place);
    }));
    drawWidths();
  }

  function drawWidths(widths = page.get("widths")) {
    ["", ...page.get("columns")].forEach((name, place) => {
      const px = widths[name];
      grid.style.setProperty(`--lk-${place}`, px ? `${px}px` : "");
      const edge = head.children[place]?.querySelector("[role=separator]");
      if (edge) edge.setAttribute("aria-valuenow", Math.round(widthOf(edge)));
    });
  }

  const widthOf = (edge) => edge.parentElement.getBoundingClientRect().width;

  // a column's edge is dragged, or moved by arrow keys; a double click gives its own width back
  function makeEdge(name, label) {
    const edge = make("span", {
      class: "lk-size", role: "separator", tabindex: "0", "aria-orientation": "vertical",
      "aria-label": `width of ${label}`, "aria-valuemin": NARROWEST, "aria-valuemax": WIDEST,
      title: "drag to size the column",
    });
    let begun = null;
    let widths = null; // to be kept, when the edge is let go
    const show = (px) => {
      const width = Math.round(Math.min(WIDEST, Math.max(NARROWEST, px)));
      widths = { ...page.get("widths"), [name]: width };
      drawWidths(widths);
    };
    const keep = () => {
      if (widths) page.set("widths", widths);
      widths = null;
    };
    edge.addEventListener("pointerdown", (event) => {
      begun = event.clientX - widthOf(edge);
      edge.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    edge.addEventListener("pointermove", (event) => { if (begun !== null) show(event.clientX - begun); });
    edge.addEventListener("pointerup", () => { begun = null; keep(); });
    edge.addEventListener("dblclick", () => {
      const { [name]: _, ...others } = page.get("widths");
      page.set("widths", others);
    });
    edge.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -16, ArrowRight: 16 };
      if (!(event.key in steps)) return;
      show(widthOf(edge) + steps[event.key]);
      keep();
      event.preventDefault();
      event.stopPropagation();
    });
    return edge;
  }

  // gives a cell the width of its column
  function size(cell, place) {
    cell.style.width = `var(--lk-${place}, ${ownWidth(place)}px)`;
    return cell;
  }

  function ownWidth(place) {
    if (place === 0) return page.zone === "UTC" ? OF_TIME.utc : OF_TIME.other;
    const isLast = place === page.get("columns").length;
    return fitting[place - 1] || (isLast ? FITTING : USUAL);
  }

  // px of a text in this page's letters, whatever they are
  const pen = document.createElement("canvas").getContext("2d");
  function measure(text, weight = 400) {
    const { fontFamily, fontSize } = getComputedStyle(page.el);
    pen.font = `${weight} ${fontSize} ${fontFamily}`;
    return pen.measureText(text).width;
  }

  // as wide as what the first rows have in them, until other columns are chosen
  function fit(columns, rows) {
    const key = columns.join("\0");
    if (fittedFor === key || !rows.length) return;
    fittedFor = key;
    fitting = columns.map((name, n) => {
      const widest = Math.max(measure(name, 600) + 28, ...rows.map((row) => measure(row[n + 1]) + 20));
      return Math.ceil(Math.min(FITTING, widest));
    });
    draw();
  }

  function forget() {
    fittedFor = null;
    fitting = [];
  }

  return { head, draw, drawWidths, size, fit, forget };
}
