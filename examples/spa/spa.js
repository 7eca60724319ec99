"use strict";

const $ = (id) => document.getElementById(id);
let renewals = 0;

// Who cannot be reached does not answer; that is no error of the page.
const ask = (path, options) => fetch(path, options).catch(() => Response.error());

// Asks the API. A 401 means that the access token has expired or the session has ended; the refresh endpoint knows which. Of several tabs that ask at
// once each gets an answer: 204 = the cookies are new, 409 = another tab has just renewed them, 401 = it is over.
async function call(path, options) {
	const answer = await ask(path, options);
	if (answer.status !== 401) return answer;
	const renewed = await ask("/session/refresh", { method: "POST" });
	if (renewed.status === 204) $("renewed").value = ++renewals;
	if (renewed.status === 204 || renewed.status === 409) return ask(path, options);
	return renewed.status === 401 ? answer : renewed;
}

async function show() {
	const answer = await call("/api/me");
	const inside = answer.ok;
	$("login").hidden = inside;
	$("inside").hidden = !inside;
	if (inside) {
		const me = await answer.json();
		$("state").textContent = `You are ${me.name}; this token lives until ${new Date(me.expires).toLocaleTimeString()}.`;
	} else if (answer.status === 401) {
		$("state").textContent = "You are signed out.";
	} else {
		$("state").textContent = "The service does not answer; nothing is lost. Ask again.";
		$("inside").hidden = false;
	}
}

// Signs in or out and shows how things are then. Whether anybody answers at all is for show to say.
async function send(path, body) {
	const answer = await ask(path, { method: "POST", body });
	await show();
	if (answer.status >= 400) $("state").textContent = "This did not work. Try again.";
}

$("login").addEventListener("submit", (e) => {
	e.preventDefault();
	send("/login", new URLSearchParams(new FormData(e.target)));
});
$("ask").addEventListener("click", show);
$("logout").addEventListener("click", () => send("/session/logout"));
show();
