// Keeps the page that shows up to date. Everything works without this, by loading the page again.

const live = document.getElementById("live");
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

// Times in the viewer's zone; exactly, and as the server has them, on hover.
function localize(root) {
  for (const time of root.querySelectorAll("time")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const isToday = at.toDateString() === new Date().toDateString();
    time.textContent = (isToday ? clock : day).format(at);
    time.title = `${exact.format(at)} · ${time.dateTime}`;
  }
}

function say(state, text) {
  if (live.dataset.state === state) return;
  live.dataset.state = state;
  live.textContent = text;
}

// What a link or a place is called, so that it keeps the focus and its scroll position when it is replaced.
function nameOf(element) {
  return element?.getAttribute("href") ?? element?.getAttribute("name") ?? element?.getAttribute("aria-label");
}

function replace(old, fresh) {
  const name = old.contains(document.activeElement) ? nameOf(document.activeElement) : null;
  const scrolled = [...old.querySelectorAll(".scrolls")].map((element) => element.scrollLeft);
  old.replaceWith(fresh);
  fresh.querySelectorAll(".scrolls").forEach((element, place) => {
    element.scrollLeft = scrolled[place] ?? 0;
  });
  if (!name) return;
  const again = [...fresh.querySelectorAll("a, button, [tabindex]")].find((element) => nameOf(element) === name);
  again?.focus({ preventScroll: true });
}

function isBusy(element) {
  const selection = document.getSelection();
  const isSelected = selection && !selection.isCollapsed && element.contains(selection.anchorNode);
  const isTyped = element.contains(document.activeElement) && document.activeElement.matches("input, select, textarea");
  return isSelected || isTyped;
}

let isFetching = false;
async function update() {
  if (isFetching || document.hidden) return;
  isFetching = true;
  try {
    const response = await fetch(location.pathname + location.search, { cache: "no-store", signal: AbortSignal.timeout(10000) });
    if (!response.ok && response.status !== 404) throw new Error(response.statusText);
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    localize(fresh);
    for (const old of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(old.id);
      if (next && next.innerHTML !== old.innerHTML && !isBusy(old)) replace(old, next);
    }
    found();
    say("on", "Live");
  } catch {
    lost();
  } finally {
    isFetching = false;
  }
}

let losing = null;
function lost() {
  losing ??= setTimeout(() => say("off", "Lost the console; what shows is old. Trying again …"), 4000);
}

function found() {
  clearTimeout(losing);
  losing = null;
}

// The server ends each stream after some minutes; the browser connects again by itself, unless it was refused.
function listen() {
  const events = new EventSource("/live");
  // Only what was fetched proves that the page is up to date.
  events.addEventListener("open", update);
  events.addEventListener("changed", update);
  events.addEventListener("error", () => {
    lost();
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
  });
}

localize(document);
if (document.querySelector("[data-live]")) {
  document.addEventListener("visibilitychange", update);
  listen();
}
