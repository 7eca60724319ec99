//go:build !race

package feed_test

const manyEdges = 1000
