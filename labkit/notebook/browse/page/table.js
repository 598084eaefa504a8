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
  const rows = new Map(); // the cells of those that are known
  const asking = new Set(); // the pages that are asked for
  let count = 0;
  let pressed = NaN; // the row

  const height = () => Math.min(TALLEST, count * ROW);
  const isWhole = () => height() < TALLEST; // else a row's place is a share of the height
  const rowsInSight = () => Math.ceil(element.clientHeight / ROW);

  function firstInSight() {
    if (isWhole()) return Math.floor(element.scrollTop / ROW);
    const room = Math.max(1, height() - element.clientHeight + ROW);
    const share = Math.min(1, element.scrollTop / room);
    return Math.floor(share * Math.max(0, count - rowsInSight() + 1));
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
    const texts = rows.get(n) || ["…"];
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
    if (turn !== page.turn || names.join("\0") !== page.get("columns").join("\0")) return;
    if (answer.error) { page.complain(answer); return; }
    if (rows.size > KEPT) rows.clear();
    answer.rows.forEach((row, n) => rows.set(start + n, row));
    if (start === 0) columns.fit(names, answer.rows);
    draw();
  }

  // takes another pick; its rows are to be asked for
  function reset(total) {
    count = total;
    rows.clear();
    asking.clear();
    columns.draw();
  }

  function drawFromTop() {
    element.scrollTop = 0;
    draw();
  }

  // draws after so many rows came on top: what is looked at stays where it is
  function drawMoved(added) {
    if ((element.scrollTop > 0 || page.record.place >= 0) && isWhole()) {
      space.style.height = `${height()}px`;
      element.scrollTop += added * ROW;
      pressed += added;
    }
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
    if (n < first || n >= first + rowsInSight() - 2)
      element.scrollTop = isWhole() ? Math.max(0, (n - 2) * ROW) : (n / count) * height();
    draw();
  }

  // a press and a release on one row, which may be drawn anew between them: then there is no click
  const rowAt = (event) => Number(event.target.closest(".lk-row")?.dataset.n); // NaN beside the rows
  function press(event) { pressed = event.button === 0 ? rowAt(event) : NaN; }
  function release(event) { if (rowAt(event) === pressed) page.record.show(pressed); }

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
    element, draw, drawFromTop, drawMoved, drawWidths: () => columns.drawWidths(), drawColumns, reset, reveal,
    get count() { return count; },
  };
}
