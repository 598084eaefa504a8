// The filters as chips: used or not, turned around, changed, removed.

function makeChips(page) {
  const element = make("div", { class: "lk-chips" });

  function draw() {
    const hadFocus = element.contains(document.activeElement);
    refill(element, ...page.get("filters").map(makeChip));
    if (hadFocus && !element.children.length) page.el.querySelector(".lk-find").focus();
  }

  function change(place, what) {
    page.set("filters", page.get("filters").map((chip, n) => (n === place ? { ...chip, ...what } : chip)));
  }

  function remove(place) {
    page.set("filters", page.get("filters").filter((_, n) => n !== place));
  }

  function makeChip(chip, place) {
    const label = describe(chip);
    const used = make("input", {
      type: "checkbox", title: "use it", "aria-label": `use: ${label}`,
      onchange: () => change(place, { on: !chip.on }),
    });
    used.checked = chip.on;
    const word = writeValue(chip) === null
      ? make("span", { class: "lk-word" }, label)
      : make("button", {
        class: "lk-word", title: "change it", "aria-label": `change: ${label}`,
        onclick: (event) => edit(event.currentTarget, chip, place),
      }, label);
    return make("span", { class: `lk-chip${chip.on ? "" : " lk-off"}${chip.negated ? " lk-not" : ""}` },
      used, word,
      make("button", {
        title: "turn it around", "aria-label": `turn around: ${label}`,
        onclick: () => change(place, { negated: !chip.negated }),
      }, "±"),
      make("button", {
        title: "remove", "aria-label": `remove: ${label}`, onclick: () => remove(place),
      }, "×"));
  }

  function edit(button, chip, place) {
    const text = writeValue(chip);
    const input = make("input", {
      class: "lk-edit", type: "text", "aria-label": `change: ${describe(chip)}`,
      size: Math.min(60, text.length + 4),
    });
    input.value = text;
    let open = true;
    const focusChip = () => element.children[place]?.querySelector("button")?.focus();
    const leave = () => { if (open) { open = false; draw(); } };
    input.addEventListener("keydown", async (event) => {
      if (event.key === "Escape") { leave(); focusChip(); }
      if (event.key !== "Enter") return;
      const answer = await page.ask("change", { filter: chip, text: input.value });
      page.complain(answer);
      input.setAttribute("aria-invalid", String(Boolean(answer.error)));
      if (answer.error || !open) return;
      open = false;
      if (JSON.stringify(answer.filter) === JSON.stringify(chip)) draw();
      else change(place, answer.filter);
      focusChip();
    });
    input.addEventListener("blur", leave);
    button.replaceWith(input);
    input.focus();
    input.select();
  }

  // ---- a chip in words

  function describe({ op, value, field, negated }) {
    const name = makeVisible((field || []).join("."));
    const not = negated ? "not " : "";
    if (op === "sql") return `${not}${makeVisible(value)}`;
    if (op === "text") return `${not}“${makeVisible(value)}”${name ? ` in ${name}` : ""}`;
    if (op === "has") return `${not}has ${name}`;
    if (op === "between") return `${not}${name}: ${value.map((end) => showEnd(end)).join(" … ")}`;
    return `${not}${name} ${value === null ? "is missing" : `= ${showValue(value)}`}`;
  }

  // its value as it is typed; null where there is none to change
  function writeValue({ op, value }) {
    if (op === "sql" || op === "text") return value;
    if (op === "between") return writeSpan(value);
    if (op !== "is" || value === null) return null;
    return typeof value === "string" ? value : showValue(value, true);
  }

  function writeSpan([low, high]) {
    if (low === null && typeof high === "object") return `before ${showValue(high, true)}`;
    if (high === null && typeof low === "object") return `since ${showValue(low, true)}`;
    return `${showEnd(low, true)} … ${showEnd(high, true)}`;
  }

  const showEnd = (end, exact) => (end === null ? "" : showValue(end, exact));

  function showValue(value, exact) {
    if (value === null || typeof value !== "object") return makeVisible(value);
    return "type" in value ? makeVisible(value.text) : page.moment(Date.parse(value.time), exact);
  }

  return { element, draw };
}

// the buttons beside a value: only these, none of these
function makeValueButtons(page, filter, text) {
  const add = (negated) => () => page.addFilter({ op: "is", ...filter, negated });
  return [
    make("button", { title: "only these", "aria-label": `only ${text}`, onclick: add(false) }, "+"),
    make("button", { title: "none of these", "aria-label": `without ${text}`, onclick: add(true) }, "−"),
  ];
}
