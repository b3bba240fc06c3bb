"use strict";

// Everything that comes from a message is put in as text; only the sandboxed frame ever sees its HTML.

const $ = (id) => document.getElementById(id);
const state = { list: [], number: null, message: null, view: "html", width: "" };

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

async function refresh(older = false) {
  const query = new URLSearchParams({ search: $("search").value });
  if (older && state.list.length) query.set("before", state.list.at(-1).number);
  const page = await (await get(`/messages?${query}`)).json();
  state.list = older ? [...state.list, ...page] : page;
  $("more").hidden = page.length < 200;
  const count = `${state.list.length}${$("more").hidden ? "" : "+"}`;
  $("count").textContent = state.list.length ? `${count} message${count === "1" ? "" : "s"}` : "";
  $("empty").hidden = state.list.length > 0;
  $("empty").textContent = $("search").value ? "Nothing like that." : "Nothing has arrived yet.";
  $("list").replaceChildren(...state.list.map(line));
}

function line(entry) {
  const to = entry.recipients[0] + (entry.recipients.length > 1 ? ` and ${entry.recipients.length - 1} more` : "");
  const time = new Date(entry.at).toLocaleTimeString();
  const button = make("button", { type: "button" },
    make("b", { textContent: entry.subject || "(no subject)" }), make("span", { textContent: `${time}  ${to}` }));
  if (entry.number === state.number) button.setAttribute("aria-current", "true");
  button.addEventListener("click", () => { location.hash = entry.number; });
  return make("li", {}, button);
}

async function open(number) {
  state.number = number;
  document.body.classList.toggle("reading", number !== null);
  $("message").hidden = number === null;
  $("hint").hidden = number !== null;
  if (number === null) return refresh();
  state.message = await (await get(`/messages/${number}`)).json();
  const value = (name) => state.message.headers.find((header) => header.name.toLowerCase() === name)?.value || "";
  $("subject").textContent = value("subject") || "(no subject)";
  document.title = `${$("subject").textContent} – mailer sink`;
  const { sender, recipients, size, at } = state.message.envelope;
  const about = { From: value("from"), To: value("to"), Envelope: `${sender || "<>"} → ${recipients.join(", ")}`,
    Arrived: `${new Date(at).toLocaleString()}, ${size.toLocaleString()} octets` };
  $("about").replaceChildren(...Object.entries(about).flatMap(([name, text]) =>
    [make("dt", { textContent: name }), make("dd", { textContent: text })]));
  $("parts").replaceChildren(...state.message.parts.map((part) => make("li", {}, make("a", {
    href: `/messages/${number}/parts/${part.number}`, target: "_blank", rel: "noopener",
    textContent: `${part.name || part.kind} (${part.size.toLocaleString()})` }))));
  if (!available(state.view)) state.view = state.message.has_html ? "html" : "text";
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
  text: () => make("pre", { textContent: state.message.text }),
  headers: () => make("table", {}, make("tbody", {}, ...state.message.headers.map((header) => make("tr", {},
    make("th", { scope: "row", textContent: header.name }),
    make("td", {}, header.value, make("small", { textContent: header.meaning })))))),
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
  tab.addEventListener("click", () => { state.view = tab.dataset.view; show(); });
}
for (const button of document.querySelectorAll("[data-width]")) {
  button.addEventListener("click", () => { state.width = button.dataset.width; show(); });
}
$("back").addEventListener("click", () => { location.hash = ""; });
$("more").addEventListener("click", () => refresh(true));
$("search").addEventListener("input", () => refresh());
const follow = () => open(Number(location.hash.slice(1)) || null);
window.addEventListener("hashchange", follow);
follow();
new EventSource("/live").addEventListener("message", () => refresh());
