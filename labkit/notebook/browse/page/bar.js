// The bar on top: which records they are, how many of them, what to find in them, and what comes.

function makeBar(page) {
  const about = page.get("about");
  const title = make("span", { class: "lk-title" });
  const said = make("span", { "aria-live": "polite" }); // what of the records is here
  const picked = make("span", { role: "status", "aria-live": "polite" });
  const find = makeFind(page);
  const when = makeWhen(page);
  const by = makeBy(page);
  const part = makePart(page, said);
  const follow = makeFollow(page);
  const element = make("div", { class: "lk-bar" }, title, said, picked,
    about.part ? part.element : null, about.live ? follow.button : null, follow.pace,
    find, about.time.field.length ? when.element : null, by, when.late);

  function draw() {
    const { title: name, said: text, whole } = page.get("about");
    title.textContent = name;
    said.textContent = text;
    said.className = whole ? "" : "lk-part";
    part.draw();
  }

  function drawPicked({ count, there }) {
    picked.textContent = count === there ? "" : `${showNumber(count)} picked`;
    by.value = page.get("by");
  }

  // records came while they are followed
  function drawNews(news) {
    follow.draw(news);
    said.textContent = news.said;
  }

  const say = (text) => { said.textContent = text; };
  return { element, draw, drawPicked, drawNews, say, focus: () => find.focus() };
}

function makeFind(page) {
  const { language, finds } = page.get("about");

  function addTyped() {
    const text = find.value.trim();
    if (!text) return;
    find.value = "";
    const isCondition = text.startsWith("=");
    page.addFilter(isCondition ? { op: "sql", value: text.slice(1).trim() } : { op: "text", value: text });
  }

  const find = make("input", {
    class: "lk-find", type: "search", placeholder: `find a text, or ${language} after = (/)`,
    title: finds, "aria-label": `find a text, or a condition in ${language} after =`,
    onkeydown: (event) => event.key === "Enter" && addTyped(),
  });
  return find;
}

const USUAL_TIMES = ["last 15 minutes", "last 1 hour", "last 24 hours", "last 7 days", "today", "yesterday"];

// a time that is typed, or one of the usual ones, and why it is none
function makeWhen(page) {
  const id = `lk-late-${page.get("about").model}`;
  const late = make("div", { class: "lk-late", role: "alert", id });

  async function addTime(typed) {
    const text = typed.trim();
    const answer = text ? await page.ask("span", { text }) : {};
    late.textContent = answer.error ? `${answer.error}: ${answer.hint}` : "";
    input.setAttribute("aria-invalid", String(Boolean(answer.error)));
    if (!answer.filter) return;
    input.value = "";
    page.setTime(answer.filter);
  }

  const input = make("input", {
    class: "lk-when", type: "text", placeholder: "time: 14:00–15:00 …",
    "aria-label": `a time (${page.zone}), such as yesterday, last 2h, 14:00–15:00`,
    "aria-describedby": id, onkeydown: (event) => event.key === "Enter" && addTime(input.value),
  });
  const usual = makeMenu("times");
  const choose = (text) => () => {
    usual.open = false;
    usual.querySelector("summary").focus();
    addTime(text);
  };
  const buttons = USUAL_TIMES.map((text) => make("button", { onclick: choose(text) }, text));
  usual.append(make("div", {}, ...buttons));
  return { element: make("span", { class: "lk-times" }, input, usual), late };
}

function makeBy(page) {
  const isPlain = ({ kind, items }) => !["object", "list", "map"].includes(kind) && !items;
  const labels = page.get("about").fields.filter(isPlain).map(({ label }) => label);
  const select = make("select", {
    "aria-label": "stack the histogram by", onchange: () => page.set("by", select.value),
  }, make("option", { value: "" }, "by …"), ...labels.map((value) => make("option", { value }, value)));
  return select;
}

// how many of a topic's newest records, of which partitions
function makePart(page, said) {
  const id = `lk-counts-${page.get("about").model}`;
  const last = make("input", {
    class: "lk-last", type: "text", inputmode: "numeric", list: id,
    "aria-label": "how many of the newest records", title: "how many of the newest records",
    onchange: () => open(), onkeydown: (event) => event.key === "Enter" && open(),
  });
  const counts = [1e3, 1e4, 1e5, 1e6].map((count) => make("option", { value: showNumber(count) }));
  const partitions = makeMenu("", "lk-partitions");
  const element = make("span", { class: "lk-newest" }, "newest ", last,
    make("datalist", { id }, ...counts), partitions);
  let opening;

  function draw() {
    const { part } = page.get("about");
    if (!part) return;
    if (document.activeElement !== last) last.value = showNumber(part.last);
    const all = part.chosen.length === part.partitions.length;
    const chosen = `${all ? "all" : part.chosen.length} of ${showNumber(part.partitions.length)} partitions`;
    const boxes = part.partitions.map((partition) => makeBox(partition, part.chosen.includes(partition)));
    refill(partitions, make("summary", {}, chosen), make("div", {}, ...boxes));
  }

  function makeBox(partition, checked) {
    const box = make("input", {
      type: "checkbox", value: partition, "aria-label": `partition ${partition}`,
      onchange: () => { clearTimeout(opening); opening = setTimeout(open, 600); },
    });
    box.checked = checked;
    return make("label", {}, box, ` ${partition}`);
  }

  async function open() {
    const { part, said: before } = page.get("about");
    const count = last.value.replace(/[,_\s]/g, "");
    const chosen = [...partitions.querySelectorAll("input:checked")].map((box) => Number(box.value));
    if (count === String(part.last) && chosen.join() === part.chosen.join()) return;
    said.textContent = "reading …";
    const answer = await page.ask("open", { last: count, partitions: chosen });
    page.complain(answer);
    last.setAttribute("aria-invalid", String(Boolean(answer.error)));
    if (answer.error) {
      said.textContent = before;
      return;
    }
    page.record.close();
    page.query();
  }

  return { element, draw };
}

// what comes into the topic from now on
function makeFollow(page) {
  const pace = make("span", { class: "lk-pace" });
  const isFollowing = () => button.getAttribute("aria-pressed") === "true";
  const button = make("button", {
    class: "lk-live", "aria-pressed": "false", title: "take what comes into the topic from now on",
    onclick: async () => {
      const answer = await page.ask("follow", { on: !isFollowing() });
      if (answer.error) page.complain(answer);
    },
  }, "follow");

  function draw({ running, live }) {
    button.setAttribute("aria-pressed", String(running));
    button.textContent = running ? "pause" : "follow";
    pace.textContent = makeVisible(live);
  }

  return { button, pace, draw };
}
