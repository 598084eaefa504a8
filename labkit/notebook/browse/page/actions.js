// The code that makes the same records, and what to do with them.

const ACTIONS = {
  cell: ["next cell", "put the code into a new cell below"],
  df: ["keep as df", "keep the picked records as a DataFrame in this notebook"],
  csv: ["CSV", "write the picked records to a CSV file"],
  parquet: ["Parquet", "write the picked records to a Parquet file"],
  scratch: ["scratch index", "load the picked records into a scratch index"],
  view: ["save view", "save records, filters and columns as JSON"],
};

function makeActions(page) {
  const shown = make("pre", {});
  const result = make("div", { class: "lk-result", role: "status", "aria-live": "polite" });
  const copy = make("button", { onclick: () => copyText(code, copy) }, "copy code");
  const buttons = ["cell", ...page.get("about").actions].map((action) => {
    const [label, title] = ACTIONS[action];
    const onclick = (event) => (action === "cell" ? putIntoCell() : act(action, event.currentTarget));
    return make("button", { title, "data-action": action, onclick }, label);
  });
  const elements = [
    make("div", { class: "lk-bar lk-code" }, shown),
    make("div", {
      class: "lk-bar lk-actions", role: "group", "aria-label": "what to do with the picked records",
    }, copy, ...buttons, result),
  ];
  let code = "";

  function draw(text) {
    code = text;
    shown.textContent = makeLinesVisible(text);
  }

  function tell(text, isError = false) {
    result.textContent = makeVisible(text);
    result.classList.toggle("lk-error", isError);
  }

  async function act(action, button) {
    button.disabled = true;
    tell(`${ACTIONS[action][0]} …`);
    const { error, hint, done } = await page.ask("do", { action });
    button.disabled = false;
    if (error) tell(hint ? `${error} (${hint})` : error, true);
    else tell(done);
  }

  async function putIntoCell() {
    if (addCell()) {
      tell("the code is in the cell below");
      return;
    }
    await copyText(code, copy);
    tell("this page cannot add a cell: the code is copied, paste it into a cell");
  }

  // JupyterLab's widget manager knows its notebook; another page has none, or another
  function addCell() {
    const notebook = page.model.widget_manager?.context?.model;
    const insert = notebook?.sharedModel?.insertCell;
    if (!insert || !notebook.cells) return false;
    for (let n = 0; n < notebook.cells.length; n += 1)
      if (showsThis(notebook.cells.get(n))) {
        const cell = { cell_type: "code", source: code, metadata: { trusted: true } };
        notebook.sharedModel.insertCell(n + 1, cell);
        return true;
      }
    return false;
  }

  function showsThis(cell) {
    const outputs = cell.outputs?.toJSON?.() || [];
    const widgets = outputs.map(({ data }) => data?.["application/vnd.jupyter.widget-view+json"]);
    return widgets.some((widget) => widget?.model_id === page.get("about").model);
  }

  return { elements, draw };
}
