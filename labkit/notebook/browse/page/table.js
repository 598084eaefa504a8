// The records, newest first: only the rows in sight are drawn, and pages of them asked for.

const ROW = 24; // px
const TALLEST = 8_000_000; // px: browsers end at about 16 million
const PAGE = 100; // rows asked for at once
const KEPT = 50 * PAGE; // rows

function makeTable(page) {
  const space = make("div", {}); // as tall as all rows
  const element = make("div", {
    class: "lk-rows", tabindex: "0", role: "grid", "aria-label": "records, newest first",
    onscroll: () => draw(), onpointerdown: press, onpointerup: release, onkeydown: act,
  });
  const columns = makeColumns(page, element);
  element.append(columns.head, space);
  const rows = new Map(); // the id and the cells of those that are known
  const asking = new Set(); // the pages that are asked for
  let count = 0;
  let pressed = {}; // the row, its id, and where

  const height = () => Math.min(TALLEST, count * ROW);
  const isWhole = () => height() < TALLEST; // else a row's place is a share of the height
  const rowsInSight = () => Math.ceil(element.clientHeight / ROW);

  const room = () => Math.max(1, height() - element.clientHeight + ROW);
  const lastFirst = () => Math.max(0, count - rowsInSight() + 1); // in sight at the end

  function firstInSight() {
    if (isWhole()) return Math.floor(element.scrollTop / ROW);
    return Math.floor(Math.min(1, element.scrollTop / room()) * lastFirst());
  }

  // scrolls so that a row is the first in sight
  function scrollTo(n) {
    space.style.height = `${height()}px`;
    element.scrollTop = isWhole() ? n * ROW : (room() * (n && n + 0.5)) / Math.max(1, lastFirst());
  }

  function draw() {
    space.style.height = `${height()}px`;
    const first = firstInSight();
    const last = Math.min(count, first + rowsInSight() + 1);
    for (const old of element.querySelectorAll(".lk-row")) old.remove();
    for (let n = first; n < last; n += 1) {
      const top = isWhole() ? n * ROW : element.scrollTop + (n - first) * ROW;
      element.append(makeRow(n, top + ROW)); // below the head
    }
    for (let start = Math.floor(first / PAGE) * PAGE; start < last; start += PAGE) fetchPage(start);
  }

  function makeRow(n, top) {
    const texts = rows.get(n)?.cells || ["…"];
    const row = make("div", {
      class: `lk-row${n === page.record.place ? " lk-here" : ""}`, role: "row", "data-n": n,
      onclick: (event) => { if (!event.detail) page.record.show(n); }, // a screen reader's
    }, ...texts.map(makeCell));
    row.style.top = `${top}px`;
    return row;
  }

  function makeCell(text, place) {
    const name = `lk-cell${text === "null" ? " lk-null" : ""}`;
    return columns.size(make("div", { class: name, role: "gridcell", title: text }, text), place);
  }

  async function fetchPage(start) {
    if (rows.has(start) || asking.has(start) || start >= count) return;
    asking.add(start);
    const turn = page.turn;
    const names = page.get("columns");
    const answer = await page.ask("page", { start, count: PAGE, columns: names });
    asking.delete(start);
    if (turn !== page.answered || names.join("\0") !== page.get("columns").join("\0")) return;
    if (answer.error) { page.complain(answer); return; }
    if (rows.size > KEPT) rows.clear();
    answer.lines.forEach(([id, cells], n) => rows.set(start + n, { id, cells }));
    if (start === 0) columns.fit(names, answer.lines.map(([, cells]) => cells));
    draw();
  }

  // takes another pick; its rows are to be asked for
  function reset(total) {
    count = total;
    rows.clear();
    asking.clear();
  }

  // draws another pick from its top
  function begin(total) {
    reset(total);
    element.scrollTop = 0;
    draw();
  }

  const idOf = (n) => rows.get(n)?.id;

  // what is looked at: the open record, else the first known one in sight; none at the very top
  function lookAt() {
    const first = firstInSight();
    const last = first + rowsInSight();
    const { id, place } = page.record;
    if (id && place >= first && place < last) return { id, place };
    if (element.scrollTop > 0)
      for (let n = first; n < last; n += 1) if (idOf(n)) return { id: idOf(n), place: n };
    return {};
  }

  // draws more records, of which so many more are before what is looked at
  function grow(total, before) {
    const first = firstInSight();
    const rest = isWhole() ? element.scrollTop - first * ROW : 0;
    reset(total);
    scrollTo(first + before);
    if (isWhole()) element.scrollTop += rest;
    draw();
  }

  function drawColumns() {
    columns.forget();
    rows.clear();
    columns.draw();
    draw();
  }

  // brings a row in sight
  function reveal(n) {
    const first = firstInSight();
    if (n < first || n >= first + rowsInSight() - 2) scrollTo(Math.max(0, n - 2));
    draw();
  }

  // A press and a release at one place: between them the row may be drawn anew, where there is no
  // click, or another one take its place.
  const rowAt = (event) => Number(event.target.closest(".lk-row")?.dataset.n); // NaN beside the rows
  function press(event) {
    const n = event.button === 0 ? rowAt(event) : NaN;
    pressed = { n, id: idOf(n), y: event.clientY };
  }

  function release({ clientY }) {
    const { n, id, y } = pressed;
    if (!(Math.abs(clientY - y) < ROW / 2)) return;
    if (!id || id === idOf(n)) page.record.show(n);
    else page.record.open(id);
  }

  function act(event) {
    const { record } = page;
    const many = rowsInSight() - 2;
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: many, PageUp: -many };
    const from = record.place < 0 ? firstInSight() - 1 : record.place;
    if (event.key in steps) record.show(Math.max(0, Math.min(count - 1, from + steps[event.key])));
    else if (event.key === "Home") record.show(0);
    else if (event.key === "End") record.show(count - 1);
    else if (event.key === "Enter") record.show(Math.max(0, record.place));
    else if (event.key === "Escape") record.close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  return {
    element, draw, begin, grow, drawWidths: () => columns.drawWidths(), drawColumns, reveal, idOf, lookAt,
    get count() { return count; },
  };
}
