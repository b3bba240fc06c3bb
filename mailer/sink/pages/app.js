"use strict";

// Everything that comes from a message is put in as text; only the sandboxed frame ever sees its HTML.

const $ = (id) => document.getElementById(id);
// `wish` is the view that was asked for; a message that has none of it shows another, and the next one has it again.
const state = { list: [], search: "", asked: 0, number: null, message: null, wish: "html", view: "html", width: "" };

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

async function get(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer;
}

// What arrives while older messages are on their way does not turn those back; `last`: they go on behind it.
async function refresh(older = false) {
  const search = $("search").value;
  const last = state.list.at(-1)?.number;
  const asked = older ? state.asked : ++state.asked;
  const query = new URLSearchParams({ search });
  if (older && last !== undefined) query.set("before", last);
  const page = await (await get(`/messages?${query}`)).json();
  // Somebody has typed on, or asked twice.
  if (older ? search !== state.search || last !== state.list.at(-1)?.number : asked !== state.asked) return;
  merge(page, older, search);
  const count = `${state.list.length}${$("more").hidden ? "" : "+"}`;
  $("count").textContent = state.list.length ? `${count} message${count === "1" ? "" : "s"}` : "";
  $("empty").hidden = state.list.length > 0;
  $("empty").textContent = $("search").value ? "Nothing like that." : "Nothing has arrived yet.";
  renew($("list"));
}

// A line that is there stays the same element: a click on it may be half done.
function renew(list) {
  const wanted = new Set(state.list.map((entry) => entry.number));
  for (const item of [...list.children]) if (!wanted.has(item.number)) item.remove();
  let next = list.firstElementChild;
  for (const entry of state.list) {
    if (next?.number === entry.number) next = next.nextElementSibling;
    else list.insertBefore(line(entry), next);
  }
  for (const item of list.children) {
    if (item.number === state.number) item.firstElementChild.setAttribute("aria-current", "true");
    else item.firstElementChild.removeAttribute("aria-current");
  }
}

// What comes in while older messages are looked at does not take them away.
function merge(page, older, search) {
  const kept = search !== state.search ? [] : older ? state.list : state.list.filter((entry) => entry.number < (page.at(-1)?.number ?? 0));
  state.search = search;
  if (older || !kept.length) $("more").hidden = page.length < 200;
  state.list = older ? [...kept, ...page] : [...page, ...kept];
}

function size(octets) {
  if (octets < 1000) return `${octets} byte${octets === 1 ? "" : "s"}`;
  return octets < 1e6 ? `${(octets / 1000).toFixed(1)} kB` : `${(octets / 1e6).toFixed(1)} MB`;
}

function line(entry) {
  const to = entry.recipients[0] + (entry.recipients.length > 1 ? ` and ${entry.recipients.length - 1} more` : "");
  const at = new Date(entry.at);
  const today = at.toDateString() === new Date().toDateString();
  const time = today ? at.toLocaleTimeString() : at.toLocaleString();
  const button = make("button", { type: "button" },
    make("b", { textContent: entry.subject || "(no subject)", dir: "auto" }), make("span", { textContent: `${time}  ${to}` }));
  button.addEventListener("click", () => { location.hash = entry.number; });
  return make("li", { number: entry.number }, button);
}

async function open(number) {
  state.number = number;
  document.body.classList.toggle("reading", number !== null);
  $("message").hidden = number === null;
  $("hint").hidden = number !== null;
  document.title = "mailer sink";
  if (number === null) return refresh();
  const message = await (await get(`/messages/${number}`)).json();
  if (number !== state.number) return; // another was picked meanwhile
  state.message = message;
  const value = (name) => state.message.headers.find((header) => header.name.toLowerCase() === name)?.value || "";
  $("subject").textContent = value("subject") || "(no subject)";
  document.title = `${$("subject").textContent} – mailer sink`;
  const { sender, recipients, size: octets, at } = state.message.envelope;
  const about = { From: value("from"), To: value("to"), Envelope: `${sender || "<>"} → ${recipients.join(", ")}`,
    Arrived: `${new Date(at).toLocaleString()}, ${size(octets)}` };
  $("about").replaceChildren(...Object.entries(about).flatMap(([name, text]) =>
    [make("dt", { textContent: name }), make("dd", { textContent: text, dir: "auto" })]));
  $("parts").replaceChildren(...state.message.parts.map((part) => make("li", {}, make("a", {
    href: `/messages/${number}/parts/${part.number}`, target: "_blank", rel: "noopener",
    textContent: `${part.name || part.kind} (${size(part.size)})`, dir: "auto" }))));
  state.view = [state.wish, "html", "text", "source"].find(available);
  await show();
  await refresh();
}

function available(view) {
  return view === "html" ? state.message.has_html : view === "text" ? state.message.text !== null : true;
}

const views = {
  html() {
    const frame = make("iframe", { title: "The message", src: `/messages/${state.number}/html` });
    frame.setAttribute("sandbox", "allow-popups");
    if (state.width) frame.style.width = `${state.width}px`;
    return frame;
  },
  text: () => make("pre", { textContent: state.message.text || "(It is empty.)" }),
  headers: () => make("table", {}, make("tbody", {}, ...state.message.headers.map((header) => make("tr", {},
    make("th", { scope: "row", textContent: header.name }),
    make("td", {}, make("bdi", { textContent: header.value }), make("small", { textContent: header.meaning })))))),
  async source() {
    return make("pre", { textContent: await (await get(`/messages/${state.number}/source`)).text() });
  },
};

async function show() {
  for (const tab of document.querySelectorAll("[data-view]")) {
    tab.setAttribute("aria-selected", String(tab.dataset.view === state.view));
    tab.disabled = !available(tab.dataset.view);
  }
  for (const button of document.querySelectorAll("[data-width]")) {
    button.setAttribute("aria-pressed", String(button.dataset.width === state.width));
  }
  $("widths").hidden = state.view !== "html";
  $("view").replaceChildren(await views[state.view]());
}

for (const tab of document.querySelectorAll("[data-view]")) {
  tab.addEventListener("click", () => { state.wish = state.view = tab.dataset.view; show(); });
}
for (const button of document.querySelectorAll("[data-width]")) {
  button.addEventListener("click", () => { state.width = button.dataset.width; show(); });
}
$("back").addEventListener("click", () => { location.hash = ""; });
$("more").addEventListener("click", () => refresh(true));
$("search").addEventListener("input", () => refresh());
function missing() {
  document.body.classList.remove("reading");
  $("message").hidden = true;
  $("hint").hidden = false;
  $("hint").textContent = "There is no such message.";
}

const follow = () => open(Number(location.hash.slice(1)) || null).catch(missing);
window.addEventListener("hashchange", follow);
follow();
new EventSource("/live").addEventListener("message", () => refresh());
