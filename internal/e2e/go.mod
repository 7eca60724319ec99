module github.com/counterfoil/counterfoil/internal/e2e

go 1.26.4

replace github.com/counterfoil/counterfoil => ../..

require (
	github.com/c2sp/wycheproof v0.0.0-20260902155932-3fa63dd0344a
	github.com/counterfoil/counterfoil v0.0.0
)
