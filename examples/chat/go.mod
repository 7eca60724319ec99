module github.com/counterfoil/counterfoil/examples/chat

go 1.26.0

replace github.com/counterfoil/counterfoil => ../..

require github.com/counterfoil/counterfoil v0.0.0

require (
	github.com/alicebob/miniredis/v2 v2.40.0 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/coder/websocket v1.8.15
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	github.com/mileusna/useragent v1.3.5 // indirect
	github.com/redis/go-redis/v9 v9.23.0 // indirect
	github.com/yuin/gopher-lua v1.1.1 // indirect
	go.uber.org/atomic v1.12.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
)
