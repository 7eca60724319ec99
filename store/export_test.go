package store

// What tests of other packages could not reach.
var ParseRecords = parseRecords
