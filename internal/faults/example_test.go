package faults_test

import (
	"fmt"
	"time"

	"github.com/counterfoil/counterfoil/internal/faults"
)

// A verifier that accepts a session longer after its end than it may.
func ExampleOracle() {
	const bound = 4 * time.Second
	o := faults.NewOracle(bound, true)
	s := o.Begun("alice", time.Now())
	o.Ended(s, time.Now(), faults.Acknowledged)

	edge := faults.Where{Name: "edge", Bound: bound}
	o.Used(s, edge, time.Now().Add(3*time.Second), faults.Accepted)
	fmt.Println(o.Counts().Late)
	o.Used(s, edge, time.Now().Add(5*time.Second), faults.Accepted)
	fmt.Println(o.Counts().Late)
	// Output:
	// 0
	// 1
}
