module github.com/counterfoil/counterfoil/examples/wazero

go 1.26.0

replace github.com/counterfoil/counterfoil => ../..

require (
	github.com/counterfoil/counterfoil v0.0.0
	github.com/tetratelabs/wazero v1.12.0
)

require (
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	golang.org/x/sys v0.48.0 // indirect
)
