// Keeps the page true without a reload. Everything works without it: the list and the buttons are plain HTML.
"use strict";

const news = document.getElementById("news");
const past = document.getElementById("past");

// Times in the reader's own zone and words.
function localize(root) {
	for (const t of root.querySelectorAll("time")) {
		const at = new Date(t.dateTime);
		if (!isNaN(at)) t.textContent = at.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
	}
}

// Takes the list from the page as it is now. Whoever asks while that is under way is answered by the next turn, which all who ask meanwhile share. It resolves
// to true if the page is being left: somebody else is signed in by now, or nobody.
let reading = Promise.resolve();
let waiting;
function refresh() {
	const next = () => {
		waiting = undefined;
		return reading = read();
	};
	return waiting ??= reading.then(next, next);
}

async function read() {
	let text;
	try {
		const answer = await fetch(location.pathname, { credentials: "same-origin", cache: "no-store", signal: AbortSignal.timeout(10000) });
		if (answer.status === 401) return leave();
		if (!answer.ok) return false; // the list stays; the next event tries again
		text = await answer.text();
	} catch {
		return false;
	}
	const page = new DOMParser().parseFromString(text, "text/html");
	const now = page.getElementById("sessions");
	if (!now) return false;
	if (who(page) !== who(document)) return leave();
	localize(now);
	const before = document.getElementById("sessions");
	if (now.isEqualNode(before)) return false; // somebody may be pressing a button of it
	const at = document.activeElement?.closest(places);
	const row = at ? rows().findIndex((row) => row.closest("article") === at.closest("article")) : -1;
	before.replaceWith(document.adoptNode(now));
	if (at) keepFocus(at, row);
	return false;
}

function leave() {
	location.reload();
	return true;
}

const who = (page) => page.querySelector(".who")?.textContent;

// What has the focus keeps it. If it is there no more, the device that is in its place gets it, or the heading. The page stays where it is: somebody reads it.
const places = "#sessions form, #sessions [tabindex]";
const key = (at) => [at.tagName, at.getAttribute("action"), at.closest("article")?.dataset.handle].join(" ");
const rows = () => [...document.querySelectorAll("article[data-handle] [tabindex]")];
function keepFocus(at, row) {
	const again = [...document.querySelectorAll(places)].find((place) => key(place) === key(at));
	const next = row < 0 ? null : rows().slice(0, row + 1).pop();
	(again?.querySelector("button") || again || next || document.getElementById("others"))?.focus({ preventScroll: true });
}

function say(text) {
	news.textContent = text;
}

const name = (device) => device || "Unknown device";

function note(text) {
	const line = document.createElement("li");
	line.textContent = text;
	past.querySelector("ul").prepend(line);
	past.hidden = false;
	return line;
}

const told = (handle) => past.querySelector(`li[data-handle="${CSS.escape(handle)}"]`);

function tell(data) {
	if (told(data.handle)) return;
	note(name(data.device) + ": signed out").dataset.handle = data.handle;
	say(name(data.device) + " was signed out.");
}

function ended(data) {
	tell(data);
	return refresh();
}

function confirmed(data) {
	const line = told(data.handle);
	if (!line) return;
	line.textContent += `; every server has known since ${new Date(data.at).toLocaleTimeString()}`;
	say(line.textContent + ".");
}

function unconfirmed(data) {
	const line = told(data.handle);
	if (!line) return;
	line.textContent += data.missing ? `; ${data.missing} of ${data.verifiers} servers ${data.missing === 1 ? "has" : "have"} not confirmed it yet` : "; it is not known which servers know";
	say(line.textContent + ".");
}

// What ends other devices is sent without leaving the page, so that the page can tell what comes of it and who has confirmed it.
async function send(form) {
	const fields = new URLSearchParams(new FormData(form));
	fields.delete("return"); // nobody has to be sent anywhere
	const one = form.closest("article[data-handle]");
	const those = [...(one ? [one] : document.querySelectorAll("article[data-handle]"))]
		.map((a) => ({ handle: a.dataset.handle, device: a.querySelector("h3")?.textContent }));
	await Promise.race([listening, new Promise((done) => setTimeout(done, 2000))]);
	let answer;
	try {
		answer = await fetch(form.action, { method: "POST", body: fields, credentials: "same-origin" });
	} catch {
		return say("The service could not be reached. Try again.");
	}
	if (answer.status === 401) return leave();
	if (!answer.ok) return say("This did not work. Try again.");
	const weak = answer.status === 202 && await answer.text();
	if (await refresh()) return; // it was not these devices that were signed out
	those.forEach(tell); // if the stream has not told it before
	if (weak) {
		note(weak);
		say(weak); // who hears the page hears it last
	}
}

// Kept when a stream is open, which then tells who has confirmed what ends from now on.
let heard;
const listening = new Promise((done) => { heard = done; });

let leaving = false;
addEventListener("submit", async (e) => {
	const form = e.target;
	if (!form.matches("form[data-live]")) {
		leaving = true;
		return;
	}
	e.preventDefault();
	if (form.dataset.live === "sent") return;
	form.dataset.live = "sent";
	await send(form);
	form.dataset.live = "";
});

// The second click of a double click would fall on the device that has moved up meanwhile.
let last;
addEventListener("click", (e) => {
	if (last && e.detail > 0 && e.timeStamp - last.timeStamp < 500 && Math.hypot(e.screenX - last.screenX, e.screenY - last.screenY) < 10) e.preventDefault();
	last = e;
});

localize(document);

// A page from the browser's memory may show what is over, so it comes back blank and is loaded again.
addEventListener("pagehide", () => { document.documentElement.hidden = true; });
addEventListener("pageshow", (e) => { if (e.persisted) location.reload(); });

// The page says the same to everybody who is signed out, whatever came with the request. What was seen happen can be told here.
const goneKey = "counterfoil gone";
const why = document.getElementById("why");
if (why && sessionStorage.getItem(goneKey)) why.textContent = "This device was signed out just now: from another device or another tab, or by the service.";
sessionStorage.removeItem(goneKey);

// What to do when something happens, by the name of the event.
const hear = {
	began(data) {
		say(name(data.device) + " was signed in.");
		return refresh();
	},
	ended,
	confirmed,
	unconfirmed,
	gone() {
		if (leaving) return setTimeout(() => location.reload(), 5000); // it was done here, and the answer is on its way
		sessionStorage.setItem(goneKey, "yes"); // for the page that comes next
		location.reload();
	},
	opened: refresh,
};

// Of all tabs one listens and tells the others: over HTTP/1.1 a browser has six connections to a host, and six open streams would leave none.
const path = document.body.dataset.events;
if (path) {
	const tabs = new BroadcastChannel("counterfoil events");
	tabs.onmessage = (e) => hear[e.data.event]?.(e.data.data); // a tab with another version of this may tell more
	const listen = () => new Promise(() => {
		let pause = 1000;
		let events;
		const open = () => {
			events = new EventSource(path);
			// What happened between the loading of the page, or the end of the stream before, and now was told to nobody.
			events.addEventListener("open", () => { pause = 1000; heard(); tabs.postMessage({ event: "opened" }); refresh(); });
			for (const event of Object.keys(hear)) {
				events.addEventListener(event, (e) => {
					const data = JSON.parse(e.data);
					tabs.postMessage({ event, data });
					if (event === "gone") events.close();
					hear[event](data);
				});
			}
			// The browser comes again by itself after a stream that ended, but not after a refusal.
			events.addEventListener("error", () => {
				if (events.readyState !== EventSource.CLOSED) return;
				refresh();
				setTimeout(open, pause * (1 + Math.random()));
				pause = Math.min(2 * pause, 60000);
			});
		};
		open();
		addEventListener("pagehide", () => events.close());
	});
	if (navigator.locks) {
		navigator.locks.request("counterfoil events", { ifAvailable: true }, (lock) => {
			if (lock) return listen();
			heard(); // by the tab that listens
			navigator.locks.request("counterfoil events", listen); // when the tab that listens has gone
		});
	} else {
		listen();
	}
}
