package store

import "github.com/redis/go-redis/v9"

// What tests of other packages could not reach.
var ParseRecords = parseRecords

// Client is what a store sends its steps by.
func Client(s *Redis) redis.UniversalClient { return s.client }
