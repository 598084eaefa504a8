// One record in full: its fields as a tree, key, headers, bytes, and its neighbours in time.

function makeRecord(page) {
  const element = make("div", {
    class: "lk-detail", hidden: "", "aria-label": "the record",
    onkeydown: (event) => event.key === "Escape" && close(),
  });
  let id = null; // of the record; null without one, or while the kernel is asked for it
  let place = -1; // among the picked ones; -1 beside them
  let turn = 0;
  let shown = {};

  // the record that has a place among the picked ones
  function show(n) {
    if (!(n >= 0 && n < page.table.count)) return;
    id = page.table.idOf(n) || null;
    place = n;
    page.table.reveal(n);
    ask();
  }

  // a record wherever it is, beside the picked ones too
  function open(other) {
    id = other;
    place = -1;
    ask();
  }

  async function ask() {
    const asked = ++turn;
    const answer = await page.ask("detail", { id, place: place < 0 ? null : place });
    if (asked !== turn) return;
    const before = place;
    id = answer.id || null;
    place = answer.place ?? -1;
    if (place >= 0 && place !== before) page.table.reveal(place);
    else page.table.draw();
    draw(answer);
  }

  function close() {
    id = null;
    place = -1;
    turn += 1;
    if (element.contains(document.activeElement)) page.table.element.focus({ preventScroll: true });
    element.hidden = true;
    page.table.draw();
  }

  // the place of `other` is another now
  function move(other, to) {
    if (!id) return;
    if (String(other) !== String(id)) { ask(); return; } // opened since the kernel was asked
    place = to ?? -1;
    if ((place < 0) === (shown.place === null)) return;
    shown = { ...shown, place: to };
    element.querySelector(".lk-bar")?.replaceWith(makeBar(shown));
  }

  // its neighbours may be others
  function renew() {
    if (id) ask();
  }

  function draw(answer) {
    shown = answer;
    element.hidden = false;
    if (answer.error) { element.replaceChildren(answer.error); return; }
    refill(
      element, makeBar(answer),
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
    const buttons = near.map(({ id: other, time, text, here }) => make("button", {
      "aria-current": here ? "true" : null, title: `${time} ${text}`, onclick: () => open(other),
    }, make("span", {}, time), ` ${text}`));
    const title = make("b", {}, "before and after it, whatever the filters");
    return make("div", { class: "lk-near" }, title, ...buttons);
  }

  return {
    element, show, open, close, move, renew,
    get id() { return id; },
    get place() { return place; },
  };
}
