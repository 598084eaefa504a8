// What the parts share: the kernel, which answers questions, the state it keeps, and what went wrong.

function openPage(model, el) {
  const waiting = new Map();
  const wrong = make("div", { class: "lk-error", role: "alert" });
  let questions = 0;

  const get = (name) => model.get(name);

  function set(name, value) {
    model.set(name, value); // tells who listens, as a change from the kernel does
    model.save_changes();
  }

  // resolves with the kernel's answer
  function ask(kind, body) {
    return new Promise((resolve) => {
      questions += 1;
      waiting.set(questions, resolve);
      model.send({ kind, number: questions, ...body });
    });
  }

  function take(answer) {
    const resolve = waiting.get(answer.number);
    waiting.delete(answer.number);
    resolve?.(answer);
  }

  function complain({ error, hint }) {
    wrong.textContent = error ? [error, hint].filter(Boolean).join("\n") : "";
  }

  function addFilter(filter) {
    set("filters", [...get("filters"), { on: true, negated: false, ...filter }]);
  }

  // there is one filter of the records' time
  function setTime(filter) {
    const time = get("about").time.field.join("\0");
    const isTime = ({ op, field }) => op === "between" && (field || []).join("\0") === time;
    const others = get("filters").filter((other) => !isTime(other));
    set("filters", [...others, { on: true, negated: false, ...filter }]);
  }

  return {
    model, el, wrong, get, set, ask, take, complain, addFilter, setTime,
    ...makeClock(get("about").zone),
    turn: 0, // of the last query
    answered: 0, // of the last one whose answer is here
  };
}
