// The records over time, stacked by a field; dragging over it picks a time.

function makeTimeline(page) {
  const brush = make("div", { class: "lk-brush", hidden: "" });
  const chart = makeChart({ role: "img" });
  const axis = make("div", { class: "lk-axis" });
  const element = make("div", {
    class: "lk-time", "aria-label": "records over time: drag to pick a time",
    onpointerdown: begin, onpointermove: move, onpointerup: end,
  }, chart, brush, axis);
  const legend = make("div", { class: "lk-legend" });
  let edges = [];
  let from = null; // where a drag began: a share of the width

  function draw(count, histogram) {
    edges = histogram.edges;
    const bins = histogram.all.length;
    element.hidden = legend.hidden = bins === 0;
    chart.replaceChildren();
    legend.replaceChildren();
    if (!bins) return;
    chart.setAttribute("viewBox", `0 0 ${bins} 100`);
    const [first, last] = [edges[0], edges[bins]];
    const span = `from ${page.moment(first)} to ${page.moment(last)} ${page.zone}`;
    chart.setAttribute("aria-label", `${showNumber(count)} records ${span}`);
    const total = (n) => histogram.series.reduce((sum, { counts }) => sum + counts[n], 0);
    const most = Math.max(1, ...histogram.all.map((_, n) => total(n)));
    drawBars(histogram.series, bins, most);
    if (histogram.series.length > 1 || page.get("by")) drawLegend(histogram.series);
    drawAxis(first, last, histogram.undated, most);
  }

  function drawBars(series, bins, most) {
    const bottoms = new Array(bins).fill(100);
    series.forEach(({ counts, label }, place) => counts.forEach((count, n) => {
      if (!count) return;
      const height = Math.max(1, (100 * count) / most);
      bottoms[n] -= height;
      const fill = COLOURS[place % COLOURS.length];
      const time = `${page.moment(edges[n], true)} ${page.zone}`;
      const text = `${time}: ${showNumber(count)} ${label}`.trimEnd();
      chart.append(makeRectangle({ x: n + 0.05, y: bottoms[n], width: 0.9, height, fill }, text));
    }));
  }

  function drawLegend(series) {
    series.forEach(({ label }, place) => {
      const swatch = make("i", {});
      swatch.style.background = COLOURS[place % COLOURS.length];
      legend.append(make("span", {}, swatch, label));
    });
  }

  function drawAxis(first, last, undated, most) {
    const isShort = last - first < 60_000;
    const show = (ms) => page.moment(isShort ? ms : 1000 * Math.floor(ms / 1000));
    const between = undated ? `${showNumber(undated)} without a time` : `highest ${showNumber(most)}`;
    const texts = [`${show(first)} ${page.zone}`, between, show(last)];
    axis.replaceChildren(...texts.map((text) => make("span", { title: text }, text)));
  }

  function placeOf(event) {
    const share = (event.clientX - element.getBoundingClientRect().left) / element.clientWidth;
    return Math.min(1, Math.max(0, share));
  }

  function begin(event) {
    from = placeOf(event);
    element.setPointerCapture(event.pointerId);
  }

  function move(event) {
    if (from === null) return;
    const to = placeOf(event);
    brush.hidden = false;
    brush.style.left = `${100 * Math.min(from, to)}%`;
    brush.style.width = `${100 * Math.abs(to - from)}%`;
  }

  function end(event) {
    if (from === null) return;
    const [low, high] = [from, placeOf(event)].sort((a, b) => a - b);
    from = null;
    brush.hidden = true;
    if (high - low < 0.005 || !edges.length) return;
    const [first, last] = [edges[0], edges[edges.length - 1]];
    const at = (share) => ({ time: new Date(Math.round(first + share * (last - first))).toISOString() });
    page.setTime({ ...page.get("about").time, value: [at(low), at(high)] });
  }

  return { element, legend, draw };
}
