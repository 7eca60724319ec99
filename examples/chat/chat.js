"use strict";

const $ = (id) => document.getElementById(id);

// Somebody who is not signed in is asked to, without an attempt that can only fail.
async function enter() {
	const answer = await fetch("/session/active");
	if (answer.ok && (await answer.json()).active) return talk();
	$("login").hidden = false;
	$("state").textContent = answer.ok ? "Sign in to talk." : "The service does not answer. Try again later.";
}

function talk() {
	const socket = new WebSocket(location.origin.replace("http", "ws") + "/talk");
	socket.addEventListener("open", () => {
		$("state").textContent = "You are in.";
		$("inside").hidden = false;
	});
	socket.addEventListener("message", (e) => {
		const line = document.createElement("li");
		line.textContent = e.data;
		$("messages").append(line);
	});
	socket.addEventListener("close", (e) => {
		$("inside").hidden = true;
		$("login").hidden = false;
		$("state").textContent = e.reason === "signed out" ? "You were signed out." : "The connection is gone.";
	});
	$("say").addEventListener("submit", (e) => {
		e.preventDefault();
		socket.send(e.target.text.value);
		e.target.reset();
	});
}

enter();
