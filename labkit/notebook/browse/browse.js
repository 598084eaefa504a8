// The page's side of labkit's browser of records. All text goes in as text (textContent), never as HTML.

const ROW = 24; // px
const TALLEST = 8_000_000; // px: browsers end at about 16 million
const NARROWEST = 40; // px of a column
const WIDEST = 1200;
const FITTING = 420; // px of a column that nobody has sized, at most
const PAGE = 100; // rows asked for at once
const COLOURS = ["#1976d2", "#e07b00", "#2e7d32", "#8e44ad", "#c2185b", "#00838f", "#757575"];
const SVG = "http://www.w3.org/2000/svg";

const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
};

const rectangle = (attributes, text) => {
  const element = document.createElementNS(SVG, "rect");
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  const tip = document.createElementNS(SVG, "title");
  tip.textContent = text;
  if (text) element.append(tip);
  return element;
};

const number = (value) => Number(value).toLocaleString("en-US");
const percent = (share) => (share > 0 && share < 0.001 ? "<0.1" : (100 * share).toFixed(share > 0.1 ? 0 : 1)) + " %";
// as labkit.visible does: what controls or turns a text around is shown as its escape
const visible = (text) => String(text).replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
  (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
const OFFSET = /^UTC(?=[+-])/; // Python's name of a fixed distance

// what the clock of a zone shows at a moment, and with `exact` how far it is from UTC
function clock(zone) {
  const utc = (ms) => new Date(ms).toISOString().replace("T", " ").replace("Z", "");
  if (zone === "UTC") return { name: zone, show: (ms) => utc(ms).replace(/\.000$/, "") };
  const two = "2-digit";
  let format;
  try {
    format = new Intl.DateTimeFormat("en-US", { timeZone: zone.replace(OFFSET, ""), hourCycle: "h23", year: "numeric", month: two, day: two,
      hour: two, minute: two, second: two, fractionalSecondDigits: 3 });
  } catch {
    return clock("UTC"); // this page does not know the zone
  }
  const show = (ms, exact) => {
    const part = Object.fromEntries(format.formatToParts(ms).map(({ type, value }) => [type, value]));
    const shown = Date.UTC(+part.year, part.month - 1, +part.day, +part.hour, +part.minute, +part.second, +part.fractionalSecond);
    const minutes = Math.round((shown - ms) / 60000);
    const apart = `${minutes < 0 ? "-" : "+"}${new Date(Math.abs(minutes) * 60000).toISOString().slice(11, 16)}`;
    return `${utc(shown)}${exact ? apart : ""}`.replace(/\.000(?=$|[+-])/, "");
  };
  return { name: zone, show };
}

function render({ model, el }) {
  let asked = 0;
  const waiting = new Map();
  const ask = (kind, body) =>
    new Promise((resolve) => {
      asked += 1;
      waiting.set(asked, resolve);
      model.send({ kind, number: asked, ...body });
    });
  const answered = (answer) => {
    if (answer.live !== undefined) { drawLive(answer); return; }
    if (answer.number === undefined) { drawFilled(answer); return; }
    const resolve = waiting.get(answer.number);
    waiting.delete(answer.number);
    if (resolve) resolve(answer);
  };
  model.on("msg:custom", answered);

  let about = model.get("about");
  const { name: zone, show: moment } = clock(about.zone);
  const state = { count: 0, there: 0, open: null, rows: new Map(), asking: new Set(), here: -1, turn: 0, querying: null, asked: 0, edges: [], code: "", widths: null, fitted: null, fitting: [] };

  // ---- parts
  const said = make("span", { role: "status", "aria-live": "polite" });
  const find = make("input", {
    class: "lk-find", type: "search", placeholder: `find a text, or ${about.language} after =   ( / )`, title: about.finds, "aria-label": `find a text, or a condition in ${about.language} after =`,
    onkeydown: (event) => event.key === "Enter" && addTyped(),
  });
  const when = make("input", {
    class: "lk-when", type: "text", placeholder: "time: yesterday, 14:00–15:00 …", "aria-label": `a time (${zone}), such as yesterday, last 2h, 14:00–15:00`,
    "aria-describedby": `lk-late-${about.model}`, onkeydown: (event) => event.key === "Enter" && addTime(),
  });
  const late = make("div", { class: "lk-late", role: "alert", id: `lk-late-${about.model}` });
  const by = make("select", { "aria-label": "stack the histogram by", onchange: () => set("by", by.value) },
    make("option", { value: "" }, "by …"),
    ...about.fields.filter((one) => !["object", "list", "map"].includes(one.kind) && !one.items)
      .map((one) => make("option", { value: one.label }, one.label)));
  const here = make("span", { "aria-live": "polite" });
  const title = make("span", { class: "lk-title" });
  const last = make("input", { class: "lk-last", type: "text", inputmode: "numeric", list: `lk-counts-${about.model}`, "aria-label": "how many of the newest records",
    title: "how many of the newest records", onchange: () => openPart(), onkeydown: (event) => event.key === "Enter" && openPart() });
  const counts = make("datalist", { id: `lk-counts-${about.model}` }, ...[1e3, 1e4, 1e5, 1e6].map((count) => make("option", { value: number(count) })));
  const partitions = make("details", { class: "lk-partitions" });
  const part = make("span", { class: "lk-newest" }, "newest ", last, counts, partitions);
  const live = make("button", { class: "lk-live", "aria-pressed": "false", title: "take what comes into the topic from now on",
    onclick: () => ask("follow", { on: live.getAttribute("aria-pressed") !== "true" }).then((answer) => { if (answer.error) wrong.textContent = answer.error; }) }, "follow");
  const pace = make("span", { class: "lk-pace" });
  const bar = make("div", { class: "lk-bar" }, title, here, said, about.part ? part : null, about.live ? live : null, pace, find, about.time.field.length ? when : null, by, late);
  const chips = make("div", { class: "lk-chips" });
  const beginning = { filters: [], by: "", columns: about.columns, widths: {} };
  const kept = make("div", { class: "lk-kept" });
  if (about.kept) {
    const anew = make("button", { onclick: () => { for (const [name, value] of Object.entries(beginning)) set(name, value); } }, "begin anew");
    kept.append(about.kept, " ", anew);
  }
  const wrong = make("div", { class: "lk-error", role: "alert" });
  const brush = make("div", { class: "lk-brush", hidden: "" });
  const chart = document.createElementNS(SVG, "svg");
  chart.setAttribute("preserveAspectRatio", "none");
  chart.setAttribute("role", "img");
  const axis = make("div", { class: "lk-axis" });
  const time = make("div", { class: "lk-time", "aria-label": "records over time: drag to pick a time" }, chart, brush, axis);
  const legend = make("div", { class: "lk-legend" });
  const search = make("input", { type: "search", placeholder: "fields", "aria-label": "search the fields", oninput: () => drawFields() });
  const list = make("div", {});
  const fields = make("div", { class: "lk-fields" }, search, list);
  const head = make("div", { class: "lk-head", role: "row" });
  const space = make("div", {});
  const rows = make("div", { class: "lk-rows", tabindex: "0", role: "grid", "aria-label": "records, newest first", onscroll: () => drawRows(), onpointerdown: press, onpointerup: release, onkeydown: keys }, head, space);
  const detail = make("div", { class: "lk-detail", hidden: "", "aria-label": "the record" });
  const code = make("pre", {});
  const copy = make("button", { onclick: () => copyText(state.code, copy) }, "copy code");
  const result = make("div", { class: "lk-result", role: "status", "aria-live": "polite" });
  const named = { cell: "next cell", df: "keep as df", csv: "CSV", parquet: "Parquet", scratch: "scratch index", view: "save view" };
  const meant = { cell: "put the code into a new cell below", df: "keep the picked records as a DataFrame in this notebook",
    csv: "write the picked records to a CSV file", parquet: "write the picked records to a Parquet file",
    scratch: "load the picked records into a scratch index", view: "save records, filters and columns as JSON" };
  const buttons = make("div", { class: "lk-bar lk-actions", role: "group", "aria-label": "what to do with the picked records" }, copy,
    ...["cell", ...about.actions].map((action) => make("button", { title: meant[action], "data-action": action, onclick: (event) => act(action, event.currentTarget) }, named[action])), result);
  el.classList.add("lk-browse");
  el.style.containerType = "inline-size";
  el.append(bar, kept, chips, wrong, time, legend, make("div", { class: "lk-main" }, fields, rows, detail),
    make("div", { class: "lk-bar lk-code" }, code), buttons);

  // ---- state that the kernel shares
  const get = (name) => model.get(name);
  function set(name, value) {
    model.set(name, value); // tells `changed`, as a change from the kernel does
    model.save_changes();
  }
  function changed(name) {
    kept.replaceChildren(); // it is another pick now
    if (name === "columns") { state.fitted = null; state.fitting = []; state.rows.clear(); drawHead(); drawFields(); drawRows(); }
    else if (name === "widths") sizeColumns();
    else query();
  }
  const addFilter = (one) => set("filters", [...get("filters"), { on: true, negated: false, ...one }]);

  function addTyped() {
    const text = find.value.trim();
    if (!text) return;
    find.value = "";
    addFilter(text.startsWith("=") ? { op: "sql", value: text.slice(1).trim() } : { op: "text", value: text });
  }

  async function addTime() {
    const text = when.value.trim();
    const answer = text ? await ask("span", { text }) : {};
    late.textContent = answer.error ? `${answer.error}: ${answer.hint}` : "";
    when.setAttribute("aria-invalid", String(Boolean(answer.error)));
    if (!answer.filter) return;
    when.value = "";
    setTime(answer.filter);
  }

  function setTime(filter) {
    const others = get("filters").filter((one) => !(one.op === "between" && (one.field || []).join("\0") === about.time.field.join("\0")));
    set("filters", [...others, { on: true, negated: false, ...filter }]);
  }

  // ---- what all depends on
  function drawLive(news) {
    live.setAttribute("aria-pressed", String(news.running));
    live.textContent = news.running ? "pause" : "follow";
    pace.textContent = visible(news.live);
    here.textContent = news.said;
    if (news.grown) query(true);
  }

  // ---- which part of the topic
  function drawAbout() {
    title.textContent = about.title;
    here.textContent = about.said;
    here.className = about.whole ? "" : "lk-part";
    if (!about.part) return;
    const { partitions: every, chosen } = about.part;
    if (document.activeElement !== last) last.value = number(about.part.last);
    const boxes = every.map((one) => {
      const box = make("input", { type: "checkbox", value: one, "aria-label": `partition ${one}`, onchange: () => { clearTimeout(state.opening); state.opening = setTimeout(openPart, 600); } });
      box.checked = chosen.includes(one);
      return make("label", {}, box, ` ${one}`);
    });
    const open = partitions.open;
    partitions.replaceChildren(make("summary", {}, `${chosen.length === every.length ? "all" : chosen.length} of ${number(every.length)} partitions`), make("div", {}, ...boxes));
    partitions.open = open;
  }

  async function openPart() {
    const count = last.value.replace(/[,_\s]/g, "");
    const chosen = [...partitions.querySelectorAll("input:checked")].map((box) => Number(box.value));
    if (count === String(about.part.last) && chosen.join() === about.part.chosen.join()) return;
    here.textContent = "reading …";
    const answer = await ask("open", { last: count, partitions: chosen });
    wrong.textContent = answer.error ? `${answer.error}\n${answer.hint}` : "";
    last.setAttribute("aria-invalid", String(Boolean(answer.error)));
    if (answer.error) here.textContent = about.said;
    else query();
  }

  // the older records are read, or are here
  function drawFilled(news) {
    if (news.said) here.textContent = news.said;
    if (!news.filled) return;
    query(true, true).then(() => (state.here < 0 ? close() : show(state.here)));
  }

  // grew: new records came on top, or older ones below; what is looked at stays where it is
  const query = (...how) => (state.querying = queryRows(...how));
  async function queryRows(grew = false, below = false) {
    const turn = ++state.turn;
    by.value = get("by");
    drawChips();
    const answer = await ask("query", { filters: get("filters"), by: get("by") });
    if (turn !== state.turn) return state.querying;
    wrong.textContent = answer.error ? `${answer.error}\n${answer.hint}` : "";
    if (answer.error) return;
    const added = grew && !below ? Math.max(0, answer.count - state.count) : 0;
    state.count = answer.count;
    state.there = answer.there;
    state.rows.clear();
    state.asking.clear();
    said.textContent = answer.count === answer.there ? "" : `${number(answer.count)} picked`;
    state.code = answer.code;
    code.textContent = answer.code.split("\n").map(visible).join("\n");
    drawTime(answer.histogram);
    drawHead();
    if (grew) {
      if (state.here >= 0) state.here += added;
      if ((rows.scrollTop > 0 || state.here >= 0) && tall() < TALLEST) { space.style.height = `${tall()}px`; rows.scrollTop += added * ROW; state.pressed += added; }
      drawRows();
      return;
    }
    rows.scrollTop = 0;
    drawRows();
    if (state.open) openField(state.open);
    close();
  }

  function drawChips() {
    const filters = get("filters");
    const change = (place, what) => set("filters", filters.map((one, n) => (n === place ? { ...one, ...what } : one)));
    chips.replaceChildren(...filters.map((one, place) => {
      const label = words(one);
      const used = make("input", { type: "checkbox", title: "use it", "aria-label": `use: ${label}`, onchange: () => change(place, { on: !one.on }) });
      used.checked = one.on;
      return make("span", { class: `lk-chip${one.on ? "" : " lk-off"}${one.negated ? " lk-not" : ""}` },
        used,
        typed(one) === null ? make("span", { class: "lk-word" }, label)
          : make("button", { class: "lk-word", title: "change it", "aria-label": `change: ${label}`, onclick: (event) => editChip(event.currentTarget, one, place) }, label),
        make("button", { title: "turn it around", "aria-label": `turn around: ${label}`, onclick: () => change(place, { negated: !one.negated }) }, "±"),
        make("button", { title: "remove", "aria-label": `remove: ${label}`, onclick: () => set("filters", filters.filter((_, n) => n !== place)) }, "×"));
    }));
  }

  const shown = (value, exact) => (value !== null && typeof value === "object" ? "type" in value ? visible(value.text) : moment(Date.parse(value.time), exact) : visible(value));

  // a chip's value as it is typed; null where there is none to change
  function typed(one) {
    if (one.op === "sql" || one.op === "text") return one.value;
    if (one.op === "between") return one.value[0] === null && typeof one.value[1] === "object" ? `before ${shown(one.value[1], true)}`
      : one.value[1] === null && typeof one.value[0] === "object" ? `since ${shown(one.value[0], true)}`
      : one.value.map((end) => (end === null ? "" : shown(end, true))).join(" … ");
    return one.op !== "is" || one.value === null ? null : typeof one.value === "string" ? one.value : shown(one.value, true);
  }

  function editChip(button, one, place) {
    const text = typed(one);
    const field = make("input", { class: "lk-edit", type: "text", "aria-label": `change: ${words(one)}`, size: Math.min(60, text.length + 4) });
    field.value = text;
    let open = true;
    const leave = () => { if (open) { open = false; drawChips(); } };
    field.addEventListener("keydown", async (event) => {
      if (event.key === "Escape") { leave(); chips.children[place]?.querySelector("button")?.focus(); }
      if (event.key !== "Enter") return;
      const answer = await ask("change", { filter: one, text: field.value });
      wrong.textContent = answer.error ? `${answer.error}\n${answer.hint}` : "";
      field.setAttribute("aria-invalid", String(Boolean(answer.error)));
      if (answer.error || !open) return;
      open = false;
      if (JSON.stringify(answer.filter) === JSON.stringify(one)) drawChips();
      else set("filters", get("filters").map((other, n) => (n === place ? answer.filter : other)));
      chips.children[place]?.querySelector("button")?.focus();
    });
    field.addEventListener("blur", leave);
    button.replaceWith(field);
    field.focus();
    field.select();
  }

  function words(one) {
    const name = visible((one.field || []).join("."));
    const not = one.negated ? "not " : "";
    if (one.op === "sql") return `${not}${visible(one.value)}`;
    if (one.op === "text") return `${not}“${visible(one.value)}”${name ? ` in ${name}` : ""}`;
    if (one.op === "has") return `${not}has ${name}`;
    if (one.op === "between") return `${not}${name}: ${one.value[0] === null ? "" : shown(one.value[0])} … ${one.value[1] === null ? "" : shown(one.value[1])}`;
    return `${not}${name} ${one.value === null ? "is missing" : `= ${shown(one.value)}`}`;
  }

  // ---- time
  function drawTime(found) {
    state.edges = found.edges;
    const bins = found.all.length;
    time.hidden = legend.hidden = bins === 0;
    chart.replaceChildren();
    legend.replaceChildren();
    if (!bins) return;
    const totals = found.all.map((_, n) => found.series.reduce((sum, one) => sum + one.counts[n], 0));
    const most = Math.max(1, ...totals);
    chart.setAttribute("viewBox", `0 0 ${bins} 100`);
    chart.setAttribute("aria-label", `${number(state.count)} records from ${moment(found.edges[0])} to ${moment(found.edges[bins])} ${zone}`);
    const bottoms = new Array(bins).fill(100);
    found.series.forEach((series, place) => series.counts.forEach((count, n) => {
      if (!count) return;
      const height = Math.max(1, (100 * count) / most);
      bottoms[n] -= height;
      chart.append(rectangle({ x: n + 0.05, y: bottoms[n], width: 0.9, height, fill: COLOURS[place % COLOURS.length] },
        `${moment(found.edges[n], true)} ${zone}: ${number(count)}${series.label ? ` ${series.label}` : ""}`));
    }));
    if (found.series.length > 1 || get("by"))
      found.series.forEach((series, place) => {
        const swatch = make("i", {});
        swatch.style.background = COLOURS[place % COLOURS.length];
        legend.append(make("span", {}, swatch, series.label));
      });
    const fine = found.edges[bins] - found.edges[0] < 60_000;
    const end = (ms) => moment(fine ? ms : 1000 * Math.floor(ms / 1000));
    axis.replaceChildren(...[`${end(found.edges[0])} ${zone}`, found.undated ? `${number(found.undated)} without a time` : `highest ${number(most)}`, end(found.edges[bins])]
      .map((text) => make("span", { title: text }, text)));
  }

  let from = null;
  const place = (event) => Math.min(1, Math.max(0, (event.clientX - time.getBoundingClientRect().left) / time.clientWidth));
  time.addEventListener("pointerdown", (event) => { from = place(event); time.setPointerCapture(event.pointerId); });
  time.addEventListener("pointermove", (event) => {
    if (from === null) return;
    const to = place(event);
    brush.hidden = false;
    brush.style.left = `${100 * Math.min(from, to)}%`;
    brush.style.width = `${100 * Math.abs(to - from)}%`;
  });
  time.addEventListener("pointerup", (event) => {
    if (from === null) return;
    const ends = [from, place(event)].sort((a, b) => a - b);
    from = null;
    brush.hidden = true;
    const [first, last] = [state.edges[0], state.edges[state.edges.length - 1]];
    if (ends[1] - ends[0] < 0.005 || !state.edges.length) return;
    const at = (share) => ({ time: new Date(Math.round(first + share * (last - first))).toISOString() });
    setTime({ ...about.time, value: [at(ends[0]), at(ends[1])] });
  });

  // ---- fields
  function drawFields() {
    const text = search.value.toLowerCase();
    const columns = get("columns");
    list.replaceChildren(...about.fields.filter((one) => one.label.toLowerCase().includes(text)).map((one) => {
      const box = make("input", {
        type: "checkbox", "aria-label": `show ${one.label} as a column`, title: "show as a column",
        onchange: () => set("columns", box.checked ? [...get("columns"), one.label] : get("columns").filter((name) => name !== one.label)),
      });
      box.style.width = "auto";
      box.checked = columns.includes(one.label);
      const row = make("div", {},
        make("div", { class: "lk-field" }, box,
          make("button", { "aria-expanded": String(state.open === one.label), title: `${one.label}: ${one.kind}, in ${percent(one.present)} of the records`, onclick: () => (state.open === one.label ? closeField() : openField(one.label)) },
            nameOf(one), make("span", { class: "lk-kind" }, one.kind))));
      row.dataset.label = one.label;
      return row;
    }));
    if (state.open) openField(state.open);
  }

  // of a name that is too long the beginning of its path goes first
  function nameOf(one) {
    const end = one.label.lastIndexOf(".") + 1;
    return make("span", { class: "lk-name" }, make("span", {}, one.label.slice(0, end)), make("span", {}, one.label.slice(end)));
  }

  function closeField() {
    state.open = null;
    drawFields();
  }

  async function openField(label) {
    state.open = label;
    const answer = await ask("values", { label });
    const row = [...list.children].find((one) => one.dataset.label === label);
    if (!row || state.open !== label) return;
    for (const other of list.children) other.querySelector(".lk-values")?.remove();
    for (const other of list.querySelectorAll("[aria-expanded]")) other.setAttribute("aria-expanded", "false");
    row.querySelector("[aria-expanded]").setAttribute("aria-expanded", "true");
    if (answer.error) { row.append(make("div", { class: "lk-values" }, answer.error)); return; }
    const shares = answer.top.map((one) => make("div", {},
      make("div", { class: "lk-value" }, make("span", { title: one.shown }, one.shown), make("b", {}, percent(one.count / Math.max(1, answer.present))),
        ...(one.value === null ? [] : onlyOrWithout({ field: answer.field, value: one.value, items: answer.items }, one.shown))),
      share(one.count / Math.max(1, answer.present))));
    const distinct = answer.distinct === null ? "" : `, ${answer.about ? "about " : ""}${number(answer.distinct)} distinct`;
    row.append(make("div", { class: "lk-values" }, make("div", {}, `${answer.items ? `${number(answer.present)} items in` : `in ${number(answer.present)} of`} ${number(answer.rows)}${distinct}`), answer.said ? make("div", {}, answer.said) : null,
      answer.numbers ? histogram(answer) : null, ...shares,
      answer.items ? null : make("button", { onclick: () => addFilter({ op: "has", field: answer.field }) }, "has it"),
      answer.items ? null : make("button", { onclick: () => addFilter({ op: "has", field: answer.field, negated: true }) }, "is missing")));
  }

  function share(part) {
    const line = make("div", { class: "lk-share" });
    line.style.width = `${100 * part}%`;
    return line;
  }

  function histogram(answer) {
    const { counts, edges } = answer.numbers;
    const most = Math.max(1, ...counts);
    const picture = document.createElementNS(SVG, "svg");
    picture.setAttribute("viewBox", `0 0 ${counts.length} 40`);
    picture.setAttribute("preserveAspectRatio", "none");
    picture.classList.add("lk-numbers");
    const high = (n) => (n === counts.length - 1 ? answer.numbers.end : edges[n + 1]);
    const pick = (ends) => addFilter({ op: "between", field: answer.field, value: [edges[Math.min(...ends)], high(Math.max(...ends))] });
    let begun = null;
    counts.forEach((count, n) => {
      const height = count ? Math.max(1, (40 * count) / most) : 0;
      const bar = rectangle({ x: n, y: 40 - height, width: 0.9, height, fill: COLOURS[0] }, "");
      const label = `${edges[n]} to ${edges[n + 1]}: ${number(count)}`;
      const whole = rectangle({ x: n, y: 0, width: 1, height: 40, fill: "transparent", tabindex: "0", role: "button", "aria-label": `only ${label}` },
        `${label}; click or drag: only these`);
      whole.addEventListener("pointerdown", (event) => { begun = n; event.preventDefault(); });
      whole.addEventListener("pointerenter", () => {
        if (begun !== null) [...picture.querySelectorAll("[role=button]")].forEach((one, at) => one.classList.toggle("lk-lit", (at - begun) * (at - n) <= 0));
      });
      whole.addEventListener("pointerup", () => { if (begun !== null) pick([begun, n]); });
      whole.addEventListener("keydown", (event) => { if (event.key === "Enter") pick([n]); });
      picture.append(bar, whole);
    });
    picture.addEventListener("pointerleave", () => { begun = null; for (const one of picture.querySelectorAll(".lk-lit")) one.classList.remove("lk-lit"); });
    return make("div", {}, picture, make("div", { class: "lk-axis" }, make("span", {}, String(edges[0])), make("span", {}, String(edges[edges.length - 1]))));
  }

  // ---- rows
  function drawHead() {
    head.replaceChildren(...[`time (${zone})`, ...get("columns")].map((label, place) => {
      const name = place ? label : "";
      return sized(make("div", { class: "lk-cell", role: "columnheader", title: label }, label, sizer(name, label)), place);
    }));
    sizeColumns();
  }

  // what a column's edge is dragged to, or moved to by arrow keys; a double click gives its own width back
  function sizer(name, label) {
    const edge = make("span", { class: "lk-size", role: "separator", tabindex: "0", "aria-orientation": "vertical", "aria-label": `width of ${label}`,
      "aria-valuemin": NARROWEST, "aria-valuemax": WIDEST, title: "drag to size the column" });
    const wide = () => edge.parentElement.getBoundingClientRect().width;
    const size = (px) => { state.widths = { ...get("widths"), [name]: Math.round(Math.min(WIDEST, Math.max(NARROWEST, px))) }; sizeColumns(); };
    const keep = () => { if (state.widths) set("widths", state.widths); };
    let begun = null;
    edge.addEventListener("pointerdown", (event) => { begun = event.clientX - wide(); edge.setPointerCapture(event.pointerId); event.preventDefault(); });
    edge.addEventListener("pointermove", (event) => { if (begun !== null) size(event.clientX - begun); });
    edge.addEventListener("pointerup", () => { begun = null; keep(); });
    edge.addEventListener("dblclick", () => { const { [name]: _, ...others } = get("widths"); set("widths", others); });
    edge.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -16, ArrowRight: 16 };
      if (!(event.key in steps)) return;
      size(wide() + steps[event.key]);
      keep();
      event.preventDefault();
      event.stopPropagation();
    });
    return edge;
  }

  function sizeColumns() {
    const widths = state.widths || get("widths");
    state.widths = null;
    ["", ...get("columns")].forEach((name, place) => {
      const px = widths[name];
      rows.style.setProperty(`--lk-${place}`, px ? `${px}px` : "");
      const edge = head.children[place]?.querySelector("[role=separator]");
      if (edge) edge.setAttribute("aria-valuenow", Math.round(edge.parentElement.getBoundingClientRect().width));
    });
  }

  const tall = () => Math.min(TALLEST, state.count * ROW);
  const shownRows = () => Math.ceil(rows.clientHeight / ROW);
  const firstRow = () => {
    const room = Math.max(1, tall() - rows.clientHeight + ROW);
    const share = Math.min(1, rows.scrollTop / room);
    return tall() < TALLEST ? Math.floor(rows.scrollTop / ROW) : Math.floor(share * Math.max(0, state.count - shownRows() + 1));
  };

  function sized(cell, place) {
    const own = place === 0 ? (zone === "UTC" ? 185 : 245) : state.fitting[place - 1] || (place === get("columns").length ? 420 : 150);
    cell.style.width = `var(--lk-${place}, ${own}px)`;
    return cell;
  }

  // px of a text in this page's letters, whatever they are
  const pen = document.createElement("canvas").getContext("2d");
  function wide(text, weight = 400) {
    const { fontFamily, fontSize } = getComputedStyle(el);
    pen.font = `${weight} ${fontSize} ${fontFamily}`;
    return pen.measureText(text).width;
  }

  // columns as wide as what the first rows have in them, until others are chosen
  function fitColumns(columns, rows) {
    const key = columns.join("\0");
    if (state.fitted === key || !rows.length) return;
    state.fitted = key;
    state.fitting = columns.map((name, n) => Math.ceil(Math.min(FITTING, Math.max(wide(name, 600) + 28, ...rows.map((row) => wide(row[n + 1]) + 20)))));
    drawHead();
  }

  function drawRows() {
    space.style.height = `${tall()}px`;
    const first = firstRow();
    const last = Math.min(state.count, first + shownRows() + 1);
    for (const old of rows.querySelectorAll(".lk-row")) old.remove();
    const columns = get("columns");
    for (let n = first; n < last; n += 1) {
      const cells = state.rows.get(n);
      const row = make("div", { class: `lk-row${n === state.here ? " lk-here" : ""}`, role: "row", "data-n": n, onclick: (event) => { if (!event.detail) show(n); } }, // a screen reader's
        ...(cells || ["…"]).map((text, place) => sized(make("div", { class: `lk-cell${text === "null" ? " lk-null" : ""}`, role: "gridcell", title: text }, text), place)));
      const top = tall() < TALLEST ? n * ROW : rows.scrollTop + (n - first) * ROW;
      row.style.top = `${top + ROW}px`;
      rows.append(row);
    }
    for (let start = Math.floor(first / PAGE) * PAGE; start < last; start += PAGE) fetchPage(start, columns);
  }

  async function fetchPage(start, columns) {
    if (state.rows.has(start) || state.asking.has(start) || start >= state.count) return;
    state.asking.add(start);
    const turn = state.turn;
    const answer = await ask("page", { start, count: PAGE, columns });
    state.asking.delete(start);
    if (turn !== state.turn || columns.join("\0") !== get("columns").join("\0")) return;
    if (answer.error) { wrong.textContent = answer.error; return; }
    if (state.rows.size > 50 * PAGE) state.rows.clear();
    answer.rows.forEach((row, n) => state.rows.set(start + n, row));
    if (start === 0) fitColumns(columns, answer.rows);
    drawRows();
  }

  // a press and a release on one row, which may be drawn anew between them: then there is no click
  const rowAt = (event) => Number(event.target.closest(".lk-row")?.dataset.n); // NaN beside the rows
  function press(event) { state.pressed = event.button === 0 ? rowAt(event) : NaN; }
  function release(event) { if (rowAt(event) === state.pressed) show(state.pressed); }

  async function show(n) {
    if (n < 0 || n >= state.count) return;
    state.here = n;
    const asked = ++state.asked;
    const first = firstRow();
    if (n < first || n >= first + shownRows() - 2) rows.scrollTop = tall() < TALLEST ? Math.max(0, (n - 2) * ROW) : (n / state.count) * tall();
    drawRows();
    await state.querying; // rows that come with it move state.here
    if (asked !== state.asked) return;
    const answer = await ask("detail", { place: state.here });
    if (asked === state.asked) drawDetail(answer);
  }

  // a record by its row: one beside the picked ones, too
  async function showRow(row) {
    const asked = ++state.asked;
    await state.querying;
    const answer = await ask("detail", { row });
    if (asked !== state.asked) return;
    if (answer.place !== null && !answer.error) { show(answer.place); return; }
    close();
    drawDetail(answer);
  }

  function drawDetail(answer) {
    const n = answer.place;
    const shut = make("button", { "aria-label": "close the record", title: "close (Escape)", onclick: close }, "×");
    const grab = make("button", { title: "the record's value", onclick: () => copyText(answer.value, grab) }, "copy JSON");
    const line = make("button", { title: "the code that reads this record", onclick: () => copyText(answer.code, line) }, "copy code");
    const pairs = (some) => some.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]);
    detail.hidden = false;
    if (answer.error) { detail.replaceChildren(answer.error); return; }
    detail.replaceChildren(
      make("div", { class: "lk-bar" }, make("b", {}, `${answer.time} ${zone}`),
        ...(n === null ? [make("i", {}, "not among the picked")]
          : [make("button", { "aria-label": "the newer record", onclick: () => show(state.here - 1) }, "↑"), make("button", { "aria-label": "the older record", onclick: () => show(state.here + 1) }, "↓")]), answer.value ? grab : null, line, shut),
      make("dl", {}, ...pairs(answer.facts)),
      answer.headers.length ? make("details", { class: "lk-headers" }, make("summary", {}, `${answer.headers.length} header${answer.headers.length === 1 ? "" : "s"}`), make("dl", {}, ...pairs(answer.headers))) : "",
      answer.tree ? make("div", { class: "lk-tree" }, ...answer.tree.map(branch)) : make("pre", {}, answer.value.split("\n").map(visible).join("\n")),
      answer.bytes ? make("details", { class: "lk-bytes" }, make("summary", {}, "bytes"), make("pre", {}, answer.bytes)) : "",
      make("div", { class: "lk-near" }, make("b", {}, "before and after it, whatever the filters"), ...answer.near.map((one) =>
        make("button", { "aria-current": one.here ? "true" : null, title: `${one.time} ${one.text}`, onclick: () => showRow(one.row) }, make("span", {}, one.time), ` ${one.text}`))));
  }

  // a field of the record, with what is in it; a value that can be asked for has buttons
  function branch(one) {
    const name = make("b", {}, visible(one.name));
    if (one.inner) return make("details", { open: "" }, make("summary", {}, name, ` ${number(one.count)}`), make("div", {}, ...one.inner.map(branch)));
    return make("div", { class: "lk-leaf" }, name, make("span", {}, visible(one.shown)), ...(one.filter ? onlyOrWithout(one.filter, visible(one.shown)) : []));
  }

  function onlyOrWithout(filter, text) {
    const add = (negated) => () => addFilter({ op: "is", ...filter, negated });
    return [make("button", { title: "only these", "aria-label": `only ${text}`, onclick: add(false) }, "+"),
      make("button", { title: "none of these", "aria-label": `without ${text}`, onclick: add(true) }, "−")];
  }

  function close() {
    state.here = -1;
    state.asked += 1;
    detail.hidden = true;
    for (const one of rows.querySelectorAll(".lk-here")) one.classList.remove("lk-here");
  }

  function keys(event) {
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: shownRows() - 2, PageUp: 2 - shownRows() };
    if (event.key in steps) show(Math.max(0, Math.min(state.count - 1, (state.here < 0 ? firstRow() - 1 : state.here) + steps[event.key])));
    else if (event.key === "Home") show(0);
    else if (event.key === "End") show(state.count - 1);
    else if (event.key === "Enter") show(Math.max(0, state.here));
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
  el.addEventListener("keydown", (event) => {
    if (event.key === "/" && !["INPUT", "SELECT"].includes(event.target.tagName)) { find.focus(); event.preventDefault(); }
    event.stopPropagation(); // the notebook's own keys do not act on it
  });

  async function act(action, button) {
    const tell = (text, bad) => { result.textContent = visible(text); result.classList.toggle("lk-error", Boolean(bad)); };
    if (action === "cell") {
      if (addCell(state.code)) tell("the code is in the cell below");
      else { await copyText(state.code, copy); tell("this page cannot add a cell: the code is copied, paste it into a cell"); }
      return;
    }
    button.disabled = true;
    tell(`${named[action]} …`);
    const answer = await ask("do", { action });
    button.disabled = false;
    tell(answer.error ? `${answer.error}${answer.hint ? ` (${answer.hint})` : ""}` : answer.done, answer.error);
  }

  // JupyterLab's widget manager knows its notebook; another page has none, or another
  function addCell(text) {
    const notebook = model.widget_manager?.context?.model;
    const insert = notebook?.sharedModel?.insertCell;
    if (!insert || !notebook.cells) return false;
    const views = (cell) => (cell.outputs?.toJSON?.() || []).map((one) => one.data?.["application/vnd.jupyter.widget-view+json"]?.model_id);
    for (let n = 0; n < notebook.cells.length; n += 1)
      if (views(notebook.cells.get(n)).includes(about.model)) {
        notebook.sharedModel.insertCell(n + 1, { cell_type: "code", source: text, metadata: { trusted: true } });
        return true;
      }
    return false;
  }

  async function copyText(text, button) {
    const before = button.textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "copied";
    } catch {
      const area = make("textarea", {});
      area.value = text;
      el.append(area);
      area.select();
      button.textContent = document.execCommand("copy") ? "copied" : "not allowed";
      area.remove();
    }
    setTimeout(() => { button.textContent = before; }, 1200);
  }

  const renewed = () => { about = model.get("about"); drawAbout(); drawFields(); };
  model.on("change:about", renewed);
  const followed = ["filters", "by", "columns", "widths"];
  const follow = followed.map((name) => [`change:${name}`, () => changed(name)]);
  for (const [name, handler] of follow) model.on(name, handler);
  const watched = new ResizeObserver(() => drawRows());
  watched.observe(rows);
  drawAbout();
  drawHead();
  drawFields();
  query();
  return () => {
    watched.disconnect();
    model.off("msg:custom", answered);
    model.off("change:about", renewed);
    for (const [name, handler] of follow) model.off(name, handler);
  };
}

export default { render };
