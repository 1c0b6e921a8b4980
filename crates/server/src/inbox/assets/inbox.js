// Keeps the page up to date. Every event says only that something changed: the page is then asked for again, and what
// differs is taken over, so that there is one place that knows how a message looks. Without this script the page is whole,
// but still.
"use strict";
(() => {
  const main = document.getElementById("conversation");
  const phone = main.dataset.phone;
  const scroll = document.getElementById("scroll");
  const announcer = document.getElementById("announce");

  // ── Time ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  // The server says how long is left on the account's clock, which may differ from ours; from there on we count.
  const deadlines = new Map();

  function noteDeadlines() {
    deadlines.clear();
    for (const item of document.querySelectorAll("[data-left]")) {
      deadlines.set(item.dataset.key, performance.now() + Number(item.dataset.left));
    }
  }

  function asCountdown(leftMs) {
    const seconds = Math.max(0, Math.ceil(leftMs / 1000));
    const pad = (number) => String(number).padStart(2, "0");
    const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
    return h > 0 ? `${h}:${pad(m)}:${pad(s)}` : `${m}:${pad(s)}`;
  }

  function tick() {
    let ended = false;
    for (const shown of document.querySelectorAll("[data-countdown]")) {
      const item = shown.closest("[data-key]");
      const left = deadlines.get(item.dataset.key) - performance.now();
      const text = asCountdown(left);
      if (shown.textContent !== text) shown.textContent = text;
      item.querySelector("progress").value = Math.max(0, left);
      shown.parentElement.classList.toggle("soon", left < 30_000);
      ended ||= left <= 0;
    }
    // The server knows what became of what ended.
    if (ended) refresh();
  }

  const zone = new Intl.DateTimeFormat(undefined, { timeZoneName: "short" })
    .formatToParts().find((part) => part.type === "timeZoneName")?.value ?? "";
  const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
  const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

  function showTimes() {
    const now = Date.now();
    for (const time of document.querySelectorAll("time")) {
      const at = new Date(time.dateTime);
      time.title = `${full.format(at)} ${zone}`;
      const old = Math.abs(now - at) > 20 * 3_600_000;
      if ("clock" in time.dataset) {
        time.textContent = old ? `${day.format(at)}, ${clock.format(at)}` : clock.format(at);
      } else {
        const minutes = Math.max(0, Math.floor((now - at) / 60_000));
        time.textContent = minutes < 1 ? "now" : minutes < 60 ? `${minutes} min` : old ? day.format(at) : clock.format(at);
      }
    }
  }

  // ── Taking over what differs ──────────────────────────────────────────────────────────────────────────────────────

  // Children have a key, which says who they are, and a version, which says whether they look as before.
  function takeOverList(old, fresh) {
    const known = new Map([...old.children].map((child) => [child.dataset.key, child]));
    const arrived = [];
    let place = old.firstElementChild;
    for (const wanted of [...fresh.children]) {
      let child = known.get(wanted.dataset.key);
      known.delete(wanted.dataset.key);
      if (!child) {
        child = wanted;
        child.classList.add("arrived");
        arrived.push(child);
      } else if (child.dataset.version !== wanted.dataset.version) {
        const focused = child.contains(document.activeElement);
        if (place === child) place = wanted;
        child.replaceWith(wanted);
        child = wanted;
        if (focused) child.querySelector("a, button")?.focus();
      } else {
        child.dataset.left = wanted.dataset.left;
      }
      if (child === place) place = place.nextElementSibling;
      else old.insertBefore(child, place);
    }
    for (const gone of known.values()) gone.remove();
    return arrived;
  }

  let refreshing = false;
  let again = false;

  async function refresh() {
    if (refreshing) {
      again = true;
      return;
    }
    refreshing = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.ok) takeOver(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      // The event stream notices a lost server, and asks again when it is back.
    }
    // At most a few times a second, however much happens.
    setTimeout(() => {
      refreshing = false;
      if (again) {
        again = false;
        refresh();
      }
    }, 150);
  }

  function takeOver(fresh) {
    const atEnd = !scroll || scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 80;
    document.title = fresh.title;
    document.body.className = fresh.body.className;
    for (const part of document.querySelectorAll("[data-part]")) {
      const wanted = fresh.getElementById(part.id);
      if (wanted && wanted.innerHTML !== part.innerHTML) part.innerHTML = wanted.innerHTML;
    }
    const arrived = [];
    for (const list of document.querySelectorAll("[data-keyed]")) {
      const wanted = fresh.getElementById(list.id);
      if (!wanted) continue;
      const came = takeOverList(list, wanted);
      if (list.id === "messages" || list.id === "logins") arrived.push(...came);
    }
    if (!phone && !document.querySelector(".number") !== !fresh.querySelector(".number")) location.reload();
    noteDeadlines();
    showTimes();
    tick();
    if (arrived.length > 0) {
      if (atEnd) toEnd();
      announce(arrived.map((item) => item.querySelector("article").getAttribute("aria-label")).join(". "));
    }
    markRead();
  }

  function toEnd() {
    if (scroll) scroll.scrollTop = scroll.scrollHeight;
  }

  function announce(text) {
    announcer.textContent = text;
  }

  // ── Read: shown in the open conversation while the page is in the foreground ──────────────────────────────────────

  const marking = new Set();

  async function markRead() {
    if (!phone || document.visibilityState !== "visible") return;
    const unread = [...document.querySelectorAll("#messages > [data-unread]")]
      .map((item) => item.dataset.key)
      .filter((id) => !marking.has(id));
    if (unread.length === 0) return;
    unread.forEach((id) => marking.add(id));
    // One by its name; several at once, as all of them are on the page.
    const body = unread.length === 1 ? { phone_number: phone, request_id: unread[0] } : { phone_number: phone };
    try {
      const answer = await fetch("/inbox/read", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
      });
      if (!answer.ok) throw new Error(answer.statusText);
      refresh();
    } catch {
      // Tried again at the next change.
      unread.forEach((id) => marking.delete(id));
    }
  }

  // ── Live events ───────────────────────────────────────────────────────────────────────────────────────────────────

  const live = document.getElementById("live");
  let retryMs = 1_000;

  function showLive(connected) {
    live.hidden = false;
    live.classList.toggle("lost", !connected);
    // On a phone the conversation stands alone, and says it in its own head.
    document.documentElement.classList.toggle("lost", !connected);
    document.getElementById("live-word").textContent = connected ? "Live" : "Reconnecting…";
  }

  function listen() {
    // With a number this is its open inbox: what waits for it is delivered by that.
    const source = new EventSource(phone ? `/inbox/events?phone=${encodeURIComponent(phone)}&numbers=1` : "/inbox/events");
    source.onopen = () => {
      retryMs = 1_000;
      showLive(true);
      refresh();
    };
    for (const name of ["messages", "numbers", "reload"]) source.addEventListener(name, refresh);
    source.onerror = () => {
      showLive(false);
      if (source.readyState !== EventSource.CLOSED) return;
      // Refused, so the browser gives up; we don't.
      setTimeout(listen, retryMs);
      retryMs = Math.min(30_000, retryMs * 2);
    };
    addEventListener("pagehide", () => source.close(), { once: true });
  }

  // A page that comes back out of the browser's memory has no stream any more.
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });

  // ── Copying ───────────────────────────────────────────────────────────────────────────────────────────────────────

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Only secure contexts have a clipboard; an exposed sandbox over plain HTTP is none.
      const field = document.createElement("textarea");
      field.value = text;
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
  }

  async function copyBy(button) {
    const from = button.dataset.copyFrom;
    await copy(from ? document.getElementById(from).textContent : button.dataset.copy);
    const word = button.querySelector("span");
    button.dataset.word ??= word.textContent;
    word.textContent = "Copied";
    button.classList.add("copied");
    announce("Copied");
    clearTimeout(button.copiedTimer);
    button.copiedTimer = setTimeout(() => {
      word.textContent = button.dataset.word;
      button.classList.remove("copied");
    }, 1_600);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy], [data-copy-from]");
    if (button) copyBy(button);
  });

  // ── Keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  function step(by) {
    const links = [...document.querySelectorAll(".number")];
    const present = links.findIndex((link) => link.hasAttribute("aria-current"));
    links[present < 0 ? 0 : present + by]?.click();
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input")) return;
    const actions = {
      j: () => step(1),
      k: () => step(-1),
      c: () => {
        const newest = document.querySelector("#messages > :last-child [data-copy]");
        if (newest) copyBy(newest);
      },
      "/": () => document.getElementById("phone").focus(),
      Escape: () => {
        if (phone) location.href = "/inbox";
      },
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });

  document.addEventListener("visibilitychange", () => {
    // Timers rest in the background; what is left is asked for anew.
    if (document.visibilityState === "visible") refresh();
  });

  noteDeadlines();
  showTimes();
  tick();
  toEnd();
  setInterval(tick, 250);
  setInterval(showTimes, 20_000);
  // What a script does is not the inbox's news: a scripted number's page looks for itself while something is to come.
  if ("scripted" in main.dataset) {
    setInterval(() => {
      if (document.querySelector(".chip.sent")) refresh();
    }, 1_000);
  }
  listen();
})();
