// The fields: which are columns of the table, and the values of the one that is open.

function makeFields(page) {
  const search = make("input", {
    type: "search", placeholder: "fields", "aria-label": "search the fields", oninput: () => draw(),
  });
  const list = make("div", {});
  const element = make("div", { class: "lk-fields" }, search, list);
  let opened = null;

  function draw() {
    const text = search.value.toLowerCase();
    const fields = page.get("about").fields.filter(({ label }) => label.toLowerCase().includes(text));
    refill(list, ...fields.map(makeField));
    reopen();
  }

  function reopen() {
    if (opened) open(opened);
  }

  function makeField({ label, kind, present }) {
    const box = make("input", {
      type: "checkbox", "aria-label": `show ${label} as a column`, title: "show as a column",
      onchange: () => toggleColumn(label, box.checked),
    });
    box.style.width = "auto";
    box.checked = page.get("columns").includes(label);
    const button = make("button", {
      "aria-expanded": String(opened === label),
      title: `${label}: ${kind}, in ${showPercent(present)} of the records`,
      onclick: () => (opened === label ? close() : open(label)),
    }, makeName(label), make("span", { class: "lk-kind" }, kind));
    const row = make("div", {}, make("div", { class: "lk-field" }, box, button));
    row.dataset.label = label;
    return row;
  }

  function toggleColumn(label, shown) {
    const columns = page.get("columns");
    page.set("columns", shown ? [...columns, label] : columns.filter((name) => name !== label));
  }

  // of a name that is too long the beginning of its path goes first
  function makeName(label) {
    const end = label.lastIndexOf(".") + 1;
    const parts = [label.slice(0, end), label.slice(end)];
    return make("span", { class: "lk-name" }, ...parts.map((part) => make("span", {}, part)));
  }

  function close() {
    opened = null;
    draw();
  }

  async function open(label) {
    opened = label;
    const answer = await page.ask("values", { label });
    const row = [...list.children].find((other) => other.dataset.label === label);
    if (!row || opened !== label) return;
    const before = row.querySelector(".lk-values");
    for (const other of list.querySelectorAll(".lk-values")) if (other !== before) other.remove();
    for (const button of list.querySelectorAll("[aria-expanded]"))
      button.setAttribute("aria-expanded", String(row.contains(button)));
    const values = answer.error ? [answer.error] : listValues(answer);
    const place = before || make("div", { class: "lk-values" });
    if (!before) row.append(place);
    refill(place, ...values.filter((value) => value !== null));
  }

  function listValues(answer) {
    const present = showNumber(answer.present);
    const counts = answer.items ? `${present} items in` : `in ${present} of`;
    const about = answer.about ? "about " : "";
    const distinct = answer.distinct === null ? "" : `, ${about}${showNumber(answer.distinct)} distinct`;
    const buttons = answer.items ? [] : [makeHas(answer.field, false), makeHas(answer.field, true)];
    return [
      make("div", {}, `${counts} ${showNumber(answer.rows)}${distinct}`),
      answer.said ? make("div", {}, answer.said) : null,
      answer.numbers ? makeNumbers(page, answer) : null,
      ...answer.top.map((value) => makeValue(value, answer)),
      ...buttons,
    ];
  }

  function makeHas(field, negated) {
    const onclick = () => page.addFilter({ op: "has", field, negated });
    return make("button", { onclick }, negated ? "is missing" : "has it");
  }

  function makeValue({ shown, count, value }, { present, field, items }) {
    const share = count / Math.max(1, present);
    const bar = make("div", { class: "lk-share" });
    bar.style.width = `${100 * share}%`;
    const buttons = value === null ? [] : makeValueButtons(page, { field, value, items }, shown);
    const line = make("div", { class: "lk-value" }, make("span", { title: shown }, shown),
      make("b", {}, showPercent(share)), ...buttons);
    return make("div", {}, line, bar);
  }

  return { element, draw, reopen };
}

// a histogram of a field's numbers; clicking or dragging over it picks some
function makeNumbers(page, { field, numbers }) {
  const { counts, edges } = numbers;
  const most = Math.max(1, ...counts);
  const picture = makeChart({ viewBox: `0 0 ${counts.length} 40`, class: "lk-numbers" });
  const highEnd = (n) => (n === counts.length - 1 ? numbers.end : edges[n + 1]);
  let begun = null;

  function pick(...ends) {
    const value = [edges[Math.min(...ends)], highEnd(Math.max(...ends))];
    page.addFilter({ op: "between", field, value });
  }

  function lightUp(isLit) {
    const bins = [...picture.querySelectorAll("[role=button]")];
    bins.forEach((bin, n) => bin.classList.toggle("lk-lit", isLit(n)));
  }

  function addBin(count, n) {
    const height = count ? Math.max(1, (40 * count) / most) : 0;
    const bar = makeRectangle({ x: n, y: 40 - height, width: 0.9, height, fill: COLOURS[0] }, "");
    const label = `${edges[n]} to ${edges[n + 1]}: ${showNumber(count)}`;
    const bin = makeRectangle({
      x: n, y: 0, width: 1, height: 40, fill: "transparent", tabindex: "0", role: "button",
      "aria-label": `only ${label}`,
    }, `${label}; click or drag: only these`);
    bin.addEventListener("pointerdown", (event) => { begun = n; event.preventDefault(); });
    bin.addEventListener("pointerenter", () => {
      if (begun !== null) lightUp((at) => (at - begun) * (at - n) <= 0);
    });
    bin.addEventListener("pointerup", () => { if (begun !== null) pick(begun, n); });
    bin.addEventListener("keydown", (event) => { if (event.key === "Enter") pick(n); });
    picture.append(bar, bin);
  }

  counts.forEach(addBin);
  picture.addEventListener("pointerleave", () => { begun = null; lightUp(() => false); });
  const ends = [edges[0], edges[edges.length - 1]].map((end) => make("span", {}, String(end)));
  return make("div", {}, picture, make("div", { class: "lk-axis" }, ...ends));
}
