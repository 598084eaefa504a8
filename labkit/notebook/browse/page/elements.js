// What every part uses: elements, numbers, texts. All text goes in as text, never as HTML.

const COLOURS = ["#1976d2", "#e07b00", "#2e7d32", "#8e44ad", "#c2185b", "#00838f", "#757575"];
const SVG = "http://www.w3.org/2000/svg";

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const CONTROLS = "button, input, select, summary, [tabindex]";

// puts others into an element; the focus stays on the control of the same name, else at the same place
function refill(element, ...children) {
  const listControls = () => [...element.querySelectorAll(CONTROLS)];
  const nameOf = (control) => control?.getAttribute("aria-label") || control?.textContent;
  const focused = document.activeElement;
  const place = listControls().indexOf(focused);
  element.replaceChildren(...children);
  if (place < 0) return;
  const controls = listControls();
  const isSame = (control) => nameOf(control) === nameOf(focused);
  const same = [controls[place], ...controls].find(isSame);
  (same || controls[place] || controls.at(-1))?.focus({ preventScroll: true });
}

// what opens below its title; Escape closes it, and the focus that goes to another control
function makeMenu(title, name = "") {
  const closeIf = (isOver) => { if (isOver) menu.open = false; };
  const menu = make("details", {
    class: `lk-menu ${name}`,
    onkeydown: ({ key }) => closeIf(key === "Escape"),
    onfocusout: ({ relatedTarget }) => closeIf(relatedTarget && !menu.contains(relatedTarget)),
  }, make("summary", {}, title));
  return menu;
}

// a picture that is stretched to its place
function makeChart(attributes = {}) {
  const chart = document.createElementNS(SVG, "svg");
  chart.setAttribute("preserveAspectRatio", "none");
  for (const [name, value] of Object.entries(attributes)) chart.setAttribute(name, value);
  return chart;
}

function makeRectangle(attributes, text) {
  const element = document.createElementNS(SVG, "rect");
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  const tip = document.createElementNS(SVG, "title");
  tip.textContent = text;
  if (text) element.append(tip);
  return element;
}

const showNumber = (value) => Number(value).toLocaleString("en-US");

function showPercent(share) {
  const digits = share > 0.1 ? 0 : 1;
  return `${share > 0 && share < 0.001 ? "<0.1" : (100 * share).toFixed(digits)} %`;
}

const UNSEEN =
  /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

// as labkit.visible does: what controls or turns a text around is shown as its escape
function makeVisible(text) {
  const escape = (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return String(text).replace(UNSEEN, escape);
}

const makeLinesVisible = (text) => text.split("\n").map(makeVisible).join("\n");

// says on the button whether it could be copied
async function copyText(text, button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "copied";
  } catch {
    const area = make("textarea", {});
    area.value = text;
    button.parentElement.append(area);
    area.select();
    button.textContent = document.execCommand("copy") ? "copied" : "not allowed";
    area.remove();
  }
  setTimeout(() => { button.textContent = before; }, 1200);
}
