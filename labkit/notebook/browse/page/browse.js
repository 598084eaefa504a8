// labkit's browser of records: the parts, put together, and what each change draws anew.

const FOLLOWED = ["filters", "by", "columns", "widths"]; // of the state that the kernel keeps

function render({ model, el }) {
  const page = openPage(model, el);
  const bar = makeBar(page);
  const chips = makeChips(page);
  const timeline = makeTimeline(page);
  const fields = makeFields(page);
  const actions = makeActions(page);
  const kept = makeKept(page);
  page.table = makeTable(page);
  page.record = makeRecord(page);
  page.query = query;
  const main = make("div", { class: "lk-main" }, fields.element, page.table.element, page.record.element);
  el.classList.add("lk-browse");
  el.style.containerType = "inline-size";
  el.append(bar.element, kept, chips.element, page.wrong, timeline.element, timeline.legend, main,
    ...actions.elements);

  // grew: more records are here, wherever their times put them; what is looked at stays where it is
  async function query(grew = false) {
    const turn = ++page.turn;
    const open = page.record.id;
    const seen = grew ? page.table.lookAt() : {};
    const state = { filters: page.get("filters"), by: page.get("by") };
    const answer = await page.ask("query", { ...state, ids: [open, seen.id] });
    if (turn !== page.turn) return;
    page.answered = turn;
    page.complain(answer);
    if (answer.error) return;
    const [openPlace, seenPlace] = answer.places;
    bar.drawPicked(answer);
    actions.draw(answer.code);
    timeline.draw(answer.count, answer.histogram);
    page.record.move(open, openPlace);
    if (grew) page.table.grow(answer.count, seenPlace === null ? 0 : seenPlace - seen.place);
    else {
      page.table.begin(answer.count);
      fields.reopen();
    }
  }

  function drawChange(name) {
    kept.replaceChildren(); // it is another pick now
    if (name === "widths") page.table.drawWidths();
    else if (name === "columns") {
      page.table.drawColumns();
      fields.draw();
    } else {
      if (name === "filters") chips.draw();
      page.query();
    }
  }

  function drawAbout() {
    bar.draw();
    fields.draw();
  }

  function hear(message) {
    if (message.live !== undefined) {
      bar.drawNews(message);
      if (message.grown) page.query(true);
    } else if (message.number !== undefined) page.take(message);
    else hearFilled(message);
  }

  // the older records are read, or are here
  function hearFilled({ said, filled }) {
    if (said) bar.say(said);
    if (filled) page.query(true).then(page.record.renew);
  }

  el.addEventListener("keydown", (event) => {
    if (event.key === "/" && !["INPUT", "SELECT"].includes(event.target.tagName)) {
      bar.focus();
      event.preventDefault();
    }
    event.stopPropagation(); // the notebook's own keys do not act on it
  });

  const listeners = [
    ["msg:custom", hear],
    ["change:about", drawAbout],
    ...FOLLOWED.map((name) => [`change:${name}`, () => drawChange(name)]),
  ];
  for (const [event, listen] of listeners) model.on(event, listen);
  const watched = new ResizeObserver(() => page.table.draw());
  watched.observe(page.table.element);
  drawAbout();
  page.table.drawColumns();
  chips.draw();
  page.query();
  return () => {
    watched.disconnect();
    for (const [event, listen] of listeners) model.off(event, listen);
  };
}

// what was clicked before, and the way back to the beginning
function makeKept(page) {
  const { kept, columns } = page.get("about");
  const element = make("div", { class: "lk-kept" });
  if (!kept) return element;
  const beginning = { filters: [], by: "", columns, widths: {} };
  const beginAnew = () => Object.entries(beginning).forEach(([name, value]) => page.set(name, value));
  element.append(kept, " ", make("button", { onclick: beginAnew }, "begin anew"));
  return element;
}

export default { render };
