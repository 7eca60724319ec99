//go:build !unix

package faults_test

const edgeSetting = "COUNTERFOIL_FAULTS_EDGE"

func edgeProcess(string) error { return nil }
