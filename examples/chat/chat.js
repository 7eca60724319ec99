"use strict";

const $ = (id) => document.getElementById(id);

let socket, failures = 0;

// Somebody who is not signed in is asked to, without an attempt that can only fail.
async function enter() {
	const session = await fetch("/session/active").then((a) => a.ok ? a.json() : null).catch(() => null);
	if (session === null) return again("The service does not answer.");
	if (session.active) return talk();
	leave("Sign in to talk.");
}

function talk() {
	socket = new WebSocket(location.origin.replace("http", "ws") + "/talk");
	socket.addEventListener("open", () => {
		failures = 0;
		$("state").textContent = "You are in.";
		$("inside").hidden = false;
	});
	socket.addEventListener("message", (e) => {
		const line = document.createElement("li");
		line.textContent = e.data;
		$("messages").append(line);
	});
	// A lost connection says nothing of the session, which enter asks for; one that has ended stays ended.
	socket.addEventListener("close", (e) => e.reason === "signed out" ? leave("You were signed out.") : again("The connection is gone."));
}

// Later each time, half a minute at most, and not together with everybody else who was cut off.
function again(why) {
	$("state").textContent = why + " Trying again.";
	setTimeout(enter, Math.min(30_000, 500 * 2 ** failures++) * (0.5 + Math.random() / 2));
}

function leave(why) {
	$("inside").hidden = true;
	$("login").hidden = false;
	$("state").textContent = why;
}

$("say").addEventListener("submit", (e) => {
	e.preventDefault();
	if (socket.readyState !== WebSocket.OPEN) return; // what was typed stays
	socket.send(e.target.text.value);
	e.target.reset();
});

enter();
