//go:build !race

package fiberadapter_test

const raceDetector = false
