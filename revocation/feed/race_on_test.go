//go:build race

package feed_test

// manyEdges is a thousand without the race detector, which makes signatures thirty times slower.
const manyEdges = 200
