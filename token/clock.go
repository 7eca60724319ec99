package token

import "time"

type clock struct{}

func (*clock) milli() int64 { return time.Now().UnixMilli() }
