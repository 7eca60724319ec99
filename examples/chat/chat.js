"use strict";

const $ = (id) => document.getElementById(id);
const socket = new WebSocket(location.origin.replace("http", "ws") + "/talk");
let open = false;

socket.addEventListener("open", () => {
	open = true;
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
	$("state").textContent = e.reason === "signed out" ? "You were signed out." : open ? "The connection is gone." : "Sign in to talk.";
});
$("say").addEventListener("submit", (e) => {
	e.preventDefault();
	socket.send(e.target.text.value);
	e.target.reset();
});
