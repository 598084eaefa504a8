// One record in full: its fields as a tree, key, headers, bytes, and its neighbours in time.

function makeRecord(page) {
  const element = make("div", { class: "lk-detail", hidden: "", "aria-label": "the record" });
  let place = -1; // of the record among the picked ones; -1 without one
  let turn = 0;

  async function show(n) {
    if (n < 0 || n >= page.table.count) return;
    place = n;
    const asked = ++turn;
    page.table.reveal(n);
    await page.querying; // rows that come with it move its place
    if (asked !== turn) return;
    const answer = await page.ask("detail", { place });
    if (asked === turn) draw(answer);
  }

  // a record by its row: one beside the picked ones, too
  async function showRow(row) {
    const asked = ++turn;
    await page.querying;
    const answer = await page.ask("detail", { row });
    if (asked !== turn) return;
    if (answer.place !== null && !answer.error) { show(answer.place); return; }
    close();
    draw(answer);
  }

  function close() {
    place = -1;
    turn += 1;
    element.hidden = true;
    for (const row of page.el.querySelectorAll(".lk-here")) row.classList.remove("lk-here");
  }

  // so many records came before it
  function move(added) {
    if (place >= 0) place += added;
  }

  // its place may be another one
  function renew() {
    if (place < 0) close();
    else show(place);
  }

  function draw(answer) {
    element.hidden = false;
    if (answer.error) { element.replaceChildren(answer.error); return; }
    element.replaceChildren(
      makeBar(answer),
      make("dl", {}, ...answer.facts.flatMap(makePair)),
      makeHeaders(answer.headers),
      answer.tree ? make("div", { class: "lk-tree" }, ...answer.tree.map(makeBranch))
        : make("pre", {}, makeLinesVisible(answer.value)),
      makeBytes(answer.bytes),
      makeNeighbours(answer.near),
    );
  }

  function makeBar({ place: n, time, value, code }) {
    const copyValue = make("button", {
      title: "the record's value", onclick: () => copyText(value, copyValue),
    }, "copy JSON");
    const copyCode = make("button", {
      title: "the code that reads this record", onclick: () => copyText(code, copyCode),
    }, "copy code");
    const steps = n === null ? [make("i", {}, "not among the picked")] : [
      make("button", { "aria-label": "the newer record", onclick: () => show(place - 1) }, "↑"),
      make("button", { "aria-label": "the older record", onclick: () => show(place + 1) }, "↓"),
    ];
    const shut = make("button", {
      "aria-label": "close the record", title: "close (Escape)", onclick: close,
    }, "×");
    return make("div", { class: "lk-bar" }, make("b", {}, `${time} ${page.zone}`), ...steps,
      value ? copyValue : null, copyCode, shut);
  }

  const makePair = ([name, value]) => [make("dt", {}, name), make("dd", {}, value)];

  function makeHeaders(headers) {
    if (!headers.length) return "";
    const title = `${headers.length} header${headers.length === 1 ? "" : "s"}`;
    return make("details", { class: "lk-headers" }, make("summary", {}, title),
      make("dl", {}, ...headers.flatMap(makePair)));
  }

  function makeBytes(bytes) {
    if (!bytes) return "";
    return make("details", { class: "lk-bytes" }, make("summary", {}, "bytes"), make("pre", {}, bytes));
  }

  // a field of the record, with what is in it; a value that can be asked for has buttons
  function makeBranch({ name, inner, count, shown, filter }) {
    const label = make("b", {}, makeVisible(name));
    if (inner)
      return make("details", { open: "" }, make("summary", {}, label, ` ${showNumber(count)}`),
        make("div", {}, ...inner.map(makeBranch)));
    const text = makeVisible(shown);
    const buttons = filter ? makeValueButtons(page, filter, text) : [];
    return make("div", { class: "lk-leaf" }, label, make("span", {}, text), ...buttons);
  }

  function makeNeighbours(near) {
    const buttons = near.map(({ row, time, text, here }) => make("button", {
      "aria-current": here ? "true" : null, title: `${time} ${text}`, onclick: () => showRow(row),
    }, make("span", {}, time), ` ${text}`));
    const title = make("b", {}, "before and after it, whatever the filters");
    return make("div", { class: "lk-near" }, title, ...buttons);
  }

  return { element, show, close, move, renew, get place() { return place; } };
}
