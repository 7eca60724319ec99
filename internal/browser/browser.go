// Package browser shows in a real browser what the adapters promise: it is all tests, and a module of its own because of what it takes to drive Chromium.
//
//	go test ./... -screenshots=../../docs
package browser
